"""The spike-timing window: one synapse's weight change by t_post - t_pre, under STDP and under TSSL-BP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from figures import style
from studies import plasticity_windows as study

TITLE = "STDP reads the sign of the change from the order of two spikes;\nTSSL-BP reads it from the error"
LOOK = {
    "another spike is wanted": {"color": style.BLUE, "marker": "o"},
    "silent, a spike is wanted": {"color": style.ORANGE, "marker": "s"},
    "the spike is right": {"color": style.GREY, "linestyle": ":"},
    "the spike is not wanted": {"color": style.VERMILLION, "marker": "v"},
    "not wanted, no warm-up": {"color": style.VERMILLION, "linestyle": "--"},
}


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    rows = study.timing_rows()
    with style.page(__file__, out_dir, TITLE, height=5.2) as page:
        page.table(list(rows[0]), (list(row.values()) for row in rows))
        left, right = page.figure.subplots(1, 2, width_ratios=(1.0, 1.5))
        for axes in (left, right):
            axes.axhline(0.0, color=style.GREY, linewidth=0.8)
            axes.axvline(0.0, color=style.GREY, linewidth=0.8, linestyle=":")
            axes.set_xlabel(r"$t_{post} - t_{pre}$ (steps)")
        for side in (-1, 1):  # two branches, with a jump between them
            left.plot(*_curve(rows, "STDP", side), color=style.PURPLE, marker=".")
        left.set_ylabel("weight change (arbitrary unit)")
        left.text(3.5, 0.72, "pre first:\ngrow")
        left.text(-18.0, -0.72, "post first:\nshrink")
        style.panel_label(left, "STDP")
        for name, look in LOOK.items():
            right.plot(*_curve(rows, name), label=name, markersize=3.5, **look)
        right.set_ylabel(r"weight change $-\partial L / \partial w$")
        right.set_ylim(-0.13, 0.13)
        right.legend(loc="upper left", labelspacing=0.3)
        style.panel_label(right, "TSSL-BP, by what the loss asks for")
    return page.path


def _curve(rows: list[dict[str, Any]], name: str, side: int = 0) -> tuple[list[float], list[float]]:
    """Differences and changes of a curve, of one sign of the difference if a side is given."""
    points = [(row["t_post_minus_t_pre"], row["change"]) for row in rows if row["curve"] == name]
    chosen = [point for point in points if not side or side * point[0] > 0.0]
    return [x for x, _ in chosen], [y for _, y in chosen]

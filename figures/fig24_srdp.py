"""Weight change by firing rates: the BCM rule and TSSL-BP, for three presynaptic rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from figures import style
from studies import plasticity_windows as study

TITLE = "Rates: when the neuron fires much, the BCM rule grows the synapse,\nand TSSL-BP shrinks it"
COLOURS = dict(zip(study.PRE_RATES, (style.SKY_BLUE, style.BLUE, style.BLACK), strict=True))
PANELS = {
    "BCM": (r"BCM: $x \, y \, (y - \theta)$", rf"threshold $\theta$ = {study.DESIRED_RATE:g}"),
    "TSSL-BP": ("TSSL-BP, mean over 400 pairs of trains", f"desired rate {study.DESIRED_RATE:g}"),
}
TWO_STANDARD_ERRORS = 2.0


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    rows = study.rate_rows()
    with style.page(__file__, out_dir, TITLE, height=4.9) as page:
        page.table(list(rows[0]), (list(row.values()) for row in rows))
        panels = page.figure.subplots(1, 2)
        for axes, (rule, (title, line)) in zip(panels, PANELS.items(), strict=True):
            _draw(axes, [row for row in rows if row["rule"] == rule], line)
            style.panel_label(axes, title)
        panels[0].set_ylabel("weight change a step")
        panels[0].legend(title="pre-rate", loc="upper left", alignment="left")
    return page.path


def _draw(axes: style.Axes, rows: list[dict[str, Any]], line: str) -> None:
    axes.axhline(0.0, color=style.GREY, linewidth=0.8)
    axes.axvline(study.DESIRED_RATE, color=style.PURPLE, linestyle=(0, (5, 3)), linewidth=1.4)
    axes.annotate(
        line,
        (study.DESIRED_RATE, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(4, -12),
        textcoords="offset points",
        color=style.PURPLE,
        fontsize=style.SMALL,
    )
    for pre_rate, colour in COLOURS.items():
        mine = [row for row in rows if row["pre_rate"] == pre_rate]
        axes.errorbar(
            [row["post_rate"] for row in mine],
            [row["change"] for row in mine],
            [TWO_STANDARD_ERRORS * row["error"] for row in mine],
            color=colour,
            marker=".",
            label=f"{pre_rate:g}",
        )
    axes.set_xlabel("post-rate (spikes/step)")

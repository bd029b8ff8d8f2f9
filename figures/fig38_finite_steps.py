"""What a step of finite length along each rule does to the loss, beside the two cosines; from the committed study."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from figures import measured, style
from studies import finite_steps as study
from studies.trained_runs import Row, read_rows

TITLE = (
    "Longer steps along the exact gradient gain less than the released rule's;\n"
    "a rule's cosine with it does not tell how good its steps are"
)
TABLE = "finite-steps-summary.csv"
DT, AT = "1", "0.1"  # the step in ms that is drawn, and the length whose smoothed gradient the cosines are with
DIRECTIONS = {  # label, colour, marker
    study.SMOOTHED: ("smoothed gradient", style.BLACK, "*"),
    "surrogate": ("surrogate", style.ORANGE, "s"),
    "timing-plus-surrogate": ("timing plus surrogate", style.PURPLE, "P"),
    "no-intra": ("no intra-neuron term", style.SKY_BLUE, "^"),
    "june-2020": ("June 2020", style.VERMILLION, "v"),
    "released": ("released", style.BLUE, "o"),
    "consistent": ("consistent", style.GREEN, "D"),
    study.EXACT: ("exact gradient", style.GREY, "X"),
}
PANELS = (  # loss, start, label
    ("discrete", "random", "loss of the network in steps of 1 ms"),
    ("discrete", "near", "the same, near the goal"),
    ("exact", "random", "loss in continuous time"),
)
SPREAD = 1.03  # factor from rule to rule, so that the intervals of a length stand beside each other


def read_summary(quantity: str, start: str = "random") -> dict[tuple[str, str], Row]:
    """Rows of the committed summary at the step that is drawn, by rule and length.

    Raises
    ------
    OSError
        If the file is not there.
    """
    return {
        (row["rule"], row["length"]): row
        for row in read_rows(measured.RESULTS / TABLE, study.SUMMARY)
        if (row["quantity"], row["start"], row["dt"]) == (quantity, start, DT)
    }


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    with style.page(__file__, out_dir, TITLE, height=8.4) as page:
        rows = [row for loss, start, _ in PANELS for row in read_summary(f"decrease_{loss}", start).values()]
        rows += [row for name in ("cosine_exact", "cosine_smoothed") for row in read_summary(name).values()]
        page.table(study.SUMMARY, [[row[key] for key in study.SUMMARY] for row in rows if row["rule"] in DIRECTIONS])
        panels = page.figure.subplots(2, 2).flat
        for ax, (loss, start, label) in zip(panels, PANELS, strict=False):
            _draw_decrease(ax, read_summary(f"decrease_{loss}", start))
            style.panel_label(ax, label)
        _draw_cosines(panels[3])
        page.figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return page.path


def _draw_decrease(axes: style.Axes, rows: dict[tuple[str, str], Row]) -> None:
    axes.axhline(0.0, color=style.GREY, linewidth=0.8)
    for number, (rule, (label, colour, marker)) in enumerate(DIRECTIONS.items()):
        values = [_value_and_bars(rows[rule, f"{length:g}"]) for length in study.LENGTHS]
        at = [length * SPREAD ** (number - len(DIRECTIONS) // 2) for length in study.LENGTHS]
        heights, below, above = zip(*values, strict=True)
        axes.errorbar(
            at, heights, yerr=(below, above), label=label, color=colour, marker=marker, linewidth=1.4, elinewidth=1.0
        )
    axes.set_xscale("log")
    axes.set_xticks(study.LENGTHS, [f"{length:g}" for length in study.LENGTHS])
    axes.minorticks_off()
    axes.set_xlabel("length of the step, of |w|")
    axes.set_ylabel("decrease of the loss (%)")


def _draw_cosines(axes: style.Axes) -> None:
    exact, smoothed = read_summary("cosine_exact"), read_summary("cosine_smoothed")
    for rule, (_, colour, marker) in DIRECTIONS.items():
        if rule in (study.EXACT, study.SMOOTHED):
            continue
        x, left, right = _value_and_bars(exact[rule, AT])
        y, below, above = _value_and_bars(smoothed[rule, AT])
        bars: dict[str, Any] = {"xerr": ([left], [right]), "yerr": ([below], [above]), "elinewidth": 1.0}
        axes.errorbar(x, y, color=colour, marker=marker, markersize=7.0, **bars)
    axes.set_xlabel("cosine with the exact gradient")
    axes.set_ylabel("cosine with the smoothed one")
    style.panel_label(axes, "angles, random start")


def _value_and_bars(row: Row) -> tuple[float, float, float]:
    """Value, and how far its interval reaches below and above it."""
    value, low, high = (float(row[key]) for key in ("value", "low", "high"))
    return value, value - low, high - value

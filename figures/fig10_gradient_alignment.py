"""How far each rule's gradient points along the exact one, and how long it is, by step; from the committed study."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from figures import style
from studies import gradient_alignment as study

TITLE = (
    "As the step shrinks, only the consistent rule, and only without the clip,\n"
    "becomes the exact gradient, in direction and in size"
)
SUMMARY = Path(__file__).parents[1] / "results" / "gradient-alignment-summary.csv"
COLOURS = style.RULE_COLOURS | {"no-intra": style.SKY_BLUE, "no-warmup": style.PURPLE, "literal-no-warmup": style.GREY}
MARKERS = {
    "released": "o",
    "no-intra": "^",
    "no-warmup": "P",
    "surrogate": "s",
    "literal": "v",
    "literal-no-warmup": "<",
    "consistent": "D",
}
CLIP_TITLES = {"8": "1/du clipped at 8, as released", "none": "no clip"}
SPREAD = 1.035  # factor from rule to rule, so that the intervals of a step stand beside each other
SIZES = (3e-4, 3e6)


def read_summary(quantity: str, networks: str = "all", layer: str = study.TOTAL) -> list[dict[str, str]]:
    """Rows of the committed summary.

    Raises
    ------
    OSError
        If the file is not there.
    """
    with SUMMARY.open(newline="") as file:
        wanted = (quantity, networks, layer)
        return [row for row in csv.DictReader(file) if (row["quantity"], row["networks"], row["layer"]) == wanted]


def interval_bars(axes: style.Axes, rows: list[dict[str, str]], shift: float = 1.0, **options: Any) -> None:
    """Draw values over the step with their intervals."""
    dt, value, low, high = ([float(row[key]) for row in rows] for key in ("dt", "value", "low", "high"))
    below = [v - bound for v, bound in zip(value, low, strict=True)]
    above = [bound - v for v, bound in zip(value, high, strict=True)]
    axes.errorbar([step * shift for step in dt], value, yerr=(below, above), elinewidth=1.2, **options)


def step_axis(axes: style.Axes) -> None:
    """Put the study's steps on the horizontal axis, the finest at the right."""
    axes.set_xscale("log")
    axes.set_xlim(1.5 * max(study.STEPS), min(study.STEPS) / 1.5)
    axes.set_xticks(study.STEPS, [f"{dt:g}" for dt in study.STEPS])
    axes.minorticks_off()
    axes.set_xlabel("step $dt$ (ms)")


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    cosine, norm_ratio = read_summary("cosine"), read_summary("norm_ratio")
    with style.page(__file__, out_dir, TITLE, height=8.2) as page:
        header = ("quantity", "statistic", "rule", "clip", "dt", "low", "high", "value")
        page.table(header, [[row[key] for key in header] for row in cosine + norm_ratio if row["rule"] in MARKERS])
        panels = page.figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(1.6, 1.0))
        for column, (clip, title) in enumerate(CLIP_TITLES.items()):
            for ax, rows in zip(panels[:, column], (cosine, norm_ratio), strict=True):
                ax.axhline(1.0, color=style.BLACK, linewidth=0.8, linestyle=":")
                _draw_rules(ax, rows, clip)
                step_axis(ax)
            panels[0, column].axhline(0.0, color=style.GREY, linewidth=0.8)
            panels[0, column].set_xlabel("")
            style.panel_label(panels[0, column], title)
        panels[0, 0].set_ylabel("cosine with the exact gradient (mean)")
        panels[1, 0].set_ylabel("size / exact size (median)")
        panels[1, 0].set_yscale("log")
        panels[1, 0].set_ylim(*SIZES)
        handles, labels = panels[0, 0].get_legend_handles_labels()
        page.figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return page.path


def _draw_rules(axes: style.Axes, rows: list[dict[str, str]], clip: str) -> None:
    for number, (rule, marker) in enumerate(MARKERS.items()):
        clip_of_rule = "none" if rule == "surrogate" else clip  # it has no 1/du
        chosen = [row for row in rows if (row["rule"], row["clip"]) == (rule, clip_of_rule)]
        shift = SPREAD ** (number - len(MARKERS) // 2)
        interval_bars(axes, chosen, shift, marker=marker, color=COLOURS[rule], label=rule, linewidth=1.4)

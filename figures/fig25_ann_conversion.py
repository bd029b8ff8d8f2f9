"""An ANN converted to spikes: test accuracy against time steps, beside TSSL-BP at 5 steps."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from figures import measured, style

TITLE = "Converted plainly, an ANN needs four to five times TSSL-BP's time steps;\nconverted with care, hardly more"
TABLE = "ann-conversion.csv"
PERCENT = 100.0
LOOK = {
    ("100", "zero", "0"): ("scale: largest; reset to 0", style.SKY_BLUE, "o"),
    ("100", "subtract", "0"): ("scale: largest; reset by subtraction", style.BLUE, "v"),
    ("99.9", "subtract", "0"): ("scale: 99.9 %; reset by subtraction", style.GREEN, "D"),
    ("99.9", "subtract", "0.5"): ("the same, membrane starts at V/2", style.ORANGE, "s"),
}
LOWEST_SHOWN = 70.0  # percent
STEPS_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200)
SPIKES_SHOWN = (50, 100, 200, 500, 1000, 2000, 5000)


def read_table() -> list[dict[str, str]]:
    """Read the study's table, as results/README.md says it was made."""
    with (measured.RESULTS / TABLE).open(newline="") as file:
        return list(csv.DictReader(file))


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    rows = read_table()
    spiking = [row for row in rows if row["steps"] != "-"]
    ann = [row for row in rows if row["method"] == "ann"]
    with style.page(__file__, out_dir, TITLE, height=5.4) as page:
        columns = ("method", "run", "scale", "reset", "start", "steps", "spikes_a_picture", "accuracy")
        page.table(columns, ([row[name] for name in columns] for row in [*ann, *spiking]))
        panels = page.figure.subplots(1, 2, sharey=True)
        for axes, column, ticks in zip(panels, ("steps", "spikes_a_picture"), (STEPS_SHOWN, SPIKES_SHOWN), strict=True):
            _draw(axes, spiking, column)
            axes.axhline(PERCENT * float(ann[0]["accuracy"]), color=style.BLACK, linewidth=1.2, label="the ANN itself")
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(ticks))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.set_xlim(0.8 * ticks[0], 2.0 * ticks[-1])
        panels[0].set_ylim(LOWEST_SHOWN, 91.0)
        panels[0].set_ylabel("test accuracy (%)")
        panels[0].set_xlabel("time steps")
        panels[1].set_xlabel("spikes a picture")
        panels[1].legend(loc="lower right")
        style.panel_label(panels[0], "time")
        style.panel_label(panels[1], "spikes")
    return page.path


def _draw(axes: style.Axes, rows: list[dict[str, str]], column: str) -> None:
    for key, (label, colour, marker) in LOOK.items():
        mine = [row for row in rows if (row["scale"], row["reset"], row["start"]) == key]
        shown = [row for row in mine if float(row["spikes_a_picture"]) > 0.0]  # nothing to the left on a log axis
        points = [(float(row[column]), PERCENT * float(row["accuracy"])) for row in shown]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=3.5, label=label)
    tsslbp = [row for row in rows if row["method"].startswith("tsslbp")]
    points = [(float(row[column]), PERCENT * float(row["accuracy"])) for row in tsslbp]
    axes.plot(
        *zip(*points, strict=True), "*", color=style.VERMILLION, markersize=12, label=f"TSSL-BP, {len(points)} runs"
    )

"""The committed tables under results/ that several figures read: who wrote them is said in results/README.md."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from figures import style
from tsslbp_ref.training.experiments import EXPERIMENTS

RESULTS = Path(__file__).parents[1] / "results"
RULE = "released"  # the figures of trained networks show those of the released rule
DATA_SETS = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "n-mnist": "N-MNIST", "cifar-10": "CIFAR-10"}
BAR_STEP, GROUP_GAP = 1.0, 1.1  # of the rows of `draw_layer_rows`
ROW_INCHES, FRAME_INCHES = 0.42, 1.9

Row = dict[str, str]


def table(name: str) -> list[Row]:
    """Read a table of results/; its rows are those of the released rule, if it has a column for the rule.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    """
    with (RESULTS / name).open(newline="") as file:
        return [row for row in csv.DictReader(file) if row.get("rule", RULE) == RULE]


def tables_with(*columns: str) -> Iterator[list[Row]]:
    """Read every table of results/ that begins with these columns; `tsslbp-ref results --csv` may write more."""
    for path in sorted(RESULTS.glob("*.csv")):
        with path.open(newline="") as file:
            if next(csv.reader(file), [])[: len(columns)] == list(columns):
                yield table(path.name)


def in_order(names: set[str]) -> list[str]:
    """Experiments in the order of the paper's table."""
    return [name for name in EXPERIMENTS if name in names]


def experiment_label(name: str) -> str:
    """What an experiment trains: data set, network and number of steps."""
    row = EXPERIMENTS[name]
    return f"{DATA_SETS[row.dataset]}, {row.spec}, {row.n_steps} steps"


@dataclass(frozen=True)
class LayerRow:
    """The runs of one experiment, one layer: mean over the runs of every column that holds a number."""

    experiment: str
    layer: int
    name: str
    means: dict[str, float]


def layer_rows(rows: list[Row], columns: tuple[str, ...]) -> list[LayerRow]:
    """Group the rows of a table by experiment, in the paper's order, and layer."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["experiment"], int(row["layer"])), []).append(row)
    order = in_order({experiment for experiment, _ in groups})
    keys = sorted(groups, key=lambda key: (order.index(key[0]), key[1]))
    return [
        LayerRow(*key, groups[key][0]["name"], {c: float(np.mean([float(r[c]) for r in groups[key]])) for c in columns})
        for key in keys
    ]


def page_height(rows: list[LayerRow]) -> float:
    """Inches that a page of `draw_layer_rows` needs."""
    return FRAME_INCHES + ROW_INCHES * (len(rows) + GROUP_GAP * len({row.experiment for row in rows}))


def draw_layer_rows(axes: Axes, rows: list[LayerRow]) -> list[float]:
    """Give every layer a row with its name, and every experiment's rows a headline; returns the rows' heights."""
    heights, y = [], 0.0
    for number, row in enumerate(rows):
        if number == 0 or rows[number - 1].experiment != row.experiment:
            y += GROUP_GAP if number else 0.0
            headline = experiment_label(row.experiment)
            axes.text(0.0, y - 0.85, headline, ha="left", va="center", fontweight="bold", fontsize=style.SMALL)
        heights.append(y)
        y += BAR_STEP
    last = {row.experiment: row.layer for row in rows}
    names = [f"{row.name} (output)" if row.layer == last[row.experiment] else row.name for row in rows]
    axes.set_yticks(heights, names)
    axes.set_ylim(y - 0.4, -1.3)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylabel("layer")
    return heights

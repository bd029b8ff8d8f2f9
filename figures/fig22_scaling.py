"""What the cost of a training step grows with: time steps, width, batch, density; and what compiling brings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, LogLocator

from figures import measured, style
from tsslbp_ref.engine.inputs import SPARSE_DENSITY

TITLE = "Cost is linear in time steps, and follows the spikes where they are rare"
TABLE = measured.RESULTS / "scaling.json"
COLUMNS = ("study", "value", "setting", "contender", "median_ms")
LEGEND_ROOM = 4.0  # times the largest time, above the curves
PERCENT = 100.0
SHOWN_WIDTH = "width 400"
EVENTS, PLAIN = "events", "plain product"
LITERAL, COMPILED = "literal loops", "compiled sweeps"
DECADE = (1, 2, 5)  # labels of a logarithmic axis
MANY = 300.0  # from this ratio of its ends on, only the powers of 10 are labelled

Row = dict[str, Any]


def measure(table: Path = TABLE) -> list[Row]:
    """Return the rows of the study.

    Raises
    ------
    FileNotFoundError
        If there is no such file; `python -m benchmarks.scaling --json` writes it.
    """
    return list(json.loads(table.read_text())["rows"])


def plot(out_dir: Path, table: Path = TABLE) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    rows = measure(table)
    with style.page(__file__, out_dir, TITLE, height=6.4) as page:
        page.table(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
        (steps, density), (sizes, literal) = page.figure.subplots(2, 2)
        for axes in (steps, density, sizes, literal):
            axes.set(xscale="log", yscale="log", ylabel="ms")
            axes.minorticks_off()
        _draw_steps(steps, rows)
        _draw_density(density, rows)
        _draw_sizes(sizes, rows)
        _draw_literal(literal, rows)
        for axes in (steps, density, sizes, literal):
            _plain_ticks(axes.xaxis)
            _plain_ticks(axes.yaxis)
    return page.path


def _curve(rows: list[Row], study: str, contender: str, setting: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Values and medians of one contender, in the order measured."""
    chosen = [
        (row["value"], row["median_ms"])
        for row in rows
        if (row["study"], row["contender"], row["setting"]) == (study, contender, setting)
    ]
    values, medians = np.array(chosen).T
    return values, medians


def _plain_ticks(axis: Axis) -> None:
    """Label a logarithmic axis at 1, 2, 5, 10 and so on, or only at powers of 10 where it spans many."""
    low, high = axis.get_view_interval()
    subs = DECADE if high / low < MANY else (1,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _draw_steps(axes: Axes, rows: list[Row]) -> None:
    T, ms = _curve(rows, "steps", "training step")
    axes.plot(T, ms, "o-", color=style.BLUE)
    axes.plot(T, ms[-1] * T / T[-1], ":", color=style.GREY, label="proportional to T")
    axes.set_xlabel("time steps T")
    axes.legend(loc="upper left")
    style.panel_label(axes, "One training step")


def _draw_density(axes: Axes, rows: list[Row]) -> None:
    for contender, colour, marker in ((EVENTS, style.BLUE, "o"), (PLAIN, style.BLACK, "s")):
        share, ms = _curve(rows, "density", contender, SHOWN_WIDTH)
        axes.plot(PERCENT * share, ms, marker=marker, color=colour, label=contender)
    axes.axvline(PERCENT * SPARSE_DENSITY, color=style.VERMILLION, linestyle="--", label="the switch")
    axes.set_xlabel("inputs that spike in a step (%)")
    axes.set_ylim(None, LEGEND_ROOM * axes.get_ylim()[1])
    axes.legend(loc="upper left")
    style.panel_label(axes, f"First layer, {SHOWN_WIDTH}, both products")


def _draw_sizes(axes: Axes, rows: list[Row]) -> None:
    for study, colour, marker in (("width", style.GREEN, "o"), ("batch", style.ORANGE, "s")):
        axes.plot(*_curve(rows, study, "training step"), marker=marker, color=colour, label=study)
    axes.set_xlabel("neurons of the hidden layer; samples of the batch")
    axes.legend(loc="upper left")
    style.panel_label(axes, "One training step, T = 30")


def _draw_literal(axes: Axes, rows: list[Row]) -> None:
    for contender, colour, marker in ((LITERAL, style.VERMILLION, "s"), (COMPILED, style.BLUE, "o")):
        T, ms = _curve(rows, "literal", contender)
        axes.plot(T, ms, marker=marker, color=colour, label=contender)
    axes.set_xlabel("time steps T")
    axes.legend(loc="center right")
    style.panel_label(axes, "Forward and backward of 40 neurons")

"""A network in continuous time tells three classes of points apart by the output neuron that fires first."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from figures import measured, style
from tsslbp_ref import exact
from tsslbp_ref.datasets import yin_yang
from tsslbp_ref.training.exact_training import ExactSettings

TITLE = (
    "Points become input spikes, and the output neuron that fires first\n"
    "names the class, after training with the exact gradient"
)
WEIGHTS = "yin-yang-weights.csv"
COLOURS = (style.BLUE, style.ORANGE, style.GREEN)  # of the classes
NAMES = ("half 0", "half 1", "dots")
N_GRID = 81
EXAMPLE = 0  # the test point of the raster


def trained_weights() -> list[np.ndarray]:
    """The weights of the committed run."""
    with (measured.RESULTS / WEIGHTS).open(newline="") as file:
        rows = [(int(r["layer"]), int(r["row"]), int(r["column"]), float(r["weight"])) for r in csv.DictReader(file)]
    layers = []
    for layer in sorted({row[0] for row in rows}):
        entries = [row[1:] for row in rows if row[0] == layer]
        W = np.empty((1 + max(row for row, _, _ in entries), 1 + max(column for _, column, _ in entries)))
        for row, column, weight in entries:
            W[row, column] = weight
        layers.append(W)
    return layers


def constants() -> tuple[float, float, float, float]:
    """tau_m, tau_s, threshold and duration of the network."""
    row = ExactSettings()
    return row.tau_m, row.tau_s, row.threshold, yin_yang.DURATION_MS


def predictions(points: np.ndarray) -> np.ndarray:
    """The class of each point by the network's first output spike; -1 for none."""
    return exact.predict(trained_weights(), yin_yang.spike_times(points), *constants())


def grid() -> np.ndarray:
    """Points (n, 2) of a square grid that lie in the disc."""
    x, y = np.meshgrid(*(np.linspace(0.0, 1.0, N_GRID),) * 2)
    points = np.column_stack([x.ravel(), y.ravel()])
    return points[np.hypot(*(points - yin_yang.RADIUS).T) <= yin_yang.RADIUS]


def example() -> tuple[exact.ExactResult, np.ndarray]:
    """The run of one test point, and its input spikes (5,)."""
    point = yin_yang.load_yin_yang("test").points[EXAMPLE : EXAMPLE + 1]
    spikes = yin_yang.spike_times(point)[0]
    return exact.simulate(trained_weights(), spikes, *constants()), spikes[:, 0]


def _points(axes: Axes, points: np.ndarray, labels: np.ndarray, size: float) -> None:
    for label, colour in enumerate(COLOURS):
        axes.plot(*points[labels == label].T, "o", color=colour, markersize=size, label=NAMES[label])
    axes.set_aspect("equal")
    axes.set_xlabel("x")
    axes.set_xticks((0, 0.5, 1))
    axes.set_yticks((0, 0.5, 1))


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    test = yin_yang.load_yin_yang("test")
    cells, found = grid(), predictions(test.points)
    regions, wrong = predictions(cells), found != test.labels
    result, inputs = example()
    with style.page(__file__, out_dir, TITLE, height=4.2) as page:
        left, middle, right = page.figure.subplots(1, 3, width_ratios=(1.0, 1.0, 1.15))
        _points(left, test.points, test.labels, 2.0)
        left.set_ylabel("y")
        style.panel_label(left, f"{len(test.labels)} test points")
        left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, columnspacing=0.7, handletextpad=0.1)
        image = np.full((N_GRID, N_GRID), np.nan)
        at = np.rint(cells * (N_GRID - 1)).astype(int)
        image[at[:, 1], at[:, 0]] = np.where(regions < 0, np.nan, regions)
        middle.imshow(
            image, origin="lower", extent=(0, 1, 0, 1), cmap=ListedColormap(COLOURS), vmin=0, vmax=2, alpha=0.55
        )
        middle.plot(*test.points[wrong].T, "x", color=style.BLACK, markersize=5, markeredgewidth=1.2)
        middle.set_xlabel("x")
        middle.set_xticks((0, 0.5, 1))
        middle.set_yticks(())
        middle.spines["left"].set_visible(False)
        style.panel_label(middle, f"first to fire; x: {wrong.sum()} wrong")
        _raster(right, result, inputs)
        rows = [("grid", x, label, y) for (x, y), label in zip(cells, regions, strict=True)]
        rows += [("test", x, label, y) for (x, y), label in zip(test.points, found, strict=True)]
        rows += [("input", neuron, "", time) for neuron, time in enumerate(inputs)]
        for layer, name in enumerate(("hidden", "output")):
            trains = enumerate(result.spike_times[layer])
            rows += [(name, neuron, "", time) for neuron, train in trains for time in train]
        page.table(("what", "x or neuron", "predicted class", "y or time (ms)"), rows)
    return page.path


def _raster(axes: Axes, result: exact.ExactResult, inputs: np.ndarray) -> None:
    """Hidden spikes, the neurons in order of their first spike; first output spikes as lines; inputs below."""
    hidden, outputs = result.spike_times
    order = np.argsort([train[0] if train.size else np.inf for train in hidden], kind="stable")
    for row, neuron in enumerate(order):
        axes.plot(hidden[neuron], np.full(hidden[neuron].size, row), "|", color=style.SPIKE, markersize=3)
    axes.plot(inputs, np.full(inputs.size, -6.0), "^", color=style.INPUT, markersize=6, label="input spikes")
    for label, train in enumerate(outputs):
        if train.size:
            axes.axvline(train[0], color=COLOURS[label], linewidth=2.0, label=f"output {label} fires")
    axes.set_xlim(0.0, yin_yang.DURATION_MS)
    axes.set_ylim(-9.0, len(hidden))
    axes.set_xlabel("time (ms)")
    axes.set_ylabel("hidden neuron, by first spike")
    axes.legend(loc="upper right", borderpad=0.0, handlelength=0.8, borderaxespad=0.0)
    style.panel_label(axes, "hidden spikes for one point")

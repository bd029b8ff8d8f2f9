"""The spike patterns of a hidden layer's neurons in five steps, and what following them saves the next layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

import tsslbp_ref as tr
from figures import measured, style
from tsslbp_ref.engine.spike_patterns import SHARE_A_STEP

TITLE = (
    "In five steps the 400 neurons of a layer have few spike patterns:\n"
    "the next layer adds those that agree once, and the silent never"
)
NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)
SPEC, N_STEPS, N_CLASSES = "400-400", 5, 10
N_IMAGES, SIDE = 100, 28
INK = 0.3  # share of pixels that are not 0
MEAN, DEVIATION = 0.1307, 0.3081  # of MNIST's pixels
SEED = 0
TABLE = measured.RESULTS / "scaling.json"
SHOWN = f"T {N_STEPS}, width 800"
PATTERNS, PLAIN = "spike patterns", "plain product"
PERCENT = 100.0


def pattern_counts(seed: int = SEED) -> dict[str, int]:
    """How many neurons of the first hidden layer have which pattern, over all images, the most frequent first."""
    rng = np.random.default_rng(seed)
    shape = (N_IMAGES, 1, SIDE, SIDE)
    x = (rng.random(shape) * (rng.random(shape) < INK) - MEAN) / DEVIATION
    net = tr.Network.from_spec(SPEC, shape[1:], N_CLASSES, N_STEPS, NEURON, seed=seed, dtype="float64", n_threads=1)
    s = net.gradient_flow(x, np.zeros(N_IMAGES, int))[0].trace.s.reshape(N_STEPS, -1)
    trains, counts = np.unique(s.astype(int), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return {"".join(str(bit) for bit in trains[:, k]): int(counts[k]) for k in order}


def times(table: Path = TABLE) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By contender: shares of the neurons that fire, and ms of both products.

    Raises
    ------
    FileNotFoundError
        If there is no such file; `python -m benchmarks.scaling --json` writes it.
    """
    rows = [r for r in json.loads(table.read_text())["rows"] if (r["study"], r["setting"]) == ("patterns", SHOWN)]
    return {
        contender: (
            np.array([row["value"] for row in rows if row["contender"] == contender]),
            np.array([row["median_ms"] for row in rows if row["contender"] == contender]),
        )
        for contender in (PATTERNS, PLAIN)
    }


def plot(out_dir: Path, table: Path = TABLE) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    patterns, curves = pattern_counts(), times(table)
    with style.page(__file__, out_dir, TITLE, height=4.6) as page:
        rows = [("neurons that have it", pattern, count) for pattern, count in patterns.items()]
        rows += [(name, share, ms) for name, curve in curves.items() for share, ms in zip(*curve, strict=True)]
        page.table(("what", "pattern_or_share", "count_or_ms"), rows)
        left, right = page.figure.subplots(1, 2)
        _draw_patterns(left, patterns)
        _draw_times(right, curves)
    return page.path


def _draw_patterns(axes: Axes, patterns: dict[str, int]) -> None:
    """A bar a pattern, in percent of all neurons and images."""
    share = PERCENT * np.array(list(patterns.values())) / sum(patterns.values())
    silent = "0" * N_STEPS
    colours = [style.PALE if pattern == silent else style.BLUE for pattern in patterns]
    position = np.arange(len(patterns))[::-1]
    axes.barh(position, share, color=colours)
    for row, percent in zip(position, share, strict=True):
        axes.annotate(f"{percent:.1f}", (percent, row), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(position, list(patterns), family="monospace")
    axes.set(xlabel="neurons (%)", ylabel="spike train of 5 steps", xlim=(0, 1.2 * share.max()))
    style.panel_label(axes, "Patterns, 100 images")


def _draw_times(axes: Axes, curves: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Both products of the next layer over the share of neurons that fire."""
    for contender, colour, marker in ((PATTERNS, style.BLUE, "o"), (PLAIN, style.BLACK, "s")):
        share, ms = curves[contender]
        axes.plot(PERCENT * share, ms, marker=marker, color=colour, label=contender)
    axes.axvline(PERCENT * SHARE_A_STEP * N_STEPS, color=style.VERMILLION, linestyle="--", label="the switch")
    axes.set(xlabel="neurons that fire at all (%)", ylabel="ms", ylim=(0, None))
    axes.legend(loc="lower right")
    style.panel_label(axes, f"Next layer, {SHOWN}")

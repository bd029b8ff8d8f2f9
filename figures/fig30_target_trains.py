"""Two desired trains, one network: accuracy by epoch, and seed by seed; from the committed tables of all epochs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from figures import measured, style
from studies import ablation
from tsslbp_ref import plots
from tsslbp_ref.training.experiments import EXPERIMENTS

TITLE = "With the target train that the paper prints, filtered once,\nthe network reaches the paper's accuracy"
EXPERIMENT = "fashion-mnist-400-400"
RELEASED, PRINTED = "released code: 0,1,1,1,1 twice filtered", "paper: 0,1,0,1,1 once filtered"
TABLES = {
    RELEASED: ("learning-curves-fashion-mnist-400-400.csv", "released"),
    PRINTED: ("target-train.csv", "released-kernel-paper"),
}
LINES = {RELEASED: (style.BLUE, "-"), PRINTED: (style.ORANGE, (0, (4, 1)))}
MARKERS = {RELEASED: "o", PRINTED: "s"}
SHOWN_FROM = 88.0  # percent; below, the first epochs

Curves = dict[str, npt.NDArray[np.float64]]


def measure() -> Curves:
    """Test accuracy in percent, (seeds, epochs), by target; the same seeds in the same order."""
    curves, names = {}, {}
    for target, (table, rule) in TABLES.items():
        runs = [
            run
            for run in ablation.read_runs(measured.RESULTS / table)
            if (run.experiment, run.rule) == (EXPERIMENT, rule)
        ]
        runs.sort(key=lambda run: run.name)
        curves[target], names[target] = np.array([run.accuracy for run in runs]), [run.name for run in runs]
    if names[RELEASED] != names[PRINTED]:
        raise ValueError(f"both tables must have the same seeds, got {names}")
    return curves


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    curves = measure()
    with style.page(__file__, out_dir, TITLE, height=4.8) as page:
        rows = (
            (target, seed, epoch, value)
            for target, runs in curves.items()
            for seed, run in enumerate(runs)
            for epoch, value in enumerate(run, start=1)
        )
        page.table(("target", "seed", "epoch", "test_accuracy"), rows)
        left, right = page.figure.subplots(1, 2, sharey=True, width_ratios=(1.7, 1.0))
        _draw_curves(left, curves)
        _draw_pairs(right, curves)
        handles, labels = left.get_legend_handles_labels()
        page.figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return page.path


def _draw_curves(axes: style.Axes, curves: Curves) -> None:
    """Mean over the seeds, and their range."""
    for target, runs in curves.items():
        colour, line = LINES[target]
        plots.learning_curves(runs, axes, spread="range", color=colour, linestyle=line, label=target)
    _draw_paper(axes)
    axes.set_ylim(SHOWN_FROM, None)
    axes.set_ylabel("test accuracy (%)")
    style.panel_label(axes, f"mean and range of {len(curves[RELEASED])} seeds")


def _draw_pairs(axes: style.Axes, curves: Curves) -> None:
    """A line a seed, from one target to the other: best and last epoch."""
    for start, choose in ((0.0, np.max), (2.0, lambda runs, axis: runs[:, -1])):
        values = {target: choose(runs, axis=1) for target, runs in curves.items()}
        for pair in zip(*values.values(), strict=True):
            axes.plot((start, start + 1.0), pair, color=style.GREY, linewidth=0.9)
        for index, (target, of_seed) in enumerate(values.items()):
            axes.plot([start + index] * len(of_seed), of_seed, MARKERS[target], color=LINES[target][0])
    _draw_paper(axes)
    axes.set_xticks((0.5, 2.5), ("best epoch", "last epoch"))
    axes.set_xlim(-0.5, 3.5)
    style.panel_label(axes, "a line a seed")


def _draw_paper(axes: style.Axes) -> None:
    paper = EXPERIMENTS[EXPERIMENT].paper.mean
    assert paper is not None
    axes.axhline(
        paper, color=style.BLACK, linestyle=(0, (5, 3)), linewidth=1.2, label=f"paper, best epoch: {paper:.2f} %"
    )

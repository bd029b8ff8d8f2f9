"""Learning curves: test accuracy by epoch, mean and range over the seeds, beside the paper's accuracy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from figures import measured, style
from tsslbp_ref import plots
from tsslbp_ref.training.experiments import EXPERIMENTS
from tsslbp_ref.training.runs import METRIC_NAMES

TITLE = "Test accuracy by epoch, beside what the paper reports\nafter its full number of epochs"
COLUMNS = ("experiment", "rule", "run", *METRIC_NAMES)
PERCENT = 100.0
MOST_PARTS = 6  # of a network's name that a panel's width holds
N_COLUMNS = 2


@dataclass(frozen=True)
class Curve:
    """One experiment: accuracy (runs, epochs) in percent over the epochs that all its runs have reached."""

    experiment: str
    accuracy: np.ndarray
    n_train: int

    @property
    def epochs(self) -> np.ndarray:
        """1, 2, ..."""
        return np.arange(1, self.accuracy.shape[1] + 1)


def measure() -> list[Curve]:
    """Read the curves of the released rule from all tables of learning curves, in the order of the paper's table."""
    runs: dict[str, dict[str, list[measured.Row]]] = {}
    for rows in measured.tables_with(*COLUMNS):
        found: dict[tuple[str, str], list[measured.Row]] = {}
        for row in rows:
            if row.get("validation_accuracy"):  # trained on fewer pictures than the paper's
                continue
            found.setdefault((row["experiment"], row["run"]), []).append(row)
        for (experiment, run), epochs in found.items():
            known = runs.setdefault(experiment, {})
            if len(epochs) > len(known.get(run, ())):  # a run in two tables: the longer one
                known[run] = epochs
    return [_curve(name, list(runs[name].values())) for name in measured.in_order(set(runs))]


def _curve(experiment: str, runs: list[list[measured.Row]]) -> Curve:
    n_epochs = min(len(rows) for rows in runs)
    accuracy = np.array([[PERCENT * float(row["test_accuracy"]) for row in rows[:n_epochs]] for rows in runs])
    row = runs[0][-1]
    return Curve(experiment, accuracy, round(float(row["seconds"]) * float(row["samples_per_second"])))


def paper_accuracy(experiment: str) -> tuple[float, str]:
    """Return what the paper reports, in percent, and whether that is a mean or one run."""
    paper = EXPERIMENTS[experiment].paper
    return (paper.best, "best run") if paper.mean is None else (paper.mean, "mean")


def _two_digits(n: int) -> str:
    """Write a count to two digits: it comes from a rounded speed."""
    return f"{round(n, 1 - math.floor(math.log10(n))):,}"


def _shortened(spec: str) -> str:
    """A network's name, its middle left out where it would run out of the panel."""
    parts = spec.split("-")
    return spec if len(parts) <= MOST_PARTS else f"{'-'.join(parts[:3])}-...-{'-'.join(parts[-3:])}"


def _draw(ax: style.Axes, curve: Curve) -> None:
    mean = curve.accuracy.mean(axis=0)
    n_seeds = len(curve.accuracy)
    plots.learning_curves(curve.accuracy, ax, spread="range")
    ax.set_xlabel("")
    value, kind = paper_accuracy(curve.experiment)
    ax.axhline(value, color=style.BLACK, linestyle=(0, (5, 3)), linewidth=1.4)
    ax.annotate(
        f"paper ({kind}) {value:.2f} %",
        (1.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=style.SMALL,
    )
    best = curve.accuracy.max(axis=1).mean()
    seeds = "1 seed" if n_seeds == 1 else f"{n_seeds} seeds, mean and range"
    far_below = value - best > best - mean.min()  # the curve is in the lower half: the remark goes above it
    ax.text(
        0.98,
        0.6 if far_below else 0.05,
        f"best epoch {best:.2f} %\n{seeds}\n{_two_digits(curve.n_train)} training samples",
        transform=ax.transAxes,
        ha="right",
        va="bottom",
        fontsize=style.SMALL,
    )
    row = EXPERIMENTS[curve.experiment]
    style.panel_label(ax, f"{measured.DATA_SETS[row.dataset]}, {row.n_steps} steps\n{_shortened(row.spec)}")
    ax.set_xlim(0.5, len(mean) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    curves = measure()
    n_rows = math.ceil(len(curves) / N_COLUMNS)
    with style.page(__file__, out_dir, TITLE, height=1.0 + 3.3 * n_rows) as page:
        page.table(
            ("experiment", "seeds", "epoch", "paper", "lowest", "highest", "mean"),
            (
                (
                    c.experiment,
                    len(c.accuracy),
                    epoch,
                    paper_accuracy(c.experiment)[0],
                    each.min(),
                    each.max(),
                    each.mean(),
                )
                for c in curves
                for epoch, each in zip(c.epochs, c.accuracy.T, strict=True)
            ),
        )
        panels = page.figure.subplots(n_rows, N_COLUMNS, squeeze=False)
        for ax, curve in zip(panels.flat, curves, strict=False):
            _draw(ax, curve)
        for ax in panels.flat[len(curves) :]:
            ax.set_axis_off()
        for ax in panels[:, 0]:
            ax.set_ylabel("test accuracy (%)")
        for ax in panels.flat[max(0, len(curves) - N_COLUMNS) : len(curves)]:
            ax.set_xlabel("epoch")
    return page.path

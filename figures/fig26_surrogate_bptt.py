"""TSSL-BP beside the surrogate alone: the same network, data and optimiser, by epoch and seed by seed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from figures import measured, style
from tsslbp_ref import plots

TITLE = "The surrogate alone, instead of TSSL-BP's chain rule:\nthe same network learns no worse"
TABLE = measured.RESULTS / "ablation.csv"
EXPERIMENT = "fashion-mnist-400-400"
RULES = ("released", "surrogate")
LABELS = {"released": "TSSL-BP as released", "surrogate": "surrogate alone"}
PERCENT = 100.0


def measure(table: Path = TABLE) -> dict[str, dict[str, np.ndarray]]:
    """Test accuracy in percent by rule and run, over the epochs; only runs that both rules have finished.

    Raises
    ------
    FileNotFoundError
        If there is no such table; `tsslbp-ref results RUNS --csv` writes it.
    ValueError
        If no run is there under both rules.
    """
    found: dict[str, dict[str, list[float]]] = {rule: {} for rule in RULES}
    with table.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["experiment"] == EXPERIMENT and row["rule"] in RULES:
                found[row["rule"]].setdefault(row["run"], []).append(PERCENT * float(row["test_accuracy"]))
    n_epochs = max((len(epochs) for runs in found.values() for epochs in runs.values()), default=0)
    runs = [run for run in found[RULES[0]] if all(len(found[rule].get(run, ())) == n_epochs for rule in RULES)]
    if not runs:
        raise ValueError(f"{table} must hold a finished run of {EXPERIMENT} under each of {', '.join(RULES)}")
    return {rule: {run: np.array(found[rule][run]) for run in sorted(runs)} for rule in RULES}


def plot(out_dir: Path, table: Path = TABLE) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    curves = measure(table)
    with style.page(__file__, out_dir, TITLE, height=5.0) as page:
        page.table(
            ("rule", "run", "epoch", "test_accuracy"),
            (
                (rule, run, epoch, value)
                for rule, runs in curves.items()
                for run, values in runs.items()
                for epoch, value in enumerate(values, start=1)
            ),
        )
        left, right = page.figure.subplots(1, 2, width_ratios=(1.6, 1.0))
        for rule, runs in curves.items():
            each = np.array(list(runs.values()))
            plots.learning_curves(each, left, spread="range", color=style.RULE_COLOURS[rule], label=LABELS[rule])
        left.set(xlabel="epoch", ylabel="test accuracy (%)")
        left.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        left.legend(loc="lower right")
        n_runs = len(curves[RULES[0]])
        style.panel_label(left, f"mean and range of {n_runs} seed{'s' if n_runs > 1 else ''}")
        _draw_pairs(right, curves)
    return page.path


def _draw_pairs(axes: style.Axes, curves: dict[str, dict[str, np.ndarray]]) -> None:
    """Best epoch of either rule, one line a seed."""
    best = np.array([[values.max() for values in curves[rule].values()] for rule in RULES])
    axes.plot([0, 1], best, color=style.GREY, linewidth=1.0)
    for index, rule in enumerate(RULES):
        axes.plot([index] * best.shape[1], best[index], "o", color=style.RULE_COLOURS[rule])
        mean = best[index].mean()
        shift, side = ((-12, "right"), (12, "left"))[index]
        text = f"mean\n{mean:.2f}"
        axes.annotate(text, (index, mean), (shift, 0), textcoords="offset points", ha=side, va="center")
    axes.set_xticks([0, 1], ["TSSL-BP", "surrogate"])
    axes.set_xlim(-0.7, 1.7)
    axes.margins(y=0.25)
    style.panel_label(axes, "best epoch, seed by seed (%)")

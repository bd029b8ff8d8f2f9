"""Depth: accuracy and the size of delta at the first layer, for 1 to 10 hidden layers, by rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from figures import measured, style
from studies import depth_and_steps as study
from studies.trained_runs import read_rows

TITLE = "Up to six hidden layers of 200 train, the deeper the worse;\nwith eight or more none of the three rules learns"
TABLE = "depth.csv"
RULES = {
    "released": ("released", style.BLUE, "o"),
    "september-2020": ("September 2020", style.GREEN, "s"),
    "surrogate": ("surrogate alone", style.ORANGE, "^"),
}
PERCENT = 100.0

Values = dict[tuple[str, int], list[float]]


def measure() -> tuple[Values, Values, int]:
    """By (rule, hidden layers) and seed: accuracy in the end (%), |delta| of layer 1 over the last at the start."""
    rows = read_rows(measured.RESULTS / TABLE, study.COLUMNS)
    last = max(int(row["epoch"]) for row in rows)
    accuracy: Values = {}
    ratio: Values = {}
    for row in rows:
        depth = row["spec"].count("-") + 1
        key = (row["rule"], depth)
        if int(row["epoch"]) == last:
            accuracy.setdefault(key, []).append(PERCENT * float(row["test_accuracy"]))
        if int(row["epoch"]) == 0:
            ratio.setdefault(key, []).append(float(row["delta_1"]) / float(row[f"delta_{depth + 1}"]))
    return accuracy, ratio, last


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    accuracy, ratio, epochs = measure()
    with style.page(__file__, out_dir, TITLE, height=4.8) as page:
        page.table(
            ("rule", "hidden_layers", "seed", "accuracy", "delta_first_over_last"),
            (
                (*key, seed, *pair)
                for key in accuracy
                for seed, pair in enumerate(zip(accuracy[key], ratio[key], strict=True))
            ),
        )
        left, right = page.figure.subplots(1, 2)
        for axes, values in ((left, accuracy), (right, ratio)):
            for rule, (label, colour, marker) in RULES.items():
                depths = sorted(depth for name, depth in values if name == rule)
                means = [float(np.mean(values[rule, depth])) for depth in depths]
                axes.plot(depths, means, color=colour, marker=marker, label=label)
                for depth in depths:
                    axes.plot([depth] * len(values[rule, depth]), values[rule, depth], ".", color=colour, alpha=0.5)
            axes.set_xlabel("hidden layers of 200 neurons")
            axes.set_xticks(study.DEPTHS)
        left.set_ylabel(f"test accuracy after {epochs} epochs (%)")
        right.set_yscale("log")
        right.set_ylabel(r"mean $|\delta|$, first layer / last layer")
        style.panel_label(left, "a line: mean; points: seeds")
        style.panel_label(right, "before training")
        page.figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return page.path

"""Depth: accuracy for 1 to 10 hidden layers, and the size of delta layer by layer, by rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from figures import measured, style
from studies import depth_and_steps as study
from studies.trained_runs import read_rows

TITLE = (
    "Up to seven hidden layers of 200 train, beyond two the deeper the worse;\n"
    "with eight or more none of the three rules learns"
)
TABLE = "depth.csv"
RULES = {
    "released": ("released", style.BLUE, "o"),
    "september-2020": ("September 2020", style.GREEN, "s"),
    "surrogate": ("surrogate alone", style.ORANGE, "^"),
}
PERCENT = 100.0
SHOWN = {7: "--", 10: "-"}  # depths whose layers are drawn one by one: the deepest that trains, and the deepest

Values = dict[tuple[str, int], list[list[float]]]


def measure() -> tuple[Values, Values, int]:
    """By (rule, hidden layers) and seed: accuracy in the end (%), and |delta| of each layer before training."""
    rows = read_rows(measured.RESULTS / TABLE, study.COLUMNS)
    last = max(int(row["epoch"]) for row in rows)
    accuracy: Values = {}
    delta: Values = {}
    for row in rows:
        depth = row["spec"].count("-") + 1
        key = (row["rule"], depth)
        if int(row["epoch"]) == last:
            accuracy.setdefault(key, []).append([PERCENT * float(row["test_accuracy"])])
        if int(row["epoch"]) == 0:
            delta.setdefault(key, []).append([float(row[f"delta_{k}"]) for k in range(1, depth + 2)])
    return accuracy, delta, last


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    accuracy, delta, epochs = measure()
    with style.page(__file__, out_dir, TITLE, height=4.8) as page:
        page.table(
            ("rule", "hidden_layers", "seed", "accuracy", "layer", "delta"),
            (
                (*key, seed, *accuracy[key][seed], layer, value)
                for key, seeds in delta.items()
                for seed, layers in enumerate(seeds)
                for layer, value in enumerate(layers, start=1)
            ),
        )
        left, right = page.figure.subplots(1, 2)
        for rule, (label, colour, marker) in RULES.items():
            depths = sorted(depth for name, depth in accuracy if name == rule)
            means = [np.mean(accuracy[rule, depth]) for depth in depths]
            left.plot(depths, means, color=colour, marker=marker, label=label)
            for depth in depths:
                left.plot([depth] * len(accuracy[rule, depth]), accuracy[rule, depth], ".", color=colour, alpha=0.5)
            for depth, line in SHOWN.items():
                by_layer = np.exp(np.log(delta[rule, depth]).mean(axis=0))
                right.plot(range(1, depth + 2), by_layer, line, color=colour, marker=marker)
        left.set(xlabel="hidden layers of 200 neurons", xticks=study.DEPTHS)
        left.set_ylabel(f"test accuracy after {epochs} epochs (%)")
        right.set(xlabel="layer (the last one is the output)", xticks=range(1, max(SHOWN) + 2), yscale="log")
        right.set_ylabel(r"mean $|\delta|$")
        style.panel_label(left, "a line: mean; points: seeds")
        style.panel_label(right, "before training; 10 hidden layers, dashed 7")
        page.figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return page.path

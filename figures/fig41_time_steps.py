"""Accuracy by number of time steps: TSSL-BP, the surrogate alone, and an ANN converted to spikes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from figures import measured, style
from studies import depth_and_steps as study
from studies.trained_runs import read_rows

TITLE = (
    "TSSL-BP and the surrogate have 86 % in five time steps and not in three;\n"
    "an ANN converted with care has it in three, plainly in fifteen, not in twelve"
)
TABLE = "time-steps.csv"
CONVERTED = "ann-conversion.csv"
RULES = {
    "released": ("TSSL-BP, released rule", style.BLUE, "o"),
    "surrogate": ("surrogate alone", style.ORANGE, "^"),
}
CONVERSION = {  # the plainest way and the best one, of figure 25: (scale, reset, start)
    ("100", "zero", "0"): ("ANN converted, largest activity, reset to 0", style.SKY_BLUE, "v"),
    ("99.9", "subtract", "0.5"): ("ANN converted, 99.9 %, reset by V, start at V/2", style.GREEN, "s"),
}
PERCENT = 100.0

Accuracies = dict[tuple[str, int], list[float]]


def measure() -> tuple[Accuracies, int]:
    """By (rule, steps): the seeds' accuracies in the end (%), and the number of epochs."""
    rows = read_rows(measured.RESULTS / TABLE, study.COLUMNS)
    last = max(int(row["epoch"]) for row in rows)
    accuracies: Accuracies = {}
    for row in rows:
        if int(row["epoch"]) == last:
            accuracies.setdefault((row["rule"], int(row["steps"])), []).append(PERCENT * float(row["test_accuracy"]))
    return accuracies, last


def converted() -> Accuracies:
    """By (label, steps), up to the most steps of the study: the converted ANN's accuracy (%)."""
    with (measured.RESULTS / CONVERTED).open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "conversion"]
    shown = [row for row in rows if int(row["steps"]) <= max(study.STEPS)]
    return {
        (CONVERSION[key][0], int(row["steps"])): [PERCENT * float(row["accuracy"])]
        for row in shown
        if (key := (row["scale"], row["reset"], row["start"])) in CONVERSION
    }


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    trained, epochs = measure()
    curves = {name: (trained, *look) for name, look in RULES.items()}
    curves |= {label: (converted(), label, colour, marker) for label, colour, marker in CONVERSION.values()}
    with style.page(__file__, out_dir, TITLE, height=5.0) as page:
        page.table(
            ("method", "steps", "seed", "accuracy"),
            (
                (label, steps, seed, value)
                for name, (values, label, *_) in curves.items()
                for (other, steps), seeds in values.items()
                if other == name
                for seed, value in enumerate(seeds)
            ),
        )
        axes = page.figure.subplots()
        for name, (values, label, colour, marker) in curves.items():
            steps = sorted(T for other, T in values if other == name)
            axes.plot(steps, [np.mean(values[name, T]) for T in steps], color=colour, marker=marker, label=label)
            for T in steps:
                axes.plot([T] * len(values[name, T]), values[name, T], ".", color=colour, alpha=0.5)
        axes.set_xlabel("time steps T")
        axes.set_xticks(study.STEPS)
        axes.set_ylim(0.0, PERCENT)
        axes.set_ylabel(f"test accuracy (%); spiking: after {epochs} epochs")
        page.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return page.path

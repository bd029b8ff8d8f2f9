"""Pruning: accuracy of a trained network without its least active, or as many random, hidden neurons."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from figures import measured, style

TITLE = (
    "Few neurons can be left out for nothing: without the least active fifth\n"
    "a point is lost, without half of all neurons six to eight"
)
TABLE = "pruning.csv"
WAYS = {"least active": (style.BLUE, "o"), "random": (style.VERMILLION, "s")}
PERCENT = 100.0


def measure() -> dict[str, dict[int, list[float]]]:
    """Accuracy (%) by way of choosing, share of hidden neurons dropped (%) and run."""
    with (measured.RESULTS / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    values: dict[str, dict[int, list[float]]] = {way: {} for way in WAYS}
    for row in rows:
        name, _, share = row["dropped"].rpartition(" ")
        accuracy = PERCENT * float(row["test_accuracy"])
        if row["dropped"] == "nothing":
            for way in WAYS:
                values[way].setdefault(0, []).append(accuracy)
        elif name in WAYS:
            values[name].setdefault(int(share.rstrip("%")), []).append(accuracy)
    return values


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    values = measure()
    with style.page(__file__, out_dir, TITLE, height=4.4) as page:
        rows = ((way, s, i, v) for way, by in values.items() for s, of in by.items() for i, v in enumerate(of))
        page.table(("dropped", "percent_of_hidden_neurons", "run", "accuracy"), rows)
        ax = page.figure.subplots()
        for way, (colour, marker) in WAYS.items():
            shares = sorted(values[way])
            ax.plot(shares, [float(np.mean(values[way][s])) for s in shares], color=colour, marker=marker, label=way)
            for share in shares:
                ax.plot([share] * len(values[way][share]), values[way][share], ".", color=colour, alpha=0.5)
        ax.set_xlabel("hidden neurons dropped after training (% of all)")
        ax.set_ylabel("test accuracy (%)")
        ax.set_ylim(0.0, 100.0)
        ax.legend(loc="lower left", title="dropped neurons")
    return page.path

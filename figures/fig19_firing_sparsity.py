"""Firing sparsity: how often the neurons of each trained layer fire for one sample."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from figures import measured, style

TITLE = "Most neurons of a trained network stay silent for a sample"
GROUPS = ((0, 0), (1, 1), (2, 2), (3, 5), (6, 10), (11, 1000))  # firing counts, least and most, both included
LABELS = ("silent", "1 spike", "2", "3-5", "6-10", "11 or more spikes")
PALEST, DARKEST = 0.62, 1.0  # of the right half of the diverging map, for 1 spike and for the most
PERCENT = 100.0
LEAST_LABELLED = 5.0  # percent: a narrower span has no room for its number


def measure() -> tuple[list[measured.LayerRow], np.ndarray]:
    """Return the layers, and percent[layer, group] of neurons with so many spikes for a sample, mean over the runs."""
    counts = measured.table("firing-counts.csv")
    for row in counts:
        row |= {label: row["share"] if low <= int(row["count"]) <= high else "0" for label, (low, high) in _groups()}
    layers = measured.layer_rows(counts, ("steps", *LABELS))
    # Every run has a row for each count 0 .. T, so that the sum of a group is the mean times T + 1.
    share = np.array([[layer.means[label] * (layer.means["steps"] + 1) for label in LABELS] for layer in layers])
    return layers, PERCENT * share


def _groups() -> zip[tuple[str, tuple[int, int]]]:
    return zip(LABELS, GROUPS, strict=True)


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    layers, percent = measure()
    shades = matplotlib.colormaps[style.DIVERGING_MAP](np.linspace(PALEST, DARKEST, len(LABELS) - 1))
    with style.page(__file__, out_dir, TITLE, height=measured.page_height(layers)) as page:
        page.table(
            ("experiment", "layer", "name", *(f"percent {label}" for label in LABELS)),
            ((row.experiment, row.layer, row.name, *values) for row, values in zip(layers, percent, strict=True)),
        )
        ax = page.figure.subplots()
        heights = measured.draw_layer_rows(ax, layers)
        left = np.zeros(len(layers))
        for label, colour, width in zip(LABELS, [style.PALE, *shades], percent.T, strict=True):
            ax.barh(heights, width, left=left, height=0.72, color=colour, label=label)
            left += width
        for y, width in zip(heights, percent[:, 0], strict=True):
            if width >= LEAST_LABELLED:
                ax.text(1.0, y, f"{width:.0f} % silent", va="center", fontsize=style.SMALL)
        ax.set_xlim(0.0, PERCENT)
        ax.set_xlabel("neurons, by their number of spikes for one test sample (%)")
        page.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=len(LABELS))
    return page.path

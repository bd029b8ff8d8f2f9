"""First-layer weights before and after training: what learning wrote over the random start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from figures import measured, style
from tsslbp_ref import plots

TITLE = (
    "Learning writes shapes of clothes over the random start:\nthe six first-layer neurons whose weights changed most"
)
EXPERIMENT, RUN = "fashion-mnist-400-400", "seed0"
SIDE = 28


def measure() -> tuple[list[int], dict[str, np.ndarray]]:
    """Return the neurons' numbers, and their weights (neuron, 28, 28) before, after, and the change."""
    rows = measured.table(f"first-layer-{EXPERIMENT}-{measured.RULE}-{RUN}.csv")
    numbers = list(dict.fromkeys(int(row["filter"]) for row in rows))  # in the table's order
    initial, learned = (
        np.array([float(row[name]) for row in rows]).reshape(len(numbers), SIDE, SIDE)
        for name in ("initial", "learned")
    )
    return numbers, {"initial": initial, "learned": learned, "change": learned - initial}


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    numbers, images = measure()
    labels = {"initial": "initial\nweights", "learned": "learned\nweights", "change": "change"}
    limit = max(np.abs(each).max() for each in images.values())
    with style.page(__file__, out_dir, TITLE, height=5.6) as page:
        page.table(
            ("neuron", "row", "column", *images),
            (
                (numbers[i], y, x, *(each[i, y, x] for each in images.values()))
                for i, y, x in np.ndindex(images["initial"].shape)
            ),
        )
        axes = page.figure.subplots(3, len(numbers))
        for row, (name, each) in zip(axes, images.items(), strict=True):
            for ax, filter_image in zip(row, each, strict=True):
                plots.filters(filter_image[np.newaxis], ax, limit=limit)
            row[0].set_ylabel(labels[name])
        for ax, number in zip(axes[0], numbers, strict=True):
            ax.set_title(f"neuron {number}", fontsize=style.SMALL)
        bar = page.figure.colorbar(axes[0, 0].images[0], ax=axes, location="bottom", shrink=0.6, aspect=40)
        bar.set_label("weight of a pixel (membrane per unit of input)")
    return page.path

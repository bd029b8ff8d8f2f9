"""Operations a picture: additions of the spiking network against the multiplications of an ANN, layer by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from figures import measured, style
from studies.operations import PICOJOULE_ADD, PICOJOULE_MULTIPLY_ADD

TITLE = "Sparse spikes do not always save operations:\nmany layers add more than an ANN of the same shape multiplies"
TABLE = "operations.csv"
TICKS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
COLOURS = {True: style.BLUE, False: style.ORANGE}  # fewer operations than the ANN, or more
LABELS = {True: "fewer than the ANN's multiplications", False: "more"}


def measure() -> list[measured.LayerRow]:
    """Return the layers that spikes feed, with both counts, mean over the runs."""
    rows = [row for row in measured.table(TABLE) if row["input"] == "spikes"]
    return measured.layer_rows(rows, ("additions", "multiplications"))


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    layers = measure()
    ratio = np.array([row.means["additions"] / row.means["multiplications"] for row in layers])
    with style.page(__file__, out_dir, TITLE, height=measured.page_height(layers) + 0.2) as page:
        columns = ("experiment", "layer", "name", "additions", "multiplications", "ratio")
        rows = zip(layers, ratio, strict=True)
        page.table(columns, ((r.experiment, r.layer, r.name, *r.means.values(), value) for r, value in rows))
        ax = page.figure.subplots()
        ax.set_xscale("log")
        heights = np.array(measured.draw_layer_rows(ax, layers))
        for text in ax.texts:  # the headlines start at the left edge of a logarithmic axis
            text.set_x(TICKS[0])
            text.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1.0})
        for fewer in (True, False):
            here = (ratio < 1.0) == fewer
            ax.barh(
                heights[here], ratio[here] - TICKS[0], left=TICKS[0], height=0.72, color=COLOURS[fewer],
                label=LABELS[fewer],
            )  # fmt: skip
        for y, value in zip(heights, ratio, strict=True):
            ax.text(value * 1.04, y, f"{value:.2g}", va="center", fontsize=style.SMALL)
        ax.axvline(1.0, color=style.BLACK, linewidth=1.2)
        even = PICOJOULE_MULTIPLY_ADD / PICOJOULE_ADD
        label = f"{even:.1f}: equal energy of the arithmetic, 32 bits at 45 nm (Horowitz 2014)"
        ax.axvline(even, color=style.BLACK, linewidth=1.2, linestyle=(0, (5, 3)), label=label)
        ax.set_xlim(TICKS[0], 40.0)
        ax.xaxis.set_major_locator(FixedLocator(TICKS))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        ax.set_xlabel("synaptic additions a picture / multiplications of an ANN of the same shape")
        page.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return page.path

"""The embedded task: random spike trains come in, and the output neurons learn to fire a word."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from figures import style
from tsslbp_ref import plots
from tsslbp_ref.training import raster

TITLE = "Out of random input spikes a network learns when its output neurons\nhave to fire: their spikes write TSSL"
N_UPDATES = 1500
DTYPE = "float64"
LARGE_MARK, SMALL_MARK = 6.0, 2.2  # points


def measure() -> tuple[dict[str, np.ndarray], tuple[float, float]]:
    """Train the network; return the rasters (T, N) by name, and the loss before and after."""
    task = raster.raster_task(dtype=DTYPE)
    before = raster.output_spikes(task)
    history = raster.learn(task, N_UPDATES)
    rasters = {
        "input": task.inputs[:, 0],
        "before": before,
        "learned": raster.output_spikes(task),
        "desired": task.desired[:, 0],
    }
    return rasters, (history[0], history[-1])


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    rasters, (loss_before, loss_after) = measure()
    wrong = int(np.abs(rasters["learned"] - rasters["desired"]).sum())
    cells = rasters["desired"].size
    labels = {
        "input": f"input: {rasters['input'].shape[1]} random spike trains, the same at every update",
        "before": f"output before training (loss {loss_before:.1f})",
        "learned": f"output after {N_UPDATES} updates (loss {loss_after:.2f}): {wrong} of {cells} steps are wrong",
        "desired": "desired output",
    }
    with style.page(__file__, out_dir, TITLE, height=7.2) as page:
        spikes = ((name, t, neuron) for name, s in rasters.items() for t, neuron in zip(*np.nonzero(s), strict=True))
        page.table(("raster", "t", "neuron"), spikes)
        axes = page.figure.subplots(4, 1, sharex=True, height_ratios=(2.0, 1.0, 1.0, 1.0))
        for ax, (name, s) in zip(axes, rasters.items(), strict=True):
            desired, size = (None, SMALL_MARK) if name == "input" else (rasters["desired"], LARGE_MARK)
            plots.raster(s, ax, desired=desired, markersize=size)
            style.panel_label(ax, labels[name])
            ax.set_xlabel("")
            if name != "input":
                ax.set_yticks((0, 3, 6))
        axes[-1].set_xlabel("time (steps)")
        remark = axes[1].set_title("filled: too many, hollow: missing", loc="right", fontsize=style.SMALL)
        remark.set_color(style.VERMILLION)
    return page.path

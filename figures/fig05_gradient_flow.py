"""How much gradient reaches every layer at every time step, before and after training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.ticker import MultipleLocator

import tsslbp_ref as tr
from figures import style
from tsslbp_ref import plots
from tsslbp_ref.training import raster

TITLE = (
    "Gradient flows against time, from an error to the steps before it:\n"
    "once trained, little is left after the last wrong spike"
)
HIDDEN_LAYERS = "80-80"
WEIGHT_SCALE = 3.0
N_UPDATES = 600


def measure() -> tuple[dict[str, list[tr.LayerFlow]], dict[str, float], dict[str, np.ndarray]]:
    """Train a 100-80-80-7 network on the raster task.

    Returns what flows through every layer, the loss, and the number of output neurons that are wrong (T,), each
    before and after.
    """
    shallow = raster.raster_task(dtype="float64")
    T, _, n_outputs = shallow.desired.shape
    network = tr.Network.from_spec(
        HIDDEN_LAYERS,
        shallow.network.input_shape,
        n_outputs,
        T,
        shallow.network.neuron,
        dtype="float64",
        weight_scale=WEIGHT_SCALE,
        n_threads=1,
    )
    task = replace(shallow, network=network)
    flows, wrong = {"before": _flow(task)}, {"before": _wrong(task)}
    history = raster.learn(task, N_UPDATES)
    flows["after"], wrong["after"] = _flow(task), _wrong(task)
    return flows, {"before": history[0], "after": history[-1]}, wrong


def _flow(task: raster.RasterTask) -> list[tr.LayerFlow]:
    return list(task.network.gradient_flow(task.inputs, task.desired, loss="spike-train"))


def _wrong(task: raster.RasterTask) -> np.ndarray:
    """Number of output neurons whose spike is missing, or not desired, at every step."""
    return np.abs(raster.output_spikes(task) - task.desired[:, 0]).sum(axis=1)


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    flows, losses, wrong = measure()
    titles = {"before": "before training", "after": f"after {N_UPDATES} updates"}
    with style.page(__file__, out_dir, TITLE, height=5.6) as page:
        page.table(
            ("when", "layer", "t", "mean_abs_delta", "wrong_output_neurons"),
            [
                (when, layer + 1, t, value, wrong[when][t])
                for when, layers in flows.items()
                for layer, flow in enumerate(layers)
                for t, value in enumerate(np.abs(flow.delta).mean(axis=(1, 2)))
            ],
        )
        axes, lower = page.figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=(3.2, 1.0))
        for ax, below, (when, layers) in zip(axes, lower, flows.items(), strict=True):
            plots.gradient_flow(layers, ax)
            ax.set(xlabel="", ylabel="")
            style.panel_label(ax, f"{titles[when]} (loss {losses[when]:.3g})")
            below.bar(np.arange(len(wrong[when])), wrong[when], color=style.BLACK)
            below.yaxis.set_major_locator(MultipleLocator(3))
            below.set_xlabel("time (steps)")
        axes[0].set_ylabel(r"mean $|\delta| = |\partial L / \partial u|$" + "\n(loss per unit of membrane)")
        axes[0].legend(loc="lower left")
        lower[0].set_ylabel("wrong output\nneurons (of 7)")
    return page.path

"""One spiking neuron at work: input spikes become a current, the current a membrane, the membrane output spikes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from figures import style
from tsslbp_ref import plots
from tsslbp_ref.model import reference, terms

TITLE = (
    "A spiking neuron filters its input twice (synapse, membrane),\nfires above the threshold, and starts again from 0"
)
NEURON = tr.NeuronParameters(tau_m=6.0, tau_s=4.0, threshold=1.0)
N_STEPS = 50
INPUT_STEPS = (3, 6, 8, 10, 12, 15, 24, 33, 35, 37, 38, 40)
WEIGHT = 0.95


def measure() -> tuple[dict[str, np.ndarray], tr.Trace]:
    """Run the neuron; return one column a signal, over time, and the record."""
    s_in = np.zeros(N_STEPS)
    s_in[list(INPUT_STEPS)] = 1.0
    a_in = reference.psc_filter(s_in, NEURON)
    trace = reference.lif_forward(WEIGHT * a_in[:, None, None], NEURON)
    u, s, a = (signal[:, 0, 0] for signal in (trace.u, trace.s, trace.a))
    v = np.array([terms.membrane_after_reset(*pair) for pair in zip(u, s, strict=True)])
    return {"t": np.arange(N_STEPS), "s_in": s_in, "a_in": a_in, "u": u, "v": v, "s_out": s, "a_out": a}, trace


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    data, trace = measure()
    with style.page(__file__, out_dir, TITLE, height=5.8) as page:
        page.table(list(data), zip(*data.values(), strict=True))
        axes = page.figure.subplots(5, 1, sharex=True, height_ratios=(0.45, 1.0, 2.2, 0.45, 1.0))
        style.spikes(axes[0], np.flatnonzero(data["s_in"]), colour=style.INPUT)
        plots.psc(data["a_in"], axes[1], color=style.INPUT)
        plots.membrane(trace, axes[2])
        axes[2].legend(loc="upper right", ncols=2, borderaxespad=0.0)
        axes[2].set_ylim(-0.05, 1.75)
        style.spikes(axes[3], np.flatnonzero(data["s_out"]))
        plots.psc(trace, axes[4])
        names = (
            "input\nspikes",
            "input\nPSC $a$",
            "membrane $u$",
            "output\nspikes",
            "output\nPSC $a$",
        )
        for ax, name in zip(axes, names, strict=True):
            ax.set_xlabel("")
            ax.set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
        for ax in (axes[1], axes[4]):
            ax.set_ylim(0.0, None)
            ax.locator_params(axis="y", nbins=3)
        page.figure.align_ylabels(axes)
        axes[4].set_xlabel("time (steps)")
        axes[4].set_xlim(-0.5, N_STEPS - 0.5)
    return page.path

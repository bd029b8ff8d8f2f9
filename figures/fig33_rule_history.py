"""phi of one neuron by the authors' code at four dates: what a membrane was held to do to the neuron's PSC."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from figures import style
from figures.fig04_dependency_matrices import WEIGHTED_INPUT
from tsslbp_ref import plots
from tsslbp_ref.model import reference
from tsslbp_ref.training.experiments import STATES

TITLE = (
    "One neuron, four states of the authors' code: a spike's own PSC, one hop to\n"
    "the next spike, an onset of the other sign, a chain with the silent steps"
)
NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=2.0, threshold=1.0)  # of 2020; the same neuron for all
NOTES = {
    "june-2020": "a spike's own PSC",
    "september-2020": "+ one hop, read at spikes",
    "november-2020": "onset +, later −, one hop",
    "released": "chain, and leak if silent",
}


def measure() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the spike train (T,) and phi (t_k, t_m) by state, on the chain rule's side of the warm-up."""
    trace = reference.lif_forward(np.array(WEIGHTED_INPUT)[:, None, None], NEURON)
    rules = {state: replace(tr.rule_by_name(state), warmup=False) for state in STATES}
    phi = {state: reference.dependency_matrix(trace, NEURON, rule)[:, :, 0, 0] for state, rule in rules.items()}
    return trace.s[:, 0, 0], phi


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    s, phi = measure()
    T = len(s)
    limit = max(float(np.abs(of).max()) for of in phi.values())
    with style.page(__file__, out_dir, TITLE, height=7.2) as page:
        cells = [(t_k, t_m) for t_k in range(T) for t_m in range(T)]
        rows = [(t_k, t_m, s[t_k], s[t_m], *(of[t_k, t_m] for of in phi.values())) for t_k, t_m in cells]
        page.table(("t_k", "t_m", "s_k", "s_m", *phi), rows)
        axes = page.figure.subplots(2, 2, sharex=True, sharey=True)
        for ax, (state, of) in zip(axes.flat, phi.items(), strict=True):
            plots.phi(of, ax, s=s, limit=limit)
            ax.set_aspect("auto")
            ax.label_outer()
            style.panel_label(ax, f"{state} ({STATES[state].commit})")
            ax.text(T - 1, 0.0, NOTES[state], fontsize=style.SMALL, ha="right")
            ax.set_xticks(range(0, T, 5))
            ax.set_yticks(range(0, T, 5))
        bar = page.figure.colorbar(axes[0, 0].images[0], ax=axes, location="bottom", shrink=0.6, aspect=32)
        bar.set_label(r"$\partial a[t_k] / \partial u[t_m]$ (per unit of $u$), without warm-up; ▲ spikes of the neuron")
    return page.path

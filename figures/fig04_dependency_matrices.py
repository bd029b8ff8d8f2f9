"""phi, the dependency of every PSC on every membrane, and its two parts: inter-neuron phi1 and intra-neuron phi2."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from figures import style
from tsslbp_ref import plots
from tsslbp_ref.model import reference

TITLE = (
    "φ = φ₁ + φ₂: a spike's own PSC, and what its reset does to the\n"
    "spikes after it; a silent step only leads on to the next spike"
)
NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)
RULE = tr.GradientRule(warmup=False)  # the chain rule alone: fig09 shows what the warm-up puts in its place
WEIGHTED_INPUT = (0.5, 0.3, 0.7, 0.5, 0.3, 0.4, 0.5, 0.3, 0.6, 0.4, 0.35, 0.1, 0.05, 0.5, 0.45, 0.5, 0.2, 0.1)


def measure() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the spike train (T,) and phi1, phi2, phi, each (t_k, t_m)."""
    trace = reference.lif_forward(np.array(WEIGHTED_INPUT)[:, None, None], NEURON)
    phi1, phi2 = (part[:, :, 0, 0] for part in reference.dependency_parts(trace, NEURON, RULE))
    return trace.s[:, 0, 0], {"phi1": phi1, "phi2": phi2, "phi": phi1 + phi2}


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    s, parts = measure()
    T = len(s)
    labels = {"phi1": r"$\phi_1$: inter-neuron", "phi2": r"$\phi_2$: intra-neuron", "phi": r"$\phi = \phi_1 + \phi_2$"}
    limit = max(np.abs(part).max() for part in parts.values())
    with style.page(__file__, out_dir, TITLE, height=4.5) as page:
        cells = [(t_k, t_m) for t_k in range(T) for t_m in range(T)]
        rows = [(t_k, t_m, s[t_k], s[t_m], *(part[t_k, t_m] for part in parts.values())) for t_k, t_m in cells]
        page.table(("t_k", "t_m", "s_k", "s_m", *parts), rows)
        axes = page.figure.subplots(1, 3, sharey=True)
        for ax, (name, part) in zip(axes, parts.items(), strict=True):
            plots.phi(part, ax, s=s, limit=limit)
            style.panel_label(ax, labels[name])
            ax.set_ylabel("")
            ax.set_xticks(range(0, T, 5))
            ax.set_yticks(range(0, T, 5))
        axes[0].set_ylabel(r"read: $t_k$ (steps)")
        axes[2].text(T - 1, 1.0, "0: no step\nreaches back", fontsize=style.SMALL, ha="right", color=style.GREY)
        axes[0].text(T - 1, 0.2, "▲ spikes of\nthe neuron", fontsize=style.SMALL, ha="right")
        bar = page.figure.colorbar(axes[2].images[0], ax=axes, location="bottom", shrink=0.6, aspect=32)
        bar.set_label(r"$\partial a[t_k] / \partial u[t_m]$ (per unit of $u$), released rule without warm-up")
    return page.path

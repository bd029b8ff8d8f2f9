"""The warm-up: where a neuron's PSC is low, a smooth slope stands in for the spike's derivative."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from figures import style
from tsslbp_ref import plots
from tsslbp_ref.model import reference, terms

TITLE = "The released code's warm-up is a gate: wherever the PSC is low,\na smooth slope replaces the gradient"
NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)
RULE = tr.GradientRule()
WEIGHTED_INPUT = (
    *(0.1, 0.15, 0.2, 0.25, 0.5, 0.5, 0.45, 0.4, 0.1, 0.0, 0.05, 0.1, 0.1, 0.2, 0.25, 0.2, 0.1),
    *(0.3, 0.45, 0.5, 0.4, 0.1, 0.0, 0.0, 0.0, 0.1, 0.15, 0.1, 0.05, 0.0),
)


def slope(u: np.ndarray) -> np.ndarray:
    """The surrogate ds/du at every membrane."""
    c = RULE.coefficients(NEURON)
    shape = (c.threshold, c.surrogate_width, c.surrogate_argument_clip)
    return np.array([terms.surrogate_spike_by_membrane(value, *shape) for value in u])


def measure() -> tuple[dict[str, np.ndarray], tr.Trace]:
    """Run the neuron; the gate's own comparison says which steps are replaced. Its signals, and the record."""
    trace = reference.lif_forward(np.array(WEIGHTED_INPUT)[:, None, None], NEURON)
    u, s, a = (signal[:, 0, 0] for signal in (trace.u, trace.s, trace.a))
    v = np.array([terms.membrane_after_reset(*pair) for pair in zip(u, s, strict=True)])
    replaced = (a < RULE.coefficients(NEURON).warmup_gate).astype(float)
    return {"t": np.arange(len(u)), "u": u, "v": v, "a": a, "replaced": replaced}, trace


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    data, trace = measure()
    grid = np.linspace(-0.5, 2.5, 301)
    with style.page(__file__, out_dir, TITLE, height=4.9) as page:
        rows = [("ds/du of u", *point) for point in zip(grid, slope(grid), strict=True)]
        for name, values in data.items():
            rows += [(f"{name} of t", *point) for point in zip(data["t"], values, strict=True) if name != "t"]
        page.table(("curve", "x", "y"), rows)
        axes = page.figure.subplot_mosaic([["slope", "u"], ["slope", "a"]], width_ratios=(1.0, 1.55))
        axes["slope"].plot(grid, slope(grid), color=style.ORANGE)
        axes["slope"].axvline(NEURON.threshold, color=style.THRESHOLD, linestyle=(0, (5, 3)), linewidth=1.4)
        axes["slope"].text(NEURON.threshold + 0.07, 1.3, "$V$", color=style.THRESHOLD)
        axes["slope"].set(xlabel="membrane $u$", ylabel=r"surrogate $\partial s / \partial u$ (per unit of $u$)")
        axes["slope"].set_ylim(0.0, 1.35)
        style.panel_label(axes["slope"], "what stands in")
        _draw_run(axes["u"], axes["a"], data, trace)
    return page.path


def _draw_run(top: style.Axes, bottom: style.Axes, data: dict[str, np.ndarray], trace: tr.Trace) -> None:
    """Draw membrane and PSC of the run over the shaded steps that the surrogate takes over."""
    t = data["t"]
    for ax in (top, bottom):
        for step in t[data["replaced"] == 1.0]:
            ax.axvspan(step - 0.5, step + 0.5, color=style.PALE, linewidth=0)
        ax.set_xlim(-0.5, len(t) - 0.5)
    plots.membrane(trace, top)
    top.set_xlabel("")
    top.tick_params(labelbottom=False)
    style.panel_label(top, "where: the shaded steps of one neuron's run")
    gate = RULE.coefficients(NEURON).warmup_gate
    plots.psc(trace, bottom)
    bottom.axhline(gate, color=style.PURPLE, linestyle="--", linewidth=1.4)
    bottom.text(len(t) - 0.7, gate + 0.02, r"gate $\theta_s/4$", color=style.PURPLE, ha="right", fontsize=style.SMALL)

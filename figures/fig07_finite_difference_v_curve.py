"""The error of a finite difference against its step: too long cuts the series short, too short drowns in rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

import tsslbp_ref as tr
from figures import style
from tsslbp_ref import exact
from tsslbp_ref.gradcheck.finite_differences import central_difference
from tsslbp_ref.model import terms

TITLE = "A finite difference has a best step: the truncation error shrinks\nwith the step, the rounding error grows"
NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)
RULE = tr.GradientRule()
STEPS = np.logspace(-13.0, -0.5, 51)
LAG = 2.0  # steps after the spike
MEMBRANE = 0.85  # a silent neuron's
ANCHOR = 1e-3  # the guides of the truncation error pass through the errors near this step
GUIDES = {"forward": (1, 1e-7, 1e-1), "central": (2, 3e-5, 1e-1)}  # slope, first and last step of the guide
ROUNDING_GUIDE = (1e-13, 1e-6)


@dataclass(frozen=True)
class Term:
    """A smooth function of one number, and its derivative at 0 as the package has it."""

    name: str
    function: Callable[[float], float]
    derivative: float


def psc_kernel_in_time() -> Term:
    """eps(t) = exp(-t/tau_s) / tau_s (C2) under a shift of the firing time: d eps(t - t_m)/dt_m = +eps/tau_s."""

    def function(shift: float) -> float:
        return math.exp(-(LAG - shift) / NEURON.tau_s) / NEURON.tau_s

    c = tr.GradientRule(inter="literal").coefficients(NEURON)
    weights = (c.inter_before, c.inter_now, c.inter_after)
    return Term("PSC kernel in\nthe firing time", function, terms.psc_by_firing_time(0.0, function(0.0), 0.0, *weights))


def warmup_sigmoid() -> Term:
    """sig((u - V) / width), whose slope the warm-up takes for ds/du (B8)."""

    def function(change: float) -> float:
        return float(expit((MEMBRANE + change - NEURON.threshold) / RULE.surrogate_width))

    slope = terms.surrogate_spike_by_membrane(
        MEMBRANE, NEURON.threshold, RULE.surrogate_width, RULE.surrogate_argument_clip
    )
    return Term("warm-up sigmoid\nin the membrane", function, slope)


def exact_loss() -> Term:
    """Loss of a continuous-time spiking network along one direction of its weights, every event exact."""
    rng = np.random.default_rng(5)
    weights = [rng.normal(4.0, 4.0, (4, 6)), rng.normal(6.0, 4.0, (2, 4))]
    directions = [rng.normal(0.0, 1.0, W.shape) for W in weights]
    inputs = [np.sort(rng.uniform(0.0, 20.0, 4)) for _ in range(6)]
    desired = [np.array([9.0, 21.0]), np.array([14.0])]

    def simulate(change: float, *, with_gradients: bool) -> exact.ExactResult:
        moved = [W + change * direction for W, direction in zip(weights, directions, strict=True)]
        return exact.simulate(moved, inputs, 10.0, 4.0, 1.0, 30.0, desired, with_gradients=with_gradients)

    gradients = simulate(0.0, with_gradients=True).gradients
    slope = sum(float(np.vdot(*pair)) for pair in zip(gradients, directions, strict=True))
    return Term(
        "exact loss in the weights\n(along one direction)", lambda h: simulate(h, with_gradients=False).loss, slope
    )


def relative_errors(term: Term) -> tuple[np.ndarray, np.ndarray]:
    """|difference quotient - derivative| / |derivative| for every step: central and forward."""
    here = term.function(0.0)
    forward = np.array([(term.function(h) - here) / h for h in STEPS])
    central = np.array([central_difference(term.function, h) for h in STEPS])
    scale = abs(term.derivative)
    return np.abs(central - term.derivative) / scale, np.abs(forward - term.derivative) / scale


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    all_terms = (psc_kernel_in_time(), warmup_sigmoid(), exact_loss())
    errors = [relative_errors(term) for term in all_terms]
    with style.page(__file__, out_dir, TITLE, height=4.8) as page:
        rows = [
            (term.name.replace("\n", " "), h, central, forward)
            for term, pair in zip(all_terms, errors, strict=True)
            for h, central, forward in zip(STEPS, *pair, strict=True)
        ]
        page.table(("term", "step", "central_relative_error", "forward_relative_error"), rows)
        axes = page.figure.subplots(1, len(all_terms), sharex=True, sharey=True)
        for ax, term, (central, forward) in zip(axes, all_terms, errors, strict=True):
            _draw_errors(ax, central, forward)
            _draw_guides(ax, term, {"central": central, "forward": forward})
            style.panel_label(ax, term.name)
        axes[0].set_ylabel("relative error of the difference")
        axes[1].set_xlabel("step $h$ (steps of time, units of $u$, units of weight)")
        axes[0].legend(loc="upper center")
    return page.path


def _draw_errors(axes: style.Axes, central: np.ndarray, forward: np.ndarray) -> None:
    """Draw both V curves; an error of exactly 0 has no place on a logarithmic axis and is left out."""
    for errors, colour, marker, label in (
        (forward, style.ORANGE, "s", "forward"),
        (central, style.BLUE, "o", "central"),
    ):
        seen = errors > 0.0
        axes.loglog(STEPS[seen], errors[seen], marker + "-", color=colour, markersize=3.2, linewidth=1.0, label=label)
    best = int(np.argmin(np.where(central > 0.0, central, np.inf)))
    axes.set_ylim(1e-14, 1e2)
    axes.set_xticks([1e-12, 1e-8, 1e-4, 1e0])
    axes.grid(which="major", color=style.PALE, linewidth=0.7)
    remark = f"best: {central[best]:.0e} at $h$ = {STEPS[best]:.0e}"
    axes.text(0.5, 0.03, remark, transform=axes.transAxes, ha="center", fontsize=style.SMALL)


def _draw_guides(axes: style.Axes, term: Term, errors: dict[str, np.ndarray]) -> None:
    """Draw the slopes that theory gives: h for forward, h^2 for central, and eps |f| / (h |f'|) for rounding."""
    look = {"color": style.BLACK, "linestyle": "--", "linewidth": 1.0}
    anchor = int(np.argmin(np.abs(STEPS - ANCHOR)))
    for name, (slope, first, last) in GUIDES.items():
        h = np.array([first, last])
        axes.loglog(h, errors[name][anchor] * (h / STEPS[anchor]) ** slope, **look)
    h = np.array(ROUNDING_GUIDE)
    rounding = np.finfo(np.float64).eps * abs(term.function(0.0) / term.derivative) / h
    axes.loglog(h, rounding, **look)
    axes.text(1e-5, 8.0 * errors["forward"][anchor] * 1e-5 / STEPS[anchor], "$h$", ha="right")
    axes.text(6e-3, 0.3 * errors["central"][anchor], "$h^2$", ha="left")
    axes.text(3e-11, 14.0 * rounding[0] * h[0] / 3e-11, "$1/h$")

"""The firing time's derivative as geometry: raise the membrane, and its line meets the threshold earlier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from figures import style
from tsslbp_ref.model import reference, terms

TITLE = "Raise the membrane by a little and it fires earlier,\nby that little over its slope: dt/du = −1/slope"
NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)
RULE = tr.GradientRule()
WEIGHTED_INPUT = (0.7, 0.75)
LIFT = 0.14
STEEPEST, SHALLOWEST = 1.2, 0.02  # rises of the right panel


@dataclass(frozen=True)
class Crossing:
    """The step in which the neuron fires, as a straight line from v to u, and the same line lifted."""

    v: float
    u: float
    rise: float
    time: float
    lifted_time: float
    derivative: float


def measure() -> Crossing:
    """Run the neuron to its spike and find where line and lifted line meet the threshold."""
    trace = reference.lif_forward(np.array(WEIGHTED_INPUT)[:, None, None], NEURON)
    before, u = trace.u[:, 0, 0]
    v = terms.membrane_after_reset(before, terms.spike(before, NEURON.threshold))
    rise = terms.membrane_rise(u, v)
    time, lifted_time = (float(np.interp(NEURON.threshold, [v + lift, u + lift], [0.0, 1.0])) for lift in (0.0, LIFT))
    derivative = terms.firing_time_by_membrane(rise, RULE.inverse_rise_clip)
    return Crossing(v, u, rise, time, lifted_time, derivative)


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    crossing = measure()
    rises = np.linspace(SHALLOWEST, STEEPEST, 237)
    clipped, unclipped = (
        np.array([terms.firing_time_by_membrane(rise, clip) for rise in rises])
        for clip in (RULE.inverse_rise_clip, np.inf)
    )
    with style.page(__file__, out_dir, TITLE, height=4.7) as page:
        lines = [(0.0, crossing.v), (crossing.time, NEURON.threshold), (1.0, crossing.u)]
        lifted = [(0.0, crossing.v + LIFT), (crossing.lifted_time, NEURON.threshold), (1.0, crossing.u + LIFT)]
        rows = [("membrane", *point) for point in lines] + [("lifted membrane", *point) for point in lifted]
        rows += [("dt/du of rise, clipped", *point) for point in zip(rises, clipped, strict=True)]
        rows += [("dt/du of rise, not clipped", *point) for point in zip(rises, unclipped, strict=True)]
        page.table(("curve", "x", "y"), rows)
        left, right = page.figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        _draw_lines(left, crossing)
        right.plot(rises, unclipped, color=style.VERMILLION, linestyle="--", label="$-1/du$")
        right.plot(rises, clipped, color=style.MEMBRANE, label=f"clipped at {RULE.inverse_rise_clip:g} (released)")
        right.plot(crossing.rise, crossing.derivative, "o", color=style.BLACK, label="the spike at the left")
        limit = 1.0 / RULE.inverse_rise_clip
        right.axvline(limit, color=style.GREY, linewidth=0.8, linestyle=":")
        right.text(limit + 0.03, -10.0, f"clip acts below\n$du$ = {limit:g}", fontsize=style.SMALL)
        right.set(xlim=(0.0, STEEPEST), ylim=(-14.0, 0.5), xlabel="rise of the membrane $du$ in the step")
        right.set_ylabel("$dt/du$ (steps per unit of $u$)")
        right.legend(loc="lower right")
        style.panel_label(right, "its size for every slope")
    return page.path


def _draw_lines(axes: style.Axes, crossing: Crossing) -> None:
    """Draw the membrane's line, the lifted one, and the small triangle between them."""
    V = NEURON.threshold
    dt = crossing.lifted_time - crossing.time
    style.threshold_line(axes, V)
    axes.plot([0.0, 1.0], [crossing.v, crossing.u], "-", color=style.MEMBRANE, label="membrane $u$")
    axes.plot([0.0, 1.0], [crossing.v + LIFT, crossing.u + LIFT], "-", color=style.ORANGE, label=f"lifted by {LIFT:g}")
    axes.plot([crossing.time], [V], "o", color=style.MEMBRANE)
    axes.plot([crossing.lifted_time], [V], "o", color=style.ORANGE)
    arrow = {"arrowstyle": "<|-|>", "color": style.BLACK, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (crossing.time, V), (crossing.time, V + LIFT), arrowprops=arrow)
    axes.text(crossing.time - 0.02, V + 0.35 * LIFT, f"{LIFT:g}", fontsize=style.SMALL, ha="right", va="center")
    axes.annotate("", (crossing.time, V - 0.02), (crossing.lifted_time, V - 0.02), arrowprops=arrow)
    remark = (
        f"measured: fires {-dt:.4f} steps earlier\n"
        f"slope $du$ = {crossing.rise:.4f} a step\n"
        f"{LIFT:g} / {crossing.rise:.4f} = {-LIFT * crossing.derivative:.4f}"
    )
    style.note(axes, remark, (0.5 * (crossing.time + crossing.lifted_time), V - 0.025), (0.27, 0.76))
    axes.set(xlim=(0.0, 1.0), ylim=(0.68, 1.5), xlabel="time within the step (steps)", ylabel="membrane $u$")
    axes.legend(loc="upper left")
    style.panel_label(axes, "the step in which the neuron fires")

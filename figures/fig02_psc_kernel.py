"""The PSC that one spike leaves decays exponentially; its time derivative is negative but for the jump at the onset."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from figures import style
from tsslbp_ref.model import terms

TITLE = (
    "A spike's PSC only decays after its onset, so its literal time\n"
    "derivative is negative everywhere, and misses the jump at t = 0"
)
NEURON = tr.NeuronParameters(tau_s=3.0)
LAST_LAG = 12
FINE = 2**20  # substeps of a step: the discrete kernel on this grid is the continuous one to six digits
POINTS_A_STEP = 32


def discrete(lags: np.ndarray, substeps: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """eps and its literal time derivative at whole lags of a grid with `substeps` a step, per step.

    The derivative in time is minus the derivative in the firing time, since eps depends on t - t_m.
    """
    neuron = tr.NeuronParameters(tau_s=NEURON.tau_s * substeps)
    rule = tr.GradientRule(inter="literal").coefficients(neuron)
    weights = (rule.inter_before, rule.inter_now, rule.inter_after)
    kernel = np.array([terms.psc_kernel(int(lag), neuron.theta_s) for lag in lags])
    by_firing_time = np.array([terms.psc_by_firing_time(0.0, eps, 0.0, *weights) for eps in kernel])
    return kernel * substeps, -by_firing_time * substeps**2


def measure() -> dict[str, np.ndarray]:
    """Return t, eps and d eps/dt, on the steps and on a fine grid."""
    lags = np.arange(LAST_LAG + 1)
    grid = np.arange(LAST_LAG * POINTS_A_STEP + 1)
    fine_kernel, fine_slope = discrete(grid * (FINE // POINTS_A_STEP), FINE)
    kernel, slope = discrete(lags)
    return {
        "t": lags,
        "kernel": kernel,
        "slope": slope,
        "fine_t": grid / POINTS_A_STEP,
        "fine_kernel": fine_kernel,
        "fine_slope": fine_slope,
    }


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    data = measure()
    theta_s = NEURON.theta_s
    with style.page(__file__, out_dir, TITLE, height=5.4) as page:
        rows = [("discrete", *row) for row in zip(data["t"], data["kernel"], data["slope"], strict=True)]
        fine = zip(data["fine_t"], data["fine_kernel"], data["fine_slope"], strict=True)
        rows += [("continuous", *row) for row in fine]
        page.table(("kind", "t", "epsilon", "d_epsilon_dt"), rows)
        top, bottom = page.figure.subplots(2, 1, sharex=True)
        top.plot([-2.5, 0.0], [0.0, 0.0], color=style.PSC)
        top.plot([0.0, 0.0], [0.0, theta_s], color=style.PSC, linestyle=":")
        top.plot(
            data["fine_t"],
            data["fine_kernel"],
            color=style.PSC,
            label=r"continuous: $\epsilon(t) = e^{-t/\tau_s} / \tau_s$",
        )
        top.plot(
            data["t"],
            data["kernel"],
            "o",
            color=style.BLACK,
            label=r"steps: $\theta_s (1 - \theta_s)^k,\ \theta_s = 1/\tau_s$",
        )
        top.set_ylabel(r"PSC $\epsilon$")
        top.legend(loc="upper right")
        bottom.axhline(0.0, color=style.GREY, linewidth=0.8)
        bottom.plot([-2.5, 0.0], [0.0, 0.0], color=style.PSC)
        bottom.plot(data["fine_t"], data["fine_slope"], color=style.PSC, label=r"continuous: $-\epsilon(t) / \tau_s$")
        bottom.plot(data["t"], data["slope"], "o", color=style.BLACK, label=r"steps: $-\theta_s\, \epsilon[k]$")
        _mark_onset(bottom, float(data["slope"][0]), theta_s)
        bottom.set_ylabel(r"$d\epsilon / dt$")
        bottom.legend(loc="lower right")
        bottom.set_xlabel(r"time since the spike (steps), $\tau_s = 3$ steps")
        bottom.set_xlim(-2.5, LAST_LAG + 0.3)
    return page.path


def _mark_onset(axes: style.Axes, lowest: float, theta_s: float) -> None:
    """Draw the jump's derivative, which has an area and no height, as an arrow."""
    height = -lowest
    axes.annotate(
        "",
        xy=(0.0, height),
        xytext=(0.0, 0.0),
        arrowprops={"arrowstyle": "-|>", "color": style.VERMILLION, "linewidth": 2.2, "mutation_scale": 16},
    )
    axes.text(
        0.35,
        0.75 * height,
        r"left out: the onset's jump, $\delta(t)/\tau_s$, "
        f"of area +{theta_s:.3g}\n"
        r"(the curve below it has area $-1/\tau_s$; together 0)",
        color=style.VERMILLION,
        fontsize=style.SMALL,
        va="center",
    )
    axes.set_ylim(1.15 * lowest, 1.25 * height)

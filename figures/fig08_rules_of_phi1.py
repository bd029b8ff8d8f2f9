"""phi1's time course by rule: what each claims that a higher membrane at the spike does to the PSC around it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from figures import style
from tsslbp_ref.model import reference, terms

TITLE = (
    "The sign story: raise u at a spike, and the released rule sees more\n"
    "PSC, the literal one less, the consistent one the same PSC earlier"
)
NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)
T_SPIKE = 3
LAST_SHOWN_LAG = 12  # the run is longer, so that the sums over lags are complete to three digits
WEIGHTED_INPUT = (0.3, 0.3, 0.35, 0.7, *(0.0,) * 36)
RULES = {
    "released": tr.GradientRule(intra=False, warmup=False),
    "literal": tr.GradientRule(inter="literal", intra=False, warmup=False),
    "consistent": tr.GradientRule(inter="consistent", intra=False, warmup=False),
    "surrogate": tr.GradientRule(inter="surrogate"),
}
MARKERS = {"released": "o", "literal": "v", "consistent": "D", "surrogate": "s"}


def measure() -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Return lag = t_k - t_m, phi1 over the lag by rule, and the membrane's rise at the spike."""
    trace = reference.lif_forward(np.array(WEIGHTED_INPUT)[:, None, None], NEURON)
    u = trace.u[:, 0, 0]
    columns = {
        name: reference.dependency_parts(trace, NEURON, rule)[0][:, T_SPIKE, 0, 0] for name, rule in RULES.items()
    }
    return np.arange(len(u)) - T_SPIKE, columns, terms.membrane_rise(u[T_SPIKE], u[T_SPIKE - 1])


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    lag, columns, rise = measure()
    with style.page(__file__, out_dir, TITLE, height=4.9) as page:
        page.table(("lag", *columns), zip(lag, *columns.values(), strict=True))
        axes = page.figure.subplots()
        axes.axhline(0.0, color=style.GREY, linewidth=0.8)
        axes.axvline(0.0, color=style.GREY, linewidth=0.8, linestyle=":")
        for name, phi1 in columns.items():
            axes.plot(
                lag,
                phi1,
                linestyle="--" if name == "surrogate" else "-",
                marker=MARKERS[name],
                color=style.RULE_COLOURS[name],
                label=f"{name}: sum over lags {_signed(phi1.sum())}",
            )
        axes.set_xlim(-T_SPIKE - 0.3, LAST_SHOWN_LAG + 0.3)
        axes.set_xlabel(r"lag $t_k - t_m$ (steps after the spike)")
        axes.set_ylabel(r"$\phi_1 = \partial a[t_k] / \partial u[t_m]$ (per unit of $u$)")
        axes.legend(
            loc="upper right", title=rf"one spike, rise $du$ = {rise:.2f}, $\tau_s$ = 3 steps", alignment="left"
        )
    return page.path


def _signed(value: float) -> str:
    text = f"{value:+.2f}".replace("-", "−")
    return "0" if round(value, 2) == 0.0 else text

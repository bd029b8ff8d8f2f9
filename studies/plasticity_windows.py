"""One synapse under TSSL-BP beside STDP and beside SRDP: its weight change by spike timing, and by firing rates.

``python -m studies.plasticity_windows --out results`` writes two tables:

- stdp-window.csv: weight change against t_post - t_pre, for STDP and for TSSL-BP under several errors;
- srdp-rates.csv: weight change against the post-rate, for a few pre-rates, for the BCM rule and for TSSL-BP.

The synapse has weight 0, so that it does not cause what it is judged by, and the change is -dL/dw: one step of gradient
descent with learning rate 1. The postsynaptic neuron is made to fire by other input.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.files import write_atomically
from tsslbp_ref.model import losses, sweeps
from tsslbp_ref.model.layers import Dense
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

Array = npt.NDArray[np.float64]

NEURON = NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)
RULE = GradientRule()
SYNAPSE = Dense((1,), 1)
STDP_TABLE, SRDP_TABLE = "stdp-window.csv", "srdp-rates.csv"
DIGITS = 8  # significant, of every number in the tables

# ---------------------------------------------------------------------------------------------------------------------
# The older rules
# ---------------------------------------------------------------------------------------------------------------------


def stdp(
    difference: float,
    *,
    potentiation: float = 1.0,
    depression: float = 1.0,
    tau_plus: float = 5.0,
    tau_minus: float = 5.0,
) -> float:
    """Dw = A_+ exp(-D/tau_+) for D = t_post - t_pre > 0, -A_- exp(D/tau_-) for D < 0, and 0 for D = 0.

    Parameters
    ----------
    difference : float
        D, in steps.
    potentiation, depression : float
        A_+ and A_-.
    tau_plus, tau_minus : float
        In steps.

    Raises
    ------
    ValueError, TypeError
        If a value is out of range.

    Notes
    -----
    Source: the pair-based form in which models write what Bi and Poo measured (1998). The constants here have the size
    of NEURON's; measured ones are tens of milliseconds.
    """
    D = checks.real_number("difference", difference)
    checks.real_number("tau_plus", tau_plus, above=0.0)
    checks.real_number("tau_minus", tau_minus, above=0.0)
    if D > 0.0:
        return potentiation * math.exp(-D / tau_plus)
    return -depression * math.exp(D / tau_minus) if D < 0.0 else 0.0


def bcm(pre_rate: float, post_rate: float, threshold: float) -> float:
    """Dw = x y (y - theta): a synapse of an active input grows if the neuron fires above theta, and else shrinks.

    Parameters
    ----------
    pre_rate, post_rate : float
        x and y, in spikes a step.
    threshold : float
        theta; fixed here, while in the full theory it follows the mean of y^2.

    Raises
    ------
    ValueError, TypeError
        If a rate is negative.

    Notes
    -----
    Source: Bienenstock, Cooper and Munro, "Theory for the development of neuron selectivity" (1982).
    """
    x, y = (checks.real_number(n, v, minimum=0.0) for n, v in (("pre_rate", pre_rate), ("post_rate", post_rate)))
    return x * y * (y - checks.real_number("threshold", threshold, minimum=0.0))


# ---------------------------------------------------------------------------------------------------------------------
# TSSL-BP at one synapse
# ---------------------------------------------------------------------------------------------------------------------


def weight_changes(pre: Array, I: Array, desired: Array, rule: GradientRule = RULE) -> tuple[Array, Array]:
    """Dw = -dL/dw = -sum_t delta[t] a_pre[t] at w = 0, sample by sample; L is the van Rossum loss (L1).

    Parameters
    ----------
    pre : (T, B) array
        Presynaptic spike trains.
    I : (T, B) array
        Weighted input of the postsynaptic neuron from its other synapses.
    desired : (T, B) array
        Desired spike trains of the postsynaptic neuron.
    rule : GradientRule

    Returns
    -------
    changes : (B,) array
    spikes : (T, B) array
        Spike trains of the postsynaptic neuron.
    """
    trace = sweeps.lif_forward(I[:, :, np.newaxis], NEURON)
    _, g = losses.value_and_gradient("spike-train", trace.a, desired[:, :, np.newaxis], NEURON)
    delta = sweeps.tsslbp_backward(g, trace, NEURON, rule)
    a_pre = sweeps.psc_filter(pre, NEURON)
    changes = [-SYNAPSE.weight_gradient(delta[:, b], a_pre[:, b, np.newaxis]).item() for b in range(pre.shape[1])]
    return np.array(changes), trace.s[:, :, 0]


# ---------------------------------------------------------------------------------------------------------------------
# (a) Spike timing
# ---------------------------------------------------------------------------------------------------------------------

N_STEPS = 80
T_POST = 40
FARTHEST = 20  # steps between the two spikes
REST = 0.5  # membrane that the neuron rests at, as a share of the threshold
PULSE = 1.0  # on top of it, one step long: the neuron fires


@dataclass(frozen=True)
class Pairing:
    """One postsynaptic spike or none, the spikes that the loss asks for, and the rule."""

    fires: bool
    desired: tuple[int, ...]
    rule: GradientRule = RULE


PAIRINGS = {
    "another spike is wanted": Pairing(True, (T_POST, T_POST + 1)),
    "the spike is not wanted": Pairing(True, ()),
    "not wanted, no warm-up": Pairing(True, (), replace(RULE, warmup=False)),
    "silent, a spike is wanted": Pairing(False, (T_POST,)),
    "the spike is right": Pairing(True, (T_POST,)),
}


def tsslbp_window(differences: Sequence[int], pairing: Pairing) -> Array:
    """Weight change for every t_post - t_pre, in steps; where the neuron is silent, t_post is the desired time.

    Raises
    ------
    ValueError
        If a difference puts the presynaptic spike outside the run.
    """
    t_pre = T_POST - np.asarray(differences)
    if t_pre.min() < 0 or t_pre.max() >= N_STEPS:
        raise ValueError(f"differences must lie in {T_POST - N_STEPS + 1} .. {T_POST}, got {list(differences)}")
    pre, desired = np.zeros((2, N_STEPS, len(t_pre)))
    pre[t_pre, np.arange(len(t_pre))] = 1.0
    desired[list(pairing.desired)] = 1.0
    I = np.full_like(pre, NEURON.theta_m * REST)
    I[0] = REST  # at rest from the first step on
    I[T_POST] += PULSE if pairing.fires else 0.0
    changes, spikes = weight_changes(pre, I, desired, pairing.rule)
    assert (spikes.sum(axis=0) == pairing.fires).all()
    return changes


def timing_rows() -> list[dict[str, Any]]:
    """All rows of the table of spike timing."""
    differences = range(-FARTHEST, FARTHEST + 1)
    curves = {"STDP": np.array([stdp(d) for d in differences])}
    curves |= {name: tsslbp_window(differences, pairing) for name, pairing in PAIRINGS.items()}
    return [
        {"curve": name, "t_post_minus_t_pre": difference, "change": change}
        for name, changes in curves.items()
        for difference, change in zip(differences, changes, strict=True)
    ]


# ---------------------------------------------------------------------------------------------------------------------
# (b) Firing rates
# ---------------------------------------------------------------------------------------------------------------------

RATE_STEPS = 200
SAMPLES = 400
PRE_RATES = (0.1, 0.2, 0.4)
DESIRED_RATE = 0.2  # spikes a step; also theta of the BCM rule
NOISE = 0.3  # standard deviation of the weighted input
MEAN_INPUTS = (-0.1, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)  # of the weighted input
SEED = 0


def tsslbp_rates(
    pre_rate: float, mean_input: float, rng: np.random.Generator, n_samples: int
) -> tuple[float, float, float]:
    """Post-rate, mean weight change a step and its standard error; all trains are independent Bernoulli trains.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.
    """
    checks.real_number("pre_rate", pre_rate, minimum=0.0)
    checks.real_number("mean_input", mean_input)
    shape = (RATE_STEPS, checks.positive_integer("n_samples", n_samples, minimum=2))
    pre, desired = ((rng.random(shape) < rate).astype(np.float64) for rate in (pre_rate, DESIRED_RATE))
    changes, spikes = weight_changes(pre, rng.normal(mean_input, NOISE, shape), desired)
    a_step = changes / RATE_STEPS
    return float(spikes.mean()), float(a_step.mean()), float(a_step.std(ddof=1) / math.sqrt(n_samples))


def rate_rows(n_samples: int = SAMPLES) -> list[dict[str, Any]]:
    """All rows of the table of firing rates; BCM is evaluated at the rates that TSSL-BP's neuron had."""
    rows = []
    for pre_rate in PRE_RATES:
        for mean_input in MEAN_INPUTS:
            rng = np.random.default_rng(SEED)  # the same noise at every mean: the curve shows the mean
            post_rate, change, error = tsslbp_rates(pre_rate, mean_input, rng, n_samples)
            what = {"pre_rate": pre_rate, "post_rate": post_rate}
            rows.append({"rule": "BCM", **what, "change": bcm(pre_rate, post_rate, DESIRED_RATE), "error": 0.0})
            rows.append({"rule": "TSSL-BP", **what, "change": change, "error": error})
    return rows


# ---------------------------------------------------------------------------------------------------------------------
# Tables and command line
# ---------------------------------------------------------------------------------------------------------------------

USAGE_ERROR = 2


def table(rows: Iterable[dict[str, Any]]) -> bytes:
    """Write rows of the same columns as CSV."""
    rows = list(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.{DIGITS}g}" if isinstance(v, (float, np.floating)) else v for k, v in row.items()})
    return text.getvalue().encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.plasticity_windows", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the two tables")
    options = parser.parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        write_atomically(options.out / STDP_TABLE, table(timing_rows()))
        write_atomically(options.out / SRDP_TABLE, table(rate_rows()))
    except OSError as error:
        print(f"python -m studies.plasticity_windows: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

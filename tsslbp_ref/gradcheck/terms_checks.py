"""Rows for the factors of the chain rule: each is the derivative of some smooth function, and that one is differenced.

In discrete time spikes sit on a grid and do not move, so the smooth function is not the network itself. The equation of
a row, and the docstring of its function, say which one it is.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy import optimize, special

from tsslbp_ref.gradcheck.finite_differences import Array, derivative, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.samples import IDENTITY, RISE, SMOOTH, over_neurons
from tsslbp_ref.model import terms
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

N_STEPS = 12
V_BEFORE = 0.6  # membrane before the step, in units of the threshold


def all_checks() -> list[Check]:
    """The rows of this file; those of the PSC are in `kernel_checks`."""
    return [*_firing_time_rows(), *_reset_rows(), *_membrane_rows(), *_surrogate_rows()]


# ---------------------------------------------------------------------------------------------------------------------
# Firing time in the membrane
# ---------------------------------------------------------------------------------------------------------------------


def _firing_time_rows() -> list[Check]:
    return [
        Check(
            "term-firing-time",
            "dt_m/du[t_m] = -1/rise (crossing time of a straight membrane, differenced in a lift)",
            "terms.firing_time_by_membrane",
            SMOOTH,
            over_neurons(partial(_firing_time, RISE)),
        ),
        Check(
            "term-firing-time-clipped",
            "dt_m/du[t_m] = -8 for rise < 1/8 (the same with the rise held at 1/8)",
            "terms.firing_time_by_membrane",
            SMOOTH,
            over_neurons(partial(_firing_time, 0.05)),
        ),
    ]


def _firing_time(rise_in_thresholds: float, neuron: NeuronParameters) -> float:
    """A straight rise v + du t, lifted by h, crosses V at a time that a root finder returns; differenced in h."""
    clip = GradientRule().inverse_rise_clip
    rise = rise_in_thresholds * neuron.threshold
    slope = max(rise, 1.0 / clip)
    v = V_BEFORE * neuron.threshold

    def crossing(h: float) -> float:
        span = 10.0 * neuron.threshold / slope
        return float(optimize.brentq(lambda t: v + h + slope * t - neuron.threshold, -span, span, xtol=1e-15))

    return relative_error(terms.firing_time_by_membrane(rise, clip), derivative(np.vectorize(crossing), 0.0))


# ---------------------------------------------------------------------------------------------------------------------
# Reset in time
# ---------------------------------------------------------------------------------------------------------------------


def _reset_rows() -> list[Check]:
    return [
        Check(
            "term-reset-in-time",
            "d nu(t_p-t_m)/dt_m = -u theta_m exp(-t/tau_m) (kernel -u exp(-t/tau_m), differenced in t_m)",
            "terms.reset_by_firing_time",
            SMOOTH,
            over_neurons(_reset_in_time),
        ),
        Check(
            "term-reset-in-steps",
            "(nu*s)[t_p] with the spike at t_m+1 minus at t_m = -theta_m u (1-theta_m)^(p-m-1)",
            "terms.reset_by_firing_time * terms.leak",
            IDENTITY,
            over_neurons(_reset_in_steps),
        ),
        Check(
            "term-reset-in-time-consistent",
            "d[-u(t_m) exp(-(t_p-t_m)/tau_m)]/dt_m = -I exp(-t/tau_m), u' = I - theta_m u",
            "terms.reset_by_firing_time",
            SMOOTH,
            over_neurons(_reset_in_time_consistent),
        ),
    ]


def _reset_in_time(neuron: NeuronParameters) -> float:
    """The reset kernel of continuous time, of a spike of fixed height u, differenced in the firing time."""
    u = 1.4 * neuron.threshold
    lag = np.arange(1.0, 8.0)
    c = GradientRule().coefficients(neuron)
    found = terms.reset_by_firing_time(u, RISE, c.reset_by_u, c.reset_by_I) * np.exp(-lag / neuron.tau_m)
    return relative_error(found, -derivative(lambda t: -u * np.exp(-t / neuron.tau_m), lag))


def _reset_in_steps(neuron: NeuronParameters) -> float:
    """The discrete kernel, of a spike of fixed height u: moved one step later, less of it has leaked away at t_p."""
    u = 1.4 * neuron.threshold
    c = GradientRule().coefficients(neuron)
    lags = range(1, 8)
    here = terms.reset_by_firing_time(u, RISE, c.reset_by_u, c.reset_by_I)
    found = [here * terms.leak(lag - 1, neuron.theta_m) for lag in lags]
    later = [terms.reset_kernel(lag - 1, u, neuron.theta_m) for lag in lags]
    now = [terms.reset_kernel(lag, u, neuron.theta_m) for lag in lags]
    return relative_error(found, np.subtract(later, now))


def _reset_in_time_consistent(neuron: NeuronParameters) -> float:
    """The reset whose height is the membrane's own at t_m: u(t_m + h) rises by u' = I - theta_m u while t_m moves."""
    I = 0.7 * neuron.threshold
    u = 1.4 * neuron.threshold
    rest = I * neuron.tau_m  # where the membrane would settle

    def reset_at(lag: float, h: Array) -> Array:
        height = rest + (u - rest) * np.exp(-h / neuron.tau_m)
        return -height * np.exp(-(lag - h) / neuron.tau_m)

    c = GradientRule(intra="consistent").coefficients(neuron)
    lags = np.arange(1.0, 8.0)
    found = terms.reset_by_firing_time(u, I, c.reset_by_u, c.reset_by_I) * np.exp(-lags / neuron.tau_m)
    return relative_error(found, [derivative(partial(reset_at, float(lag)), 0.0) for lag in lags])


# ---------------------------------------------------------------------------------------------------------------------
# Membrane in reset, leak and input
# ---------------------------------------------------------------------------------------------------------------------


def _membrane_rows() -> list[Check]:
    return [
        Check(
            "term-membrane-by-reset",
            "du[t_p]/dr = nu[p-m] (membrane F3 with a partial reset v = u (1 - r), differenced in r)",
            "terms.reset_kernel",
            SMOOTH,
            over_neurons(_membrane_by_reset),
        ),
        Check(
            "term-membrane-by-leak",
            "du[t_p]/du[t_m] = (1-theta_m)^(p-m) (membrane F3 over silent steps)",
            "terms.leak",
            SMOOTH,
            over_neurons(_membrane_by_leak),
        ),
        Check(
            "term-membrane-by-weight",
            "du[t]/dw_j = a_j[t] at a fixed v[t-1] (F1, F3)",
            "terms.membrane",
            SMOOTH,
            over_neurons(_membrane_by_weight),
        ),
        Check(
            "term-weighted-input",
            "I[t] = u[t] - (1-theta_m) v[t-1], F3 solved for I",
            "terms.weighted_input",
            IDENTITY,
            over_neurons(_weighted_input),
        ),
        Check(
            "term-membrane-rise",
            "rise[t] = u[t] - v[t-1] = I[t] - theta_m v[t-1] (F2)",
            "terms.membrane_rise",
            IDENTITY,
            over_neurons(_membrane_rise),
        ),
    ]


def _membrane_after(v: float, I: Array, neuron: NeuronParameters) -> float:
    """u after the steps of I, without a spike, from v."""
    u = v
    for weighted_input in I:
        u = terms.membrane(u, weighted_input, neuron.theta_m)
    return u


def _membrane_by_reset(neuron: NeuronParameters) -> float:
    """A reset that takes away the share r of the membrane; nu is what a share of 1 takes, seen at t_p."""
    u = 1.4 * neuron.threshold
    I = np.linspace(0.1, 0.4, N_STEPS)
    lags = range(1, 8)

    def membrane(lag: int, r: float) -> float:
        return _membrane_after(terms.membrane_after_reset(u, r), I[:lag], neuron)

    numeric = [derivative(np.vectorize(partial(membrane, lag)), 1.0) for lag in lags]
    return relative_error([terms.reset_kernel(lag, u, neuron.theta_m) for lag in lags], numeric)


def _membrane_by_leak(neuron: NeuronParameters) -> float:
    I = np.linspace(0.1, 0.4, N_STEPS)
    lags = range(1, 8)

    def membrane(lag: int, u: float) -> float:
        return _membrane_after(u, I[:lag], neuron)

    numeric = [derivative(np.vectorize(partial(membrane, lag)), V_BEFORE) for lag in lags]
    return relative_error([terms.leak(lag, neuron.theta_m) for lag in lags], numeric)


def _membrane_by_weight(neuron: NeuronParameters) -> float:
    rng = np.random.default_rng(7)
    a, w = rng.random(4), rng.normal(size=4)

    def membrane(j: int, weight: float) -> float:
        moved = w.copy()
        moved[j] = weight
        return terms.membrane(V_BEFORE, float(moved @ a), neuron.theta_m)

    numeric = [derivative(np.vectorize(partial(membrane, j)), w[j]) for j in range(len(w))]
    return relative_error(a, numeric)


def _weighted_input(neuron: NeuronParameters) -> float:
    I = [0.3, -0.8, 1.2]
    found = [terms.weighted_input(terms.membrane(V_BEFORE, i, neuron.theta_m), V_BEFORE, neuron.theta_m) for i in I]
    return relative_error(found, I)


def _membrane_rise(neuron: NeuronParameters) -> float:
    I = np.array([0.3, -0.8, 1.2])
    found = [terms.membrane_rise(terms.membrane(V_BEFORE, i, neuron.theta_m), V_BEFORE) for i in I]
    return relative_error(found, I - V_BEFORE / neuron.tau_m)


# ---------------------------------------------------------------------------------------------------------------------
# Warm-up
# ---------------------------------------------------------------------------------------------------------------------


def _surrogate_rows() -> list[Check]:
    return [
        Check(
            "term-warmup",
            "ds/du = d sig((u-V)/0.2)/du (the logistic function, differenced in u)",
            "terms.surrogate_spike_by_membrane",
            SMOOTH,
            over_neurons(partial(_warmup, np.linspace(-6.0, 6.0, 13))),
        ),
        Check(
            "term-warmup-clipped",
            "ds/du beyond |u-V| = 8 * 0.2 is that at +-8 (the logistic function, differenced there)",
            "terms.surrogate_spike_by_membrane",
            SMOOTH,
            over_neurons(partial(_warmup, np.array([-20.0, -9.0, 9.0, 20.0]))),
        ),
    ]


def _warmup(arguments: Array, neuron: NeuronParameters) -> float:
    """scipy's own logistic function, differenced in the membrane, at the argument as clipped."""
    width, clip = 0.2, 8.0  # the released code's constants, as the design states them
    rule = GradientRule()
    u = neuron.threshold + width * arguments
    found = [
        terms.surrogate_spike_by_membrane(x, neuron.threshold, rule.surrogate_width, rule.surrogate_argument_clip)
        for x in u
    ]
    where = neuron.threshold + width * np.clip(arguments, -clip, clip)
    # The derivative at +8 is 3e-4 of values near 1; the mirrored side has the same slope without the cancellation.
    mirrored = neuron.threshold - np.abs(where - neuron.threshold)
    return relative_error(found, derivative(lambda x: special.expit((x - neuron.threshold) / width), mirrored))

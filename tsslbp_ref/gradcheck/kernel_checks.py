"""Rows for the PSC: its kernel, what a spike's time does to it, static inputs and desired trains.

As in `terms_checks`, the equation of a row says which function is differenced. Two of the three inter-neuron forms are
derivatives of a smooth function; the consistent one is a difference over whole steps, and its row says so.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from tsslbp_ref.engine import inputs
from tsslbp_ref.gradcheck.finite_differences import Array, derivative, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.samples import IDENTITY, RISE, SMOOTH, over_neurons
from tsslbp_ref.model import losses, terms
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

N_STEPS = 12
T_M = 4  # the spike's step, with steps before and after it


def all_checks() -> list[Check]:
    """The rows of this file."""
    return [
        Check(
            "term-psc-kernel",
            "eps[k-m] = a[t_k] of one spike at t_m (recursion F6)",
            "terms.psc_kernel",
            IDENTITY,
            over_neurons(_psc_kernel),
        ),
        *_in_time_rows(),
        Check(
            "term-static-gain",
            "c[t] = 1 - (1-theta_s)^(t+1), PSC of an input of 1 at every step",
            "inputs.static_gain",
            IDENTITY,
            over_neurons(_static_gain),
        ),
        Check(
            "term-desired-trains",
            "d[t] = sum_m eps[t-m] desired[m] (closed form of the kernel)",
            "losses.filtered_train",
            IDENTITY,
            over_neurons(_desired_trains),
        ),
    ]


def _in_time_rows() -> list[Check]:
    """The PSC by a spike's time, a row for each form of the inter-neuron term."""
    return [
        Check(
            "term-psc-in-time-literal",
            "d eps(t_k-t_m)/dt_m = eps/tau_s (kernel exp(-t/tau_s)/tau_s, differenced in t_m)",
            "terms.psc_by_firing_time",
            SMOOTH,
            over_neurons(_psc_in_time_literal),
        ),
        Check(
            "term-psc-in-time-onset",
            "-(a[m] - a[m-1]) at t_m, -(a[k+1] - a[k]) after it (one spike's PSC, over steps)",
            "terms.psc_by_firing_time",
            IDENTITY,
            over_neurons(_psc_in_time_onset),
        ),
        Check(
            "term-psc-in-time-released",
            "da[t_k]/du[t_m] = eps/rise (frozen spike of height 1 + x/rise, differenced in x; no time moves)",
            "terms.psc_by_firing_time * terms.firing_time_by_membrane",
            SMOOTH,
            over_neurons(_psc_in_time_released),
        ),
        Check(
            "term-psc-in-time-consistent",
            "(eps[lag-1] - eps[lag+1])/2 (PSC of a spike at t_m+h, central difference with h = 1 step)",
            "terms.psc_by_firing_time",
            IDENTITY,
            over_neurons(_psc_in_time_consistent),
        ),
    ]


def _psc_of(s: Array, theta_s: float) -> Array:
    """PSC of a train by the recursion F6, from `terms.psc`."""
    a, previous = np.zeros_like(s), 0.0
    for t in range(len(s)):
        a[t] = previous = terms.psc(previous, s[t], theta_s)
    return a


def _unit_train(t_m: int, height: float = 1.0) -> Array:
    s = np.zeros(N_STEPS)
    s[t_m] = height
    return s


def _psc_kernel(neuron: NeuronParameters) -> float:
    """The kernel against the impulse response of the recursion, before the spike (0) and after."""
    kernel = [terms.psc_kernel(t_k - T_M, neuron.theta_s) for t_k in range(N_STEPS)]
    return relative_error(kernel, _psc_of(_unit_train(T_M), neuron.theta_s))


def _inter_weights(rule: GradientRule, neuron: NeuronParameters) -> tuple[float, float, float]:
    c = rule.coefficients(neuron)
    return c.inter_before, c.inter_now, c.inter_after


def _kernels_from_spike(neuron: NeuronParameters) -> list[tuple[float, float, float]]:
    """eps[lag-1], eps[lag], eps[lag+1] at every step t_k, with lag = t_k - T_M."""
    theta_s = neuron.theta_s
    return [
        (terms.psc_kernel(lag - 1, theta_s), terms.psc_kernel(lag, theta_s), terms.psc_kernel(lag + 1, theta_s))
        for lag in range(-T_M, N_STEPS - T_M)
    ]


def _psc_in_time_literal(neuron: NeuronParameters) -> float:
    """The kernel of continuous time, eps(t) = exp(-t/tau_s)/tau_s, differenced in the firing time."""

    def eps(lag: Array) -> Array:
        return np.exp(-lag / neuron.tau_s) / neuron.tau_s

    weights = _inter_weights(GradientRule(inter="literal"), neuron)
    lag = np.arange(T_M + 1.0, N_STEPS) - T_M  # away from the onset, where the kernel jumps
    neighbours = zip(eps(lag - 1).tolist(), eps(lag).tolist(), eps(lag + 1).tolist(), strict=True)
    found = [terms.psc_by_firing_time(*kernel, *weights) for kernel in neighbours]
    numeric = -derivative(eps, lag)  # t_m enters as t_k - t_m
    return relative_error(found, numeric)


def _psc_in_time_onset(neuron: NeuronParameters) -> float:
    """The onset's jump in the spike's own step, the decay to the next step after it; the first decay is left out."""
    weights = _inter_weights(GradientRule(inter="onset"), neuron)
    found = [terms.psc_by_firing_time(*kernel, *weights) for kernel in _kernels_from_spike(neuron)]
    a = _psc_of(_unit_train(T_M), neuron.theta_s)
    expected = -np.diff(a)  # at k: -(a[k+1] - a[k]); the last step has no next one
    expected[T_M - 1 : T_M + 1] = 0.0, -(a[T_M] - a[T_M - 1])
    return relative_error(found[:-1], expected)


def _psc_in_time_released(neuron: NeuronParameters) -> float:
    """The frozen spike's height: s[t_m] = 1 + x/du moves with the membrane by x, its time stays (section 2's s~)."""
    rise = RISE * neuron.threshold
    rule = GradientRule()
    weights = _inter_weights(rule, neuron)
    kernels = _kernels_from_spike(neuron)
    firing_time_by_membrane = terms.firing_time_by_membrane(rise, rule.inverse_rise_clip)
    found = [terms.psc_by_firing_time(*kernel, *weights) * firing_time_by_membrane for kernel in kernels]

    def psc_at(t_k: int, x: float) -> float:
        return float(_psc_of(_unit_train(T_M, 1.0 + x / rise), neuron.theta_s)[t_k])

    numeric = [derivative(np.vectorize(partial(psc_at, t_k)), 0.0) for t_k in range(N_STEPS)]
    return relative_error(found, numeric)


def _psc_in_time_consistent(neuron: NeuronParameters) -> float:
    """A spike one step later minus one a step earlier, over 2: a difference, not a derivative, onset jump included."""
    weights = _inter_weights(GradientRule(inter="consistent", intra="consistent"), neuron)
    kernels = _kernels_from_spike(neuron)
    found = [terms.psc_by_firing_time(*kernel, *weights) for kernel in kernels]
    later, earlier = (_psc_of(_unit_train(T_M + shift), neuron.theta_s) for shift in (1, -1))
    return relative_error(found, (later - earlier) / 2.0)


def _static_gain(neuron: NeuronParameters) -> float:
    closed_form = 1.0 - (1.0 - neuron.theta_s) ** np.arange(1, N_STEPS + 1)
    return relative_error(inputs.static_gain(N_STEPS, neuron, np.dtype(np.float64)), closed_form)


def _desired_trains(neuron: NeuronParameters) -> float:
    """Both desired trains, short and long, filtered: against the double sum over the kernel written out."""
    trains = (
        (losses.desired_train_released(5), [0, 1, 1, 1, 1]),
        (losses.desired_train_released(10), [0, 1] * 5),
        (losses.desired_train_paper(5), [0, 1, 0, 1, 1]),
    )
    errors = []
    for train, spikes in trains:
        lag = np.subtract.outer(np.arange(len(spikes)), np.arange(len(spikes)))
        kernel = np.where(lag >= 0, neuron.theta_s * (1.0 - neuron.theta_s) ** np.maximum(lag, 0), 0.0)
        errors.append(relative_error(losses.filtered_train(train, neuron), kernel @ np.array(spikes)))
    return largest(errors)

"""Rows that hold the terms, which count steps, to the equations of continuous time that Euler's method made them from.

The crossing is that of a leaky membrane fed by one PSC, tau_m u' = -u + W a, whose lift leaks away as any change of the
membrane does; the row of `terms_checks` has a straight line instead. In steps of h all terms err by O(h): the errors
halve with h, and what is extrapolated to h = 0 is the exponential of continuous time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import optimize

from tsslbp_ref.gradcheck.finite_differences import Array, derivative, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.samples import SMOOTH, over_neurons
from tsslbp_ref.model import terms
from tsslbp_ref.model.parameters import NeuronParameters

PARTS = tuple(2**k for k in range(2, 9))  # steps in a unit of time: h from 1/4 to 1/256
TIMES = np.array([1, 2])  # units of time after the spike
HALVED = 0.02  # how far the ratio of the errors at h and h/2 may be from 2 at the smallest h


def all_checks() -> list[Check]:
    """The rows of this file."""
    return [
        Check(
            "term-firing-time-lif",
            "dt_m/du = -1/u' (crossing time of a leaky membrane, differenced in a lift)",
            "terms.membrane_rise, terms.firing_time_by_membrane",
            SMOOTH,
            over_neurons(_leaky_crossing),
        ),
        Check(
            "term-euler-psc",
            "a, eps in steps of h -> exp(-t/tau_s)/tau_s, of first order",
            "terms.psc, terms.psc_kernel",
            SMOOTH,
            over_neurons(_psc_order),
        ),
        Check(
            "term-euler-membrane",
            "u, du/h, dt_m/du in steps of h -> u, u', -1/u', of first order",
            "terms.membrane, terms.membrane_rise, terms.firing_time_by_membrane",
            SMOOTH,
            over_neurons(_membrane_order),
        ),
        Check(
            "term-euler-reset",
            "leak, d nu/dt_m in steps of h -> exponentials, of first order",
            "terms.leak, terms.reset_by_firing_time",
            SMOOTH,
            over_neurons(_reset_order),
        ),
    ]


def _psc(t: float | Array, neuron: NeuronParameters) -> Array:
    """The PSC of a spike at 0 in continuous time."""
    return np.asarray(np.exp(-t / neuron.tau_s) / neuron.tau_s)


def _membrane(t: float | Array, neuron: NeuronParameters) -> Array:
    """The membrane that such a PSC charges with the weight 1, from 0."""
    return np.asarray((np.exp(-t / neuron.tau_m) - np.exp(-t / neuron.tau_s)) / (neuron.tau_m - neuron.tau_s))


# ---------------------------------------------------------------------------------------------------------------------
# The crossing
# ---------------------------------------------------------------------------------------------------------------------


def _leaky_crossing(neuron: NeuronParameters) -> float:
    """A membrane that would peak at 2 V crosses V; lifted there by h, it has crossed earlier."""
    V, theta_m = neuron.threshold, neuron.theta_m
    peak = math.log(neuron.tau_m / neuron.tau_s) / (neuron.theta_s - theta_m)
    W = 2.0 * V / float(_membrane(peak, neuron))

    def crossing(h: float, lifted_at: float) -> float:
        def above(t: float) -> float:
            return W * float(_membrane(t, neuron)) + h * math.exp((lifted_at - t) / neuron.tau_m) - V

        return float(optimize.brentq(above, 0.0, peak, xtol=1e-15))

    t_m = crossing(0.0, 0.0)
    I = theta_m * W * float(_psc(t_m, neuron))
    rise = terms.membrane_rise(terms.membrane(V, I, theta_m), V)  # in a unit of time, at the slope of the crossing
    found = terms.firing_time_by_membrane(rise, math.inf)
    return relative_error(found, derivative(np.vectorize(lambda h: crossing(h, t_m)), 0.0))


# ---------------------------------------------------------------------------------------------------------------------
# Steps of h
# ---------------------------------------------------------------------------------------------------------------------


def _extrapolated(values: Sequence[Array]) -> Array:
    """The limit of a power series in h from its values at h, h/2, h/4 ... (Richardson)."""
    for order in range(1, len(values)):
        factor = 2.0**order
        values = [(factor * finer - coarser) / (factor - 1.0) for coarser, finer in itertools.pairwise(values)]
    return values[0]


def _order_error(in_steps: Callable[[int], Array], continuous: Array) -> float:
    """How far the limit is from continuous time; infinite where halving h does not halve the error."""
    values = [in_steps(parts) for parts in PARTS]
    coarser, finer = (value - continuous for value in values[-2:])
    halved = bool(np.all(np.abs(coarser / finer - 2.0) < HALVED))
    return relative_error(_extrapolated(values), continuous) if halved else math.inf


def _psc_order(neuron: NeuronParameters) -> float:
    def in_steps(parts: int) -> Array:
        theta_s, a, at_times = neuron.theta_s / parts, 0.0, []
        for step in range(TIMES[-1] * parts + 1):
            a = terms.psc(a, float(step == 0), theta_s)
            if step in TIMES * parts:
                at_times.append(a)
        return np.array([at_times, [terms.psc_kernel(t * parts, theta_s) for t in TIMES]]) * parts

    return _order_error(in_steps, np.tile(_psc(TIMES, neuron), (2, 1)))


def _membrane_order(neuron: NeuronParameters) -> float:
    def in_steps(parts: int) -> Array:
        theta_m, a, v, at_times = neuron.theta_m / parts, float(_psc(0.0, neuron)), 0.0, []
        for step in range(1, TIMES[-1] * parts + 1):
            a = terms.psc(a, 0.0, neuron.theta_s / parts)
            u = terms.membrane(v, theta_m * a, theta_m)
            if step in TIMES * parts:
                slope = terms.membrane_rise(u, v) * parts
                at_times.append((u, slope, terms.firing_time_by_membrane(slope, math.inf)))
            v = u
        return np.array(at_times)

    u = _membrane(TIMES, neuron)
    slope = (_psc(TIMES, neuron) - u) * neuron.theta_m
    return _order_error(in_steps, np.stack([u, slope, -1.0 / slope], axis=1))


def _reset_order(neuron: NeuronParameters) -> float:
    u = 1.4 * neuron.threshold

    def in_steps(parts: int) -> Array:
        theta_m = neuron.theta_m / parts
        leaks = [terms.leak(t * parts, theta_m) for t in TIMES]
        reset = terms.reset_by_firing_time(u, 0.0, theta_m, 0.0) * parts
        return np.array([leaks, [reset * terms.leak(t * parts - 1, theta_m) for t in TIMES]])

    leak = np.exp(-TIMES / neuron.tau_m)
    return _order_error(in_steps, np.stack([leak, -u * neuron.theta_m * leak]))

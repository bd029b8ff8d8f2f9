"""One actual spike and one desired spike: how the loss depends on the time between them, and what each rule claims.

The smallest case there is. No membrane, no reset: only B5b, the derivative of the PSC in its firing time, is at work.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks, exact
from tsslbp_ref.model import losses, sweeps, terms
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

Array = npt.NDArray[np.float64]

TAU_S = 4.0  # ms
DESIRED_TIME = 100.0  # ms; so far from either end that both play no part
DURATION = 200.0  # ms
TAU_M = 10.0  # ms; no membrane takes part, but a neuron has one
RULES = ("released", "literal", "consistent")  # the surrogate knows of no firing time


def exact_curve(differences: npt.ArrayLike) -> tuple[Array, Array]:
    """L and dL/dt of the actual spike, exactly, for every difference (actual minus desired time, ms).

    Returns
    -------
    loss : (n,) array
        In 1/ms.
    derivative : (n,) array
        In 1/ms^2.

    Raises
    ------
    ValueError, TypeError
        If a difference puts the spike outside the run.
    """
    times = DESIRED_TIME + checks.finite_array("differences", differences, ndim=1)
    pairs = [([[time]], [[DESIRED_TIME]], TAU_S, DURATION) for time in times]
    loss = [exact.van_rossum_loss(*pair) for pair in pairs]
    derivative = [exact.van_rossum_time_derivatives(*pair)[0][0] for pair in pairs]
    return np.array(loss), np.array(derivative)


def claimed_derivative(difference: float, dt: float, rule: str) -> float:
    """dL/dt = sum_k da[t_k]/dt_m g[t_k] of the actual spike in steps of dt, by a rule's B5b, in 1/ms^2.

    The sum over t_k is in G. A step is dt and L_c = L_d/dt, so that the claim of the discrete model is divided by dt^2.
    The released code's claim is tau_s (in steps) times too large to be a time derivative; it is divided by that, too.

    Raises
    ------
    ValueError
        If the rule is not one of `RULES`.
    """
    checks.one_of("rule", rule, RULES)
    neuron, a, d, t_m = _discrete_pair(difference, dt)
    c = GradientRule(inter=rule).coefficients(neuron)
    _, g = losses.van_rossum(a, d)
    G = sweeps.psc_filter_adjoint(g, neuron)
    claim = terms.psc_by_firing_time(G[t_m + 1], G[t_m], G[t_m - 1], c.inter_before, c.inter_now, c.inter_after)
    excess = neuron.tau_s if rule == "released" else 1.0
    return float(claim) / excess / dt**2


def discrete_loss(difference: float, dt: float) -> float:
    """The discrete loss in steps of dt, as an approximation of the continuous one: L_d/dt."""
    _, a, d, _ = _discrete_pair(difference, dt)
    return losses.van_rossum(a, d)[0] / dt


def _discrete_pair(difference: float, dt: float) -> tuple[NeuronParameters, Array, Array, int]:
    """PSC of the actual and of the desired spike, and the step of the actual one."""
    equal = exact.discrete_equivalent(
        [[[0.0]]], [[DESIRED_TIME + difference]], [[DESIRED_TIME]], TAU_M, TAU_S, 1.0, DURATION, dt
    )
    a, d = (sweeps.psc_filter(raster[:, 0], equal.neuron) for raster in (equal.input_raster, equal.target_raster))
    return equal.neuron, a, d, int(np.flatnonzero(equal.input_raster)[0])

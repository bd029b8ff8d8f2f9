"""The model and its backward pass as the paper writes them: nested loops over neuron, t_m, t_p and t_k, and no trick.

Slow on purpose. `sweeps` has the same names in one sweep over time; the tests hold the two equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import terms
from tsslbp_ref.model.parameters import ConstantGradients, GradientRule, NeuronParameters, RuleCoefficients
from tsslbp_ref.model.trace import (
    Trace,
    checked_membranes,
    checked_psc_gradient,
    checked_signal,
    checked_trace,
    checked_weighted_input,
)

# ---------------------------------------------------------------------------------------------------------------------
# Forward: PSC and membrane
# ---------------------------------------------------------------------------------------------------------------------


@np.errstate(over="ignore", invalid="ignore")  # a PSC that overflows is an error, at the end
def psc_filter(s: npt.ArrayLike, neuron: NeuronParameters) -> npt.NDArray[Any]:
    """a[t] = sum_{m <= t} eps[t-m] s[m]    (C2), as the double sum.

    Parameters
    ----------
    s : (T, ...) array_like
        Spike trains, or any other signal.
    neuron : NeuronParameters

    Returns
    -------
    (T, ...) array
        The PSC.

    Raises
    ------
    ValueError, TypeError
        If s is not a finite array with a time axis, or so large that the PSC overflows, or neuron is not of its kind.

    Examples
    --------
    >>> psc_filter([1.0, 0.0, 0.0], NeuronParameters(tau_s=2.0))
    array([0.5  , 0.25 , 0.125])
    """
    s = checked_signal("s", s, neuron)
    a = np.zeros_like(s)
    for t_k in range(len(s)):
        for t_m in range(t_k + 1):
            a[t_k] += terms.psc_kernel(t_k - t_m, neuron.theta_s) * s[t_m]
    return checks.finite_result("s is too large", "its PSC", a)


@np.errstate(over="ignore", invalid="ignore")  # a membrane that overflows is an error, at the end
def lif_forward(I: npt.ArrayLike, neuron: NeuronParameters) -> Trace:
    """u, s, a of a layer from its weighted input, neuron by neuron and step by step    (F3 - F6).

    Parameters
    ----------
    I : (T, B, N) array_like
        Weighted input of T steps, B samples, N neurons.
    neuron : NeuronParameters

    Returns
    -------
    Trace
        With u, s and a, each (T, B, N).

    Raises
    ------
    ValueError, TypeError
        If I is not a finite (T, B, N) array, or so large that a membrane overflows, or neuron is not of its kind.

    Examples
    --------
    >>> I = np.array([1.5, 0.0, 0.75])[:, None, None]  # (T, B, N)
    >>> trace = lif_forward(I, NeuronParameters(tau_m=5.0, tau_s=2.0))
    >>> trace.u.ravel(), trace.s.ravel(), trace.a.ravel()
    (array([1.5 , 0.  , 0.75]), array([1., 0., 0.]), array([0.5  , 0.25 , 0.125]))
    """
    I = checked_weighted_input(I, neuron)
    T, B, N = I.shape
    u = np.zeros_like(I)
    a = np.zeros_like(I)
    for b in range(B):
        for i in range(N):
            v_previous = 0.0
            a_previous = 0.0
            for t in range(T):
                u[t, b, i] = terms.membrane(v_previous, I[t, b, i], neuron.theta_m)
                s = terms.spike(u[t, b, i], neuron.threshold)
                a[t, b, i] = terms.psc(a_previous, s, neuron.theta_s)
                v_previous = terms.membrane_after_reset(u[t, b, i], s)
                a_previous = a[t, b, i]
    return checked_membranes(Trace(u, a, neuron.threshold))


# ---------------------------------------------------------------------------------------------------------------------
# Backward: the dependency of every PSC on every membrane
# ---------------------------------------------------------------------------------------------------------------------


@np.errstate(over="ignore", invalid="ignore")
def dependency_matrix(
    trace: Trace, neuron: NeuronParameters, rule: GradientRule, firing_rate: float | None = None
) -> npt.NDArray[Any]:
    """phi[k, m] = da[t_k]/du[t_m] of every neuron by the cases of B5 - B8.

    Parameters
    ----------
    trace : Trace
        The forward pass, from `lif_forward`.
    neuron : NeuronParameters
    rule : GradientRule
    firing_rate : float, optional
        Mean of s over the whole mini-batch, which a rule with `warmup="layer"` asks for; if not given, the trace's own.

    Returns
    -------
    (T, T, B, N) array
        Row k reads, column m is moved.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, or the trace has another threshold, or so large that phi overflows.

    Examples
    --------
    >>> neuron = NeuronParameters(tau_m=5.0, tau_s=2.0)
    >>> trace = lif_forward(np.array([1.5, 0.0, 0.75])[:, None, None], neuron)
    >>> dependency_matrix(trace, neuron, GradientRule(warmup=False))[:, :, 0, 0].round(3)
    array([[0.333, 0.   , 0.   ],
           [0.167, 0.   , 0.   ],
           [0.083, 0.   , 0.   ]])
    """
    inter, intra = dependency_parts(trace, neuron, rule, firing_rate)
    return checks.finite_result("trace.u is too large, or rises too little", "phi", inter + intra)


@np.errstate(over="ignore", invalid="ignore")
def dependency_parts(
    trace: Trace, neuron: NeuronParameters, rule: GradientRule, firing_rate: float | None = None
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """phi1 and phi2 apart (B5, B6); the surrogate of B8 counts as inter-neuron.

    Parameters
    ----------
    trace, neuron, rule, firing_rate
        As for `dependency_matrix`.

    Returns
    -------
    inter, intra : (T, T, B, N) array

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, or the trace has another threshold, or so large that phi overflows.

    Examples
    --------
    >>> neuron = NeuronParameters(tau_m=5.0, tau_s=2.0)
    >>> trace = lif_forward(np.full((3, 1, 1), 1.5), neuron)  # a spike at every step
    >>> inter, intra = dependency_parts(trace, neuron, GradientRule(warmup=False))
    >>> intra[:, :, 0, 0].round(3)
    array([[0.   , 0.   , 0.   ],
           [0.067, 0.   , 0.   ],
           [0.047, 0.067, 0.   ]])
    """
    trace = checked_trace(trace, neuron, rule)
    T, B, N = trace.u.shape
    coefficients = rule.coefficients(neuron, trace.firing_rate if firing_rate is None else firing_rate)
    inter = np.zeros((T, T, B, N), dtype=trace.u.dtype)
    intra = np.zeros_like(inter)
    for b in range(B):
        for i in range(N):
            u, a = trace.u[:, b, i], trace.a[:, b, i]
            inter[:, :, b, i], intra[:, :, b, i] = _dependency_of_neuron(u, a, coefficients)
    return checks.finite_result("trace.u is too large, or rises too little", "phi1", inter), checks.finite_result(
        "trace.u is too large, or rises too little", "phi2", intra
    )


def _dependency_of_neuron(
    u: npt.NDArray[Any], a: npt.NDArray[Any], c: RuleCoefficients
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """phi1 and phi2 of one neuron, each (T, T), by the case table B7, then B8 in the columns that it takes over."""
    T = len(u)
    s = [terms.spike(u[t], c.threshold) for t in range(T)]
    phi1 = np.zeros((T, T))
    phi2 = np.zeros((T, T))
    for t_m in reversed(range(T)):
        t_p = next((t for t in range(t_m + 1, T) if s[t] == 1.0), None)
        for t_k in range(T):
            if s[t_m] == 1.0:
                phi1[t_k, t_m] = _inter_neuron(t_k, t_m, u, s, c)
            if t_p is not None and c.chain:  # phi(t_k, t_p) is 0 by itself where t_k comes before t_p
                phi = phi1[t_k, t_p] + phi2[t_k, t_p]
                phi2[t_k, t_m] = phi * _next_spike_by_membrane(t_p, t_m, u, s, c)
    for t_m in range(T):  # only now: the chain above runs on the unreplaced dependencies
        if s[t_m] == 0.0 and not c.silent:
            phi2[:, t_m] = 0.0
        if a[t_m] < c.warmup_gate:
            phi2[:, t_m] = 0.0
            for t_k in range(T):
                phi1[t_k, t_m] = _surrogate(t_k, t_m, u, c)
        if c.surrogate_weight:
            for t_k in range(T):
                phi1[t_k, t_m] += c.surrogate_weight * _surrogate(t_k, t_m, u, c)
    return phi1, phi2 + _one_hop(phi1 + phi2, u, s, c)


def _one_hop(phi: npt.NDArray[Any], u: npt.NDArray[Any], s: list[float], c: RuleCoefficients) -> npt.NDArray[Any]:
    """phi(t_j, t_m) theta_m u[t_j] (1-theta_m)^(k-j-1) at a spike t_k, t_j the spike before it (September 2020)."""
    hop = np.zeros_like(phi)
    for t_k in range(len(u)):
        t_j = next((t for t in reversed(range(t_k)) if s[t] == 1.0), None)
        if t_j is not None and s[t_k] == 1.0:
            reset = -terms.reset_by_firing_time(u[t_j], 0.0, c.hop_by_u, 0.0) * terms.leak(t_k - t_j - 1, c.theta_m)
            hop[t_k] = phi[t_j] * reset
    return hop


def _firing_time_by_membrane(t_m: int, u: npt.NDArray[Any], s: list[float], c: RuleCoefficients) -> float:
    """B5a at the spike t_m."""
    v_previous = terms.membrane_after_reset(u[t_m - 1], s[t_m - 1]) if t_m > 0 else 0.0
    return terms.firing_time_by_membrane(terms.membrane_rise(u[t_m], v_previous), c.inverse_rise_clip)


def _inter_neuron(t_k: int, t_m: int, u: npt.NDArray[Any], s: list[float], c: RuleCoefficients) -> float:
    """phi1(t_k, t_m) = da[t_k]/dt_m * dt_m/du[t_m]    (B5)."""
    lag = t_k - t_m
    psc_by_firing_time = terms.psc_by_firing_time(
        terms.psc_kernel(lag - 1, c.theta_s),
        terms.psc_kernel(lag, c.theta_s),
        terms.psc_kernel(lag + 1, c.theta_s),
        c.inter_before,
        c.inter_now,
        c.inter_after,
    )
    return psc_by_firing_time * _firing_time_by_membrane(t_m, u, s, c)


def _next_spike_by_membrane(t_p: int, t_m: int, u: npt.NDArray[Any], s: list[float], c: RuleCoefficients) -> float:
    """du[t_p]/du[t_m]: through the reset if the neuron fired at t_m, through the leak if it did not    (B6)."""
    if s[t_m] == 0.0:
        return terms.leak(t_p - t_m, c.theta_m)
    v_previous = terms.membrane_after_reset(u[t_m - 1], s[t_m - 1]) if t_m > 0 else 0.0
    I = terms.weighted_input(u[t_m], v_previous, c.theta_m)
    reset_by_firing_time = terms.reset_by_firing_time(u[t_m], I, c.reset_by_u, c.reset_by_I)
    return reset_by_firing_time * terms.leak(t_p - t_m - 1, c.theta_m) * _firing_time_by_membrane(t_m, u, s, c)


def _surrogate(t_k: int, t_m: int, u: npt.NDArray[Any], c: RuleCoefficients) -> float:
    """phi_w(t_k, t_m) = eps[k-m] ds/du[t_m]    (B8)."""
    slope = terms.surrogate_spike_by_membrane(u[t_m], c.threshold, c.surrogate_width, c.surrogate_argument_clip)
    return terms.psc_kernel(t_k - t_m, c.theta_s) * slope


# ---------------------------------------------------------------------------------------------------------------------
# Backward: the double sum
# ---------------------------------------------------------------------------------------------------------------------


@np.errstate(over="ignore", invalid="ignore")
def tsslbp_backward(
    g: npt.ArrayLike, trace: Trace, neuron: NeuronParameters, rule: GradientRule, firing_rate: float | None = None
) -> npt.NDArray[Any]:
    """delta[t_m] = sum_k phi(t_k, t_m) g[t_k]    (B2), as the double sum over t_m and t_k.

    Parameters
    ----------
    g : (T, B, N) array_like
        dL/da.
    trace : Trace
        The forward pass, from `lif_forward`.
    neuron : NeuronParameters
    rule : GradientRule
    firing_rate : float, optional
        Mean of s over the whole mini-batch, which a rule with `warmup="layer"` asks for; if not given, the trace's own.

    Returns
    -------
    (T, B, N) array
        delta = dL/du, equally dL/dI.

    Raises
    ------
    ValueError, TypeError
        If g is not finite or not of the trace's shape, or so large that delta overflows, or an argument is not of its
        kind, or the trace has another threshold.

    Examples
    --------
    >>> neuron = NeuronParameters(tau_m=5.0, tau_s=2.0)
    >>> trace = lif_forward(np.array([1.5, 0.0, 0.75])[:, None, None], neuron)
    >>> tsslbp_backward(np.ones((3, 1, 1)), trace, neuron, GradientRule(warmup=False)).ravel().round(3)
    array([0.583, 0.   , 0.   ])
    """
    trace = checked_trace(trace, neuron, rule)
    g = checked_psc_gradient(g, trace)
    phi = dependency_matrix(trace, neuron, rule, firing_rate)
    T, B, N = g.shape
    delta = np.zeros_like(g)
    for b in range(B):
        for i in range(N):
            for t_m in range(T):
                for t_k in range(T):
                    delta[t_m, b, i] += phi[t_k, t_m, b, i] * g[t_k, b, i]
    return checks.finite_result("g is too large", "delta", delta)


# ---------------------------------------------------------------------------------------------------------------------
# Backward: the constants
# ---------------------------------------------------------------------------------------------------------------------


def constant_gradients(
    g: npt.ArrayLike, delta: npt.ArrayLike, trace: Trace, neuron: NeuronParameters
) -> ConstantGradients:
    """dL/d(constant) = sum_t delta[t] du[t]/d(constant), and sum_t dL/da[t] da[t]/dtau_s, neuron by neuron.

    dL/da[t] = tau_s sum_{k >= t} eps[k-t] g[k] has what a[t] leaves to later steps in it.

    Parameters
    ----------
    g, delta : (T, B, N) array_like
        dL/da and dL/du of the layer.
    trace : Trace
    neuron : NeuronParameters

    Returns
    -------
    ConstantGradients

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind or shape, or the trace has another threshold.

    Examples
    --------
    >>> neuron = NeuronParameters(tau_m=5.0, tau_s=2.0)
    >>> trace = lif_forward(np.array([0.5, 1.0])[:, None, None], neuron)  # u: 0.5, 1.4
    >>> constant_gradients(np.ones((2, 1, 1)), np.ones((2, 1, 1)), trace, neuron).tau_m_fixed_W_d
    array([0.02])
    """
    trace = checked_trace(trace, neuron, GradientRule())
    g, delta = checked_psc_gradient(g, trace), checked_psc_gradient(delta, trace, "delta")
    T, B, N = g.shape
    sums = np.zeros((4, N))
    for b in range(B):
        for i in range(N):
            v_previous, a_previous = 0.0, 0.0
            for t in range(T):
                u, a = trace.u[t, b, i], trace.a[t, b, i]
                s = terms.spike(u, neuron.threshold)
                rise = terms.membrane_rise(u, v_previous)
                I = terms.weighted_input(u, v_previous, neuron.theta_m)
                dL_da = sum(terms.psc_kernel(k - t, neuron.theta_s) * g[k, b, i] for k in range(t, T)) * neuron.tau_s
                sums[0, i] += delta[t, b, i] * terms.membrane_by_tau_m_at_fixed_W_d(v_previous, neuron.theta_m)
                sums[1, i] += delta[t, b, i] * terms.membrane_by_tau_m_at_fixed_W(rise, neuron.theta_m)
                sums[2, i] += dL_da * terms.psc_by_tau_s(a_previous, s, neuron.theta_s)
                sums[3, i] += delta[t, b, i] * terms.membrane_by_threshold(I, neuron.threshold)
                v_previous, a_previous = terms.membrane_after_reset(u, s), a
    return ConstantGradients(*sums)

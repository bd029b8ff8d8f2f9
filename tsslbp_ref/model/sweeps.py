"""The model and its backward pass in one sweep over time: O(T) per neuron, compiled by Numba.

Same names and banners as `reference`, same scalar functions of `terms`; only the loops differ. Arrays are swept in
blocks of neurons, time inside the block, so that a block's state stays in the caches and the innermost loop runs over
neighbouring neurons.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.jit import LARGEST_ARGUMENT, compiled, exponential, terms
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, RuleCoefficients
from tsslbp_ref.model.trace import (
    Trace,
    checked_membranes,
    checked_psc_gradient,
    checked_signal,
    checked_trace,
    checked_weighted_input,
)

Array = npt.NDArray[Any]

BLOCK_NUMBERS = 1 << 13  # of one array in a block of neurons: T steps of it and of its neighbours stay in the caches
SMALLEST_BLOCK, LARGEST_BLOCK = 128, 1024  # neurons: rows long enough to be worth a call


@compiled
def block_size(T: int) -> int:
    """Neurons a block."""
    return min(max(BLOCK_NUMBERS // T, SMALLEST_BLOCK), LARGEST_BLOCK)


def flat(array: Array) -> Array:
    """View a (T, ...) array as (T, M), contiguous."""
    return np.ascontiguousarray(array).reshape(len(array), -1)


# ---------------------------------------------------------------------------------------------------------------------
# Forward: PSC and membrane
# ---------------------------------------------------------------------------------------------------------------------


def psc_filter(s: npt.ArrayLike, neuron: NeuronParameters) -> Array:
    """a[t] = a[t-1] + theta_s (s[t] - a[t-1])    (F6): the double sum of C2 as a recursion.

    Parameters
    ----------
    s : (T, ...) array_like
        Spike trains, or any other signal over time.
    neuron : NeuronParameters
        Its tau_s, in steps, is the filter's time constant.

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
    >>> import tsslbp_ref as tr
    >>> tr.psc_filter([1.0, 0.0, 0.0], tr.NeuronParameters(tau_s=2.0))
    array([0.5  , 0.25 , 0.125])
    """
    return checks.finite_result("s is too large", "its PSC", _filtered(checked_signal("s", s, neuron), neuron))


def psc_filter_adjoint(g: npt.ArrayLike, neuron: NeuronParameters) -> Array:
    """G[t] = sum_{k >= t} eps[k-t] g[k]: the adjoint of `psc_filter`, which is F6 run backward in time.

    Parameters
    ----------
    g : (T, ...) array_like
        Gradient with respect to a PSC.
    neuron : NeuronParameters

    Returns
    -------
    (T, ...) array
        Gradient with respect to the spike train that was filtered.

    Raises
    ------
    ValueError, TypeError
        If g is not a finite array with a time axis, or so large that the sum overflows, or neuron is not of its kind.

    Examples
    --------
    >>> import tsslbp_ref as tr
    >>> tr.psc_filter_adjoint([0.0, 0.0, 1.0], tr.NeuronParameters(tau_s=2.0))
    array([0.125, 0.25 , 0.5  ])
    """
    g = checked_signal("g", g, neuron)
    return checks.finite_result("g is too large", "its sum", np.ascontiguousarray(_filtered(g[::-1], neuron)[::-1]))


def _filtered(signal: Array, neuron: NeuronParameters) -> Array:
    """F6 along the first axis."""
    filtered = np.empty_like(signal, order="C")
    _filter_sweep(flat(signal), signal.dtype.type(neuron.theta_s), flat(filtered))
    return filtered


@compiled
def _filter_sweep(s: Array, theta_s: float, a: Array) -> None:
    T, M = s.shape
    size = block_size(T)
    zeros = np.zeros(size, s.dtype)
    for start in range(0, M, size):
        block = slice(start, min(start + size, M))
        for t in range(T):
            a_before = a[t - 1, block] if t > 0 else zeros
            filter_step(a_before, s[t, block], theta_s, a[t, block])


@compiled
def filter_step(previous: Array, signal: Array, theta_s: float, filtered: Array) -> None:
    """F6 for a block of neurons."""
    for i in range(len(signal)):
        filtered[i] = terms.psc(previous[i], signal[i], theta_s)


def lif_forward(I: npt.ArrayLike, neuron: NeuronParameters) -> Trace:
    """u, s, a of a layer from its weighted input    (F3 - F6).

    Parameters
    ----------
    I : (T, B, N) array_like
        Weighted input of T steps, B samples, N neurons.
    neuron : NeuronParameters
        tau_m and tau_s, in steps, and the threshold.

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
    A neuron that rises for three steps, fires, and starts again from 0:

    >>> import numpy as np
    >>> import tsslbp_ref as tr
    >>> trace = tr.lif_forward(np.full((5, 1, 1), 0.5), tr.NeuronParameters(tau_m=4.0))
    >>> trace.u[:, 0, 0], trace.s[:, 0, 0]
    (array([0.5    , 0.875  , 1.15625, 0.5    , 0.875  ]), array([0., 0., 1., 0., 0.]))
    """
    u = np.array(checked_weighted_input(I, neuron), order="C")
    return checked_membranes(lif_forward_in_place(u, neuron, np.empty_like(u)))


def lif_forward_in_place(u: Array, neuron: NeuronParameters, a: Array) -> Trace:
    """`lif_forward` without a copy or a check: u holds the weighted input before and the membrane after.

    Parameters
    ----------
    u : (T, B, N) array
        Contiguous; overwritten.
    neuron : NeuronParameters
    a : (T, B, N) array
        Contiguous; written.

    Returns
    -------
    Trace
        Of u and a.
    """
    lif_sweep(flat(u), *neuron_constants(neuron, u.dtype), flat(a))
    return Trace(u, a, neuron.threshold)


def neuron_constants(neuron: NeuronParameters, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
    """theta_m, theta_s and V in the precision of the arrays."""
    return dtype.type(neuron.theta_m), dtype.type(neuron.theta_s), dtype.type(neuron.threshold)


@compiled
def lif_sweep(u: Array, theta_m: float, theta_s: float, threshold: float, a: Array) -> None:
    """u comes in as the weighted input; both are (T, M)."""
    T, M = u.shape
    size = block_size(T)
    zeros = np.zeros(size, u.dtype)
    for start in range(0, M, size):
        block = slice(start, min(start + size, M))
        for t in range(T):
            u_before, a_before = (u[t - 1, block], a[t - 1, block]) if t > 0 else (zeros, zeros)
            lif_step(u_before, a_before, theta_m, theta_s, threshold, u[t, block], a[t, block])


@compiled
def lif_step(
    u_before: Array, a_before: Array, theta_m: float, theta_s: float, threshold: float, u: Array, a: Array
) -> None:
    """F3 to F6 for a block of neurons; u comes in as the weighted input."""
    for i in range(len(u)):
        v_previous = terms.membrane_after_reset(u_before[i], terms.spike(u_before[i], threshold))
        u[i] = terms.membrane(v_previous, u[i], theta_m)
        a[i] = terms.psc(a_before[i], terms.spike(u[i], threshold), theta_s)


# ---------------------------------------------------------------------------------------------------------------------
# Backward: one sweep against time
# ---------------------------------------------------------------------------------------------------------------------


def tsslbp_backward(
    g: npt.ArrayLike, trace: Trace, neuron: NeuronParameters, rule: GradientRule, firing_rate: float | None = None
) -> Array:
    """delta[t] from g in one sweep from T-1 to 0    (B2 with the case table B7 summed up).

    With G[t] = sum_{k >= t} eps[k-t] g[k] and chain = delta of the neuron's next spike, leaked back to t+1:
        fired:  delta = dt/du (w_{-1} G[t+1] + w_0 G[t] + w_{+1} G[t-1]) + dt/du dreset/dt chain
        silent: delta = (1 - theta_m) chain
    and G ds/du (B8) instead where a[t] is below the gate, and 0 at silent steps of a rule that gives them none;
    the chain goes on with the unreplaced value. A rule with a `surrogate_weight` adds as many times G ds/du at every
    step; the chain goes on without it. With `intra="one-hop"` g[t] + s[t] theta_m u[t] n[t] replaces g[t],
    n[t] = g of the neuron's next spike, leaked back to t+1.

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
    Silent steps get their share of the next spike's delta through the leak:

    >>> import numpy as np
    >>> import tsslbp_ref as tr
    >>> neuron, rule = tr.NeuronParameters(tau_m=4.0), tr.GradientRule(warmup=False)
    >>> trace = tr.lif_forward(np.full((4, 1, 1), 0.5), neuron)
    >>> tr.tsslbp_backward(np.ones((4, 1, 1)), trace, neuron, rule)[:, 0, 0].round(3)
    array([1.111, 1.481, 1.975, 0.   ])
    """
    trace = checked_trace(trace, neuron, rule)
    delta = np.array(checked_psc_gradient(g, trace), order="C")
    rate = trace.firing_rate if rule.needs_firing_rate and firing_rate is None else firing_rate
    tsslbp_backward_in_place(delta, trace, coefficients(neuron, rule, delta.dtype, rate))
    return checks.finite_result("g is too large", "delta", delta)


def tsslbp_backward_in_place(g: Array, trace: Trace, c: RuleCoefficients) -> None:
    """`tsslbp_backward` without a copy or a check: g holds dL/da before and delta = dL/du after.

    Parameters
    ----------
    g : (T, B, N) array
        Contiguous; overwritten.
    trace : Trace
    c : RuleCoefficients
        From `coefficients`, in g's dtype.
    """
    backward_sweep(flat(g), flat(trace.u), flat(trace.a), c)


def coefficients(
    neuron: NeuronParameters, rule: GradientRule, dtype: np.dtype[Any], firing_rate: float | None = None
) -> RuleCoefficients:
    """The rule's numbers in the precision of the arrays, with the surrogate's argument where `exponential` is good."""
    c = rule.coefficients(neuron, firing_rate)
    c = c._replace(surrogate_argument_clip=min(c.surrogate_argument_clip, LARGEST_ARGUMENT))
    return RuleCoefficients(*(dtype.type(number) for number in c))


@compiled
def backward_sweep(delta: Array, u: Array, a: Array, c: RuleCoefficients) -> None:
    """Delta comes in as g."""
    T, M = delta.shape
    size = block_size(T)
    G, zeros = np.zeros((T + 2, size), delta.dtype), np.zeros(size, delta.dtype)
    for start in range(0, M, size):
        block = slice(start, min(start + size, M))
        backward_block(delta, u, a, block, c, G, zeros, delta)


@compiled
def copy_row(row: Array, target: Array) -> None:
    """Copy a row in a loop: a compiled slice assignment first asks whether rows overlap, which takes as long again."""
    for i in range(len(row)):
        target[i] = row[i]


@compiled
def backward_block(
    g: Array, u: Array, a: Array, block: slice, c: RuleCoefficients, G: Array, zeros: Array, delta: Array
) -> None:
    """Write delta of one block of neurons; delta may be the array g. Row t+1 of G holds G[t]."""
    T = len(u)
    if c.hop_by_u > 0.0:
        _filter_with_hops(g[:, block], u[:, block], c, G)
    else:
        for t in range(T - 1, -1, -1):
            filter_step(G[t + 2], g[t, block], c.theta_s, G[t + 1])
    filter_step(G[1], zeros[: block.stop - block.start], c.theta_s, G[0])
    for t in range(T - 1, -1, -1):
        u_before = u[t - 1, block] if t > 0 else zeros
        delta_after = delta[t + 1, block] if t < T - 1 else zeros
        _chain_rule_step(G[t + 2], G[t + 1], G[t], u_before, u[t, block], delta_after, c, delta[t, block])
    if c.silent == 0.0:  # only now: the chain above runs on the unreplaced values
        for t in range(T):
            _silence_step(u[t, block], c.threshold, delta[t, block])
    warmup = (c.threshold, c.surrogate_width, c.surrogate_argument_clip, c.warmup_gate)  # a call costs by the number
    for t in range(T):  # only now, for the same reason
        _warmup_step(u[t, block], a[t, block], warmup, G[t + 1], delta[t, block])
    if c.surrogate_weight > 0.0:
        surrogate = (c.threshold, c.surrogate_width, c.surrogate_argument_clip, c.surrogate_weight)
        for t in range(T):
            _surrogate_step(u[t, block], surrogate, G[t + 1], delta[t, block])


@compiled
def _filter_with_hops(g: Array, u: Array, c: RuleCoefficients, G: Array) -> None:
    """G of g[t] + s[t] theta_m u[t] n[t]; n[t] is g at the neuron's next spike, leaked back to t+1, else 0."""
    T, M = u.shape
    one_step, zero = terms.leak(1, c.theta_m), u.dtype.type(0)
    n, with_hop = np.zeros(M, u.dtype), np.zeros(M, u.dtype)
    for t in range(T - 1, -1, -1):
        for i in range(M):
            fired = terms.spike(u[t, i], c.threshold) > 0
            hop = -n[i] * terms.reset_by_firing_time(u[t, i], zero, c.hop_by_u, zero)
            with_hop[i] = g[t, i] + (hop if fired else zero)
            n[i] = g[t, i] if fired else one_step * n[i]
        filter_step(G[t + 2], with_hop, c.theta_s, G[t + 1])


@compiled
def _chain_rule_step(
    G_after: Array,
    G_now: Array,
    G_before: Array,
    u_before: Array,
    u: Array,
    delta_after: Array,
    c: RuleCoefficients,
    delta: Array,
) -> None:
    """delta[t] by B5 and B6 for a block of neurons.

    delta[t+1] is the delta of the next spike, leaked back to t+1, if there is a next spike, and else 0.
    """
    one_step = terms.leak(1, c.theta_m)
    for i in range(len(u)):
        v_previous = terms.membrane_after_reset(u_before[i], terms.spike(u_before[i], c.threshold))
        chain = c.chain * delta_after[i]
        loss_by_time = terms.psc_by_firing_time(
            G_after[i], G_now[i], G_before[i], c.inter_before, c.inter_now, c.inter_after
        )
        I = terms.weighted_input(u[i], v_previous, c.theta_m)
        loss_by_time += chain * terms.reset_by_firing_time(u[i], I, c.reset_by_u, c.reset_by_I)
        fired = loss_by_time * terms.firing_time_by_membrane(terms.membrane_rise(u[i], v_previous), c.inverse_rise_clip)
        delta[i] = fired if terms.spike(u[i], c.threshold) > 0 else chain * one_step


@compiled
def _silence_step(u: Array, threshold: float, delta: Array) -> None:
    """Delta[t] becomes 0 where the neuron is silent, for a block of neurons."""
    for i in range(len(u)):
        delta[i] = delta[i] if terms.spike(u[i], threshold) > 0 else delta.dtype.type(0)


@compiled
def _warmup_step(u: Array, a: Array, constants: tuple[float, float, float, float], G: Array, delta: Array) -> None:
    """B8 for a block of neurons: where the PSC is below the gate, delta[t] becomes G[t] ds/du.

    Every delta is written, changed or not: processors of AMD take long to write a part of a vector.
    """
    threshold, width, argument_clip, gate = constants
    for i in range(len(u)):
        slope = terms.surrogate_spike_by_membrane(u[i], threshold, width, argument_clip, exponential)
        delta[i] = G[i] * slope if a[i] < gate else delta[i]


@compiled
def _surrogate_step(u: Array, constants: tuple[float, float, float, float], G: Array, delta: Array) -> None:
    """delta[t] gains kappa G[t] ds/du, for a block of neurons."""
    threshold, width, argument_clip, weight = constants
    for i in range(len(u)):
        slope = terms.surrogate_spike_by_membrane(u[i], threshold, width, argument_clip, exponential)
        delta[i] += weight * G[i] * slope

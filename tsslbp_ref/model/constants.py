"""Gradients by the constants tau_m, tau_s and V, by neuron and by layer: sums over steps and batch.

The loss is a staircase in every constant, as it is in W. The rule's derivative by a constant is that by W's own recipe:
delta[t] = dL/dI[t] is the rule's, and the constant enters by its direct partial at fixed v[t-1] and a[t-1] (`terms`).
Constants are in steps. `reference.constant_gradients` has the same by nested loops; docs/derivations/constants.md
derives them, and says how little they, like the rule's dL/dW, need point along the exact ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import arguments, backpropagation, sweeps, terms
from tsslbp_ref.model.losses import LossSettings
from tsslbp_ref.model.parameters import ConstantGradients, GradientRule, NeuronParameters
from tsslbp_ref.model.trace import Trace, checked_psc_gradient, checked_trace

if TYPE_CHECKING:
    from tsslbp_ref.model.network import Network

Array = npt.NDArray[Any]


class NetworkConstantGradients(NamedTuple):
    """dL/d(constant) of a network.

    Attributes
    ----------
    layers : list of ConstantGradients
        Of each layer of neurons. The PSC of the last is read by the loss alone, so that its tau_s is a constant of the
        loss; here at fixed targets, though the kernel losses filter these by the same tau_s.
    input_tau_s : array
        By the tau_s of the input's PSC, of each input, in the shape of the input.
    """

    layers: list[ConstantGradients]
    input_tau_s: Array


# ---------------------------------------------------------------------------------------------------------------------
# One layer, one constant
# ---------------------------------------------------------------------------------------------------------------------


def _before(x: Array) -> Array:
    """x[t-1], with 0 before the first step."""
    return np.concatenate([np.zeros_like(x[:1]), x[:-1]])


def by_tau_m_fixed_W_d(delta: Array, trace: Trace, neuron: NeuronParameters) -> Array:
    """dL/dtau_m = (1/tau_m^2) sum_t delta[t] v[t-1] at fixed W_d, which the network holds; (N,).

    Through the rule: du[t]/dtau_m at fixed v[t-1]. What a network in steps trains.
    """
    return _summed(delta, terms.membrane_by_tau_m_at_fixed_W_d(_v_before(trace), neuron.theta_m))  # type: ignore[arg-type]


def by_tau_m_fixed_W(delta: Array, trace: Trace, neuron: NeuronParameters) -> Array:
    """dL/dtau_m = -(1/tau_m) sum_t delta[t] du[t] at fixed W = tau_m W_d, du the rise; (N,).

    That of continuous time: `exact` holds W.
    """
    rise = terms.membrane_rise(trace.u, _v_before(trace))  # type: ignore[arg-type]
    return _summed(delta, terms.membrane_by_tau_m_at_fixed_W(rise, neuron.theta_m))


def by_tau_s(g: Array, s: Array, a: Array, neuron: NeuronParameters) -> Array:
    """dL/dtau_s = -(1/tau_s) sum_t G[t] (s[t] - a[t-1]), G[t] = sum_{k >= t} eps[k-t] g[k]; at fixed weights.

    Past the rule: the filter at the spikes as they are. The rule enters by g alone, and no spike of the layer itself
    moves, which is right: a layer's own tau_s acts on what it emits.

    Parameters
    ----------
    g, s, a : (T, B, ...) array
        dL/da, what is filtered, and the PSC.
    neuron : NeuronParameters
        Its tau_s is the filter's.
    """
    dL_da = neuron.tau_s * sweeps.psc_filter_adjoint(g, neuron)  # through later steps, too
    return _summed(dL_da, terms.psc_by_tau_s(_before(a), s, neuron.theta_s))  # type: ignore[arg-type]


def by_threshold(delta: Array, trace: Trace, neuron: NeuronParameters) -> Array:
    """dL/dV = -(1/V) sum_t delta[t] I[t], which is -(1/V) sum_j W_ij dL/dW_ij; (N,).

    Why not the tangent network's (`by_threshold_of_the_tangent`): spikes depend on u/V, so that W, V -> c W, c V
    changes none, and V dL/dV + sum_j W_ij dL/dW_ij = 0 holds exactly. This is the dL/dV that keeps it. The tangent
    network's does not: at a spike it has delta and not delta u/V, which a finer step would mend; at a step of the
    warm-up it has delta once for each step, where a change of W has the current of that step alone, so that in finer
    steps it grows as 1/dt beside all other derivatives.
    """
    I = terms.weighted_input(trace.u, _v_before(trace), neuron.theta_m)  # type: ignore[arg-type]
    return _summed(delta, terms.membrane_by_threshold(I, neuron.threshold))


def by_threshold_of_the_tangent(
    delta: Array, trace: Trace, neuron: NeuronParameters, rule: GradientRule, firing_rate: float | None = None
) -> Array:
    """dL/dV = -sum_t max(s[t], m[t]) delta[t], m = 1 where the warm-up stands in; (N,).

    The tangent network's, with a membrane that is lowered for firing only; see `by_threshold` for what is wrong with
    it. `firing_rate` is that of `GradientRule.coefficients`.

    Raises
    ------
    ValueError
        If the rule adds a surrogate at every step: delta does not say which part of it is whose.
    """
    if rule.surrogate_weight > 0.0:
        raise ValueError(f"rule.surrogate_weight must be 0, got {rule.surrogate_weight:g}")
    rate = trace.firing_rate if rule.needs_firing_rate and firing_rate is None else firing_rate
    m = trace.a < rule.coefficients(neuron, rate).warmup_gate
    return -_summed(delta, np.maximum(trace.s, m))


def _v_before(trace: Trace) -> Array:
    """v[t-1], the membrane after the reset of the step before."""
    return _before(cast(Array, terms.membrane_after_reset(trace.u, trace.s)))  # type: ignore[arg-type]


def _summed(weight: Array, partial: Any) -> Array:
    """Sum over steps and batch of weight times partial, both (T, B, ...)."""
    return np.einsum("tb...,tb...->...", weight, partial)


# ---------------------------------------------------------------------------------------------------------------------
# One layer, a network
# ---------------------------------------------------------------------------------------------------------------------


def of_layer(g: npt.ArrayLike, delta: npt.ArrayLike, trace: Trace, neuron: NeuronParameters) -> ConstantGradients:
    """dL/d(constant) of each neuron of a layer from dL/da and dL/du; as `reference.constant_gradients`.

    Parameters
    ----------
    g, delta : (T, B, N) array_like
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
    >>> trace = sweeps.lif_forward(np.array([0.5, 1.0])[:, None, None], neuron)  # u: 0.5, 1.4
    >>> of_layer(np.ones((2, 1, 1)), np.ones((2, 1, 1)), trace, neuron).tau_m_fixed_W_d
    array([0.02])
    """
    trace = checked_trace(trace, neuron, GradientRule())
    g, delta = checked_psc_gradient(g, trace), checked_psc_gradient(delta, trace, "delta")
    return ConstantGradients(
        by_tau_m_fixed_W_d(delta, trace, neuron),
        by_tau_m_fixed_W(delta, trace, neuron),
        by_tau_s(g, trace.s, trace.a, neuron),
        by_threshold(delta, trace, neuron),
    )


def gradients(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    loss: str = "kernel",
    *,
    settings: LossSettings | None = None,
    rng: np.random.Generator | None = None,
) -> NetworkConstantGradients:
    """dL/d(constant) of a network by its rule, for a mini-batch, neuron by neuron.

    Parameters
    ----------
    net : Network
    x, y, loss, settings, rng
        As for `Network.loss_and_gradients`.

    Returns
    -------
    NetworkConstantGradients

    Raises
    ------
    ValueError, TypeError
        As `Network.loss_and_gradients` does.

    Examples
    --------
    >>> from tsslbp_ref import Network
    >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5, dtype="float64", weight_scale=2.0)
    >>> by = gradients(net, np.ones((2, 4)), [0, 1])
    >>> by.layers[0].tau_m_fixed_W_d.shape, sorted(by.layers[0].summed())
    ((20,), ['tau_m_fixed_W', 'tau_m_fixed_W_d', 'tau_s', 'threshold'])
    """
    x, target, checked_loss, masks = arguments.of_step(net, x, y, loss, settings, rng)
    with arguments.cause_named(net, x, masks):
        records, a = backpropagation.forward(net, x, masks)
        _, g = checked_loss.value_and_gradient(a, target)
        _, flows, g_input = backpropagation.backward(net, records, g)
    layers = [of_layer(flow.g, flow.delta, flow.trace, one) for flow, one in zip(flows, net.neurons, strict=True)]
    trains, a_input = backpropagation.input_trains(net, x), backpropagation.input_psc(net, x)
    by_input = by_tau_s(g_input, trains, a_input, net.input_synapse)
    for one in (*(array for layer in layers for array in layer), by_input):
        checks.finite_result("weights, input or targets are too large", "a gradient by a constant", one)
    return NetworkConstantGradients(layers, by_input)

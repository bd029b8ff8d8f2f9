"""Rows that hold the fast sweeps equal to the literal loops: O(T) against O(T^2), products against nested loops."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tsslbp_ref import fast, fast_dense, layers, reference, reference_layers, signals
from tsslbp_ref.gradcheck.finite_differences import Array, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.parameters import GradientRule, NeuronParameters, named_rules
from tsslbp_ref.trace import Trace

NEURONS = (NeuronParameters(5.0, 3.0, 1.0), NeuronParameters(2.5, 7.0, 0.6))
SHAPE = (12, 2, 4)  # T, B, N
SEED = 224  # spikes, silence, and slow rises on both sides of the clip, for both neurons
TOLERANCES = {"float64": 1e-12, "float32": 1e-5}  # rounding of about 100 operations in either precision
CONVOLUTIONS = tuple(
    layers.Conv2d((2, 5, 6), n_filters=3, kernel_size=size, padding=padding)
    for size, padding in ((3, 0), (3, 1), (3, 2), (2, 0), (2, 1), (1, 0))
)

POOLS = (
    layers.SumPool2d((2, 6, 4), 2),
    layers.SumPool2d((2, 7, 5), 2),
    layers.SumPool2d((2, 6, 7), 3, 1.0),
)


def all_checks() -> list[Check]:
    """Filter, forward, backward by rule and precision, maps between layers, and the signals' short cuts."""
    return [*_time_rows(), *_joined_rows(), *_convolution_rows(), *_unweighted_rows(), *_signal_rows()]


# ---------------------------------------------------------------------------------------------------------------------
# Sweeps over time
# ---------------------------------------------------------------------------------------------------------------------


def _time_rows() -> list[Check]:
    exact = TOLERANCES["float64"]
    rows = [
        Check("sweep-psc-filter", "a = eps * s: recursion against double sum", "fast.psc_filter", exact, _psc_filter),
        Check("sweep-forward", "u, a of a layer (F3 - F6)", "fast.lif_forward", exact, _forward),
    ]
    for precision, tolerance in TOLERANCES.items():
        rows += [
            Check(
                f"sweep-backward-{name}-{precision}",
                f"delta[t_m] = sum_k phi(t_k, t_m) g[t_k] in {precision}: sweep against double sum",
                "fast.tsslbp_backward",
                tolerance,
                partial(_backward, rule, precision),
            )
            for name, rule in named_rules().items()
        ]
    return rows


def sweep_weighted_input() -> Array:
    """Rises and falls about the threshold, so that neurons fire often, rarely and never."""
    rng = np.random.default_rng(SEED)
    return rng.normal(0.4, 0.7, size=SHAPE) * np.linspace(0.2, 1.5, SHAPE[2])


def _psc_filter() -> float:
    s = np.random.default_rng(22).normal(size=SHAPE)
    return largest(relative_error(fast.psc_filter(s, neuron), reference.psc_filter(s, neuron)) for neuron in NEURONS)


def _forward() -> float:
    errors = []
    for neuron in NEURONS:
        found = fast.lif_forward(sweep_weighted_input(), neuron)
        expected = reference.lif_forward(sweep_weighted_input(), neuron)
        errors += [relative_error(found.u, expected.u), relative_error(found.a, expected.a)]
        errors.append(relative_error(found.s, expected.s))
    return largest(errors)


def _backward(rule: GradientRule, precision: str) -> float:
    """The sweep in a precision against the double sum in float64, on the same numbers."""
    g = np.random.default_rng(23).normal(size=SHAPE).astype(precision)
    errors = []
    for neuron in NEURONS:
        trace = fast.lif_forward(sweep_weighted_input().astype(precision), neuron)
        wide = Trace(trace.u.astype(np.float64), trace.a.astype(np.float64), trace.threshold)
        expected = reference.tsslbp_backward(g.astype(np.float64), wide, neuron, rule)
        errors.append(relative_error(fast.tsslbp_backward(g, trace, neuron, rule), expected))
    return largest(errors)


# ---------------------------------------------------------------------------------------------------------------------
# Several steps of the chain in one call
# ---------------------------------------------------------------------------------------------------------------------


def _joined_rows() -> list[Check]:
    tolerance = TOLERANCES["float64"]
    return [
        Check(
            "sweep-static-chain-rule",
            "sum_t c[t] delta[t]: summed on the way, against the double sum's delta",
            "fast.tsslbp_backward_static",
            tolerance,
            _static_chain_rule,
        ),
        Check(
            "sweep-dense-neurons",
            "I = W a (F1), F3 - F6: one call against plain product and literal loops",
            "fast_dense.dense_neurons",
            tolerance,
            lambda: largest(_dense_neurons(silent) for silent in (0, 3)),
        ),
        Check(
            "sweep-dense-chain-rule",
            "delta, dL/dW (B1), W^T delta (B3): one call against double sum and plain products",
            "fast_dense.dense_chain_rule",
            tolerance,
            lambda: largest(_dense_chain_rule(silent) for silent in (0, 3)),
        ),
    ]


def _static_chain_rule() -> float:
    neuron, rule = NEURONS[0], GradientRule()
    trace = fast.lif_forward(sweep_weighted_input(), neuron)
    g, gain = _draw(SHAPE, 24), _draw(SHAPE[:1], 25)
    found = fast.tsslbp_backward_static(g, gain, trace, fast.coefficients(neuron, rule, g.dtype))
    delta = reference.tsslbp_backward(g, trace, neuron, rule)
    return relative_error(found, np.einsum("t,tbo->bo", gain, delta))


def _dense_case(silent: int) -> tuple[Array, Array]:
    """PSCs below (T, B, n), zero in the first steps, and weights that make the layer fire."""
    below = np.abs(_draw((*SHAPE[:2], 5), 26))
    below[:silent] = 0.0
    return below, _draw((SHAPE[2], 5), 27) + 0.5


def _dense_neurons(silent: int) -> float:
    neuron = NEURONS[0]
    below, W = _dense_case(silent)
    u, a = np.full(SHAPE, np.nan), np.full(SHAPE, np.nan)
    fast_dense.dense_neurons(below, silent, W, *fast.neuron_constants(neuron, u.dtype), u, a)
    expected = reference.lif_forward(np.einsum("oi,tbi->tbo", W, below), neuron)
    return largest((relative_error(u, expected.u), relative_error(a, expected.a)))


def _dense_chain_rule(silent: int) -> float:
    neuron, rule = NEURONS[0], GradientRule()
    below, W = _dense_case(silent)
    trace = reference.lif_forward(np.einsum("oi,tbi->tbo", W, below), neuron)
    g = _draw(SHAPE, 28)
    delta = reference.tsslbp_backward(g, trace, neuron, rule)
    dW, g_below = np.full_like(W, np.nan), np.full_like(below, np.nan)
    c = fast.coefficients(neuron, rule, g.dtype)
    fast_dense.dense_chain_rule(g, trace.u, trace.a, c, below, silent, W, dW, g_below)
    errors = [
        relative_error(g, delta),
        relative_error(dW, np.einsum("tbo,tbi->oi", delta, below)),
        relative_error(g_below, np.einsum("tbo,oi->tbi", delta, W)),
    ]
    return largest(errors)


# ---------------------------------------------------------------------------------------------------------------------
# Convolutions
# ---------------------------------------------------------------------------------------------------------------------


def _convolution_rows() -> list[Check]:
    tolerance = TOLERANCES["float64"]
    return [
        Check(
            "sweep-conv-forward",
            "I = W * a: unfolded product against nested loops",
            "layers.Conv2d.forward",
            tolerance,
            lambda: largest(_convolution_forward(layer) for layer in CONVOLUTIONS),
        ),
        Check(
            "sweep-conv-adjoint",
            "g = W^T delta (B3): folded product against nested loops",
            "layers.Conv2d.adjoint",
            tolerance,
            lambda: largest(_convolution_adjoint(layer) for layer in CONVOLUTIONS),
        ),
        Check(
            "sweep-conv-weight-gradient",
            "dL/dW = sum delta a^T (B1): unfolded product against nested loops",
            "layers.Conv2d.weight_gradient",
            tolerance,
            lambda: largest(_convolution_weight_gradient(layer) for layer in CONVOLUTIONS),
        ),
    ]


def _unweighted_rows() -> list[Check]:
    tolerance = TOLERANCES["float64"]
    return [
        Check(
            "sweep-pool-forward",
            "y = gain times block sums: compiled loop against nested loops",
            "layers.SumPool2d.forward",
            tolerance,
            lambda: largest(_pool_forward(layer) for layer in POOLS),
        ),
        Check(
            "sweep-pool-adjoint",
            "x = gain y in every block: compiled loop against nested loops",
            "layers.SumPool2d.adjoint",
            tolerance,
            lambda: largest(_pool_adjoint(layer) for layer in POOLS),
        ),
        Check(
            "sweep-dropout",
            "y = mask x at every step: broadcast product against nested loops",
            "layers.Dropout.forward",
            tolerance,
            lambda: largest(_dropout(form) for form in ("unit", "row")),
        ),
        Check(
            "sweep-flatten",
            "I = W x with x channel first: product against nested loops",
            "layers.Dense.forward",
            tolerance,
            _flatten,
        ),
    ]


def _draw(shape: tuple[int, ...], seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def _convolution_forward(layer: layers.Conv2d) -> float:
    x, W = _draw((2, *layer.input_shape), 31), _draw(layer.weight_shape, 32)
    return relative_error(layer.forward(x, W), reference_layers.conv2d_forward(x, W, layer.padding))


def _convolution_adjoint(layer: layers.Conv2d) -> float:
    delta, W = _draw((2, *layer.output_shape), 33), _draw(layer.weight_shape, 34)
    size = (layer.input_shape[1], layer.input_shape[2])
    expected = reference_layers.conv2d_adjoint(delta, W, layer.padding, size)
    return relative_error(layer.adjoint(delta, W), expected)


def _convolution_weight_gradient(layer: layers.Conv2d) -> float:
    x, delta = _draw((2, *layer.input_shape), 35), _draw((2, *layer.output_shape), 36)
    expected = reference_layers.conv2d_weight_gradient(delta, x, layer.padding)
    return relative_error(layer.weight_gradient(delta, x), expected)


def _pool_forward(layer: layers.SumPool2d) -> float:
    x = _draw((2, *layer.input_shape), 37)
    return relative_error(layer.forward(x, None), reference_layers.sum_pool2d_forward(x, layer.size, layer.gain))


def _pool_adjoint(layer: layers.SumPool2d) -> float:
    y = _draw((2, *layer.output_shape), 38)
    size = (layer.input_shape[1], layer.input_shape[2])
    return relative_error(layer.adjoint(y, None), reference_layers.sum_pool2d_adjoint(y, layer.size, layer.gain, size))


def _dropout(form: str) -> float:
    layer = layers.Dropout((2, 3, 4), 0.4, form)
    x = _draw((3, 2, *layer.input_shape), 39)
    mask = layer.draw_mask(2, np.random.default_rng(40), np.float64)
    wide = np.broadcast_to(mask, x.shape[1:]).reshape(2, -1)
    return relative_error(layer.forward(x, mask).reshape(3, 2, -1), reference_layers.dropout(x.reshape(3, 2, -1), wide))


def _flatten() -> float:
    layer = layers.Dense((2, 3, 4), 5)
    x, W = _draw((2, *layer.input_shape), 41), _draw(layer.weight_shape, 42)
    return relative_error(layer.forward(x, W), reference_layers.flatten(x) @ W.T)


# ---------------------------------------------------------------------------------------------------------------------
# Signals
# ---------------------------------------------------------------------------------------------------------------------


def _signal_rows() -> list[Check]:
    return [
        Check(
            f"sweep-signal-{kind}",
            f"{equation}, against the plain sums over t",
            f"signals.{where}",
            TOLERANCES["float64"],
            partial(_signal, kind),
        )
        for kind, equation, where in (
            ("psc", "I[t] = W a[t], dL/dW = sum_t delta[t] a[t]^T", "PSCSignal"),
            ("static", "I[t] = c[t] (W x), dL/dW = (sum_t c[t] delta[t]) x^T", "StaticSignal"),
            ("sparse", "I = eps * (W s), dL/dW = sum_t D[t] s[t]^T", "SparseSpikeSignal"),
        )
    ]


def signal_case(kind: str) -> tuple[Any, Array, layers.Dense]:
    """A signal of a kind, its PSC (T, B, n) by the literal double sum, and a dense layer that it feeds."""
    T, B, n = 7, 3, 20
    neuron = NEURONS[0]
    rng = np.random.default_rng(41)
    layer = layers.Dense((n,), 4)
    if kind == "static":
        x = rng.random((B, n))
        gain = signals.static_gain(T, neuron, np.float64)
        return signals.StaticSignal(x, gain), reference.psc_filter(np.broadcast_to(x, (T, B, n)), neuron), layer
    s = (rng.random((T, B, n)) < signals.SPARSE_DENSITY / 2.0).astype(np.float64)
    a = reference.psc_filter(s, neuron)
    return (signals.PSCSignal(a) if kind == "psc" else signals.spike_signal(s, neuron, np.float64, layer)), a, layer


def _signal(kind: str) -> float:
    signal, a, layer = signal_case(kind)
    W, delta = _draw(layer.weight_shape, 42), _draw((*a.shape[:2], layer.n_out), 43)
    errors = [
        relative_error(signal.weighted_input(layer, W), np.einsum("oi,tbi->tbo", W, a)),
        relative_error(signal.weight_gradient(layer, delta), np.einsum("tbo,tbi->oi", delta, a)),
    ]
    return largest(errors)

"""Rows that hold the fast sweeps equal to the literal loops: O(T) against O(T^2), products against nested loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tsslbp_ref.engine import fast_dense, fast_pooled, fast_static, fast_words, signals
from tsslbp_ref.gradcheck.finite_differences import Array, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.model import layers, reference, reference_layers, sweeps
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, named_rules
from tsslbp_ref.model.trace import Trace

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

RUN_KINDS = ("products", "words")
SIGNALS = {  # equation, class
    "psc": ("I[t] = W a[t], dL/dW = sum_t delta[t] a[t]^T", "PSCSignal"),
    "words": ("I = eps * (W s), dL/dW = sum_t D[t] s[t]^T, by words", "NeuronSignal"),
    "static": ("I[t] = c[t] (W x), dL/dW = (sum_t c[t] delta[t]) x^T", "StaticSignal"),
    "sparse": ("I = eps * (W s), dL/dW = sum_t D[t] s[t]^T", "SparseSpikeSignal"),
}


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
    return largest(relative_error(sweeps.psc_filter(s, neuron), reference.psc_filter(s, neuron)) for neuron in NEURONS)


def _forward() -> float:
    errors = []
    for neuron in NEURONS:
        found = sweeps.lif_forward(sweep_weighted_input(), neuron)
        expected = reference.lif_forward(sweep_weighted_input(), neuron)
        errors += [relative_error(found.u, expected.u), relative_error(found.a, expected.a)]
        errors.append(relative_error(found.s, expected.s))
    return largest(errors)


def _backward(rule: GradientRule, precision: str) -> float:
    """The sweep in a precision against the double sum in float64, on the same numbers."""
    g = np.random.default_rng(23).normal(size=SHAPE).astype(precision)
    errors = []
    for neuron in NEURONS:
        trace = sweeps.lif_forward(sweep_weighted_input().astype(precision), neuron)
        wide = Trace(trace.u.astype(np.float64), trace.a.astype(np.float64), trace.threshold)
        expected = reference.tsslbp_backward(g.astype(np.float64), wide, neuron, rule)
        errors.append(relative_error(sweeps.tsslbp_backward(g, trace, neuron, rule), expected))
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
            "fast_static.tsslbp_backward_static",
            tolerance,
            _static_chain_rule,
        ),
        Check(
            "sweep-pooled-neurons",
            "F3 - F6 with I[t] = c[t] W x, and pooling: one call against literal loops and block sums",
            "fast_pooled.neurons_and_pool",
            tolerance,
            lambda: largest(_pooled_neurons(pool) for pool in POOLS),
        ),
        Check(
            "sweep-pooled-chain-rule",
            "sum_t c[t] delta[t] from dL/dy of the pooled PSC: one call against block sums' adjoint and double sum",
            "fast_pooled.pool_and_chain_rule",
            tolerance,
            lambda: largest(_pooled_chain_rule(pool) for pool in POOLS),
        ),
        *(
            Check(
                f"sweep-run-neurons-{kind}",
                f"I = W a (F1) by {kind}, F3 - F6: two layers in one call against plain product and literal loops",
                "fast_dense.run_neurons",
                tolerance,
                partial(_over_silence, _run_neurons, kind),
            )
            for kind in RUN_KINDS
        ),
        *(
            Check(
                f"sweep-run-chain-rule-{kind}",
                f"delta, dL/dW (B1) by {kind}, W^T delta (B3): two layers in one call against double sum and products",
                "fast_dense.run_chain_rule",
                tolerance,
                partial(_over_silence, _run_chain_rule, kind),
            )
            for kind in RUN_KINDS
        ),
    ]


def _static_chain_rule() -> float:
    neuron, rule = NEURONS[0], GradientRule()
    trace = sweeps.lif_forward(sweep_weighted_input(), neuron)
    g, gain = _draw(SHAPE, 24), _draw(SHAPE[:1], 25)
    found = fast_static.tsslbp_backward_static(g, gain, trace, sweeps.coefficients(neuron, rule, g.dtype))
    delta = reference.tsslbp_backward(g, trace, neuron, rule)
    return relative_error(found, np.einsum("t,tbo->bo", gain, delta))


def _pooled_case(pool: layers.SumPool2d) -> tuple[Array, Array, Trace]:
    """Drives (M, H, W) of two samples' maps, c, and what their neurons do by the literal loops."""
    drive = 0.5 + _draw((2 * pool.input_shape[0], *pool.input_shape[1:]), 44)
    gain = signals.static_gain(SHAPE[0], NEURONS[0], np.float64)
    return drive, gain, reference.lif_forward(np.multiply.outer(gain, drive.reshape(2, -1)), NEURONS[0])


def _pooled_neurons(pool: layers.SumPool2d) -> float:
    drive, gain, trace = _pooled_case(pool)
    shape = (SHAPE[0], len(drive), *pool.output_shape[1:])
    pooled = np.full(shape, np.nan)
    constants = sweeps.neuron_constants(NEURONS[0], drive.dtype)
    fast_pooled.neurons_and_pool(drive, gain, *constants, pool.size, pool.gain, pooled)
    a = trace.a.reshape(2 * SHAPE[0], *pool.input_shape)
    wanted = reference_layers.sum_pool2d_forward(a, pool.size, pool.gain)
    return relative_error(pooled, wanted.reshape(shape))


def _pooled_chain_rule(pool: layers.SumPool2d) -> float:
    drive, gain, trace = _pooled_case(pool)
    rule, (_, H, W) = GradientRule(), pool.input_shape
    g = _draw((2 * SHAPE[0], *pool.output_shape), 45)
    total = np.full_like(drive, np.nan)
    maps = g.copy().reshape(SHAPE[0], len(drive), *pool.output_shape[1:])
    c = sweeps.coefficients(NEURONS[0], rule, g.dtype)
    fast_pooled.pool_and_chain_rule(maps, gain, drive, c, pool.size, pool.gain, total)
    spread = reference_layers.sum_pool2d_adjoint(g, pool.size, pool.gain, (H, W))
    delta = reference.tsslbp_backward(spread.reshape(trace.u.shape), trace, NEURONS[0], rule)
    return relative_error(total.ravel(), np.einsum("t,tbo->bo", gain, delta).ravel())


def _over_silence(error: Callable[[int, tuple[bool, bool]], float], kind: str) -> float:
    """A run behind neurons that fire from the start and from step 3 on, its layers fed by PSCs or by words."""
    by_words = (kind == "words",) * 2
    return largest(error(silent, by_words) for silent in (0, 3))


def _run_case(silent: int) -> tuple[list[Trace], list[Array]]:
    """What three layers of neurons do by the literal loops, and the weights (N, n) of the upper two, the run."""
    neuron = NEURONS[0]
    I = _draw((*SHAPE[:2], 5), 26) - 0.2
    I[:silent] = 0.0
    traces = [reference.lif_forward(I, neuron)]
    Ws = [_draw((SHAPE[2], 5), 27) + 0.8, _draw((3, SHAPE[2]), 29) + 1.0]
    for W in Ws:
        traces.append(reference.lif_forward(np.einsum("oi,tbi->tbo", W, traces[-1].a), neuron))
    return traces, Ws


def _by_columns(Ws: list[Array]) -> tuple[Array, ...]:
    return tuple(np.ascontiguousarray(W.T) for W in Ws)


def _run_neurons(silent: int, by_words: tuple[bool, bool]) -> float:
    neuron = NEURONS[0]
    traces, Ws = _run_case(silent)
    us = (traces[0].u, *(np.full_like(t.u, np.nan) for t in traces[1:]))
    pscs = (traces[0].a, *(np.full_like(t.a, np.nan) for t in traces[1:]))
    k = fast_words.word_length(SHAPE[0])
    fast_dense.run_neurons(us, pscs, _by_columns(Ws), by_words, k, *sweeps.neuron_constants(neuron, us[0].dtype))
    errors = [relative_error(u, t.u) for u, t in zip(us, traces, strict=True)]
    return largest(errors + [relative_error(a, t.a) for a, t in zip(pscs, traces, strict=True)])


def _run_chain_rule(silent: int, by_words: tuple[bool, bool]) -> float:
    neuron, rule = NEURONS[0], GradientRule()
    traces, Ws = _run_case(silent)
    us, pscs = tuple(t.u for t in traces), tuple(t.a for t in traces)
    gs = (*(np.full_like(t.u, np.nan) for t in traces[:-1]), _draw(traces[-1].u.shape, 28))
    g, dWs = gs[-1].copy(), tuple(np.full_like(W.T, np.nan, order="C") for W in Ws)
    k, c = fast_words.word_length(SHAPE[0]), sweeps.coefficients(neuron, rule, g.dtype)
    fast_dense.run_chain_rule(gs, us, pscs, _by_columns(Ws), by_words, k, c, dWs)
    errors = []
    for layer in (1, 0):
        delta = reference.tsslbp_backward(g, traces[layer + 1], neuron, rule)
        errors.append(relative_error(dWs[layer].T, np.einsum("tbo,tbi->oi", delta, pscs[layer])))
        g = np.einsum("tbo,oi->tbi", delta, Ws[layer])
    return largest([*errors, relative_error(gs[0], g)])


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
        for kind, (equation, where) in SIGNALS.items()
    ]


def signal_case(kind: str) -> tuple[Any, Array, layers.Dense]:
    """A signal of a kind, its PSC (T, B, n) by the literal double sum, and a dense layer that it feeds."""
    T, B, n = 7, 3, 20
    neuron = NEURONS[0]
    rng = np.random.default_rng(41)
    layer = layers.Dense((n,), fast_words.FEWEST_NEURONS if kind == "words" else 4)
    if kind == "words":
        trace = reference.lif_forward(rng.normal(0.0, 0.7, size=(T, B, n)), neuron)
        return signals.NeuronSignal(trace.a, trace, neuron), trace.a, layer
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

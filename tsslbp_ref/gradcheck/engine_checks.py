"""Rows that hold each part of the fast engine equal to literal loops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np

from tsslbp_ref.engine import convolution, inputs, spike_patterns, winograd
from tsslbp_ref.engine.inputs import LayerInput, PSCInput, StaticInput
from tsslbp_ref.engine.pooled import PooledNeurons
from tsslbp_ref.gradcheck.finite_differences import Array, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.sweep_checks import CONVOLUTIONS, NEURONS, POOLS, SHAPE, TOLERANCES, draw
from tsslbp_ref.model import layers, reference, reference_layers, sweeps
from tsslbp_ref.model.layers import Conv2d, SumPool2d
from tsslbp_ref.model.parameters import GradientRule
from tsslbp_ref.model.trace import Trace

NEURON = NEURONS[0]
WITH_3_X_3 = (  # in the last so many tiles that the images are taken one at a time
    Conv2d((2, 9, 6), 3, 3, 1),
    Conv2d((3, 5, 8), 2, 3, 0),
    Conv2d((1, 4, 3), 2, 3, 2),
    Conv2d((1, 5, 130), 2, 3, 1),
)
FLOAT = np.dtype(np.float64)
INPUTS = {  # equation, class
    "psc": ("I[t] = W a[t], dL/dW = sum_t delta[t] a[t]^T", "PSCInput"),
    "static": ("I[t] = c[t] (W x), dL/dW = (sum_t c[t] delta[t]) x^T", "StaticInput"),
    "events": ("I = eps * (W s), dL/dW = sum_t D[t] s[t]^T", "EventInput"),
}


def all_checks() -> list[Check]:
    """Inputs of a layer, convolution and pooling, spike patterns, and neurons passed together with their pooling."""
    rows: list[tuple[str, str, str, Callable[[], float]]] = [
        (f"input-{kind}", f"{equation}, against the plain sums over t", f"inputs.{where}", partial(_input, kind))
        for kind, (equation, where) in INPUTS.items()
    ]
    rows += [
        *_by_two_ways("conv-forward", "I = W * a", "forward", _forward),
        *_by_two_ways("conv-adjoint", "g = W^T delta (B3)", "adjoint", _adjoint),
        *_by_two_ways("conv-weights", "dL/dW (B1)", "weight_gradient", _weight_gradient),
        ("pool", "y = gain times block sums", "convolution.pool", _over(POOLS, _pool)),
        ("pool-adjoint", "x = gain y in every block", "convolution.pool_back", _over(POOLS, _pool_adjoint)),
        ("patterns", "I = eps * (W s), dL/dW, by patterns", "spike_patterns.weighted_input_sweep", _patterns),
        ("pooled", "F3 - F6 and pooling", "pooled.PooledNeurons.forward", _over(POOLS, _pooled)),
        ("pooled-back", "dL/dW from dL/da of the pool", "pooled.PooledNeurons.backward", _over(POOLS, _pooled_back)),
    ]
    return [
        Check(f"engine-{name}", equation, where, TOLERANCES["float64"], measure)
        for name, equation, where, measure in rows
    ]


def _over(family: tuple[layers.Layer, ...], measure: Callable[..., float]) -> Callable[[], float]:
    return lambda: largest(measure(layer) for layer in family)


def _by_two_ways(
    name: str, equation: str, where: str, measure: Callable[..., float]
) -> list[tuple[str, str, str, Callable[[], float]]]:
    """Rows of a convolution's loop against nested loops: by im2col and by Winograd's tiles."""
    return [
        (name, f"{equation}: im2col", f"convolution.{where}", _over(CONVOLUTIONS, partial(measure, convolution))),
        (
            f"{name}-winograd",
            f"{equation}: Winograd's tiles",
            f"winograd.{where}",
            _over(WITH_3_X_3, partial(measure, winograd)),
        ),
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Inputs of a layer
# ---------------------------------------------------------------------------------------------------------------------


def input_case(kind: str) -> tuple[LayerInput, Array, layers.Dense]:
    """An input of a kind, its PSC (T, B, n) by the literal double sum, and a dense layer that it feeds."""
    T, B, n = 7, 3, 20
    rng, layer = np.random.default_rng(41), layers.Dense((n,), 4)
    if kind == "static":
        x = rng.random((B, n))
        gain = inputs.static_gain(T, NEURON, FLOAT)
        return StaticInput(x, gain), reference.psc_filter(np.broadcast_to(x, (T, B, n)), NEURON), layer
    s = (rng.random((T, B, n)) < inputs.SPARSE_DENSITY / 2.0).astype(np.float64)
    a = reference.psc_filter(s, NEURON)
    return (PSCInput(a) if kind == "psc" else inputs.spike_input(s, NEURON, FLOAT, layer)), a, layer


def _input(kind: str) -> float:
    fed, a, layer = input_case(kind)
    W, delta = draw(layer.weight_shape, 42), draw((*a.shape[:2], layer.n_out), 43)
    I = np.full_like(delta, np.nan)
    fed.weighted_input(layer, W, I)
    gradient = fed.weight_gradient(layer, delta)
    return largest(
        [
            relative_error(I, np.einsum("oi,tbi->tbo", W, a)),
            relative_error(gradient, np.einsum("tbo,tbi->oi", delta, a)),
        ]
    )


def _patterns() -> float:
    """Two segments, the second shorter, with and without silence at the start."""
    errors = []
    for silent in (0, 3):
        I_below = draw((7, 3, 20), 26) - 0.2
        I_below[:silent] = 0.0
        trace = reference.lif_forward(I_below, NEURON)
        k = spike_patterns.pattern_length(7)
        patterns = spike_patterns.patterns_of(trace.u, NEURON.threshold, k)
        W, delta = draw((4, 20), 42), draw((7, 3, 4), 43)
        I, gradient = np.full_like(delta, np.nan), np.full((20, 4), np.nan)
        W_transposed = np.ascontiguousarray(W.T)
        spike_patterns.weighted_input_sweep(*patterns, W_transposed, NEURON.theta_s, k, I)
        spike_patterns.weight_gradient_sweep(*patterns, delta, NEURON.theta_s, k, gradient)
        errors.append(relative_error(I, np.einsum("oi,tbi->tbo", W, trace.a)))
        errors.append(relative_error(gradient.T, np.einsum("tbo,tbi->oi", delta, trace.a)))
    return largest(errors)


# ---------------------------------------------------------------------------------------------------------------------
# Convolution and pooling
# ---------------------------------------------------------------------------------------------------------------------


def _conv_case(layer: Conv2d) -> tuple[Array, Array, Array]:
    """Images, the middle one silent, filters and delta."""
    x, W, delta = draw((3, *layer.input_shape), 31), draw(layer.weight_shape, 32), draw((3, *layer.output_shape), 33)
    x[1] = 0.0
    return x, W, delta


def _forward(way: ModuleType, layer: Conv2d) -> float:
    x, W, delta = _conv_case(layer)
    I = np.full_like(delta, np.nan)
    way.forward(layer, x, W, I)
    return relative_error(I, reference_layers.conv2d_forward(x, W, layer.padding))


def _adjoint(way: ModuleType, layer: Conv2d) -> float:
    x, W, delta = _conv_case(layer)
    g = np.full_like(x, np.nan)
    way.adjoint(layer, delta, W, g)
    size = (layer.input_shape[1], layer.input_shape[2])
    return relative_error(g, reference_layers.conv2d_adjoint(delta, W, layer.padding, size))


def _weight_gradient(way: ModuleType, layer: Conv2d) -> float:
    x, _, delta = _conv_case(layer)
    expected = reference_layers.conv2d_weight_gradient(delta, x, layer.padding)
    return relative_error(way.weight_gradient(layer, delta, x), expected)


def _pool(layer: SumPool2d) -> float:
    x = draw((2, *layer.input_shape), 37)
    y = np.full((2, *layer.output_shape), np.nan)
    convolution.pool(layer, x, y)
    return relative_error(y, reference_layers.sum_pool2d_forward(x, layer.size, layer.gain))


def _pool_adjoint(layer: SumPool2d) -> float:
    y = draw((2, *layer.output_shape), 38)
    x = np.full((2, *layer.input_shape), np.nan)
    convolution.pool_back(layer, y, x)
    size = (layer.input_shape[1], layer.input_shape[2])
    return relative_error(x, reference_layers.sum_pool2d_adjoint(y, layer.size, layer.gain, size))


# ---------------------------------------------------------------------------------------------------------------------
# Neurons and their pooling, passed together
# ---------------------------------------------------------------------------------------------------------------------


def _pooled_case(pool: SumPool2d) -> tuple[PooledNeurons, Array, Trace]:
    """Neurons behind a convolution of size 1, W x (B, C, H, W), and what the neurons do by the literal loops."""
    C, H, W = pool.input_shape
    layer, x = Conv2d((1, H, W), C, 1, 0), draw((2, 1, H, W), 44)
    Wx = 0.5 + draw((2, *pool.input_shape), 45)
    gain = inputs.static_gain(SHAPE[0], NEURON, FLOAT)
    trace = reference.lif_forward(np.multiply.outer(gain, Wx.reshape(2, -1)), NEURON)
    return PooledNeurons(layer, pool, StaticInput(x, gain), Wx), gain, trace


def _pooled(pool: SumPool2d) -> float:
    neurons, _, trace = _pooled_case(pool)
    pooled = np.full((SHAPE[0], 2, *pool.output_shape), np.nan)
    neurons.forward(NEURON, pooled)
    a = trace.a.reshape(2 * SHAPE[0], *pool.input_shape)
    wanted = reference_layers.sum_pool2d_forward(a, pool.size, pool.gain)
    return relative_error(pooled, wanted.reshape(pooled.shape))


def _pooled_back(pool: SumPool2d) -> float:
    neurons, gain, trace = _pooled_case(pool)
    rule, (_, H, W) = GradientRule(), pool.input_shape
    g = draw((SHAPE[0], 2, *pool.output_shape), 46)
    found = neurons.backward(g.copy(), sweeps.coefficients(NEURON, rule, g.dtype))
    spread = reference_layers.sum_pool2d_adjoint(g.reshape(-1, *pool.output_shape), pool.size, pool.gain, (H, W))
    delta = reference.tsslbp_backward(spread.reshape(trace.u.shape), trace, NEURON, rule)
    summed_delta = np.einsum("t,tbo->bo", gain, delta).reshape(neurons.Wx.shape)
    return relative_error(found, reference_layers.conv2d_weight_gradient(summed_delta, neurons.fed.x, 0))

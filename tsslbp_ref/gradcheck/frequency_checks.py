"""Rows that hold the convolution by frequency equal to nested loops."""

from __future__ import annotations

import numpy as np

from tsslbp_ref.engine import fast_fourier
from tsslbp_ref.gradcheck.finite_differences import largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.sweep_checks import CONVOLUTIONS, TOLERANCES
from tsslbp_ref.model import reference_layers
from tsslbp_ref.model.layers import Conv2d

N_PICTURES, SEED = 3, 51  # the middle one is silent


def all_checks() -> list[Check]:
    """Forward, and the way back, which gives dL/da and dL/dW at once."""
    tolerance = TOLERANCES["float64"]
    return [
        Check(
            "sweep-frequency-forward",
            "I = W * a: products of frequencies against nested loops",
            "fast_fourier.Convolution.forward",
            tolerance,
            lambda: largest(_forward(layer) for layer in CONVOLUTIONS),
        ),
        Check(
            "sweep-frequency-adjoint",
            "g = W^T delta (B3): products of frequencies against nested loops",
            "fast_fourier.Convolution.backward",
            tolerance,
            lambda: largest(_adjoint(layer) for layer in CONVOLUTIONS),
        ),
        Check(
            "sweep-frequency-weight-gradient",
            "dL/dW = sum delta a^T (B1): products of frequencies against nested loops",
            "fast_fourier.Convolution.backward",
            tolerance,
            lambda: largest(_weight_gradient(layer) for layer in CONVOLUTIONS),
        ),
    ]


def _forward(layer: Conv2d) -> float:
    x, W, delta = _case(layer)
    I = np.empty_like(delta)
    _by_frequency(layer).forward(x, W, I)
    return relative_error(I, reference_layers.conv2d_forward(x, W, layer.padding))


def _adjoint(layer: Conv2d) -> float:
    x, W, delta = _case(layer)
    g = np.empty_like(x)
    _by_frequency(layer).backward(delta, x, W, g)
    size = (layer.input_shape[1], layer.input_shape[2])
    return relative_error(g, reference_layers.conv2d_adjoint(delta, W, layer.padding, size))


def _weight_gradient(layer: Conv2d) -> float:
    x, W, delta = _case(layer)
    found = _by_frequency(layer).backward(delta, x, W, np.empty_like(x))
    return relative_error(found, reference_layers.conv2d_weight_gradient(delta, x, layer.padding))


def _case(layer: Conv2d) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, one of them silent, filters and delta."""
    rng = np.random.default_rng(SEED)
    x, W, delta = (
        rng.standard_normal(shape)
        for shape in ((N_PICTURES, *layer.input_shape), layer.weight_shape, (N_PICTURES, *layer.output_shape))
    )
    x[1] = 0.0
    return x, W, delta


def _by_frequency(layer: Conv2d) -> fast_fourier.Convolution:
    return fast_fourier.Convolution(layer.input_shape, layer.n_filters, layer.kernel_size, layer.padding)

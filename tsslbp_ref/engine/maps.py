"""The linear maps of `model.layers`, written into arrays that are there already.

The layers of this package have loops here. Any other layer, also one derived from them, computes by its own methods.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine import convolution, winograd
from tsslbp_ref.model.layers import Conv2d, Dense, Layer, SumPool2d, WeightedLayer

Array = npt.NDArray[Any]


def forward(layer: Layer, x: Array, parameter: Array | None, out: Array) -> None:
    """Write A x, x (..., input_shape) and out (..., output_shape) contiguous and of one dtype."""
    if type(layer) is Dense and parameter is not None:
        np.matmul(x.reshape(-1, layer.fan_in), parameter.T, out=out.reshape(-1, layer.n_out))
    elif type(layer) is Conv2d and parameter is not None:
        (winograd if winograd.serves(layer) else convolution).forward(layer, x, parameter, out)
    elif type(layer) is SumPool2d:
        convolution.pool(layer, x, out)
    else:
        out[...] = layer.forward(x, parameter)


def adjoint(layer: Layer, y: Array, parameter: Array | None, out: Array) -> None:
    """Write A^T y, y (..., output_shape) and out (..., input_shape) contiguous and of one dtype."""
    if type(layer) is Dense and parameter is not None:
        np.matmul(y.reshape(-1, layer.n_out), parameter, out=out.reshape(-1, layer.fan_in))
    elif type(layer) is Conv2d and parameter is not None:
        (winograd if winograd.serves(layer) else convolution).adjoint(layer, y, parameter, out)
    elif type(layer) is SumPool2d:
        convolution.pool_back(layer, y, out)
    else:
        out[...] = layer.adjoint(y, parameter)


def weight_gradient(layer: WeightedLayer, delta: Array, x: Array) -> Array:
    """Return dL/dW = sum over leading axes of delta x^T    (B1); of a fully connected layer column by column."""
    if type(layer) is Dense:
        return (x.reshape(-1, layer.fan_in).T @ delta.reshape(-1, layer.n_out)).T
    if type(layer) is Conv2d:
        return (winograd if winograd.serves(layer) else convolution).weight_gradient(layer, delta, x)
    return layer.weight_gradient(delta, x)

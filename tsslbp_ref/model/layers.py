"""Linear maps between layers of neurons, and their adjoints.

Each map acts on the last axes of its input, over any leading axes (time, batch), and holds shapes only: weights, or a
dropout mask, are handed in as `parameter`. Neurons follow a map that has weights; pooling and dropout have none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine import fast_fourier, fast_layers

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

FLOAT32_BYTES = 4
POOL_GAIN = 1.1  # the released code's factor after its 2x2 sum
DROPOUT_FORMS = ("unit", "row")


@runtime_checkable
class Layer(Protocol):
    """A linear map y = A x, its adjoint, and the gradient of its weights."""

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample at one step before the map."""

    @property
    def output_shape(self) -> Shape:
        """Shape of one sample at one step after the map."""

    @property
    def weight_shape(self) -> Shape | None:
        """Shape of the weights, None where there are none."""

    def forward(self, x: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """Return A x, written to `out` if given."""

    def adjoint(self, y: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """Return A^T y, written to `out` if given."""


class WeightedLayer(Layer, Protocol):
    """A linear map that has weights, and neurons behind it."""

    @property
    def fan_in(self) -> int:
        """Inputs of one neuron."""

    def weight_gradient(self, delta: Array, x: Array) -> Array:
        """dL/dW = sum over leading axes of delta x^T    (B1)."""


@dataclass(frozen=True)
class Dense:
    """Every neuron sees every input: I = W x (F1), with x flattened channel first."""

    input_shape: Shape
    n_out: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", _sizes(self.input_shape))
        checks.positive_integer("n_out", self.n_out)

    @property
    def output_shape(self) -> Shape:
        """(n_out,)."""
        return (self.n_out,)

    @property
    def fan_in(self) -> int:
        """Inputs of one neuron."""
        return math.prod(self.input_shape)

    @property
    def weight_shape(self) -> Shape:
        """(out, in)."""
        return (self.n_out, self.fan_in)

    def forward(self, x: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """I = W x."""
        W = _weights(self, parameter)
        x = _floats(_ending("x", x, self.input_shape))
        I = _result(out, (*x.shape[: x.ndim - len(self.input_shape)], self.n_out), x.dtype)
        np.matmul(x.reshape(-1, self.fan_in), W.T, out=I.reshape(-1, self.n_out))
        return I

    def adjoint(self, y: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """g = W^T delta    (B3)."""
        W = _weights(self, parameter)
        y = _floats(_ending("y", y, self.output_shape))
        g = _result(out, (*y.shape[:-1], *self.input_shape), y.dtype)
        np.matmul(y.reshape(-1, self.n_out), W, out=g.reshape(-1, self.fan_in))
        return g

    def weight_gradient(self, delta: Array, x: Array) -> Array:
        """dL/dW = sum delta x^T    (B1)."""
        _pair(self, delta, x)
        return (x.reshape(-1, self.fan_in).T @ delta.reshape(-1, self.n_out)).T


@dataclass(frozen=True)
class Conv2d:
    """I[f, y, x] = sum_{c, i, j} W[f, c, i, j] a[c, y+i-p, x+j-p], stride 1, padding p with zeros."""

    input_shape: Shape  # (C, H, W)
    n_filters: int
    kernel_size: int
    padding: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", _sizes(self.input_shape, n_axes=3))
        checks.positive_integer("n_filters", self.n_filters)
        checks.positive_integer("kernel_size", self.kernel_size)
        checks.positive_integer("padding", self.padding, minimum=0)

    @property
    def output_shape(self) -> Shape:
        """(F, H', W') with H' = H + 2p - k + 1."""
        shrink = self.kernel_size - 1 - 2 * self.padding
        return (self.n_filters, self.input_shape[1] - shrink, self.input_shape[2] - shrink)

    @property
    def fan_in(self) -> int:
        """Inputs of one neuron."""
        return self.input_shape[0] * self.kernel_size**2

    @property
    def weight_shape(self) -> Shape:
        """(out, in, kh, kw)."""
        return (self.n_filters, self.input_shape[0], self.kernel_size, self.kernel_size)

    @property
    def piece(self) -> int:
        """Pictures whose product is taken at once: few, where that lets BLAS take its operands as they lie."""
        of_one = self.n_filters * self.output_shape[2] * self.fan_in
        few = fast_layers.SMALL_PRODUCT // of_one
        return min(few, self.piece_in_cache) if few >= fast_layers.FEW_PICTURES else fast_layers.ENOUGH_PICTURES

    @property
    def piece_in_cache(self) -> int:
        """Pictures that `fast_layers.PIECE_BYTES` holds, unfolded, and at least `fast_layers.ENOUGH_PICTURES`."""
        C, H, _ = self.input_shape
        unfolded = (H + 2 * self.padding) * C * self.kernel_size * self.output_shape[2]
        return max(fast_layers.ENOUGH_PICTURES, fast_layers.PIECE_BYTES // (unfolded * FLOAT32_BYTES))

    @cached_property
    def by_frequency(self) -> fast_fourier.Convolution | None:
        """The convolution as products of frequencies, where that pays."""
        convolution = fast_fourier.Convolution(self.input_shape, self.n_filters, self.kernel_size, self.padding)
        return convolution if convolution.pays else None

    def forward(self, x: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """I = W * x."""
        W = _weights(self, parameter)
        x = _floats(_ending("x", x, self.input_shape))
        I = _result(out, (*x.shape[:-3], *self.output_shape), x.dtype)
        if self.by_frequency is not None:
            self.by_frequency.forward(_stack(x), W, _stack(I))
            return I
        filters = np.ascontiguousarray(self._by_rows(W), x.dtype)
        geometry = (self.kernel_size, self.padding, self.piece)
        fast_layers.conv_forward(_stack(x), filters, *geometry, _stack(I))
        return I

    def adjoint(self, y: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """g = W^T delta: the transposed product, folded back onto the picture."""
        W = _weights(self, parameter)
        y = _floats(_ending("y", y, self.output_shape))
        g = _result(out, (*y.shape[:-3], *self.input_shape), y.dtype)
        filters_turned = np.ascontiguousarray(self._by_rows(W).T, y.dtype)
        geometry = (self.kernel_size, self.padding, self.piece)
        fast_layers.conv_adjoint(_stack(y), filters_turned, *geometry, _stack(g))
        return g

    def weight_gradient(self, delta: Array, x: Array) -> Array:
        """dL/dW = sum delta x^T over pictures and positions    (B1)."""
        _pair(self, delta, x)
        k, (C, _, _) = self.kernel_size, self.input_shape
        dW_turned = np.zeros((k * C * k, self.n_filters), delta.dtype)
        geometry = (k, self.padding, self.piece_in_cache)
        x = x.astype(delta.dtype, copy=False)
        fast_layers.conv_weight_gradient(_stack(delta), _stack(x), *geometry, dW_turned)
        return np.ascontiguousarray(dW_turned.reshape(k, C, k, self.n_filters).transpose(3, 1, 0, 2))

    def backward(self, delta: Array, x: Array, parameter: Array | None, below: Array) -> Array:
        """`weight_gradient`, returned, and `adjoint`, written to `below`: by frequency, they share delta's."""
        if self.by_frequency is None:
            self.adjoint(delta, parameter, below)
            return self.weight_gradient(delta, x)
        _pair(self, delta, x)
        g = _result(below, x.shape, delta.dtype)
        x = x.astype(delta.dtype, copy=False)
        return self.by_frequency.backward(_stack(delta), _stack(x), _weights(self, parameter), _stack(g))

    def _by_rows(self, W: Array) -> Array:
        """Filters (F, C, k, k) as (F, k C k), the kernel's row first: the order of the unfolded pictures."""
        return W.transpose(0, 2, 1, 3).reshape(self.n_filters, -1)


@dataclass(frozen=True)
class SumPool2d:
    """y = gain times the sum of each size x size block of PSCs; no neuron, no weight.

    Rows and columns that do not fill a block are left out. Source: the released code, gain 1.1.
    """

    input_shape: Shape  # (C, H, W)
    size: int
    gain: float = POOL_GAIN

    weight_shape = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", _sizes(self.input_shape, n_axes=3))
        checks.positive_integer("size", self.size)
        checks.real_number("gain", self.gain)

    @property
    def output_shape(self) -> Shape:
        """(C, H // size, W // size)."""
        C, H, W = self.input_shape
        return (C, H // self.size, W // self.size)

    def forward(self, x: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """y = gain * block sums."""
        x = _floats(_ending("x", x, self.input_shape))
        y = _result(out, (*x.shape[:-3], *self.output_shape), x.dtype)
        fast_layers.pool_forward(_maps(x), self.size, x.dtype.type(self.gain), _maps(y))
        return y

    def adjoint(self, y: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """Every input of a block gets gain times the block's gradient."""
        y = _floats(_ending("y", y, self.output_shape))
        x = _result(out, (*y.shape[:-3], *self.input_shape), y.dtype)
        if any(n % self.size for n in self.input_shape[1:]):
            x[...] = 0.0  # rows and columns that fill no block
        fast_layers.pool_adjoint(_maps(y), self.size, y.dtype.type(self.gain), _maps(x))
        return x


def _sizes(input_shape: Sequence[int], n_axes: int | None = None) -> Shape:
    """Return the shape of a layer's input as a tuple of sizes from 1 on, (C, H, W) if `n_axes` is 3."""
    sizes = tuple(checks.positive_integer("input_shape", size) for size in checks.listed("input_shape", input_shape))
    if not sizes or n_axes not in (None, len(sizes)):
        raise ValueError(f"input_shape must be {'(C, H, W)' if n_axes else 'a size or more'}, got {sizes}")
    return sizes


def _ending(name: str, array: Array, shape: Shape) -> Array:
    """Return the array if its last axes are those of the shape."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name} must be an array, got {type(array).__name__}")
    if array.shape[array.ndim - len(shape) :] != shape:
        raise ValueError(f"{name} must have the last axes {shape}, got shape {array.shape}")
    return array


def _weights(layer: Dense | Conv2d, parameter: Array | None) -> Array:
    """Return the parameter of a map that has weights."""
    if not isinstance(parameter, np.ndarray):
        raise TypeError(f"parameter must be the array of the layer's weights, got {type(parameter).__name__}")
    checks.same_shape("parameter", parameter, layer.weight_shape, "the layer's weights")
    return parameter


def _pair(layer: Dense | Conv2d, delta: Array, x: Array) -> None:
    """Raise ``ValueError`` unless delta and x lie behind and before the map, with the same leading axes."""
    _ending("delta", delta, layer.output_shape)
    _ending("x", x, layer.input_shape)
    leading, x_leading = delta.shape[: -len(layer.output_shape)], x.shape[: -len(layer.input_shape)]
    if x_leading != leading:
        raise ValueError(f"x must have the first axes of delta, {leading}, got {x_leading}")


def _stack(x: Array) -> Array:
    """(..., C, H, W) as (M, C, H, W)."""
    return np.ascontiguousarray(x).reshape(-1, *x.shape[-3:])


def _maps(x: Array) -> Array:
    """(..., H, W) as (M, H, W)."""
    return np.ascontiguousarray(x).reshape(-1, *x.shape[-2:])


def _result(out: Array | None, shape: Shape, dtype: npt.DTypeLike) -> Array:
    """Where to write: the array handed in, or a new one."""
    if out is None:
        return np.empty(shape, dtype)
    if not out.flags.c_contiguous:  # a copy would be written in its place
        raise ValueError(f"out must be contiguous, got strides {out.strides}")
    if out.size != math.prod(shape):
        raise ValueError(f"out must hold an array of shape {shape}, got shape {out.shape}")
    return out.reshape(shape)


def _broadcasts(shape: Shape, to: Shape) -> bool:
    """Say whether an array of the one shape is spread over one of the other, without making that larger."""
    if len(shape) > len(to):
        return False
    last = to[len(to) - len(shape) :]
    return shape == last or all(n in (1, size) for n, size in zip(shape, last, strict=True))


def _floats(x: Array) -> Array:
    """Integers and booleans as float64; floats as they are."""
    return x if x.dtype.kind == "f" else x.astype(np.float64)


@dataclass(frozen=True)
class Dropout:
    """y = mask * x, one mask for all time steps; kept values are scaled by 1 / (1 - rate).

    Parameters
    ----------
    input_shape : tuple
    rate : float
        Probability of a zero.
    form : {"unit", "row"}
        "unit" draws for every neuron; "row" draws once for a whole row of a feature map, as the released code does.

    Raises
    ------
    ValueError, TypeError
        If the rate is not in [0, 1) or the form is unknown.
    """

    input_shape: Shape
    rate: float
    form: str = "unit"

    weight_shape = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", _sizes(self.input_shape))
        if checks.real_number("rate", self.rate, minimum=0.0) >= 1.0:
            raise ValueError(f"rate must be below 1, got {self.rate:g}")
        checks.one_of("form", self.form, DROPOUT_FORMS)

    @property
    def output_shape(self) -> Shape:
        """The input's shape."""
        return self.input_shape

    def draw_mask(self, batch: int, rng: np.random.Generator, dtype: npt.DTypeLike) -> Array:
        """Draw the (batch, ...) mask of a forward pass: 0 or 1 / (1 - rate)."""
        checks.instance_of("rng", rng, np.random.Generator)
        shape: Shape = self.input_shape
        if self.form == "row" and len(shape) > 1:
            shape = (*shape[:-1], 1)
        kept = rng.random((batch, *shape)) >= self.rate
        return (kept / (1.0 - self.rate)).astype(dtype)

    def forward(self, x: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """y = mask * x; without a mask, as in a test pass, y = x."""
        _ending("x", x, self.input_shape)
        if parameter is None:
            return x
        if not isinstance(parameter, np.ndarray):
            raise TypeError(f"parameter must be a mask, an array, or None, got {type(parameter).__name__}")
        if not _broadcasts(parameter.shape, x.shape):
            raise ValueError(f"parameter must be a mask that fits x of shape {x.shape}, got shape {parameter.shape}")
        return np.multiply(x, parameter, out=out)

    def adjoint(self, y: Array, parameter: Array | None, out: Array | None = None) -> Array:
        """The map is its own adjoint."""
        return self.forward(y, parameter, out)


# ---------------------------------------------------------------------------------------------------------------------
# Layers in a row
# ---------------------------------------------------------------------------------------------------------------------


def fitting_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers as a new list, if there are any, each takes what the one before makes, and neurons end them.

    Raises
    ------
    ValueError, TypeError
        If one does not fit, or is no layer; the error names it.
    """
    checked = list(checks.listed("layers", layers))
    if not checked:
        raise ValueError("layers must hold at least one layer, got none")
    for i, layer in enumerate(checked):
        if not isinstance(layer, Layer):
            raise TypeError(f"layers[{i}] must be a layer, got {type(layer).__name__}")
        if i > 0 and layer.input_shape != checked[i - 1].output_shape:
            before = f"layers[{i - 1}], {checked[i - 1]}, with output {checked[i - 1].output_shape}"
            raise ValueError(f"layers[{i}] must take the output of {before}, got {layer}")
        if min(layer.output_shape) < 1:
            raise ValueError(f"layers[{i}] must leave something of its input, got {layer}")
    if checked[-1].weight_shape is None:
        raise ValueError(f"layers must end with one that has weights, and so neurons, got {checked[-1]}")
    return checked

"""Linear maps between layers of neurons, and their adjoints.

Each map acts on the last axes of its input, over any leading axes (time, batch), and holds shapes only: weights, or a
dropout mask, are handed in as `parameter`. Neurons follow a map that has weights; pooling and dropout have none.
`reference_layers` has the same maps as nested loops; `engine` has faster ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from tsslbp_ref import checks
from tsslbp_ref.model.layer_arguments import (
    check_memory,
    checked_ending,
    checked_mask,
    checked_pair,
    checked_sizes,
    checked_weights,
    leading_axes,
)

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

POOL_GAIN = 1.1  # the released code's factor after its 2x2 sum
DROPOUT_FORMS = ("unit", "row")


@runtime_checkable
class Layer(Protocol):
    """A linear map y = A x and its adjoint."""

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample at one step before the map."""

    @property
    def output_shape(self) -> Shape:
        """Shape of one sample at one step after the map."""

    @property
    def weight_shape(self) -> Shape | None:
        """Shape of the weights, None where there are none."""

    def forward(self, x: Array, parameter: Array | None) -> Array:
        """Return A x, (..., *output_shape), for x (..., *input_shape); `parameter` is W, or a dropout mask, or None."""

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """Return A^T y, (..., *input_shape), for y (..., *output_shape)."""


class WeightedLayer(Layer, Protocol):
    """A linear map that has weights, and neurons behind it."""

    @property
    def fan_in(self) -> int:
        """Inputs of one neuron."""

    def weight_gradient(self, delta: Array, x: Array) -> Array:
        """Return dL/dW = sum over leading axes of delta x^T    (B1)."""


@dataclass(frozen=True)
class Dense:
    """Every neuron sees every input: I = W x (F1), with x flattened channel first.

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one sample at one step.
    n_out : int
        Number of neurons.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer; in a call, if an array has other axes or the weights another shape.

    Examples
    --------
    >>> layer = Dense((2,), 1)
    >>> layer.forward(np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]]))
    array([[11.]])
    """

    input_shape: Shape
    n_out: int

    def __post_init__(self) -> None:
        n_out = checks.axis_size("n_out", self.n_out)
        checks.set_fields(self, input_shape=checked_sizes(self.input_shape), n_out=n_out)
        check_memory(self)

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

    def forward(self, x: Array, parameter: Array | None) -> Array:
        """I = W x    (F1)."""
        W = checked_weights(self, parameter)
        x = checked_ending("x", x, self.input_shape)
        return x.reshape(*leading_axes(x, self.input_shape), self.fan_in) @ W.T

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """g = W^T delta    (B3)."""
        W = checked_weights(self, parameter)
        y = checked_ending("y", y, self.output_shape)
        return (y @ W).reshape(*y.shape[:-1], *self.input_shape)

    def weight_gradient(self, delta: Array, x: Array) -> Array:
        """dL/dW = sum delta x^T    (B1)."""
        delta, x = checked_pair(self, delta, x)
        return delta.reshape(-1, self.n_out).T @ x.reshape(-1, self.fan_in)


@dataclass(frozen=True)
class Conv2d:
    """I[f, y, x] = sum_{c, i, j} W[f, c, i, j] a[c, y+i-p, x+j-p], stride 1, padding p with zeros.

    Parameters
    ----------
    input_shape : (C, H, W)
        Shape of one sample at one step.
    n_filters : int
        Number of output channels F.
    kernel_size : int
        Side k of the filters.
    padding : int
        Rows and columns of zeros on every side.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer; in a call, if an array has other axes or the weights another shape.

    Examples
    --------
    >>> layer = Conv2d((1, 2, 2), n_filters=1, kernel_size=2, padding=0)
    >>> layer.forward(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.ones((1, 1, 2, 2)))
    array([[[[10.]]]])
    """

    input_shape: Shape  # (C, H, W)
    n_filters: int
    kernel_size: int
    padding: int

    def __post_init__(self) -> None:
        checks.set_fields(
            self,
            input_shape=checked_sizes(self.input_shape, n_axes=3),
            n_filters=checks.axis_size("n_filters", self.n_filters),
            kernel_size=checks.axis_size("kernel_size", self.kernel_size),
            padding=checks.axis_size("padding", self.padding, minimum=0),
        )
        padded = min(self.input_shape[1:]) + 2 * self.padding
        if self.kernel_size > padded:
            raise ValueError(f"kernel_size must be at most the padded input's side, {padded}, got {self.kernel_size}")
        check_memory(self)

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

    def forward(self, x: Array, parameter: Array | None) -> Array:
        """I = W * x    (F1): every window of the padded image times every filter."""
        W = checked_weights(self, parameter)
        x = checked_ending("x", x, self.input_shape)
        I = np.tensordot(self._windows(_images(x)), W, axes=([1, 4, 5], [1, 2, 3]))  # (M, H', W', F)
        return np.moveaxis(I, -1, 1).reshape(*leading_axes(x, self.input_shape), *self.output_shape)

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """g = W^T delta    (B3): every entry of delta goes back to the window that it came from."""
        W = checked_weights(self, parameter)
        y = checked_ending("y", y, self.output_shape)
        shares = np.tensordot(_images(y), W, axes=([1], [0]))  # (M, H', W', C, k, k)
        (C, H, width), p, (_, H_out, W_out) = self.input_shape, self.padding, self.output_shape
        g = np.zeros((len(shares), C, H + 2 * p, width + 2 * p), shares.dtype)
        for i in range(self.kernel_size):
            for j in range(self.kernel_size):
                g[:, :, i : i + H_out, j : j + W_out] += np.moveaxis(shares[..., i, j], -1, 1)
        return g[:, :, p : p + H, p : p + width].reshape(*leading_axes(y, self.output_shape), *self.input_shape)

    def weight_gradient(self, delta: Array, x: Array) -> Array:
        """dL/dW = sum delta x^T over images and positions    (B1)."""
        delta, x = checked_pair(self, delta, x)
        return np.tensordot(_images(delta), self._windows(_images(x)), axes=([0, 2, 3], [0, 2, 3]))

    def _windows(self, x: Array) -> Array:
        """(M, C, H', W', k, k): what each position's filter sees of padded images (M, C, H, W)."""
        p, k = self.padding, self.kernel_size
        return sliding_window_view(np.pad(x, ((0, 0), (0, 0), (p, p), (p, p))), (k, k), axis=(2, 3))


@dataclass(frozen=True)
class SumPool2d:
    """y = gain times the sum of each size x size block of PSCs; no neuron, no weight.

    Rows and columns that do not fill a block are left out. Source: the released code (commit ffaac71), gain 1.1.

    Parameters
    ----------
    input_shape : (C, H, W)
        Shape of one sample at one step.
    size : int
        Side of a block.
    gain : float

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive integer or the gain not a finite number; in a call, if an array has other axes.

    Examples
    --------
    >>> SumPool2d((1, 2, 2), size=2).forward(np.ones((1, 1, 2, 2)), None)
    array([[[[4.4]]]])
    """

    input_shape: Shape  # (C, H, W)
    size: int
    gain: float = POOL_GAIN

    weight_shape = None

    def __post_init__(self) -> None:
        checks.set_fields(
            self,
            input_shape=checked_sizes(self.input_shape, n_axes=3),
            size=checks.axis_size("size", self.size),
            gain=checks.real_number("gain", self.gain),
        )

    @property
    def output_shape(self) -> Shape:
        """(C, H // size, W // size)."""
        C, H, W = self.input_shape
        return (C, H // self.size, W // self.size)

    def forward(self, x: Array, parameter: Array | None) -> Array:
        """y = gain * block sums."""
        x = checked_ending("x", x, self.input_shape)
        (_, height, width), size = self.output_shape, self.size
        blocks = x[..., : height * size, : width * size].reshape(*x.shape[:-2], height, size, width, size)
        return blocks.sum(axis=(-3, -1)) * x.dtype.type(self.gain)

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """Every input of a block gets gain times the block's gradient; what fills no block gets 0."""
        y = checked_ending("y", y, self.output_shape)
        (_, height, width), size = self.output_shape, self.size
        x = np.zeros((*leading_axes(y, self.output_shape), *self.input_shape), y.dtype)
        spread = y.repeat(size, axis=-2).repeat(size, axis=-1) * y.dtype.type(self.gain)
        x[..., : height * size, : width * size] = spread
        return x


@dataclass(frozen=True)
class Dropout:
    """y = mask * x, one mask for all time steps; kept values are scaled by 1 / (1 - rate).

    Parameters
    ----------
    input_shape : tuple of int
        Shape of one sample at one step.
    rate : float
        Probability of a zero.
    form : {"unit", "row"}
        "unit" draws for every neuron; "row" draws once for a whole row of a feature map, as the released code does.

    Raises
    ------
    ValueError, TypeError
        If the rate is not in [0, 1) or the form is unknown; in a call, if the mask does not fit.

    Examples
    --------
    >>> Dropout((3,), rate=0.5).forward(np.ones((2, 1, 3)), np.array([[2.0, 0.0, 2.0]]))[:, 0]
    array([[2., 0., 2.],
           [2., 0., 2.]])
    """

    input_shape: Shape
    rate: float
    form: str = "unit"

    weight_shape = None

    def __post_init__(self) -> None:
        rate = checks.real_number("rate", self.rate, minimum=0.0)
        if rate >= 1.0:
            raise ValueError(f"rate must be below 1, got {rate:g}")
        form = checks.one_of("form", self.form, DROPOUT_FORMS)
        checks.set_fields(self, input_shape=checked_sizes(self.input_shape), rate=rate, form=form)

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

    def forward(self, x: Array, parameter: Array | None) -> Array:
        """y = mask * x; without a mask, as in a test pass, y = x."""
        x = checked_ending("x", x, self.input_shape)
        return x if parameter is None else x * checked_mask(parameter, x)

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """The map is its own adjoint."""
        return self.forward(y, parameter)


def _images(x: Array) -> Array:
    """(..., C, H, W) as (M, C, H, W)."""
    return x.reshape(-1, *x.shape[-3:])

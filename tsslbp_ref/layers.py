"""Linear maps between layers of neurons, and their adjoints.

Each map acts on the last axes of its input, over any leading axes (time, batch), and holds shapes only: weights, or a
dropout mask, are handed in as `parameter`. Neurons follow a map that has weights; pooling and dropout have none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tsslbp_ref import fast

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

CONV_BUFFER_BYTES = 1 << 18  # unfolded pictures are made in pieces of this size, which stay in the second-level cache
POOL_GAIN = 1.1  # the released code's factor after its 2x2 sum


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

    def forward(self, x: Array, parameter: Array | None) -> Array:
        """Return A x."""

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """Return A^T y."""


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
        """I = W x."""
        assert parameter is not None
        leading = x.shape[: x.ndim - len(self.input_shape)]
        return (x.reshape(-1, self.fan_in) @ parameter.T).reshape(*leading, self.n_out)

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """g = W^T delta    (B3)."""
        assert parameter is not None
        leading = y.shape[:-1]
        return (y.reshape(-1, self.n_out) @ parameter).reshape(*leading, *self.input_shape)

    def weight_gradient(self, delta: Array, x: Array) -> Array:
        """dL/dW = sum delta x^T    (B1)."""
        return delta.reshape(-1, self.n_out).T @ x.reshape(-1, self.fan_in)


@dataclass(frozen=True)
class Conv2d:
    """I[f, y, x] = sum_{c, i, j} W[f, c, i, j] a[c, y+i-p, x+j-p], stride 1, padding p with zeros."""

    input_shape: Shape  # (C, H, W)
    n_filters: int
    kernel_size: int
    padding: int

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
    def n_positions(self) -> int:
        """H' W': where a filter stands."""
        return math.prod(self.output_shape[1:])

    def forward(self, x: Array, parameter: Array | None) -> Array:
        """I = W * x: pictures unfolded a piece at a time, then a matrix product."""
        assert parameter is not None
        pictures = x.reshape(-1, *self.input_shape)
        filters = parameter.reshape(self.n_filters, self.fan_in)
        out = np.empty((len(pictures), self.n_filters, self.n_positions), dtype=x.dtype)
        for piece in self._pieces(pictures):
            np.matmul(filters, self._unfold(pictures[piece]).transpose(1, 0, 2), out=out[piece])
        return out.reshape(*x.shape[:-3], *self.output_shape)

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """g = W^T delta: the transposed product, folded back onto the picture."""
        assert parameter is not None
        delta = y.reshape(-1, self.n_filters, self.n_positions)
        filters = parameter.reshape(self.n_filters, self.fan_in)
        pictures = np.zeros((len(delta), *self.input_shape), dtype=y.dtype)
        for piece in self._pieces(pictures):
            columns = (filters.T @ _filters_first(delta[piece])).reshape(self.fan_in, -1, self.n_positions)
            fast.fold(columns, self.kernel_size, self.padding, pictures[piece])
        return pictures.reshape(*y.shape[:-3], *self.input_shape)

    def weight_gradient(self, delta: Array, x: Array) -> Array:
        """dL/dW = sum delta x^T over pictures and positions    (B1)."""
        pictures = x.reshape(-1, *self.input_shape)
        flat = delta.reshape(len(pictures), self.n_filters, self.n_positions)
        total = np.zeros((self.n_filters, self.fan_in), dtype=delta.dtype)
        for piece in self._pieces(pictures):
            total += _filters_first(flat[piece]) @ self._unfold(pictures[piece]).reshape(self.fan_in, -1).T
        return total.reshape(self.weight_shape)

    def _pieces(self, pictures: Array) -> list[slice]:
        """Split the pictures so that an unfolded piece fits CONV_BUFFER_BYTES."""
        bytes_a_picture = self.fan_in * self.n_positions * pictures.itemsize
        size = max(1, CONV_BUFFER_BYTES // bytes_a_picture)
        return [slice(start, start + size) for start in range(0, len(pictures), size)]

    def _unfold(self, pictures: Array) -> Array:
        """The pictures as columns (C k k, M, H' W')."""
        columns = np.empty((self.fan_in, len(pictures), self.n_positions), dtype=pictures.dtype)
        fast.unfold(np.ascontiguousarray(pictures), self.kernel_size, self.padding, columns)
        return columns


def _filters_first(delta: Array) -> Array:
    """(M, F, H' W') as a matrix (F, M H' W')."""
    return np.ascontiguousarray(delta.transpose(1, 0, 2)).reshape(delta.shape[1], -1)


@dataclass(frozen=True)
class SumPool2d:
    """y = gain times the sum of each size x size block of PSCs; no neuron, no weight.

    Rows and columns that do not fill a block are left out. Source: the released code, gain 1.1.
    """

    input_shape: Shape  # (C, H, W)
    size: int
    gain: float = POOL_GAIN

    weight_shape = None

    @property
    def output_shape(self) -> Shape:
        """(C, H // size, W // size)."""
        C, H, W = self.input_shape
        return (C, H // self.size, W // self.size)

    def forward(self, x: Array, parameter: Array | None) -> Array:
        """y = gain * block sums."""
        _, H, W = self.output_shape
        k = self.size
        y = np.zeros((*x.shape[:-2], H, W), dtype=x.dtype)
        for i in range(k):
            for j in range(k):
                y += x[..., i : H * k : k, j : W * k : k]
        y *= self.gain
        return y

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """Every input of a block gets gain times the block's gradient."""
        _, H, W = self.output_shape
        k = self.size
        x = np.zeros((*y.shape[:-3], *self.input_shape), dtype=y.dtype)
        scaled = y * y.dtype.type(self.gain)
        for i in range(k):
            for j in range(k):
                x[..., i : H * k : k, j : W * k : k] = scaled
        return x


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
    """

    input_shape: Shape
    rate: float
    form: str = "unit"

    weight_shape = None

    @property
    def output_shape(self) -> Shape:
        """The input's shape."""
        return self.input_shape

    def draw_mask(self, batch: int, rng: np.random.Generator, dtype: npt.DTypeLike) -> Array:
        """Draw the (batch, ...) mask of a forward pass: 0 or 1 / (1 - rate)."""
        shape: Shape = self.input_shape
        if self.form == "row" and len(shape) > 1:
            shape = (*shape[:-1], 1)
        kept = rng.random((batch, *shape)) >= self.rate
        return (kept / (1.0 - self.rate)).astype(dtype)

    def forward(self, x: Array, parameter: Array | None) -> Array:
        """y = mask * x; without a mask, as in a test pass, y = x."""
        return x if parameter is None else x * parameter

    def adjoint(self, y: Array, parameter: Array | None) -> Array:
        """The map is its own adjoint."""
        return self.forward(y, parameter)

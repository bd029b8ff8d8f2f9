"""Convolution by the convolution theorem: on a torus, every frequency of I is a product of its own. Compiled.

Write X, D and K for the two-dimensional discrete Fourier transforms of a padded picture, of delta and of the filters on
a torus of (H + 2p) x (W + 2p) places, where all three fit and none meets its own other end. Then, channel by channel,

    I     = sum_c conj(K[f, c]) X[c],    read at the H' x W' places at which the whole filter lies in the picture (F1)
    dL/da = sum_f K[f, c] D[f],          read at the picture's places                                             (B3)
    dL/dW = sum_m conj(D[f]) X[c],       read at the filter's k x k places                                        (B1)

A frequency costs one complex product where a place costs k^2 real ones. Pictures are real, so that half of the
frequencies say everything. The transforms are products with small matrices, which hold for any size; a complex number
is two rows, its real and its imaginary part, and a complex product one of real matrices twice as high and wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg.cython_blas  # noqa: F401 - compiled loops multiply with it; loaded now, so that its threads can be limited

from tsslbp_ref.compilation import compiled, multiply
from tsslbp_ref.fast_layers import FEW_PICTURES, PIECE_BYTES, live_pictures

Array = npt.NDArray[Any]

ADVANTAGE = 1.3  # times fewer multiplications than in the pictures' own places that pay: benchmarks/frequencies.py
FEWEST_THAT_FIT = 4  # pictures whose frequencies the second-level cache has to hold, from the same measurement


class Transform(NamedTuple):
    """The matrices that take a rectangle of real numbers to the frequencies of a torus, and back.

    With q = m // 2 + 1 the torus's n x m places have n x q frequencies that matter.

    Parameters
    ----------
    across : (2 q, width) array
        A row's frequencies, real and imaginary parts in turn.
    down : (2 n, 2 height) array
        A column's, for complex numbers: real and imaginary part of every frequency in turn, of all real parts and then
        all imaginary ones.
    down_back : (2 height, 2 n) array
    across_back : (width, 2 q) array
        The inverses, at the rectangle's places.
    """

    across: Array
    down: Array
    down_back: Array
    across_back: Array


class Geometry(NamedTuple):
    """The transforms of a convolution: of its pictures, of what it makes of them, and of its filters."""

    pictures: Transform
    maps: Transform
    filters: Transform


@lru_cache
def geometry(height: int, width: int, kernel_size: int, padding: int, dtype: str) -> Geometry:
    """Make the transforms of a convolution of pictures of height x width."""
    torus = (height + 2 * padding, width + 2 * padding)
    shrink = kernel_size - 1 - 2 * padding
    return Geometry(
        _transform(torus, padding, (height, width), dtype),
        _transform(torus, 0, (height - shrink, width - shrink), dtype),
        _transform(torus, 0, (kernel_size, kernel_size), dtype),
    )


def _transform(torus: tuple[int, int], first: int, size: tuple[int, int], dtype: str) -> Transform:
    """The matrices of a rectangle whose first place is (first, first)."""
    (n, m), (height, width) = torus, size
    across = np.exp(-2j * np.pi * np.outer(np.arange(m // 2 + 1), first + np.arange(width)) / m)
    down = np.exp(-2j * np.pi * np.outer(np.arange(n), first + np.arange(height)) / n)
    twice = np.full(m // 2 + 1, 2.0)  # a frequency stands for its mirror image too,
    twice[[0, m // 2] if m % 2 == 0 else [0]] = 1.0  # unless it is its own
    matrices = (
        np.stack([across.real, across.imag], axis=1).reshape(-1, width),
        np.array([[down.real, -down.imag], [down.imag, down.real]]).transpose(2, 0, 1, 3).reshape(2 * n, -1),
        np.array([[down.real, down.imag], [-down.imag, down.real]]).transpose(0, 3, 2, 1).reshape(-1, 2 * n) / n,
        np.stack([across.real.T * twice, across.imag.T * twice], axis=2).reshape(width, -1) / m,
    )
    return Transform(*(np.ascontiguousarray(matrix, dtype) for matrix in matrices))


@dataclass(frozen=True)
class Convolution:
    """A convolution's sizes, whether going by frequency pays, and what it makes.

    Parameters
    ----------
    input_shape : (int, int, int)
        (C, H, W).
    n_filters, kernel_size, padding : int
    """

    input_shape: tuple[int, ...]
    n_filters: int
    kernel_size: int
    padding: int

    def geometry(self, dtype: np.dtype[Any]) -> Geometry:
        """The transforms."""
        return geometry(*self.input_shape[1:], self.kernel_size, self.padding, dtype.name)

    @cached_property
    def pays(self) -> bool:
        """Whether it multiplies much less than in the pictures' own places, and a few pictures fit the cache."""
        positions = math.prod(size - self.kernel_size + 1 for size in self._torus)
        direct = positions * self.n_filters * self.input_shape[0] * self.kernel_size**2
        return direct >= ADVANTAGE * self.multiplications and FEWEST_THAT_FIT * self.picture_bytes <= PIECE_BYTES

    @cached_property
    def multiplications(self) -> int:
        """How many a picture costs: its transform, the products of all frequencies, and the transform back."""
        (C, H, W), (n, m) = self.input_shape, self._torus
        height, width, q = n - self.kernel_size + 1, m - self.kernel_size + 1, m // 2 + 1
        there, back = (2 * q * w * h + 4 * q * n * h for h, w in ((H, W), (height, width)))
        return C * there + self.n_filters * back + 4 * q * n * C * self.n_filters

    @cached_property
    def piece(self) -> int:
        """Pictures that are transformed at once: those whose frequencies `PIECE_BYTES` holds, and at least a few."""
        return max(FEW_PICTURES, PIECE_BYTES // self.picture_bytes)

    @cached_property
    def picture_bytes(self) -> int:
        """What a picture's frequencies take before and behind the filters, in float32."""
        n, m = self._torus
        numbers = 2 * (m // 2 + 1) * n * (self.input_shape[0] + self.n_filters)
        return numbers * np.dtype(np.float32).itemsize

    @property
    def _torus(self) -> tuple[int, int]:
        height, width = (size + 2 * self.padding for size in self.input_shape[1:])
        return height, width

    def forward(self, pictures: Array, W: Array, I: Array) -> None:
        """Write I (N, F, H', W') of pictures (N, C, H, W), for filters W (F, C, k, k)."""
        shapes = self.geometry(I.dtype)
        conv_forward(pictures, self._products(W, shapes), shapes, self.piece, I)

    def backward(self, delta: Array, pictures: Array, W: Array, g: Array) -> Array:
        """Write dL/da of pictures (N, C, H, W) and return dL/dW (F, C, k, k)."""
        shapes = self.geometry(delta.dtype)
        products = self._products(W, shapes)
        sums, gradient = np.zeros_like(products), np.empty((*W.shape[2:], *W.shape[:2]), delta.dtype)
        conv_backward(delta, pictures, products, shapes, self.piece, g, sums)
        filter_gradient(sums, shapes.filters, gradient)
        return np.ascontiguousarray(gradient.transpose(2, 3, 0, 1))

    def _products(self, W: Array, shapes: Geometry) -> Array:
        filters = np.ascontiguousarray(W.transpose(2, 3, 0, 1), shapes.filters.across.dtype)
        return filter_products(filters, shapes.filters)


# ---------------------------------------------------------------------------------------------------------------------
# There and back
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def _analyse(places: Array, transform: Transform, between: Array, frequencies: Array) -> None:
    """frequencies (q, 2 n, M) of places (height, width, M); between is (2 q, height, M)."""
    for y in range(len(places)):
        multiply(transform.across, places[y], between[:, y], False, False, False)
    paired = between.reshape(len(frequencies), -1, places.shape[2])
    for k in range(len(frequencies)):
        multiply(transform.down, paired[k], frequencies[k], False, False, False)


@compiled
def _synthesise(frequencies: Array, transform: Transform, between: Array, places: Array) -> None:
    """The inverse of `_analyse`, at the rectangle's places."""
    paired = between.reshape(len(frequencies), -1, places.shape[2])
    for k in range(len(frequencies)):
        multiply(transform.down_back, frequencies[k], paired[k], False, False, False)
    for y in range(len(places)):
        multiply(transform.across_back, between[:, y], places[y], False, False, False)


@compiled
def _gather(maps: Array, which: npt.NDArray[np.int64], places: Array) -> None:
    """places[y, x, c, m] = maps[which[m], c, y, x]."""
    height, width, C, M = places.shape
    for c in range(C):
        for y in range(height):
            for x in range(width):
                row = places[y, x, c]
                for m in range(M):
                    row[m] = maps[which[m], c, y, x]


@compiled
def _scatter(places: Array, which: npt.NDArray[np.int64], maps: Array) -> None:
    """maps[which[m], c, y, x] = places[y, x, c, m]: back again."""
    height, width, C, M = places.shape
    for c in range(C):
        for m in range(M):
            for y in range(height):
                row = maps[which[m], c, y]
                for x in range(width):
                    row[x] = places[y, x, c, m]


# ---------------------------------------------------------------------------------------------------------------------
# Filters
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def filter_products(filters: Array, transform: Transform) -> Array:
    """The matrices that take a picture's frequencies to those of I: conj(K) of each, real and imaginary parts apart.

    Parameters
    ----------
    filters : (k, k, F, C) array
        Contiguous.
    transform : Transform
        Of `Geometry.filters`.

    Returns
    -------
    (q n, 2 F, 2 C) array
    """
    k, _, F, C = filters.shape
    q, n = len(transform.across) // 2, len(transform.down) // 2
    K = np.empty((q, 2 * n, F * C), filters.dtype)
    _analyse(filters.reshape(k, k, F * C), transform, np.empty((2 * q, k, F * C), filters.dtype), K)
    parts = K.reshape(q * n, 2, F, C)
    products = np.empty((q * n, 2 * F, 2 * C), filters.dtype)
    for number in range(q * n):
        for f in range(F):
            upper, lower = products[number, f], products[number, F + f]
            real, imaginary = parts[number, 0, f], parts[number, 1, f]
            for c in range(C):
                upper[c] = real[c]
                upper[C + c] = imaginary[c]
                lower[c] = -imaginary[c]
                lower[C + c] = real[c]
    return products


@compiled
def filter_gradient(sums: Array, transform: Transform, gradient: Array) -> None:
    """dL/dW from the sums of all products of delta's and the pictures' parts: conj(D) X, and back to the k x k places.

    Parameters
    ----------
    sums : (q n, 2 F, 2 C) array
    transform : Transform
        Of `Geometry.filters`.
    gradient : (k, k, F, C) array
        Written.
    """
    k, _, F, C = gradient.shape
    q, n = len(transform.across) // 2, len(transform.down) // 2
    parts = np.empty((q * n, 2, F, C), sums.dtype)
    for number in range(q * n):
        for f in range(F):
            upper, lower = sums[number, f], sums[number, F + f]
            for c in range(C):
                parts[number, 0, f, c] = upper[c] + lower[C + c]
                parts[number, 1, f, c] = upper[C + c] - lower[c]
    between = np.empty((2 * q, k, F * C), sums.dtype)
    _synthesise(parts.reshape(q, 2 * n, F * C), transform, between, gradient.reshape(k, k, F * C))


# ---------------------------------------------------------------------------------------------------------------------
# Convolution, piece by piece
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def conv_forward(pictures: Array, products: Array, shapes: Geometry, piece: int, I: Array) -> None:
    """I of every picture    (F1).

    Parameters
    ----------
    pictures : (N, C, H, W) array
    products : (q n, 2 F, 2 C) array
        Of `filter_products`.
    shapes : Geometry
    piece : int
        Pictures that are transformed at once.
    I : (N, F, H', W') array
        Written.
    """
    live = live_pictures(pictures)
    if len(live) < len(pictures):
        I[:] = 0.0
    for start in range(0, len(live), piece):
        which = live[start : start + piece]
        X = _frequencies(pictures, which, shapes.pictures)
        Y = np.empty((len(products), products.shape[1], len(which)), I.dtype)
        for number in range(len(products)):
            multiply(products[number], X[number], Y[number], False, False, False)
        _write_places(Y, which, shapes.maps, I)


@compiled
def conv_backward(
    delta: Array, pictures: Array, products: Array, shapes: Geometry, piece: int, g: Array, sums: Array
) -> None:
    """dL/da of every picture (B3), and what `filter_gradient` makes dL/dW of (B1): they share delta's frequencies.

    Parameters
    ----------
    delta : (N, F, H', W') array
    pictures : (N, C, H, W) array
    products, shapes, piece
        Of `conv_forward`.
    g : (N, C, H, W) array
        Written.
    sums : (q n, 2 F, 2 C) array
        Added to.
    """
    live = live_pictures(pictures)
    is_live = np.zeros(len(pictures), np.bool_)
    for m in live:
        is_live[m] = True
    silent = np.flatnonzero(~is_live)
    for start in range(0, len(live), piece):
        which = live[start : start + piece]
        D = _frequencies(delta, which, shapes.maps)
        _take_back(D, which, products, shapes.pictures, g)
        X = _frequencies(pictures, which, shapes.pictures)
        for number in range(len(products)):
            multiply(D[number], X[number], sums[number], False, True, True)
    for start in range(0, len(silent), piece):
        which = silent[start : start + piece]
        _take_back(_frequencies(delta, which, shapes.maps), which, products, shapes.pictures, g)


@compiled
def _take_back(D: Array, which: npt.NDArray[np.int64], products: Array, transform: Transform, g: Array) -> None:
    """g of some pictures from delta's frequencies."""
    G = np.empty((len(products), products.shape[2], D.shape[2]), g.dtype)
    for number in range(len(products)):
        multiply(products[number], D[number], G[number], True, False, False)
    _write_places(G, which, transform, g)


@compiled
def _frequencies(maps: Array, which: npt.NDArray[np.int64], transform: Transform) -> Array:
    """(q n, 2 C, M), real parts of all channels and then imaginary ones, of some pictures or maps (N, C, ...)."""
    _, C, height, width = maps.shape
    q2, n2, M = len(transform.across), len(transform.down), len(which)
    places = np.empty((height, width, C, M), maps.dtype)
    _gather(maps, which, places)
    frequencies = np.empty((q2 // 2, n2, C * M), maps.dtype)
    between = np.empty((q2, height, C * M), maps.dtype)
    _analyse(places.reshape(height, width, C * M), transform, between, frequencies)
    return frequencies.reshape(q2 * n2 // 4, 2 * C, M)


@compiled
def _write_places(frequencies: Array, which: npt.NDArray[np.int64], transform: Transform, maps: Array) -> None:
    """The inverse of `_frequencies`."""
    _, C, height, width = maps.shape
    q2, n2, M = len(transform.across), len(transform.down), len(which)
    places = np.empty((height, width, C * M), maps.dtype)
    between = np.empty((q2, height, C * M), maps.dtype)
    _synthesise(frequencies.reshape(q2 // 2, n2, C * M), transform, between, places)
    _scatter(places.reshape(height, width, C, M), which, maps)

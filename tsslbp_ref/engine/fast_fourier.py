"""Convolution by the convolution theorem: on a torus, every frequency of I is a product of its own. Compiled.

Write X, D and K for the two-dimensional discrete Fourier transforms of a padded picture, of delta and of the filters on
a torus of (H + 2p) x (W + 2p) places, where all three fit and none meets its own other end. Then, channel by channel,

    I     = sum_c conj(K[f, c]) X[c],    read at the H' x W' places at which the whole filter lies in the picture (F1)
    dL/da = sum_f K[f, c] D[f],          read at the picture's places                                             (B3)
    dL/dW = sum_m conj(D[f]) X[c],       read at the filter's k x k places                                        (B1)

Each is counted from the middle of its own rectangle. The middle of I's places is the picture's less the filter's, so
that the products above need no turning.

A frequency costs one complex product where a place costs k^2 real ones. Pictures are real, so that half of the
frequencies say everything (`fast_waves`). A complex number is two rows, its real and its imaginary part, and a complex
product one of real matrices twice as high and wide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.linalg.cython_blas  # noqa: F401 - compiled loops multiply with it; loaded now, so that its threads can be limited

from tsslbp_ref.engine.fast_layers import FEW_PICTURES, PIECE_BYTES, live_pictures
from tsslbp_ref.engine.fast_waves import Transform, analyse, rows_by_frequency, synthesise, transform
from tsslbp_ref.jit import compiled, multiply

Array = npt.NDArray[Any]

ADVANTAGE = 2.0  # times fewer multiplications than in the pictures' own places that pay: benchmarks/frequencies.py


class Geometry(NamedTuple):
    """What a convolution's size says of its frequencies.

    Parameters
    ----------
    pictures, maps, filters : Transform
        Of its pictures, of what it makes of them, and of its filters.
    starts : array of int
        The first row of every frequency, and the number of rows.
    """

    pictures: Transform
    maps: Transform
    filters: Transform
    starts: npt.NDArray[np.int64]


@lru_cache
def geometry(height: int, width: int, kernel_size: int, padding: int, dtype: str) -> Geometry:
    """Make the transforms of a convolution of pictures of height x width."""
    torus = (height + 2 * padding, width + 2 * padding)
    shrink = kernel_size - 1 - 2 * padding
    return Geometry(
        transform(torus, padding, (height, width), dtype),
        transform(torus, 0, (height - shrink, width - shrink), dtype),
        transform(torus, 0, (kernel_size, kernel_size), dtype),
        np.cumsum([0, *rows_by_frequency(torus)]),
    )


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
        return direct >= ADVANTAGE * self.multiplications and FEW_PICTURES * self.picture_bytes <= PIECE_BYTES

    @cached_property
    def multiplications(self) -> int:
        """How many a picture costs: its transform, the products of all frequencies, and the transform back.

        A wave is a sum of half as many terms as there are places in a line.
        """
        (C, H, W), (n, m) = self.input_shape, self._torus
        there, back = (m * h * (w + n) // 2 for h, w in ((H, W), (n - self.kernel_size + 1, m - self.kernel_size + 1)))
        products = sum(rows**2 for rows in rows_by_frequency(self._torus))
        return C * there + self.n_filters * back + products * C * self.n_filters

    @cached_property
    def piece(self) -> int:
        """Pictures that are transformed at once: those whose frequencies `PIECE_BYTES` holds, in whole registers."""
        return FEW_PICTURES * max(1, PIECE_BYTES // (FEW_PICTURES * self.picture_bytes))

    @cached_property
    def picture_bytes(self) -> int:
        """What a picture's frequencies take before and behind the filters, in float32."""
        return math.prod(self._torus) * (self.input_shape[0] + self.n_filters) * np.dtype(np.float32).itemsize

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
        filter_gradient(sums, shapes.filters, shapes.starts, gradient)
        return np.ascontiguousarray(gradient.transpose(2, 3, 0, 1))

    def _products(self, W: Array, shapes: Geometry) -> Array:
        filters = np.ascontiguousarray(W.transpose(2, 3, 0, 1), shapes.filters.across.even.dtype)
        return filter_products(filters, shapes.filters, shapes.starts)


# ---------------------------------------------------------------------------------------------------------------------
# There and back
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def _gather(maps: Array, which: npt.NDArray[np.int64], places: Array) -> None:
    """places[y, x, c, m] = maps[which[m], c, y, x].

    Row by row of the maps: a place's numbers, one of every map, lie in lines of memory that push one another out of the
    cache, and so would be fetched anew for the next place.
    """
    height, width, C, M = places.shape
    for c in range(C):
        for y in range(height):
            places_of_row = places[y, :, c]
            for m in range(M):
                row = maps[which[m], c, y]
                for x in range(width):
                    places_of_row[x, m] = row[x]


@compiled
def _scatter(places: Array, which: npt.NDArray[np.int64], maps: Array) -> None:
    """maps[which[m], c, y, x] = places[y, x, c, m]: back again."""
    height, width, C, M = places.shape
    for c in range(C):
        for y in range(height):
            places_of_row = places[y, :, c]
            for m in range(M):
                row = maps[which[m], c, y]
                for x in range(width):
                    row[x] = places_of_row[x, m]


# ---------------------------------------------------------------------------------------------------------------------
# Filters
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def filter_products(filters: Array, transform: Transform, starts: npt.NDArray[np.int64]) -> Array:
    """The matrices that take a picture's frequencies to those of I: conj(K) of each, real and imaginary parts apart.

    Parameters
    ----------
    filters : (k, k, F, C) array
        Contiguous.
    transform, starts
        Of `Geometry`, for filters.

    Returns
    -------
    (frequencies, 2 F, 2 C) array
        (F, C) of it are used where a frequency has one row.
    """
    k, _, F, C = filters.shape
    n, m = transform.n, transform.m
    K = np.empty((n * m, F * C), filters.dtype)
    analyse(filters.reshape(k, k, F * C), transform, K)
    parts = K.reshape(n * m, F, C)
    products = np.empty((len(starts) - 1, 2 * F, 2 * C), filters.dtype)
    for number in range(len(products)):
        row = starts[number]
        is_complex = starts[number + 1] - row > 1
        for f in range(F):
            for c in range(C):
                products[number, f, c] = parts[row, f, c]
                if is_complex:
                    products[number, f, C + c] = parts[row + 1, f, c]
                    products[number, F + f, c] = -parts[row + 1, f, c]
                    products[number, F + f, C + c] = parts[row, f, c]
    return products


@compiled
def filter_gradient(sums: Array, transform: Transform, starts: npt.NDArray[np.int64], gradient: Array) -> None:
    """dL/dW from the sums of all products of delta's and the pictures' parts: conj(D) X, and back to the k x k places.

    Parameters
    ----------
    sums : (frequencies, 2 F, 2 C) array
    transform, starts
        Of `Geometry`, for filters.
    gradient : (k, k, F, C) array
        Written.
    """
    k, _, F, C = gradient.shape
    n, m = transform.n, transform.m
    parts = np.empty((n * m, F, C), sums.dtype)
    for number in range(len(sums)):
        row = starts[number]
        is_complex = starts[number + 1] - row > 1
        for f in range(F):
            upper, lower = sums[number, f], sums[number, F + f]
            for c in range(C):
                parts[row, f, c] = upper[c] + lower[C + c] if is_complex else upper[c]
            if is_complex:
                for c in range(C):
                    parts[row + 1, f, c] = upper[C + c] - lower[c]
    synthesise(parts.reshape(n * m, F * C), transform, gradient.reshape(k, k, F * C))


# ---------------------------------------------------------------------------------------------------------------------
# Convolution, piece by piece
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def conv_forward(pictures: Array, products: Array, shapes: Geometry, piece: int, I: Array) -> None:
    """I of every picture    (F1).

    Parameters
    ----------
    pictures : (N, C, H, W) array
    products : (frequencies, 2 F, 2 C) array
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
        Y = np.empty((len(X), I.shape[1], len(which)), I.dtype)
        for number in range(len(products)):
            X_parts, Y_parts = _parts(X, shapes.starts, number), _parts(Y, shapes.starts, number)
            K = products[number, : len(Y_parts), : len(X_parts)]
            multiply(K, X_parts, Y_parts, False, False, False)
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
    sums : (frequencies, 2 F, 2 C) array
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
        _take_back(D, which, products, shapes, g)
        X = _frequencies(pictures, which, shapes.pictures)
        for number in range(len(products)):
            D_parts, X_parts = _parts(D, shapes.starts, number), _parts(X, shapes.starts, number)
            multiply(D_parts, X_parts, sums[number, : len(D_parts), : len(X_parts)], False, True, True)
    for start in range(0, len(silent), piece):
        which = silent[start : start + piece]
        _take_back(_frequencies(delta, which, shapes.maps), which, products, shapes, g)


@compiled
def _take_back(D: Array, which: npt.NDArray[np.int64], products: Array, shapes: Geometry, g: Array) -> None:
    """g of some pictures from delta's frequencies."""
    G = np.empty((len(D), g.shape[1], len(which)), g.dtype)
    for number in range(len(products)):
        D_parts, G_parts = _parts(D, shapes.starts, number), _parts(G, shapes.starts, number)
        K = products[number, : len(D_parts), : len(G_parts)]
        multiply(K, D_parts, G_parts, True, False, False)
    _write_places(G, which, shapes.pictures, g)


@compiled
def _parts(rows: Array, starts: npt.NDArray[np.int64], number: int) -> Array:
    """One frequency's (C, M) or (2 C, M) of the rows (n m, C, M) of all: real parts, and then imaginary ones."""
    return rows[starts[number] : starts[number + 1]].reshape(-1, rows.shape[2])


@compiled
def _frequencies(maps: Array, which: npt.NDArray[np.int64], transform: Transform) -> Array:
    """The rows (n m, C, M) of all frequencies of some pictures or maps (N, C, ...)."""
    _, C, height, width = maps.shape
    n, m, M = transform.n, transform.m, len(which)
    places = np.empty((height, width, C, M), maps.dtype)
    _gather(maps, which, places)
    rows = np.empty((n * m, C * M), maps.dtype)
    analyse(places.reshape(height, width, C * M), transform, rows)
    return rows.reshape(n * m, C, M)


@compiled
def _write_places(rows: Array, which: npt.NDArray[np.int64], transform: Transform, maps: Array) -> None:
    """The inverse of `_frequencies`; the rows are overwritten."""
    _, C, height, width = maps.shape
    places = np.empty((height, width, C * len(which)), maps.dtype)
    synthesise(rows.reshape(len(rows), -1), transform, places)
    _scatter(places.reshape(height, width, C, len(which)), which, maps)

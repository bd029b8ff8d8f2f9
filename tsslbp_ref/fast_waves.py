"""The two-dimensional Fourier transform of real pictures, as sums of rows, for any size. Compiled.

A torus's n m places are as many rows of numbers: one for a frequency that is its own mirror image, and two, the real
and the imaginary part, for every other; the mirror image of a frequency, its conjugate, is not listed. A transform is
two products with small real matrices, of cosines and sines: along the rows of a rectangle, then along its columns.
What is transformed at once, pictures times channels, is the last axis, so that a product is sums of long rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref.compilation import compiled
from tsslbp_ref.fast_events import add_rows

Array = npt.NDArray[Any]


class Transform(NamedTuple):
    """The matrices that take a rectangle of real numbers to the waves of a torus of n x m places, and back.

    Waves are in the order of `waves`.

    Parameters
    ----------
    across : (m, width) array
        How much of every wave is in a row.
    down : (n, height) array
        How much of every wave is in a column.
    down_back : (height, n) array
    across_back : (width, m) array
        The inverses, at the rectangle's places.
    """

    across: Array
    down: Array
    down_back: Array
    across_back: Array


def rows_by_frequency(torus: tuple[int, int]) -> list[int]:
    """One row for a frequency that is its own mirror image, two for every other, in the order of `analyse`."""
    n, m = torus
    columns_alone = [*[1] * waves_alone(n), *[2] * ((n - 1) // 2)]
    return columns_alone * waves_alone(m) + [2] * (n * ((m - 1) // 2))


def transform(torus: tuple[int, int], first: int, size: tuple[int, int], dtype: str) -> Transform:
    """The matrices of a rectangle on a torus.

    Parameters
    ----------
    torus : (int, int)
        n and m.
    first : int
        Row and column of the rectangle's first place.
    size : (int, int)
        Height and width.
    dtype : str
    """
    (down, down_back), (across, across_back) = (
        waves(n, first + np.arange(n_places)) for n, n_places in zip(torus, size, strict=True)
    )
    return Transform(*(np.ascontiguousarray(matrix, dtype) for matrix in (across, down, down_back, across_back)))


def waves(n: int, places: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """The n waves of a circle of n places, (n, places), and what takes their amounts back to the places.

    Waves whose sine is 0 at every place are first: 1, and cos(pi x) where n is even. Then cos(2 pi k x / n) and
    -sin(2 pi k x / n) in turn, the real and the imaginary part of a frequency.
    """
    turns = np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), places) / n)
    alone = [0, n // 2][: waves_alone(n)]
    paired = np.arange(1, (n + 1) // 2)
    pairs = np.stack([turns.real[paired], turns.imag[paired]], axis=1).reshape(-1, len(places))
    rows = np.concatenate([turns.real[alone], pairs])
    weights = np.concatenate([np.full(len(alone), 1.0), np.full(len(pairs), 2.0)]) / n
    return rows, rows.T * weights


@compiled
def waves_alone(n: int) -> int:
    """How many waves of a circle of n places have no sine."""
    return 2 - n % 2


@compiled
def analyse(places: Array, transform: Transform, rows: Array) -> None:
    """The rows of all frequencies of M pictures.

    The sum over places of x exp(-i (j y + k x)) parts in four real ones, of cosines and sines of y and of x: those of x
    first (P of its cosine, Q of its sine), then those of y. Where neither j nor k is alone (`waves`), the four are
    those of the frequencies (j, k) and (-j, k). Where one is, its sines are 0, and the other's pair is the frequency.

    Parameters
    ----------
    places : (height, width, M) array
        M pictures; contiguous.
    transform : Transform
    rows : (n m, M) array
        Written.
    """
    height, width, M = places.shape
    n, m = len(transform.down), len(transform.across)
    between = np.empty((m * height, M), places.dtype)
    _weigh(transform.across, places.reshape(-1, M), _by_row(height, width), between, _by_column(m, height))
    _weigh(transform.down, between, _by_row(m, height), rows, _by_frequency(n, m))
    for k in range(waves_alone(m), m, 2):
        for j in range(k * n + 2 * waves_alone(n), (k + 2) * n, 4):
            _to_frequencies(rows[j], rows[j + 1], rows[j + 2], rows[j + 3])


@compiled
def synthesise(rows: Array, transform: Transform, places: Array) -> None:
    """The inverse of `analyse`, at the rectangle's places; the rows are overwritten."""
    height, width, M = places.shape
    n, m = len(transform.down), len(transform.across)
    for k in range(waves_alone(m), m, 2):
        for j in range(k * n + 2 * waves_alone(n), (k + 2) * n, 4):
            _from_frequencies(rows[j], rows[j + 1], rows[j + 2], rows[j + 3])
    between = np.empty((m * height, M), places.dtype)
    _weigh(transform.down_back, rows, _by_frequency(n, m), between, _by_row(m, height))
    _weigh(transform.across_back, between, _by_column(m, height), places.reshape(-1, M), _by_row(height, width))


@compiled
def _weigh(weights: Array, table: Array, which: Array, targets: Array, where: Array) -> None:
    """targets[where[l, r]] = sum_q weights[r, q] table[which[l, q]] for every l: a product with a small matrix.

    With some ten terms a number, BLAS takes longer to lay out its operands than this takes.
    """
    for l in range(len(which)):
        for r in range(len(weights)):
            target = targets[where[l, r]]
            for i in range(len(target)):
                target[i] = 0.0
            add_rows(table, which[l], weights[r], 0, weights.shape[1], target)


@compiled
def _by_row(n_rows: int, n_columns: int) -> npt.NDArray[np.int32]:
    """Numbers of a rectangle's places, counted row by row, in a line for each row."""
    numbers = np.empty((n_rows, n_columns), np.int32)
    for r in range(n_rows):
        for c in range(n_columns):
            numbers[r, c] = r * n_columns + c
    return numbers


@compiled
def _by_column(n_rows: int, n_columns: int) -> npt.NDArray[np.int32]:
    """The same numbers, in a line for each column."""
    return _by_row(n_rows, n_columns).T.copy()


@compiled
def _by_frequency(n: int, m: int) -> npt.NDArray[np.int32]:
    """Numbers of the rows in a line for each wave of x; those of a cosine and its sine are in turn."""
    numbers = np.empty((m, n), np.int32)
    alone = waves_alone(m)
    for k in range(m):
        sine = (k - alone) % 2 if k >= alone else 0
        for j in range(n):
            numbers[k, j] = (k - sine) * n + 2 * j + sine if k >= alone else k * n + j
    return numbers


@compiled
def _to_frequencies(P_cosine: Array, Q_cosine: Array, P_sine: Array, Q_sine: Array) -> None:
    """(P_cos + i P_sin) + i (Q_cos + i Q_sin) and (P_cos - i P_sin) + i (Q_cos - i Q_sin): re, im, re, im, in place."""
    for i in range(len(P_cosine)):
        P_c, Q_c, P_s, Q_s = P_cosine[i], Q_cosine[i], P_sine[i], Q_sine[i]
        P_cosine[i] = P_c - Q_s
        Q_cosine[i] = Q_c + P_s
        P_sine[i] = P_c + Q_s
        Q_sine[i] = Q_c - P_s


@compiled
def _from_frequencies(real: Array, imaginary: Array, mirror_real: Array, mirror_imaginary: Array) -> None:
    """The inverse of `_to_frequencies`: P_cos, Q_cos, P_sin, Q_sin, in place."""
    half = real.dtype.type(0.5)
    for i in range(len(real)):
        r, s, mirror_r, mirror_s = real[i], imaginary[i], mirror_real[i], mirror_imaginary[i]
        real[i] = half * (mirror_r + r)
        imaginary[i] = half * (s + mirror_s)
        mirror_real[i] = half * (s - mirror_s)
        mirror_imaginary[i] = half * (mirror_r - r)

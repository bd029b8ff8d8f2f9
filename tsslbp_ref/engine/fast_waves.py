"""The two-dimensional Fourier transform of real pictures, as sums of rows, for any size. Compiled.

A torus's n m places are as many rows of numbers: one for a frequency that is its own mirror image, and two, the real
and the imaginary part, for every other; the mirror image of a frequency, its conjugate, is not listed. A transform is
two products with small real matrices, of cosines and sines: along the rows of a rectangle, then along its columns.
What is transformed at once, pictures times channels, is the last axis, so that a product is sums of long rows.

Waves are counted from the rectangle's middle. About it a cosine is even and a sine odd, so that a line is folded there
first, into sums and differences of the places on its two sides, and a wave is a sum of half as many terms.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine.fast_events import ROWS_A_PASS, add_rows
from tsslbp_ref.jit import compiled

Array = npt.NDArray[Any]


class Line(NamedTuple):
    """The matrices that take a line of neighbouring places to the n waves of a circle, and back.

    A line of `size` places has ceil(size / 2) sums, the last of them its middle where it has one, and floor(size / 2)
    differences.

    Parameters
    ----------
    even : (n_even, sums) array
        How much of every even wave is in a sum.
    odd : (n_odd, differences) array
        How much of every odd wave is in a difference.
    even_back : (sums, n_even) array
    odd_back : (differences, n_odd) array
        The inverses: what the even waves, and the odd ones, are at the places up to the middle.
    even_at, odd_at : (n_even,), (n_odd,) array of int
        Which of the n `waves` they are.
    """

    even: Array
    odd: Array
    even_back: Array
    odd_back: Array
    even_at: npt.NDArray[np.int32]
    odd_at: npt.NDArray[np.int32]


class Transform(NamedTuple):
    """What takes a rectangle of real numbers to the waves of a torus of n x m places, and back.

    Parameters
    ----------
    n, m : int
    across : Line
        A row of the rectangle, to m waves.
    down : Line
        A column, to n waves.
    """

    n: int
    m: int
    across: Line
    down: Line


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
    down, across = (line(n, first + np.arange(n_places), dtype) for n, n_places in zip(torus, size, strict=True))
    return Transform(*torus, across, down)


def line(n: int, places: npt.NDArray[np.int64], dtype: str) -> Line:
    """The matrices of neighbouring places on a circle of n."""
    rows = waves(n, places)
    paired = np.arange(n) >= waves_alone(n)
    back = rows.T * np.where(paired, 2.0, 1.0) / n
    is_odd = paired & ((np.arange(n) - waves_alone(n)) % 2 == 1)  # the sines
    is_odd[1 : waves_alone(n)] = len(places) % 2 == 0  # and cos(pi y) about a middle between two places
    even_at, odd_at = np.flatnonzero(~is_odd), np.flatnonzero(is_odd)
    sums, differences = slice(0, (len(places) + 1) // 2), slice(0, len(places) // 2)
    even, odd, even_back, odd_back = (
        np.ascontiguousarray(matrix, dtype)
        for matrix in (rows[even_at, sums], rows[odd_at, differences], back[sums, even_at], back[differences, odd_at])
    )
    return Line(even, odd, even_back, odd_back, even_at.astype(np.int32), odd_at.astype(np.int32))


def waves(n: int, places: npt.NDArray[np.int64]) -> Array:
    """The n waves of a circle of n places, (n, places).

    Waves that are their own mirror image are first: 1, and cos(pi y) where n is even, counted from place 0. Then
    cos(2 pi k (y - y_0) / n) and -sin(2 pi k (y - y_0) / n) in turn, the real and the imaginary part of a frequency,
    counted from the middle y_0 of the places.
    """
    alone = np.cos(np.pi * np.outer(np.arange(waves_alone(n)), places))
    angles = 2.0 * np.pi * np.outer(np.arange(1, (n + 1) // 2), places - places.mean()) / n
    pairs = np.stack([np.cos(angles), -np.sin(angles)], axis=1).reshape(-1, len(places))
    return np.concatenate([alone, pairs])


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
    (height, width, M), n, m = places.shape, transform.n, transform.m
    between = np.empty((m * height, M), places.dtype)
    _to_waves(transform.across, places.reshape(-1, M), _by_row(height, width), between, _by_column(m, height))
    _to_waves(transform.down, between, _by_row(m, height), rows, _by_frequency(n, m))
    for k in range(waves_alone(m), m, 2):
        for j in range(k * n + 2 * waves_alone(n), (k + 2) * n, 4):
            _to_frequencies(rows[j], rows[j + 1], rows[j + 2], rows[j + 3])


@compiled
def synthesise(rows: Array, transform: Transform, places: Array) -> None:
    """The inverse of `analyse`, at the rectangle's places; the rows are overwritten."""
    (height, width, M), n, m = places.shape, transform.n, transform.m
    for k in range(waves_alone(m), m, 2):
        for j in range(k * n + 2 * waves_alone(n), (k + 2) * n, 4):
            _from_frequencies(rows[j], rows[j + 1], rows[j + 2], rows[j + 3])
    between = np.empty((m * height, M), places.dtype)
    _to_places(transform.down, rows, _by_frequency(n, m), between, _by_row(m, height))
    _to_places(transform.across, between, _by_column(m, height), places.reshape(-1, M), _by_row(height, width))


@compiled
def _to_waves(line: Line, table: Array, which: Array, targets: Array, where: Array) -> None:
    """targets[where[l, r]]: wave r of the line of rows table[which[l]], for every l.

    With some ten terms a number, BLAS takes longer to lay out its operands than this takes.
    """
    n_sums, size = line.even.shape[1], which.shape[1]
    folded = np.empty((size, table.shape[1]), table.dtype)
    numbers = np.arange(size).astype(np.int32)
    for l in range(len(which)):
        _fold(table, which[l], folded)
        for r in range(len(line.even)):
            _weigh(folded, numbers[:n_sums], line.even[r], targets[where[l, line.even_at[r]]])
        for r in range(len(line.odd)):
            _weigh(folded, numbers[n_sums:], line.odd[r], targets[where[l, line.odd_at[r]]])


@compiled
def _to_places(line: Line, table: Array, which: Array, targets: Array, where: Array) -> None:
    """The inverse of `_to_waves`: the line targets[where[l]] of the waves table[which[l]], for every l."""
    size = where.shape[1]
    for l in range(len(which)):
        even, odd = which[l][line.even_at], which[l][line.odd_at]
        for q in range(len(line.even_back)):
            _weigh(table, even, line.even_back[q], targets[where[l, q]])
        for q in range(len(line.odd_back)):
            mirror_image = targets[where[l, size - 1 - q]]
            _weigh(table, odd, line.odd_back[q], mirror_image)
            _unfold(targets[where[l, q]], mirror_image)


@compiled
def _fold(table: Array, which: npt.NDArray[np.int32], folded: Array) -> None:
    """Sums of the places on the two sides of a line's middle, with that where there is one, and their differences."""
    size = len(which)
    n_sums = (size + 1) // 2
    for q in range(size // 2):
        before, behind = table[which[q]], table[which[size - 1 - q]]
        total, difference = folded[q], folded[n_sums + q]
        for i in range(len(total)):
            total[i] = before[i] + behind[i]
            difference[i] = before[i] - behind[i]
    if size % 2:
        middle, target = table[which[n_sums - 1]], folded[n_sums - 1]
        for i in range(len(target)):
            target[i] = middle[i]


@compiled
def _unfold(even: Array, odd: Array) -> None:
    """Even and odd part to sum and difference, in place: the places before the middle, and their mirror images."""
    for i in range(len(even)):
        x, y = even[i], odd[i]
        even[i] = x + y
        odd[i] = x - y


@compiled
def _weigh(table: Array, which: npt.NDArray[np.int32], weights: Array, target: Array) -> None:
    """target = sum_q weights[q] table[which[q]].

    One to four terms write it, so that no pass clears it, and the others are added four a pass, so that none adds one.
    """
    n = len(weights)
    n_first = (n - 1) % ROWS_A_PASS + 1 if n > 0 else 0
    if n_first == 0:
        for i in range(len(target)):
            target[i] = 0.0
    elif n_first == 1:
        j, p = which[0], weights[0]
        for i in range(len(target)):
            target[i] = p * table[j, i]
    elif n_first == 2:
        j, k, p, q = which[0], which[1], weights[0], weights[1]
        for i in range(len(target)):
            target[i] = p * table[j, i] + q * table[k, i]
    elif n_first == 3:
        j, k, l, p, q, r = which[0], which[1], which[2], weights[0], weights[1], weights[2]
        for i in range(len(target)):
            target[i] = p * table[j, i] + q * table[k, i] + r * table[l, i]
    else:
        j, k, l, m, p, q, r, s = which[0], which[1], which[2], which[3], weights[0], weights[1], weights[2], weights[3]
        for i in range(len(target)):
            target[i] = p * table[j, i] + q * table[k, i] + r * table[l, i] + s * table[m, i]
    add_rows(table, which, weights, n_first, n, target)


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

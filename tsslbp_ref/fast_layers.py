"""Convolution and pooling in compiled loops: the fast twin of `reference_layers`.

A convolution is a matrix product with unfolded pictures. Pictures are taken a piece at a time, so that the unfolded
piece stays in the second-level cache, and within a piece the picture's number is the last axis, so that every copy is
one long run. Nothing here returns to Python before the last piece: threads that share a batch do not wait for each
other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg.cython_blas  # noqa: F401 - compiled loops multiply with it; loaded now, so that its threads can be limited

from tsslbp_ref import checks
from tsslbp_ref.compilation import compiled

Array = npt.NDArray[Any]

PIECE_BYTES = 3 << 18  # what a piece takes, unfolded: three quarters of a usual second-level cache of 1 MiB

# ---------------------------------------------------------------------------------------------------------------------
# Pictures: unfold and its adjoint, fold
# ---------------------------------------------------------------------------------------------------------------------


def unfold(pictures: Array, kernel_size: int, padding: int, columns: Array) -> None:
    """columns[(c, i, j), (y, x), m] = pictures[c, y+i-p, x+j-p, m], zero outside the picture.

    A convolution is a product with the unfolded picture: I[f, (y, x), m] = sum_(c, i, j) W[f, (c, i, j)] columns.

    Parameters
    ----------
    pictures : (C, H, W, M) array
    kernel_size, padding : int
    columns : (C k k, H' W', M) array
        Written.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check_unfolded(pictures, kernel_size, padding, columns)
    _unfold_loop(pictures, kernel_size, padding, columns)


def fold(columns: Array, kernel_size: int, padding: int, pictures: Array) -> None:
    """pictures[c, y+i-p, x+j-p, m] += columns[(c, i, j), (y, x), m]: the adjoint of `unfold`.

    Parameters
    ----------
    columns : (C k k, H' W', M) array
    kernel_size, padding : int
    pictures : (C, H, W, M) array
        Added to.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check_unfolded(pictures, kernel_size, padding, columns)
    _fold_loop(columns, kernel_size, padding, pictures)


def _check_unfolded(pictures: Array, kernel_size: int, padding: int, columns: Array) -> None:
    """Raise unless columns have the shape of the unfolded pictures: the compiled loops look no more."""
    if pictures.ndim != 4:
        raise ValueError(f"pictures must have shape (C, H, W, M), got {pictures.shape}")
    C, H, W, M = pictures.shape
    height, width = H + 2 * padding - kernel_size + 1, W + 2 * padding - kernel_size + 1
    if min(kernel_size, height, width) < 1:
        raise ValueError(f"kernel_size must fit the padded pictures {pictures.shape}, got {kernel_size}")
    checks.same_shape("columns", columns, (C * kernel_size**2, height * width, M), "the unfolded pictures")


@compiled
def _overlap(offset: int, size: int, out_size: int) -> tuple[int, int]:
    """First and last + 1 of the positions y for which y + offset lies inside a picture of `size` rows."""
    return max(0, -offset), min(out_size, size - offset)


@compiled
def _unfold_loop(pictures: Array, kernel_size: int, padding: int, columns: Array) -> None:
    C, H, W, M = pictures.shape
    height, width = H + 2 * padding - kernel_size + 1, W + 2 * padding - kernel_size + 1
    rows_in = pictures.reshape(C, H, W * M)
    rows_out = columns.reshape(C, kernel_size, kernel_size, height, width * M)
    if padding > 0:
        rows_out[:] = 0.0
    for c in range(C):
        for i in range(kernel_size):
            top, bottom = _overlap(i - padding, H, height)
            for j in range(kernel_size):
                left, right = _overlap(j - padding, W, width)
                for y in range(top, bottom):
                    source = rows_in[c, y + i - padding, (left + j - padding) * M : (right + j - padding) * M]
                    target = rows_out[c, i, j, y, left * M : right * M]
                    for n in range(len(target)):
                        target[n] = source[n]


@compiled
def _fold_loop(columns: Array, kernel_size: int, padding: int, pictures: Array) -> None:
    C, H, W, M = pictures.shape
    height, width = H + 2 * padding - kernel_size + 1, W + 2 * padding - kernel_size + 1
    rows_in = columns.reshape(C, kernel_size, kernel_size, height, width * M)
    rows_out = pictures.reshape(C, H, W * M)
    for c in range(C):
        for i in range(kernel_size):
            top, bottom = _overlap(i - padding, H, height)
            for j in range(kernel_size):
                left, right = _overlap(j - padding, W, width)
                for y in range(top, bottom):
                    source = rows_in[c, i, j, y, left * M : right * M]
                    target = rows_out[c, y + i - padding, (left + j - padding) * M : (right + j - padding) * M]
                    for n in range(len(target)):
                        target[n] += source[n]


@compiled
def _pictures_last(rows: Array, which: npt.NDArray[np.int64], last: Array) -> None:
    """last[i, m] = rows[which[m], i]: some pictures, a row each, as columns."""
    size, M = last.shape
    if size > M > 1:
        for i in range(size):
            for m in range(M):
                last[i, m] = rows[which[m], i]
    else:
        for m in range(M):
            row = rows[which[m]]
            for i in range(size):
                last[i, m] = row[i]


@compiled
def _pictures_first(last: Array, which: npt.NDArray[np.int64], rows: Array) -> None:
    """rows[which[m], i] = last[i, m]: back from columns to rows."""
    size, M = last.shape
    if size > M > 1:
        for i in range(size):
            for m in range(M):
                rows[which[m], i] = last[i, m]
    else:
        for m in range(M):
            row = rows[which[m]]
            for i in range(size):
                row[i] = last[i, m]


@compiled
def live_pictures(pictures: Array) -> npt.NDArray[np.int64]:
    """Numbers of the pictures that are not all 0, and of the last one: a filter that is not finite has to show in I.

    A picture of zeros adds nothing to a convolution or to its dL/dW. A PSC is such a picture until the first spike.
    """
    N = len(pictures)
    flat = pictures.reshape(N, -1)
    live = np.empty(N, np.int64)
    count = 0
    for m in range(N):
        row = flat[m]
        some = m == N - 1
        for i in range(len(row)):
            if row[i] != 0:
                some = True
                break
        if some:
            live[count] = m
            count += 1
    return live[:count]


# ---------------------------------------------------------------------------------------------------------------------
# Convolution, piece by piece
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def conv_forward(pictures: Array, filters: Array, kernel_size: int, padding: int, piece: int, I: Array) -> None:
    """I[m, f, (y, x)] = sum_{c, i, j} W[f, (c, i, j)] pictures[m, c, y+i-p, x+j-p]    (F1).

    Parameters
    ----------
    pictures : (N, C, H, W) array
    filters : (F, C k k) array
    kernel_size, padding : int
    piece : int
        Pictures that are unfolded at once.
    I : (N, F, H' W') array
        Written.
    """
    N, C, H, W = pictures.shape
    _, F, positions = I.shape
    fan_in, size = filters.shape[1], C * H * W
    turned = np.empty(size * piece, pictures.dtype)
    unfolded = np.empty(fan_in * positions * piece, pictures.dtype)
    product = np.empty(F * positions * piece, pictures.dtype)
    live = live_pictures(pictures)
    if len(live) < N:
        I[:] = 0.0
    for start in range(0, len(live), piece):
        which = live[start : start + piece]
        M = len(which)
        last = turned[: size * M].reshape(size, M)
        columns = unfolded[: fan_in * positions * M].reshape(fan_in, positions * M)
        out = product[: F * positions * M].reshape(F, positions * M)
        _pictures_last(pictures.reshape(N, size), which, last)
        _unfold_loop(last.reshape(C, H, W, M), kernel_size, padding, columns.reshape(fan_in, positions, M))
        np.dot(filters, columns, out)
        _pictures_first(out.reshape(F * positions, M), which, I.reshape(N, F * positions))


@compiled
def conv_adjoint(delta: Array, filters_turned: Array, kernel_size: int, padding: int, piece: int, g: Array) -> None:
    """g[m, c, y+i-p, x+j-p] = sum over f, i, j, y, x of W[f, (c, i, j)] delta[m, f, (y, x)]    (B3).

    Parameters
    ----------
    delta : (N, F, H' W') array
    filters_turned : (C k k, F) array
    kernel_size, padding, piece : int
    g : (N, C, H, W) array
        Written.
    """
    N, C, H, W = g.shape
    _, F, positions = delta.shape
    fan_in, size = len(filters_turned), C * H * W
    turned = np.empty(F * positions * piece, delta.dtype)
    unfolded = np.empty(fan_in * positions * piece, delta.dtype)
    folded = np.empty(size * piece, delta.dtype)
    every = np.arange(N)
    for start in range(0, N, piece):
        which = every[start : start + piece]
        M = len(which)
        last = turned[: F * positions * M].reshape(F * positions, M)
        columns = unfolded[: fan_in * positions * M].reshape(fan_in, positions * M)
        pictures = folded[: size * M].reshape(size, M)
        _pictures_last(delta.reshape(N, F * positions), which, last)
        np.dot(filters_turned, last.reshape(F, positions * M), columns)
        pictures[:] = 0.0
        _fold_loop(columns.reshape(fan_in, positions, M), kernel_size, padding, pictures.reshape(C, H, W, M))
        _pictures_first(pictures, which, g.reshape(N, size))


@compiled
def conv_weight_gradient(
    delta: Array, pictures: Array, kernel_size: int, padding: int, piece: int, dW_turned: Array
) -> None:
    """dL/dW[(c, i, j), f] = sum over m, y, x of pictures[m, c, y+i-p, x+j-p] delta[m, f, (y, x)]    (B1), turned.

    Turned, because BLAS takes the long axis of the unfolded pictures as it lies.

    Parameters
    ----------
    delta : (N, F, H' W') array
    pictures : (N, C, H, W) array
    kernel_size, padding, piece : int
    dW_turned : (C k k, F) array
        Added to.
    """
    N, C, H, W = pictures.shape
    _, F, positions = delta.shape
    fan_in, size = len(dW_turned), C * H * W
    turned = np.empty(size * piece, delta.dtype)
    unfolded = np.empty(fan_in * positions * piece, delta.dtype)
    delta_turned = np.empty(F * positions * piece, delta.dtype)
    part = np.empty_like(dW_turned)
    live = live_pictures(pictures)
    for start in range(0, len(live), piece):
        which = live[start : start + piece]
        M = len(which)
        last = turned[: size * M].reshape(size, M)
        columns = unfolded[: fan_in * positions * M].reshape(fan_in, positions * M)
        delta_last = delta_turned[: F * positions * M].reshape(F * positions, M)
        _pictures_last(pictures.reshape(N, size), which, last)
        _unfold_loop(last.reshape(C, H, W, M), kernel_size, padding, columns.reshape(fan_in, positions, M))
        _pictures_last(delta.reshape(N, F * positions), which, delta_last)
        np.dot(columns, delta_last.reshape(F, positions * M).T, part)
        dW_turned += part


# ---------------------------------------------------------------------------------------------------------------------
# Pooling
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def pool_forward(x: Array, size: int, gain: float, y: Array) -> None:
    """y[m, r, c] = gain * sum of x[m] over the size x size block at (r, c)."""
    if size == 2:
        _pool_pairs(x, gain, y)
        return
    M, height, width = y.shape
    for m in range(M):
        for r in range(height):
            out = y[m, r]
            for c in range(width):
                out[c] = 0
            for i in range(size):
                row = x[m, r * size + i]
                for j in range(size):
                    for c in range(width):
                        out[c] += row[c * size + j]
            for c in range(width):
                out[c] *= gain


@compiled
def _pool_pairs(x: Array, gain: float, y: Array) -> None:
    """`pool_forward` for blocks of 2 x 2, written out: the compiler then reads both of a pair at once."""
    M, height, width = y.shape
    for m in range(M):
        for r in range(height):
            upper, lower, out = x[m, 2 * r], x[m, 2 * r + 1], y[m, r]
            for c in range(width):
                out[c] = gain * ((upper[2 * c] + upper[2 * c + 1]) + (lower[2 * c] + lower[2 * c + 1]))


@compiled
def pool_adjoint(y: Array, size: int, gain: float, x: Array) -> None:
    """x[m, r*size+i, c*size+j] = gain * y[m, r, c] for every i, j of the block; the rest of x is left as it is."""
    if size == 2:
        _pool_pairs_adjoint(y, gain, x)
        return
    M, height, width = y.shape
    for m in range(M):
        for r in range(height):
            source = y[m, r]
            for i in range(size):
                row = x[m, r * size + i]
                for j in range(size):
                    for c in range(width):
                        row[c * size + j] = gain * source[c]


@compiled
def _pool_pairs_adjoint(y: Array, gain: float, x: Array) -> None:
    """`pool_adjoint` for blocks of 2 x 2, written out: both of a pair are written at once, then the row is copied."""
    M, height, width = y.shape
    for m in range(M):
        for r in range(height):
            upper, lower, source = x[m, 2 * r], x[m, 2 * r + 1], y[m, r]
            for c in range(width):
                value = gain * source[c]
                upper[2 * c] = value
                upper[2 * c + 1] = value
            for c in range(2 * width):
                lower[c] = upper[c]

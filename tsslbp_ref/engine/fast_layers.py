"""Convolution and pooling in compiled loops: the fast twin of `reference_layers`.

A convolution is a product of its filters with the unfolded picture. It is enough to unfold along the rows: the k rows
that the kernel covers follow one another in memory, so that every row of the output finds its columns without a copy.
Pictures are taken a piece at a time, so that a piece stays in the second-level cache, and within a piece the picture's
number is the last axis, so that every copy is one long run. Nothing here returns to Python before the last piece:
threads that share a batch do not wait for each other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg.cython_blas  # noqa: F401 - compiled loops multiply with it; loaded now, so that its threads can be limited

from tsslbp_ref import checks
from tsslbp_ref.jit import add_product, compiled

Array = npt.NDArray[Any]

PIECE_BYTES = 1 << 20  # what a piece takes, unfolded or transformed: second-level caches have 512 KiB to 2 MiB
SMALL_PRODUCT = 10**6  # multiplications up to which OpenBLAS takes its operands as they lie, without packing them
FEW_PICTURES, ENOUGH_PICTURES = 8, 16  # a piece has at least so many: one vector register, and runs worth a call

# ---------------------------------------------------------------------------------------------------------------------
# Pictures: unfold and its adjoint, fold
# ---------------------------------------------------------------------------------------------------------------------


def unfold(pictures: Array, kernel_size: int, padding: int, rows: Array) -> None:
    """rows[y, c, j, x, m] = pictures[y-p, c, x+j-p, m], zero outside the picture.

    A convolution is a product with it: I[y, f, x, m] = sum_(i, c, j) W[f, (i, c, j)] rows[y+i, c, j, x, m]. Rows y to
    y+k-1 lie one after the other and are a matrix (k C k, W' M) as they are: the picture is copied k times, not k^2.

    Parameters
    ----------
    pictures : (H, C, W, M) array
    kernel_size, padding : int
    rows : (H + 2 p, C, k, W', M) array
        Written.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check_unfolded(pictures, kernel_size, padding, rows)
    _unfold_loop(pictures, kernel_size, padding, rows)


def fold(rows: Array, kernel_size: int, padding: int, pictures: Array) -> None:
    """pictures[y-p, c, x+j-p, m] = sum of rows[y, c, j, x, m] over all j, x that meet there: the adjoint of `unfold`.

    Parameters
    ----------
    rows : (H + 2 p, C, k, W', M) array
    kernel_size, padding : int
    pictures : (H, C, W, M) array
        Written.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check_unfolded(pictures, kernel_size, padding, rows)
    _fold_loop(rows, kernel_size, padding, pictures)


def _check_unfolded(pictures: Array, kernel_size: int, padding: int, rows: Array) -> None:
    """Raise unless rows have the shape of the unfolded pictures: the compiled loops look no more."""
    if pictures.ndim != 4:
        raise ValueError(f"pictures must have shape (H, C, W, M), got {pictures.shape}")
    H, C, W, M = pictures.shape
    width = W + 2 * padding - kernel_size + 1
    if min(kernel_size, H + 2 * padding - kernel_size + 1, width) < 1:
        raise ValueError(f"kernel_size must fit the padded pictures {pictures.shape}, got {kernel_size}")
    checks.same_shape("rows", rows, (H + 2 * padding, C, kernel_size, width, M), "the unfolded pictures")


@compiled
def _overlap(j: int, padding: int, W: int, width: int) -> tuple[int, int, int]:
    """Where a picture's row, moved by j - p, lies in an unfolded one: first and last + 1 place; and its own start."""
    left = max(0, padding - j)
    return left, min(width, W + padding - j), left + j - padding


@compiled
def _unfold_loop(pictures: Array, kernel_size: int, padding: int, rows: Array) -> None:
    H, C, W, M = pictures.shape
    width = W + 2 * padding - kernel_size + 1
    runs_in = pictures.reshape(H, C, W * M)
    runs_out = rows.reshape(H + 2 * padding, C, kernel_size, width * M)
    if padding > 0:
        runs_out[:] = 0.0
    for y in range(H):
        for c in range(C):
            for j in range(kernel_size):
                left, right, start = _overlap(j, padding, W, width)
                source = runs_in[y, c, start * M : (start + right - left) * M]
                target = runs_out[y + padding, c, j, left * M : right * M]
                for n in range(len(target)):
                    target[n] = source[n]


@compiled
def _fold_loop(rows: Array, kernel_size: int, padding: int, pictures: Array) -> None:
    H, C, W, M = pictures.shape
    width = W + 2 * padding - kernel_size + 1
    runs_in = rows.reshape(H + 2 * padding, C, kernel_size, width * M)
    runs_out = pictures.reshape(H, C, W * M)
    for y in range(H):
        for c in range(C):
            runs_out[y, c] = 0.0
            for j in range(kernel_size):
                left, right, start = _overlap(j, padding, W, width)
                source = runs_in[y + padding, c, j, left * M : right * M]
                target = runs_out[y, c, start * M : (start + right - left) * M]
                for n in range(len(target)):
                    target[n] += source[n]


@compiled
def _pictures_last(maps: Array, which: npt.NDArray[np.int64], last: Array) -> None:
    """last[y, c, x, m] = maps[which[m], c, y, x]: some pictures, their number as the last axis."""
    for y in range(len(last)):
        _row_last(maps, which, y, last[y])


@compiled
def _pictures_first(last: Array, which: npt.NDArray[np.int64], maps: Array) -> None:
    """maps[which[m], c, y, x] = last[y, c, x, m]: back again."""
    for y in range(len(last)):
        _row_first(last[y], which, y, maps)


@compiled
def _row_last(maps: Array, which: npt.NDArray[np.int64], y: int, last: Array) -> None:
    """last[c, x, m] = maps[which[m], c, y, x]: row y of some pictures."""
    C, W, M = last.shape
    for c in range(C):
        for x in range(W):
            row = last[c, x]
            for m in range(M):
                row[m] = maps[which[m], c, y, x]


@compiled
def _row_first(last: Array, which: npt.NDArray[np.int64], y: int, maps: Array) -> None:
    """maps[which[m], c, y, x] = last[c, x, m]: back again."""
    C, W, M = last.shape
    for c in range(C):
        for m in range(M):
            row = maps[which[m], c, y]
            for x in range(W):
                row[x] = last[c, x, m]


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
    """I[m, f, y, x] = sum_{i, c, j} W[f, (i, c, j)] pictures[m, c, y+i-p, x+j-p]    (F1).

    Parameters
    ----------
    pictures : (N, C, H, W) array
    filters : (F, k C k) array
    kernel_size, padding : int
    piece : int
        Pictures that are unfolded at once.
    I : (N, F, H', W') array
        Written.
    """
    N, C, H, W = pictures.shape
    _, F, height, width = I.shape
    live = live_pictures(pictures)
    if len(live) < N:
        I[:] = 0.0
    piece = min(piece, len(live))
    last_memory = np.empty(H * C * W * piece, I.dtype)
    rows_memory = np.empty((H + 2 * padding) * C * kernel_size * width * piece, I.dtype)
    product_memory = np.empty(F * width * piece, I.dtype)
    for start in range(0, len(live), piece):
        which = live[start : start + piece]
        M = len(which)
        last = last_memory[: H * C * W * M].reshape(H, C, W, M)
        rows = rows_memory[: (H + 2 * padding) * C * kernel_size * width * M].reshape(H + 2 * padding, -1, width * M)
        product = product_memory[: F * width * M].reshape(
            F, width * M
        )  # of a row of I: written out while it is in the cache
        _pictures_last(pictures, which, last)
        _unfold_loop(last, kernel_size, padding, rows.reshape(H + 2 * padding, C, kernel_size, width, M))
        for y in range(height):
            np.dot(filters, rows[y : y + kernel_size].reshape(-1, width * M), product)
            _row_first(product.reshape(F, width, M), which, y, I)


@compiled
def conv_adjoint(delta: Array, filters_turned: Array, kernel_size: int, padding: int, piece: int, g: Array) -> None:
    """g[m, c, y+i-p, x+j-p] = sum over f, i, j, y, x of W[f, (i, c, j)] delta[m, f, y, x]    (B3).

    Parameters
    ----------
    delta : (N, F, H', W') array
    filters_turned : (k C k, F) array
    kernel_size, padding, piece : int
    g : (N, C, H, W) array
        Written.
    """
    N, C, H, W = g.shape
    _, F, height, width = delta.shape
    piece = min(piece, N)
    delta_memory = np.empty(F * width * piece, g.dtype)
    rows_memory = np.empty((H + 2 * padding) * C * kernel_size * width * piece, g.dtype)
    last_memory = np.empty(H * C * W * piece, g.dtype)
    every = np.arange(N)
    for start in range(0, N, piece):
        which = every[start : start + piece]
        M = len(which)
        delta_row = delta_memory[: F * width * M].reshape(F, width, M)
        rows = rows_memory[: (H + 2 * padding) * C * kernel_size * width * M].reshape(H + 2 * padding, -1)
        last = last_memory[: H * C * W * M].reshape(H, C, W, M)
        rows[:] = 0.0
        for y in range(height):
            _row_last(delta, which, y, delta_row)
            columns = rows[y : y + kernel_size].reshape(-1, width * M)
            add_product(filters_turned, delta_row.reshape(F, width * M), columns)
        _fold_loop(rows.reshape(H + 2 * padding, C, kernel_size, width, M), kernel_size, padding, last)
        _pictures_first(last, which, g)


@compiled
def conv_weight_gradient(
    delta: Array, pictures: Array, kernel_size: int, padding: int, piece: int, dW_turned: Array
) -> None:
    """dL/dW[(i, c, j), f] = sum over m, y, x of pictures[m, c, y+i-p, x+j-p] delta[m, f, y, x]    (B1), turned.

    Turned, because BLAS takes the long axis of the unfolded pictures as it lies.

    Parameters
    ----------
    delta : (N, F, H', W') array
    pictures : (N, C, H, W) array
    kernel_size, padding, piece : int
    dW_turned : (k C k, F) array
        Added to.
    """
    _, C, H, W = pictures.shape
    _, F, height, width = delta.shape
    live = live_pictures(pictures)
    piece = min(piece, len(live))
    last_memory = np.empty(H * C * W * piece, delta.dtype)
    rows_memory = np.empty((H + 2 * padding) * C * kernel_size * width * piece, delta.dtype)
    delta_memory = np.empty(F * width * piece, delta.dtype)
    for start in range(0, len(live), piece):
        which = live[start : start + piece]
        M = len(which)
        last = last_memory[: H * C * W * M].reshape(H, C, W, M)
        rows = rows_memory[: (H + 2 * padding) * C * kernel_size * width * M].reshape(H + 2 * padding, -1, width * M)
        delta_row = delta_memory[: F * width * M].reshape(F, width, M)
        _pictures_last(pictures, which, last)
        _unfold_loop(last, kernel_size, padding, rows.reshape(H + 2 * padding, C, kernel_size, width, M))
        for y in range(height):
            _row_last(delta, which, y, delta_row)
            columns = rows[y : y + kernel_size].reshape(-1, width * M)
            add_product(columns, delta_row.reshape(F, width * M).T, dW_turned)


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

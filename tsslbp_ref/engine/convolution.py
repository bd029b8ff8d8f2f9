"""Convolution and pooling in compiled loops, for batches of images.

A convolution is a product of its filters with the columns that im2col makes of the image. Copying rows is enough: the k
rows that the kernel covers follow one another in memory, so that every row of the output finds its columns without a
copy. Images are taken a tile at a time, so that a tile stays in the second-level cache, and within a tile the image's
index is the last axis, so that every copy is one long run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.jit import compiled, gemm
from tsslbp_ref.model.layers import Conv2d, SumPool2d

Array = npt.NDArray[Any]

FLOAT32_BYTES = 4
TILE_BYTES = 1 << 20  # im2col's bytes of a tile: second-level caches have 512 KiB to 2 MiB
SMALL_PRODUCT = 10**6  # multiplications up to which OpenBLAS takes its operands as they lie, without packing them
FEW_IMAGES, ENOUGH_IMAGES = 8, 16  # a tile has at least so many: one vector register, and runs worth a call

# ---------------------------------------------------------------------------------------------------------------------
# What a layer asks for
# ---------------------------------------------------------------------------------------------------------------------


def forward(layer: Conv2d, x: Array, W: Array, I: Array) -> None:
    """Write I = W * x    (F1) of images (..., C, H, W)."""
    filters = np.ascontiguousarray(_by_rows(W))
    conv_forward(_images(x), filters, layer.kernel_size, layer.padding, _tile(layer), _images(I))


def adjoint(layer: Conv2d, delta: Array, W: Array, g: Array) -> None:
    """Write g = W^T delta    (B3)."""
    filters_transposed = np.ascontiguousarray(_by_rows(W).T)
    conv_adjoint(_images(delta), filters_transposed, layer.kernel_size, layer.padding, _tile(layer), _images(g))


def weight_gradient(layer: Conv2d, delta: Array, x: Array) -> Array:
    """Return dL/dW = sum delta x^T over images and positions    (B1)."""
    k, (C, _, _), F = layer.kernel_size, layer.input_shape, layer.n_filters
    dW_transposed = np.zeros((k * C * k, F), delta.dtype)
    conv_weight_gradient(_images(delta), _images(x), k, layer.padding, _tile_in_cache(layer), dW_transposed)
    return np.ascontiguousarray(dW_transposed.reshape(k, C, k, F).transpose(3, 1, 0, 2))


def pool(layer: SumPool2d, x: Array, y: Array) -> None:
    """Write y = gain times block sums of images (..., H, W)."""
    pool_forward(_feature_maps(x), layer.size, x.dtype.type(layer.gain), _feature_maps(y))


def pool_back(layer: SumPool2d, y: Array, x: Array) -> None:
    """Write x = gain times the gradient of its block, 0 where it fills none."""
    if any(n % layer.size for n in layer.input_shape[1:]):
        x[...] = 0.0  # rows and columns that fill no block
    pool_adjoint(_feature_maps(y), layer.size, y.dtype.type(layer.gain), _feature_maps(x))


def _by_rows(W: Array) -> Array:
    """Filters (F, C, k, k) as (F, k C k), the kernel's row first: the order of im2col's rows."""
    return W.transpose(0, 2, 1, 3).reshape(len(W), -1)


def _tile(layer: Conv2d) -> int:
    """Images whose product is taken at once: few, where that lets BLAS take its operands as they lie.

    Without it a step of W2 takes 13.9 % longer.
    """
    few = SMALL_PRODUCT // (layer.n_filters * layer.output_shape[2] * layer.fan_in)
    return min(few, _tile_in_cache(layer)) if few >= FEW_IMAGES else ENOUGH_IMAGES


def _tile_in_cache(layer: Conv2d) -> int:
    """Number of images whose im2col fits `TILE_BYTES`, and at least `ENOUGH_IMAGES`."""
    C, H, _ = layer.input_shape
    numbers = (H + 2 * layer.padding) * C * layer.kernel_size * layer.output_shape[2]
    return max(ENOUGH_IMAGES, TILE_BYTES // (numbers * FLOAT32_BYTES))


def _images(x: Array) -> Array:
    """(..., C, H, W), contiguous, as (M, C, H, W)."""
    return x.reshape(-1, *x.shape[-3:])


def _feature_maps(x: Array) -> Array:
    """(..., H, W), contiguous, as (M, H, W)."""
    return x.reshape(-1, *x.shape[-2:])


# ---------------------------------------------------------------------------------------------------------------------
# Images: im2col and its adjoint
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def _overlap(j: int, padding: int, W: int, width: int) -> tuple[int, int, int]:
    """left, right, start: columns [left, right) of im2col's row take an image's row from its column `start` on."""
    left = max(0, padding - j)
    return left, min(width, W + padding - j), left + j - padding


@compiled
def im2col(images: Array, kernel_size: int, padding: int, rows: Array) -> None:
    """rows[y, c, j, x, m] = images[y-p, c, x+j-p, m], zero outside the image.

    A convolution is a product with it: I[y, f, x, m] = sum_(i, c, j) W[f, (i, c, j)] rows[y+i, c, j, x, m]. Rows y to
    y+k-1 lie one after the other and are a matrix (k C k, W' M) as they are: the image is copied k times, not k^2.

    Parameters
    ----------
    images : (H, C, W, M) array
    kernel_size, padding : int
    rows : (H + 2 p, C, k, W', M) array
        Written.
    """
    H, C, W, M = images.shape
    width = W + 2 * padding - kernel_size + 1
    runs_in = images.reshape(H, C, W * M)
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
def col2im(rows: Array, kernel_size: int, padding: int, images: Array) -> None:
    """images[y-p, c, x+j-p, m] = sum of rows[y, c, j, x, m] over the j, x that read it: the adjoint of `im2col`.

    Parameters
    ----------
    rows : (H + 2 p, C, k, W', M) array
    kernel_size, padding : int
    images : (H, C, W, M) array
        Written.
    """
    H, C, W, M = images.shape
    width = W + 2 * padding - kernel_size + 1
    runs_in = rows.reshape(H + 2 * padding, C, kernel_size, width * M)
    runs_out = images.reshape(H, C, W * M)
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
def _images_last(images: Array, which: npt.NDArray[np.int64], last: Array) -> None:
    """last[y, c, x, m] = images[which[m], c, y, x]: some images, their index as the last axis."""
    for y in range(len(last)):
        _row_last(images, which, y, last[y])


@compiled
def _images_first(last: Array, which: npt.NDArray[np.int64], images: Array) -> None:
    """images[which[m], c, y, x] = last[y, c, x, m]: the inverse."""
    for y in range(len(last)):
        _row_first(last[y], which, y, images)


@compiled
def _row_last(images: Array, which: npt.NDArray[np.int64], y: int, last: Array) -> None:
    """last[c, x, m] = images[which[m], c, y, x]: row y of some images."""
    C, W, M = last.shape
    for c in range(C):
        for x in range(W):
            row = last[c, x]
            for m in range(M):
                row[m] = images[which[m], c, y, x]


@compiled
def _row_first(last: Array, which: npt.NDArray[np.int64], y: int, images: Array) -> None:
    """images[which[m], c, y, x] = last[c, x, m]: the inverse."""
    C, W, M = last.shape
    for c in range(C):
        for m in range(M):
            row = images[which[m], c, y]
            for x in range(W):
                row[x] = last[c, x, m]


@compiled
def active_images(images: Array) -> npt.NDArray[np.int64]:
    """Indices of the images that are not all 0, and of the last one: a filter that is not finite has to show in I.

    A silent image adds nothing to a convolution or to its dL/dW. A PSC is silent until the first spike. Without it a
    step of W2 takes 9.5 % longer.
    """
    N = len(images)
    flat = images.reshape(N, -1)
    active = np.empty(N, np.int64)
    count = 0
    for m in range(N):
        row = flat[m]
        some = m == N - 1
        for i in range(len(row)):
            if row[i] != 0:
                some = True
                break
        if some:
            active[count] = m
            count += 1
    return active[:count]


# ---------------------------------------------------------------------------------------------------------------------
# Convolution, tile by tile
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def conv_forward(images: Array, filters: Array, kernel_size: int, padding: int, tile: int, I: Array) -> None:
    """I[m, f, y, x] = sum_{i, c, j} W[f, (i, c, j)] images[m, c, y+i-p, x+j-p]    (F1).

    Parameters
    ----------
    images : (N, C, H, W) array
    filters : (F, k C k) array
    kernel_size, padding : int
    tile : int
        Number of images in one product.
    I : (N, F, H', W') array
        Written.
    """
    N, C, H, W = images.shape
    _, F, height, width = I.shape
    active = active_images(images)
    if len(active) < N:
        I[:] = 0.0
    tile = min(tile, len(active))
    last_memory = np.empty(H * C * W * tile, I.dtype)
    rows_memory = np.empty((H + 2 * padding) * C * kernel_size * width * tile, I.dtype)
    product_memory = np.empty(F * width * tile, I.dtype)
    for start in range(0, len(active), tile):
        which = active[start : start + tile]
        M = len(which)
        last = last_memory[: H * C * W * M].reshape(H, C, W, M)
        rows = rows_memory[: (H + 2 * padding) * C * kernel_size * width * M].reshape(H + 2 * padding, -1, width * M)
        product = product_memory[: F * width * M].reshape(F, width * M)  # of a row of I, written out from the cache
        _images_last(images, which, last)
        im2col(last, kernel_size, padding, rows.reshape(H + 2 * padding, C, kernel_size, width, M))
        for y in range(height):
            np.dot(filters, rows[y : y + kernel_size].reshape(-1, width * M), product)
            _row_first(product.reshape(F, width, M), which, y, I)


@compiled
def conv_adjoint(delta: Array, filters_transposed: Array, kernel_size: int, padding: int, tile: int, g: Array) -> None:
    """g[m, c, y+i-p, x+j-p] = sum over f, i, j, y, x of W[f, (i, c, j)] delta[m, f, y, x]    (B3).

    Parameters
    ----------
    delta : (N, F, H', W') array
    filters_transposed : (k C k, F) array
    kernel_size, padding, tile : int
    g : (N, C, H, W) array
        Written.
    """
    N, C, H, W = g.shape
    _, F, height, width = delta.shape
    tile = min(tile, N)
    delta_memory = np.empty(F * width * tile, g.dtype)
    rows_memory = np.empty((H + 2 * padding) * C * kernel_size * width * tile, g.dtype)
    last_memory = np.empty(H * C * W * tile, g.dtype)
    every = np.arange(N)
    for start in range(0, N, tile):
        which = every[start : start + tile]
        M = len(which)
        delta_row = delta_memory[: F * width * M].reshape(F, width, M)
        rows = rows_memory[: (H + 2 * padding) * C * kernel_size * width * M].reshape(H + 2 * padding, -1)
        last = last_memory[: H * C * W * M].reshape(H, C, W, M)
        rows[:] = 0.0
        for y in range(height):
            _row_last(delta, which, y, delta_row)
            columns = rows[y : y + kernel_size].reshape(-1, width * M)
            gemm(filters_transposed, delta_row.reshape(F, width * M), columns, accumulate=True)
        col2im(rows.reshape(H + 2 * padding, C, kernel_size, width, M), kernel_size, padding, last)
        _images_first(last, which, g)


@compiled
def conv_weight_gradient(
    delta: Array, images: Array, kernel_size: int, padding: int, tile: int, dW_transposed: Array
) -> None:
    """dL/dW[(i, c, j), f] = sum over m, y, x of images[m, c, y+i-p, x+j-p] delta[m, f, y, x]    (B1), transposed.

    Transposed, so that BLAS reads the long axis of im2col's rows without a copy.

    Parameters
    ----------
    delta : (N, F, H', W') array
    images : (N, C, H, W) array
    kernel_size, padding, tile : int
    dW_transposed : (k C k, F) array
        Added to.
    """
    _, C, H, W = images.shape
    _, F, height, width = delta.shape
    active = active_images(images)
    tile = min(tile, len(active))
    last_memory = np.empty(H * C * W * tile, delta.dtype)
    rows_memory = np.empty((H + 2 * padding) * C * kernel_size * width * tile, delta.dtype)
    delta_memory = np.empty(F * width * tile, delta.dtype)
    for start in range(0, len(active), tile):
        which = active[start : start + tile]
        M = len(which)
        last = last_memory[: H * C * W * M].reshape(H, C, W, M)
        rows = rows_memory[: (H + 2 * padding) * C * kernel_size * width * M].reshape(H + 2 * padding, -1, width * M)
        delta_row = delta_memory[: F * width * M].reshape(F, width, M)
        _images_last(images, which, last)
        im2col(last, kernel_size, padding, rows.reshape(H + 2 * padding, C, kernel_size, width, M))
        for y in range(height):
            _row_last(delta, which, y, delta_row)
            columns = rows[y : y + kernel_size].reshape(-1, width * M)
            gemm(columns, delta_row.reshape(F, width * M).T, dW_transposed, accumulate=True)


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
    """`pool_forward` for blocks of 2 x 2: both of a pair read at once. Without it a step of W2 takes 2.5 % longer."""
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

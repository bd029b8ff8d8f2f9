"""Convolution with 3 x 3 filters by a quarter of im2col's multiplications: Winograd's filtering, F(4 x 4, 3 x 3).

A polynomial of degree 5 is known by its values at six points, and the values of a product are products of values. So
four neighbouring outputs of a convolution in one dimension take 6 multiplications instead of 12, and 4 x 4 outputs in
two take 36 instead of 144. The outputs Y of a filter g over a tile d of 6 x 6 pixels are

    Y = A^T [(G g G^T) . (B^T d B)] A

where . multiplies entry by entry. The sum over channels goes inside the brackets: each of the 36 entries is a matrix
product over tiles, channels and filters. Y is linear in g; its transposed gives

    dL/dg = G^T [(A delta A^T) . (B^T d B)] G

and the adjoint is the convolution of delta with the filters turned round. In float32 rounding is up to ten times that
of im2col (tests/test_winograd.py). Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine.convolution import _images, active_images
from tsslbp_ref.jit import compiled, gemm
from tsslbp_ref.model.layers import Conv2d

Array = npt.NDArray[Any]

KERNEL, OUTPUTS, TILE = 3, 4, 6  # pixels of a filter, of a tile's outputs and of a tile, in each direction
POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2.0**0.5, -(2.0**0.5))  # and infinity; 1 and 2 round worse
FEWEST_CHANNELS = 32  # with fewer, on either side, im2col is as fast
COLUMNS = 128  # tiles in a product

# ---------------------------------------------------------------------------------------------------------------------
# What a layer asks for
# ---------------------------------------------------------------------------------------------------------------------


def serves(layer: Conv2d) -> bool:
    """Whether a layer has 3 x 3 filters, enough channels, and tiles that at least halve the multiplications.

    Without them a step of W4 takes 71.4 % longer.
    """
    C, (F, height, width) = layer.input_shape[0], layer.output_shape
    rows, columns, _ = _tiles(height, width)
    fewer = 2 * rows * columns * TILE**2 <= height * width * KERNEL**2
    return layer.kernel_size == KERNEL > layer.padding and min(C, F) >= FEWEST_CHANNELS and fewer


def forward(layer: Conv2d, x: Array, W: Array, I: Array) -> None:
    """Write I = W * x    (F1) of images (..., C, H, W)."""
    B_T, G, A = _matrices(I.dtype)
    U = _filters(W, G).swapaxes(2, 3)  # (6, 6, C, F)
    _convolve(_images(x), U, B_T, A, layer.padding, _images(I))


def adjoint(layer: Conv2d, delta: Array, W: Array, g: Array) -> None:
    """Write g = W^T delta    (B3)."""
    B_T, G, A = _matrices(g.dtype)
    turned = G[:, ::-1]  # which turns the filters
    _convolve(_images(delta), _filters(W, turned), B_T, A, KERNEL - 1 - layer.padding, _images(g))


def weight_gradient(layer: Conv2d, delta: Array, x: Array) -> Array:
    """Return dL/dW = sum delta x^T over images and positions    (B1)."""
    B_T, G, A = _matrices(delta.dtype)
    F, C = layer.n_filters, layer.input_shape[0]
    dU = np.zeros((TILE, TILE, F, C), delta.dtype)
    _add_products(_images(delta), _images(x), B_T, A, layer.padding, dU)
    return (dU.reshape(TILE**2, -1).T @ np.kron(G, G)).reshape(F, C, KERNEL, KERNEL)


def _matrices(dtype: npt.DTypeLike) -> tuple[Array, Array, Array]:
    """B^T (6, 6), G (6, 3) and A (6, 6): polynomials at the points, and Lagrange's way back.

    A has two columns of 0 behind the formula's four, so that all sums have six terms.
    """
    B_T, G, A = np.zeros((TILE, TILE)), np.zeros((TILE, KERNEL)), np.zeros((TILE, TILE))
    for i, point in enumerate(POINTS):
        lagrange = np.poly(np.delete(POINTS, i))  # is 0 at the other points
        B_T[i, : len(lagrange)] = lagrange[::-1]
        G[i] = point ** np.arange(KERNEL) / np.polyval(lagrange, point)
        A[i, :OUTPUTS] = point ** np.arange(OUTPUTS)
    B_T[-1] = np.poly(POINTS)[::-1]
    G[-1, -1] = A[-1, OUTPUTS - 1] = 1.0  # at infinity, the highest coefficient
    return B_T.astype(dtype), G.astype(dtype), A.astype(dtype)


def _filters(W: Array, G: Array) -> Array:
    """G g G^T of all filters, (6, 6, F, C)."""
    return (np.kron(G, G) @ W.reshape(-1, KERNEL**2).T).reshape(TILE, TILE, *W.shape[:2])


# ---------------------------------------------------------------------------------------------------------------------
# Products of tiles, some images at a time
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def _tiles(height: int, width: int) -> tuple[int, int, int]:
    """Rows and columns of tiles that cover the outputs, and the images whose tiles are taken at once."""
    rows, columns = (height + OUTPUTS - 1) // OUTPUTS, (width + OUTPUTS - 1) // OUTPUTS
    return rows, columns, max(1, COLUMNS // (rows * columns))


@compiled
def _convolve(images: Array, U: Array, B_T: Array, A: Array, padding: int, out: Array) -> None:
    """out = A^T [U . (B^T d B)] A, summed over the channels of the images.

    Parameters
    ----------
    images : (N, C, H, W) array
    U : (6, 6, C, F) array
        Filters.
    B_T, A : (6, 6) array
    padding : int
    out : (N, F, H', W') array
        Written.
    """
    N, C, _, _ = images.shape
    _, F, height, width = out.shape
    active = active_images(images)
    if len(active) < N:
        out[:] = 0.0
    rows, columns, at_once = _tiles(height, width)
    n_tiles, A_T = rows * columns, np.ascontiguousarray(A.T)
    pixels, V_memory = _memory(rows, columns, C, at_once, out)
    outputs, P_memory = _memory(rows, columns, F, at_once, out)
    for start in range(0, len(active), at_once):
        which = active[start : start + at_once]
        n = len(which) * n_tiles
        V = V_memory[: TILE * TILE * n * C].reshape(TILE, TILE, n, C)
        P = P_memory[: TILE * TILE * n * F].reshape(TILE, n, TILE, F)
        for m in range(len(which)):
            _channels_last(images[which[m]], padding, pixels)
            _transform(B_T, pixels, rows, columns, m * n_tiles, V)
        for i in range(TILE):
            for j in range(TILE):
                gemm(V[i, j], U[i, j], P[i, :, j])
        for m in range(len(which)):
            _transform_back(A_T, P, rows, columns, m * n_tiles, outputs)
            _channels_first(outputs, out[which[m]])


@compiled
def _add_products(delta: Array, images: Array, B_T: Array, A: Array, padding: int, dU: Array) -> None:
    """dU += (A delta A^T) . (B^T d B), summed over images and tiles.

    Parameters
    ----------
    delta : (N, F, H', W') array
    images : (N, C, H, W) array
    B_T, A : (6, 6) array
    padding : int
    dU : (6, 6, F, C) array
        Added to.
    """
    C, (_, F, height, width) = images.shape[1], delta.shape
    active = active_images(images)
    rows, columns, at_once = _tiles(height, width)
    n_tiles = rows * columns
    pixels, V_memory = _memory(rows, columns, C, at_once, delta)
    delta_last, D_memory = _memory(rows, columns, F, at_once, delta)
    for start in range(0, len(active), at_once):
        which = active[start : start + at_once]
        n = len(which) * n_tiles
        V = V_memory[: TILE * TILE * n * C].reshape(TILE, TILE, n, C)
        D = D_memory[: TILE * TILE * n * F].reshape(TILE, TILE, n, F)
        for m in range(len(which)):
            _channels_last(images[which[m]], padding, pixels)
            _transform(B_T, pixels, rows, columns, m * n_tiles, V)
            _channels_last(delta[which[m]], 0, delta_last)
            _transform(A, delta_last, rows, columns, m * n_tiles, D)
        for i in range(TILE):
            for j in range(TILE):
                gemm(D[i, j].T, V[i, j], dU[i, j], accumulate=True)


@compiled
def _memory(rows: int, columns: int, C: int, at_once: int, like: Array) -> tuple[Array, Array]:
    """Memory of an image (H, W, C) that the tiles fill, 0 at first, and of the tiles' 36 entries."""
    image = np.zeros((OUTPUTS * rows + KERNEL - 1, OUTPUTS * columns + KERNEL - 1, C), like.dtype)
    return image, np.empty(TILE * TILE * at_once * rows * columns * C, like.dtype)


# ---------------------------------------------------------------------------------------------------------------------
# One image: its channels last, so that every sum is one long run
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def _transform(M: Array, image: Array, rows: int, columns: int, first: int, V: Array) -> None:
    """V[:, :, first + tile] = M d M^T of each tile d (6, 6) of an image (H, W, C)."""
    t = np.empty(image.shape[1:], image.dtype)
    for r in range(rows):
        d = image[OUTPUTS * r : OUTPUTS * r + TILE].reshape(TILE, -1)
        for i in range(TILE):
            _sum_of_six(M[i], d, t.reshape(-1))
            for j in range(TILE):
                for k in range(columns):
                    d_row = t[OUTPUTS * k : OUTPUTS * k + TILE]
                    _sum_of_six(M[j], d_row, V[i, j, first + r * columns + k])


@compiled
def _transform_back(A_T: Array, P: Array, rows: int, columns: int, first: int, Y: Array) -> None:
    """Y of each tile = A^T P[:, first + tile] A, Y an image (H, W, F)."""
    t = np.empty((OUTPUTS, TILE, P.shape[3]), P.dtype)
    for r in range(rows):
        for k in range(columns):
            for i in range(TILE):
                for b in range(OUTPUTS):
                    _sum_of_six(A_T[b], P[i, first + r * columns + k], t[b, i])
            for a in range(OUTPUTS):
                for b in range(OUTPUTS):
                    _sum_of_six(A_T[a], t[b], Y[OUTPUTS * r + a, OUTPUTS * k + b])


@compiled
def _sum_of_six(w: Array, rows: Array, out: Array) -> None:
    """out = sum_k w[k] rows[k]."""
    a, b, c, d, e, f = w[0], w[1], w[2], w[3], w[4], w[5]
    for n in range(len(out)):
        out[n] = a * rows[0, n] + b * rows[1, n] + c * rows[2, n] + d * rows[3, n] + e * rows[4, n] + f * rows[5, n]


@compiled
def _channels_last(image: Array, padding: int, last: Array) -> None:
    """last[y + padding, x + padding, c] = image[c, y, x]."""
    C, H, W = image.shape
    for y in range(H):
        for c in range(C):
            row = image[c, y]
            for x in range(W):
                last[y + padding, x + padding, c] = row[x]


@compiled
def _channels_first(last: Array, image: Array) -> None:
    """image[c, y, x] = last[y, x, c]."""
    C, H, W = image.shape
    for y in range(H):
        for c in range(C):
            row = image[c, y]
            for x in range(W):
                row[x] = last[y, x, c]

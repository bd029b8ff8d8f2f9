"""The linear maps between layers by their definitions: nested loops over images, channels, positions, kernel entries.

Slow on purpose, as `reference` is for the neurons. `layers` does the same with products of whole arrays; the checks
hold the two equal. Convolutions have stride 1 and zero padding. Each function raises ``ValueError`` or ``TypeError`` if
an argument is not finite, is not of its kind, or does not fit the others; the error names it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks

Array = npt.NDArray[Any]


def dense_forward(x: npt.ArrayLike, W: npt.ArrayLike) -> Array:
    """I[m, o] = sum_i W[o, i] a[m, i]    (F1).

    Parameters
    ----------
    x : (M, n) array_like
        PSCs.
    W : (N, n) array_like

    Returns
    -------
    (M, N) array

    Examples
    --------
    >>> dense_forward([[1.0, 2.0]], [[10.0, 1.0]])
    array([[12.]])
    """
    x, W = checks.finite_array("x", x, ndim=2), checks.finite_array("W", W, ndim=2)
    checks.same_shape("x", x, (len(x), W.shape[1]), "W")
    I = np.zeros((len(x), len(W)), dtype=x.dtype)
    for m, o in np.ndindex(*I.shape):
        for i in range(W.shape[1]):
            I[m, o] += W[o, i] * x[m, i]
    return I


def dense_adjoint(delta: npt.ArrayLike, W: npt.ArrayLike) -> Array:
    """g[m, i] = sum_o W[o, i] delta[m, o]: the adjoint in a    (B3).

    Parameters
    ----------
    delta : (M, N) array_like
        Gradient with respect to the weighted input.
    W : (N, n) array_like

    Returns
    -------
    (M, n) array

    Examples
    --------
    >>> dense_adjoint([[3.0]], [[10.0, 1.0]])
    array([[30.,  3.]])
    """
    delta, W = checks.finite_array("delta", delta, ndim=2), checks.finite_array("W", W, ndim=2)
    checks.same_shape("delta", delta, (len(delta), len(W)), "W")
    g = np.zeros((len(delta), W.shape[1]), dtype=delta.dtype)
    for m, i in np.ndindex(*g.shape):
        for o in range(len(W)):
            g[m, i] += W[o, i] * delta[m, o]
    return g


def dense_weight_gradient(delta: npt.ArrayLike, x: npt.ArrayLike) -> Array:
    """dL/dW[o, i] = sum_m delta[m, o] a[m, i]    (B1).

    Parameters
    ----------
    delta : (M, N) array_like
        Gradient with respect to the weighted input.
    x : (M, n) array_like
        PSCs.

    Returns
    -------
    (N, n) array

    Examples
    --------
    >>> dense_weight_gradient([[3.0]], [[1.0, 2.0]])
    array([[3., 6.]])
    """
    delta, x = checks.finite_array("delta", delta, ndim=2), checks.finite_array("x", x, ndim=2)
    checks.same_shape("x", x, (len(delta), x.shape[1]), "delta")
    dW = np.zeros((delta.shape[1], x.shape[1]), dtype=delta.dtype)
    for o, i in np.ndindex(*dW.shape):
        for m in range(len(delta)):
            dW[o, i] += delta[m, o] * x[m, i]
    return dW


def conv2d_forward(x: npt.ArrayLike, W: npt.ArrayLike, padding: int) -> Array:
    """I[m, f, y, x] = sum_{c, i, j} W[f, c, i, j] a[m, c, y+i-p, x+j-p], a being 0 outside the image    (F1).

    Parameters
    ----------
    x : (M, C, H, W) array_like
        Images of PSCs.
    W : (F, C, k, k) array_like
        Filters.
    padding : int
        p, at least 0.

    Returns
    -------
    (M, F, H + 2p - k + 1, W + 2p - k + 1) array

    Notes
    -----
    Source: the definition of a convolution layer (a correlation, as is the custom).

    Examples
    --------
    >>> conv2d_forward([[[[1.0, 2.0], [3.0, 4.0]]]], np.ones((1, 1, 2, 2)), padding=0)
    array([[[[10.]]]])
    """
    x, W = _checked("x", x, W, axis=1)
    padding = checks.positive_integer("padding", padding, minimum=0)
    I = np.zeros((len(x), len(W), *_output_size(x.shape[2:], W, padding)), dtype=x.dtype)
    for m, f, c, y_out, x_out, i, j in _terms(I.shape, x.shape, W, padding):
        I[m, f, y_out, x_out] += W[f, c, i, j] * x[m, c, y_out + i - padding, x_out + j - padding]
    return I


def conv2d_adjoint(delta: npt.ArrayLike, W: npt.ArrayLike, padding: int, image_size: tuple[int, int]) -> Array:
    """g[m, c, y+i-p, x+j-p] += W[f, c, i, j] delta[m, f, y, x] over all f, i, j, y, x: the adjoint in a    (B3).

    Parameters
    ----------
    delta : (M, F, H', W') array_like
        Gradient with respect to the weighted input.
    W : (F, C, k, k) array_like
    padding : int
    image_size : (int, int)
        H and W of the image that the convolution saw.

    Returns
    -------
    (M, C, H, W) array

    Examples
    --------
    >>> conv2d_adjoint([[[[3.0]]]], [[[[1.0, 2.0], [3.0, 4.0]]]], padding=0, image_size=(2, 2))
    array([[[[ 3.,  6.],
             [ 9., 12.]]]])
    """
    delta, W = _checked("delta", delta, W, axis=0)
    padding = checks.positive_integer("padding", padding, minimum=0)
    checks.same_shape("delta", delta[0, 0], _output_size(image_size, W, padding), "image_size")
    g = np.zeros((len(delta), W.shape[1], *image_size), dtype=delta.dtype)
    for m, f, c, y_out, x_out, i, j in _terms(delta.shape, g.shape, W, padding):
        g[m, c, y_out + i - padding, x_out + j - padding] += W[f, c, i, j] * delta[m, f, y_out, x_out]
    return g


def conv2d_weight_gradient(delta: npt.ArrayLike, x: npt.ArrayLike, padding: int) -> Array:
    """dL/dW[f, c, i, j] = sum_{m, y, x} delta[m, f, y, x] a[m, c, y+i-p, x+j-p]    (B1).

    Parameters
    ----------
    delta : (M, F, H', W') array_like
        Gradient with respect to the weighted input.
    x : (M, C, H, W) array_like
        Images of PSCs.
    padding : int

    Returns
    -------
    (F, C, k, k) array
        k = H + 2p - H' + 1.

    Examples
    --------
    >>> conv2d_weight_gradient([[[[3.0]]]], [[[[1.0, 2.0], [3.0, 4.0]]]], padding=0)
    array([[[[ 3.,  6.],
             [ 9., 12.]]]])
    """
    delta = checks.finite_array("delta", delta, ndim=4)
    x = checks.finite_array("x", x, ndim=4)
    padding = checks.positive_integer("padding", padding, minimum=0)
    checks.same_shape("x", x, (len(delta), *x.shape[1:]), "delta")
    kernel_size = x.shape[2] + 2 * padding - delta.shape[2] + 1
    if kernel_size < 1:
        raise ValueError(f"delta must fit x with padding {padding}, got shapes {delta.shape} and {x.shape}")
    dW = np.zeros((delta.shape[1], x.shape[1], kernel_size, kernel_size), dtype=delta.dtype)
    checks.same_shape("delta", delta[0, 0], _output_size(x.shape[2:], dW, padding), "x")
    for m, f, c, y_out, x_out, i, j in _terms(delta.shape, x.shape, dW, padding):
        dW[f, c, i, j] += delta[m, f, y_out, x_out] * x[m, c, y_out + i - padding, x_out + j - padding]
    return dW


# ---------------------------------------------------------------------------------------------------------------------
# Maps without weights
# ---------------------------------------------------------------------------------------------------------------------


def sum_pool2d_forward(x: npt.ArrayLike, size: int, gain: float) -> Array:
    """y[m, c, r, q] = gain sum_{i, j} x[m, c, r size + i, q size + j], i and j from 0 to size - 1.

    Parameters
    ----------
    x : (M, C, H, W) array_like
        Images of PSCs. Rows and columns that fill no block are left out.
    size : int
    gain : float

    Returns
    -------
    (M, C, H // size, W // size) array

    Notes
    -----
    Source: the released code, with size 2 and gain 1.1.

    Examples
    --------
    >>> sum_pool2d_forward([[[[1.0, 2.0], [3.0, 4.0]]]], size=2, gain=1.1)
    array([[[[11.]]]])
    """
    x = checks.finite_array("x", x, ndim=4)
    gain = checks.real_number("gain", gain)
    y = np.zeros((*x.shape[:2], *_pooled_size(x.shape[2:], size)), dtype=x.dtype)
    for m, c, r, q in np.ndindex(*y.shape):
        for i, j in np.ndindex(size, size):
            y[m, c, r, q] += gain * x[m, c, r * size + i, q * size + j]
    return y


def sum_pool2d_adjoint(y: npt.ArrayLike, size: int, gain: float, image_size: tuple[int, int]) -> Array:
    """x[m, c, r size + i, q size + j] = gain y[m, c, r, q] for every i, j of a block; 0 outside the blocks.

    Parameters
    ----------
    y : (M, C, H // size, W // size) array_like
        Gradient with respect to the pooled PSC.
    size : int
    gain : float
    image_size : (int, int)
        H, W.

    Returns
    -------
    (M, C, H, W) array

    Examples
    --------
    >>> sum_pool2d_adjoint([[[[2.0]]]], size=2, gain=0.5, image_size=(2, 3))
    array([[[[1., 1., 0.],
             [1., 1., 0.]]]])
    """
    y = checks.finite_array("y", y, ndim=4)
    gain = checks.real_number("gain", gain)
    checks.same_shape("y", y, (*y.shape[:2], *_pooled_size(image_size, size)), "image_size")
    x = np.zeros((*y.shape[:2], *image_size), dtype=y.dtype)
    for m, c, r, q in np.ndindex(*y.shape):
        for i, j in np.ndindex(size, size):
            x[m, c, r * size + i, q * size + j] += gain * y[m, c, r, q]
    return x


def dropout(x: npt.ArrayLike, mask: npt.ArrayLike) -> Array:
    """y[t, m, i] = mask[m, i] x[t, m, i]: one mask for all time steps; the map is its own adjoint.

    Parameters
    ----------
    x : (T, M, N) array_like
        PSCs, or gradients with respect to the dropped PSCs.
    mask : (M, N) array_like
        0, or 1 / (1 - rate) where a value is kept.

    Returns
    -------
    (T, M, N) array

    Notes
    -----
    Source: the released code, which draws one mask for all steps.

    Examples
    --------
    >>> dropout(np.ones((2, 1, 3)), [[2.0, 0.0, 2.0]])[:, 0]
    array([[2., 0., 2.],
           [2., 0., 2.]])
    """
    x = checks.finite_array("x", x, ndim=3)
    mask = checks.finite_array("mask", mask, ndim=2)
    checks.same_shape("mask", mask, x.shape[1:], "x")
    y = np.zeros_like(x)
    for t, m, i in np.ndindex(*x.shape):
        y[t, m, i] = mask[m, i] * x[t, m, i]
    return y


def flatten(x: npt.ArrayLike) -> Array:
    """y[m, (c H + r) W + q] = x[m, c, r, q]: channel first, then row, then column.

    Parameters
    ----------
    x : (M, C, H, W) array_like

    Returns
    -------
    (M, C H W) array

    Examples
    --------
    >>> flatten([[[[1.0, 2.0], [3.0, 4.0]]]])
    array([[1., 2., 3., 4.]])
    """
    x = checks.finite_array("x", x, ndim=4)
    M, C, H, W = x.shape
    y = np.zeros((M, C * H * W), dtype=x.dtype)
    for m, c, r, q in np.ndindex(*x.shape):
        y[m, (c * H + r) * W + q] = x[m, c, r, q]
    return y


# ---------------------------------------------------------------------------------------------------------------------
# Arguments and indices
# ---------------------------------------------------------------------------------------------------------------------


def _pooled_size(image_size: tuple[int, ...], size: int) -> tuple[int, int]:
    """(H // size, W // size), at least one block."""
    size = checks.positive_integer("size", size)
    height, width = (extent // size for extent in image_size)
    if min(height, width) < 1:
        raise ValueError(f"size must be at most the image's {image_size}, got {size}")
    return height, width


def _checked(name: str, images: npt.ArrayLike, W: npt.ArrayLike, *, axis: int) -> tuple[Array, Array]:
    """Return images and filters as finite arrays whose channels fit: W's `axis` counts the images' channels."""
    images = checks.finite_array(name, images, ndim=4)
    W = checks.finite_array("W", W, ndim=4)
    if W.shape[2] != W.shape[3]:
        raise ValueError(f"W must have square filters (F, C, k, k), got shape {W.shape}")
    if images.shape[1] != W.shape[axis]:
        raise ValueError(f"{name} must have {W.shape[axis]} channels to match W, got {images.shape[1]}")
    return images, W


def _output_size(image_size: tuple[int, ...], W: Array, padding: int) -> tuple[int, int]:
    """H' = H + 2p - k + 1, and likewise the width."""
    height, width = (size + 2 * padding - W.shape[2] + 1 for size in image_size)
    if min(height, width) < 1:
        fits = f"an image {image_size} with padding {padding}"
        raise ValueError(f"W must have filters that fit {fits}, got size {W.shape[2]}")
    return height, width


def _terms(
    output_shape: tuple[int, ...], image_shape: tuple[int, ...], W: Array, padding: int
) -> Iterator[tuple[int, int, int, int, int, int, int]]:
    """Every (m, f, c, y, x, i, j) whose product exists: position (y+i-p, x+j-p) lies inside the image."""
    M, F, height, width = output_shape
    _, C, H, W_image = image_shape
    for m, f, c in np.ndindex(M, F, C):
        for y_out, x_out in np.ndindex(height, width):
            for i, j in np.ndindex(*W.shape[2:]):
                if 0 <= y_out + i - padding < H and 0 <= x_out + j - padding < W_image:
                    yield m, f, c, y_out, x_out, i, j

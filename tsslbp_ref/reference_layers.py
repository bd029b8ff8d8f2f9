"""The convolution as its definition reads: nested loops over pictures, filters, positions and kernel entries.

Slow on purpose, as `reference` is for the neurons. `layers.Conv2d` does the same by unfolding; the checks hold the two
equal. Stride 1, zero padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks

Array = npt.NDArray[Any]


def conv2d_forward(x: npt.ArrayLike, W: npt.ArrayLike, padding: int) -> Array:
    """I[m, f, y, x] = sum_{c, i, j} W[f, c, i, j] a[m, c, y+i-p, x+j-p], a being 0 outside the picture    (F1).

    Parameters
    ----------
    x : (M, C, H, W) array_like
        Pictures of PSCs.
    W : (F, C, k, k) array_like
        Filters.
    padding : int
        p, at least 0.

    Returns
    -------
    (M, F, H + 2p - k + 1, W + 2p - k + 1) array

    Raises
    ------
    ValueError, TypeError
        If an argument is not finite, or shapes do not fit.

    Notes
    -----
    Source: the definition of a convolution layer (a correlation, as is the custom).
    """
    x, W = _checked("x", x, W, axis=1)
    padding = checks.positive_integer("padding", padding, minimum=0)
    I = np.zeros((len(x), len(W), *_output_size(x.shape[2:], W, padding)), dtype=x.dtype)
    for m, f, c, y_out, x_out, i, j in _terms(I.shape, x.shape, W, padding):
        I[m, f, y_out, x_out] += W[f, c, i, j] * x[m, c, y_out + i - padding, x_out + j - padding]
    return I


def conv2d_adjoint(delta: npt.ArrayLike, W: npt.ArrayLike, padding: int, picture_size: tuple[int, int]) -> Array:
    """g[m, c, y+i-p, x+j-p] += W[f, c, i, j] delta[m, f, y, x] over all f, i, j, y, x: the adjoint in a    (B3).

    Parameters
    ----------
    delta : (M, F, H', W') array_like
        Gradient with respect to the weighted input.
    W : (F, C, k, k) array_like
    padding : int
    picture_size : (int, int)
        H and W of the picture that the convolution saw.

    Returns
    -------
    (M, C, H, W) array

    Raises
    ------
    ValueError, TypeError
        If an argument is not finite, or shapes do not fit.
    """
    delta, W = _checked("delta", delta, W, axis=0)
    padding = checks.positive_integer("padding", padding, minimum=0)
    checks.same_shape("delta", delta[0, 0], _output_size(picture_size, W, padding), "picture_size")
    g = np.zeros((len(delta), W.shape[1], *picture_size), dtype=delta.dtype)
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
        Pictures of PSCs.
    padding : int

    Returns
    -------
    (F, C, k, k) array
        k = H + 2p - H' + 1.

    Raises
    ------
    ValueError, TypeError
        If an argument is not finite, or shapes do not fit.
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


def _checked(name: str, pictures: npt.ArrayLike, W: npt.ArrayLike, *, axis: int) -> tuple[Array, Array]:
    """Return pictures and filters as finite arrays whose channels fit: W's `axis` counts the pictures' channels."""
    pictures = checks.finite_array(name, pictures, ndim=4)
    W = checks.finite_array("W", W, ndim=4)
    if W.shape[2] != W.shape[3]:
        raise ValueError(f"W must have square filters (F, C, k, k), got shape {W.shape}")
    if pictures.shape[1] != W.shape[axis]:
        raise ValueError(f"{name} must have {W.shape[axis]} channels to match W, got {pictures.shape[1]}")
    return pictures, W


def _output_size(picture_size: tuple[int, ...], W: Array, padding: int) -> tuple[int, int]:
    """H' = H + 2p - k + 1, and likewise the width."""
    height, width = (size + 2 * padding - W.shape[2] + 1 for size in picture_size)
    if min(height, width) < 1:
        raise ValueError(f"a filter of size {W.shape[2]} does not fit a picture {picture_size} with padding {padding}")
    return height, width


def _terms(
    output_shape: tuple[int, ...], picture_shape: tuple[int, ...], W: Array, padding: int
) -> Iterator[tuple[int, int, int, int, int, int, int]]:
    """Every (m, f, c, y, x, i, j) whose product exists: position (y+i-p, x+j-p) lies inside the picture."""
    M, F, height, width = output_shape
    _, C, H, W_picture = picture_shape
    for m, f, c in np.ndindex(M, F, C):
        for y_out, x_out in np.ndindex(height, width):
            for i, j in np.ndindex(*W.shape[2:]):
                if 0 <= y_out + i - padding < H and 0 <= x_out + j - padding < W_picture:
                    yield m, f, c, y_out, x_out, i, j

"""Checks of what a layer is given: the sizes that make it, and the arrays of a call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks

if TYPE_CHECKING:
    from tsslbp_ref.model.layers import Conv2d, Dense

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

MOST_AXES = 62  # of one sample: an array has up to 64, two of them for steps and batch


def checked_sizes(input_shape: Sequence[int], n_axes: int | None = None) -> Shape:
    """Return the shape of a layer's input as a tuple of sizes from 1 on, (C, H, W) if `n_axes` is 3."""
    sizes = tuple(checks.axis_size("input_shape", size) for size in checks.listed("input_shape", input_shape))
    if not 0 < len(sizes) <= MOST_AXES or n_axes not in (None, len(sizes)):
        raise ValueError(
            f"input_shape must be {'(C, H, W)' if n_axes else f'1 to {MOST_AXES} sizes'}, got {checks.shown(sizes)}"
        )
    return sizes


def check_memory(layer: Dense | Conv2d) -> None:
    """Raise where a layer's weights, or one sample's output, fit into no memory."""
    if max(math.prod(layer.weight_shape), math.prod(layer.output_shape)) > checks.LARGEST_SIZE:
        raise ValueError(
            f"a layer must have at most {checks.LARGEST_SIZE} weights and outputs, got {checks.shown(layer)}"
        )


def checked_ending(name: str, array: Array, shape: Shape) -> Array:
    """Return the array as floats if its last axes are those of the shape."""
    array = _floats(name, array)
    if array.shape[array.ndim - len(shape) :] != shape:
        raise ValueError(f"{name} must have the last axes {shape}, got shape {array.shape}")
    return array


def leading_axes(array: Array, shape: Shape) -> Shape:
    """Return the axes before the last ones, of the given shape."""
    return array.shape[: array.ndim - len(shape)]


def checked_weights(layer: Dense | Conv2d, parameter: Array | None) -> Array:
    """Return the parameter of a map that has weights."""
    if not isinstance(parameter, np.ndarray):
        raise TypeError(f"parameter must be the array of the layer's weights, got {type(parameter).__name__}")
    parameter = _floats("parameter", parameter)
    checks.same_shape("parameter", parameter, layer.weight_shape, "the layer's weights")
    return parameter


def checked_pair(layer: Dense | Conv2d, delta: Array, x: Array) -> tuple[Array, Array]:
    """Return delta and x as floats if they lie behind and before the map, with the same leading axes."""
    delta, x = checked_ending("delta", delta, layer.output_shape), checked_ending("x", x, layer.input_shape)
    leading, x_leading = leading_axes(delta, layer.output_shape), leading_axes(x, layer.input_shape)
    if x_leading != leading:
        raise ValueError(f"x must have the first axes of delta, {leading}, got {x_leading}")
    return delta, x


def checked_mask(parameter: Any, x: Array) -> Array:
    """Return the mask of a dropout layer as floats if it fits x."""
    if not isinstance(parameter, np.ndarray):
        raise TypeError(f"parameter must be a mask, an array, or None, got {type(parameter).__name__}")
    mask = _floats("parameter", parameter)
    if not _broadcasts(mask.shape, x.shape):
        raise ValueError(f"parameter must be a mask that fits x of shape {x.shape}, got shape {mask.shape}")
    return mask


def _broadcasts(shape: Shape, to: Shape) -> bool:
    """Say whether an array of the one shape is spread over one of the other, without making that larger."""
    if len(shape) > len(to):
        return False
    last = to[len(to) - len(shape) :]
    return shape == last or all(n in (1, size) for n, size in zip(shape, last, strict=True))


def _floats(name: str, array: Any) -> Array:
    """Return an array of float32 or float64 numbers in this machine's byte order as it is, other real ones as such.

    Raises
    ------
    ValueError, TypeError
        If it is no array of real numbers, is a matrix, whose products differ, or has masked values.
    """
    if type(array) is np.ndarray and array.dtype.name in checks.FLOAT_NAMES and array.dtype.isnative:
        return array
    if not isinstance(array, np.ndarray) or isinstance(array, np.matrix):
        raise TypeError(f"{name} must be an array, got {type(array).__name__}")
    numbers = checks.real_array(name, array)
    return numbers if numbers.dtype.name in checks.FLOAT_NAMES else checks.converted(numbers, np.float64)

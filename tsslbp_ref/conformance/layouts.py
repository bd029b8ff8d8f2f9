"""The order of axes in which other codes keep what runs over time, and what is said of an array in another order."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

AXES = {
    "TBN": "(T, B, N): steps, batch, neurons",
    "BNT": "(B, N, T): batch, neurons, steps",
    "BCHWT": "(B, C, H, W, T): batch, channels, height, width, steps",
}
LAYOUTS = tuple(AXES)


def checked_layout(layout: Any) -> str:
    """Return the layout if it is one of `LAYOUTS`."""
    return str(checks.one_of("layout", layout, LAYOUTS))


def to_layout(array: Array, sample: Shape, layout: str) -> Array:
    """A (T, B, N) array in a layout; N counts an image channel first, and H = W = 1 where there is no image."""
    if layout == "TBN":
        return array
    if layout == "BNT":
        return np.ascontiguousarray(np.moveaxis(array, 0, -1))
    image = array.reshape(*array.shape[:2], *_as_image(sample))
    return np.ascontiguousarray(np.moveaxis(image, 0, -1))


def from_layout(name: str, array: Array, shape: Shape, sample: Shape, layout: str) -> Array:
    """The array of a layout as (T, B, N).

    Raises
    ------
    ValueError
        If its axes are not those of the layout, or not of the sizes that `shape`, (T, B, N), asks for.
    """
    wanted = to_layout(np.empty(shape, bool), sample, layout).shape
    if array.ndim != len(wanted):
        raise ValueError(f"{name} must be {AXES[layout]}; got {array.ndim} axes, shape {array.shape}")
    if array.shape != wanted:
        raise ValueError(f"{name} must be {AXES[layout]} = {wanted}, got {array.shape}{_hint(array.shape, shape)}")
    back = array if layout == "TBN" else np.moveaxis(array, -1, 0)
    return np.ascontiguousarray(back).reshape(shape)


def _as_image(sample: Shape) -> Shape:
    return sample if len(sample) == 3 else (*sample, 1, 1)


def _hint(found: Shape, shape: Shape) -> str:
    """What an array of the right sizes in the wrong order is."""
    for order in itertools.permutations(range(3)):
        if found == tuple(shape[axis] for axis in order):
            letters = "".join("TBN"[axis] for axis in order)
            return f", the order {letters}" + (f": --layout {letters} reads it" if letters in AXES else "")
    return ""

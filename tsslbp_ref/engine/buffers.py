"""Where a pass through the network writes: new arrays, or arrays kept from one mini-batch to the next.

A large array that is made anew comes in fresh memory pages, and the operating system's work on them can cost more than
the sweep that fills them. So the arrays of a training step are kept, unless they are handed to the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Shape = tuple[int, ...]
Kept = TypeVar("Kept")

CACHE_LINE_BYTES = 64  # on x86 and most ARM processors


def aligned(shape: Shape, dtype: npt.DTypeLike) -> Array:
    """Return an array of any content that starts with a cache line, so that a sweep's vectors do not lie across two."""
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(n_bytes + CACHE_LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE_BYTES
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


class Arrays(Protocol):
    """Where arrays come from."""

    def take(self, key: Hashable, shape: Shape, dtype: npt.DTypeLike) -> Array:
        """Return an array of any content; a key is taken once in a pass."""


class NewArrays:
    """A new array every time."""

    def take(self, key: Hashable, shape: Shape, dtype: npt.DTypeLike) -> Array:
        """Return a new array."""
        return np.empty(shape, dtype)


class KeptArrays:
    """The memory of the last pass, as long as it is large enough."""

    def __init__(self) -> None:
        self._flat: dict[Hashable, Array] = {}
        self._last: tuple[Hashable, Any] = (None, None)

    def take(self, key: Hashable, shape: Shape, dtype: npt.DTypeLike) -> Array:
        """Return the start of what this key had last time if it fits, else a new array in its place."""
        size = math.prod(shape)
        flat = self._flat.get(key)
        if flat is None or flat.size < size or flat.dtype != dtype:
            self._flat.pop(key, None)  # the old one goes before the new one comes
            self._flat[key] = flat = aligned((size,), dtype)
        return flat[:size].reshape(shape)

    def laid_out(self, key: Hashable, lay_out: Callable[[KeptArrays], Kept]) -> Kept:
        """Return what was laid out for the same key last time, and else lay it out: arrays of this memory, as one.

        Views of some tens of arrays, made anew, are felt in a step of some milliseconds.
        """
        if self._last[0] != key:
            self._last = (key, lay_out(self))
        kept: Kept = self._last[1]
        return kept


class Shelf:
    """Kept arrays that are borrowed for one pass: two passes at a time never write to the same memory."""

    def __init__(self) -> None:
        self._free: list[KeptArrays] = []

    @contextmanager
    def borrow(self) -> Iterator[KeptArrays]:
        """Hand out kept arrays until the end of the block."""
        try:
            arrays = self._free.pop()
        except IndexError:
            arrays = KeptArrays()
        try:
            yield arrays
        finally:
            self._free.append(arrays)

"""The engine's tricks as a table: which lines make each, on which workloads it may pay, and how to switch it off.

A trick saves work or memory and changes no number but in the last digits. Off, the engine goes the plain way that it
goes anyway where a trick does not apply.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numba
import numpy as np
import numpy.typing as npt

from tsslbp_ref import engine, jit
from tsslbp_ref.engine import batch, convolution, dense, events, inputs, pooled, spike_patterns, threads, winograd
from tsslbp_ref.model import sweeps

Array = npt.NDArray[Any]
Off = Callable[[], AbstractContextManager[Any]]

NEVER = 1 << 62  # a size that nothing reaches


@dataclass(frozen=True)
class Trick:
    """One trick.

    Parameters
    ----------
    name : str
    workloads : tuple of str
        Where it may pay.
    off : callable
        Makes a context in which the engine goes without it.
    lines : dict
        By module, the functions, classes and methods that only the trick needs; () for the whole file.
    beside : tuple of str
        Tricks that are off in both ways of a pair: they need this one, or hide it.
    """

    name: str
    workloads: tuple[str, ...]
    off: Off
    lines: dict[ModuleType, tuple[str, ...]]
    beside: tuple[str, ...] = ()

    @property
    def n_lines(self) -> int:
        """Number of lines, docstrings and comments included."""
        return sum(lines_of(module, names) for module, names in self.lines.items())


def lines_of(module: ModuleType, names: Sequence[str]) -> int:
    """Count the lines of functions, classes or methods ("Class.method") of a module; of all of it without names.

    Raises
    ------
    ValueError
        If the module has no such name.
    """
    text = Path(str(module.__file__)).read_text()
    if not names:
        return len(text.splitlines())
    found: dict[str, int] = {}
    _measure(ast.parse(text), "", found)
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(f"{module.__name__} has no {missing[0]!r}")
    return sum(found[name] for name in names)


def _measure(node: Any, prefix: str, found: dict[str, int]) -> None:
    """Note the number of lines, decorators included, of every function and class below a node."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            start = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            assert child.end_lineno is not None
            found[prefix + child.name] = child.end_lineno - start + 1
            if isinstance(child, ast.ClassDef):
                _measure(child, f"{prefix}{child.name}.", found)


# ---------------------------------------------------------------------------------------------------------------------
# Switches
# ---------------------------------------------------------------------------------------------------------------------


def replaced(owner: Any, name: str, value: Any) -> Off:
    """Switch off by another value of a module's or class's attribute."""
    return partial(mock.patch.object, owner, name, value)


@contextmanager
def recompiled(loops: dict[ModuleType, tuple[str, ...]], **values: Any) -> Iterator[None]:
    """Switch off what compiled loops call: the loops are compiled anew, with other values of the names that they use.

    Parameters
    ----------
    loops : dict
        By module, its loops that call one of the names, or call a loop that does.
    **values
        By name, in each of the modules that has it.
    """
    with ExitStack() as stack:
        for module in loops:
            for name, value in values.items():
                if hasattr(module, name):
                    stack.enter_context(mock.patch.object(module, name, value))
        for module, names in loops.items():
            for name in names:
                loop = getattr(module, name)
                options = {key: value for key, value in loop.targetoptions.items() if key != "nopython"}
                again = numba.njit(**options)(loop.py_func)
                stack.enter_context(mock.patch.object(module, name, again))
        yield


def shown_at_every_step(passing: batch.LayerByLayer, x: Array) -> inputs.LayerInput:
    """`LayerByLayer._input` that makes a static image's PSC, c[t] x, at every step."""
    if passing.net.is_static(x):
        return inputs.PSCInput(np.multiply.outer(passing.gain, x))
    return inputs.spike_input(x, passing.net.input_synapse, passing.dtype, passing.net.layers[0])


def new_memory(buffers: threads.Buffers, key: Any, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """`Buffers.take` that keeps nothing."""
    return threads.aligned(shape, dtype)


@numba.njit(nogil=True)
def every_image(images: Array) -> npt.NDArray[np.int64]:
    """`active_images` that passes over none."""
    return np.arange(len(images))


@numba.njit(nogil=True, fastmath={"contract"})
def add_rows_one_by_one(
    table: Array, which: npt.NDArray[np.int32], values: Array, start: int, stop: int, total: Array
) -> None:
    """`add_rows` that passes over the total for every row."""
    for e in range(start, stop):
        i, p = which[e], values[e]
        for o in range(len(total)):
            total[o] += p * table[i, o]


@numba.njit(nogil=True)
def pool_pairs_as_any(x: Array, gain: float, y: Array) -> None:
    """`_pool_pairs` by the loops that `pool_forward` has for blocks of any size."""
    M, height, width = y.shape
    for m in range(M):
        for r in range(height):
            out = y[m, r]
            for c in range(width):
                out[c] = 0
            for i in range(2):
                row = x[m, 2 * r + i]
                for j in range(2):
                    for c in range(width):
                        out[c] += row[2 * c + j]
            for c in range(width):
                out[c] *= gain


@numba.njit(nogil=True)
def spread_pairs_as_any(y: Array, gain: float, x: Array) -> None:
    """`_pool_pairs_adjoint` by the loops that `pool_adjoint` has for blocks of any size."""
    M, height, width = y.shape
    for m in range(M):
        for r in range(height):
            for i in range(2):
                row = x[m, 2 * r + i]
                for j in range(2):
                    for c in range(width):
                        row[2 * c + j] = gain * y[m, r, c]


CONVOLUTIONS = {
    convolution: ("conv_forward", "conv_weight_gradient"),
    winograd: ("_convolve", "_add_products"),
}
CALL_GEMM = {
    convolution: ("conv_adjoint", "conv_weight_gradient"),
    winograd: ("_convolve", "_add_products"),
    dense: ("_weighted_input", "chain_forward", "chain_backward", "chain_step"),
}
ADD_ROWS = {
    events: ("_weighted_input_sweep", "_weight_gradient_sweep"),
    spike_patterns: ("weighted_input_sweep", "weight_gradient_sweep"),
    dense: ("chain_forward", "chain_backward", "chain_step"),
}
POOL = {
    convolution: ("pool_forward", "pool_adjoint"),
    pooled: ("neurons_and_pool", "pool_and_chain_rule"),
}
CALL_EXP = {
    sweeps: ("_warmup_step", "_surrogate_step", "backward_block", "backward_sweep"),
    pooled: ("pool_and_chain_rule",),
    dense: ("chain_backward", "chain_step"),
}

TRICKS = {
    trick.name: trick
    for trick in (
        Trick(
            "dense-chain",
            ("W1",),
            replaced(engine, "is_chain", lambda layers: False),
            {dense: ()},
            beside=("spike-patterns",),  # which nothing but a chain follows
        ),
        Trick(
            "spike-patterns",
            ("W1",),
            replaced(spike_patterns, "FEWEST_NEURONS", NEVER),
            {spike_patterns: (), dense: ("_patterns_to_follow",)},
        ),
        Trick(
            "sparse-events",
            ("W3-T300",),
            replaced(inputs, "SPARSE_DENSITY", 0.0),
            {events: (), inputs: ("EventInput",)},
        ),
        Trick(
            "joint-pooling",
            ("W2",),
            replaced(batch.LayerByLayer, "_goes_with_pool", lambda self, i, fed: False),
            {
                pooled: ("PooledNeurons", "neurons_and_pool", "pool_and_chain_rule"),
                batch: ("LayerByLayer._goes_with_pool", "LayerByLayer._pooled"),
            },
        ),
        Trick(
            "static-image",
            ("W2", "W4"),
            replaced(batch.LayerByLayer, "_input", shown_at_every_step),
            {inputs: ("StaticInput", "static_gain")},
            beside=("joint-pooling",),  # which is for static images
        ),
        Trick(
            "silent-images",
            ("W2", "W4"),
            partial(recompiled, CONVOLUTIONS, active_images=every_image),
            {convolution: ("active_images",)},
        ),
        Trick(
            "silent-steps",
            ("W2", "W4"),
            replaced(inputs.PSCInput, "first", 0),
            {inputs: ("PSCInput.first",), events: ("first_needed_step",)},
        ),
        Trick(
            "buffer-pool",
            ("W1", "W2", "W3-T300", "W4"),
            replaced(threads.Buffers, "take", new_memory),
            {threads: ("Buffers", "BufferPool")},
        ),
        Trick(
            "blas-adds",
            ("W1", "W2", "W4"),
            partial(recompiled, CALL_GEMM, gemm=numba.njit(nogil=True)(jit._gemm_by_dot)),
            {jit: ("gemm", "_gemm", "_gemm_by_dot")},
        ),
        Trick(
            "winograd",
            ("W4",),
            replaced(winograd, "serves", lambda layer: False),
            {winograd: ()},
        ),
        Trick(
            "small-products",
            ("W2",),
            replaced(convolution, "_tile", convolution._tile_in_cache),
            {convolution: ("_tile",)},
        ),
        Trick(
            "rows-by-four",
            ("W1", "W3-T300"),
            partial(recompiled, ADD_ROWS, add_rows=add_rows_one_by_one),
            {events: ("add_rows",)},
        ),
        Trick(
            "pooled-pairs",
            ("W2",),
            partial(recompiled, POOL, _pool_pairs=pool_pairs_as_any, _pool_pairs_adjoint=spread_pairs_as_any),
            {convolution: ("_pool_pairs", "_pool_pairs_adjoint")},
        ),
        Trick(
            "exp-by-series",
            ("W1", "W2"),
            partial(recompiled, CALL_EXP, exponential=math.exp),
            {jit: ("exponential", "exponential_single", "_short_series")},
        ),
        Trick(
            "cache-lines",
            ("W1", "W2"),
            replaced(threads, "aligned", np.empty),
            {threads: ("aligned",)},
        ),
    )
}

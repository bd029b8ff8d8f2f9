"""Finite differences in float64, and the measure of error that all rows share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import differentiate

from tsslbp_ref import checks

Array = npt.NDArray[np.float64]

DERIVATIVE_STEP = 0.1  # scipy halves it until its own error estimate stops falling
COMPLEX_STEP = 1e-30
DERIVATIVE_RTOL = 1e-13  # asked of scipy's estimate, so that rounding and not this number ends the halving


def relative_error(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """max |found - expected| / max |expected|.

    Relative to the largest entry, so that an entry that is rightly 0 counts too.

    Raises
    ------
    ValueError
        If the shapes differ, or `expected` is all zeros: then the row would check nothing.
    """
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if found.shape != expected.shape:
        raise ValueError(f"found must have shape {expected.shape} to match expected, got {found.shape}")
    scale = np.abs(expected).max(initial=0.0)
    if scale == 0.0:
        raise ValueError("expected must not be all zeros: there is nothing to check")
    return float(np.abs(found - expected).max() / scale)


def largest(errors: Iterable[float]) -> float:
    """The largest error; not a number if any of them is, which Python's `max` would hide."""
    return float(np.max(list(errors)))


def derivative(function: Callable[[Array], Any], x: npt.ArrayLike) -> Array:
    """df/dx at every entry of x, by `scipy.differentiate.derivative`, of a function that acts on each entry alone.

    Central differences of eighth order with steps halved from DERIVATIVE_STEP: the error falls with the eighth power of
    the step until rounding, about 1e-16/step, takes over near 1e-13.
    """
    result = differentiate.derivative(
        function,
        np.asarray(x, dtype=np.float64),
        initial_step=DERIVATIVE_STEP,
        tolerances={"atol": 0.0, "rtol": DERIVATIVE_RTOL},
    )
    return np.asarray(result.df)


def complex_step(function: Callable[[complex], Any], x: float) -> Any:
    """df/dx = Im f(x + ih) / h of a function that takes complex numbers: nothing cancels, so that h can be tiny."""
    return np.imag(function(complex(x, COMPLEX_STEP))) / COMPLEX_STEP


def central_difference(function: Callable[[float], Any], step: float, levels: int = 1) -> Any:
    """df/dh at h = 0 by (f(h) - f(-h)) / 2h, extrapolated to h = 0 over the steps h, h/2, ... h/2^(levels-1).

    The plain difference is exact for polynomials of degree 2, and each further level for two degrees more (Richardson).
    For such functions the step is limited by nothing but overflow, so a large one is best: rounding is about
    1e-16 |f| / h.

    Raises
    ------
    ValueError, TypeError
        If step is not above 0, or levels is no positive integer.
    """
    step, levels = checks.real_number("step", step, above=0.0), checks.positive_integer("levels", levels)
    table = []
    for level in range(levels):
        h = step / 2.0**level
        table.append((function(h) - function(-h)) / (2.0 * h))
    for order in range(1, levels):
        factor = 4.0**order
        table = [(factor * finer - coarser) / (factor - 1.0) for coarser, finer in itertools.pairwise(table)]
    return table[0]


def gradient(function: Callable[[Array], float], x: npt.ArrayLike, step: float, levels: int = 1) -> Array:
    """df/dx of a scalar function of an array, entry by entry, by `central_difference`.

    Parameters
    ----------
    function : callable
        Takes an array of x's shape, returns a number.
    x : array_like
        Where; integers become float64.
    step : float
        Above 0, the first and longest one.
    levels : int
        Of the extrapolation.

    Raises
    ------
    ValueError, TypeError
        If x is not finite, step is not above 0, or levels is no positive integer.

    Examples
    --------
    >>> gradient(lambda x: x[0] ** 2 + 3.0 * x[1], [2, 1], step=0.5)
    array([4., 3.])
    """
    x = checks.finite_array("x", x, dtype=np.float64)
    result = np.empty_like(x)
    for index in np.ndindex(*x.shape):

        def along_entry(h: float, index: tuple[int, ...] = index) -> float:
            moved = x.copy()
            moved[index] += h
            return function(moved)

        result[index] = central_difference(along_entry, step, levels)
    return result

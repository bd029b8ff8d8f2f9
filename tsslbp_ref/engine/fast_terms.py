"""The scalar functions of `terms` as the compiled loops call them: inlined, in the precision of their arguments.

A compiled loop takes `terms` from here.
"""

from __future__ import annotations

from collections.abc import Callable

from tsslbp_ref.jit import compiled_term
from tsslbp_ref.model import terms

__all__ = ["LARGEST_ARGUMENT", "exponential", "exponential_single", "terms"]

LARGEST_ARGUMENT = 64.0  # of the surrogate's exp: exp(-64) is nothing beside any other delta

TERMS: tuple[Callable[..., float], ...] = (
    terms.membrane,
    terms.spike,
    terms.membrane_after_reset,
    terms.psc,
    terms.membrane_rise,
    terms.weighted_input,
    terms.leak,
    terms.psc_by_firing_time,
    terms.reset_by_firing_time,
    terms.moving_average,
)
DIVIDING_TERMS = (terms.firing_time_by_membrane, terms.surrogate_spike_by_membrane, terms.adamw_weight)

for _term in TERMS:
    compiled_term(_term)
for _term in DIVIDING_TERMS:
    # Python's way to divide would leave the loop to look for a zero. No bit has to agree with the literal loops here:
    # a division by what does not change in the loop becomes a product, and products and sums become one instruction.
    compiled_term(_term, error_model="numpy", fastmath={"arcp", "contract"})


def exponential(x: float) -> float:
    """exp(x) = (exp(x / 64))^64, the inner one by its Taylor series to degree 11.

    Sums and products only, so that the compiler can work on several neurons at once; the library's exp takes them one
    by one. For |x| <= 16 the series is exact to 1e-16, and six squarings make of an error 64; up to `LARGEST_ARGUMENT`
    the result, which is next to nothing there, is good to seven digits, and beyond that it is of no use.
    """
    r = x * (1.0 / 64.0)
    series = 1.0 / 3628800.0 + r * (1.0 / 39916800.0)
    series = 1.0 / 362880.0 + r * series
    series = 1.0 / 40320.0 + r * series
    series = 1.0 / 5040.0 + r * series
    return _short_series(r, series)


def exponential_single(x: float) -> float:
    """`exponential` for float32, to degree 7: exact to 1e-9 for |x| <= 16, and to two digits at `LARGEST_ARGUMENT`."""
    r = x * (1.0 / 64.0)
    return _short_series(r, 1.0 / 5040.0)


def _short_series(r: float, series: float) -> float:
    """(1 + r + ... + r^6 / 720 + r^7 series)^64: the last terms of `exponential`, and its squarings."""
    series = 1.0 / 720.0 + r * series
    series = 1.0 / 120.0 + r * series
    series = 1.0 / 24.0 + r * series
    series = 1.0 / 6.0 + r * series
    series = 0.5 + r * series
    series = 1.0 + r * series
    series = 1.0 + r * series
    for _ in range(6):
        series *= series
    return series


# A product and a sum in one instruction where the processor has it: no twin shares these bits, exp has its own.
compiled_term(_short_series, fastmath={"contract"})
compiled_term(exponential, single=exponential_single, fastmath={"contract"})

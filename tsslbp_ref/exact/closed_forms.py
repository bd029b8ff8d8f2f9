"""Closed forms of one neuron between two events, and the first crossing of the threshold.

Between two events (a spike that arrives, or the neuron's own reset) the weighted input of a neuron decays with tau_s
and its membrane is a sum of two exponentials. The equations are derived in ``docs/derivations/exact-gradient.md``; its
section numbers are given below. Times are in ms (any unit of time will do, as long as it is the same everywhere).

No formula has a branch at tau_m = tau_s. The slower exponential is taken out, and what is left is an integral of
exp(-y x) over x in [0, 1] with y >= 0: it neither cancels nor overflows, and it is smooth at y = 0.
"""

from __future__ import annotations

import math

import numpy as np

from tsslbp_ref.jit import compiled

NO_CROSSING = -1.0
# Bisection alone halves the bracket down to double precision in 53 steps; Newton's steps come on top.
MAX_ROOT_STEPS = 200
ROOT_TOLERANCE = 2.0 * np.finfo(np.float64).eps
LINEAR_BELOW = 1e-8  # there 1 - y/2 is (1 - exp(-y))/y, and log(1 + y)/y, to rounding
SERIES_BELOW = 0.5  # from there on the difference of E0 and exp(-y) loses less than three bits
SERIES_TERMS = 16  # 0.5^16 / 16! is far below rounding


@compiled
def mean_decay(y: float) -> float:
    """E0(y) = integral over x in [0, 1] of exp(-y x) = (1 - exp(-y))/y,  y >= 0."""
    return 1.0 - 0.5 * y if y < LINEAR_BELOW else -math.expm1(-y) / y


@compiled
def decay_moment(y: float) -> float:
    """E1(y) = integral over x in [0, 1] of x exp(-y x) = (E0(y) - exp(-y))/y,  y >= 0."""
    if y >= SERIES_BELOW:
        return (mean_decay(y) - math.exp(-y)) / y
    term, total = 1.0, 0.0
    for k in range(SERIES_TERMS):
        total += term / (k + 2)
        term *= -y / (k + 1)
    return total


@compiled
def exponential_overlap(t: float, tau_m: float, tau_s: float) -> float:
    """K(t) = integral over x in [0, t] of exp(-(t-x)/tau_m) exp(-x/tau_s) = t exp(-t/slower) E0(|1/tau_s - 1/tau_m| t).

    For tau_m != tau_s this is (exp(-t/tau_m) - exp(-t/tau_s)) / (1/tau_s - 1/tau_m).
    """
    difference = abs(tau_m - tau_s) / tau_m / tau_s
    return t * math.exp(-t / max(tau_m, tau_s)) * mean_decay(difference * t)


@compiled
def overlap_moments(t: float, tau_m: float, tau_s: float) -> tuple[float, float, float]:
    """Return (K, K_m, K_s): the integral of `exponential_overlap`, and that with (t-x) and with x in the integrand.

    K_m = tau_m^2 dK/dtau_m, K_s = tau_s^2 dK/dtau_s. With y = |1/tau_s - 1/tau_m| t, the time spent in the faster
    exponential has the moment t^2 exp(-t/slower) E1(y), the time in the slower one t^2 exp(-t/slower) (E0(y) - E1(y)).
    """
    y = abs(tau_m - tau_s) / tau_m / tau_s * t
    scale = t * math.exp(-t / max(tau_m, tau_s))
    zeroth, first = mean_decay(y), decay_moment(y)
    in_faster, in_slower = scale * t * first, scale * t * (zeroth - first)
    if tau_m > tau_s:
        return scale * zeroth, in_slower, in_faster
    return scale * zeroth, in_faster, in_slower


@compiled
def membrane(t: float, u: float, I: float, tau_m: float, tau_s: float) -> float:
    """u(t) = u exp(-t/tau_m) + (I/tau_m) K(t),  u and I being membrane and weighted input at time 0."""
    return u * math.exp(-t / tau_m) + I / tau_m * exponential_overlap(t, tau_m, tau_s)


@compiled
def peak_time(u: float, I: float, tau_m: float, tau_s: float) -> float:
    """t* = tau_s (1 - u/I) log(1 + x)/x,  x = -(1/tau_s - 1/tau_m) tau_s (1 - u/I): where the membrane stops rising.

    Asks for I > u and I > 0 (rising now, and the only case that can reach a positive threshold). Returns infinity where
    the membrane rises for ever, towards 0 from below.
    """
    at_equal = tau_s * (1.0 - u / I)
    x = -(tau_m - tau_s) / tau_m / tau_s * at_equal
    if x <= -1.0:
        return math.inf
    return at_equal * (1.0 - 0.5 * x if abs(x) < LINEAR_BELOW else math.log1p(x) / x)


@compiled
def root_on_rise(end: float, u: float, I: float, tau_m: float, tau_s: float, threshold: float) -> float:
    """First t in (0, end] with u(t) = threshold, where u rises on all of [0, end] and u(0) < threshold < u(end).

    Newton's method inside a bracket. A step that leaves the bracket, or that is not below half of the step before the
    last, is replaced by a bisection, so the number of steps is bounded even next to a peak, where the slope vanishes.
    """
    low, high = 0.0, end
    t = 0.5 * end
    step, previous_step = end, end
    for _ in range(MAX_ROOT_STEPS):
        excess = membrane(t, u, I, tau_m, tau_s) - threshold
        slope = (I * math.exp(-t / tau_s) - excess - threshold) / tau_m
        if excess > 0.0:
            high = t
        else:
            low = t
        newton = t - excess / slope if slope > 0.0 else high
        previous_step, last_step = step, previous_step
        if not low < newton < high or abs(newton - t) > 0.5 * last_step:
            newton = 0.5 * (low + high)
        step = abs(newton - t)
        t = newton
        if step <= ROOT_TOLERANCE * end or high - low <= ROOT_TOLERANCE * end:
            break
    return t


@compiled
def first_crossing(
    end: float,
    u: float,
    I: float,
    tau_m: float,
    tau_s: float,
    threshold: float,
) -> tuple[float, float, float]:
    """Return (first t in [0, end) at which u rises above the threshold, or NO_CROSSING; inner peak's time and height).

    Without an inner peak its height is -infinity. At a crossing I exceeds u = threshold, and I only decays, so
    I > threshold at the start is necessary. From a rising start there is one peak at most; the crossing lies before the
    peak or, where the peak comes later, before the end. A membrane that touches the threshold without rising above it
    does not fire.
    """
    if end <= 0.0 or I <= 0.0 or u >= I:
        return NO_CROSSING, 0.0, -math.inf
    if u >= threshold:
        return 0.0, 0.0, -math.inf
    top_time = peak_time(u, I, tau_m, tau_s)
    has_peak = top_time < end
    if not has_peak:
        top_time = end
    top = membrane(top_time, u, I, tau_m, tau_s)
    if top > threshold:
        return root_on_rise(top_time, u, I, tau_m, tau_s, threshold), 0.0, -math.inf
    return NO_CROSSING, top_time, top if has_peak else -math.inf

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
# E1(y) = sum over k of (-y)^k / (k! (k + 2)); 0.5^15 / 15! is far below rounding.
SERIES = np.array([(-1.0) ** k / (math.factorial(k) * (k + 2)) for k in range(15)])


@compiled
def mean_decay(y: float) -> float:
    """E0(y) = integral over x in [0, 1] of exp(-y x) = (1 - exp(-y))/y,  y >= 0."""
    return 1.0 - 0.5 * y if y < LINEAR_BELOW else -math.expm1(-y) / y


@compiled
def moment_of_decay(y: float, mean: float) -> float:
    """E1(y) = integral over x in [0, 1] of x exp(-y x) = (E0 - exp(-y))/y, from E0(y) = `mean`; exp(-y) = 1 - y E0."""
    if y >= SERIES_BELOW:
        return (mean - (1.0 - y * mean)) / y
    total = 0.0
    for k in range(SERIES.size - 1, -1, -1):
        total = total * y + SERIES[k]
    return total


@compiled
def decay_moment(y: float) -> float:
    """E1(y), see `moment_of_decay`."""
    return moment_of_decay(y, mean_decay(y))


@compiled
def exponential_overlap(t: float, tau_m: float, tau_s: float) -> float:
    """K(t) = integral over x in [0, t] of exp(-(t-x)/tau_m) exp(-x/tau_s) = t exp(-t/slower) E0(|1/tau_s - 1/tau_m| t).

    For tau_m != tau_s this is (exp(-t/tau_m) - exp(-t/tau_s)) / (1/tau_s - 1/tau_m).
    """
    difference = abs(tau_m - tau_s) / tau_m / tau_s
    return t * math.exp(-t / max(tau_m, tau_s)) * mean_decay(difference * t)


@compiled
def decays(t: float, tau_m: float, tau_s: float) -> tuple[float, float, float]:
    """Return exp(-t/tau_m), exp(-t/tau_s) and E0(|1/tau_s - 1/tau_m| t): all that moves a state on by t."""
    mean = mean_decay(abs(tau_m - tau_s) / tau_m / tau_s * t)
    return math.exp(-t / tau_m), math.exp(-t / tau_s), mean


@compiled
def overlap_moments(
    t: float, tau_m: float, tau_s: float, decay_m: float, decay_s: float, mean: float
) -> tuple[float, float, float]:
    """Return (K, K_m, K_s): the integral of `exponential_overlap`, and that with (t-x) and with x in the integrand.

    The last three arguments are the `decays`. K_m = tau_m^2 dK/dtau_m, K_s = tau_s^2 dK/dtau_s. With
    y = |1/tau_s - 1/tau_m| t, the time spent in the faster exponential has the moment t^2 exp(-t/slower) E1(y), the
    time in the slower one t^2 exp(-t/slower) (E0(y) - E1(y)).
    """
    first = moment_of_decay(abs(tau_m - tau_s) / tau_m / tau_s * t, mean)
    scale = t * max(decay_m, decay_s)
    in_faster, in_slower = scale * t * first, scale * t * (mean - first)
    if tau_m > tau_s:
        return scale * mean, in_slower, in_faster
    return scale * mean, in_faster, in_slower


@compiled
def membrane(t: float, u: float, I: float, tau_m: float, tau_s: float) -> float:
    """u(t) = u exp(-t/tau_m) + (I/tau_m) K(t),  u and I being membrane and weighted input at time 0."""
    return u * math.exp(-t / tau_m) + I / tau_m * exponential_overlap(t, tau_m, tau_s)


@compiled
def membrane_and_slope(t: float, u: float, I: float, tau_m: float, tau_s: float) -> tuple[float, float]:
    """Return u(t) of `membrane` and u'(t) = (I exp(-t/tau_s) - u(t))/tau_m, from two exponentials.

    The faster exponential is the slower one times 1 - y E0(y): its error is rounding beside the slower one.
    """
    y = abs(tau_m - tau_s) / tau_m / tau_s * t
    slower, mean = math.exp(-t / max(tau_m, tau_s)), mean_decay(y)
    faster = slower * (1.0 - y * mean)
    decay_m, decay_s = (slower, faster) if tau_m > tau_s else (faster, slower)
    u_t = u * decay_m + I / tau_m * t * slower * mean
    return u_t, (I * decay_s - u_t) / tau_m


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

    Halley's method inside a bracket, with u'' = -(I exp(-t/tau_s)/tau_s + u')/tau_m. A step that leaves the bracket, or
    that is not below half of the step before the last, is replaced by a bisection, so the number of steps is bounded
    even next to a peak, where the slope vanishes. It ends where the step that would follow, about c^2 step^3 with
    c = |u''/u'| + 1/tau_m + 1/tau_s, is below rounding.
    """
    low, high = 0.0, end
    t = 0.5 * end
    step, previous_step = end, end
    for _ in range(MAX_ROOT_STEPS):
        u_t, slope = membrane_and_slope(t, u, I, tau_m, tau_s)
        excess = u_t - threshold
        bend = -((tau_m * slope + u_t) / tau_s + slope) / tau_m
        if excess > 0.0:
            high = t
        else:
            low = t
        nearer = t - 2.0 * excess * slope / (2.0 * slope * slope - excess * bend) if slope > 0.0 else high
        previous_step, last_step = step, previous_step
        by_halley = low < nearer < high and abs(nearer - t) <= 0.5 * last_step
        if not by_halley:
            nearer = 0.5 * (low + high)
        step = abs(nearer - t)
        t = nearer
        if step <= ROOT_TOLERANCE * end or high - low <= ROOT_TOLERANCE * end:
            break
        if by_halley:
            ratio = step * (abs(bend / slope) + 1.0 / tau_m + 1.0 / tau_s)
            if ratio * ratio * step <= 0.5 * ROOT_TOLERANCE * end:
                break
    return t


@compiled
def first_crossing(
    end: float,
    u: float,
    I: float,
    u_end: float,
    I_end: float,
    tau_m: float,
    tau_s: float,
    threshold: float,
    highest: float,
) -> tuple[float, float, float]:
    """Return (first t in [0, end) at which u rises above the threshold, or NO_CROSSING; inner peak's time and height).

    u_end and I_end are those at the end, if there is no crossing. Without an inner peak, or with one that is not above
    `highest`, its height is -infinity. At a crossing I exceeds u = threshold, and I only decays, so I > threshold at
    the start is necessary; at a peak u = I. From a rising start there is one peak at most: none if the membrane still
    rises at the end. The crossing lies before the peak, or before the end. A membrane that touches the threshold
    without rising above it does not fire.
    """
    if end <= 0.0 or I <= 0.0 or u >= I:
        return NO_CROSSING, 0.0, -math.inf
    if u >= threshold:
        return 0.0, 0.0, -math.inf
    if u_end < I_end:
        wait = root_on_rise(end, u, I, tau_m, tau_s, threshold) if u_end > threshold else NO_CROSSING
        return wait, 0.0, -math.inf
    if min(threshold, highest) >= I:
        return NO_CROSSING, 0.0, -math.inf
    top_time = min(peak_time(u, I, tau_m, tau_s), end)
    top, _ = membrane_and_slope(top_time, u, I, tau_m, tau_s)
    if top > threshold:
        return root_on_rise(top_time, u, I, tau_m, tau_s, threshold), 0.0, -math.inf
    return NO_CROSSING, top_time, top

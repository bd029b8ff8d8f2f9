"""Closed forms between events, first crossings and the adjoint: the compiled part of the continuous-time model.

Between two events (a spike that arrives, or the neuron's own reset) the weighted input of a neuron decays with tau_s
and its membrane is a sum of two exponentials. Every function here is one such closed form, or a sweep over events that
calls them. `tsslbp_ref.exact` checks the arguments and is what users call. The equations are derived in
``docs/derivations/exact-gradient.md``; its section numbers are given below. Times are in ms (any unit of time will do,
as long as it is the same everywhere).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tsslbp_ref.jit import compiled

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]

COMPLETE, TOO_MANY_SPIKES, NOT_FINITE = 0, 1, 2
NO_CROSSING = -1.0
# Bisection alone halves the bracket down to double precision in 53 steps; Newton's steps come on top.
MAX_ROOT_STEPS = 200
ROOT_TOLERANCE = 2.0 * np.finfo(np.float64).eps
FIRST_CAPACITY = 256


# ---------------------------------------------------------------- closed forms between events (section 2)


@compiled
def exponential_overlap(t: float, tau_m: float, tau_s: float) -> float:
    """Integral over x in [0, t] of exp(-(t-x)/tau_m) exp(-x/tau_s).

    = (exp(-t/tau_m) - exp(-t/tau_s)) / (1/tau_s - 1/tau_m). The slower exponential is taken out and the difference goes
    through expm1, so nothing cancels or overflows: equal and nearly equal time constants need no limit formula of their
    own, except at a difference of exactly zero.
    """
    difference = abs(tau_m - tau_s) / tau_m / tau_s
    slower = max(tau_m, tau_s)
    if difference == 0.0:
        return t * math.exp(-t / slower)
    return -math.exp(-t / slower) * math.expm1(-difference * t) / difference


@compiled
def membrane(t: float, u: float, I: float, tau_m: float, tau_s: float) -> float:
    """u(t) = u exp(-t/tau_m) + (I/tau_m) overlap(t),  u and I being membrane and weighted input at time 0."""
    return u * math.exp(-t / tau_m) + I / tau_m * exponential_overlap(t, tau_m, tau_s)


@compiled
def peak_time(u: float, I: float, tau_m: float, tau_s: float) -> float:
    """t* = -log(1 + r (u/I - 1)) / (1/tau_s - 1/tau_m),  r = 1 - tau_s/tau_m: where the membrane stops rising.

    Asks for I > u and I > 0 (rising now, and the only case that can reach a positive threshold). Returns infinity where
    the membrane rises for ever, towards 0 from below.
    """
    difference = (tau_m - tau_s) / tau_m / tau_s
    distance = 1.0 - u / I
    if difference == 0.0:
        return tau_s * distance
    argument = -difference * tau_s * distance
    if argument <= -1.0:
        return math.inf
    return -math.log1p(argument) / difference


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
) -> tuple[float, float]:
    """Return (first t in [0, end) at which u rises above the threshold, or NO_CROSSING; inner peak, or -infinity).

    At a crossing I exceeds u = threshold, and I only decays, so I > threshold at the start is necessary. From a rising
    start there is one peak at most; the crossing lies before the peak or, where the peak comes later, before the end.
    A membrane that touches the threshold without rising above it does not fire.
    """
    if end <= 0.0 or I <= 0.0 or u >= I:
        return NO_CROSSING, -math.inf
    if u >= threshold:
        return 0.0, -math.inf
    top_time = peak_time(u, I, tau_m, tau_s)
    has_peak = top_time < end
    if not has_peak:
        top_time = end
    top = membrane(top_time, u, I, tau_m, tau_s)
    if top > threshold:
        return root_on_rise(top_time, u, I, tau_m, tau_s, threshold), -math.inf
    return NO_CROSSING, top if has_peak else -math.inf


# ---------------------------------------------------------------- forward: the spikes of one layer (section 2)


@compiled
def with_room(found: FloatArray, count: int) -> FloatArray:
    """Return `found` (capacity, 3), or a copy of twice the capacity when `count` rows fill it."""
    if count < found.shape[0]:
        return found
    grown = np.empty((2 * found.shape[0], found.shape[1]))
    for row in range(count):
        for column in range(found.shape[1]):
            grown[row, column] = found[row, column]
    return grown


@compiled
def neuron_spikes(
    weights: FloatArray,
    event_times: FloatArray,
    event_sources: IntegerArray,
    duration: float,
    tau_m: float,
    tau_s: float,
    threshold: float,
    found: FloatArray,
    count: int,
    limit: int,
) -> tuple[FloatArray, int, float, int]:
    """Append the spikes of one neuron to `found` and return (found, count, highest subthreshold peak, status).

    A row of `found` is (time, slope (I - threshold)/tau_m just before the reset, number of input spikes that had
    arrived). The neuron starts at rest, u = I = 0; rest counts as a peak of height 0.
    """
    t, u, I, highest = 0.0, 0.0, 0.0, 0.0
    n_events = event_times.size
    arrived = 0
    while arrived <= n_events:
        end = event_times[arrived] if arrived < n_events else duration
        wait, peak = first_crossing(end - t, u, I, tau_m, tau_s, threshold)
        if wait >= 0.0:
            if count >= limit:
                return found, count, highest, TOO_MANY_SPIKES
            # The sum of t and (end - t) can round to just after the end.
            t = min(t + wait, end)
            I *= math.exp(-wait / tau_s)
            u = 0.0
            found = with_room(found, count)
            found[count, 0], found[count, 1], found[count, 2] = t, (I - threshold) / tau_m, arrived
            count += 1
            continue
        u = membrane(end - t, u, I, tau_m, tau_s)
        I *= math.exp(-(end - t) / tau_s)
        was_rising = u < I
        t = end
        if arrived < n_events:
            I += weights[event_sources[arrived]] / tau_s
        if not (math.isfinite(u) and math.isfinite(I / tau_m)):
            return found, count, highest, NOT_FINITE
        # A peak that touches the threshold may come out one rounding above it; it did not fire, so it is at most there.
        u = min(u, threshold)
        highest = max(highest, peak)
        if was_rising and (arrived == n_events or u >= I):
            highest = max(highest, u)
        arrived += 1
    return found, count, highest, COMPLETE


@compiled
def layer_spikes(
    weights: FloatArray,
    event_times: FloatArray,
    event_sources: IntegerArray,
    duration: float,
    tau_m: float,
    tau_s: float,
    threshold: float,
    limit: int,
) -> tuple[FloatArray, IntegerArray, float, int]:
    """Return (rows of `neuron_spikes`, first row of each neuron (out + 1,), highest subthreshold peak, status).

    The array of rows has more rows than spikes; the last entry of the first rows is the number of spikes.
    """
    found = np.empty((FIRST_CAPACITY, 3))
    offsets = np.zeros(weights.shape[0] + 1, dtype=np.int64)
    count, highest = 0, 0.0
    for i in range(weights.shape[0]):
        found, count, peak, status = neuron_spikes(
            weights[i], event_times, event_sources, duration, tau_m, tau_s, threshold, found, count, limit
        )
        if status != COMPLETE:
            return found, offsets, highest, status
        offsets[i + 1] = count
        highest = max(highest, peak)
    return found, offsets, highest, COMPLETE


# ---------------------------------------------------------------- loss (section 3)


@compiled
def neuron_loss(times: FloatArray, signs: FloatArray, duration: float, tau_s: float) -> tuple[float, FloatArray]:
    """L = 1/2 integral of e^2 over [0, duration], and dL/dt of every event, for one output neuron.

    e = sum over events of sign exp(-(t - t_event)/tau_s)/tau_s after t_event; sign +1 marks a spike, -1 a desired one.
    Between events e decays, so the integral of e^2 is e^2 (tau_s/2) (1 - exp(-2 t/tau_s)).
    dL/dt_event = (sign/tau_s) [P_a/tau_s - (e- + e+)/2]. Events at the same time are one jump: e- and e+ are the
    values before and after all of it, which makes the derivative the mean of the two one-sided ones.
    """
    n = times.size
    before, after = np.zeros(n), np.zeros(n)
    loss, e = 0.0, 0.0
    first = 0
    while first < n:
        stop = first
        jump = 0.0
        while stop < n and times[stop] == times[first]:
            jump += signs[stop] / tau_s
            stop += 1
        before[first:stop] = e
        e += jump
        after[first:stop] = e
        wait = (times[stop] if stop < n else duration) - times[first]
        loss -= 0.25 * tau_s * e * e * math.expm1(-2.0 * wait / tau_s)
        e *= math.exp(-wait / tau_s)
        first = stop
    derivatives = np.zeros(n)
    P_a, t = 0.0, duration
    for k in range(n - 1, -1, -1):
        wait = t - times[k]
        # P_a(t) = integral over the rest of exp(-(x-t)/tau_s) e(x); e decays at the same rate.
        P_a = P_a * math.exp(-wait / tau_s) - 0.5 * tau_s * after[k] * math.expm1(-2.0 * wait / tau_s)
        derivatives[k] = signs[k] / tau_s * (P_a / tau_s - 0.5 * (before[k] + after[k]))
        t = times[k]
    return loss, derivatives


# ---------------------------------------------------------------- backward: the adjoint (sections 4 and 5)


@compiled
def adjoint_before_spike(P_u: float, dL_dt: float, slope: float, threshold: float, tau_m: float) -> float:
    """P_u- = (u'+/u'-) P_u+ - (dL/dt_f)/u'-,   u'+/u'- = 1 + threshold/(tau_m u'-): the jump at an own spike."""
    return (1.0 + threshold / (tau_m * slope)) * P_u - dL_dt / slope


@compiled
def adjoint_backward(t: float, P_u: float, R: float, tau_m: float, tau_s: float) -> tuple[float, float]:
    """P_u(-t) = P_u exp(-t/tau_m),   R(-t) = R exp(-t/tau_s) + P_u overlap(t): a time t earlier, no event between."""
    earlier_R = R * math.exp(-t / tau_s) + P_u * exponential_overlap(t, tau_m, tau_s)
    return P_u * math.exp(-t / tau_m), earlier_R


@compiled
def layer_adjoint(
    weights: FloatArray,
    event_times: FloatArray,
    event_sources: IntegerArray,
    spikes: FloatArray,
    offsets: IntegerArray,
    dL_dt: FloatArray,
    duration: float,
    tau_m: float,
    tau_s: float,
    threshold: float,
) -> tuple[FloatArray, FloatArray]:
    """Return (dL/dW (out, in), dL/dt of every input spike (events,)) from dL/dt of this layer's spikes, `dL_dt`.

    With R(t) = integral over x in [t, duration] of exp(-(x-t)/tau_s) P_u(x), which is continuous at the own spikes:
        dL/dW_ij   = sum over spikes f of j      R_i(t_f) / (tau_m tau_s)
        dL/dt_f    = sum over neurons i          W_ij (R_i(t_f)/tau_s - P_u,i(t_f)) / (tau_m tau_s)
    """
    gradient = np.zeros_like(weights)
    event_gradient = np.zeros(event_times.size)
    scale = 1.0 / (tau_m * tau_s)
    for i in range(weights.shape[0]):
        t, P_u, R = duration, 0.0, 0.0
        m = offsets[i + 1] - 1
        for arrived in range(event_times.size, -1, -1):
            # The count of arrived spikes, not the time, orders a spike and an input that coincide.
            while m >= offsets[i] and spikes[m, 2] == arrived:
                P_u, R = adjoint_backward(t - spikes[m, 0], P_u, R, tau_m, tau_s)
                P_u = adjoint_before_spike(P_u, dL_dt[m], spikes[m, 1], threshold, tau_m)
                t = spikes[m, 0]
                m -= 1
            if arrived > 0:
                k = arrived - 1
                P_u, R = adjoint_backward(t - event_times[k], P_u, R, tau_m, tau_s)
                t = event_times[k]
                j = event_sources[k]
                gradient[i, j] += R * scale
                event_gradient[k] += weights[i, j] * (R / tau_s - P_u) * scale
    return gradient, event_gradient

"""Sweeps over the events of a layer in continuous time: spikes forward, the adjoint backward.

The compiled part of the model. `tsslbp_ref.exact` checks the arguments and is what users call. The equations are
derived in ``docs/derivations/exact-gradient.md``; its section numbers are given below. Times are in ms.

A layer is swept for a batch of samples. Spikes are flat arrays, sample after sample and in it neuron after neuron;
`offsets` (samples, neurons + 1) says where those of each neuron begin, and where those of the last one end. Delays are
(out, in), or (1, in) where all neurons of the layer have the same.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from tsslbp_ref.exact.closed_forms import decays, first_crossing, overlap_moments
from tsslbp_ref.jit import compiled

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]

COMPLETE, TOO_MANY_SPIKES, NOT_FINITE = 0, 1, 2
FIRST_CAPACITY = 256
TIME, SLOPE, ARRIVED = 0, 1, 2  # columns of a spike
HEIGHT, PEAK_TIME, PEAK_ARRIVED, PEAK_SLOPE = 0, 1, 2, 3  # columns of a peak
START, ARRIVAL, SPIKE, PEAK = 0, 1, 2, 3  # kinds of events


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
def arrivals(
    times: FloatArray, offsets: IntegerArray, delays: FloatArray
) -> tuple[FloatArray, IntegerArray, IntegerArray]:
    """Return times, source neurons and positions in `times` of one sample's spikes, in the order in which they arrive.

    offsets: (in + 1,). Each result has one row for each row of the delays, (rows, events); at equal times the lower
    neuron comes first.
    """
    first, n_events = offsets[0], offsets[-1] - offsets[0]
    source = np.empty(n_events, dtype=np.int64)
    for j in range(offsets.size - 1):
        source[offsets[j] - first : offsets[j + 1] - first] = j
    at = np.empty((delays.shape[0], n_events))
    sources = np.empty((delays.shape[0], n_events), dtype=np.int64)
    positions = np.empty((delays.shape[0], n_events), dtype=np.int64)
    for row in range(delays.shape[0]):
        arrives = times[first : offsets[-1]] + delays[row][source]
        order = np.argsort(arrives, kind="mergesort")  # which is stable
        at[row], sources[row], positions[row] = arrives[order], source[order], order + first
    return at, sources, positions


@compiled
def arrivals_before(times: FloatArray, duration: float) -> int:
    """Return how many of the sorted times lie before `duration`: what arrives later has no effect."""
    count = 0
    while count < times.size and times[count] < duration:
        count += 1
    return count


@compiled
def higher_peak(peak: FloatArray, height: float, time: float, arrived: int, slope: float) -> None:
    """Write a peak into `peak` (HEIGHT, PEAK_TIME, PEAK_ARRIVED, PEAK_SLOPE) if it is the highest so far."""
    if height > peak[HEIGHT]:
        peak[HEIGHT], peak[PEAK_TIME], peak[PEAK_ARRIVED], peak[PEAK_SLOPE] = height, time, arrived, slope


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
    enough: int,
    peak: FloatArray,
) -> tuple[FloatArray, int, int]:
    """Append the spikes of one neuron to `found`, write its highest peak, and return (found, count, status).

    A row of `found` is (time, slope (I - threshold)/tau_m just before the reset, number of input spikes that had
    arrived). `peak` is the highest local maximum of the membrane that did not fire: height, time, number of input
    spikes that had arrived, slope. The slope is 0 but where a membrane that rises meets an inhibitory spike: then the
    peak is at that arrival, and the slope is the one before it. The neuron starts at rest, u = I = 0; rest is a peak of
    height 0 at time 0. An infinite threshold is a readout that never fires. The sweep ends once the neuron has fired
    `enough` spikes.
    """
    t, u, I, fired = 0.0, 0.0, 0.0, 0
    peak[:] = 0.0
    n_events = arrivals_before(event_times, duration)
    arrived = 0
    while arrived <= n_events:
        end = event_times[arrived] if arrived < n_events else duration
        decay_m, decay_s, mean = decays(end - t, tau_m, tau_s)
        u_end = u * decay_m + I / tau_m * (end - t) * max(decay_m, decay_s) * mean
        I_end = I * decay_s
        wait, top_time, top = first_crossing(end - t, u, I, u_end, I_end, tau_m, tau_s, threshold, peak[HEIGHT])
        if wait >= 0.0:
            if count >= limit:
                return found, count, TOO_MANY_SPIKES
            # The sum of t and (end - t) can round to just after the end.
            t = min(t + wait, end)
            I *= math.exp(-wait / tau_s)
            u = 0.0
            found = with_room(found, count)
            found[count, TIME], found[count, SLOPE], found[count, ARRIVED] = t, (I - threshold) / tau_m, arrived
            count += 1
            fired += 1
            if fired == enough:
                return found, count, COMPLETE
            continue
        higher_peak(peak, top, t + top_time, arrived, 0.0)
        u, I = u_end, I_end
        slope_before = (I - u) / tau_m
        t = end
        if arrived < n_events:
            I += weights[event_sources[arrived]] / tau_s
        if not (math.isfinite(u) and math.isfinite(I / tau_m)):
            return found, count, NOT_FINITE
        # A peak that touches the threshold may come out one rounding above it; it did not fire, so it is at most there.
        u = min(u, threshold)
        if slope_before > 0.0 and arrived == n_events:
            higher_peak(peak, u, t, arrived, 0.0)
        elif slope_before > 0.0 and u >= I:
            higher_peak(peak, u, t, arrived, slope_before)
        arrived += 1
    return found, count, COMPLETE


@compiled
def layer_spikes(
    weights: FloatArray,
    times: FloatArray,
    offsets: IntegerArray,
    delays: FloatArray,
    duration: float,
    tau_m: FloatArray,
    tau_s: float,
    threshold: FloatArray,
    limits: IntegerArray,
    enough: int,
) -> tuple[FloatArray, IntegerArray, FloatArray, int]:
    """Return (rows of `neuron_spikes`, their offsets (samples, out + 1), peaks (samples, out, 4), status).

    tau_m and threshold: (out,). `limits` (samples,) bounds the number of spikes of each sample;
    a neuron is followed up to its spike number `enough`.
    """
    n_samples, n_out = offsets.shape[0], weights.shape[0]
    found = np.empty((FIRST_CAPACITY, 3))
    found_offsets = np.zeros((n_samples, n_out + 1), dtype=np.int64)
    peaks = np.zeros((n_samples, n_out, 4))
    count = 0
    for sample in range(n_samples):
        at, sources, _ = arrivals(times, offsets[sample], delays)
        found_offsets[sample, 0] = count
        limit = count + limits[sample]
        for i in range(n_out):
            row = i if delays.shape[0] > 1 else 0
            found, count, status = neuron_spikes(
                weights[i],
                at[row],
                sources[row],
                duration,
                tau_m[i],
                tau_s,
                threshold[i],
                found,
                count,
                limit,
                enough,
                peaks[sample, i],
            )
            if status != COMPLETE:
                return found[:count], found_offsets, peaks, status
            found_offsets[sample, i + 1] = count
    return found[:count].copy(), found_offsets, peaks, COMPLETE


# ---------------------------------------------------------------- backward: the adjoint (sections 4, 5 and 7)


@compiled
def adjoint_before_spike(P_u: float, dL_dt: float, slope: float, threshold: float, tau_m: float) -> float:
    """P_u- = (u'+/u'-) P_u+ - (dL/dt_f)/u'-,   u'+/u'- = 1 + threshold/(tau_m u'-): the jump at an own spike."""
    return (1.0 + threshold / (tau_m * slope)) * P_u - dL_dt / slope


@compiled
def adjoint_backward(
    state: FloatArray, P_u: float, R: float, S: float, tau_m: float, tau_s: float
) -> tuple[float, float, float, float]:
    """Return (P_u, R, S, share of dL/dtau_m) at the start of a stretch without events, from those at its end.

    `state` is a row of `neuron_events`: the stretch has the length t and starts at u and I.
    P_u(-t) = P_u exp(-t/tau_m),   R(-t) = R exp(-t/tau_s) + P_u K,   S(-t) = (S + t R) exp(-t/tau_s) + P_u K_s
    dL/dtau_m = -(1/tau_m) integral of P_u u' = -(P_u/tau_m^2) (I K - u t exp(-t/tau_m) - I K_m/tau_m) on the stretch.
    """
    u, I, t, decay_m, decay_s, mean = state
    K, K_m, K_s = overlap_moments(t, tau_m, tau_s, decay_m, decay_s, mean)
    dL_dtau_m = -P_u / tau_m**2 * (I * K - u * t * decay_m - I * K_m / tau_m)
    return P_u * decay_m, R * decay_s + P_u * K, (S + t * R) * decay_s + P_u * K_s, dL_dtau_m


@compiled
def neuron_events(
    weights: FloatArray,
    event_times: FloatArray,
    event_sources: IntegerArray,
    n_arrivals: int,
    spikes: FloatArray,
    peak: FloatArray,
    end: float,
    tau_m: float,
    tau_s: float,
) -> tuple[IntegerArray, FloatArray]:
    """Return kind and number (events, 2) of a neuron's events in order, and states (events, 6).

    The events are the start, the first arrivals, the own spikes (rows of `neuron_spikes`), and the peak. The number of
    arrived spikes, not the time, orders a spike or a peak and an arrival that coincide. A state is u and I just after
    the event, the time t until the next event or the end, and the `decays` over t.
    """
    before_peak = peak[PEAK_ARRIVED] <= n_arrivals
    kinds = np.zeros((n_arrivals + spikes.shape[0] + 1 + before_peak, 2), dtype=np.int64)
    states = np.zeros((kinds.shape[0], 6))
    t, u, I = 0.0, 0.0, 0.0
    spike, arrived = 0, 0
    for event in range(1, kinds.shape[0] + 1):
        at_spike = spike < spikes.shape[0] and spikes[spike, ARRIVED] == arrived
        # A spike of the same stretch comes before a peak of it: after the peak the membrane only falls.
        at_peak = before_peak and not at_spike and peak[PEAK_ARRIVED] == arrived
        kind, number, time = ARRIVAL, arrived, end
        if at_spike:
            kind, number, time = SPIKE, spike, spikes[spike, TIME]
        elif at_peak:
            kind, number, time = PEAK, 0, peak[PEAK_TIME]
        elif arrived < n_arrivals:
            time = event_times[arrived]
        wait = time - t
        decay_m, decay_s, mean = decays(wait, tau_m, tau_s)
        states[event - 1, 0], states[event - 1, 1], states[event - 1, 2] = u, I, wait
        states[event - 1, 3], states[event - 1, 4], states[event - 1, 5] = decay_m, decay_s, mean
        if event == kinds.shape[0]:
            break
        kinds[event, 0], kinds[event, 1] = kind, number
        u = 0.0 if at_spike else u * decay_m + I / tau_m * wait * max(decay_m, decay_s) * mean
        I *= decay_s
        if at_spike:
            spike += 1
        elif at_peak:
            before_peak = False
        else:
            I += weights[event_sources[arrived]] / tau_s
            arrived += 1
        t = time
    return kinds, states


@compiled
def count_until_nonzero(values: FloatArray) -> int:
    """Return the length of `values` without the zeros at its end."""
    count = values.size
    while count > 0 and values[count - 1] == 0.0:
        count -= 1
    return count


@compiled
def layer_adjoint(
    weights: FloatArray,
    times: FloatArray,
    offsets: IntegerArray,
    delays: FloatArray,
    spikes: FloatArray,
    spike_offsets: IntegerArray,
    peaks: FloatArray,
    dL_dt: FloatArray,
    dL_dpeak: FloatArray,
    duration: float,
    tau_m: FloatArray,
    tau_s: float,
    threshold: FloatArray,
    smallest_slope: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray, float]:
    """Return dL/dW, dL/ddelay (out, in), dL/dt of every input spike, dL/dtau_m, dL/dthreshold (out,) and dL/dtau_s.

    All but dL/dt are sums over the samples. `spikes`, `spike_offsets` and `peaks` are what `layer_spikes` returned.
    `dL_dt` holds dL/dt of this layer's spikes and `dL_dpeak` (samples, out) dL/d(highest membrane), for neurons that
    are silent. A slope below `smallest_slope` (out,) counts as that: such a spike grazes the threshold. With
        R(t) = integral over x in [t, duration] of exp(-(x-t)/tau_s) P_u(x),
        S(t) = integral over x in [t, duration] of (x-t) exp(-(x-t)/tau_s) P_u(x),
    which are continuous at the own spikes, and D_ij = W_ij (R_i/tau_s - P_u,i) / (tau_m tau_s) at an arrival of j:
        dL/dW_ij   = sum over spikes f of j      R_i(t_f) / (tau_m tau_s)
        dL/ddelay_ij = sum over spikes f of j    D_ij,                  dL/dt_f = sum over neurons i  D_ij
        dL/dtau_s  = sum over all arrivals       W_ij (S_i/tau_s - R_i) / (tau_m tau_s^2)
        dL/dV_i    = - sum over own spikes       P_u,i-
    A peak adds dL/d(peak) to P_u. Where it is at an arrival, that arrival comes after it in time, and its own time
    moves the height: D gets u'- dL/d(peak). After the last spike with a derivative the adjoint is 0: a neuron's
    sweep begins there.
    """
    gradient, dL_ddelay = np.zeros_like(weights), np.zeros_like(weights)
    event_gradient = np.zeros(times.size)
    dL_dtau_m, dL_dV, dL_dtau_s = np.zeros(weights.shape[0]), np.zeros(weights.shape[0]), 0.0
    for sample in range(offsets.shape[0]):
        at, sources, positions = arrivals(times, offsets[sample], delays)
        for i in range(weights.shape[0]):
            row = i if delays.shape[0] > 1 else 0
            first = spike_offsets[sample, i]
            own, peak, by_peak = spikes[first : spike_offsets[sample, i + 1]], peaks[sample, i], dL_dpeak[sample, i]
            own = own[: count_until_nonzero(dL_dt[first : first + len(own)])]
            if len(own) == 0 and by_peak == 0.0:
                continue
            n_arrivals = arrivals_before(at[row], duration) if by_peak != 0.0 else int(own[-1, ARRIVED])
            kinds, states = neuron_events(
                weights[i], at[row], sources[row], n_arrivals, own, peak, duration, tau_m[i], tau_s
            )
            scale = 1.0 / (tau_m[i] * tau_s)
            P_u, R, S = 0.0, 0.0, 0.0
            for event in range(kinds.shape[0] - 1, -1, -1):
                kind, number = kinds[event]
                P_u, R, S, share = adjoint_backward(states[event], P_u, R, S, tau_m[i], tau_s)
                dL_dtau_m[i] += share
                if kind == SPIKE:
                    slope = max(own[number, SLOPE], smallest_slope[i])
                    P_u = adjoint_before_spike(P_u, dL_dt[first + number], slope, threshold[i], tau_m[i])
                    dL_dV[i] -= P_u
                elif kind == PEAK:
                    P_u += by_peak
                elif kind == ARRIVAL:
                    j = sources[row, number]
                    D = weights[i, j] * (R / tau_s - P_u) * scale
                    if number == peak[PEAK_ARRIVED]:
                        D += peak[PEAK_SLOPE] * by_peak
                    gradient[i, j] += R * scale
                    dL_ddelay[i, j] += D
                    event_gradient[positions[row, number]] += D
                    dL_dtau_s += weights[i, j] * (S / tau_s - R) * scale / tau_s
    return gradient, dL_ddelay, event_gradient, dL_dtau_m, dL_dV, dL_dtau_s

"""A fully connected layer fed by neurons: work that follows their spike patterns. Compiled by Numba.

Without it a step of W1 takes 23.2 % longer.

Cut time into segments of k steps. In a segment a neuron has one of 2^k spike patterns: a number whose bit j says
whether the neuron fired at the segment's step j. Neurons of one sample that have the same pattern send the same PSC, so
their rows of W^T are added once, for the pattern, and not once a step:

    Z[p]     = sum of W^T's rows of the neurons with pattern p
    (W s)[t] = sum of Z[p] over the patterns p that have the bit of t,   I = eps * (W s)

and backward, with D[t] = sum_{k >= t} eps[k-t] delta[k],

    dL/dW^T's row of neuron i = sum over its patterns p of E[p],   E[p] = sum over the steps t of p's bits of D[t].

A neuron that is silent in a segment has the pattern 0 and costs nothing; every other costs a row a segment.
A list of patterns has starts, inputs and values as `events.Events` has them: row (segment B + b) 2^k + p lists the
neurons of sample b that have pattern p there. All values are 1; rows of pattern 0 are empty.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine.events import add_rows, sort_by_input
from tsslbp_ref.jit import compiled
from tsslbp_ref.model.sweeps import copy_row, filter_step

Array = npt.NDArray[Any]
PatternList = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Array]  # starts, inputs and values

FEWEST_NEURONS = 400  # that a layer must have for patterns to be followed: the narrowest in benchmarks/scaling.py
SHARE_A_STEP = 0.09  # times k, the share of neurons with a pattern up to which patterns are followed
LONGEST_PATTERN = 5  # steps: longer patterns are shared by fewer neurons, and there are twice as many with each step
SAMPLES_A_BLOCK = 32  # at most, whose E are kept at a time: they stay in the second-level cache


def pattern_length(n_steps: int) -> int:
    """Steps a pattern, k: segments of equal length, as few as `LONGEST_PATTERN` allows."""
    segments = -(-n_steps // LONGEST_PATTERN)
    return -(-n_steps // segments)


@compiled
def few_fire(inputs: npt.NDArray[np.int32], u: Array, k: int) -> bool:
    """Whether following patterns pays in a layer of membranes u (T, B, n): it does where few neurons fire."""
    T, B, n = u.shape
    segments = -(-T // k)
    return len(inputs) <= SHARE_A_STEP * k * (segments * B * n)


@compiled
def patterns_of(u: Array, threshold: float, k: int) -> PatternList:
    """List the neurons of a layer, of membranes u (T, B, n), by their patterns: starts, inputs and values."""
    T, B, n = u.shape
    segments = -(-T // k)
    starts, inputs = np.empty(segments * (B << k) + 1, np.int64), np.empty(segments * B * n, np.int32)
    patterns, free = np.empty(n, np.uint8), np.empty((1 << k) + 1, np.int64)
    row = 0
    count = 0
    for first in range(0, T, k):
        for b in range(B):
            for i in range(n):
                patterns[i] = 0
            for t in range(first, min(first + k, T)):
                _add_bit(u[t, b], threshold, np.uint8(1 << (t - first)), patterns)
            for p in range(len(free)):
                free[p] = 0
            for i in range(n):
                free[patterns[i] + 1] += 1
            free[0] = free[1] = count  # the silent are not listed
            for p in range(1 << k):
                starts[row + p] = free[p]
                free[p + 1] += free[p] if p > 0 else 0
            row += 1 << k
            count = free[1 << k]
            for i in range(n):
                if patterns[i] > 0:
                    inputs[free[patterns[i]]] = i
                    free[patterns[i]] += 1
    starts[row] = count
    return starts, inputs[:count], np.ones(count, u.dtype)


@compiled
def _add_bit(u: Array, threshold: float, bit: int, patterns: npt.NDArray[np.uint8]) -> None:
    for i in range(len(u)):
        patterns[i] |= bit if u[i] > threshold else np.uint8(0)


@compiled
def weighted_input_sweep(
    starts: npt.NDArray[np.int64],
    inputs: npt.NDArray[np.int32],
    values: Array,
    W_transposed: Array,
    theta_s: float,
    k: int,
    I: Array,
) -> None:
    """I = eps * (W s) from the list of patterns.

    Parameters
    ----------
    starts, inputs, values : array
        Of `patterns_of`.
    W_transposed : (n, N) array
        Contiguous, as all arrays here.
    theta_s : float
        In W's dtype.
    k : int
        Steps a pattern.
    I : (T, B, N) array
        Written.
    """
    T, B, N = I.shape
    Z, zeros = np.empty(N, I.dtype), np.zeros(N, I.dtype)
    for first in range(0, T, k):
        for b in range(B):
            row = (first // k * B + b) << k
            for t in range(first, min(first + k, T)):
                copy_row(zeros, I[t, b])
            for p in range(1, 1 << k):
                if starts[row + p + 1] > starts[row + p]:
                    copy_row(zeros, Z)
                    add_rows(W_transposed, inputs, values, starts[row + p], starts[row + p + 1], Z)
                    for t in range(first, min(first + k, T)):
                        if p >> (t - first) & 1:
                            add_row(Z, I[t, b])
            for t in range(first, min(first + k, T)):
                filter_step(I[t - 1, b] if t > 0 else zeros, I[t, b], theta_s, I[t, b])


@compiled
def weight_gradient_sweep(
    starts: npt.NDArray[np.int64],
    inputs: npt.NDArray[np.int32],
    values: Array,
    delta: Array,
    theta_s: float,
    k: int,
    gradient: Array,
) -> None:
    """dL/dW^T from the list of patterns: every neuron gathers the E of its patterns, a block of samples at a time.

    Parameters
    ----------
    starts, inputs, values : array
        Of `patterns_of`.
    delta : (T, B, N) array
        Contiguous, as all arrays here.
    theta_s : float
        In delta's dtype.
    k : int
        Steps a pattern.
    gradient : (n, N) array
        Written.
    """
    T, B, N = delta.shape
    zeros = np.zeros(N, delta.dtype)
    D, after = np.zeros((k + 1, N), delta.dtype), np.zeros((B, N), delta.dtype)
    size = -(-B // -(-B // SAMPLES_A_BLOCK))  # blocks of equal size: every one passes over all the gradient's rows
    E = np.empty((size << k, N), delta.dtype)
    rows, sorted_values = np.empty(len(inputs), np.int32), np.empty(len(inputs), values.dtype)
    for segment in range((T - 1) // k, -1, -1):
        for start in range(0, B, size):
            stop = min(start + size, B)
            block = starts[(segment * B + start) << k : ((segment * B + stop) << k) + 1]
            for b in range(start, stop):
                _filter_segment(delta, segment * k, b, theta_s, after[b], D)
                _sums_by_pattern(D, block, (b - start) << k, k, zeros, E)
            first = sort_by_input(block, inputs, values, len(gradient), rows, sorted_values)
            is_first = segment == (T - 1) // k and start == 0
            for i in range(len(gradient)):
                if is_first:
                    copy_row(zeros, gradient[i])
                add_rows(E, rows, sorted_values, first[i], first[i + 1], gradient[i])


@compiled
def _filter_segment(delta: Array, first: int, b: int, theta_s: float, after: Array, D: Array) -> None:
    """D of a segment's steps, F6 run against time; `after` holds D of the step behind it before, of its first after."""
    stop = min(first + len(D) - 1, len(delta))
    copy_row(after, D[stop - first])
    for t in range(stop - 1, first - 1, -1):
        filter_step(D[t - first + 1], delta[t, b], theta_s, D[t - first])
    copy_row(D[0], after)


@compiled
def _sums_by_pattern(D: Array, starts: npt.NDArray[np.int64], row: int, k: int, zeros: Array, E: Array) -> None:
    """E[p] of one sample for every pattern that some neuron has: the sum of D over the steps of the pattern's bits."""
    for p in range(1, 1 << k):
        if starts[row + p + 1] > starts[row + p]:
            copy_row(zeros, E[row + p])
            for step in range(k):
                if p >> step & 1:
                    add_row(D[step], E[row + p])


@compiled
def add_row(row: Array, total: Array) -> None:
    """total += row."""
    for i in range(len(row)):
        total[i] += row[i]

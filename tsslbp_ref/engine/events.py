"""A layer fed by rare spikes: work that grows with the events, not with steps times inputs. Compiled by Numba.

A spike train is mostly zeros, and a zero adds nothing to W s. So the spikes are listed once, and both products become
sums of whole rows of a table, one row an event: rows of W^T forward, rows of the filtered delta backward. Without it a
step of W3-T300 takes 544.3 % longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine.threads import aligned
from tsslbp_ref.jit import compiled, compiled_contracted
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.model.sweeps import copy_row, filter_step

Array = npt.NDArray[Any]

LOOK = 8  # inputs that are looked at together, so that a run of zeros is passed over at once
ROWS_A_BLOCK = 512  # rows of the filtered delta that are kept at a time: they stay in the second-level cache
ROWS_A_PASS = 4  # added at once: they fit the registers. One by one, a step of W3-T300 takes 16.4 % longer

# ---------------------------------------------------------------------------------------------------------------------
# The list of events
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Events:
    """The entries of spike trains s (T, B, n) that are not 0, in the order of the array.

    Parameters
    ----------
    shape : (int, int, int)
        T, B, n.
    starts : (T B + 1,) array of int64
        The events of row r = t B + b have the numbers starts[r] to starts[r + 1] - 1.
    inputs : (n_events,) array of int32
        Which of the n inputs.
    values : (n_events,) array
        s there: 1 for a spike.
    """

    shape: tuple[int, int, int]
    starts: npt.NDArray[np.int64]
    inputs: npt.NDArray[np.int32]
    values: Array

    def __len__(self) -> int:
        """Number of events."""
        return len(self.inputs)

    def dense(self) -> Array:
        """The spike trains as an array (T, B, n)."""
        T, B, n = self.shape
        s = np.zeros((T * B, n), dtype=self.values.dtype)
        s[np.repeat(np.arange(T * B), np.diff(self.starts)), self.inputs] = self.values
        return s.reshape(self.shape)


def find_events(s: npt.ArrayLike, dtype: npt.DTypeLike, *, at_most: int | None = None) -> Events | None:
    """List the entries of s that are not 0.

    Parameters
    ----------
    s : (T, B, n) array_like
        Spike trains, of any real dtype and any strides.
    dtype : {"float32", "float64"}
        Of the values in the list.
    at_most : int, optional
        The search ends soon after it has found more events than this.

    Returns
    -------
    Events or None
        None if there are more than `at_most`.

    Raises
    ------
    ValueError, TypeError
        If s has not three axes or no real numbers, or dtype or at_most is not of its kind.
    """
    trains = checks.real_array("s", s)
    if trains.ndim != 3:
        raise ValueError(f"s must be (T, B, n): steps, batch, inputs; got shape {trains.shape}")
    T, B, n = trains.shape
    limit = trains.size if at_most is None else checks.positive_integer("at_most", at_most, minimum=0)
    if trains.dtype == np.bool_:
        trains = trains.view(np.uint8)  # no loop of its own
    trains = trains.astype(trains.dtype.newbyteorder("="), copy=False)
    # The search stops at the end of a row; memory that is not written is never mapped.
    capacity = min(limit, trains.size) + n + 1
    starts = np.empty(T * B + 1, dtype=np.int64)
    inputs, values = np.empty(capacity, dtype=np.int32), np.empty(capacity, dtype=checks.float_dtype("dtype", dtype))
    count = _find_sweep(trains, limit, starts, inputs, values)
    if count > limit:
        return None
    return Events((T, B, n), starts, inputs[:count].copy(), values[:count].copy())


@compiled
def _find_sweep(
    s: Array, limit: int, starts: npt.NDArray[np.int64], inputs: npt.NDArray[np.int32], values: Array
) -> int:
    """Fill the list and return its length, or a number above the limit once there is one.

    Every entry of a group of `LOOK` that is not all 0 is written, and the next one over it if it was 0: one branch a
    group is cheaper than one an entry.
    """
    T, B, n = s.shape
    whole = n - n % LOOK
    count = 0
    for t in range(T):
        for b in range(B):
            starts[t * B + b] = count
            if count > limit:
                return count
            row = s[t, b]
            for group in range(0, whole, LOOK):
                some = False
                for i in range(group, group + LOOK):
                    some |= row[i] != 0
                if some:
                    for i in range(group, group + LOOK):
                        inputs[count], values[count] = i, row[i]
                        count += row[i] != 0
            for i in range(whole, n):
                inputs[count], values[count] = i, row[i]
                count += row[i] != 0
    starts[T * B] = count
    return count


@compiled
def first_needed_step(a: Array) -> int:
    """The first step t at which an entry of a PSC (T, B, n), contiguous, is not 0, or the last step.

    Before it W a[t] = 0. The last step is always taken: a weight that is not finite has to show in I.
    """
    T, B, n = a.shape
    flat = a.reshape(-1)
    for i in range((T - 1) * B * n):
        if flat[i] != 0:
            return i // (B * n)
    return T - 1


# ---------------------------------------------------------------------------------------------------------------------
# Products
# ---------------------------------------------------------------------------------------------------------------------


def weighted_input(events: Events, W: Array, neuron: NeuronParameters, out: Array | None = None) -> Array:
    """I = eps * (W s): W s[t] is the sum of the rows of W^T that belong to the events of step t, and F6 filters it.

    That is W a of F1, since the filter acts on time and W on neurons: W (eps * s) = eps * (W s).

    Parameters
    ----------
    events : Events
        s.
    W : (N, n) array
        float32 or float64, as the events' values.
    neuron : NeuronParameters
        Its tau_s filters.
    out : (T, B, N) array, optional
        Where I is written; a new array if not given.

    Returns
    -------
    (T, B, N) array
        I, in W's dtype. Sums are taken in the order of the inputs, so that the same events give the same bits.

    Raises
    ------
    ValueError
        If W or out does not fit the events.
    """
    T, B, n = events.shape
    checks.same_shape("W", W, (len(W), n), "the events' inputs")
    check_dtype("W", W, events)
    W_transposed = np.ascontiguousarray(W.T)
    I = np.empty((T, B, len(W)), dtype=W.dtype) if out is None else out
    checks.same_shape("out", I, (T, B, len(W)), "the events and W")
    check_dtype("out", I, events)
    theta_s = W.dtype.type(neuron.theta_s)
    _weighted_input_sweep(events.starts, events.inputs, events.values, W_transposed, theta_s, I)
    return I


def weight_gradient(events: Events, delta: Array, neuron: NeuronParameters) -> Array:
    """dL/dW = sum_t D[t] s[t]^T with D[t] = sum_{k >= t} eps[k-t] delta[k], the adjoint filter of delta.

    That is B1: sum_t delta[t] a[t]^T with a = eps * s, and the filter moved from s to delta as its adjoint. D is F6 run
    against time; a block of its steps is made at a time, and every input gathers the rows of D at which it had events.

    Parameters
    ----------
    events : Events
        s.
    delta : (T, B, N) array
        float32 or float64, as the events' values.
    neuron : NeuronParameters
        Its tau_s filters.

    Returns
    -------
    (N, n) array
        dL/dW, in delta's dtype. Sums are taken from the last block to the first and upward in it, so that the same
        events give the same bits.

    Raises
    ------
    ValueError
        If delta does not fit the events.
    """
    T, B, n = events.shape
    N = delta.shape[-1]
    checks.same_shape("delta", delta, (T, B, N), "the events")
    check_dtype("delta", delta, events)
    steps_a_block = min(T, max(1, ROWS_A_BLOCK // B))
    D, gathered = aligned(((steps_a_block + 1) * B, N), delta.dtype), aligned((n, N), delta.dtype)
    D[...] = gathered[...] = 0.0
    delta, theta_s = np.ascontiguousarray(delta), delta.dtype.type(neuron.theta_s)
    _weight_gradient_sweep(events.starts, events.inputs, events.values, delta, theta_s, D, gathered)
    return gathered.T


def check_dtype(name: str, array: Array, events: Events) -> None:
    """Raise unless the dtypes are one: a loop is compiled for each."""
    if array.dtype != events.values.dtype:
        raise ValueError(f"{name} must be {events.values.dtype} as the events' values, got {array.dtype}")


@compiled
def _weighted_input_sweep(
    starts: npt.NDArray[np.int64],
    inputs: npt.NDArray[np.int32],
    values: Array,
    W_transposed: Array,
    theta_s: float,
    I: Array,
) -> None:
    T, B, N = I.shape
    Ws = np.empty(N, I.dtype)
    zeros = np.zeros(N, I.dtype)
    for t in range(T):
        for b in range(B):
            r = t * B + b
            Ws[:] = 0.0
            add_rows(W_transposed, inputs, values, starts[r], starts[r + 1], Ws)
            filter_step(I[t - 1, b] if t > 0 else zeros, Ws, theta_s, I[t, b])


@compiled
def _weight_gradient_sweep(
    starts: npt.NDArray[np.int64],
    inputs: npt.NDArray[np.int32],
    values: Array,
    delta: Array,
    theta_s: float,
    D: Array,
    gradient: Array,
) -> None:
    """D holds a block of steps and, behind it, the step after the block; it comes as zeros, what is after the last."""
    T, B, _ = delta.shape
    rows, sorted_values = np.empty(len(inputs), np.int32), np.empty(len(inputs), values.dtype)
    stop = T
    while stop > 0:
        start = max(0, stop - len(D) // B + 1)
        for b in range(B):
            copy_row(D[b], D[(stop - start) * B + b])
        for t in range(stop - 1, start - 1, -1):
            for b in range(B):
                r = (t - start) * B + b
                filter_step(D[r + B], delta[t, b], theta_s, D[r])
        block = starts[start * B : stop * B + 1]
        first = sort_by_input(block, inputs, values, len(gradient), rows, sorted_values)
        for i in range(len(gradient)):
            add_rows(D, rows, sorted_values, first[i], first[i + 1], gradient[i])
        stop = start


@compiled_contracted
def add_rows(table: Array, which: npt.NDArray[np.int32], values: Array, start: int, stop: int, total: Array) -> None:
    """total += sum_e values[e] table[which[e]] for e from start to stop - 1: four rows a pass over the total."""
    fours = start + (stop - start) // ROWS_A_PASS * ROWS_A_PASS
    for e in range(start, fours, ROWS_A_PASS):
        i, j, k, m = which[e], which[e + 1], which[e + 2], which[e + 3]
        p, q, r, s = values[e], values[e + 1], values[e + 2], values[e + 3]
        for o in range(len(total)):
            total[o] = total[o] + p * table[i, o] + q * table[j, o] + r * table[k, o] + s * table[m, o]
    for e in range(fours, stop):
        i, p = which[e], values[e]
        for o in range(len(total)):
            total[o] += p * table[i, o]


@compiled
def sort_by_input(
    starts: npt.NDArray[np.int64],
    inputs: npt.NDArray[np.int32],
    values: Array,
    n_inputs: int,
    rows: npt.NDArray[np.int32],
    sorted_values: Array,
) -> npt.NDArray[np.int64]:
    """Sort a block of rows' events by input, in order within an input, by counting.

    Row numbers, counted from the block's first, go to the front of `rows` and values to that of `sorted_values`. Those
    of input i have the indices first[i] to first[i + 1] - 1, where first is what is returned.
    """
    first = np.zeros(n_inputs + 1, np.int64)
    for e in range(starts[0], starts[-1]):
        first[inputs[e] + 1] += 1
    for i in range(n_inputs):
        first[i + 1] += first[i]
    free = first.copy()
    for r in range(len(starts) - 1):
        for e in range(starts[r], starts[r + 1]):
            index = free[inputs[e]]
            free[inputs[e]] += 1
            rows[index], sorted_values[index] = r, values[e]
    return first

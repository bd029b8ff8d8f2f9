"""A fully connected layer fed by neurons: their spike trains read as words, and work that follows the words. Compiled.

Cut time into pieces of some steps. In a piece a neuron's spike train is a word: a number whose bit k says whether the
neuron fired at the piece's step k. Neurons of one sample that share a word send the same thing at every step, so their
rows of W^T are added once, for the word, and not once a step:

    (W s)[t] = sum over words w that have the bit of t of Z[w],   Z[w] = sum of W^T's rows of the neurons with word w
    I        = eps * (W s)

and backward, with D[t] = sum_{k >= t} eps[k-t] delta[k],

    dL/dW^T's row of neuron i = sum over its words w of E[w],   E[w] = sum over the steps t of w's bits of D[t].

A neuron that is silent in a piece has the word 0 and costs nothing; every other costs a row a piece, whatever it fired.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine.fast_events import Events, add_rows, check_dtype, sort_by_input
from tsslbp_ref.jit import compiled
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.model.sweeps import copy_row, filter_step
from tsslbp_ref.model.trace import Trace

Array = npt.NDArray[Any]

FEWEST_NEURONS = 400  # that a layer must have for words to be followed: the narrowest in benchmarks/scaling.py
SHARE_A_STEP = 0.09  # times k, the share of neurons up to which words of k steps are followed: each row serves k steps
LONGEST_WORD = 5  # steps: words of more are shared by fewer neurons, and there are twice as many with each
SAMPLES_A_BLOCK = 32  # at most, whose E are kept at a time: they stay in the second-level cache


@dataclass(frozen=True)
class Words(Events):
    """The neurons of a layer by the words that their spike trains spell.

    Its shape is (pieces, B 2^k, n) with k the steps a word: row b 2^k + w of a piece has an event at neuron i if i of
    sample b spells w there. All values are 1; rows of the word 0 are empty.

    Parameters
    ----------
    shape, starts, inputs, values
        Of `Events`.
    n_steps : int
        T.
    """

    n_steps: int

    @property
    def length(self) -> int:
        """Steps a word, k."""
        return word_length(self.n_steps)

    @property
    def batch(self) -> int:
        """Number of samples B."""
        return self.shape[1] >> self.length


def word_length(n_steps: int) -> int:
    """Steps a word: pieces of equal length, as few as `LONGEST_WORD` allows."""
    pieces = -(-checks.positive_integer("n_steps", n_steps) // LONGEST_WORD)
    return -(-n_steps // pieces)


def find_words(trace: Trace) -> Words:
    """List the neurons of a layer by the words that their spike trains spell.

    Parameters
    ----------
    trace : Trace
        Of the layer; u is (T, B, n), contiguous.

    Returns
    -------
    Words

    Raises
    ------
    ValueError, TypeError
        If it is no trace, or u has not three axes.
    """
    u = checks.instance_of("trace", trace, Trace).u
    if u.ndim != 3:
        raise ValueError(f"trace.u must have shape (T, B, n), got {u.shape}")
    T, B, n = u.shape
    k = word_length(T)
    starts, inputs, values = words_of(np.ascontiguousarray(u), u.dtype.type(trace.threshold), k)
    return Words((-(-T // k), B << k, n), starts, inputs, values, T)


def weighted_input(words: Words, W: Array, neuron: NeuronParameters, out: Array | None = None) -> Array:
    """I = eps * (W s), where W s[t] is the sum of Z over the words with the bit of t, and F6 filters it.

    In a network `fast_dense` does the same within its call; this is for checks, and for layers timed by themselves.

    Parameters
    ----------
    words : Words
    W : (N, n) array
        float32 or float64, as the trace was.
    neuron : NeuronParameters
        Its tau_s filters.
    out : (T, B, N) array, optional
        Where I is written; a new array if not given.

    Returns
    -------
    (T, B, N) array
        I, in W's dtype.

    Raises
    ------
    ValueError
        If W or out does not fit the words.
    """
    checks.same_shape("W", W, (len(W), words.shape[2]), "the words' neurons")
    check_dtype("W", W, words)
    shape = (words.n_steps, words.batch, len(W))
    I = np.empty(shape, W.dtype) if out is None else out
    checks.same_shape("out", I, shape, "the words and W")
    check_dtype("out", I, words)
    W_transposed, theta_s = np.ascontiguousarray(W.T), W.dtype.type(neuron.theta_s)
    weighted_input_sweep(words.starts, words.inputs, words.values, W_transposed, theta_s, words.length, I)
    return I


def weight_gradient(words: Words, delta: Array, neuron: NeuronParameters) -> Array:
    """dL/dW = sum_t D[t] s[t]^T, where every neuron gathers the E of its words.

    Parameters
    ----------
    words : Words
    delta : (T, B, N) array
        float32 or float64, as the trace was.
    neuron : NeuronParameters
        Its tau_s filters.

    Returns
    -------
    (N, n) array
        dL/dW, in delta's dtype.

    Raises
    ------
    ValueError
        If delta does not fit the words.
    """
    N = delta.shape[-1]
    checks.same_shape("delta", delta, (words.n_steps, words.batch, N), "the words")
    check_dtype("delta", delta, words)
    gradient = np.empty((words.shape[2], N), delta.dtype)
    lists, theta_s = (words.starts, words.inputs, words.values), delta.dtype.type(neuron.theta_s)
    weight_gradient_sweep(*lists, np.ascontiguousarray(delta), theta_s, words.length, gradient)
    return gradient.T


@compiled
def few_spell(inputs: npt.NDArray[np.int32], u: Array, k: int) -> bool:
    """Whether so few neurons of a layer, of membranes u (T, B, n), spell words of k steps that following them pays."""
    T, B, n = u.shape
    pieces = -(-T // k)
    return len(inputs) <= SHARE_A_STEP * k * (pieces * B * n)


@compiled
def words_of(u: Array, threshold: float, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Array]:
    """Read, count, and put the neurons in the order of their words: starts, inputs and values of the list."""
    T, B, n = u.shape
    pieces = -(-T // k)
    starts, inputs = np.empty(pieces * (B << k) + 1, np.int64), np.empty(pieces * B * n, np.int32)
    words, free = np.empty(n, np.uint8), np.empty((1 << k) + 1, np.int64)
    row = 0
    count = 0
    for first in range(0, T, k):
        for b in range(B):
            for i in range(n):
                words[i] = 0
            for t in range(first, min(first + k, T)):
                _add_bit(u[t, b], threshold, np.uint8(1 << (t - first)), words)
            for w in range(len(free)):
                free[w] = 0
            for i in range(n):
                free[words[i] + 1] += 1
            free[0] = free[1] = count  # the silent are not listed
            for w in range(1 << k):
                starts[row + w] = free[w]
                free[w + 1] += free[w] if w > 0 else 0
            row += 1 << k
            count = free[1 << k]
            for i in range(n):
                if words[i] > 0:
                    inputs[free[words[i]]] = i
                    free[words[i]] += 1
    starts[row] = count
    return starts, inputs[:count], np.ones(count, u.dtype)


@compiled
def _add_bit(u: Array, threshold: float, bit: int, words: npt.NDArray[np.uint8]) -> None:
    for i in range(len(u)):
        words[i] |= bit if u[i] > threshold else np.uint8(0)


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
    """I = eps * (W s) from the list of words.

    Parameters
    ----------
    starts, inputs, values : array
        Of `find_words`.
    W_transposed : (n, N) array
        Contiguous, as all arrays here.
    theta_s : float
        In W's dtype.
    k : int
        Steps a word.
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
            for w in range(1, 1 << k):
                if starts[row + w + 1] > starts[row + w]:
                    copy_row(zeros, Z)
                    add_rows(W_transposed, inputs, values, starts[row + w], starts[row + w + 1], Z)
                    for t in range(first, min(first + k, T)):
                        if w >> (t - first) & 1:
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
    """dL/dW^T from the list of words: every neuron gathers the E of its words, a block of samples at a time.

    Parameters
    ----------
    starts, inputs, values : array
        Of `find_words`.
    delta : (T, B, N) array
        Contiguous, as all arrays here.
    theta_s : float
        In delta's dtype.
    k : int
        Steps a word.
    gradient : (n, N) array
        Written.
    """
    T, B, N = delta.shape
    zeros = np.zeros(N, delta.dtype)
    D, after = np.zeros((k + 1, N), delta.dtype), np.zeros((B, N), delta.dtype)
    size = -(-B // -(-B // SAMPLES_A_BLOCK))  # blocks of equal size: every one passes over all the gradient's rows
    E = np.empty((size << k, N), delta.dtype)
    rows, sorted_values = np.empty(len(inputs), np.int32), np.empty(len(inputs), values.dtype)
    for piece in range((T - 1) // k, -1, -1):
        for start in range(0, B, size):
            stop = min(start + size, B)
            block = starts[(piece * B + start) << k : ((piece * B + stop) << k) + 1]
            for b in range(start, stop):
                _filter_piece(delta, piece * k, b, theta_s, after[b], D)
                _sums_by_word(D, block, (b - start) << k, k, zeros, E)
            first = sort_by_input(block, inputs, values, len(gradient), rows, sorted_values)
            is_first = piece == (T - 1) // k and start == 0
            for i in range(len(gradient)):
                if is_first:
                    copy_row(zeros, gradient[i])
                add_rows(E, rows, sorted_values, first[i], first[i + 1], gradient[i])


@compiled
def _filter_piece(delta: Array, first: int, b: int, theta_s: float, after: Array, D: Array) -> None:
    """D of a piece's steps, F6 run against time; `after` holds D of the step behind it before, of its first after."""
    stop = min(first + len(D) - 1, len(delta))
    copy_row(after, D[stop - first])
    for t in range(stop - 1, first - 1, -1):
        filter_step(D[t - first + 1], delta[t, b], theta_s, D[t - first])
    copy_row(D[0], after)


@compiled
def _sums_by_word(D: Array, starts: npt.NDArray[np.int64], row: int, k: int, zeros: Array, E: Array) -> None:
    """E[w] of one sample for every word that some neuron spells: the sum of D over the steps of the word's bits."""
    for w in range(1, 1 << k):
        if starts[row + w + 1] > starts[row + w]:
            copy_row(zeros, E[row + w])
            for step in range(k):
                if w >> step & 1:
                    add_row(D[step], E[row + w])


@compiled
def add_row(row: Array, total: Array) -> None:
    """total += row."""
    for i in range(len(row)):
        total[i] += row[i]

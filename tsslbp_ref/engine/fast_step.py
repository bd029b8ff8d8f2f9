"""Fully connected layers under a static picture: forward, loss, chain rule and update of a shard in one compiled call.

Same numbers as layer by layer (`fast_static`, `fast_dense`, `losses.van_rossum`, `optim.AdamW`). Threads take their
shards through it at the same time without a word of Python in between.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine import fast_dense, fast_static
from tsslbp_ref.engine.fast_dense import flat
from tsslbp_ref.engine.fast_optim import Update, update_part
from tsslbp_ref.engine.fast_together import Place, begin, end, meet, part
from tsslbp_ref.engine.fast_words import add_row
from tsslbp_ref.jit import compiled, multiply
from tsslbp_ref.model.parameters import RuleCoefficients

Array = npt.NDArray[Any]

ALL_FINITE = -1.0  # in the place of the number of a layer whose membranes are not
N_REPORTED = 4
LOSS, NOT_FINITE, GATHERED, UPDATED = range(N_REPORTED)  # places in a shard's report


class Fed(NamedTuple):
    """What a shard is fed. All arrays, here and below, are contiguous and of one dtype.

    Parameters
    ----------
    gain : (T,) array
        c[t] of a static picture.
    target : (T, B, N) array
        The PSC that the output is compared with, of the last layer's N neurons.
    Ws_transposed : tuple of (n, N) array
        From the first layer of neurons to the last, two or more.
    by_words, word_length
        Of `fast_dense.run_neurons`, for the layers behind the first.
    """

    gain: Array
    target: Array
    Ws_transposed: tuple[Array, ...]
    by_words: tuple[bool, ...]
    word_length: int


class Written(NamedTuple):
    """What a shard's pass writes.

    Parameters
    ----------
    us, pscs, gs : tuple of (T, B, N) array
        Membranes, PSCs and dL/da of every layer; gs hold delta afterwards, but for the first.
    drive : (n_samples, N) array
        W x of the first layer and all shards, for a thread that has to make it by itself.
    """

    us: tuple[Array, ...]
    pscs: tuple[Array, ...]
    gs: tuple[Array, ...]
    drive: Array


class NeuronAndRule(NamedTuple):
    """Of neuron and rule, in the arrays' dtype."""

    theta_m: float
    theta_s: float
    threshold: float
    c: RuleCoefficients


class Shared(NamedTuple):
    """What all shards of a mini-batch have in common.

    Parameters
    ----------
    x : (n_samples, n) array
        Pictures of all shards.
    first_samples : (n_shards + 1,) array of int
        Where every shard begins, and the last ends.
    drive, total : (n_samples, N) array
        W x and sum_t c[t] delta[t] of the first layer.
    parts : tuple of (n_shards - 1, n, N) array
        dL/dW^T of the layers behind the first, by all shards but the first.
    dWs_transposed : tuple of (n, N) array
        dL/dW^T of every layer; those behind the first hold the first shard's until the others' are added.
    reports : (n_shards, 4) array of float64
        Of every shard its loss, the number of the first layer whose membranes are not finite, or `ALL_FINITE`, whether
        the gradients have been gathered, and whether the weights have been updated.
    """

    x: Array
    first_samples: npt.NDArray[np.int64]
    drive: Array
    total: Array
    parts: tuple[Array, ...]
    dWs_transposed: tuple[Array, ...]
    reports: npt.NDArray[np.float64]


@compiled
def shard_step(
    place: Place,
    constants: NeuronAndRule,
    fed: Fed,
    written: Written,
    dWs_transposed: tuple[Array, ...],
    shared: Shared,
    update: Update,
) -> bool:
    """Take a shard there and back, a thread each; nothing goes back where membranes are not finite.

    W x and dL/dW of the first layer are products for all shards, of which every thread makes a part. After the one,
    before the other, and before the weights change, all have to meet. Where a thread is late, all make W x by
    themselves, and leave the rest to who called.

    Parameters
    ----------
    place : Place
    constants : NeuronAndRule
    fed : Fed
    written : Written
    dWs_transposed : tuple of (n, N) array
        The shard's dL/dW^T of the layers behind the first; written.
    shared : Shared
        Its reports say what is still to be done: `gather`, the update.
    update : Update
    """
    theta_m, theta_s, threshold, c = constants
    gain, target, Ws_transposed, by_words, k = fed
    us, pscs, gs, own_drive = written
    report = shared.reports[place.thread]
    begin(place)
    _drive_of_neurons(shared.x, Ws_transposed[0], place.thread, place.n_threads, shared.drive)
    drive = shared.drive
    if not meet(place, 1):
        drive = own_drive
        for thread in range(place.n_threads):
            _drive_of_neurons(shared.x, Ws_transposed[0], thread, place.n_threads, drive)
    samples = slice(shared.first_samples[place.thread], shared.first_samples[place.thread + 1])
    drive_of_shard, total = drive[samples].reshape(-1), shared.total[samples].reshape(-1)
    # F3 - F6 in the first layer, F1 and F3 - F6 in the others
    fast_static.static_sweep(drive_of_shard, gain, theta_m, theta_s, threshold, flat(us[0]), flat(pscs[0]))
    words = fast_dense.forward(us, pscs, Ws_transposed[1:], by_words, k, theta_m, theta_s, threshold)
    report[NOT_FINITE] = _first_not_finite(us)
    if report[NOT_FINITE] == ALL_FINITE:
        # L1
        report[LOSS] = _van_rossum(pscs[-1], target, gs[-1])
        # B1 - B3, and B2 in the first layer
        fast_dense.backward(gs, us, pscs, Ws_transposed[1:], words, k, c, dWs_transposed)
        fast_static.static_backward_sweep(flat(gs[0]), gain, flat(us[0]), flat(pscs[0]), c, total)
    report[GATHERED] = report[UPDATED] = False
    if meet(place, 2):
        gather(shared, place.thread, place.n_threads)
        report[GATHERED] = True
        if update.wanted and _all_shards_finite(shared.reports) and meet(place, 3):
            report[UPDATED] = update_part(update, place.thread, place.n_threads)
    return end(place)


@compiled
def _all_shards_finite(reports: npt.NDArray[np.float64]) -> bool:
    return bool(np.all(reports[:, NOT_FINITE] == ALL_FINITE))


@compiled
def _drive_of_neurons(x: Array, W_transposed: Array, thread: int, n_threads: int, drive: Array) -> None:
    """W x for all samples and a thread's neurons: BLAS lays out the thread's weights only, and not all for each."""
    neurons = part(W_transposed.shape[1], thread, n_threads)
    multiply(x, W_transposed[:, neurons], drive[:, neurons], False, False, False)


@compiled
def gather(shared: Shared, thread: int, n_threads: int) -> None:
    """A thread's inputs, for all shards: of the first layer's dL/dW^T = x^T total, and of the sums of the others.

    A product for all samples takes less long than a product a shard and their sum.
    """
    x, total, parts, dWs_transposed = shared.x, shared.total, shared.parts, shared.dWs_transposed
    rows = part(len(dWs_transposed[0]), thread, n_threads)
    multiply(x[:, rows], total, dWs_transposed[0][rows], True, False, False)
    for layer in range(len(parts)):
        rows = part(len(dWs_transposed[layer + 1]), thread, n_threads)
        for of_shard in parts[layer]:
            for i in range(rows.start, rows.stop):
                add_row(of_shard[i], dWs_transposed[layer + 1][i])


@compiled
def _first_not_finite(us: tuple[Array, ...]) -> float:
    """Number of the first layer with a membrane that is not finite at the end: one that was not once never is again."""
    for layer in range(len(us)):
        for u in us[layer][-1].reshape(-1):
            if not np.isfinite(u):
                return layer
    return ALL_FINITE


@compiled
def _van_rossum(a: Array, target: Array, g: Array) -> float:
    """L = 1/2 ||a - target||^2, returned, and dL/da = a - target, written    (L1)."""
    a, target, error = a.reshape(-1), target.reshape(-1), g.reshape(-1)
    for i in range(len(error)):
        error[i] = a[i] - target[i]
    return 0.5 * np.dot(error, error)

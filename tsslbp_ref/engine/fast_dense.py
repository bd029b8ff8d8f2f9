"""A run of fully connected layers in one compiled call forward and one back: products, neurons and chain rule together.

Same numbers as layer by layer and part by part (`signals`, `layers.Dense`, `fast`). A call that returns to Python has
to wait for the interpreter lock, and on layers of some hundred neurons threads wait about as long as they work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg.cython_blas  # noqa: F401 - compiled loops multiply with it; loaded now, so that its threads can be limited

from tsslbp_ref.engine import fast_events, fast_words
from tsslbp_ref.jit import compiled
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.parameters import RuleCoefficients

Array = npt.NDArray[Any]
WordList = tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Array]  # starts, inputs and values


@compiled
def run_neurons(
    us: tuple[Array, ...],
    pscs: tuple[Array, ...],
    Ws_transposed: tuple[Array, ...],
    by_words: tuple[bool, ...],
    k: int,
    theta_m: float,
    theta_s: float,
    threshold: float,
) -> None:
    """I[t] = W a_below[t] (F1), then F3 to F6, for one layer after the other.

    Parameters
    ----------
    us, pscs : tuple of (T, B, N) array
        Membranes and PSCs; the first are those of what feeds the run, the others are written. Where a layer does not
        follow words, the membranes below are not read. Contiguous, as all arrays here.
    Ws_transposed : tuple of (n, N) array
    by_words : tuple of bool
        For each layer whether the words of what feeds it are followed, or its PSCs multiplied.
    k : int
        Steps a word.
    theta_m, theta_s, threshold : float
        In W's dtype.
    """
    forward(us, pscs, Ws_transposed, by_words, k, theta_m, theta_s, threshold)


@compiled
def forward(
    us: tuple[Array, ...],
    pscs: tuple[Array, ...],
    Ws_transposed: tuple[Array, ...],
    by_words: tuple[bool, ...],
    k: int,
    theta_m: float,
    theta_s: float,
    threshold: float,
) -> list[WordList]:
    """`run_neurons` within a compiled loop; returns for each layer the words that it followed, or none."""
    followed = []
    for layer in range(len(Ws_transposed)):
        W_transposed, u, a = Ws_transposed[layer], us[layer + 1], pscs[layer + 1]
        finite = by_words[layer] and _all_finite(W_transposed)  # a weight that is not has to show in I
        words = _words_to_follow(us[layer], threshold, k, finite)
        if _is_followed(words):
            fast_words.weighted_input_sweep(*words, W_transposed, theta_s, k, u)
        else:
            _weighted_input(pscs[layer], W_transposed, u)
        sweeps.lif_sweep(flat(u), theta_m, theta_s, threshold, flat(a))
        followed.append(words)
    return followed


@compiled
def run_chain_rule(
    gs: tuple[Array, ...],
    us: tuple[Array, ...],
    pscs: tuple[Array, ...],
    Ws_transposed: tuple[Array, ...],
    by_words: tuple[bool, ...],
    k: int,
    c: RuleCoefficients,
    dWs_transposed: tuple[Array, ...],
) -> None:
    """B2 in time, dL/dW = sum_t delta[t] a_below[t]^T (B1), dL/da below = W^T delta[t] (B3), from the last layer down.

    Parameters
    ----------
    gs : tuple of (T, B, N) array
        dL/da of what feeds the run and of its layers; the last holds it before, all are overwritten, the first holds it
        after.
    us, pscs, Ws_transposed, by_words, k
        Of `run_neurons`.
    c : RuleCoefficients
        In g's dtype.
    dWs_transposed : tuple of (n, N) array
        Written.
    """
    followed = [_words_to_follow(us[i], c.threshold, k, by_words[i]) for i in range(len(Ws_transposed))]
    backward(gs, us, pscs, Ws_transposed, followed, k, c, dWs_transposed)


@compiled
def backward(
    gs: tuple[Array, ...],
    us: tuple[Array, ...],
    pscs: tuple[Array, ...],
    Ws_transposed: tuple[Array, ...],
    followed: list[WordList],
    k: int,
    c: RuleCoefficients,
    dWs_transposed: tuple[Array, ...],
) -> None:
    """`run_chain_rule` within a compiled loop, with the words that `forward` followed."""
    for layer in range(len(Ws_transposed) - 1, -1, -1):
        W_transposed, dW_transposed, delta = Ws_transposed[layer], dWs_transposed[layer], gs[layer + 1]
        sweeps.backward_sweep(flat(delta), flat(us[layer + 1]), flat(pscs[layer + 1]), c)
        np.dot(_rows(delta), W_transposed.T, _rows(gs[layer]))
        words = followed[layer]
        if _is_followed(words):
            fast_words.weight_gradient_sweep(*words, delta, c.theta_s, k, dW_transposed)
        else:
            first = fast_events.first_needed_step(pscs[layer])
            np.dot(_rows(pscs[layer][first:]).T, _rows(delta[first:]), dW_transposed)


@compiled
def _words_to_follow(u_below: Array, threshold: float, k: int, may_follow: bool) -> WordList:
    """The words of what feeds a layer, and an empty list of them where they may not be followed or do not pay."""
    if may_follow:
        words = fast_words.words_of(u_below, threshold, k)
        if fast_words.few_spell(words[1], u_below, k):
            return words
    return np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, u_below.dtype)


@compiled
def _is_followed(words: WordList) -> bool:
    return len(words[0]) > 0


@compiled
def _weighted_input(below: Array, W_transposed: Array, I: Array) -> None:
    """W a[t] from the first step at which anything fired."""
    first = fast_events.first_needed_step(below)
    I[:first] = 0.0
    np.dot(_rows(below[first:]), W_transposed, _rows(I[first:]))


@compiled
def _all_finite(W: Array) -> bool:
    """Whether the sum of squares is finite: False for huge weights too, which are then multiplied in the plain way."""
    flat = W.reshape(-1)
    return bool(np.isfinite(np.dot(flat, flat)))


@compiled
def flat(array: Array) -> Array:
    """View a (T, B, N) array as (T, B N)."""
    return array.reshape(len(array), -1)


@compiled
def _rows(array: Array) -> Array:
    return array.reshape(-1, array.shape[-1])

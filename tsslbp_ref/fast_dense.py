"""A fully connected layer in one compiled call forward and one back: product, neurons and chain rule together.

Same numbers as `layers.Dense` and `fast` one after the other. A call that returns to Python has to wait for the
interpreter lock, and on a layer of some hundred neurons threads wait about as long as they work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.linalg.cython_blas  # noqa: F401 - compiled loops multiply with it; loaded now, so that its threads can be limited

from tsslbp_ref import fast
from tsslbp_ref.compilation import compiled
from tsslbp_ref.parameters import RuleCoefficients

Array = npt.NDArray[Any]


@compiled
def dense_neurons(
    below: Array, first: int, W: Array, theta_m: float, theta_s: float, threshold: float, u: Array, a: Array
) -> None:
    """I[t] = W a_below[t] (F1), then F3 to F6.

    Parameters
    ----------
    below : (T, B, n) array
        PSC of the layer below; contiguous, as all arrays here.
    first : int
        Up to this step every PSC below is 0.
    W : (N, n) array
    theta_m, theta_s, threshold : float
        In W's dtype.
    u, a : (T, B, N) array
        Written.
    """
    T, B, N = u.shape
    u[:first] = 0.0
    np.dot(below[first:].reshape(-1, W.shape[1]), W.T, u[first:].reshape(-1, N))
    fast.lif_sweep(u.reshape(T, B * N), theta_m, theta_s, threshold, a.reshape(T, B * N))


@compiled
def dense_chain_rule(
    g: Array, u: Array, a: Array, c: RuleCoefficients, below: Array, first: int, W: Array, dW: Array, g_below: Array
) -> None:
    """B2 in time, dL/dW = sum_t delta[t] a_below[t]^T (B1), and g_below[t] = W^T delta[t] (B3).

    Parameters
    ----------
    g : (T, B, N) array
        dL/da before, delta after; contiguous, as all arrays here.
    u, a : (T, B, N) array
    c : RuleCoefficients
        In g's dtype.
    below : (T, B, n) array
        PSC of the layer below.
    first : int
        Up to this step every PSC below is 0.
    W, dW : (N, n) array
        The second is written.
    g_below : (T, B, n) array
        Written.
    """
    T, B, N = g.shape
    n = W.shape[1]
    fast.backward_sweep(g.reshape(T, B * N), u.reshape(T, B * N), a.reshape(T, B * N), c)
    np.dot(g[first:].reshape(-1, N).T, below[first:].reshape(-1, n), dW)
    np.dot(g.reshape(-1, N), W, g_below.reshape(-1, n))

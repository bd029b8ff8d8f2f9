"""Neurons under a static picture and the pooling behind them, a map at a time: u and a are never whole in memory.

With I[t] = c[t] W x all that a neuron does follows from its drive, W x. So forward keeps only the drive and the pooled
PSC, and backward makes u and a once more, a map at a time, which takes less long than to fetch them. Same step
functions and numbers as `fast` and `fast_layers` one after the other. Compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine import fast_layers, fast_static
from tsslbp_ref.jit import compiled
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.parameters import RuleCoefficients

Array = npt.NDArray[Any]


@compiled
def neurons_and_pool(
    drive: Array,
    gain: Array,
    theta_m: float,
    theta_s: float,
    threshold: float,
    size: int,
    pool_gain: float,
    pooled: Array,
) -> bool:
    """F3 to F6 from I[t] = c[t] drive, and y[t] = gain times the sums of a[t] over size x size blocks.

    Parameters
    ----------
    drive : (M, H, W) array
        W x, a map after the other; contiguous, as all arrays here.
    gain : (T,) array
        c.
    theta_m, theta_s, threshold : float
        In the drive's dtype.
    size : int
    pool_gain : float
        In the drive's dtype.
    pooled : (T, M, H // size, W // size) array
        Written.

    Returns
    -------
    bool
        Whether the membranes of the last step are finite: one that was not once never is again.
    """
    T, (M, H, W) = len(gain), drive.shape
    finite = True
    u, a, zeros = _rows(2, H * W, drive.dtype)  # of this step and the one before, in turn
    for m in range(M):
        for t in range(T):
            u_before, a_before = (u[(t - 1) % 2], a[(t - 1) % 2]) if t > 0 else (zeros, zeros)
            u_now, a_now = u[t % 2], a[t % 2]
            constants = (theta_m, theta_s, threshold)
            fast_static.static_step(drive[m].reshape(-1), gain[t], u_before, a_before, *constants, u_now, a_now)
            fast_layers.pool_forward(a_now.reshape(1, H, W), size, pool_gain, pooled[t, m : m + 1])
        finite = finite and _all_finite(u[(T - 1) % 2])
    return finite


@compiled
def pool_and_chain_rule(
    g: Array, gain: Array, drive: Array, c: RuleCoefficients, size: int, pool_gain: float, total: Array
) -> None:
    """sum_t c[t] delta[t] of the neurons, all that dL/dW asks for, from dL/dy of the pooled PSC    (B2).

    Parameters
    ----------
    g : (T, M, H // size, W // size) array
        dL/dy; contiguous, as all arrays here.
    gain, drive, size, pool_gain
        Of `neurons_and_pool`.
    c : RuleCoefficients
        In g's dtype.
    total : (M, H, W) array
        Written.
    """
    T, (M, H, W) = len(gain), drive.shape
    u, a, zeros = _rows(T, H * W, drive.dtype)
    delta, G = np.empty((T, H * W), drive.dtype), np.zeros((T + 2, H * W), drive.dtype)
    spread = np.zeros((T, H * W), drive.dtype)  # stays 0 where rows and columns fill no block
    whole = slice(0, H * W)
    for m in range(M):
        for t in range(T):
            u_before, a_before = (u[t - 1], a[t - 1]) if t > 0 else (zeros, zeros)
            constants = (c.theta_m, c.theta_s, c.threshold)
            fast_static.static_step(drive[m].reshape(-1), gain[t], u_before, a_before, *constants, u[t], a[t])
            fast_layers.pool_adjoint(g[t, m : m + 1], size, pool_gain, spread[t].reshape(1, H, W))
        sweeps.backward_block(spread, u, a, whole, c, G, zeros, delta, whole)
        fast_static.weighted_sum(delta, whole, gain, total[m].reshape(-1))


@compiled
def _all_finite(row: Array) -> bool:
    """Whether x - x is 0 throughout, as it is for finite numbers only."""
    n_others = 0
    for i in range(len(row)):
        n_others += row[i] - row[i] != 0.0
    return n_others == 0


@compiled
def _rows(n_steps: int, n: int, dtype: Any) -> tuple[Array, Array, Array]:
    """Room for u and a of a map, and what is before the first step."""
    return np.empty((n_steps, n), dtype), np.empty((n_steps, n), dtype), np.zeros(n, dtype)

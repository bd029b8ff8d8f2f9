"""A layer of neurons under a static picture, shown at every step: I[t] = c[t] W x. Compiled by Numba.

Same step functions as `fast`. The weighted input is made where it is needed, and of delta only a weighted sum is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.jit import compiled
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.parameters import NeuronParameters, RuleCoefficients
from tsslbp_ref.model.trace import Trace

# ---------------------------------------------------------------------------------------------------------------------
# Forward
# ---------------------------------------------------------------------------------------------------------------------


def lif_forward_static(
    drive: npt.NDArray[Any], gain: npt.NDArray[Any], neuron: NeuronParameters, u: npt.NDArray[Any], a: npt.NDArray[Any]
) -> Trace:
    """`fast.lif_forward` for I[t] = c[t] drive, without a copy or a check: the weighted input is never written out.

    Parameters
    ----------
    drive : (B, N) array
        W x of a picture that is shown at every step.
    gain : (T,) array
        c.
    neuron : NeuronParameters
    u, a : (T, B, N) array
        Contiguous; written.

    Returns
    -------
    Trace
        Of u and a.
    """
    static_sweep(drive.reshape(-1), gain, *sweeps.neuron_constants(neuron, u.dtype), sweeps.flat(u), sweeps.flat(a))
    return Trace(u, a, neuron.threshold)


@compiled
def static_sweep(
    drive: npt.NDArray[Any],
    gain: npt.NDArray[Any],
    theta_m: float,
    theta_s: float,
    threshold: float,
    u: npt.NDArray[Any],
    a: npt.NDArray[Any],
) -> None:
    """`lif_forward_static` on flat arrays, drive (M,), u and a (T, M), with the constants in their dtype."""
    T, M = u.shape
    size = sweeps.block_size(T)
    zeros = np.zeros(size, u.dtype)
    for start in range(0, M, size):
        block = slice(start, min(start + size, M))
        for t in range(T):
            u_before, a_before = (u[t - 1, block], a[t - 1, block]) if t > 0 else (zeros, zeros)
            step = (theta_m, theta_s, threshold, u[t, block], a[t, block])
            static_step(drive[block], gain[t], u_before, a_before, *step)


@compiled
def static_step(
    drive: npt.NDArray[Any],
    gain: float,
    u_before: npt.NDArray[Any],
    a_before: npt.NDArray[Any],
    theta_m: float,
    theta_s: float,
    threshold: float,
    u: npt.NDArray[Any],
    a: npt.NDArray[Any],
) -> None:
    """F3 to F6 with I[t] = c[t] W x for a block of neurons."""
    _scale(drive, gain, u)
    sweeps.lif_step(u_before, a_before, theta_m, theta_s, threshold, u, a)


@compiled
def _scale(row: npt.NDArray[Any], factor: float, scaled: npt.NDArray[Any]) -> None:
    for i in range(len(row)):
        scaled[i] = factor * row[i]


# ---------------------------------------------------------------------------------------------------------------------
# Backward
# ---------------------------------------------------------------------------------------------------------------------


def tsslbp_backward_static(
    g: npt.NDArray[Any], gain: npt.NDArray[Any], trace: Trace, c: RuleCoefficients
) -> npt.NDArray[Any]:
    """sum_t c[t] delta[t], all that dL/dW asks of delta where I[t] = c[t] W x; delta itself is never written out.

    Parameters
    ----------
    g : (T, B, N) array
        dL/da, contiguous.
    gain : (T,) array
        c[t].
    trace : Trace
    c : RuleCoefficients
        From `fast.coefficients`, in g's dtype.

    Returns
    -------
    (B, N) array
    """
    total = np.empty(g.shape[1:], g.dtype)
    static_backward_sweep(sweeps.flat(g), gain, sweeps.flat(trace.u), sweeps.flat(trace.a), c, total.reshape(-1))
    return total


@compiled
def static_backward_sweep(
    g: npt.NDArray[Any],
    gain: npt.NDArray[Any],
    u: npt.NDArray[Any],
    a: npt.NDArray[Any],
    c: RuleCoefficients,
    total: npt.NDArray[Any],
) -> None:
    """`tsslbp_backward_static` on flat arrays, g, u and a (T, M), total (M,), which is written."""
    T, M = g.shape
    size = sweeps.block_size(T)
    G, zeros = np.zeros((T + 2, size), g.dtype), np.zeros(size, g.dtype)
    delta = np.empty((T, size), g.dtype)
    for start in range(0, M, size):
        block = slice(start, min(start + size, M))
        place = slice(0, block.stop - start)
        sweeps.backward_block(g, u, a, block, c, G, zeros, delta, place)
        weighted_sum(delta, place, gain, total[block])


@compiled
def weighted_sum(delta: npt.NDArray[Any], place: slice, gain: npt.NDArray[Any], total: npt.NDArray[Any]) -> None:
    """sum_t c[t] delta[t] of the neurons in a place."""
    _scale(delta[0, place], gain[0], total)
    for t in range(1, len(delta)):
        _add_scaled(delta[t, place], gain[t], total)


@compiled
def _add_scaled(row: npt.NDArray[Any], factor: float, total: npt.NDArray[Any]) -> None:
    for i in range(len(row)):
        total[i] += factor * row[i]

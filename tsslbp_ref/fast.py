"""The model and its backward pass in one sweep over time: O(T) per neuron, compiled by Numba.

Same names and banners as `reference`, same scalar functions of `terms`; only the loops differ. Arrays are swept in
blocks of neurons, time inside the block, so that a block's state stays in the first-level cache and the innermost loop
runs over neighbouring neurons.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks, terms
from tsslbp_ref.parameters import GradientRule, NeuronParameters, RuleCoefficients
from tsslbp_ref.trace import Trace, checked_psc_gradient, checked_weighted_input

BLOCK = 128  # neurons a block: its rows of T steps stay in the first- or second-level cache

# ---------------------------------------------------------------------------------------------------------------------
# Compilation
# ---------------------------------------------------------------------------------------------------------------------


def _source_digest() -> str:
    """A fingerprint of the sources that a compiled loop is made of."""
    text = b"".join(Path(module).read_bytes() for module in (__file__, terms.__file__))
    return hashlib.sha256(text).hexdigest()


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop, without the interpreter lock, and keep the machine code on disk where a folder can be written.

    Numba notices an edit of the file that holds the loop, not of the file that holds the terms it calls, so its stamp
    is replaced by a digest of both.
    """
    try:
        dispatcher = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(nogil=True)(function)
    cache_file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if cache_file is not None:
        cache_file._source_stamp = _SOURCE_DIGEST
    return dispatcher


_SOURCE_DIGEST = _source_digest()
_membrane = numba.njit(terms.membrane)
_spike = numba.njit(terms.spike)
_membrane_after_reset = numba.njit(terms.membrane_after_reset)
_psc = numba.njit(terms.psc)
_membrane_rise = numba.njit(terms.membrane_rise)
_weighted_input = numba.njit(terms.weighted_input)
_firing_time_by_membrane = numba.njit(error_model="numpy")(terms.firing_time_by_membrane)
_psc_by_firing_time = numba.njit(terms.psc_by_firing_time)
_reset_by_firing_time = numba.njit(terms.reset_by_firing_time)
_moving_average = numba.njit(terms.moving_average)
_adamw_weight = numba.njit(error_model="numpy")(terms.adamw_weight)
_surrogate_spike_by_membrane = numba.njit(error_model="numpy")(terms.surrogate_spike_by_membrane)


@numba.njit
def exponential(x: float) -> float:
    """exp(x) = (exp(x / 256))^256, the inner one by its Taylor series to degree 8.

    Sums and products only, so that the compiler can work on several neurons at once; the library's exp takes them one
    by one. For |x| <= 16 the series is exact to 1e-17 and eight squarings make of a rounding error 256, so that the
    relative error stays below 1e-13.
    """
    r = x * 0.00390625  # 1 / 256
    series = 1.0 + r * 0.125
    for degree in range(7, 0, -1):
        series = 1.0 + series * r * (1.0 / degree)
    for _ in range(8):
        series *= series
    return series


def _flat(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View a (T, ...) array as (T, M), contiguous."""
    return np.ascontiguousarray(array).reshape(len(array), -1)


# ---------------------------------------------------------------------------------------------------------------------
# Forward: PSC and membrane
# ---------------------------------------------------------------------------------------------------------------------


def psc_filter(s: npt.ArrayLike, neuron: NeuronParameters) -> npt.NDArray[Any]:
    """a[t] = a[t-1] + theta_s (s[t] - a[t-1])    (F6): the double sum of C2 as a recursion.

    Parameters, result and errors are those of `reference.psc_filter`.
    """
    s = checks.finite_array("s", np.atleast_1d(s))
    a = np.empty_like(s, order="C")
    _filter_sweep(_flat(s), neuron.theta_s, _flat(a))
    return a


def psc_filter_adjoint(g: npt.ArrayLike, neuron: NeuronParameters) -> npt.NDArray[Any]:
    """G[t] = sum_{k >= t} eps[k-t] g[k]: the adjoint of `psc_filter`, which is F6 run backward in time.

    Parameters
    ----------
    g : (T, ...) array_like
        Gradient with respect to a PSC.
    neuron : NeuronParameters

    Returns
    -------
    (T, ...) array
        Gradient with respect to the spike train that was filtered.

    Raises
    ------
    ValueError, TypeError
        If g is not a finite array with a time axis.
    """
    g = checks.finite_array("g", np.atleast_1d(g))
    return np.ascontiguousarray(psc_filter(g[::-1], neuron)[::-1])


@compiled
def _filter_sweep(s: npt.NDArray[Any], theta_s: float, a: npt.NDArray[Any]) -> None:
    T, M = s.shape
    zeros = np.zeros(BLOCK, s.dtype)
    for start in range(0, M, BLOCK):
        block = slice(start, min(start + BLOCK, M))
        for t in range(T):
            a_before = a[t - 1, block] if t > 0 else zeros
            _filter_step(a_before, s[t, block], theta_s, a[t, block])


@compiled
def _filter_step(
    previous: npt.NDArray[Any], signal: npt.NDArray[Any], theta_s: float, filtered: npt.NDArray[Any]
) -> None:
    """F6 for a block of neurons."""
    for i in range(len(signal)):
        filtered[i] = _psc(previous[i], signal[i], theta_s)


def lif_forward(I: npt.ArrayLike, neuron: NeuronParameters) -> Trace:
    """u, s, a of a layer from its weighted input    (F3 - F6).

    Parameters, result and errors are those of `reference.lif_forward`.
    """
    I = checked_weighted_input(I, neuron)
    u = np.empty(I.shape, dtype=I.dtype)
    a = np.empty(I.shape, dtype=I.dtype)
    _lif_sweep(_flat(I), neuron.theta_m, neuron.theta_s, neuron.threshold, _flat(u), _flat(a))
    return Trace(u, a, neuron.threshold)


@compiled
def _lif_sweep(
    I: npt.NDArray[Any],
    theta_m: float,
    theta_s: float,
    threshold: float,
    u: npt.NDArray[Any],
    a: npt.NDArray[Any],
) -> None:
    T, M = I.shape
    zeros = np.zeros(BLOCK, I.dtype)
    for start in range(0, M, BLOCK):
        block = slice(start, min(start + BLOCK, M))
        for t in range(T):
            u_before, a_before = (u[t - 1, block], a[t - 1, block]) if t > 0 else (zeros, zeros)
            _lif_step(u_before, a_before, I[t, block], theta_m, theta_s, threshold, u[t, block], a[t, block])


@compiled
def _lif_step(
    u_before: npt.NDArray[Any],
    a_before: npt.NDArray[Any],
    I: npt.NDArray[Any],
    theta_m: float,
    theta_s: float,
    threshold: float,
    u: npt.NDArray[Any],
    a: npt.NDArray[Any],
) -> None:
    """F3 to F6 for a block of neurons."""
    for i in range(len(I)):
        v_previous = _membrane_after_reset(u_before[i], _spike(u_before[i], threshold))
        u[i] = _membrane(v_previous, I[i], theta_m)
        a[i] = _psc(a_before[i], _spike(u[i], threshold), theta_s)


# ---------------------------------------------------------------------------------------------------------------------
# Backward: one sweep against time
# ---------------------------------------------------------------------------------------------------------------------


def tsslbp_backward(g: npt.ArrayLike, trace: Trace, neuron: NeuronParameters, rule: GradientRule) -> npt.NDArray[Any]:
    """delta[t] from g in one sweep from T-1 to 0    (B2 with the case table B7 summed up).

    With G[t] = sum_{k >= t} eps[k-t] g[k] and chain = delta of the neuron's next spike, leaked back to t+1:
        fired:  delta = dt/du (w_{-1} G[t+1] + w_0 G[t] + w_{+1} G[t-1]) + dt/du dreset/dt chain
        silent: delta = (1 - theta_m) chain
    and G ds/du (B8) in its place where a[t] is below the gate; the chain goes on with the unreplaced value.

    Parameters, result and errors are those of `reference.tsslbp_backward`.
    """
    g = checked_psc_gradient(g, trace)
    delta = np.empty(g.shape, dtype=g.dtype)
    _backward_sweep(_flat(g), _flat(trace.u), _flat(trace.a), rule.coefficients(neuron), _flat(delta))
    return delta


@compiled
def _backward_sweep(
    g: npt.NDArray[Any],
    u: npt.NDArray[Any],
    a: npt.NDArray[Any],
    c: RuleCoefficients,
    delta: npt.NDArray[Any],
) -> None:
    T, M = g.shape
    zeros = np.zeros(BLOCK, g.dtype)
    G = np.zeros((T + 2, BLOCK), g.dtype)  # G[-1] to G[T], each row one step further down than its time
    for start in range(0, M, BLOCK):
        block = slice(start, min(start + BLOCK, M))
        for t in range(T - 1, -1, -1):
            _filter_step(G[t + 2], g[t, block], c.theta_s, G[t + 1])
        _filter_step(G[1], zeros[: block.stop - block.start], c.theta_s, G[0])
        for t in range(T - 1, -1, -1):
            u_before = u[t - 1, block] if t > 0 else zeros
            delta_after = delta[t + 1, block] if t < T - 1 else zeros
            _chain_rule_step(G[t + 2], G[t + 1], G[t], u_before, u[t, block], delta_after, c, delta[t, block])
        for t in range(T):  # only now: the chain above runs on the unreplaced values
            _warmup_step(u[t, block], a[t, block], c, G[t + 1], delta[t, block])


@compiled
def _chain_rule_step(
    G_after: npt.NDArray[Any],
    G_now: npt.NDArray[Any],
    G_before: npt.NDArray[Any],
    u_before: npt.NDArray[Any],
    u: npt.NDArray[Any],
    delta_after: npt.NDArray[Any],
    c: RuleCoefficients,
    delta: npt.NDArray[Any],
) -> None:
    """delta[t] by B5 and B6 for a block of neurons.

    delta[t+1] is the delta of the next spike, leaked back to t+1, if there is a next spike, and else 0.
    """
    for i in range(len(u)):
        v_previous = _membrane_after_reset(u_before[i], _spike(u_before[i], c.threshold))
        chain = c.chain * delta_after[i]
        loss_by_time = _psc_by_firing_time(
            G_after[i], G_now[i], G_before[i], c.inter_before, c.inter_now, c.inter_after
        )
        I = _weighted_input(u[i], v_previous, c.theta_m)
        loss_by_time += chain * _reset_by_firing_time(u[i], I, c.reset_by_u, c.reset_by_I)
        fired = loss_by_time * _firing_time_by_membrane(_membrane_rise(u[i], v_previous), c.inverse_rise_clip)
        silent = chain * (1.0 - c.theta_m)
        delta[i] = fired if _spike(u[i], c.threshold) == 1.0 else silent


@compiled
def _warmup_step(
    u: npt.NDArray[Any],
    a: npt.NDArray[Any],
    c: RuleCoefficients,
    G: npt.NDArray[Any],
    delta: npt.NDArray[Any],
) -> None:
    """B8 for a block of neurons: where the PSC is below the gate, delta[t] becomes G[t] ds/du."""
    for i in range(len(u)):
        if a[i] < c.warmup_gate:
            delta[i] = G[i] * _surrogate_spike_by_membrane(
                u[i], c.threshold, c.surrogate_width, c.surrogate_argument_clip, exponential
            )


# ---------------------------------------------------------------------------------------------------------------------
# Pictures: unfold and its adjoint, fold
# ---------------------------------------------------------------------------------------------------------------------


def unfold(pictures: npt.NDArray[Any], kernel_size: int, padding: int, columns: npt.NDArray[Any]) -> None:
    """columns[(c, i, j), m, (y, x)] = pictures[m, c, y+i-p, x+j-p], zero outside the picture.

    A convolution is a matrix product with the unfolded picture. Rows of the picture are copied whole.

    Parameters
    ----------
    pictures : (M, C, H, W) array
    kernel_size, padding : int
    columns : (C k k, M, H' W') array
        Written.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check_unfolded(pictures, kernel_size, padding, columns)
    _unfold_loop(pictures, kernel_size, padding, columns)


def fold(columns: npt.NDArray[Any], kernel_size: int, padding: int, pictures: npt.NDArray[Any]) -> None:
    """pictures[m, c, y+i-p, x+j-p] += columns[(c, i, j), m, (y, x)]: the adjoint of `unfold`.

    Parameters
    ----------
    columns : (C k k, M, H' W') array
    kernel_size, padding : int
    pictures : (M, C, H, W) array
        Added to.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    _check_unfolded(pictures, kernel_size, padding, columns)
    _fold_loop(columns, kernel_size, padding, pictures)


def _check_unfolded(pictures: npt.NDArray[Any], kernel_size: int, padding: int, columns: npt.NDArray[Any]) -> None:
    """Raise unless columns have the shape of the unfolded pictures: the compiled loops look no more."""
    if pictures.ndim != 4:
        raise ValueError(f"pictures must have shape (M, C, H, W), got {pictures.shape}")
    M, C, H, W = pictures.shape
    height, width = H + 2 * padding - kernel_size + 1, W + 2 * padding - kernel_size + 1
    if min(kernel_size, height, width) < 1:
        raise ValueError(f"kernel_size must fit the padded pictures {pictures.shape}, got {kernel_size}")
    checks.same_shape("columns", columns, (C * kernel_size**2, M, height * width), "the unfolded pictures")


@compiled
def _unfold_loop(pictures: npt.NDArray[Any], kernel_size: int, padding: int, columns: npt.NDArray[Any]) -> None:
    M, C, H, W = pictures.shape
    height = H + 2 * padding - kernel_size + 1
    width = W + 2 * padding - kernel_size + 1
    columns[:] = 0.0
    for m in range(M):
        for c in range(C):
            picture = pictures[m, c]
            for i in range(kernel_size):
                for j in range(kernel_size):
                    row = columns[(c * kernel_size + i) * kernel_size + j, m]
                    left, right = max(0, padding - j), min(width, W + padding - j)
                    for y in range(max(0, padding - i), min(height, H + padding - i)):
                        source = picture[y + i - padding, left + j - padding : right + j - padding]
                        target = row[y * width + left : y * width + right]
                        for x in range(len(target)):
                            target[x] = source[x]


@compiled
def _fold_loop(columns: npt.NDArray[Any], kernel_size: int, padding: int, pictures: npt.NDArray[Any]) -> None:
    M, C, H, W = pictures.shape
    height = H + 2 * padding - kernel_size + 1
    width = W + 2 * padding - kernel_size + 1
    for m in range(M):
        for c in range(C):
            picture = pictures[m, c]
            for i in range(kernel_size):
                for j in range(kernel_size):
                    row = columns[(c * kernel_size + i) * kernel_size + j, m]
                    left, right = max(0, padding - j), min(width, W + padding - j)
                    for y in range(max(0, padding - i), min(height, H + padding - i)):
                        target = picture[y + i - padding, left + j - padding : right + j - padding]
                        source = row[y * width + left : y * width + right]
                        for x in range(len(target)):
                            target[x] += source[x]


# ---------------------------------------------------------------------------------------------------------------------
# Optimiser
# ---------------------------------------------------------------------------------------------------------------------


@compiled
def adamw_sweep(
    W: npt.NDArray[Any],
    gradient: npt.NDArray[Any],
    mean: npt.NDArray[Any],
    square: npt.NDArray[Any],
    beta1: float,
    beta2: float,
    step_size: float,
    square_correction: float,
    epsilon: float,
    decay: float,
    gradient_scale: float,
    weight_clamp: float,
) -> None:
    """One AdamW step on flat arrays, in place: scale the gradient, average, step, clamp to +- weight_clamp."""
    for i in range(len(W)):
        scaled = gradient[i] * gradient_scale
        mean[i] = _moving_average(mean[i], scaled, beta1)
        square[i] = _moving_average(square[i], scaled * scaled, beta2)
        stepped = _adamw_weight(W[i], mean[i], square[i], step_size, square_correction, epsilon, decay)
        W[i] = min(max(stepped, -weight_clamp), weight_clamp)

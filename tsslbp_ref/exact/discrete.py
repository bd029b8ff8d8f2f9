"""A continuous network on a time grid, and how the two models number their time constants of PSCs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.exact.arguments import SpikeTrains, checked_trains, checked_weights
from tsslbp_ref.exact.kernels import FloatArray
from tsslbp_ref.model.parameters import NeuronParameters

# How far duration / dt may be from a whole number, relative.
WHOLE_STEPS_TOLERANCE = 1e-9


@dataclass(frozen=True)
class DiscreteEquivalent:
    """A continuous network on a time grid, as the discrete model wants it.

    Attributes
    ----------
    neuron : NeuronParameters
        Time constants in steps, tau / dt; the threshold is unchanged.
    weights : list of ndarray
        W_d = W_c / tau_m, with tau_m in ms; (out, in).
    input_raster, target_raster : ndarray
        (n_steps, neurons): NUMBER of spikes in each step. Two spikes of one neuron in one step give 2.
    loss_factor : float
        L_c = loss_factor L_d in the limit of small dt; 1 / dt.
    gradient_factor : float
        dL_c/dW_c = gradient_factor dL_d/dW_d in the limit of small dt; 1 / (dt tau_m).
    """

    neuron: NeuronParameters
    weights: list[FloatArray]
    input_raster: FloatArray
    target_raster: FloatArray
    loss_factor: float
    gradient_factor: float


def emitted_tau_s(tau_s: npt.ArrayLike, tau_loss: float) -> FloatArray:
    """Return the tau_s of the PSC that is EMITTED by the input, layer 1, ..., layer L, from the tau_s of `simulate`.

    `simulate` numbers tau_s by the layer of weights that it FEEDS: tau_s[0] is the input's, tau_s[1] that of layer 1,
    up to tau_s[L-1] of layer L-1. `NeuronParameters.tau_s` of a layer is that of the PSC which the layer itself emits,
    so layer l (from 1) has entry l of the result and the input has entry 0. The PSC of the last layer is read by the
    van Rossum loss only: its constant, `tau_loss`, comes last. Back again: ``tau_s, tau_loss = e[:-1], e[-1]``.

    Parameters
    ----------
    tau_s : array_like
        (L,), as `simulate` takes it.
    tau_loss : float
        Time constant of the loss's PSC.

    Returns
    -------
    ndarray
        (L + 1,)

    Examples
    --------
    >>> emitted_tau_s([3.0, 5.0], 4.0)
    array([3., 5., 4.])
    """
    fed = checks.finite_array("tau_s", tau_s, ndim=1, dtype=np.float64)
    if fed.min() <= 0.0:
        raise ValueError(f"tau_s must be greater than 0, got {fed.min():g}")
    return np.append(fed, checks.real_number("tau_loss", tau_loss, above=0.0))


def discrete_equivalent(
    weights: Sequence[npt.ArrayLike],
    input_spikes: SpikeTrains,
    desired_spikes: SpikeTrains,
    tau_m: float,
    tau_s: float,
    threshold: float,
    duration: float,
    dt: float,
) -> DiscreteEquivalent:
    """Put a continuous network on a grid of step dt: theta = dt/tau, a_d = dt a_c, W_d = W_c/tau_m, step floor(t_f/dt).

    Parameters
    ----------
    weights, input_spikes, desired_spikes, tau_m, tau_s, threshold, duration
        As for `simulate`; one tau_m, tau_s and threshold for all neurons.
    dt : float
        Step in ms, at most the smaller time constant; `duration` must be a whole number of steps.

    Notes
    -----
    Two spikes of a neuron in one step are counted, as 2 in the raster: their PSCs add. The discrete neurons themselves
    fire once in a step at most. A spike at `duration` falls behind the last step and is left out; in continuous time it
    has no effect either. Own derivation, ``docs/derivations/exact-gradient.md`` section 6.

    Examples
    --------
    >>> grid = discrete_equivalent([[[11.0]]], [[1.0, 4.0]], [[5.0]], 10.0, 3.0, 1.0, duration=30.0, dt=0.5)
    >>> grid.neuron, grid.input_raster.shape, np.flatnonzero(grid.input_raster)
    (NeuronParameters(tau_m=20.0, tau_s=6.0, threshold=1.0), (60, 1), array([2, 8]))
    """
    layers = checked_weights(weights)
    duration = checks.real_number("duration", duration, above=0.0)
    inputs = checked_trains("input_spikes", input_spikes, duration, layers[0].shape[1])
    desired = checked_trains("desired_spikes", desired_spikes, duration, layers[-1].shape[0])
    tau_m = checks.real_number("tau_m", tau_m, above=0.0)
    tau_s = checks.real_number("tau_s", tau_s, above=0.0)
    threshold = checks.real_number("threshold", threshold, above=0.0)
    dt = checks.real_number("dt", dt, above=0.0)
    if dt > min(tau_m, tau_s):
        raise ValueError(f"dt must be at most the smaller time constant, {min(tau_m, tau_s):g}, got {dt:g}")
    n_steps = round(duration / dt)
    if n_steps < 1 or abs(duration / dt - n_steps) > WHOLE_STEPS_TOLERANCE * n_steps:
        raise ValueError(f"duration must be a whole number of steps dt, got duration {duration:g}, dt {dt:g}")
    return DiscreteEquivalent(
        neuron=NeuronParameters(tau_m=tau_m / dt, tau_s=tau_s / dt, threshold=threshold),
        weights=[w / tau_m for w in layers],
        input_raster=_raster(inputs, dt, n_steps, duration),
        target_raster=_raster(desired, dt, n_steps, duration),
        loss_factor=1.0 / dt,
        gradient_factor=1.0 / (dt * tau_m),
    )


def _raster(trains: list[FloatArray], dt: float, n_steps: int, duration: float) -> FloatArray:
    """Count the spikes in each step: (n_steps, neurons)."""
    raster = np.zeros((n_steps, len(trains)))
    for neuron, times in enumerate(trains):
        # A time just below the duration can round up to n_steps.
        steps = np.minimum(_steps(times[times < duration], dt), n_steps - 1)
        np.add.at(raster[:, neuron], steps, 1.0)
    return raster


def _steps(times: FloatArray, dt: float) -> npt.NDArray[np.int64]:
    """floor(t/dt); a time that is a whole number of steps but for rounding, as 0.3 of 0.1, lies in that step."""
    quotient = times / dt
    nearest = np.rint(quotient)
    on_grid = np.abs(quotient - nearest) <= WHOLE_STEPS_TOLERANCE * nearest
    return np.where(on_grid, nearest, np.floor(quotient)).astype(np.int64)

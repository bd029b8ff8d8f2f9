"""The arguments of `tsslbp_ref.exact`, checked: what is malformed is an error that names the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks

FloatArray = npt.NDArray[np.float64]
SpikeTrains = Sequence[npt.ArrayLike]


class Model(NamedTuple):
    """Checked arguments."""

    weights: list[FloatArray]
    input_spikes: list[FloatArray]
    desired_spikes: list[FloatArray]
    tau_m: float
    tau_s: float
    threshold: float
    duration: float


def checked_model(
    weights: Sequence[npt.ArrayLike],
    input_spikes: SpikeTrains,
    desired_spikes: SpikeTrains,
    tau_m: float,
    tau_s: float,
    threshold: float,
    duration: float,
) -> Model:
    """Return all arguments checked, as contiguous float64 arrays and floats."""
    duration = checks.real_number("duration", duration, above=0.0)
    checked_weights: list[FloatArray] = []
    for number, w in enumerate(checks.listed("weights", weights)):
        array = np.ascontiguousarray(checks.finite_array(f"weights[{number}]", w, ndim=2, dtype=np.float64))
        if checked_weights and array.shape[1] != checked_weights[-1].shape[0]:
            below = checked_weights[-1].shape[0]
            raise ValueError(
                f"weights[{number}] must have {below} columns to match weights[{number - 1}], got {array.shape}"
            )
        checked_weights.append(array)
    if not checked_weights:
        raise ValueError("weights must hold at least one layer, got none")
    return Model(
        weights=checked_weights,
        input_spikes=_spike_trains("input_spikes", input_spikes, duration, checked_weights[0].shape[1]),
        desired_spikes=_spike_trains("desired_spikes", desired_spikes, duration, checked_weights[-1].shape[0]),
        tau_m=checks.real_number("tau_m", tau_m, above=0.0),
        tau_s=checks.real_number("tau_s", tau_s, above=0.0),
        threshold=checks.real_number("threshold", threshold, above=0.0),
        duration=duration,
    )


def checked_pair(
    spike_times: SpikeTrains, desired_spikes: SpikeTrains, tau_s: float, duration: float
) -> tuple[list[FloatArray], list[FloatArray], float, float]:
    """Return the arguments of `van_rossum_loss`, checked."""
    duration = checks.real_number("duration", duration, above=0.0)
    actual = _spike_trains("spike_times", spike_times, duration, None)
    desired = _spike_trains("desired_spikes", desired_spikes, duration, len(actual))
    return actual, desired, checks.real_number("tau_s", tau_s, above=0.0), duration


def _spike_trains(name: str, value: SpikeTrains, duration: float, neurons: int | None) -> list[FloatArray]:
    """Return one sorted float64 array of times in [0, duration] per neuron."""
    trains = checks.listed(name, value)
    if neurons is not None and len(trains) != neurons:
        raise ValueError(f"{name} must hold {neurons} spike trains, one per neuron, got {len(trains)}")
    return [_spike_train(f"{name}[{i}]", train, duration) for i, train in enumerate(trains)]


def _spike_train(name: str, value: npt.ArrayLike, duration: float) -> FloatArray:
    """Return `value` as a sorted float64 array of times in [0, duration]."""
    if checks.real_array(name, value).shape == (0,):
        return np.empty(0)
    times = np.ascontiguousarray(checks.finite_array(name, value, ndim=1, dtype=np.float64))
    if np.any(np.diff(times) < 0.0):
        raise ValueError(
            f"{name} must be sorted, got {times[np.argmax(np.diff(times) < 0.0) + 1]:g} after a later time"
        )
    if times[0] < 0.0 or times[-1] > duration:
        wrong = times[0] if times[0] < 0.0 else times[-1]
        raise ValueError(f"{name} must lie in [0, duration] = [0, {duration:g}], got {wrong:g}")
    return times

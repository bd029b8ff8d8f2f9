"""The arguments of `tsslbp_ref.exact`, checked: what is malformed is an error that names the argument."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks

FloatArray = npt.NDArray[np.float64]
SpikeTrains = Sequence[npt.ArrayLike]
Constant = float | Sequence[Any] | FloatArray

SHARED = "shared"  # one number for all layers
BY_LAYER = "by layer"
BY_NEURON = "by neuron"


class Constants(NamedTuple):
    """One constant of all neurons, and how it was given.

    values : per layer an array (n,); infinity is the threshold of a readout that never fires.
    form : "shared" if one number was given for all layers; else one "by layer" or "by neuron" for each layer.
    """

    values: list[FloatArray]
    form: str | list[str]

    def shaped(self, by_neuron: list[FloatArray]) -> Any:
        """Return derivatives by neuron in the shape in which the constant was given: what shares a number is summed.

        A layer whose value is infinite gets None.
        """
        if isinstance(self.form, str):
            return float(sum(derivatives.sum() for derivatives in by_neuron))
        shaped: list[Any] = []
        for values, derivatives, form in zip(self.values, by_neuron, self.form, strict=True):
            if np.isinf(values[0]):
                shaped.append(None)
            else:
                shaped.append(float(derivatives.sum()) if form == BY_LAYER else derivatives)
        return np.array(shaped) if all(isinstance(entry, float) for entry in shaped) else shaped


class Model(NamedTuple):
    """A checked network: delays are (out, in) or (1, in); tau_s[k] is that of the PSC that feeds layer k."""

    weights: list[FloatArray]
    delays: list[FloatArray]
    tau_m: Constants
    tau_s: FloatArray
    one_tau_s: bool
    threshold: Constants
    duration: float

    def constants(self, layer: int) -> tuple[float, FloatArray, float, FloatArray]:
        """Return T, tau_m, tau_s and threshold of a layer of weights, as `kernels` takes them."""
        return self.duration, self.tau_m.values[layer], float(self.tau_s[layer]), self.threshold.values[layer]

    @property
    def fires(self) -> bool:
        """Whether the output layer has a threshold."""
        return bool(np.isfinite(self.threshold.values[-1][0]))


def checked_model(
    weights: Sequence[npt.ArrayLike],
    tau_m: Constant,
    tau_s: Constant,
    threshold: Constant,
    duration: float,
    delays: Sequence[npt.ArrayLike] | None = None,
) -> Model:
    """Return the network's arguments checked, as contiguous float64 arrays and floats."""
    duration = checks.real_number("duration", duration, above=0.0)
    layers = checked_weights(weights)
    widths = [w.shape[0] for w in layers]
    return Model(
        weights=layers,
        delays=_delays(delays, layers),
        tau_m=_constants("tau_m", tau_m, widths),
        tau_s=_tau_s(tau_s, len(layers)),
        one_tau_s=not _is_sequence(tau_s),
        threshold=_constants("threshold", threshold, widths, or_readout=True),
        duration=duration,
    )


def checked_weights(weights: Sequence[npt.ArrayLike]) -> list[FloatArray]:
    """Return one (out, in) array a layer; each has as many columns as the layer below has rows."""
    checked: list[FloatArray] = []
    for number, w in enumerate(checks.listed("weights", weights)):
        array = np.ascontiguousarray(checks.finite_array(f"weights[{number}]", w, ndim=2, dtype=np.float64))
        if checked and array.shape[1] != checked[-1].shape[0]:
            below = checked[-1].shape[0]
            raise ValueError(
                f"weights[{number}] must have {below} columns to match weights[{number - 1}], got {array.shape}"
            )
        checked.append(array)
    if not checked:
        raise ValueError("weights must hold at least one layer, got none")
    return checked


def checked_trains(name: str, value: SpikeTrains, duration: float, neurons: int | None) -> list[FloatArray]:
    """Return one sorted float64 array of times in [0, duration] per neuron."""
    trains = checks.listed(name, value)
    if neurons is not None and len(trains) != neurons:
        raise ValueError(f"{name} must hold {neurons} spike trains, one per neuron, got {len(trains)}")
    return [_spike_train(f"{name}[{i}]", train, duration) for i, train in enumerate(trains)]


def checked_pair(
    spike_times: SpikeTrains, desired_spikes: SpikeTrains, tau_s: float, duration: float
) -> tuple[list[FloatArray], list[FloatArray], float, float]:
    """Return the arguments of `van_rossum_loss`, checked."""
    duration = checks.real_number("duration", duration, above=0.0)
    actual = checked_trains("spike_times", spike_times, duration, None)
    desired = checked_trains("desired_spikes", desired_spikes, duration, len(actual))
    return actual, desired, checks.real_number("tau_s", tau_s, above=0.0), duration


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


def _is_sequence(value: Any) -> bool:
    """Whether `value` holds numbers, instead of being one; text is no sequence of numbers."""
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes)) and getattr(value, "ndim", 1) != 0


def _constants(name: str, value: Constant, widths: list[int], *, or_readout: bool = False) -> Constants:
    """Return a constant of all neurons: a number, or one entry a layer, each a number or one number a neuron."""
    if not _is_sequence(value):
        number = checks.real_number(name, value, above=0.0)
        return Constants([np.full(n, number) for n in widths], SHARED)
    entries = checks.listed(name, value)
    if len(entries) != len(widths):
        raise ValueError(f"{name} must be a number or hold one entry a layer, {len(widths)}, got {len(entries)}")
    values, form = [], []
    for layer, (entry, n) in enumerate(zip(entries, widths, strict=True)):
        readout = or_readout and entry is None and layer == len(widths) - 1
        if readout or not _is_sequence(entry):
            number = np.inf if readout else checks.real_number(f"{name}[{layer}]", entry, above=0.0)
            values.append(np.full(n, number))
            form.append(BY_LAYER)
            continue
        by_neuron = np.ascontiguousarray(checks.finite_array(f"{name}[{layer}]", entry, ndim=1, dtype=np.float64))
        if by_neuron.size != n:
            raise ValueError(f"{name}[{layer}] must hold one number a neuron, {n}, got {by_neuron.size}")
        if by_neuron.min() <= 0.0:
            raise ValueError(f"{name}[{layer}] must be greater than 0, got {by_neuron.min():g}")
        values.append(by_neuron)
        form.append(BY_NEURON)
    return Constants(values, form)


def _tau_s(value: Constant, n_layers: int) -> FloatArray:
    """Return one tau_s for each layer of weights. One for each neuron is an error."""
    if not _is_sequence(value):
        return np.full(n_layers, checks.real_number("tau_s", value, above=0.0))
    entries = checks.listed("tau_s", value)
    if any(_is_sequence(entry) for entry in entries):
        raise ValueError(
            "tau_s must be a number or one number a layer of weights, not one a neuron: a membrane fed by PSCs of "
            "different time constants can have more than one peak between events, and a spike could be missed"
        )
    if len(entries) != n_layers:
        raise ValueError(f"tau_s must be a number or hold one a layer of weights, {n_layers}, got {len(entries)}")
    return np.array([checks.real_number(f"tau_s[{k}]", entry, above=0.0) for k, entry in enumerate(entries)])


def _delays(value: Sequence[npt.ArrayLike] | None, weights: list[FloatArray]) -> list[FloatArray]:
    """Return the delays of each layer, at least 0: (out, in), or (1, in) where all its neurons have the same."""
    if value is None:
        return [np.zeros((1, w.shape[1])) for w in weights]
    arrays = checks.listed("delays", value)
    if len(arrays) != len(weights):
        raise ValueError(f"delays must hold one array a layer of weights, {len(weights)}, got {len(arrays)}")
    checked: list[FloatArray] = []
    for layer, (given, w) in enumerate(zip(arrays, weights, strict=True)):
        name = f"delays[{layer}]"
        array = np.ascontiguousarray(checks.finite_array(name, given, dtype=np.float64))
        if array.shape != w.shape:
            raise ValueError(f"{name} must have the shape of weights[{layer}], {w.shape}, got {array.shape}")
        if array.min() < 0.0:
            raise ValueError(f"{name} must be at least 0, got {array.min():g}")
        checked.append(array if np.any(array != array[0]) else array[:1])
    return checked

"""A batch of samples through all layers in continuous time, forward and back; `kernels` sweeps one layer."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from tsslbp_ref.exact import kernels
from tsslbp_ref.exact.arguments import Model
from tsslbp_ref.exact.kernels import FloatArray, IntegerArray

NO_LIMIT = 2**62  # more spikes than there can be
# The height of a peak above the threshold is known to about machine epsilon, and the slope of a crossing is the square
# root of that height (times a constant of order 1): below this share of threshold / tau_m a slope is rounding error.
GRAZING_SLOPE = math.sqrt(np.finfo(np.float64).eps)


class Trains(NamedTuple):
    """Spikes of a batch of samples: flat times, and offsets (samples, neurons + 1); see `kernels`."""

    times: FloatArray
    offsets: IntegerArray


class Layer(NamedTuple):
    """One simulated layer of a batch: spikes (rows of `kernels.neuron_spikes`), their offsets, highest peaks."""

    spikes: FloatArray
    offsets: IntegerArray
    peaks: FloatArray

    @property
    def trains(self) -> Trains:
        """The spikes as what the next layer receives."""
        return Trains(np.ascontiguousarray(self.spikes[:, kernels.TIME]), self.offsets)

    def spike_times(self, sample: int = 0) -> list[FloatArray]:
        """The spike times of each neuron, of one sample."""
        return [self.spikes[a:b, kernels.TIME].copy() for a, b in itertools.pairwise(self.offsets[sample])]

    def highest_membrane(self, threshold: FloatArray) -> FloatArray:
        """(samples, n): the highest peak; the threshold where the neuron fired."""
        return np.where(np.diff(self.offsets, axis=1) > 0, threshold, self.peaks[:, :, kernels.HEIGHT])


class LayerGradients(NamedTuple):
    """What `kernels.layer_adjoint` returns."""

    weights: FloatArray
    delays: FloatArray
    event_times: FloatArray
    tau_m: FloatArray
    threshold: FloatArray
    tau_s: float


def simulate_layers(model: Model, trains: Trains, max_events: int, enough_of_outputs: int = NO_LIMIT) -> list[Layer]:
    """Simulate a batch layer after layer: without feedback, a layer's input is known once the layer below is.

    `max_events` bounds the spikes of all layers together, for each sample. An output is followed up to its spike number
    `enough_of_outputs`.
    """
    layers: list[Layer] = []
    budget = np.full(len(trains.offsets), min(max_events, NO_LIMIT))
    for number, w in enumerate(model.weights):
        enough = enough_of_outputs if number == len(model.weights) - 1 else NO_LIMIT
        found = kernels.layer_spikes(w, *trains, model.delays[number], *model.constants(number), budget, enough)
        *layer, status = found
        if status == kernels.TOO_MANY_SPIKES:
            least = model.threshold.values[number].min()
            raise ValueError(
                f"the network fires more than max_events = {max_events} spikes, reached in layer {number} (least "
                f"threshold {least:g}): a neuron fires every tau_m V/I ms or so, without bound as V goes to 0"
            )
        if status == kernels.NOT_FINITE:
            raise ValueError(
                f"a membrane of layer {number} overflowed: weights[{number}] too large for tau_m and tau_s"
            )
        layers.append(Layer(*layer))
        trains = layers[-1].trains
        budget -= trains.offsets[:, -1] - trains.offsets[:, 0]
    return layers


def layer_gradients(
    model: Model, layers: list[Layer], trains: Trains, dL_dt: FloatArray, dL_dpeak: list[FloatArray]
) -> list[LayerGradients]:
    """Walk from the last layer to the first, a batch at a time.

    `dL_dt` belongs to the last layer's spikes, `dL_dpeak` holds an array (samples, n) for each layer. A spike that
    grazes the threshold counts with the least slope that is not rounding error.
    """
    found: list[LayerGradients] = []
    for number in range(len(layers) - 1, -1, -1):
        below = layers[number - 1].trains if number else trains
        duration, tau_m, tau_s, threshold = model.constants(number)
        result = kernels.layer_adjoint(
            model.weights[number],
            *below,
            model.delays[number],
            *layers[number],
            dL_dt,
            dL_dpeak[number],
            duration,
            tau_m,
            tau_s,
            threshold,
            smallest_slope(model, number),
        )
        found.insert(0, LayerGradients(*result))
        dL_dt = found[0].event_times
    return found


def smallest_slope(model: Model, number: int) -> FloatArray:
    """Return the least slope of a crossing, per ms, that is not rounding error, for each neuron of a layer."""
    return GRAZING_SLOPE * model.threshold.values[number] / model.tau_m.values[number]

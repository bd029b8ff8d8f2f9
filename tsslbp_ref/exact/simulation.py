r"""The real gradient: networks in continuous time, with exact spike times, to hold the discrete rules against.

The model (the paper's section "Spiking neuron model", before it is put on a time grid; R = 1):

.. math::
    \tau_m \dot u_i = -u_i + \sum_j w_{ij} a_j, \qquad \tau_s \dot a_j = -a_j + \sum_f \delta(t - t_j^f)

A neuron fires when u rises above the threshold; u is then set to 0. There is no refractory time and no delay. All
starts at rest. The loss is the van Rossum distance of the output layer,

.. math:: L = \tfrac12 \int_0^T \sum_i (a_i - d_i)^2 \, dt,

with d the PSC of the desired spikes. Nothing is stepped: between events everything is a sum of two exponentials, spike
times are bracketed roots, and loss and gradient are sums of closed forms. The adjoint equations are our own derivation,
``docs/derivations/exact-gradient.md``; the compiled loops are in `tsslbp_ref.exact.kernels`.

Conventions, where the model leaves something open:

- A membrane that touches the threshold and does not rise above it does not fire. One that is at the threshold when an
  input arrives fires then if it goes on to rise.
- Spikes of one neuron at equal times are separate spikes, and count as often as they are listed.
- A desired or input spike at time 0 or `duration` is allowed; at `duration` it has no effect.
- Where an output spike coincides with a desired one, the loss has a kink; the gradient is the mean of the two one-sided
  derivatives. Where a spike coincides with an input spike of its own layer, it is one of the one-sided derivatives.
  ``smallest_event_gap`` is 0 in both cases.
- The gradient says nothing of spikes that a larger change of a weight would create or delete;
  ``smallest_crossing_slope`` and ``smallest_peak_margin`` say how near that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.exact import arguments, kernels
from tsslbp_ref.exact.arguments import Model, SpikeTrains
from tsslbp_ref.exact.kernels import FloatArray, IntegerArray
from tsslbp_ref.model.parameters import NeuronParameters

DEFAULT_MAX_EVENTS = 100_000
# The height of a peak above the threshold is known to about machine epsilon, and the slope of a crossing is the square
# root of that height (times a constant of order 1): below this share of threshold / tau_m a slope is rounding error.
GRAZING_SLOPE = math.sqrt(np.finfo(np.float64).eps)
# How far duration / dt may be from a whole number, relative.
WHOLE_STEPS_TOLERANCE = 1e-9


@dataclass(frozen=True)
class ExactResult:
    """What `simulate` returns. Times are in ms.

    Attributes
    ----------
    spike_times : list of list of ndarray
        ``spike_times[layer][neuron]``, sorted; layer 0 is the first computed layer, not the input.
    loss : float
        The van Rossum loss.
    gradients : list of ndarray
        dL/dW of each layer, (out, in); empty if `simulate` was asked for spikes and loss only.
    smallest_crossing_slope : float
        Least du/dt just before a spike, per ms; infinity without a spike. Near 0 a spike is about to vanish.
    smallest_peak_margin : float
        Threshold minus the highest peak of any membrane that did not become a spike (a membrane still rising at the end
        counts, and so does rest). Near 0 a spike is about to appear.
    smallest_event_gap : float
        Least time between a spike and an input spike of its layer, or an output spike and a desired spike of the same
        neuron; infinity if there is no such pair. The derivative of the loss changes where it passes 0.
    """

    spike_times: list[list[FloatArray]]
    loss: float
    gradients: list[FloatArray]
    smallest_crossing_slope: float
    smallest_peak_margin: float
    smallest_event_gap: float


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


class _Events(NamedTuple):
    """Spikes of one layer in order of time; `positions` says where each stands when neuron follows neuron."""

    times: FloatArray
    sources: IntegerArray
    positions: IntegerArray


class _Layer(NamedTuple):
    """One simulated layer: what it received, and rows of (time, slope, inputs arrived), neuron after neuron."""

    events: _Events
    spikes: FloatArray
    offsets: IntegerArray
    highest_peak: float

    def spike_times(self) -> list[FloatArray]:
        return [
            self.spikes[first:stop, 0].copy() for first, stop in zip(self.offsets[:-1], self.offsets[1:], strict=True)
        ]


def simulate(
    weights: Sequence[npt.ArrayLike],
    input_spikes: SpikeTrains,
    tau_m: float,
    tau_s: float,
    threshold: float,
    duration: float,
    desired_spikes: SpikeTrains,
    *,
    max_events: int = DEFAULT_MAX_EVENTS,
    with_gradients: bool = True,
) -> ExactResult:
    r"""Simulate a feed-forward network exactly and return spike times, loss, and the loss's gradient.

    Parameters
    ----------
    weights : sequence of array_like
        One (out, in) array per layer.
    input_spikes : sequence of array_like
        Per input neuron, its spike times in ms, sorted, in [0, duration]; may be empty.
    tau_m, tau_s : float
        Time constants of membrane and synapse in ms, positive; either may be the larger, and they may be equal.
    threshold : float
        Positive; rest is 0.
    duration : float
        T, in ms.
    desired_spikes : sequence of array_like
        Per neuron of the last layer, its desired spike times, sorted, in [0, duration].
    max_events : int, optional
        Bound on the number of spikes that all layers may fire together.
    with_gradients : bool, optional
        If False, only spikes and loss are computed, and a grazing crossing is no error.

    Returns
    -------
    ExactResult

    Raises
    ------
    TypeError, ValueError
        If an argument is malformed (the message names it); if the network fires more than `max_events` spikes; if a
        membrane overflows; or if a spike grazes the threshold, its slope being zero to
        rounding, so that there is no gradient.

    Notes
    -----
    Source: the model is the paper's, "Spiking neuron model"; the gradient is our own derivation.

    Examples
    --------
    >>> result = simulate([[[11.0]]], [[1.0, 4.0]], 10.0, 3.0, 1.0, 30.0, [[5.0]])
    >>> [round(float(t), 6) for t in result.spike_times[0][0]]
    [5.262694]
    """
    model = arguments.checked_model(weights, input_spikes, desired_spikes, tau_m, tau_s, threshold, duration)
    max_events = checks.positive_integer("max_events", max_events)
    layers = _simulate_layers(model, max_events)
    output_spikes = layers[-1].spike_times()
    loss, time_derivatives = _loss(output_spikes, model.desired_spikes, model.tau_s, model.duration)
    gradients = _gradients(model, layers, np.concatenate(time_derivatives)) if with_gradients else []
    slopes = [float(layer.spikes[:, 1].min()) for layer in layers if len(layer.spikes)]
    return ExactResult(
        spike_times=[layer.spike_times() for layer in layers],
        loss=loss,
        gradients=gradients,
        smallest_crossing_slope=min(slopes, default=math.inf),
        smallest_peak_margin=model.threshold - max(layer.highest_peak for layer in layers),
        smallest_event_gap=_smallest_event_gap(layers, output_spikes, model.desired_spikes),
    )


def van_rossum_loss(spike_times: SpikeTrains, desired_spikes: SpikeTrains, tau_s: float, duration: float) -> float:
    r"""L = 1/2 \int_0^T \sum_i (a_i - d_i)^2 dt, in closed form, of given spike times.

    Parameters
    ----------
    spike_times, desired_spikes : sequence of array_like
        Per neuron, sorted times in [0, duration].
    tau_s : float
        Time constant of the PSC, positive.
    duration : float
        T, positive.
    """
    return _loss(*arguments.checked_pair(spike_times, desired_spikes, tau_s, duration))[0]


def van_rossum_time_derivatives(
    spike_times: SpikeTrains, desired_spikes: SpikeTrains, tau_s: float, duration: float
) -> list[FloatArray]:
    r"""dL/dt_f = (1/tau_s) [P_a/tau_s - (e- + e+)/2] of every spike, P_a = \int_{t_f}^T exp(-(t-t_f)/tau_s) e(t) dt.

    Arguments as for `van_rossum_loss`; one array per neuron, in the order of its spike times. Own derivation. At a
    coincidence with a desired spike it is the mean of the two one-sided derivatives.
    """
    return _loss(*arguments.checked_pair(spike_times, desired_spikes, tau_s, duration))[1]


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
        As for `simulate`.
    dt : float
        Step in ms, at most the smaller time constant; `duration` must be a whole number of steps.

    Notes
    -----
    Two spikes of a neuron in one step are counted, as 2 in the raster: their PSCs add. The discrete neurons themselves
    fire once in a step at most. A spike at `duration` falls behind the last step and is left out; in continuous time it
    has no effect either. Own derivation, ``docs/derivations/exact-gradient.md`` section 6.
    """
    model = arguments.checked_model(weights, input_spikes, desired_spikes, tau_m, tau_s, threshold, duration)
    dt = checks.real_number("dt", dt, above=0.0)
    if dt > min(model.tau_m, model.tau_s):
        raise ValueError(f"dt must be at most the smaller time constant, {min(model.tau_m, model.tau_s):g}, got {dt:g}")
    n_steps = round(model.duration / dt)
    if n_steps < 1 or abs(model.duration / dt - n_steps) > WHOLE_STEPS_TOLERANCE * n_steps:
        raise ValueError(f"duration must be a whole number of steps dt, got duration {model.duration:g}, dt {dt:g}")
    return DiscreteEquivalent(
        neuron=NeuronParameters(tau_m=model.tau_m / dt, tau_s=model.tau_s / dt, threshold=model.threshold),
        weights=[w / model.tau_m for w in model.weights],
        input_raster=_raster(model.input_spikes, dt, n_steps, model.duration),
        target_raster=_raster(model.desired_spikes, dt, n_steps, model.duration),
        loss_factor=1.0 / dt,
        gradient_factor=1.0 / (dt * model.tau_m),
    )


# ---------------------------------------------------------------- simulation and gradient, layer by layer


def _merged(trains: list[FloatArray]) -> _Events:
    """Put the spikes of all neurons in order of time; at equal times the lower neuron comes first."""
    times = np.concatenate(trains)
    sources = np.repeat(np.arange(len(trains), dtype=np.int64), [train.size for train in trains])
    order = np.argsort(times, kind="stable").astype(np.int64)
    return _Events(times[order], sources[order], order)


def _simulate_layers(model: Model, max_events: int) -> list[_Layer]:
    """Simulate layer after layer: without delay or feedback, a layer's input is known once the layer below is."""
    layers: list[_Layer] = []
    trains, budget = model.input_spikes, max_events
    constants = (model.duration, model.tau_m, model.tau_s, model.threshold)
    for number, w in enumerate(model.weights):
        events = _merged(trains)
        found, offsets, highest, status = kernels.layer_spikes(w, events.times, events.sources, *constants, budget)
        if status == kernels.TOO_MANY_SPIKES:
            raise ValueError(f"the network fires more than max_events = {max_events} spikes, reached in layer {number}")
        if status == kernels.NOT_FINITE:
            raise ValueError(
                f"a membrane of layer {number} overflowed: weights[{number}] too large for tau_m and tau_s"
            )
        layers.append(_Layer(events, found[: offsets[-1]].copy(), offsets, highest))
        trains = layers[-1].spike_times()
        budget -= int(offsets[-1])
    return layers


def _gradients(model: Model, layers: list[_Layer], dL_dt: FloatArray) -> list[FloatArray]:
    """Walk from the last layer to the first; dL_dt belongs to the last layer's spikes, neuron after neuron."""
    constants = (model.duration, model.tau_m, model.tau_s, model.threshold)
    gradients: list[FloatArray] = []
    for number in range(len(layers) - 1, -1, -1):
        events, spikes, offsets, _ = layers[number]
        _refuse_grazing(number, layers[number], GRAZING_SLOPE * model.threshold / model.tau_m)
        gradient, event_derivatives = kernels.layer_adjoint(
            model.weights[number], events.times, events.sources, spikes, offsets, dL_dt, *constants
        )
        gradients.insert(0, gradient)
        dL_dt = np.empty(events.times.size)
        dL_dt[events.positions] = event_derivatives
    return gradients


def _refuse_grazing(number: int, layer: _Layer, smallest: float) -> None:
    """Raise ``ValueError`` if a spike's slope is zero to rounding: its time has no derivative."""
    grazing = np.flatnonzero(~(layer.spikes[:, 1] > smallest))
    if grazing.size:
        time, slope, _ = layer.spikes[grazing[0]]
        neuron = int(np.searchsorted(layer.offsets, grazing[0], side="right")) - 1
        raise ValueError(
            f"neuron {neuron} of layer {number} grazes the threshold at {time:.6g} ms (slope {slope:.3g} per ms): the "
            "gradient does not exist; with_gradients=False gives spikes and loss"
        )


def _loss(
    spike_times: list[FloatArray], desired_spikes: list[FloatArray], tau_s: float, duration: float
) -> tuple[float, list[FloatArray]]:
    """Return the loss and, per neuron, dL/dt of its spikes."""
    total, derivatives = 0.0, []
    for actual, desired in zip(spike_times, desired_spikes, strict=True):
        times = np.concatenate([actual, desired])
        signs = np.repeat([1.0, -1.0], [actual.size, desired.size])
        order = np.argsort(times, kind="stable")
        loss, in_order = kernels.neuron_loss(times[order], signs[order], duration, tau_s)
        total += loss
        derivatives.append(in_order[signs[order] > 0])
    return float(total), derivatives


def _smallest_event_gap(
    layers: list[_Layer], output_spikes: list[FloatArray], desired_spikes: list[FloatArray]
) -> float:
    """See `ExactResult.smallest_event_gap`."""
    gaps = [_smallest_distance(layer.spikes[:, 0], layer.events.times) for layer in layers]
    gaps += [_smallest_distance(*pair) for pair in zip(output_spikes, desired_spikes, strict=True)]
    return min(gaps)


def _smallest_distance(times: FloatArray, others: FloatArray) -> float:
    """Return the least |time - other|, others sorted; infinity if either is empty."""
    if not times.size or not others.size:
        return math.inf
    after = np.searchsorted(others, times)
    nearest_before = others[np.maximum(after - 1, 0)]
    nearest_after = others[np.minimum(after, others.size - 1)]
    return float(np.minimum(np.abs(times - nearest_before), np.abs(times - nearest_after)).min())


def _raster(trains: list[FloatArray], dt: float, n_steps: int, duration: float) -> FloatArray:
    """Count the spikes in each step: (n_steps, neurons)."""
    raster = np.zeros((n_steps, len(trains)))
    for neuron, times in enumerate(trains):
        # The quotient of a time just below the duration can round up to n_steps.
        steps = np.minimum(np.floor(times[times < duration] / dt).astype(np.int64), n_steps - 1)
        np.add.at(raster[:, neuron], steps, 1.0)
    return raster

r"""The real gradient: networks in continuous time, with exact spike times, to hold the discrete rules against.

The model (the paper's section "Spiking neuron model", before it is put on a time grid; R = 1):

.. math::
    \tau_m \dot u_i = -u_i + \sum_j w_{ij} a_j(t - d_{ij}), \qquad \tau_s \dot a_j = -a_j + \sum_f \delta(t - t_j^f)

A neuron fires when u rises above the threshold V; u is then set to 0. There is no refractory time. All starts at rest.
tau_m and V may differ from neuron to neuron, tau_s from layer to layer, the delays d from synapse to synapse; a last
threshold of None makes a readout that never fires. The losses are in `tsslbp_ref.exact.losses`. Nothing is stepped:
between events everything is a sum of two exponentials, spike times are bracketed roots, and loss and gradients are sums
of closed forms. The adjoint equations are our own derivation, ``docs/derivations/exact-gradient.md``; the compiled
loops are in `tsslbp_ref.exact.kernels`.

Conventions, where the model leaves something open:

- A membrane that touches the threshold and does not rise above it does not fire. One that is at the threshold when an
  input arrives fires then if it goes on to rise.
- Spikes of one neuron at equal times are separate spikes, and count as often as they are listed.
- A desired or input spike at time 0 or `duration` is allowed. A spike that arrives at `duration` or later
  has no effect.
- A network, a layer or an output that falls silent is no error: the spike times are empty arrays, no derivative passes
  a silent neuron, and the losses say what a silent output costs.
- Where an output spike coincides with a desired one, the loss has a kink; the gradient is the mean of the two one-sided
  derivatives. Where a spike coincides with an input spike of its own layer, it is one of the one-sided derivatives.
  ``smallest_event_gap`` is 0 in both cases.
- The gradient says nothing of spikes that a larger change would create or delete;
  ``smallest_crossing_slope`` and ``smallest_peak_margin`` say how near that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.exact import arguments, kernels
from tsslbp_ref.exact.arguments import Constant, Model, SpikeTrains
from tsslbp_ref.exact.kernels import FloatArray
from tsslbp_ref.exact.losses import FirstSpike, Loss, LossDerivatives, Peak, VanRossum, van_rossum
from tsslbp_ref.exact.sweeps import Layer, Trains, layer_gradients, simulate_layers, smallest_slope

DEFAULT_MAX_EVENTS = 100_000


@dataclass(frozen=True)
class ExactResult:
    """What `simulate` returns. Times are in ms.

    Attributes
    ----------
    spike_times : list of list of ndarray
        ``spike_times[layer][neuron]``, sorted; layer 0 is the first computed layer, not the input.
    loss : float
        The loss; nan if none was asked for.
    gradients : list of ndarray
        dL/dW of each layer, (out, in); empty if `simulate` was asked for spikes and loss only.
    smallest_crossing_slope : float
        Least du/dt just before a spike, per ms; infinity without a spike. Near 0 a spike is about to vanish.
    smallest_peak_margin : float
        The least distance from the threshold to the highest peak of a membrane that did not become a spike (a membrane
        still rising at the end counts, and so does rest). Near 0 a spike is about to appear. Infinity if no neuron has
        a threshold.
    smallest_event_gap : float
        Least time between a spike and an input spike that arrives at the same neuron, or, with the van Rossum loss, an
        output spike and a desired spike of the same neuron; infinity if there is no such pair. The derivative of the
        loss changes where it passes 0.
    highest_membrane : list of ndarray
        Per layer (n,), max u over [0, T]; the threshold for a neuron that fired.
    gradients_by : dict
        The other derivatives of the loss, all at fixed weights W (a spike's current jumps by W/tau_s); empty where
        `gradients` is.

        - "tau_m", "threshold", "tau_s": in the shape in which the constant was given. What shares a number is summed: a
          float for a number, (L,) for a vector, a list of arrays for one number a neuron. A readout without threshold
          has None.
        - "delays": one (out, in) array a layer, also where no delays were given, which is at delay 0.
        - "input_times", "output_times": one array a neuron of the input, of the output layer.
        - "tau_loss": by the van Rossum loss's own time constant, which is not part of "tau_s" even where `tau_loss` was
          left out. Only with that loss.
    """

    spike_times: list[list[FloatArray]]
    loss: float
    gradients: list[FloatArray]
    smallest_crossing_slope: float
    smallest_peak_margin: float
    smallest_event_gap: float
    highest_membrane: list[FloatArray] = field(default_factory=list)
    gradients_by: dict[str, Any] = field(default_factory=dict)


def simulate(
    weights: Sequence[npt.ArrayLike],
    input_spikes: SpikeTrains,
    tau_m: Constant,
    tau_s: Constant,
    threshold: Constant,
    duration: float,
    desired_spikes: SpikeTrains | None = None,
    *,
    delays: Sequence[npt.ArrayLike] | None = None,
    tau_loss: float | None = None,
    loss: Loss | None = None,
    max_events: int = DEFAULT_MAX_EVENTS,
    with_gradients: bool = True,
) -> ExactResult:
    r"""Simulate a feed-forward network exactly and return spike times, loss, and the loss's gradient by everything.

    Parameters
    ----------
    weights : sequence of array_like
        One (out, in) array per layer.
    input_spikes : sequence of array_like
        Per input neuron, its spike times in ms, sorted, in [0, duration]; may be empty.
    tau_m : float, or one entry a layer
        Time constant of the membrane in ms, positive: a number for all neurons, or a sequence with one entry a layer,
        each a number or an array with one number a neuron.
    tau_s : float, or one number a layer of weights
        Time constant of the synapse in ms, positive, smaller or larger than tau_m or equal to it. Entry k is that of
        the PSC which FEEDS layer k of the weights: that of the input first, then those of the layers 1 to L-1. See
        `emitted_tau_s`.
    threshold : float, or one entry a layer
        As tau_m; rest is 0. The last entry may be None: then the output layer is a readout that never fires.
    duration : float
        T, in ms.
    desired_spikes : sequence of array_like, optional
        Per neuron of the last layer, its desired spike times, sorted, in [0, duration]. Short for
        ``loss=VanRossum(desired_spikes, tau_loss)``.
    delays : sequence of array_like, optional
        One array a layer, shaped as its weights, in ms, at least 0: a spike of j arrives at i that much later.
    tau_loss : float, optional
        Time constant of the PSCs that the van Rossum loss compares, in ms; the last tau_s if not given.
    loss : VanRossum, FirstSpike or Peak, optional
        Without `loss` and `desired_spikes` only spikes are computed, and the loss is nan.
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
    >>> round(result.gradients_by["tau_m"], 6)
    0.018124
    """
    model = arguments.checked_model(weights, tau_m, tau_s, threshold, duration, delays)
    inputs = arguments.checked_trains("input_spikes", input_spikes, model.duration, model.weights[0].shape[1])
    chosen = _chosen_loss(loss, desired_spikes, tau_loss, model)
    trains = Trains(np.concatenate(inputs), np.cumsum([0, *(train.size for train in inputs)])[None])
    layers = simulate_layers(model, trains, checks.positive_integer("max_events", max_events))
    spike_times = [layer.spike_times() for layer in layers]
    highest = [layer.highest_membrane(V)[0] for layer, V in zip(layers, model.threshold.values, strict=True)]
    slopes = [float(layer.spikes[:, kernels.SLOPE].min()) for layer in layers if len(layer.spikes)]
    margins = [V - layer.peaks[0, :, kernels.HEIGHT] for layer, V in zip(layers, model.threshold.values, strict=True)]
    gradients: list[FloatArray] = []
    gradients_by: dict[str, Any] = {}
    value = math.nan
    if chosen is not None:
        derivatives = chosen.value_and_derivatives(spike_times[-1], highest[-1], model.duration)
        value = derivatives.value
        if with_gradients:
            gradients, gradients_by = _gradients(model, layers, trains, derivatives)
    return ExactResult(
        spike_times=spike_times,
        loss=value,
        gradients=gradients,
        smallest_crossing_slope=min(slopes, default=math.inf),
        smallest_peak_margin=min(float(margin.min()) for margin in margins),
        smallest_event_gap=_smallest_event_gap(model, layers, trains, chosen),
        highest_membrane=highest,
        gradients_by=gradients_by,
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

    Examples
    --------
    >>> round(van_rossum_loss([[3.0]], [[4.0]], tau_s=5.0, duration=50.0), 6)
    0.018127
    """
    return van_rossum(*arguments.checked_pair(spike_times, desired_spikes, tau_s, duration)).value


def van_rossum_time_derivatives(
    spike_times: SpikeTrains, desired_spikes: SpikeTrains, tau_s: float, duration: float
) -> list[FloatArray]:
    r"""dL/dt_f = (1/tau_s) [P_a/tau_s - (e- + e+)/2] of every spike, P_a = \int_{t_f}^T exp(-(t-t_f)/tau_s) e(t) dt.

    Arguments as for `van_rossum_loss`; one array per neuron, in the order of its spike times. Own derivation. At a
    coincidence with a desired spike it is the mean of the two one-sided derivatives.

    Examples
    --------
    >>> by_time = van_rossum_time_derivatives([[3.0]], [[4.0]], tau_s=5.0, duration=50.0)
    >>> by_time[0].round(6)  # a later spike would be nearer to the desired one
    array([-0.016375])
    """
    return van_rossum(*arguments.checked_pair(spike_times, desired_spikes, tau_s, duration)).by_time


# ---------------------------------------------------------------- simulation and gradient, layer by layer


def _chosen_loss(
    loss: Loss | None, desired_spikes: SpikeTrains | None, tau_loss: float | None, model: Model
) -> Loss | None:
    """Return the loss that `simulate` was asked for, fitting the network; None if it was asked for spikes only."""
    if loss is not None and (desired_spikes is not None or tau_loss is not None):
        raise ValueError("give desired_spikes (with tau_loss) or loss, not both: they are short for VanRossum")
    if desired_spikes is not None:
        if not model.fires:
            raise ValueError("desired_spikes needs outputs that fire, and the last threshold is None")
        desired_spikes = checks.listed("desired_spikes", desired_spikes)
        arguments.checked_trains("desired_spikes", desired_spikes, model.duration, model.weights[-1].shape[0])
        tau = float(model.tau_s[-1]) if tau_loss is None else checks.real_number("tau_loss", tau_loss, above=0.0)
        return VanRossum(desired_spikes, tau)
    if tau_loss is not None:
        raise ValueError("tau_loss belongs to desired_spikes, and none were given")
    if loss is None:
        return None
    if not isinstance(loss, (VanRossum, FirstSpike, Peak)):
        raise TypeError(f"loss must be a VanRossum, FirstSpike or Peak, got {type(loss).__name__}")
    loss.check(model.weights[-1].shape[0], model.duration, fires=model.fires)
    return loss


def _gradients(
    model: Model, layers: list[Layer], trains: Trains, derivatives: LossDerivatives
) -> tuple[list[FloatArray], dict[str, Any]]:
    """Return dL/dW of each layer, and the derivatives by everything else, of a batch of one sample."""
    for number, layer in enumerate(layers):
        _refuse_grazing(number, layer, smallest_slope(model, number))
    by_peak = [np.zeros((1, len(w))) for w in model.weights[:-1]] + [derivatives.by_peak[None]]
    by_layer = layer_gradients(model, layers, trains, np.concatenate(derivatives.by_time), by_peak)
    by_tau_s = np.array([layer.tau_s for layer in by_layer])
    gradients_by = {
        "tau_m": model.tau_m.shaped([layer.tau_m for layer in by_layer]),
        "threshold": model.threshold.shaped([layer.threshold for layer in by_layer]),
        "tau_s": float(by_tau_s.sum()) if model.one_tau_s else by_tau_s,
        "delays": [layer.delays for layer in by_layer],
        "input_times": np.split(by_layer[0].event_times, trains.offsets[0, 1:-1]),
        "output_times": derivatives.by_time,
    }
    if not math.isnan(derivatives.by_tau):
        gradients_by["tau_loss"] = derivatives.by_tau
    return [layer.weights for layer in by_layer], gradients_by


def _refuse_grazing(number: int, layer: Layer, smallest: FloatArray) -> None:
    """Raise ``ValueError`` if a spike's slope is zero to rounding: its time has no derivative."""
    neurons = np.repeat(np.arange(smallest.size), np.diff(layer.offsets[0]))
    grazing = np.flatnonzero(~(layer.spikes[:, kernels.SLOPE] > smallest[neurons]))
    if grazing.size:
        time, slope, _ = layer.spikes[grazing[0]]
        raise ValueError(
            f"neuron {neurons[grazing[0]]} of layer {number} grazes the threshold at {time:.6g} ms (slope {slope:.3g} "
            "per ms): the gradient does not exist; with_gradients=False gives spikes and loss"
        )


def _smallest_event_gap(model: Model, layers: list[Layer], trains: Trains, loss: Loss | None) -> float:
    """See `ExactResult.smallest_event_gap`."""
    gaps = [math.inf]
    for layer, delays in zip(layers, model.delays, strict=True):
        rows, _, _ = kernels.arrivals(trains.times, trains.offsets[0], delays)
        own = [layer.spikes[:, kernels.TIME]] if len(rows) == 1 else layer.spike_times()
        gaps += [_smallest_distance(*pair) for pair in zip(own, rows, strict=True)]
        trains = layer.trains
    if isinstance(loss, VanRossum):
        desired = [np.asarray(times, dtype=np.float64) for times in loss.desired]
        gaps += [_smallest_distance(*pair) for pair in zip(layers[-1].spike_times(), desired, strict=True)]
    return min(gaps)


def _smallest_distance(times: FloatArray, others: FloatArray) -> float:
    """Return the least |time - other|, others sorted; infinity if either is empty."""
    if not times.size or not others.size:
        return math.inf
    after = np.searchsorted(others, times)
    nearest_before = others[np.maximum(after - 1, 0)]
    nearest_after = others[np.minimum(after, others.size - 1)]
    return float(np.minimum(np.abs(times - nearest_before), np.abs(times - nearest_after)).min())

"""Loss, gradient and predictions of a Yin-Yang batch, exactly in continuous time or by a rule on a time grid.

The network is 5-100-3 with the constants of `ExactSettings`. All contenders have the same weights, the W of continuous
time; a rule sees W_d = W / tau_m. Losses and gradients are those of continuous time, too: L and dL/dW.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import GradientRule, NeuronParameters, Trace, checks, lif_forward, psc_filter, tsslbp_backward
from tsslbp_ref.datasets import yin_yang
from tsslbp_ref.exact import arguments, loss_kernels, losses, sweeps
from tsslbp_ref.exact.simulation import DEFAULT_MAX_EVENTS
from tsslbp_ref.model import terms
from tsslbp_ref.training.exact_training import ExactSettings

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]
Array = npt.NDArray[Any]  # of a grid: float32 or float64

PEAK, VAN_ROSSUM = "peak", "van-rossum"
RACES = (PEAK, VAN_ROSSUM)
DESIRED_MS = 30.0  # when the true class should fire; inputs come from 2 to 32 ms
TAU_LOSS = 20.0  # ms, of the van Rossum loss's kernel: a spike some 20 ms away should still be seen
TRUE_WEIGHT = 4.0  # of the true class in that loss: there are two others, and silence would pay
SILENT = -1  # the prediction where no output fires
TAU_M, TAU_S, THRESHOLD = ExactSettings.tau_m, ExactSettings.tau_s, ExactSettings.threshold
DURATION = yin_yang.DURATION_MS
STEPS_TOLERANCE = 1e-9  # of a spike time just below a step's beginning, in steps


@dataclass(frozen=True)
class Contender:
    """One way to a gradient.

    Parameters
    ----------
    name : str
    rule : GradientRule, optional
        None is the exact gradient in continuous time.
    dt : float
        Step of the grid in ms.
    against_silence : bool
        Whether silent neurons get the derivative of their highest membrane; for rules that have no surrogate.
    dtype : str
        In which a rule computes, as in training; the exact gradient takes float64.
    """

    name: str
    rule: GradientRule | None = None
    dt: float = 1.0
    against_silence: bool = True
    dtype: str = "float32"

    @property
    def neuron(self) -> NeuronParameters:
        """Constants in steps."""
        return NeuronParameters(TAU_M / self.dt, TAU_S / self.dt, THRESHOLD)

    @property
    def output_neuron(self) -> NeuronParameters:
        """The same with the loss's kernel: nothing but the loss reads the outputs' PSC."""
        return replace(self.neuron, tau_s=TAU_LOSS / self.dt)


class Silence(NamedTuple):
    """Weights of the terms against silence, beta for the true output and gamma for hidden neurons; see `exact`."""

    output: float = 0.0
    hidden: float = 0.0


class Passed(NamedTuple):
    """A batch after the forward pass.

    highest : (B, 3), highest membranes of the outputs, the threshold where one fired.
    first : (B, 3), first output spikes in ms, infinity for none.
    counts : (B, 3), output spikes.
    hidden_counts : (B, 100), hidden spikes.
    """

    highest: FloatArray
    first: FloatArray
    counts: IntegerArray
    hidden_counts: IntegerArray

    def predictions(self, race: str) -> tuple[IntegerArray, IntegerArray]:
        """Class by the highest membrane, twice; or by the first spike, and by the number of spikes.

        Of outputs that fire equally often the first one counts. Without an output spike no class is predicted.
        """
        if race == PEAK:
            return (self.highest.argmax(axis=1),) * 2
        fired = self.counts.any(axis=1)
        by_count = np.lexsort((self.first, -self.counts), axis=1)[:, 0]
        return np.where(fired, self.first.argmin(axis=1), SILENT), np.where(fired, by_count, SILENT)


class Gradient(NamedTuple):
    """Loss, its gradients by both layers, and the batch."""

    loss: float
    weights: list[FloatArray]
    passed: Passed


def loss_and_gradient(
    contender: Contender,
    race: str,
    weights: list[FloatArray],
    points: FloatArray,
    labels: IntegerArray,
    silence: Silence = Silence(),  # noqa: B008 - a tuple, which nothing can change
) -> Gradient:
    """Loss and gradient of a batch, means over its samples.

    Parameters
    ----------
    contender : Contender
    race : {"peak", "van-rossum"}
        Cross-entropy of the highest membranes of outputs that never fire; or the van Rossum loss, its kernel `TAU_LOSS`
        wide, against one desired spike of the true class, at `DESIRED_MS`, and none of the others. The true class
        counts `TRUE_WEIGHT` times.
    weights : list of ndarray
        W, (100, 5) and (3, 100).
    points, labels : ndarray
        (B, 2) and (B,).
    silence : Silence, optional
        Terms in the loss of contenders that have no surrogate.

    Returns
    -------
    Gradient

    Raises
    ------
    ValueError, TypeError
        If the race is not known, or an array is malformed.
    """
    checks.one_of("race", race, RACES)
    silence = silence if contender.against_silence else Silence()
    if contender.rule is None:
        return _exact_gradient(race, weights, points, labels, silence)
    return _grid_gradient(contender, contender.rule, race, weights, points, labels, silence)


def loss_alone(
    contender: Contender, race: str, weights: list[FloatArray], points: FloatArray, labels: IntegerArray
) -> float:
    """The loss of `loss_and_gradient` without terms against silence, by the forward pass alone."""
    if contender.rule is None:
        model, trains = _exact_network(race, weights, points)
        layers = sweeps.simulate_layers(model, trains, DEFAULT_MAX_EVENTS)
        values, _, _ = _exact_losses(race, layers[1], _exact_passed(model, layers), labels)
        return float(values.mean())
    _, _, outputs = _grid_forward(contender, race, _grid_weights(contender, weights), points)
    if race == PEAK:
        return float(loss_kernels.peak_losses(_highest(outputs), labels)[0].mean())
    return _grid_van_rossum(contender, outputs, labels)[0] / len(labels)


def forward(contender: Contender, race: str, weights: list[FloatArray], points: FloatArray) -> Passed:
    """The forward pass alone."""
    if contender.rule is None:
        model, trains = _exact_network(race, weights, points)
        return _exact_passed(model, sweeps.simulate_layers(model, trains, DEFAULT_MAX_EVENTS))
    _, hidden, outputs = _grid_forward(contender, race, _grid_weights(contender, weights), points)
    return _grid_passed(contender, hidden, outputs)


# ---------------------------------------------------------------------------------------------------------------------
# Continuous time
# ---------------------------------------------------------------------------------------------------------------------


def _exact_network(race: str, weights: list[FloatArray], points: FloatArray) -> tuple[arguments.Model, sweeps.Trains]:
    threshold = [THRESHOLD, None if race == PEAK else THRESHOLD]
    model = arguments.checked_model(weights, TAU_M, TAU_S, threshold, DURATION)
    times = yin_yang.spike_times(points)  # (B, 5, 1): one spike a neuron
    n_in = times.shape[1]
    return model, sweeps.Trains(times.ravel(), n_in * np.arange(len(times))[:, None] + np.arange(n_in + 1))


def _exact_passed(model: arguments.Model, layers: list[sweeps.Layer]) -> Passed:
    hidden, outputs = layers
    counts = np.diff(outputs.offsets, axis=1)
    times = np.append(outputs.trains.times, np.inf)[outputs.offsets[:, :-1]]
    highest = outputs.highest_membrane(model.threshold.values[-1])
    return Passed(highest, np.where(counts > 0, times, np.inf), counts, np.diff(hidden.offsets, axis=1))


def _exact_gradient(
    race: str, weights: list[FloatArray], points: FloatArray, labels: IntegerArray, silence: Silence
) -> Gradient:
    model, trains = _exact_network(race, weights, points)
    layers = sweeps.simulate_layers(model, trains, DEFAULT_MAX_EVENTS)
    hidden, outputs = layers
    passed = _exact_passed(model, layers)
    values, by_time, by_peak = _exact_losses(race, outputs, passed, labels)
    silent_loss, hidden_by_peak, true_by_peak = _against_silence(
        race, passed, hidden.highest_membrane(model.threshold.values[0]), labels, silence
    )
    found = sweeps.layer_gradients(model, layers, trains, by_time, [hidden_by_peak, by_peak + true_by_peak])
    mean = [layer.weights / len(labels) for layer in found]
    return Gradient((float(values.sum()) + silent_loss) / len(labels), mean, passed)


def _exact_losses(
    race: str, outputs: sweeps.Layer, passed: Passed, labels: IntegerArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The losses of all samples, and their derivatives by all output spikes and by the highest membranes."""
    if race == PEAK:
        values, by_peak = loss_kernels.peak_losses(passed.highest, labels)
        return values, np.zeros(len(outputs.spikes)), by_peak
    return *_van_rossum(outputs, labels), np.zeros_like(passed.highest)


def _van_rossum(outputs: sweeps.Layer, labels: IntegerArray) -> tuple[FloatArray, FloatArray]:
    """The losses of all samples, and their derivatives by all output spikes."""
    values, by_time = np.zeros(len(labels)), []
    for sample, label in enumerate(labels):
        for k, times in enumerate(outputs.spike_times(sample)):
            weight, desired = (TRUE_WEIGHT, np.array([DESIRED_MS])) if k == label else (1.0, np.empty(0))
            found = losses.van_rossum([times], [desired], TAU_LOSS, DURATION)
            values[sample] += weight * found.value
            by_time.append(weight * found.by_time[0])
    return values, np.concatenate(by_time)


# ---------------------------------------------------------------------------------------------------------------------
# A time grid
# ---------------------------------------------------------------------------------------------------------------------


def input_raster(points: FloatArray, dt: float, dtype: str) -> Array:
    """The input spikes on the grid: (T, B, 5)."""
    steps = np.floor(yin_yang.spike_times(points)[:, :, 0] / dt + STEPS_TOLERANCE).astype(np.int64)
    raster = np.zeros((round(DURATION / dt), *steps.shape), dtype)
    np.put_along_axis(raster, steps[None], 1.0, axis=0)
    return raster


def readout_membrane(I: Array, theta_m: float) -> Array:
    """u[t] = (1 - theta_m) u[t-1] + I[t],  I (T, B, n): neurons that never fire."""
    u, previous = np.empty_like(I), np.zeros_like(I[0])
    for t in range(len(I)):
        u[t] = previous = terms.membrane(previous, I[t], theta_m)
    return u


def peak_delta(u: Array, by_peak: Array, theta_m: float) -> Array:
    """delta[t] = dL/d(max u) (1 - theta_m)^(t* - t) up to the step t* of the peak, else 0,  u (T, B, n).

    For neurons that do not fire. A membrane that never rises above rest has its peak before the first step: 0.
    """
    lag = u.argmax(axis=0) - np.arange(len(u))[:, None, None]
    rises = u.max(axis=0) > 0.0
    leaked = by_peak * terms.leak(np.maximum(lag, 0), theta_m)  # a whole array at once
    return np.where((lag >= 0) & rises, leaked, 0.0).astype(u.dtype)


def _grid_weights(contender: Contender, weights: list[FloatArray]) -> list[Array]:
    """W_d = W / tau_m."""
    return [(W / TAU_M).astype(contender.dtype) for W in weights]


def _grid_forward(contender: Contender, race: str, W: list[Array], points: FloatArray) -> tuple[Array, Trace, Trace]:
    """PSC of the input, and the traces of both layers, from W_d; a readout has a PSC of 0."""
    neuron = contender.neuron
    a_in = psc_filter(input_raster(points, contender.dt, contender.dtype), neuron)
    hidden = lif_forward(a_in @ W[0].T, neuron)
    I = hidden.a @ W[1].T
    if race == PEAK:
        u = readout_membrane(I, neuron.theta_m)
        return a_in, hidden, Trace(u, np.zeros_like(u), np.inf)
    return a_in, hidden, lif_forward(I, contender.output_neuron)


def _grid_passed(contender: Contender, hidden: Trace, outputs: Trace) -> Passed:
    """A tie of two first spikes goes to the output whose membrane is higher in that step."""
    fired = outputs.u > outputs.threshold
    counts = fired.sum(axis=0)
    step = fired.argmax(axis=0)
    height = np.take_along_axis(outputs.u, step[None], axis=0)[0].astype(np.float64)
    first = contender.dt * (step + 1.0 / (1.0 + np.maximum(height, 0.0)))  # within the step, earlier where higher
    highest = _highest(outputs)
    hidden_counts = (hidden.u > hidden.threshold).sum(axis=0)
    return Passed(highest, np.where(counts > 0, first, np.inf), counts, hidden_counts)


def _highest(trace: Trace) -> FloatArray:
    """The highest membranes, (B, n), the threshold where a neuron fired."""
    return np.clip(trace.u.max(axis=0), 0.0, trace.threshold).astype(np.float64)


def _grid_van_rossum(contender: Contender, outputs: Trace, labels: IntegerArray) -> tuple[float, Array]:
    """The loss of continuous time, which is that of the grid over dt, and dL/da."""
    true = np.arange(len(labels)), labels
    desired = np.zeros_like(outputs.u)
    desired[round(DESIRED_MS / contender.dt), *true] = 1.0
    error = outputs.a - psc_filter(desired, contender.output_neuron)
    g = error / outputs.a.dtype.type(contender.dt)
    g[:, *true] *= TRUE_WEIGHT
    return 0.5 * float(np.vdot(error, g)), g


def _grid_gradient(
    contender: Contender,
    rule: GradientRule,
    race: str,
    weights: list[FloatArray],
    points: FloatArray,
    labels: IntegerArray,
    silence: Silence,
) -> Gradient:
    """As `loss_and_gradient` says, by a rule."""
    neuron, B, W = contender.neuron, len(labels), _grid_weights(contender, weights)
    a_in, hidden, outputs = _grid_forward(contender, race, W, points)
    passed = _grid_passed(contender, hidden, outputs)
    if race == PEAK:
        values, by_peak = loss_kernels.peak_losses(passed.highest, labels)
        loss, delta_out = float(values.sum()), peak_delta(outputs.u, by_peak, neuron.theta_m)
    else:
        loss, g = _grid_van_rossum(contender, outputs, labels)
        delta_out = tsslbp_backward(g, outputs, contender.output_neuron, rule)
    silent_loss, hidden_by_peak, true_by_peak = _against_silence(race, passed, _highest(hidden), labels, silence)
    if silence.output > 0.0:
        delta_out = delta_out + peak_delta(outputs.u, true_by_peak, neuron.theta_m)
    delta = tsslbp_backward(delta_out @ W[1], hidden, neuron, rule)
    silent = hidden_by_peak.any(axis=0)  # of few neurons: a power at every step costs more than the rest
    delta[:, :, silent] += peak_delta(hidden.u[:, :, silent], hidden_by_peak[:, silent], neuron.theta_m)
    sums = [np.tensordot(*pair, axes=((0, 1), (0, 1))) for pair in ((delta, a_in), (delta_out, hidden.a))]
    return Gradient((loss + silent_loss) / B, [of_layer.astype(np.float64) / (TAU_M * B) for of_layer in sums], passed)


# ---------------------------------------------------------------------------------------------------------------------
# Silence
# ---------------------------------------------------------------------------------------------------------------------


def _against_silence(
    race: str, passed: Passed, hidden_highest: FloatArray, labels: IntegerArray, silence: Silence
) -> tuple[float, FloatArray, FloatArray]:
    """Sum of beta (V - max u) of silent true outputs and gamma (V - max u) of silent hidden neurons; dL/d(max u).

    A hidden neuron is silent if it fires in no sample of the batch. A readout is never silent.
    """
    silent = ~passed.hidden_counts.any(axis=0)
    by_hidden = np.where(silent, -silence.hidden, np.zeros_like(hidden_highest))
    is_true = np.arange(yin_yang.N_CLASSES) == labels[:, None]
    by_true = np.where(is_true & (passed.counts == 0) & (race != PEAK), -silence.output, 0.0)
    loss = float(np.sum(by_hidden * (hidden_highest - THRESHOLD)) + np.sum(by_true * (passed.highest - THRESHOLD)))
    return loss, by_hidden, by_true

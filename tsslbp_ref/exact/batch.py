"""Loss, gradients and predictions of a batch of samples, on several threads: training with the exact gradient.

The batch is cut into chunks of a fixed size, whatever the number of threads, and sums are taken over the chunks in
their order. So the number of threads changes no bit of a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine.threads import Threads
from tsslbp_ref.exact import arguments, loss_kernels
from tsslbp_ref.exact.arguments import Constant, Model, SpikeTrains
from tsslbp_ref.exact.kernels import TIME, FloatArray, IntegerArray
from tsslbp_ref.exact.losses import FirstSpike, Peak
from tsslbp_ref.exact.simulation import DEFAULT_MAX_EVENTS
from tsslbp_ref.exact.sweeps import Layer, Trains, layer_gradients, simulate_layers

SAMPLES_IN_A_CHUNK = 5
FIRST_ONLY = 1  # of an output's spikes only the first matters here
SILENT = -1  # the prediction of a network none of whose outputs fires

Batch = Sequence[SpikeTrains] | FloatArray
Result = TypeVar("Result")


@dataclass(frozen=True)
class BatchResult:
    """What `loss_and_gradients` returns.

    Attributes
    ----------
    loss : float
        Mean over the samples, the terms against silence included.
    gradients : list of ndarray
        dloss/dW of each layer, (out, in).
    predictions : ndarray
        (samples,): the output that fires first, or, of a readout that never fires, the one whose membrane reaches
        highest; -1 where all outputs that could fire are silent.
    n_silent_outputs : int
        Samples whose labelled output does not fire; 0 for a readout.
    silent_hidden : list of ndarray
        Per layer but the last, (n,): which neurons fire in no sample of the batch.
    n_hidden_spikes : int
        Spikes of the layers below the output in all samples.
    """

    loss: float
    gradients: list[FloatArray]
    predictions: IntegerArray
    n_silent_outputs: int
    silent_hidden: list[npt.NDArray[np.bool_]]
    n_hidden_spikes: int


def loss_and_gradients(
    weights: Sequence[npt.ArrayLike],
    batch: Batch,
    labels: npt.ArrayLike,
    tau_m: Constant,
    tau_s: Constant,
    threshold: Constant,
    duration: float,
    *,
    loss: FirstSpike | Peak,
    silent_output: float | None = None,
    silent_hidden: float = 0.0,
    delays: Sequence[npt.ArrayLike] | None = None,
    max_events: int = DEFAULT_MAX_EVENTS,
    n_threads: int | None = None,
) -> BatchResult:
    """Simulate a batch of samples exactly and return the mean loss and its exact gradient by the weights.

    Parameters
    ----------
    weights, tau_m, tau_s, threshold, duration, delays
        As for `simulate`.
    batch : sequence of sequence of array_like, or ndarray
        Per sample what `simulate` takes as ``input_spikes``: one spike train for each input neuron. An array (samples,
        in, spikes) if all trains have the same length.
    labels : array_like
        (samples,), integers.
    loss : FirstSpike or Peak
        Its own label is not used.
    silent_output : float, optional
        beta >= 0: a sample whose labelled output does not fire has the loss beta (V - max_t u) of that output, instead
        of the first-spike loss. If not given, the first-spike loss stands, in which the output counts as fired
        at T and only the other outputs have derivatives.
    silent_hidden : float, optional
        gamma >= 0: gamma (V - max_t u) is added, in every sample, for each hidden neuron that fires in no sample of
        the batch.
    max_events : int, optional
        Bound on the number of spikes of one sample; an output is not followed beyond its first spike.
    n_threads : int, optional
        All cores if not given.

    Returns
    -------
    BatchResult

    Raises
    ------
    TypeError, ValueError
        If an argument is malformed; if a sample fires more than `max_events` spikes; if a membrane overflows.

    Notes
    -----
    A spike that grazes the threshold is kept: its slope counts as the least one that is not rounding error. Clip the
    norm of the gradients. The terms against silence are exact derivatives of the highest membrane, which needs no
    spike. Without them a neuron that fell silent stays so. Source: own, after the settings of Wunderlich and Pehle
    (2021), who skip samples whose labelled output is silent and raise the weights where too many neurons are.

    Examples
    --------
    >>> batch = [[[1.0], [3.0]], [[3.0], [1.0]]]
    >>> result = loss_and_gradients(
    ...     [[[30.0, 3.0], [3.0, 30.0]]], batch, [0, 1], 10.0, 5.0, 1.0, 40.0, loss=FirstSpike(None, 2.0, 10.0, 0.0)
    ... )
    >>> result.predictions
    array([0, 1])
    """
    model = arguments.checked_model(weights, tau_m, tau_s, threshold, duration, delays)
    trains = _checked_batch(batch, model)
    n_out = model.weights[-1].shape[0]
    classes = checks.labels("labels", labels, len(trains.offsets), n_out)
    _check_loss(loss, model, silent_output)
    gamma = checks.real_number("silent_hidden", silent_hidden, minimum=0.0)
    max_events = checks.positive_integer("max_events", max_events)
    chunks = _chunks(trains)
    threads = Threads(n_threads)
    simulated = _in_threads(threads, lambda chunk: simulate_layers(model, chunk, max_events, FIRST_ONLY), chunks)
    silent = [~np.any([_fired(layers[k]) for layers in simulated], axis=0) for k in range(len(model.weights) - 1)]

    def finish(number: int) -> tuple[float, list[FloatArray]]:
        start = number * SAMPLES_IN_A_CHUNK
        mine = classes[start : start + SAMPLES_IN_A_CHUNK]
        return _chunk_gradients(model, simulated[number], chunks[number], mine, loss, silent_output, gamma, silent)

    finished = _in_threads(threads, finish, range(len(chunks)))
    value, gradients = _mean(finished, len(classes))
    outputs = [layers[-1] for layers in simulated]
    fired = np.concatenate([np.diff(layer.offsets, axis=1) > 0 for layer in outputs])
    return BatchResult(
        loss=value,
        gradients=gradients,
        predictions=np.concatenate([_predictions(layer, model) for layer in outputs]),
        n_silent_outputs=int(np.sum(~fired[np.arange(len(classes)), classes])) if model.fires else 0,
        silent_hidden=silent,
        n_hidden_spikes=sum(len(layer.spikes) for layers in simulated for layer in layers[:-1]),
    )


def _mean(chunks: Sequence[tuple[float, list[FloatArray]]], n_samples: int) -> tuple[float, list[FloatArray]]:
    """Mean over the samples of the loss and of its gradients, from the sums over each chunk, in the chunks' order."""
    total, gradients = 0.0, [np.zeros_like(gradient) for gradient in chunks[0][1]]
    for chunk_loss, chunk_gradients in chunks:
        total += chunk_loss
        for gradient, chunk_gradient in zip(gradients, chunk_gradients, strict=True):
            gradient += chunk_gradient
    return total / n_samples, [gradient / n_samples for gradient in gradients]


def predict(
    weights: Sequence[npt.ArrayLike],
    batch: Batch,
    tau_m: Constant,
    tau_s: Constant,
    threshold: Constant,
    duration: float,
    *,
    delays: Sequence[npt.ArrayLike] | None = None,
    max_events: int = DEFAULT_MAX_EVENTS,
    n_threads: int | None = None,
) -> IntegerArray:
    """Return the predictions of `loss_and_gradients`, forward only.

    Parameters
    ----------
    weights, batch, tau_m, tau_s, threshold, duration, delays, max_events, n_threads
        As for `loss_and_gradients`.

    Returns
    -------
    (samples,) array of int64

    Raises
    ------
    ValueError, TypeError
        As `loss_and_gradients` does.

    Examples
    --------
    >>> batch = [[[1.0], [3.0]], [[3.0], [1.0]]]
    >>> predict([[[30.0, 3.0], [3.0, 30.0]]], batch, 10.0, 5.0, 1.0, 40.0)
    array([0, 1])
    """
    model = arguments.checked_model(weights, tau_m, tau_s, threshold, duration, delays)
    chunks = _chunks(_checked_batch(batch, model))
    max_events = checks.positive_integer("max_events", max_events)

    def predicted(chunk: Trains) -> IntegerArray:
        return _predictions(simulate_layers(model, chunk, max_events, FIRST_ONLY)[-1], model)

    return np.concatenate(_in_threads(Threads(n_threads), predicted, chunks))


def _in_threads(threads: Threads, function: Callable[[Any], Result], items: Sequence[Any]) -> list[Result]:
    """The results in the order of the items; each thread takes a run of neighbours."""
    runs = threads.map(lambda run: [function(item) for item in items[run]], threads.shards(len(items)))
    return [result for run in runs for result in run]


def _check_loss(loss: FirstSpike | Peak, model: Model, silent_output: float | None) -> None:
    """Raise an error unless the loss fits the network and the term against silent outputs fits the loss."""
    if not isinstance(loss, (FirstSpike, Peak)):
        raise TypeError(f"loss must be a FirstSpike or a Peak, got {type(loss).__name__}")
    loss.check_network(model.duration, fires=model.fires)
    if silent_output is not None:
        checks.real_number("silent_output", silent_output, minimum=0.0)
        if isinstance(loss, Peak):
            raise ValueError("silent_output is for outputs that fire, and the loss is Peak")


def _checked_batch(batch: Batch, model: Model) -> Trains:
    """Return the spikes of a batch, sample after sample."""
    n_in, duration = model.weights[0].shape[1], model.duration
    if isinstance(batch, np.ndarray) and batch.ndim == 3 and batch.size:
        times = np.ascontiguousarray(checks.finite_array("batch", batch, dtype=np.float64))
        if times.shape[1] != n_in:
            raise ValueError(f"batch must be (samples, {n_in}, spikes) to match weights[0], got {times.shape}")
        if np.any(np.diff(times, axis=2) < 0.0):
            raise ValueError("batch must hold sorted spike times along its last axis")
        if times.min() < 0.0 or times.max() > duration:
            wrong = times.min() if times.min() < 0.0 else times.max()
            raise ValueError(f"batch must lie in [0, duration] = [0, {duration:g}], got {wrong:g}")
        counts = np.full(times.shape[:2], times.shape[2])
        return Trains(times.ravel(), _offsets(counts))
    samples = checks.listed("batch", batch)
    if not samples:
        raise ValueError("batch must hold at least one sample, got none")
    trains = [arguments.checked_trains(f"batch[{k}]", s, duration, n_in) for k, s in enumerate(samples)]
    counts = np.array([[train.size for train in sample] for sample in trains])
    return Trains(np.concatenate([train for sample in trains for train in sample]), _offsets(counts))


def _offsets(counts: IntegerArray) -> IntegerArray:
    """Return where each neuron's spikes begin, and where each sample's end, (samples, n + 1), from their numbers."""
    ends = np.cumsum(counts).reshape(counts.shape)
    return np.ascontiguousarray(np.column_stack([ends[:, 0] - counts[:, 0], ends]))


def _chunks(trains: Trains) -> list[Trains]:
    """Cut a batch into chunks of a few samples."""
    chunks = []
    for start in range(0, len(trains.offsets), SAMPLES_IN_A_CHUNK):
        offsets = trains.offsets[start : start + SAMPLES_IN_A_CHUNK]
        first, stop = offsets[0, 0], offsets[-1, -1]
        chunks.append(Trains(trains.times[first:stop], offsets - first))
    return chunks


def _fired(layer: Layer) -> npt.NDArray[np.bool_]:
    """(n,): which neurons fire in some sample."""
    return np.any(np.diff(layer.offsets, axis=1) > 0, axis=0)


def _chunk_gradients(
    model: Model,
    layers: list[Layer],
    trains: Trains,
    labels: IntegerArray,
    loss: FirstSpike | Peak,
    silent_output: float | None,
    gamma: float,
    silent: list[npt.NDArray[np.bool_]],
) -> tuple[float, list[FloatArray]]:
    """Return the sums over a chunk's samples of the loss and of its gradients."""
    highest = layers[-1].highest_membrane(model.threshold.values[-1])
    if isinstance(loss, Peak):
        losses, by_peak = loss_kernels.peak_losses(highest, labels)
        by_time = np.zeros(len(layers[-1].spikes))
    else:
        losses, by_time, by_peak = loss_kernels.first_spike_losses(
            *layers[-1].trains,
            highest,
            labels,
            model.threshold.values[-1],
            model.duration,
            loss.tau0,
            loss.tau1,
            loss.alpha,
            -1.0 if silent_output is None else float(silent_output),
        )
    total = float(losses.sum())
    dL_dpeak = []
    for layer, V, mask in zip(layers[:-1], model.threshold.values[:-1], silent, strict=True):
        dL_dpeak.append(np.where(mask, -gamma, np.zeros(layer.peaks.shape[:2])))
        total += gamma * float((V - layer.highest_membrane(V))[:, mask].sum())
    found = layer_gradients(model, layers, trains, by_time, [*dL_dpeak, by_peak])
    return total, [layer.weights for layer in found]


def _predictions(layer: Layer, model: Model) -> IntegerArray:
    """See `BatchResult.predictions`."""
    if not model.fires:
        return layer.highest_membrane(model.threshold.values[-1]).argmax(axis=1)
    fired = np.diff(layer.offsets, axis=1) > 0
    # Where a neuron did not fire its offset is another's, or the end; what stands there is not looked at.
    times = np.append(layer.spikes[:, TIME], np.inf)[layer.offsets[:, :-1]]
    return np.where(fired.any(axis=1), np.where(fired, times, np.inf).argmin(axis=1), SILENT)

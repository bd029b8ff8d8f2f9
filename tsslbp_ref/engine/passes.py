"""One shard of a mini-batch through the layers: forward in space and time, and the chain rule back.

`network.Network` cuts the mini-batch, hands out the arrays to write to, and adds up what comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine import signals
from tsslbp_ref.engine.buffers import Arrays
from tsslbp_ref.engine.layer_runs import DENSE, POOLED, DenseRun, PooledNeurons
from tsslbp_ref.engine.signals import NeuronSignal, PSCSignal, Signal, StaticSignal
from tsslbp_ref.engine.steps import LayerFlow, MapStep, NeuronStep, PooledStep, RunStep, Step, WayBack
from tsslbp_ref.model import losses, sweeps
from tsslbp_ref.model.layers import Layer, SumPool2d, WeightedLayer
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, RuleCoefficients
from tsslbp_ref.model.trace import Trace

Array = npt.NDArray[Any]


class MembraneError(ValueError):
    """A membrane left the finite numbers."""

    def __init__(self, layer: int) -> None:
        super().__init__(f"the membranes of layer {layer} are not finite: weights or input are too large")


@dataclass(frozen=True)
class Constants:
    """What follows from neuron, rule and number of steps alone, worked out once and not in every step.

    Parameters
    ----------
    origin : (NeuronParameters, GradientRule, int, dtype)
        What it follows from; the number is T.
    c, gain
        Of `Plan`.
    desired_pscs : dict
        The true class's PSC d (T,) by the name of a loss, as far as they have been asked for.
    """

    origin: tuple[NeuronParameters, GradientRule, int, np.dtype[Any]]
    c: RuleCoefficients
    gain: Array
    desired_pscs: dict[str, Array]

    @classmethod
    def of(cls, neuron: NeuronParameters, rule: GradientRule, n_steps: int, dtype: np.dtype[Any]) -> Constants:
        """Work them out."""
        c, gain = sweeps.coefficients(neuron, rule, dtype), signals.static_gain(n_steps, neuron, dtype)
        return cls((neuron, rule, n_steps, dtype), c, gain, {})

    def target_psc(self, loss: str, target: Array, a: Array) -> Array:
        """What a loss that is the van Rossum loss compares an output PSC a, or one of its shape and dtype, with.

        Parameters
        ----------
        loss : {"kernel", "kernel-paper", "spike-train"}
        target : array
            From `losses.checked_target`.
        a : (T, B, n_classes) array
        """
        neuron, _, n_steps, _ = self.origin
        if loss not in losses.DESIRED_PSCS:
            return losses.filtered_train(target, neuron)
        if loss not in self.desired_pscs:
            self.desired_pscs[loss] = losses.DESIRED_PSCS[loss](n_steps, neuron)
        return losses.target_psc(self.desired_pscs[loss], target, a.shape, a.dtype)


@dataclass(frozen=True)
class Plan:
    """What all shards of a pass share.

    Parameters
    ----------
    layers : sequence of Layer
    weights : sequence of array
        One a layer that has weights.
    neuron : NeuronParameters
    c : RuleCoefficients
        In the weights' dtype, from `fast.coefficients`.
    groups : list of (range, str)
        Which layers are passed together, from `layer_runs.joined`.
    gain : (T,) array
        c[t] of a static picture, from `signals.static_gain`.
    """

    layers: Sequence[Layer]
    weights: Sequence[Array]
    neuron: NeuronParameters
    c: RuleCoefficients
    groups: list[tuple[range, str]]
    gain: Array

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the weights, and so of all arrays."""
        return self.weights[0].dtype


def forward(
    plan: Plan, masks: Sequence[Array | None], signal: Signal, leading: tuple[int, int], arrays: Arrays
) -> list[Step]:
    """Take a shard through all layers    (F1, F3 - F6).

    Parameters
    ----------
    plan : Plan
    masks : sequence
        One a layer: the mask of a dropout layer, or None.
    signal : Signal
        The input.
    leading : (int, int)
        T and the shard's batch.
    arrays : Arrays
        Where u, a and pooled PSCs are written.

    Raises
    ------
    MembraneError
        If a membrane is not finite: weights or input are too large, or a weight is not finite.
    """
    remaining = iter(plan.weights)
    parameters = [
        mask if layer.weight_shape is None else next(remaining) for layer, mask in zip(plan.layers, masks, strict=True)
    ]
    way = _WayThere(plan, parameters, leading, arrays)
    steps: list[Step] = []
    for members, kind in plan.groups:
        steps.append(way.step(members, kind, signal))
        signal = steps[-1].sent
    return steps


@dataclass(frozen=True)
class _WayThere:
    """What the steps of a shard share on the way forward: plan, weights and masks, T and batch, and where to write."""

    plan: Plan
    parameters: Sequence[Array | None]
    leading: tuple[int, int]
    arrays: Arrays

    def step(self, members: range, kind: str, signal: Signal) -> Step:
        """Pass what is passed together."""
        if kind == DENSE:
            return self._run(members, cast(PSCSignal, signal))
        if kind == POOLED:
            return self._pooled(members[0], members[1], cast(StaticSignal, signal))
        return self._layer(members[0], signal)

    def _layer(self, i: int, signal: Signal) -> Step:
        """A layer by itself."""
        layer, parameter = self.plan.layers[i], self.parameters[i]
        if layer.weight_shape is None:
            return MapStep(i, layer, parameter, signal.through(layer, parameter, self._take(i, "a")))
        weighted, W = cast(WeightedLayer, layer), cast(Array, parameter)
        return self._neurons(i, W, signal, signal.neurons(weighted, W, self.plan.neuron, *self._u_and_a(i)))

    def _run(self, members: range, signal: PSCSignal) -> Step:
        """A run of fully connected layers."""
        layers, Ws = [self.plan.layers[i] for i in members], [cast(Array, self.parameters[i]) for i in members]
        run = DenseRun.of(layers, Ws, signal, [self._u_and_a(i) for i in members])
        steps: list[NeuronStep] = []
        for i, W, trace in zip(members, Ws, run.forward(self.plan.neuron), strict=True):
            steps.append(self._neurons(i, W, steps[-1].sent if steps else signal, trace))
        return RunStep(steps, run)

    def _pooled(self, i: int, pool_number: int, signal: StaticSignal) -> Step:
        """The neurons under a static picture, and their pooling."""
        layer, pool = cast(WeightedLayer, self.plan.layers[i]), cast(SumPool2d, self.plan.layers[pool_number])
        neurons = PooledNeurons(layer, pool, signal, layer.forward(signal.x, self.parameters[i]))
        pooled = self._take(pool_number, "a")
        _check_membranes(i, neurons.forward(self.plan.neuron, pooled))
        return PooledStep(neurons, PSCSignal(pooled))

    def _neurons(self, i: int, W: Array, signal: Signal, trace: Trace) -> NeuronStep:
        """The step of a layer of neurons that has been passed."""
        _check_membranes(i, checks.all_finite(trace.u[-1]))
        layer = cast(WeightedLayer, self.plan.layers[i])
        sent = NeuronSignal(trace.a.reshape(*self.leading, *layer.output_shape), trace, self.plan.neuron)
        return NeuronStep(i, layer, W, signal, trace, sent)

    def _take(self, i: int, name: str) -> Array:
        """Where a layer writes, (T, B, ...)."""
        return self.arrays.take((i, name), (*self.leading, *self.plan.layers[i].output_shape), self.plan.dtype)

    def _u_and_a(self, i: int) -> list[Array]:
        """Where a layer of neurons writes, (T, B, N) each."""
        return [self._take(i, name).reshape(*self.leading, -1) for name in "ua"]


def _check_membranes(i: int, finite: bool) -> None:
    """Raise unless the membranes of the last step are finite: one that was not once never is again."""
    if not finite:
        raise MembraneError(i)


def backward(plan: Plan, steps: Sequence[Step], g: Array, arrays: Arrays, flows: list[LayerFlow] | None) -> list[Array]:
    """Take dL/da of the output back through one shard: the chain rule in space    (B1, B3), and in time in each layer.

    Parameters
    ----------
    plan : Plan
    steps : sequence of Step
        From `forward`.
    g : (T, B, N) array
        dL/da of the output.
    arrays : Arrays
        Where g and delta are written.
    flows : list or None
        Takes the flow of every layer of neurons, from the first to the last.

    Returns
    -------
    list of array
        The gradients of the weights, from the first layer to the last.
    """
    first = next(i for i, layer in enumerate(plan.layers) if layer.weight_shape is not None)
    T, B, _ = g.shape
    way = WayBack(plan.c, arrays, (T, B), first, flows)
    gradients: list[Array] = []
    below: Array | None = np.array(g, order="C")  # a copy: the steps write to it
    for step in reversed(steps):
        if below is None:
            break
        below, own = step.backward(below, way)
        gradients = own + gradients
    return gradients


def summed(parts: Iterable[tuple[float, list[Array]]]) -> tuple[float, list[Array]]:
    """Add up losses and gradients, in order; the first gradients are added to."""
    value = 0.0
    totals: list[Array] = []
    for part_value, gradients in parts:
        value += part_value
        for total, gradient in zip(totals, gradients, strict=False):
            total += gradient
        totals = totals or gradients
    return value, totals


def flows_of_batch(shards: Sequence[Sequence[LayerFlow]]) -> list[LayerFlow]:
    """One flow a layer of the whole batch, from those of its shards."""
    flows = []
    for parts in zip(*shards, strict=True):
        arrays = ((part.trace.u, part.trace.a, part.g, part.delta) for part in parts)
        u, a, g, delta = (np.concatenate(of_shards, axis=1) for of_shards in zip(*arrays, strict=True))
        flows.append(LayerFlow(parts[0].layer, Trace(u, a, parts[0].trace.threshold), g, delta))
    return flows


def output(steps: Sequence[Step]) -> Array:
    """The last layer's PSC (T, B, n_classes)."""
    return cast(PSCSignal, steps[-1].sent).a

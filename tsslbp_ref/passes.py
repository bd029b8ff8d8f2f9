"""One shard of a mini-batch through the layers: forward in space and time, and the chain rule back.

`network.Network` cuts the mini-batch, hands out the arrays to write to, and adds up what comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks, fast, signals
from tsslbp_ref.buffers import Arrays
from tsslbp_ref.dense_runs import DenseRun, joined
from tsslbp_ref.layers import Layer, WeightedLayer
from tsslbp_ref.parameters import GradientRule, NeuronParameters, RuleCoefficients
from tsslbp_ref.signals import NeuronSignal, PSCSignal, Signal
from tsslbp_ref.trace import Trace

Array = npt.NDArray[Any]


class MembraneError(ValueError):
    """A membrane left the finite numbers."""


@dataclass(frozen=True)
class LayerFlow:
    """What passed through one layer of neurons: forward its trace, backward g = dL/da and delta = dL/du."""

    layer: WeightedLayer
    trace: Trace
    g: Array
    delta: Array


@dataclass(frozen=True)
class Step:
    """One layer of a forward pass: what it was fed, its weights or mask, and its neurons' trace if it has any.

    The last layer of a run of fully connected layers has the run.
    """

    layer: Layer
    parameter: Array | None
    signal: Signal
    trace: Trace | None
    run: DenseRun | None = None


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
        In the weights' dtype.
    groups : list of (range, bool)
        Which layers are passed at once, from `dense_runs.joined`.
    gain : (T,) array
        c[t] of a static picture, from `signals.static_gain`.
    """

    layers: Sequence[Layer]
    weights: Sequence[Array]
    neuron: NeuronParameters
    c: RuleCoefficients
    groups: list[tuple[range, bool]]
    gain: Array

    @classmethod
    def of(
        cls,
        layers: Sequence[Layer],
        weights: Sequence[Array],
        neuron: NeuronParameters,
        rule: GradientRule,
        n_steps: int,
    ) -> Plan:
        """Resolve the rule, and cut the layers into runs."""
        dtype = weights[0].dtype
        gain = signals.static_gain(n_steps, neuron, dtype)
        return cls(layers, weights, neuron, fast.coefficients(neuron, rule, dtype), joined(layers), gain)


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
    layers, neuron, dtype = plan.layers, plan.neuron, plan.weights[0].dtype
    remaining = iter(plan.weights)
    parameters = [m if layer.weight_shape is None else next(remaining) for layer, m in zip(layers, masks, strict=True)]

    def take(i: int, name: str) -> Array:
        return arrays.take((i, name), (*leading, *layers[i].output_shape), dtype)

    steps: list[Step] = []
    for members, is_run in plan.groups:
        first, own = members.start, [cast(Array, parameters[i]) for i in members]
        if layers[first].weight_shape is None:
            steps.append(Step(layers[first], parameters[first], signal, None))
            signal = signal.through(layers[first], parameters[first], take(first, "a"))
            continue
        u_and_a = [[take(i, name).reshape(*leading, -1) for name in "ua"] for i in members]
        run = DenseRun.of(layers[first : members.stop], own, cast(PSCSignal, signal), u_and_a) if is_run else None
        single = cast(WeightedLayer, layers[first])
        traces = run.forward(neuron) if run else [signal.neurons(single, own[0], neuron, *u_and_a[0])]
        for i, trace in zip(members, traces, strict=True):
            if not checks.all_finite(trace.u[-1]):  # a membrane that was not finite once never is again
                raise MembraneError(f"the membranes of layer {i} are not finite: weights or input are too large")
            steps.append(Step(layers[i], parameters[i], signal, trace, run if i == members[-1] else None))
            signal = NeuronSignal(trace.a.reshape(*leading, *layers[i].output_shape), trace, neuron)
    return steps


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
    gradients: list[Array] = []
    first = next(i for i, step in enumerate(steps) if step.trace is not None)
    g = np.array(g, order="C")  # a copy: the passes below write to it
    leading = g.shape[:2]

    def below(i: int) -> Array:
        return arrays.take((i, "g"), (*leading, *steps[i].layer.input_shape), g.dtype)

    i = len(steps)
    while i > first:
        i -= 1
        step = steps[i]
        if step.run is not None and flows is None:
            top, i = i, i + 1 - len(step.run)
            gs = [below(j) for j in range(i, top + 1)]
            gradients += step.run.backward([array.reshape(*leading, -1) for array in (*gs, g)], plan.c)[::-1]
            g = gs[0]
            continue
        g_below = below(i) if i > first else None
        if step.trace is None:
            g = step.layer.adjoint(g, step.parameter, g_below)
            continue
        layer, W = cast(WeightedLayer, step.layer), cast(Array, step.parameter)
        g = g.reshape(step.trace.u.shape)
        above = signals.FromAbove(g, step.trace, plan.c, g_below)
        if flows is None:
            gradients.append(step.signal.backward(layer, W, above))
        else:
            before = g.copy()
            gradients.append(signals.backward_in_parts(step.signal, layer, W, above))
            flows.insert(0, LayerFlow(layer, step.trace, before, g))
        if g_below is not None:
            g = g_below
    return gradients[::-1]


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


def output(steps: Sequence[Step]) -> Array:
    """The last layer's PSC (T, B, n_classes)."""
    trace = steps[-1].trace
    assert trace is not None
    return trace.a

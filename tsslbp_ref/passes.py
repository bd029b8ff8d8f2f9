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
from tsslbp_ref.layers import Layer, WeightedLayer
from tsslbp_ref.parameters import GradientRule, NeuronParameters
from tsslbp_ref.signals import Signal
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
    """One layer of a forward pass: what it was fed, its weights or mask, and its neurons' trace if it has any."""

    layer: Layer
    parameter: Array | None
    signal: Signal
    trace: Trace | None


def forward(
    layers: Sequence[Layer],
    weights: Sequence[Array],
    masks: Sequence[Array | None],
    signal: Signal,
    leading: tuple[int, int],
    neuron: NeuronParameters,
    arrays: Arrays,
) -> list[Step]:
    """Take a shard through all layers    (F1, F3 - F6).

    Parameters
    ----------
    layers : sequence of Layer
    weights : sequence of array
        One a layer that has weights.
    masks : sequence
        One a layer: the mask of a dropout layer, or None.
    signal : Signal
        The input.
    leading : (int, int)
        T and the shard's batch.
    neuron : NeuronParameters
    arrays : Arrays
        Where u, a and pooled PSCs are written.

    Raises
    ------
    MembraneError
        If a membrane is not finite: weights or input are too large, or a weight is not finite.
    """
    dtype = weights[0].dtype
    remaining = iter(weights)
    steps = []
    for i, (layer, mask) in enumerate(zip(layers, masks, strict=True)):
        shape = (*leading, *layer.output_shape)
        if layer.weight_shape is None:
            steps.append(Step(layer, mask, signal, None))
            signal = signal.through(layer, mask, arrays.take((i, "a"), shape, dtype))
            continue
        W = next(remaining)
        u, a = (arrays.take((i, name), shape, dtype).reshape(*leading, -1) for name in "ua")
        trace = signal.neurons(cast(WeightedLayer, layer), W, neuron, u, a)
        if not checks.all_finite(trace.u[-1]):  # a membrane that was not finite once never is again
            raise MembraneError(f"the membranes of layer {i} are not finite: weights or input are too large")
        steps.append(Step(layer, W, signal, trace))
        signal = signals.PSCSignal(a.reshape(shape))
    return steps


def backward(
    steps: Sequence[Step],
    g: Array,
    neuron: NeuronParameters,
    rule: GradientRule,
    arrays: Arrays,
    flows: list[LayerFlow] | None,
) -> list[Array]:
    """Take dL/da of the output back through one shard: the chain rule in space    (B1, B3), and in time in each layer.

    Parameters
    ----------
    steps : sequence of Step
        From `forward`.
    g : (T, B, N) array
        dL/da of the output.
    neuron : NeuronParameters
    rule : GradientRule
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
    c = fast.coefficients(neuron, rule, g.dtype)
    g = np.array(g, order="C")  # a copy: the passes below write to it
    for i in reversed(range(first, len(steps))):
        step = steps[i]
        shape = (*g.shape[:2], *step.layer.input_shape)
        below = arrays.take((i, "g"), shape, g.dtype) if i > first else None
        if step.trace is None:
            g = step.layer.adjoint(g, step.parameter, below)
            continue
        layer, W = cast(WeightedLayer, step.layer), cast(Array, step.parameter)
        g = g.reshape(step.trace.u.shape)
        above = signals.FromAbove(g, step.trace, c, below)
        if flows is None:
            gradients.append(step.signal.backward(layer, W, above))
        else:
            before = g.copy()
            gradients.append(signals.backward_in_parts(step.signal, layer, W, above))
            flows.insert(0, LayerFlow(layer, step.trace, before, g))
        if below is not None:
            g = below
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

"""The steps of a pass: a layer, or layers that are passed together; each knows what it was fed and its way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine import signals
from tsslbp_ref.engine.buffers import Arrays
from tsslbp_ref.engine.layer_runs import DenseRun, PooledNeurons
from tsslbp_ref.engine.signals import Signal
from tsslbp_ref.model.layers import Layer, WeightedLayer
from tsslbp_ref.model.parameters import RuleCoefficients
from tsslbp_ref.model.trace import Trace

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerFlow:
    """What passed through one layer of neurons: forward its trace, backward g = dL/da and delta = dL/du."""

    layer: WeightedLayer
    trace: Trace
    g: Array
    delta: Array


@dataclass(frozen=True)
class WayBack:
    """What the steps of a shard share on the way back.

    Parameters
    ----------
    c : RuleCoefficients
        In g's dtype.
    arrays : Arrays
        Where g and delta are written.
    leading : (int, int)
        T and the shard's batch.
    first : int
        Number of the first layer of neurons, below which nothing is asked for.
    flows : list or None
        Takes the flow of every layer of neurons, from the first to the last.
    """

    c: RuleCoefficients
    arrays: Arrays
    leading: tuple[int, int]
    first: int
    flows: list[LayerFlow] | None

    def below(self, number: int, layer: Layer, dtype: npt.DTypeLike) -> Array | None:
        """Where dL/da of what feeds a layer is written; None below the first layer of neurons."""
        if number == self.first:
            return None
        return self.arrays.take((number, "g"), (*self.leading, *layer.input_shape), dtype)


class Step(Protocol):
    """One step of a pass.

    Attributes
    ----------
    sent : Signal
        What it sends on.
    """

    @property
    def sent(self) -> Signal:
        """What it sends on."""

    def backward(self, g: Array, way: WayBack) -> tuple[Array | None, list[Array]]:
        """Return dL/da of what feeds the step, if that is asked for, and the gradients of its weights, in order.

        g is dL/da of what it sent, and is overwritten.
        """


@dataclass(frozen=True)
class MapStep:
    """A layer without neurons, with its mask if it has one."""

    number: int
    layer: Layer
    mask: Array | None
    sent: Signal

    def backward(self, g: Array, way: WayBack) -> tuple[Array | None, list[Array]]:
        """Through the adjoint."""
        return self.layer.adjoint(g, self.mask, way.below(self.number, self.layer, g.dtype)), []


@dataclass(frozen=True)
class NeuronStep:
    """A layer of neurons by itself: what it was fed, its weights and its trace."""

    number: int
    layer: WeightedLayer
    W: Array
    signal: Signal
    trace: Trace
    sent: Signal

    def backward(self, g: Array, way: WayBack) -> tuple[Array | None, list[Array]]:
        """B2 in time, then B1 and B3; part by part where the flow is asked for."""
        g, below = g.reshape(self.trace.u.shape), way.below(self.number, self.layer, g.dtype)
        above = signals.FromAbove(g, self.trace, way.c, below)
        if way.flows is None:
            return below, [self.signal.backward(self.layer, self.W, above)]
        before = g.copy()
        dW = signals.backward_in_parts(self.signal, self.layer, self.W, above)
        way.flows.insert(0, LayerFlow(self.layer, self.trace, before, g))
        return below, [dW]


@dataclass(frozen=True)
class RunStep:
    """A run of fully connected layers behind neurons."""

    steps: Sequence[NeuronStep]
    run: DenseRun

    @property
    def sent(self) -> Signal:
        """What the last layer sends on."""
        return self.steps[-1].sent

    def backward(self, g: Array, way: WayBack) -> tuple[Array | None, list[Array]]:
        """In one call, or layer by layer where the flow is asked for."""
        if way.flows is not None:
            gradients: list[Array] = []
            for step in reversed(self.steps):
                below, own = step.backward(g, way)
                g, gradients = np.asarray(below), own + gradients
            return g, gradients
        gs = [np.asarray(way.below(step.number, step.layer, g.dtype)) for step in self.steps]
        return gs[0], self.run.backward([array.reshape(*way.leading, -1) for array in (*gs, g)], way.c)


@dataclass(frozen=True)
class PooledStep:
    """The first layer of neurons, fed by a static picture, and the pooling behind it."""

    neurons: PooledNeurons
    sent: Signal

    def backward(self, g: Array, way: WayBack) -> tuple[Array | None, list[Array]]:
        """In one call; nothing is asked for below."""
        return None, [self.neurons.backward(g, way.c)]

"""Forward and backward of a network, as two short loops over its layers: F1, F3 - F6, then B1 - B3.

`PlainEngine` is the method as one reads it in the paper, for a whole mini-batch, on one thread. `engine.FastEngine`
gives the same numbers in less time; `reference_network.loss_and_gradients` gives them by nested loops.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.layers import Layer, WeightedLayer
from tsslbp_ref.model.losses import OUTPUT_AXES, Loss
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.model.trace import Trace

if TYPE_CHECKING:
    from tsslbp_ref.model.network import Network

Array = npt.NDArray[Any]
Masks = Sequence[Array | None]  # one a layer: the mask of a dropout layer, else None


class StepResult(NamedTuple):
    """Loss of a mini-batch, its gradients in the order of the weights, and the output PSC (T, B, n_classes)."""

    loss: float
    gradients: list[Array]
    output: Array


@runtime_checkable
class Engine(Protocol):
    """What takes a network's checked input to its output and its gradients."""

    def output(self, net: Network, x: Array) -> Array:
        """Return the output PSC (T, B, n_classes) of a test pass."""

    def gradients(self, net: Network, x: Array, target: Array, loss: Loss, masks: Masks) -> StepResult:
        """Return loss, gradients and output PSC of a mini-batch."""

    def update(self, optimiser: AdamW, gradients: Sequence[Array]) -> None:
        """Let the optimiser make its step."""


def checked_engine(engine: Any) -> Engine:
    """Return an engine; anything else, the class of one too, is a TypeError."""
    if isinstance(engine, type) or not isinstance(engine, Engine):
        raise TypeError(f"engine must be an engine such as PlainEngine(), got {checks.shown(engine)}")
    return engine


class MembraneError(ValueError):
    """A membrane left the finite numbers."""


class MapRecord(NamedTuple):
    """A layer without neurons, pooling or dropout, and its mask if it has one."""

    layer: Layer
    mask: Array | None


class NeuronRecord(NamedTuple):
    """A layer of neurons: its weights, the PSC (T, B, ...) that fed it, its constants and its trace."""

    layer: WeightedLayer
    W: Array
    a_below: Array
    neuron: NeuronParameters
    trace: Trace


Record = MapRecord | NeuronRecord


@dataclass(frozen=True)
class LayerFlow:
    """What passed through one layer of neurons: forward its trace, backward g = dL/da and delta = dL/du."""

    layer: WeightedLayer
    trace: Trace
    g: Array
    delta: Array


class PlainEngine:
    """The method, layer by layer: two loops, and nothing that makes them fast.

    Examples
    --------
    >>> import numpy as np
    >>> from tsslbp_ref import Network
    >>> net = Network.from_spec("5", (4,), n_classes=3, n_steps=5, engine=PlainEngine(), weight_scale=2.0)
    >>> loss, gradients = net.loss_and_gradients(np.ones((2, 4)), [0, 1])
    >>> [dW.shape for dW in gradients]
    [(5, 4), (3, 5)]
    """

    def output(self, net: Network, x: Array) -> Array:
        """Return the output PSC (T, B, n_classes) of a test pass."""
        return forward(net, x, [None] * len(net.layers))[1]

    def gradients(self, net: Network, x: Array, target: Array, loss: Loss, masks: Masks) -> StepResult:
        """Return loss, gradients and output PSC of a mini-batch."""
        records, a = forward(net, x, masks)
        value, g = loss.value_and_gradient(a, target)
        gradients, _, _ = backward(net, records, g)
        return StepResult(value, gradients, a)

    def update(self, optimiser: AdamW, gradients: Sequence[Array]) -> None:
        """Let the optimiser make its step."""
        optimiser.step(gradients)


def forward(net: Network, x: npt.ArrayLike, masks: Masks) -> tuple[list[Record], Array]:
    """Take an input through all layers    (F1, F3 - F6).

    Parameters
    ----------
    net : Network
    x : (B, ...) or (T, B, ...) array_like
        Static images, or spike trains.
    masks : sequence of array or None
        One a layer: the mask of a dropout layer, else None.

    Returns
    -------
    records : list of MapRecord or NeuronRecord
    a : (T, B, n_classes) array
        The output PSC.

    Raises
    ------
    ValueError, TypeError
        If x is neither images nor trains of the network's T steps, or masks are not one a layer.
    MembraneError
        If a membrane leaves the finite numbers; the error names layer, step, sample and neuron.
    """
    records: list[Record] = []
    neurons, weights = iter(net.neurons), iter(net.weights)
    a = input_psc(net, checks.images_or_trains("x", x, net.input_shape, net.n_steps, net.dtype))
    checks.one_each("masks", masks, len(net.layers), "layer")
    for number, (layer, mask) in enumerate(zip(net.layers, masks, strict=True)):
        if layer.weight_shape is None:
            records.append(MapRecord(layer, mask))
            a = layer.forward(a, mask)
            continue
        W, neuron = next(weights), next(neurons)
        I = layer.forward(a, W)  # F1
        trace = _neurons(number, I, neuron)  # F3 - F6
        records.append(NeuronRecord(cast(WeightedLayer, layer), W, a, neuron, trace))
        a = trace.a.reshape(I.shape)
    return records, a.reshape(*a.shape[:2], -1)


def backward(net: Network, records: Sequence[Record], g: npt.ArrayLike) -> tuple[list[Array], list[LayerFlow], Array]:
    """Take dL/da of the output back through all layers    (B1 - B3).

    Parameters
    ----------
    net : Network
    records : list of MapRecord or NeuronRecord
        From `forward`.
    g : (T, B, n_classes) array_like
        dL/da of the output.

    Returns
    -------
    gradients : list of array
        dL/dW, from the first layer to the last.
    flows : list of LayerFlow
        Trace, g and delta of each layer of neurons.
    g : (T, B, ...) array
        dL/da of the input's PSC.

    Raises
    ------
    ValueError, TypeError
        If g is not of the output's shape, not finite, or so large that a delta overflows.
    """
    gradients: list[Array] = []
    flows: list[LayerFlow] = []
    g = _output_gradient(net, records, g)
    for record in reversed(records):
        if isinstance(record, MapRecord):
            g = record.layer.adjoint(g, record.mask)
            continue
        layer, W, a_below, neuron, trace = record
        g = g.reshape(trace.u.shape)  # (T, B, N)
        delta = sweeps.tsslbp_backward(g, trace, neuron, net.rule)  # B2
        flows.insert(0, LayerFlow(layer, trace, g, delta))
        delta = delta.reshape(*delta.shape[:2], *layer.output_shape)  # (T, B, F, H, W) behind a convolution
        gradients.insert(0, layer.weight_gradient(delta, a_below))  # B1
        g = layer.adjoint(delta, W)  # B3
    return gradients, flows, g


def _output_gradient(net: Network, records: Sequence[Record], g: npt.ArrayLike) -> Array:
    """Return dL/da of the output that the records belong to."""
    T, B, _ = next(record.trace.u.shape for record in records if isinstance(record, NeuronRecord))
    array = checks.finite_array("g", g, ndim=3, axes=OUTPUT_AXES)
    checks.same_shape("g", array, (T, B, math.prod(net.layers[-1].output_shape)), "the output PSC")
    return array


def input_trains(net: Network, x: Array) -> Array:
    """What the input's PSC is made of, (T, B, ...): spike trains, or a static image as a train of its values."""
    return (np.broadcast_to(x, (net.n_steps, *x.shape)) if net.is_static(x) else x).astype(net.dtype)


def input_psc(net: Network, x: Array) -> Array:
    """PSC of the input, (T, B, ...), by F6."""
    return sweeps.psc_filter(input_trains(net, x), net.input_synapse)


def _neurons(number: int, I: Array, neuron: NeuronParameters) -> Trace:
    """Trace of a layer of neurons from its weighted input (T, B, ...)."""
    u = np.array(I.reshape(*I.shape[:2], -1), order="C")
    trace = sweeps.lif_forward_in_place(u, neuron, np.empty_like(u))
    if not checks.all_finite(trace.u[-1]):  # a membrane that was not finite once never is again
        t, b, i = np.argwhere(~np.isfinite(trace.u))[0]
        raise MembraneError(
            f"the membranes of layer {number} are not finite, weights or input are too large: "
            f"{trace.u[t, b, i]} at step {t}, sample {b}, neuron {i}"
        )
    return trace

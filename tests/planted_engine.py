"""Errors planted in the plain loops, the fast engine and the literal network, for `test_planted_errors`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from planted import FACTOR, Plant, Wrong, times

from tsslbp_ref import engine
from tsslbp_ref.engine import batch, convolution, dense, events, inputs, maps, pooled, spike_patterns, winograd
from tsslbp_ref.model import backpropagation, reference, reference_layers, reference_losses, reference_network, sweeps
from tsslbp_ref.model.parameters import NeuronParameters

# ---------------------------------------------------------------------------------------------------------------------
# Wrong versions
# ---------------------------------------------------------------------------------------------------------------------


def argument(index: int, change: Callable[[Any], Any]) -> Wrong:
    """The right function of one argument changed."""
    return lambda right: lambda *args, **kw: right(*args[:index], change(args[index]), *args[index + 1 :], **kw)


def scaled(array: Any) -> Any:
    """An array x 1.001."""
    return array * FACTOR


def gradient_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A loss with dL/da x 1.001."""
    return lambda *args: second_scaled(right(*args))


def later(array: Any) -> Any:
    """What was a step before, instead of what is."""
    return np.concatenate([np.zeros_like(array[:1]), array[:-1]])


def backwards(array: Any) -> Any:
    """The last step first."""
    return array[::-1].copy()


def turned(rows: Any) -> Any:
    """Filters, or their transposed, in reverse order."""
    return np.ascontiguousarray(rows[::-1, ::-1])


def second_scaled(Ws: tuple[Any, ...]) -> tuple[Any, ...]:
    """The second of several arrays x 1.001."""
    return (Ws[0], FACTOR * Ws[1], *Ws[2:])


def unfiltered(neuron: NeuronParameters) -> NeuronParameters:
    """Constants without a filter: tau_s = 1."""
    return dataclasses.replace(neuron, tau_s=1.0)


def records_with(**changes: Callable[[Any], Any]) -> Wrong:
    """A forward pass whose records have fields changed."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any) -> Any:
            records, a = right(*args)
            return [_changed(record, changes) for record in records], a

        return forward

    return plant


def _changed(record: Any, changes: dict[str, Callable[[Any], Any]]) -> Any:
    """A record of a layer of neurons with fields changed; any other as it is."""
    if not isinstance(record, backpropagation.NeuronRecord):
        return record
    return record._replace(**{name: change(getattr(record, name)) for name, change in changes.items()})


def first_tau_m(right: Callable[..., Any]) -> Callable[..., Any]:
    """A backward pass with the first layer's tau_m in every layer."""

    def backward(net: Any, records: Any, g: Any) -> Any:
        changes = {"neuron": lambda neuron: dataclasses.replace(neuron, tau_m=net.neurons[0].tau_m)}
        return right(net, [_changed(record, changes) for record in records], g)

    return backward


def trains_not_filtered(right: Callable[..., Any]) -> Callable[..., Any]:
    """The input's spikes instead of their PSC."""
    return lambda net, x: np.broadcast_to(x, (net.n_steps, *x.shape)) if net.is_static(x) else x


def first_part(right: Callable[..., Any]) -> Callable[..., Any]:
    """A sum over shards that loses all but the first."""
    return lambda parts: right(list(parts)[:1])


def first_masks(right: Callable[..., Any]) -> Callable[..., Any]:
    """Every shard with the dropout masks of the first samples."""
    return lambda masks, shard: right(masks, slice(0, shard.stop - shard.start))


def events_shifted(right: Callable[..., Any]) -> Callable[..., Any]:
    """The list with every event one input further on."""

    def find_events(*args: Any, **kwargs: Any) -> Any:
        found = right(*args, **kwargs)
        return found and dataclasses.replace(found, inputs=(found.inputs + 1) % found.shape[2])

    return find_events


def without_gain(right: Callable[..., Any]) -> Callable[..., Any]:
    """The short cut for static images with 1 instead of c[t]."""
    return lambda self, layer, delta: maps.weight_gradient(layer, delta.sum(axis=0), self.x)


def written_twice(index: int) -> Wrong:
    """A function that writes twice the right result."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def doubled(*args: Any) -> Any:
            result = right(*args)
            args[index][...] *= 2.0
            return result

        return doubled

    return plant


def first_gradient_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A chain whose first layer's gradient is x 1.001."""

    def chain(*args: Any) -> Any:
        result = right(*args)
        args[-1][0][...] *= FACTOR
        return result

    return chain


# ---------------------------------------------------------------------------------------------------------------------
# Plants
# ---------------------------------------------------------------------------------------------------------------------

WHOLE = (
    "network-*",
    "tangent-nothing-twice",
    *(f"tangent-*-{end}" for end in ("spikes", "static", "patterns", "paper-loss", "dropout*", "quiet")),
)
SOME = ("network-dense-spikes", "network-conv-static")
VAN_ROSSUM = ("sweep-loss-kernel*", "sweep-loss-spike-train", "sweep-loss-parts")
BY_LAYER = ("network-*-by-layer-*",)
DENSE_ROWS = ("tangent-released-dense-3-spikes", "engine-network-dense-deep-static", "engine-network-conv-spikes")
STEP = (  # one call a shard: a chain of fully connected layers under static images, a van Rossum loss
    *("engine-network-dense-static", "engine-network-dense-by-layer-static"),
    *("engine-network-dense-loss-kernel*", "engine-network-dense-loss-spike-train", "tangent-released-dense-3-static"),
)
TWO_CALLS = ("engine-network-dense-loss-count", "engine-network-dense-loss-softmax")  # the other losses
CONV = ("engine-network-conv-spikes", "tangent-released-conv-spikes")
STATIC_CONV = ("engine-network-conv-static", "tangent-released-conv-static")
EVENTS = ("engine-input-events", "engine-network-dense-sparse", "tangent-*-sparse-spikes")

ENGINE_PLANTS = (
    # The two plain loops.
    Plant("not filtered", backpropagation, "input_psc", trains_not_filtered, SOME),
    Plant("a_below late", backpropagation, "forward", records_with(a_below=later), SOME),
    Plant("dL/da x 1.001", backpropagation, "backward", argument(2, scaled), WHOLE),
    Plant("one tau_m for all", backpropagation, "backward", first_tau_m, BY_LAYER),
    Plant("B2 left out", sweeps, "tsslbp_backward", lambda right: lambda g, *args: g, ("sweep-backward-*", *SOME)),
    # The literal network.
    Plant("factor 1.001", reference_network, "_weight_gradient", times(FACTOR), SOME),
    Plant("factor 1.001", reference_network, "_adjoint", times(FACTOR), SOME),
    Plant("dL/da x 1.001", reference_losses, "van_rossum", gradient_scaled, (*SOME, *VAN_ROSSUM)),
    Plant("dL/da x 1.001", reference_losses, "count", gradient_scaled, ("sweep-loss-count", "network-*-loss-count")),
    Plant(
        "dL/da x 1.001", reference_losses, "softmax", gradient_scaled, ("sweep-loss-softmax", "network-*-loss-softmax")
    ),
    Plant("input x 1.001", reference, "lif_forward", argument(0, scaled), ("sweep-forward", *SOME)),
    Plant(
        "filters turned",
        reference_layers,
        "conv2d_adjoint",
        argument(1, lambda W: W[:, :, ::-1]),
        ("sweep-conv-adjoint", "engine-conv-adjoint"),
    ),
    # The fast engine: shards, passes.
    Plant("first shard only", engine, "_summed", first_part, ("engine-network-*",)),
    Plant("first masks", engine, "_masks_of", first_masks, ("engine-network-*-dropout-s*",)),
    Plant("c[t] reversed", batch, "static_gain", lambda right: lambda *args: backwards(right(*args)), STATIC_CONV),
    Plant("input x 1.001", maps, "forward", argument(1, scaled), (*DENSE_ROWS, "engine-input-psc")),
    Plant("delta x 1.001", maps, "adjoint", argument(1, scaled), DENSE_ROWS),
    Plant("factor 1.001", maps, "weight_gradient", times(FACTOR), (*DENSE_ROWS, "engine-input-psc", *STATIC_CONV)),
    Plant("a step lost", events, "first_needed_step", lambda right: lambda a: right(a) + 1, ("engine-input-psc",)),
    Plant("no gain", inputs.StaticInput, "weight_gradient", without_gain, ("engine-input-static",)),
    # Events and spike patterns.
    Plant("not filtered", events, "weight_gradient", argument(2, unfiltered), EVENTS),
    Plant("not filtered", events, "weighted_input", argument(2, unfiltered), EVENTS),
    Plant("next input", events, "find_events", events_shifted, EVENTS),
    Plant("input x 1.001", spike_patterns, "weighted_input_sweep", argument(3, scaled), ("engine-patterns",)),
    Plant("delta x 1.001", spike_patterns, "weight_gradient_sweep", argument(3, scaled), ("engine-patterns",)),
    # Chains of fully connected layers.
    Plant("second W x 1.001", dense, "chain_step", argument(3, second_scaled), STEP),
    Plant("target late", dense, "chain_step", argument(1, later), STEP),
    Plant("c[t] reversed", dense, "chain_step", argument(2, backwards), STEP),
    Plant("dL/dW x 1.001", dense, "chain_step", first_gradient_scaled, STEP),
    Plant("second W x 1.001", dense, "chain_forward", argument(2, second_scaled), TWO_CALLS),
    Plant("c[t] reversed", dense, "chain_backward", argument(3, backwards), TWO_CALLS),
    # Convolution and pooling.
    Plant("kernel turned", convolution, "conv_forward", argument(1, turned), ("engine-conv-forward", *CONV)),
    Plant("kernel turned", convolution, "conv_adjoint", argument(1, turned), ("engine-conv-adjoint", CONV[1])),
    Plant("x x 1.001", convolution, "conv_weight_gradient", argument(1, scaled), ("engine-conv-weights", *CONV)),
    Plant(
        "B^T x 1.001",
        winograd,
        "_convolve",
        argument(2, scaled),
        ("engine-conv-forward-winograd", "engine-conv-adjoint-winograd"),
    ),
    Plant("B^T x 1.001", winograd, "_add_products", argument(2, scaled), ("engine-conv-weights-winograd",)),
    Plant(
        "written twice", convolution, "pool_forward", written_twice(3), ("engine-pool", "engine-network-conv-spikes")
    ),
    Plant(
        "written twice",
        convolution,
        "pool_adjoint",
        written_twice(3),
        ("engine-pool-adjoint", "engine-network-conv-spikes"),
    ),
    Plant("input x 1.1", pooled, "neurons_and_pool", argument(0, lambda Wx: 1.1 * Wx), ("engine-pooled", *STATIC_CONV)),
    Plant("dL/da x 1.001", pooled, "pool_and_chain_rule", argument(0, scaled), ("engine-pooled-back", *STATIC_CONV)),
    Plant("c[t] reversed", pooled, "pool_and_chain_rule", argument(1, backwards), ("engine-pooled-back", *STATIC_CONV)),
)

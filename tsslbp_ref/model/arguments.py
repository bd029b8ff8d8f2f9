"""Checks of what a network is given: layers, constants, weights, input, labels, an optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import backpropagation
from tsslbp_ref.model.backpropagation import Masks, MembraneError
from tsslbp_ref.model.layers import Dropout, Layer
from tsslbp_ref.model.losses import RELEASED_SETTINGS, Loss, LossSettings
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.model.parameters import NeuronParameters

if TYPE_CHECKING:
    from tsslbp_ref.model.network import Network

Array = npt.NDArray[Any]


def fitting_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers as a new list, if there are any, each takes what the one before makes, and neurons end them.

    Raises
    ------
    ValueError, TypeError
        If one does not fit, or is no layer; the error names it.
    """
    checked = list(checks.listed("layers", layers))
    if not checked:
        raise ValueError("layers must hold at least one layer, got none")
    for i, layer in enumerate(checked):
        if not isinstance(layer, Layer):
            raise TypeError(f"layers[{i}] must be a layer, got {type(layer).__name__}")
        if i > 0 and layer.input_shape != checked[i - 1].output_shape:
            before = f"layers[{i - 1}], {checks.shown(checked[i - 1])}, with output {checked[i - 1].output_shape}"
            raise ValueError(f"layers[{i}] must take the output of {before}, got {checks.shown(layer)}")
        if min(layer.output_shape) < 1:
            raise ValueError(f"layers[{i}] must leave something of its input, got {checks.shown(layer)}")
    if checked[-1].weight_shape is None:
        raise ValueError(f"layers must end with one that has weights, and so neurons, got {checks.shown(checked[-1])}")
    return checked


def checked_constants(neuron: Any, n_layers: int) -> NeuronParameters | tuple[NeuronParameters, ...]:
    """Return the constants of all layers of neurons, or a tuple of one a layer."""
    if isinstance(neuron, NeuronParameters):
        return neuron
    if not isinstance(neuron, (tuple, list)):
        kind = type(neuron).__name__
        raise TypeError(f"neuron must be a NeuronParameters, or a sequence of one a layer of neurons, got {kind}")
    if len(neuron) != n_layers:
        raise ValueError(f"neuron must have one entry a layer of neurons, {n_layers}, got {len(neuron)}")
    return tuple(checks.instance_of(f"neuron[{i}]", one, NeuronParameters) for i, one in enumerate(neuron))


def check_weights(weights: list[Array], shapes: Sequence[tuple[int, ...]], dtype: np.dtype[Any]) -> None:
    """Convert weights to arrays of a dtype, within their list; raise where their number or a shape does not fit."""
    if len(weights) != len(shapes):
        raise ValueError(f"weights must be {len(shapes)} arrays, got {len(weights)}")
    for index, (W, shape) in enumerate(zip(weights, shapes, strict=True)):
        if type(W) is np.ndarray and W.dtype == dtype and W.shape == shape:
            continue  # as in all steps but the first
        checked = checks.converted(checks.real_array(f"weights[{index}]", W), dtype)
        checks.same_shape(f"weights[{index}]", checked, shape, "its layer")
        weights[index] = checked


def check_finite(weights: Sequence[Array]) -> None:
    """Raise where a weight is not finite."""
    for index, W in enumerate(weights):
        checks.finite_array(f"weights[{index}]", W)


def check_gradients(gradients: Sequence[Array]) -> None:
    """Raise where a gradient is not finite; an optimiser asks for their norm, and so does this itself."""
    for index, gradient in enumerate(gradients):
        checks.finite_result("weights, input or targets are too large", f"gradients[{index}]", gradient)


def check_optimiser(optimiser: Any, weights: Sequence[Array]) -> None:
    """Raise unless the optimiser updates these very arrays."""
    checks.instance_of("optimiser", optimiser, AdamW)
    same = len(optimiser.weights) == len(weights)
    if not same or any(W is not own for W, own in zip(optimiser.weights, weights, strict=True)):
        raise ValueError("optimiser must hold this network's weights, got other arrays: AdamW(net.weights)")


def checked_input(net: Network, x: npt.ArrayLike) -> Array:
    """Return x as a finite array: static in the network's dtype, integer spike trains as they are."""
    check_weights(net.weights, net.weight_shapes, net.dtype)
    return checks.images_or_trains("x", x, net.input_shape, net.n_steps, net.dtype)


def dropout_masks(
    layers: Sequence[Layer], batch: int, rng: np.random.Generator | None, dtype: npt.DTypeLike
) -> list[Array | None]:
    """One mask a dropout layer for the whole batch, None for other layers; without rng nothing is dropped."""
    if rng is None:
        return [None] * len(layers)
    checks.instance_of("rng", rng, np.random.Generator)
    return [layer.draw_mask(batch, rng, dtype) if isinstance(layer, Dropout) else None for layer in layers]


def of_step(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    loss: str,
    settings: LossSettings | None,
    rng: np.random.Generator | None,
) -> tuple[Array, Array, Loss, list[Array | None]]:
    """Input, target, loss and dropout masks of a training step, checked."""
    x = checked_input(net, x)
    checked = Loss(loss, net.neurons[-1], RELEASED_SETTINGS if settings is None else settings)
    batch = net.batch_size(x)
    target = checked.target(y, (net.n_steps, batch, net.n_classes), net.dtype)
    return x, target, checked, dropout_masks(net.layers, batch, rng, net.dtype)


@contextmanager
def cause_named(net: Network, x: Array, masks: Masks) -> Iterator[None]:
    """Where a membrane leaves the finite numbers, name the cause: a weight that is not finite, or the neuron."""
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            yield
        except MembraneError:
            check_finite(net.weights)
            backpropagation.forward(net, x, masks)  # the plain loop names layer, step, sample and neuron
            raise

"""A whole training step of a network by nested loops alone: the algorithm box of TSSL-BP, in Python.

Forward, layer by layer: the weighted input, the neurons, the PSC. Then the loss. Then backward, layer by layer: delta
by the double sum over t_m and t_k, dL/dW, and dL/da of the layer below. Slow on purpose; for networks of some neurons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import reference, reference_layers, reference_losses
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, Layer, SumPool2d
from tsslbp_ref.model.losses import RELEASED_SETTINGS, LossSettings, checked_target
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.model.trace import Trace

if TYPE_CHECKING:
    from tsslbp_ref.model.network import Network

Array = npt.NDArray[Any]


def loss_and_gradients(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    loss: str = "kernel",
    *,
    settings: LossSettings | None = None,
    masks: list[Array | None] | None = None,
) -> tuple[float, list[Array], Array]:
    """Loss of a mini-batch, its gradients, and the output PSC, by literal functions.

    Parameters
    ----------
    net : Network
        Of this package's layers.
    x : (B, *input_shape) or (T, B, *input_shape) array_like
        Static images, or spike trains.
    y : (B,) array_like of int
        Class labels; for "spike-train" the desired trains.
    loss, settings
        As for `Network.loss_and_gradients`.
    masks : list, optional
        One a layer: the mask of a dropout layer, else None; nothing is dropped if not given.

    Returns
    -------
    loss : float
    gradients : list of array
        In the order of ``net.weights``.
    a : (T, B, n_classes) array

    Raises
    ------
    ValueError, TypeError
        If x or y does not fit, masks are not one a layer, or a layer is not one of this package's.

    Examples
    --------
    >>> from tsslbp_ref import Network
    >>> net = Network.from_spec("5", (4,), n_classes=3, n_steps=5, dtype="float64", weight_scale=2.0)
    >>> loss, gradients, a = loss_and_gradients(net, np.ones((2, 4)), [0, 1])
    >>> fast_loss, fast_gradients = net.loss_and_gradients(np.ones((2, 4)), [0, 1])
    >>> all(np.allclose(one, other) for one, other in zip(gradients, fast_gradients, strict=True))
    True
    """
    x = np.asarray(checks.images_or_trains("x", x, net.input_shape, net.n_steps, np.float64), dtype=np.float64)
    trains = np.stack([x] * net.n_steps) if net.is_static(x) else x  # a static image is its own train
    T, B = trains.shape[:2]
    parameters = _parameters(net, masks)
    neurons = iter(net.neurons)

    # Forward: F1, F3 - F6
    pscs = [reference.psc_filter(trains, net.input_synapse)]
    traces: list[tuple[Trace, NeuronParameters] | None] = []
    for layer, parameter in zip(net.layers, parameters, strict=True):
        mapped = np.stack([_forward(layer, pscs[-1][t], parameter) for t in range(T)])
        if layer.weight_shape is None:
            traces.append(None)
            pscs.append(mapped)
            continue
        neuron = next(neurons)
        trace = reference.lif_forward(mapped.reshape(T, B, -1), neuron)
        traces.append((trace, neuron))
        pscs.append(trace.a.reshape(mapped.shape))

    # Loss: L1 - L3
    a = pscs[-1].reshape(T, B, -1)
    target = checked_target(loss, y, a.shape, a.dtype)
    constants = checks.instance_of("settings", RELEASED_SETTINGS if settings is None else settings, LossSettings)
    value, g = reference_losses.value_and_gradient(loss, a, target, net.neurons[-1], constants)

    # Backward: B1 - B3
    gradients: list[Array] = []
    for number in reversed(range(len(net.layers))):
        layer, parameter, below, fired = net.layers[number], parameters[number], pscs[number], traces[number]
        if fired is not None:
            trace, neuron = fired
            delta = reference.tsslbp_backward(g.reshape(T, B, -1), trace, neuron, net.rule)  # B2
            delta = delta.reshape(T, B, *layer.output_shape)
            dW = np.sum([_weight_gradient(layer, delta[t], below[t]) for t in range(T)], axis=0)  # B1
            gradients.insert(0, dW)
            g = delta  # delta goes down; through a layer without neurons, g
        g = np.stack([_adjoint(layer, g[t].reshape(B, *layer.output_shape), parameter) for t in range(T)])  # B3
    return value, gradients, a


def _parameters(net: Network, masks: list[Array | None] | None) -> list[Array | None]:
    """Weights, or a dropout mask, or None, one a layer; in float64."""
    checks.one_each("weights", net.weights, len(net.weight_shapes), "layer of neurons")
    weights = iter(net.weights)
    masks = [None] * len(net.layers) if masks is None else masks
    checks.one_each("masks", masks, len(net.layers), "layer")
    for number, (layer, mask) in enumerate(zip(net.layers, masks, strict=True)):
        if mask is not None and not isinstance(layer, Dropout):
            raise ValueError(f"masks[{number}] must be None: layer {number} is no dropout layer")
    return [
        mask if layer.weight_shape is None else np.asarray(next(weights), np.float64)
        for layer, mask in zip(net.layers, masks, strict=True)
    ]


def _forward(layer: Layer, x: Array, parameter: Any) -> Array:
    """A x of one step, x (B, ...), by nested loops."""
    if isinstance(layer, Dense):
        return reference_layers.dense_forward(x.reshape(len(x), -1), parameter)
    if isinstance(layer, Conv2d):
        return reference_layers.conv2d_forward(x, parameter, layer.padding)
    if isinstance(layer, SumPool2d):
        return reference_layers.sum_pool2d_forward(x, layer.size, layer.gain)
    return _dropped(layer, x, parameter)


def _adjoint(layer: Layer, y: Array, parameter: Any) -> Array:
    """A^T y of one step, y (B, ...), by nested loops."""
    if isinstance(layer, Dense):
        return reference_layers.dense_adjoint(y, parameter).reshape(len(y), *layer.input_shape)
    if isinstance(layer, Conv2d):
        return reference_layers.conv2d_adjoint(
            y, parameter, layer.padding, (layer.input_shape[1], layer.input_shape[2])
        )
    if isinstance(layer, SumPool2d):
        size = (layer.input_shape[1], layer.input_shape[2])
        return reference_layers.sum_pool2d_adjoint(y, layer.size, layer.gain, size)
    return _dropped(layer, y, parameter)


def _weight_gradient(layer: Layer, delta: Array, x: Array) -> Array:
    """dL/dW of one step, by nested loops."""
    if isinstance(layer, Conv2d):
        return reference_layers.conv2d_weight_gradient(delta, x, layer.padding)
    return reference_layers.dense_weight_gradient(delta, x.reshape(len(x), -1))


def _dropped(layer: Layer, x: Array, mask: Any) -> Array:
    """Mask times x of one step; without a mask x itself."""
    if not isinstance(layer, Dropout):
        raise TypeError(f"net must have layers of this package, got {type(layer).__name__}")
    if mask is None:
        return x
    whole = np.broadcast_to(mask, x.shape).reshape(len(x), -1)
    return reference_layers.dropout(x.reshape(1, len(x), -1), whole).reshape(x.shape)

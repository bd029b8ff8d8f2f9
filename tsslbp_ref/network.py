"""A feed-forward network of spiking layers: forward in space and time, and the gradients of all weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks, fast, losses, signals
from tsslbp_ref.layers import POOL_GAIN, Conv2d, Dropout, Layer, WeightedLayer
from tsslbp_ref.parameters import GradientRule, NeuronParameters
from tsslbp_ref.signals import Signal
from tsslbp_ref.spec import layers_from_spec
from tsslbp_ref.trace import Trace
from tsslbp_ref.workers import Workers

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerFlow:
    """What passed through one layer of neurons: forward its trace, backward g = dL/da and delta = dL/du."""

    layer: WeightedLayer
    trace: Trace
    g: Array
    delta: Array


@dataclass(frozen=True)
class _Step:
    """One layer of a forward pass: what it was fed, its weights or mask, and its neurons' trace if it has any."""

    layer: Layer
    parameter: Array | None
    signal: Signal
    trace: Trace | None


class Network:
    """Linear maps with spiking neurons behind every map that has weights.

    Build one with `from_spec`, or from a list of layers.

    Parameters
    ----------
    layers : sequence of Layer
        Each fits the one before; the last is the output layer.
    weights : sequence of array
        One a layer that has weights, in order.
    n_steps : int
        Number of time steps T.
    neuron : NeuronParameters
    rule : GradientRule
    dtype : {"float32", "float64"}
        float32 to train, float64 to check.
    n_threads : int, optional
        Threads that share a mini-batch; all cores if not given. The same count gives the same bits.

    Attributes
    ----------
    weights : list of array
        (out, in) or (out, in, kh, kw). Assignable, as a whole or one by one; shapes are checked at every call.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit or an argument is not of its kind.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Sequence[npt.ArrayLike],
        *,
        n_steps: int,
        neuron: NeuronParameters,
        rule: GradientRule,
        dtype: str = "float32",
        n_threads: int | None = None,
    ) -> None:
        if not isinstance(neuron, NeuronParameters):
            raise TypeError(f"neuron must be a NeuronParameters, got {type(neuron).__name__}")
        if not isinstance(rule, GradientRule):
            raise TypeError(f"rule must be a GradientRule, got {type(rule).__name__}")
        self.layers = list(layers)
        self.n_steps = checks.positive_integer("n_steps", n_steps)
        self.neuron = neuron
        self.rule = rule
        self.dtype = checks.float_dtype("dtype", dtype)
        self.workers = Workers(n_threads)
        self.weights: list[Array] = [checks.finite_array("weights", W, dtype=self.dtype) for W in weights]
        self._checked_weights()

    @classmethod
    def from_spec(
        cls,
        spec: str,
        input_shape: Sequence[int],
        n_classes: int,
        n_steps: int,
        neuron: NeuronParameters | None = None,
        rule: GradientRule | None = None,
        seed: int = 0,
        dtype: str = "float32",
        *,
        padding: int | Sequence[int] = 0,
        dropout: float = 0.0,
        dropout_form: str = "unit",
        weight_scale: float | tuple[float, float] = 1.0,
        pool_gain: float = POOL_GAIN,
        n_threads: int | None = None,
    ) -> Network:
        """Build a network from the paper's way of naming one, with the released code's initial weights.

        Parameters
        ----------
        spec, input_shape, n_classes, padding, dropout, dropout_form, pool_gain
            As for `layers_from_spec`.
        n_steps : int
            Number of time steps T.
        neuron : NeuronParameters, optional
        rule : GradientRule, optional
            The released rule if not given.
        seed : int
            Of the initial weights.
        dtype : {"float32", "float64"}
        weight_scale : float or (float, float)
            Factor of the initial weights, or one for convolutions and one for fully connected layers.
        n_threads : int, optional
            Threads that share a mini-batch; all cores if not given.

        Returns
        -------
        Network

        Raises
        ------
        ValueError, TypeError
            If the spec cannot be read (the error points at the character) or an argument is out of range.
        """
        layers = layers_from_spec(
            spec,
            input_shape,
            n_classes,
            padding=padding,
            dropout=dropout,
            dropout_form=dropout_form,
            pool_gain=pool_gain,
        )
        rng = np.random.default_rng(checks.positive_integer("seed", seed, minimum=0))
        conv_scale, dense_scale = weight_scale if isinstance(weight_scale, tuple) else (weight_scale, weight_scale)
        conv_scale = checks.real_number("weight_scale", conv_scale, above=0.0)
        dense_scale = checks.real_number("weight_scale", dense_scale, above=0.0)
        weights = [
            initial_weights(layer, rng, conv_scale if isinstance(layer, Conv2d) else dense_scale)
            for layer in weighted(layers)
        ]
        return cls(
            layers,
            weights,
            n_steps=n_steps,
            neuron=neuron or NeuronParameters(),
            rule=rule or GradientRule(),
            dtype=dtype,
            n_threads=n_threads,
        )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample at one step."""
        return self.layers[0].input_shape

    @property
    def n_classes(self) -> int:
        """Number of output neurons."""
        return math.prod(self.layers[-1].output_shape)

    # -----------------------------------------------------------------------------------------------------------------
    # Forward
    # -----------------------------------------------------------------------------------------------------------------

    def forward(self, x: npt.ArrayLike) -> Array:
        """Output PSC of a test pass (no dropout).

        Parameters
        ----------
        x : (B, *input_shape) or (T, B, *input_shape) array_like
            Static pictures, shown at every step, or spike trains.

        Returns
        -------
        (T, B, n_classes) array

        Raises
        ------
        ValueError, TypeError
            If x, or a weight, is not finite or not of the right shape.
        """
        x = self._checked_input(x)
        shards = self.workers.shards(self._batch(x))
        no_masks: list[Array | None] = [None] * len(self.layers)
        steps = self.workers.map(lambda shard: self._forward(self._part(x, shard), no_masks), shards)
        return np.concatenate([_output(shard_steps) for shard_steps in steps], axis=1)

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Class of each sample: the output neuron with the largest sum_t a[t]. Arguments as for `forward`."""
        return self.forward(x).sum(axis=0).argmax(axis=1)

    def _forward(self, x: Array, masks: Sequence[Array | None]) -> list[_Step]:
        """Take one shard through all layers."""
        signal = self._input_signal(x)
        batch = self._batch(x)
        weights = iter(self.weights)
        steps = []
        for layer, mask in zip(self.layers, masks, strict=True):
            if layer.weight_shape is None:
                steps.append(_Step(layer, mask, signal, None))
                signal = signal.through(layer, mask)
                continue
            W = next(weights)
            I = signal.weighted_input(cast(WeightedLayer, layer), W)
            trace = fast.lif_forward(I.reshape(self.n_steps, batch, -1), self.neuron)
            steps.append(_Step(layer, W, signal, trace))
            signal = signals.PSCSignal(trace.a.reshape(self.n_steps, batch, *layer.output_shape))
        return steps

    def _input_signal(self, x: Array) -> Signal:
        if self._is_static(x):
            return signals.StaticSignal(x, signals.static_gain(self.n_steps, self.neuron, self.dtype))
        return signals.spike_signal(x, self.neuron, self.dtype, self.layers[0])

    # -----------------------------------------------------------------------------------------------------------------
    # Backward
    # -----------------------------------------------------------------------------------------------------------------

    def loss_and_gradients(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: str = "kernel",
        *,
        settings: losses.LossSettings | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, list[Array]]:
        """Loss of a mini-batch and its gradient with respect to every weight array.

        Parameters
        ----------
        x : (B, *input_shape) or (T, B, *input_shape) array_like
            Static pictures, shown at every step, or spike trains.
        y : (B,) array_like of int
            Class labels; for "spike-train" the desired trains, (T, B, n_classes).
        loss : {"kernel", "kernel-paper", "count", "softmax", "spike-train"}
        settings : LossSettings, optional
            Targets of the count loss.
        rng : numpy.random.Generator, optional
            Draws the dropout masks; without it nothing is dropped.

        Returns
        -------
        loss : float
        gradients : list of array
            In the order and shapes of `weights`.

        Raises
        ------
        ValueError, TypeError
            If x, y or a weight is not finite, not of the right shape or out of range, or the loss's name is unknown.
        """
        value, gradients, _, _ = self.training_pass(x, y, loss, settings=settings, rng=rng)
        return value, gradients

    def training_pass(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: str = "kernel",
        *,
        settings: losses.LossSettings | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, list[Array], Array, list[list[LayerFlow]]]:
        """`loss_and_gradients` with all it came by: also the output PSC, and shard by shard the flow of each layer.

        Parameters, errors and the first two results are those of `loss_and_gradients`.

        Returns
        -------
        loss : float
        gradients : list of array
        a : (T, B, n_classes) array
        flows : list over shards of list over layers of LayerFlow
        """
        x = self._checked_input(x)
        batch = self._batch(x)
        masks = self._dropout_masks(batch, rng)
        shards = self.workers.shards(batch)
        forward = self.workers.map(
            lambda shard: self._forward(self._part(x, shard), [None if m is None else m[shard] for m in masks]), shards
        )
        a = np.concatenate([_output(steps) for steps in forward], axis=1)
        value, g = losses.value_and_gradient(loss, a, y, self.neuron, settings)
        passes = self.workers.map(
            lambda item: self._backward(item[0], g[:, item[1]]), list(zip(forward, shards, strict=True))
        )
        gradients = [sum(parts[1:], start=parts[0]) for parts in zip(*(dWs for dWs, _ in passes), strict=True)]
        return value, gradients, a, [flows for _, flows in passes]

    def gradient_flow(
        self, x: npt.ArrayLike, y: npt.ArrayLike, loss: str = "kernel", settings: losses.LossSettings | None = None
    ) -> list[LayerFlow]:
        """Trace, g and delta of every layer of neurons, each (T, B, N), for the whole batch.

        Parameters and errors are those of `loss_and_gradients`.
        """
        _, _, _, shards = self.training_pass(x, y, loss, settings=settings)
        flows = []
        for parts in zip(*shards, strict=True):
            u, a, g, delta = (
                np.concatenate(arrays, axis=1)
                for arrays in zip(*((f.trace.u, f.trace.a, f.g, f.delta) for f in parts), strict=True)
            )
            flows.append(LayerFlow(parts[0].layer, Trace(u, a, self.neuron.threshold), g, delta))
        return flows

    def _backward(self, steps: list[_Step], g: Array) -> tuple[list[Array], list[LayerFlow]]:
        """Take dL/da of the output back through one shard; the chain rule in space, B1 and B3."""
        gradients: list[Array] = []
        flows: list[LayerFlow] = []
        first = next(i for i, step in enumerate(steps) if step.trace is not None)
        for i in reversed(range(first, len(steps))):
            step = steps[i]
            if step.trace is not None:
                layer = cast(WeightedLayer, step.layer)
                psc_gradient = g.reshape(step.trace.u.shape)
                delta = fast.tsslbp_backward(psc_gradient, step.trace, self.neuron, self.rule)
                flows.append(LayerFlow(layer, step.trace, psc_gradient, delta))
                g = delta.reshape(*delta.shape[:2], *layer.output_shape)
                gradients.append(step.signal.weight_gradient(layer, g))
            if i > first:
                g = step.layer.adjoint(g, step.parameter)
        return gradients[::-1], flows[::-1]

    def _dropout_masks(self, batch: int, rng: np.random.Generator | None) -> list[Array | None]:
        """One mask a dropout layer for the whole batch, so that the number of shards changes nothing."""
        return [
            layer.draw_mask(batch, rng, self.dtype) if isinstance(layer, Dropout) and rng is not None else None
            for layer in self.layers
        ]

    # -----------------------------------------------------------------------------------------------------------------
    # Arguments
    # -----------------------------------------------------------------------------------------------------------------

    def _is_static(self, x: Array) -> bool:
        return x.ndim == len(self.input_shape) + 1

    def _batch(self, x: Array) -> int:
        return x.shape[0] if self._is_static(x) else x.shape[1]

    def _part(self, x: Array, shard: slice) -> Array:
        return x[shard] if self._is_static(x) else x[:, shard]

    def _checked_input(self, x: npt.ArrayLike) -> Array:
        """Return x as a finite array: static in the network's dtype, integer spike trains as they are."""
        self._checked_weights()
        array = checks.real_array("x", x)
        static = (*self.input_shape,)
        axes = array.ndim - len(static)
        if axes not in (1, 2) or array.shape[axes:] != static:
            raise ValueError(f"x must have shape (B, *{static}) or (T, B, *{static}), got {array.shape}")
        if axes == 2 and array.shape[0] != self.n_steps:
            raise ValueError(f"x must have T = {self.n_steps} steps, got {array.shape[0]} (shape {array.shape})")
        if array.size == 0:
            raise ValueError(f"x must not be empty, got shape {array.shape}")
        if axes == 2 and array.dtype.kind != "f":
            return array
        return checks.finite_array("x", array, dtype=self.dtype)

    def _checked_weights(self) -> None:
        shapes = [layer.weight_shape for layer in weighted(self.layers)]
        if len(self.weights) != len(shapes):
            raise ValueError(f"weights must be {len(shapes)} arrays, got {len(self.weights)}")
        for index, (W, shape) in enumerate(zip(self.weights, shapes, strict=True)):
            checked = checks.finite_array(f"weights[{index}]", W, dtype=self.dtype)
            checks.same_shape(f"weights[{index}]", checked, cast("tuple[int, ...]", shape), "its layer")
            self.weights[index] = checked


def _output(steps: list[_Step]) -> Array:
    trace = steps[-1].trace
    assert trace is not None
    return trace.a


def weighted(layers: Sequence[Layer]) -> list[WeightedLayer]:
    """The layers that have weights, and so neurons."""
    return [cast(WeightedLayer, layer) for layer in layers if layer.weight_shape is not None]


def initial_weights(layer: WeightedLayer, rng: np.random.Generator, scale: float) -> Array:
    """Initial weights as in the released code, in float64.

    Fully connected: normal with std sqrt(2 / fan_in); convolution: uniform in +- 1 / sqrt(fan_in); both times scale.
    """
    shape = cast("tuple[int, ...]", layer.weight_shape)
    if isinstance(layer, Conv2d):
        bound = 1.0 / math.sqrt(layer.fan_in)
        return scale * rng.uniform(-bound, bound, shape)
    return scale * rng.normal(0.0, math.sqrt(2.0 / layer.fan_in), shape)

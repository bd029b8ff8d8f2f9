"""A feed-forward network of spiking layers: forward in space and time, and the gradients of all weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine import passes, signals
from tsslbp_ref.engine.buffers import Arrays, NewArrays, Shelf
from tsslbp_ref.engine.layer_runs import joined
from tsslbp_ref.engine.passes import Plan
from tsslbp_ref.engine.signals import Signal
from tsslbp_ref.engine.steps import LayerFlow, Step
from tsslbp_ref.engine.whole_steps import WholeStep, may_go_whole
from tsslbp_ref.engine.workers import Workers
from tsslbp_ref.model import losses
from tsslbp_ref.model.layers import POOL_GAIN, Conv2d, Dropout, Layer, fitting_layers
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters
from tsslbp_ref.model.spec import initial_weights, layers_from_spec, weighted

Array = npt.NDArray[Any]

ARRAYS_A_LAYER = 3  # membrane, PSC and gradient
SHARD_BYTES = 1 << 28  # of one shard's arrays: long runs stay in memory, short ones are not cut


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
        self.layers = fitting_layers(layers)
        self._weight_shapes = [layer.weight_shape for layer in weighted(self.layers)]
        self._sample_numbers = sum(
            math.prod(shape) for shape in (self.input_shape, *(x.output_shape for x in self.layers))
        )
        self.n_steps = checks.positive_integer("n_steps", n_steps)
        self.neuron = checks.instance_of("neuron", neuron, NeuronParameters)
        self.rule = checks.instance_of("rule", rule, GradientRule)
        self.dtype = checks.float_dtype("dtype", dtype)
        self._constants = passes.Constants.of(self.neuron, self.rule, self.n_steps, self.dtype)
        self.workers = Workers(n_threads)
        self._shelf = Shelf()
        self.weights = list(checks.listed("weights", weights))
        self._checked_weights()
        self._check_finite_weights()

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
        conv, dense = checks.number_or_pair("weight_scale", weight_scale, above=0.0)
        return cls(
            layers,
            [initial_weights(layer, rng, conv if isinstance(layer, Conv2d) else dense) for layer in weighted(layers)],
            n_steps=n_steps,
            neuron=checks.instance_or_default("neuron", neuron, NeuronParameters),
            rule=checks.instance_or_default("rule", rule, GradientRule),
            dtype=dtype,
            n_threads=n_threads,
        )

    @property
    def weights(self) -> list[Array]:
        """One array a layer that has weights, in order."""
        return self._weights

    @weights.setter
    def weights(self, arrays: Sequence[npt.ArrayLike]) -> None:
        self._weights: list[Array] = checks.listed("weights", arrays)

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
        shards = self._shards(self._batch(x))
        a = np.empty((self.n_steps, self._batch(x), self.n_classes), self.dtype)
        no_masks: list[Array | None] = [None] * len(self.layers)
        plan = self._plan(x)

        def pass_thread(first: int) -> None:
            with self._shelf.borrow() as arrays:
                for shard in shards[first :: self.workers.n_threads]:
                    a[:, shard] = passes.output(self._forward(plan, self._part(x, shard), no_masks, arrays))

        self.workers.map(pass_thread, range(min(self.workers.n_threads, len(shards))))
        return a

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Class of each sample: the output neuron with the largest sum_t a[t]. Arguments as for `forward`."""
        return self.forward(x).sum(axis=0).argmax(axis=1)

    def _plan(self, x: Array, *, layer_by_layer: bool = False) -> Plan:
        """What a pass of x needs; `layer_by_layer` where what every single layer lets through is asked for."""
        groups = joined(self.layers, static=self._is_static(x) and not layer_by_layer)
        origin = (self.neuron, self.rule, self.n_steps, self.weights[0].dtype)
        if self._constants.origin != origin:  # worked out once, and where something has changed
            self._constants = passes.Constants.of(*origin)
        return Plan(self.layers, self.weights, self.neuron, self._constants.c, groups, self._constants.gain)

    def _forward(self, plan: Plan, x: Array, masks: Sequence[Array | None], arrays: Arrays) -> list[Step]:
        """Take one shard through all layers."""
        signal, leading = self._input_signal(plan, x), (self.n_steps, self._batch(x))
        if isinstance(signal, signals.SparseSpikeSignal):  # but not that of an input without events
            checks.finite_array("weights[0]", self.weights[0])
        with self._culprit_sought(x), np.errstate(over="ignore", invalid="ignore"):
            return passes.forward(plan, masks, signal, leading, arrays)

    def _input_signal(self, plan: Plan, x: Array) -> Signal:
        if self._is_static(x):
            return signals.StaticSignal(x, plan.gain)
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
        value, gradients, _ = self.training_step(x, y, loss, settings=settings, rng=rng)
        return value, gradients

    def training_step(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: str = "kernel",
        *,
        settings: losses.LossSettings | None = None,
        rng: np.random.Generator | None = None,
        optimiser: AdamW | None = None,
    ) -> tuple[float, list[Array], Array]:
        """`loss_and_gradients` with the output PSC (T, B, n_classes) as a third result.

        With an optimiser, an `AdamW` of these weights, it is a whole training step: they are updated, as by its `step`.
        """
        if optimiser is not None:
            checks.instance_of("optimiser", optimiser, AdamW)
        return self._pass(x, y, loss, settings, rng, optimiser=optimiser)

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
        flows: list[list[LayerFlow]] = [[] for _ in self._shards(self._batch(x))]
        return *self._pass(x, y, loss, settings, rng, flows=flows), flows

    def _pass(
        self,
        given: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: str,
        settings: losses.LossSettings | None,
        rng: np.random.Generator | None,
        *,
        flows: list[list[LayerFlow]] | None = None,
        optimiser: AdamW | None = None,
    ) -> tuple[float, list[Array], Array]:
        """Forward, loss and backward, shard by shard; `flows`, if given, takes what every layer let through."""
        whole = flows is None and self._goes_whole(given, loss)
        x = self._checked_input(given, finite=not whole)
        settings = losses.checked_settings(settings)
        a = np.empty((self.n_steps, self._batch(x), self.n_classes), self.dtype)
        target = losses.checked_target(loss, y, a.shape, a.dtype)
        masks = self._dropout_masks(self._batch(x), rng)
        shards, plan = self._shards(self._batch(x)), self._plan(x, layer_by_layer=flows is not None)
        if whole:
            step = WholeStep(plan, x, self._constants.target_psc(loss, target, a), a, optimiser)
            with self._culprit_sought(given):
                return *step.run(shards, self.workers, self._shelf), a

        def pass_shard(k: int, arrays: Arrays) -> tuple[float, list[Array]]:
            shard = shards[k]
            shard_masks = [None if mask is None else mask[shard] for mask in masks]
            steps = self._forward(plan, self._part(x, shard), shard_masks, arrays)
            a[:, shard] = output = passes.output(steps)
            value, g = losses.shard_value_and_gradient(loss, output, target, shard, self.neuron, settings)
            return value, passes.backward(plan, steps, g, arrays, None if flows is None else flows[k])

        def pass_thread(first: int) -> tuple[float, list[Array]]:
            """Every n-th shard: a thread adds up as it goes, and the same threads add up the same shards."""
            with self._shelf.borrow() as kept:
                arrays = kept if flows is None else NewArrays()
                return passes.summed(pass_shard(k, arrays) for k in range(first, len(shards), self.workers.n_threads))

        threads = range(min(self.workers.n_threads, len(shards)))
        value, gradients = passes.summed(self.workers.map(pass_thread, threads))
        if optimiser is not None:
            optimiser.step(gradients)
        return value, gradients, a

    def _goes_whole(self, x: npt.ArrayLike, loss: str) -> bool:
        """Whether a training step is one compiled call a shard, of which there is one a thread."""
        if not (isinstance(x, np.ndarray) and x.size > 0 and self._is_static(x) and may_go_whole(self.layers, loss)):
            return False
        return len(self._shards(len(x))) <= self.workers.n_threads

    def _shards(self, batch: int) -> list[slice]:
        """One shard a thread, or more where u, a and g of all layers would take more than SHARD_BYTES."""
        sample_bytes = ARRAYS_A_LAYER * self._sample_numbers * self.n_steps * self.dtype.itemsize
        return self.workers.shards(batch, max(1, SHARD_BYTES // sample_bytes))

    def gradient_flow(
        self, x: npt.ArrayLike, y: npt.ArrayLike, loss: str = "kernel", settings: losses.LossSettings | None = None
    ) -> list[LayerFlow]:
        """Trace, g and delta of every layer of neurons, each (T, B, N), for the whole batch.

        Parameters and errors are those of `loss_and_gradients`.
        """
        return passes.flows_of_batch(self.training_pass(x, y, loss, settings=settings)[3])

    def _dropout_masks(self, batch: int, rng: np.random.Generator | None) -> list[Array | None]:
        """One mask a dropout layer for the whole batch, so that the number of shards changes nothing."""
        if rng is None:
            return [None] * len(self.layers)
        checks.instance_of("rng", rng, np.random.Generator)
        return [
            layer.draw_mask(batch, rng, self.dtype) if isinstance(layer, Dropout) else None for layer in self.layers
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

    def _checked_input(self, x: npt.ArrayLike, *, finite: bool = True) -> Array:
        """Return x as an array, finite if asked: static in the network's dtype, integer spike trains as they are."""
        self._checked_weights()
        return checks.pictures_or_trains("x", x, self.input_shape, self.n_steps, self.dtype, finite=finite)

    def _checked_weights(self) -> None:
        if len(self.weights) != len(self._weight_shapes):
            raise ValueError(f"weights must be {len(self._weight_shapes)} arrays, got {len(self.weights)}")
        for index, (W, shape) in enumerate(zip(self.weights, self._weight_shapes, strict=True)):
            if type(W) is np.ndarray and W.dtype == self.dtype and W.shape == shape:
                continue  # as in all steps but the first
            checked = checks.converted(checks.real_array(f"weights[{index}]", W), self.dtype)
            checks.same_shape(f"weights[{index}]", checked, cast("tuple[int, ...]", shape), "its layer")
            self.weights[index] = checked

    @contextmanager
    def _culprit_sought(self, x: npt.ArrayLike) -> Iterator[None]:
        """An input or a weight that is not finite shows in a membrane, and is sought only then."""
        try:
            yield
        except passes.MembraneError:
            self._checked_input(x)
            self._check_finite_weights()
            raise

    def _check_finite_weights(self) -> None:
        for index, W in enumerate(self.weights):
            checks.finite_array(f"weights[{index}]", W)

"""A feed-forward network of spiking layers: its layers, weights and constants, and what may be asked of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import backpropagation
from tsslbp_ref.model.backpropagation import (
    Engine,
    LayerFlow,
    Masks,
    MembraneError,
    PlainEngine,
    StepResult,
    checked_engine,
)
from tsslbp_ref.model.layers import POOL_GAIN, Layer, dropout_masks, fitting_layers
from tsslbp_ref.model.losses import RELEASED_SETTINGS, Loss, LossSettings
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters
from tsslbp_ref.model.spec import initial_network_weights, layers_from_spec, weighted

__all__ = ["Engine", "LayerFlow", "MembraneError", "Network", "PlainEngine", "StepResult"]

Array = npt.NDArray[Any]


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
    neuron : NeuronParameters or sequence of NeuronParameters
        Of all layers, or one a layer that has weights. A layer's tau_s is that of the PSC which it emits.
    rule : GradientRule
    dtype : {"float32", "float64"}
        float32 to train, float64 to check.
    input_tau_s : float, optional
        Time constant of the input's PSC, in steps; the first layer's tau_s if not given.
    n_threads : int, optional
        Threads that share a mini-batch; all cores if not given. The same count gives the same bits.
    engine : Engine, optional
        What computes; the fast engine if not given. `PlainEngine` is the one to read.

    Attributes
    ----------
    weights : list of array
        (out, in) or (out, in, kh, kw). Assignable, as a whole or one by one; shapes are checked at every call.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit or an argument is not of its kind.

    Notes
    -----
    A network is a value: it can be copied, pickled and sent to another process. Threads and buffers belong to the
    engine, which is made when first used and is not copied.

    Examples
    --------
    >>> import numpy as np
    >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5)
    >>> net.forward(np.ones((2, 4))).shape
    (5, 2, 3)
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        weights: Sequence[npt.ArrayLike],
        *,
        n_steps: int,
        neuron: NeuronParameters | Sequence[NeuronParameters],
        rule: GradientRule,
        dtype: str = "float32",
        input_tau_s: float | None = None,
        n_threads: int | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.layers = fitting_layers(layers)
        self._weight_shapes = [layer.weight_shape for layer in weighted(self.layers)]
        self.n_steps = checks.positive_integer("n_steps", n_steps)
        self.neuron = neuron
        self.input_tau_s = input_tau_s
        self.rule = rule
        self.dtype = checks.float_dtype("dtype", dtype)
        self._given_engine = None if engine is None else checked_engine(engine)
        self.n_threads = n_threads
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
        neuron: NeuronParameters | Sequence[NeuronParameters] | None = None,
        rule: GradientRule | None = None,
        seed: int = 0,
        dtype: str = "float32",
        *,
        padding: int | Sequence[int] = 0,
        dropout: float = 0.0,
        dropout_form: str = "unit",
        weight_scale: float | tuple[float, float] = 1.0,
        pool_gain: float = POOL_GAIN,
        conv_init: str = "uniform",
        input_tau_s: float | None = None,
        n_threads: int | None = None,
        engine: Engine | None = None,
    ) -> Network:
        """Build a network from the paper's way of naming one, with the released code's initial weights.

        Parameters
        ----------
        spec, input_shape, n_classes, padding, dropout, dropout_form, pool_gain
            As for `layers_from_spec`.
        n_steps, neuron, rule, dtype, input_tau_s, n_threads, engine
            As for `Network`; the defaults of `NeuronParameters` and the released rule if not given.
        seed : int
            Of the initial weights.
        weight_scale : float or (float, float)
            Factor of the initial weights, or one for convolutions and one for fully connected layers.
        conv_init : {"uniform", "he-normal"}
            Distribution of a convolution's initial weights, see `initial_weights`.

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
        return cls(
            layers,
            initial_network_weights(layers, seed, weight_scale, conv_init=conv_init),
            n_steps=n_steps,
            neuron=NeuronParameters() if neuron is None else neuron,
            rule=checks.instance_or_default("rule", rule, GradientRule),
            dtype=dtype,
            input_tau_s=input_tau_s,
            n_threads=n_threads,
            engine=engine,
        )

    @property
    def weights(self) -> list[Array]:
        """One array a layer that has weights, in order."""
        return self._weights

    @weights.setter
    def weights(self, arrays: Sequence[npt.ArrayLike]) -> None:
        self._weights: list[Array] = checks.listed("weights", arrays)

    @property
    def neuron(self) -> NeuronParameters | tuple[NeuronParameters, ...]:
        """The constants of all layers of neurons, or one a layer, as they were given."""
        return self._neuron

    @neuron.setter
    def neuron(self, neuron: NeuronParameters | Sequence[NeuronParameters]) -> None:
        if isinstance(neuron, NeuronParameters):
            self._neuron: NeuronParameters | tuple[NeuronParameters, ...] = neuron
            return
        if not isinstance(neuron, (tuple, list)):
            kind = type(neuron).__name__
            raise TypeError(f"neuron must be a NeuronParameters, or a sequence of one a layer of neurons, got {kind}")
        if len(neuron) != len(self._weight_shapes):
            raise ValueError(
                f"neuron must have one entry a layer of neurons, {len(self._weight_shapes)}, got {len(neuron)}"
            )
        self._neuron = tuple(checks.instance_of(f"neuron[{i}]", one, NeuronParameters) for i, one in enumerate(neuron))

    @property
    def neurons(self) -> tuple[NeuronParameters, ...]:
        """The constants of each layer of neurons."""
        if isinstance(self._neuron, NeuronParameters):
            return (self._neuron,) * len(self._weight_shapes)
        return self._neuron

    @property
    def input_tau_s(self) -> float:
        """Time constant of the input's PSC, in steps."""
        return self.neurons[0].tau_s if self._input_tau_s is None else self._input_tau_s

    @input_tau_s.setter
    def input_tau_s(self, tau_s: float | None) -> None:
        self._input_tau_s = None if tau_s is None else checks.real_number("input_tau_s", tau_s, minimum=1.0)

    @property
    def input_synapse(self) -> NeuronParameters:
        """Parameters whose tau_s is that of the input's PSC."""
        return replace(self.neurons[0], tau_s=self.input_tau_s)

    @property
    def rule(self) -> GradientRule:
        """The gradient rule."""
        return self._rule

    @rule.setter
    def rule(self, rule: GradientRule) -> None:
        self._rule = checks.instance_of("rule", rule, GradientRule)

    @property
    def n_threads(self) -> int | None:
        """Threads of the engine that is made where none is given; None for all cores."""
        return self._n_threads

    @n_threads.setter
    def n_threads(self, n_threads: int | None) -> None:
        self._n_threads = None if n_threads is None else checks.positive_integer("n_threads", n_threads)
        self._engine: Engine | None = self._given_engine

    @property
    def engine(self) -> Engine:
        """What computes: made when first used."""
        if self._engine is None:
            from tsslbp_ref.engine import FastEngine  # the one place where the model knows of it

            self._engine = FastEngine(self.n_threads)
        return self._engine

    def __getstate__(self) -> dict[str, Any]:
        """All but an engine that was not given, whose threads and buffers belong to this object alone."""
        return self.__dict__ | {"_engine": self._given_engine}

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
            Static images, shown at every step, or spike trains.

        Returns
        -------
        (T, B, n_classes) array

        Raises
        ------
        ValueError, TypeError
            If x, or a weight, is not finite or not of the right shape.
        """
        x = self._checked_input(x)
        with self._culprit_sought(x, self._no_masks):
            return self.engine.output(self, x)

    def predict(self, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Class of each sample: the output neuron with the largest sum_t a[t].

        Parameters
        ----------
        x : (B, *input_shape) or (T, B, *input_shape) array_like
            Static images, shown at every step, or spike trains.

        Returns
        -------
        (B,) array of int64
            Numbers from 0 to n_classes - 1; the lowest where sums are equal.

        Raises
        ------
        ValueError, TypeError
            If x, or a weight, is not finite or not of the right shape.

        Examples
        --------
        >>> import numpy as np
        >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5)
        >>> net.predict(np.ones((2, 4))).shape
        (2,)
        """
        return self.forward(x).sum(axis=0).argmax(axis=1)

    # -----------------------------------------------------------------------------------------------------------------
    # Backward
    # -----------------------------------------------------------------------------------------------------------------

    def loss_and_gradients(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: str = "kernel",
        *,
        settings: LossSettings | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, list[Array]]:
        """Loss of a mini-batch and its gradient with respect to every weight array.

        Parameters
        ----------
        x : (B, *input_shape) or (T, B, *input_shape) array_like
            Static images, shown at every step, or spike trains.
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

        Examples
        --------
        >>> import numpy as np
        >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5)
        >>> loss, gradients = net.loss_and_gradients(np.ones((2, 4)), [0, 1])
        >>> [dW.shape for dW in gradients]
        [(20, 4), (3, 20)]
        """
        value, gradients, _ = self.training_step(x, y, loss, settings=settings, rng=rng)
        return value, gradients

    def training_step(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: str = "kernel",
        *,
        settings: LossSettings | None = None,
        rng: np.random.Generator | None = None,
        optimiser: AdamW | None = None,
    ) -> StepResult:
        """Loss, gradients and output PSC of a mini-batch; with an optimiser, a whole training step.

        Parameters
        ----------
        x : (B, *input_shape) or (T, B, *input_shape) array_like
            Static images, shown at every step, or spike trains.
        y : (B,) array_like of int
            Class labels; for "spike-train" the desired trains, (T, B, n_classes).
        loss : {"kernel", "kernel-paper", "count", "softmax", "spike-train"}
        settings : LossSettings, optional
            Targets of the count loss.
        rng : numpy.random.Generator, optional
            Draws the dropout masks; without it nothing is dropped.
        optimiser : AdamW, optional
            Of this network's weights: its `step` then updates them.

        Returns
        -------
        StepResult
            Loss, gradients in the order and shapes of `weights`, and the output PSC (T, B, n_classes).

        Raises
        ------
        ValueError, TypeError
            As `loss_and_gradients` does; and if the optimiser holds other arrays, or the gradients' norm is not finite.
            The weights are unchanged then.

        Examples
        --------
        >>> import numpy as np
        >>> from tsslbp_ref.model.optim import AdamW
        >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5, weight_scale=2.0)
        >>> result = net.training_step(np.ones((2, 4)), [0, 1], optimiser=AdamW(net.weights))
        >>> result.output.shape
        (5, 2, 3)
        """
        if optimiser is not None:
            self._check_optimiser(optimiser)
        arguments = self._step_arguments(x, y, loss, settings, rng)
        with self._culprit_sought(arguments[0], arguments[3]):
            result = self.engine.gradients(self, *arguments)
        if optimiser is not None:
            self.engine.update(optimiser, result.gradients)
        return result

    def training_pass(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: str = "kernel",
        *,
        settings: LossSettings | None = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[float, list[Array], Array, list[LayerFlow]]:
        """Loss and gradients from the two plain loops, the output PSC, and what passed through each layer.

        Parameters
        ----------
        x : (B, *input_shape) or (T, B, *input_shape) array_like
            Static images, shown at every step, or spike trains.
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
        a : (T, B, n_classes) array
        flows : list of LayerFlow
            Trace, g and delta of each layer of neurons.

        Raises
        ------
        ValueError, TypeError
            As `loss_and_gradients` does.
        """
        x, target, checked_loss, masks = self._step_arguments(x, y, loss, settings, rng)
        with self._culprit_sought(x, masks):
            records, a = backpropagation.forward(self, x, masks)
        value, g = checked_loss.value_and_gradient(a, target)
        gradients, flows = backpropagation.backward(self, records, g)
        return value, gradients, a, flows

    def gradient_flow(
        self, x: npt.ArrayLike, y: npt.ArrayLike, loss: str = "kernel", settings: LossSettings | None = None
    ) -> list[LayerFlow]:
        """Trace, g and delta of every layer of neurons, for the whole batch.

        Parameters
        ----------
        x : (B, *input_shape) or (T, B, *input_shape) array_like
            Static images, shown at every step, or spike trains.
        y : (B,) array_like of int
            Class labels; for "spike-train" the desired trains, (T, B, n_classes).
        loss : {"kernel", "kernel-paper", "count", "softmax", "spike-train"}
        settings : LossSettings, optional
            Targets of the count loss.

        Returns
        -------
        list of LayerFlow
            From the first layer of neurons to the output; u, a, g and delta are (T, B, N). Nothing is dropped.

        Raises
        ------
        ValueError, TypeError
            As `loss_and_gradients` does.

        Examples
        --------
        >>> import numpy as np
        >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5)
        >>> [flow.delta.shape for flow in net.gradient_flow(np.ones((2, 4)), [0, 1])]
        [(5, 2, 20), (5, 2, 3)]
        """
        return self.training_pass(x, y, loss, settings=settings)[3]

    # -----------------------------------------------------------------------------------------------------------------
    # Arguments
    # -----------------------------------------------------------------------------------------------------------------

    def is_static(self, x: Array) -> bool:
        """Whether x (B, ...) is shown at every step, and has no axis of time."""
        return x.ndim == len(self.input_shape) + 1

    def batch_size(self, x: Array) -> int:
        """Number of samples B."""
        return x.shape[0] if self.is_static(x) else x.shape[1]

    @property
    def _no_masks(self) -> list[Array | None]:
        return [None] * len(self.layers)

    def _step_arguments(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        loss: str,
        settings: LossSettings | None,
        rng: np.random.Generator | None,
    ) -> tuple[Array, Array, Loss, list[Array | None]]:
        """Input, target, loss and dropout masks, checked."""
        x = self._checked_input(x)
        checked = Loss(loss, self.neurons[-1], RELEASED_SETTINGS if settings is None else settings)
        batch = self.batch_size(x)
        target = checked.target(y, (self.n_steps, batch, self.n_classes), self.dtype)
        return x, target, checked, dropout_masks(self.layers, batch, rng, self.dtype)

    def _checked_input(self, x: npt.ArrayLike) -> Array:
        """Return x as a finite array: static in the network's dtype, integer spike trains as they are."""
        self._checked_weights()
        return checks.images_or_trains("x", x, self.input_shape, self.n_steps, self.dtype)

    def _checked_weights(self) -> None:
        if len(self.weights) != len(self._weight_shapes):
            raise ValueError(f"weights must be {len(self._weight_shapes)} arrays, got {len(self.weights)}")
        for index, (W, shape) in enumerate(zip(self.weights, self._weight_shapes, strict=True)):
            if type(W) is np.ndarray and W.dtype == self.dtype and W.shape == shape:
                continue  # as in all steps but the first
            checked = checks.converted(checks.real_array(f"weights[{index}]", W), self.dtype)
            checks.same_shape(f"weights[{index}]", checked, cast("tuple[int, ...]", shape), "its layer")
            self.weights[index] = checked

    def _check_optimiser(self, optimiser: AdamW) -> None:
        """Raise unless the optimiser updates this network's own arrays."""
        checks.instance_of("optimiser", optimiser, AdamW)
        same = len(optimiser.weights) == len(self.weights)
        if not same or any(W is not own for W, own in zip(optimiser.weights, self.weights, strict=True)):
            raise ValueError("optimiser must hold this network's weights, got other arrays: AdamW(net.weights)")

    @contextmanager
    def _culprit_sought(self, x: Array, masks: Masks) -> Iterator[None]:
        """Where a membrane leaves the finite numbers, name the cause: a weight that is not finite, or the neuron."""
        with np.errstate(over="ignore", invalid="ignore"):
            try:
                yield
            except MembraneError:
                self._check_finite_weights()
                backpropagation.forward(self, x, masks)  # the plain loop names layer, step, sample and neuron
                raise

    def _check_finite_weights(self) -> None:
        for index, W in enumerate(self.weights):
            checks.finite_array(f"weights[{index}]", W)

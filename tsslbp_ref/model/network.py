"""A feed-forward network of spiking layers: its layers, weights and constants, and what may be asked of it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import arguments, backpropagation, saved, summary
from tsslbp_ref.model.backpropagation import Engine, LayerFlow, MembraneError, PlainEngine, StepResult, checked_engine
from tsslbp_ref.model.layers import POOL_GAIN, Layer
from tsslbp_ref.model.losses import LossSettings
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters
from tsslbp_ref.model.spec import initial_network_weights, layers_from_spec

__all__ = ["Engine", "LayerFlow", "MembraneError", "Network", "PlainEngine", "StepResult"]

Array = npt.NDArray[Any]

SCORED_AT_ONCE = 500  # samples


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
    >>> print(net)
    layer  output shape  weights  neuron
    input  (4,)                   tau_s 3
    20     (20,)         (20, 4)  tau_m 5, tau_s 3, threshold 1
    3      (3,)          (3, 20)  tau_m 5, tau_s 3, threshold 1
    T = 5 steps, rule released, float32, 140 weights
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
        self.layers = arguments.fitting_layers(layers)
        self.weight_shapes = [shape for layer in self.layers if (shape := layer.weight_shape) is not None]
        self.n_steps = n_steps
        self.neuron = neuron
        self.input_tau_s = input_tau_s
        self.rule = rule
        self.dtype = checks.float_dtype("dtype", dtype)
        self._given_engine = None if engine is None else checked_engine(engine)
        self.n_threads = n_threads
        self.weights = list(checks.listed("weights", weights))
        arguments.check_weights(self.weights, self.weight_shapes, self.dtype)
        arguments.check_finite(self.weights)

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

        Examples
        --------
        >>> Network.from_spec("15C5-P2-300", (1, 28, 28), n_classes=10, n_steps=5, seed=1)
        <Network 15C5-P2-300-10, input (1, 28, 28), T = 5, float32>
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
            rule=GradientRule() if rule is None else rule,
            dtype=dtype,
            input_tau_s=input_tau_s,
            n_threads=n_threads,
            engine=engine,
        )

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, n_threads: int | None = None, engine: Engine | None = None
    ) -> Network:
        """Load a network from a file of `save`, a run's checkpoint, or a run's folder, of which it is the best epoch.

        Parameters
        ----------
        path : path
        n_threads, engine
            As for `Network`.

        Returns
        -------
        Network

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        CheckpointError
            If the file is truncated, damaged, changed, of another kind or of a newer version. Nothing larger than the
            network that it describes is read, and nothing is unpickled.
        OSError
            If the file cannot be read.

        Examples
        --------
        >>> import tempfile
        >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(f"{folder}/net.npz")
        ...     Network.load(f"{folder}/net.npz")
        <Network 20-3, input (4,), T = 5, float32>
        """
        network = saved.load(path, cls)
        network._given_engine = None if engine is None else checked_engine(engine)
        network.n_threads = n_threads
        return network

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save layers, weights, constants and rule in an .npz file, whole or not at all; `load` reads it.

        The number of threads and the engine are not part of it.

        Parameters
        ----------
        path : path
            A file that is there is replaced.

        Raises
        ------
        OSError
            If the file cannot be written.
        ValueError, TypeError
            If a weight is not finite or has the wrong shape, or a layer is of the user's own kind.

        Examples
        --------
        >>> import tempfile
        >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     net.save(f"{folder}/net.npz")
        """
        arguments.check_weights(self.weights, self.weight_shapes, self.dtype)
        arguments.check_finite(self.weights)
        saved.save(self, path)

    def __repr__(self) -> str:
        """One line; `print` has the table."""
        return summary.short(self)

    def __str__(self) -> str:
        """A table: a line a layer, then the number of steps and the rule."""
        return summary.table(self)

    @property
    def weights(self) -> list[Array]:
        """One array a layer that has weights, in order."""
        return self._weights

    @weights.setter
    def weights(self, arrays: Sequence[npt.ArrayLike]) -> None:
        self._weights: list[Array] = checks.listed("weights", arrays)

    @property
    def n_steps(self) -> int:
        """T."""
        return self._n_steps

    @n_steps.setter
    def n_steps(self, n_steps: int) -> None:
        self._n_steps = checks.axis_size("n_steps", n_steps)

    @property
    def neuron(self) -> NeuronParameters | tuple[NeuronParameters, ...]:
        """The constants of all layers of neurons, or one a layer, as they were given."""
        return self._neuron

    @neuron.setter
    def neuron(self, neuron: NeuronParameters | Sequence[NeuronParameters]) -> None:
        self._neuron = arguments.checked_constants(neuron, len(self.weight_shapes))

    @property
    def neurons(self) -> tuple[NeuronParameters, ...]:
        """The constants of each layer of neurons."""
        if isinstance(self._neuron, NeuronParameters):
            return (self._neuron,) * len(self.weight_shapes)
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
        if isinstance(rule, str):
            raise TypeError(f"rule must be a GradientRule, got str: rule_by_name({checks.shown(rule)}) is one")
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
            from tsslbp_ref.engine import FastEngine  # the one line of the model that knows of it

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

        Examples
        --------
        >>> import numpy as np
        >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5)
        >>> static, trains = np.ones((2, 4)), np.zeros((5, 2, 4))
        >>> net.forward(static).shape, net.forward(trains).shape
        ((5, 2, 3), (5, 2, 3))
        """
        x = arguments.checked_input(self, x)
        with arguments.cause_named(self, x, [None] * len(self.layers)):
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

    def score(self, x: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Share of the samples whose class is predicted right.

        Parameters
        ----------
        x : (B, *input_shape) or (T, B, *input_shape) array_like
            Static images, shown at every step, or spike trains.
        y : (B,) array_like of int
            Class labels.

        Returns
        -------
        float
            From 0 to 1.

        Raises
        ------
        ValueError, TypeError
            If x, y or a weight is not finite, not of the right shape or out of range.

        Examples
        --------
        >>> import numpy as np
        >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5)
        >>> x = np.random.default_rng(0).random((10, 4))
        >>> net.score(x, net.predict(x))
        1.0
        """
        x = arguments.checked_input(self, x)
        labels = checks.labels("y", y, self.batch_size(x), self.n_classes)
        parts = range(SCORED_AT_ONCE, len(labels), SCORED_AT_ONCE)
        batches = np.split(x, parts, axis=0 if self.is_static(x) else 1)
        return float(np.mean(np.concatenate([self.predict(batch) for batch in batches]) == labels))

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
        x, y, loss, settings, rng
            As for `loss_and_gradients`.
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
            arguments.check_optimiser(optimiser, self.weights)
        x, target, checked_loss, masks = arguments.of_step(self, x, y, loss, settings, rng)
        with arguments.cause_named(self, x, masks):
            result = self.engine.gradients(self, x, target, checked_loss, masks)
        checked_loss.finite(result.loss, result.output, target)
        if optimiser is None:
            arguments.check_gradients(result.gradients)
        else:
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
        x, y, loss, settings, rng
            As for `loss_and_gradients`.

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

        Examples
        --------
        >>> import numpy as np
        >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5)
        >>> loss, gradients, a, flows = net.training_pass(np.ones((2, 4)), [0, 1])
        >>> a.shape, [flow.trace.u.shape for flow in flows]
        ((5, 2, 3), [(5, 2, 20), (5, 2, 3)])
        """
        x, target, checked_loss, masks = arguments.of_step(self, x, y, loss, settings, rng)
        with arguments.cause_named(self, x, masks):
            records, a = backpropagation.forward(self, x, masks)
            value, g = checked_loss.value_and_gradient(a, target)
            gradients, flows, _ = backpropagation.backward(self, records, g)
        return value, gradients, a, flows

    def gradient_flow(
        self, x: npt.ArrayLike, y: npt.ArrayLike, loss: str = "kernel", settings: LossSettings | None = None
    ) -> list[LayerFlow]:
        """Trace, g and delta of every layer of neurons, for the whole batch.

        Parameters
        ----------
        x, y, loss, settings
            As for `loss_and_gradients`.

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

    def is_static(self, x: Array) -> bool:
        """Whether x (B, ...) is shown at every step, and has no axis of time."""
        return x.ndim == len(self.input_shape) + 1

    def batch_size(self, x: Array) -> int:
        """Number of samples B."""
        return x.shape[0] if self.is_static(x) else x.shape[1]

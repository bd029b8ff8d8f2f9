"""The paper's optimiser: AdamW on gradients of clipped norm, then a clamp of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine import fast_optim
from tsslbp_ref.engine.fast_optim import FlatLayer, StepConstants, Update
from tsslbp_ref.engine.workers import Workers

Array = npt.NDArray[Any]

NUMBERS_A_THREAD = 1 << 19  # weights from which on a thread gains more than waking it costs


class AdamW:
    """Update weights in place, in the released code's order: clip the norm, step, clamp.

    Parameters
    ----------
    weights : list of array
        float32 or float64, changed in place by `step`.
    learning_rate : float
    betas : (float, float)
        Decay of the running means of the gradient and of its square.
    epsilon : float
        Keeps the division finite; PyTorch's default.
    weight_decay : float
    clip_norm : float
        Upper bound of the Euclidean norm of all gradients together; ``math.inf`` turns it off.
    weight_clamp : float
        Weights stay in +- this; ``math.inf`` turns it off.
    workers : Workers, optional
        Threads that share the work; one if not given.

    Raises
    ------
    ValueError, TypeError
        If a constant is out of range, or, in `step`, gradients do not fit the weights or are not finite.

    Notes
    -----
    Defaults: the paper's experiments, and for norm and clamp the released code.
    """

    def __init__(
        self,
        weights: list[Array],
        learning_rate: float = 5e-4,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        weight_decay: float = 0.01,
        clip_norm: float = 1.0,
        weight_clamp: float = 4.0,
        workers: Workers | None = None,
    ) -> None:
        self.weights = weights
        self.learning_rate = checks.real_number("learning_rate", learning_rate, above=0.0)
        self.betas = tuple(checks.real_number("betas", beta, minimum=0.0) for beta in betas)
        if len(self.betas) != 2 or max(self.betas) >= 1.0:
            raise ValueError(f"betas must be two numbers in [0, 1), got {betas}")
        self.epsilon = checks.real_number("epsilon", epsilon, above=0.0)
        self.weight_decay = checks.real_number("weight_decay", weight_decay, minimum=0.0)
        self.clip_norm = checks.real_number("clip_norm", clip_norm, above=0.0, or_infinite=True)
        self.weight_clamp = checks.real_number("weight_clamp", weight_clamp, above=0.0, or_infinite=True)
        self.workers = workers or Workers(1)
        self.n_steps = 0
        self.means = [np.zeros_like(W) for W in weights]
        self.squares = [np.zeros_like(W) for W in weights]

    def step(self, gradients: Sequence[Array]) -> float:
        """Update the weights in place and return the norm of the gradients before clipping."""
        if len(gradients) != len(self.weights):
            raise ValueError(f"gradients must be {len(self.weights)} arrays, got {len(gradients)}")
        for index, (gradient, W) in enumerate(zip(gradients, self.weights, strict=True)):
            checks.same_shape(f"gradients[{index}]", gradient, W.shape, f"weights[{index}]")
        norm = gradient_norm(gradients)
        if not math.isfinite(norm):
            raise ValueError(f"gradients must be finite, got a norm of {norm}")
        layers = self._flat(gradients)
        self.n_steps += 1
        scale = fast_optim.gradient_scale(norm, self.clip_norm)
        for dtype in dict.fromkeys(layer[0].dtype for layer in layers):
            of_dtype = tuple(layer for layer in layers if layer[0].dtype == dtype)
            arguments = (of_dtype, scale, self._constants(dtype))
            self.workers.together(fast_optim.adamw_step, [arguments] * self._worth_waking(of_dtype))
        return norm

    def _worth_waking(self, layers: Sequence[FlatLayer]) -> int:
        """How many threads share the work."""
        return min(self.workers.n_threads, max(1, sum(layer[0].size for layer in layers) // NUMBERS_A_THREAD))

    def update(self, gradients: Sequence[Array]) -> Update:
        """The next step of weights of one dtype, for a compiled loop that is to fill the gradients and then make it.

        The step counts as made; who does not make it lowers `n_steps`.
        """
        layers = tuple(self._flat(gradients))
        self.n_steps += 1
        return Update(True, layers, self._constants(layers[0][0].dtype), self.clip_norm)

    def _constants(self, dtype: np.dtype[Any]) -> StepConstants:
        beta1, beta2 = self.betas
        constants = (
            beta1,
            beta2,
            self.learning_rate / (1.0 - beta1**self.n_steps),
            1.0 / math.sqrt(1.0 - beta2**self.n_steps),
            self.epsilon,
            1.0 - self.learning_rate * self.weight_decay,
            self.weight_clamp,
        )
        return StepConstants(*map(dtype.type, constants))

    def _flat(self, gradients: Sequence[Array]) -> list[FlatLayer]:
        """W, gradient, mean and square of every layer, flat, in the order in which W lies in memory."""
        layers: list[FlatLayer] = []
        for i, (W, gradient) in enumerate(zip(self.weights, gradients, strict=True)):
            order: Literal["C", "F"] = "F" if W.flags.f_contiguous else "C"  # "F" in fully connected layers
            if not (W.flags.f_contiguous or W.flags.c_contiguous):
                raise ValueError(f"weights must be contiguous arrays, got strides {W.strides}")
            # A weight may have been replaced by one in the other order.
            self.means[i] = mean = np.asarray(self.means[i], order=order)
            self.squares[i] = square = np.asarray(self.squares[i], order=order)
            layers.append((W.ravel(order), gradient.ravel(order), mean.ravel(order), square.ravel(order)))
        return layers


def gradient_norm(gradients: Sequence[Array]) -> float:
    """Euclidean norm of all gradients together, accumulated in the arrays' precision, array by array."""
    return math.sqrt(sum(_square_sum(gradient) for gradient in gradients))


def _square_sum(array: Array) -> float:
    flat = array.ravel(order="K")
    return float(np.dot(flat, flat))

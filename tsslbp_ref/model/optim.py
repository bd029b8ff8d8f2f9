"""The paper's optimiser: AdamW on gradients of clipped norm, then a clamp of the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.jit import compiled, terms

Array = npt.NDArray[Any]

NORM_EPSILON = 1e-6  # PyTorch's clip_grad_norm_ adds it to the norm it divides by


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

    Attributes
    ----------
    n_steps : int
        Updates made.
    updating : bool
        Whether an update is under way. After an error or an interrupt within one it stays so, until the next update is
        made: some weights may have made the step and others not, and `n_steps` does not count it.
    means, squares : list of array
        Running means of the gradients and of their squares.

    Raises
    ------
    ValueError, TypeError
        If a constant is out of range, or a weight cannot be updated: no array, not of native floats, not finite, not
        writeable or not contiguous; in `step`, if gradients do not fit the weights or are not finite.

    Notes
    -----
    Defaults: those of the released code (commit ffaac71).

    Examples
    --------
    >>> import numpy as np
    >>> W = np.array([[0.5, -0.5]])
    >>> optimiser = AdamW([W], learning_rate=0.1, weight_decay=0.0)
    >>> norm = optimiser.step([np.array([[0.3, -0.4]])])
    >>> round(norm, 3), W.round(3)
    (0.5, array([[ 0.4, -0.4]]))
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
    ) -> None:
        self.weights = checks.listed("weights", weights)
        for index, W in enumerate(self.weights):
            _check_updatable(f"weights[{index}]", W)
            checks.finite_array(f"weights[{index}]", W)
        self.learning_rate = checks.real_number("learning_rate", learning_rate, above=0.0)
        self.betas = tuple(checks.real_number("betas", beta, minimum=0.0) for beta in checks.listed("betas", betas))
        if len(self.betas) != 2 or max(self.betas) >= 1.0:
            raise ValueError(f"betas must be two numbers in [0, 1), got {checks.shown(betas)}")
        self.epsilon = checks.real_number("epsilon", epsilon, above=0.0)
        self.weight_decay = checks.real_number("weight_decay", weight_decay, minimum=0.0)
        self.clip_norm = checks.real_number("clip_norm", clip_norm, above=0.0, or_infinite=True)
        self.weight_clamp = checks.real_number("weight_clamp", weight_clamp, above=0.0, or_infinite=True)
        self.n_steps = 0
        self.updating = False
        self.means = [np.zeros_like(W) for W in self.weights]
        self.squares = [np.zeros_like(W) for W in self.weights]

    def step(self, gradients: Sequence[Array]) -> float:
        """Update the weights in place and return the norm of the gradients before clipping.

        Parameters
        ----------
        gradients : sequence of array
            One a weight array, of its shape and dtype.

        Returns
        -------
        float
            Euclidean norm of all gradients together, before clipping.

        Raises
        ------
        ValueError, TypeError
            If the gradients do not fit the weights or their norm is not finite; nothing is changed then.
        """
        if len(gradients) != len(self.weights):
            raise ValueError(f"gradients must be {len(self.weights)} arrays, got {len(gradients)}")
        for index, (gradient, W) in enumerate(zip(gradients, self.weights, strict=True)):
            _check_updatable(f"weights[{index}]", W)  # it may have been replaced
            _check_gradient(f"gradients[{index}]", gradient, W, f"weights[{index}]")
        norm = gradient_norm(gradients)
        if not math.isfinite(norm):
            raise ValueError(f"gradients must be finite, got a norm of {norm}")
        scale = min(1.0, self.clip_norm / (norm + NORM_EPSILON))
        layers = [self._flat(index, gradient) for index, gradient in enumerate(gradients)]
        self.updating = True
        for arrays in layers:
            dtype = arrays[0].dtype
            adamw_sweep(*arrays, dtype.type(scale), self._constants(dtype, self.n_steps + 1))
        self.n_steps += 1
        self.updating = False
        return norm

    def _constants(self, dtype: np.dtype[Any], n: int) -> StepConstants:
        """The numbers of step n, in the arrays' dtype."""
        beta1, beta2 = self.betas
        constants = StepConstants(
            beta1=beta1,
            beta2=beta2,
            step_size=self.learning_rate / (1.0 - beta1**n),
            square_correction=1.0 / math.sqrt(1.0 - beta2**n),
            epsilon=self.epsilon,
            decay=1.0 - self.learning_rate * self.weight_decay,
            weight_clamp=self.weight_clamp,
        )
        return StepConstants(*map(dtype.type, constants))

    def _flat(self, index: int, gradient: Array) -> tuple[Array, Array, Array, Array]:
        """W, gradient, mean and square of a layer, flat, in the order in which W lies in memory."""
        W = self.weights[index]
        order: Literal["C", "F"] = "C" if W.flags.c_contiguous else "F"
        # A weight may have been replaced by one in the other order.
        self.means[index] = mean = np.asarray(self.means[index], order=order)
        self.squares[index] = square = np.asarray(self.squares[index], order=order)
        return W.ravel(order), gradient.ravel(order), mean.ravel(order), square.ravel(order)


class StepConstants(NamedTuple):
    """What a step multiplies by, in the arrays' dtype: see `AdamW` and `terms.adamw_weight`."""

    beta1: float
    beta2: float
    step_size: float
    square_correction: float
    epsilon: float
    decay: float
    weight_clamp: float


@compiled
def adamw_sweep(W: Array, gradient: Array, mean: Array, square: Array, scale: float, c: StepConstants) -> None:
    """One AdamW step on flat arrays, in place: scale the gradient, average, step, clamp to +- weight_clamp."""
    for i in range(len(W)):
        scaled = gradient[i] * scale
        mean[i] = terms.moving_average(mean[i], scaled, c.beta1)
        square[i] = terms.moving_average(square[i], scaled * scaled, c.beta2)
        stepped = terms.adamw_weight(W[i], mean[i], square[i], c.step_size, c.square_correction, c.epsilon, c.decay)
        W[i] = min(max(stepped, -c.weight_clamp), c.weight_clamp)


def gradient_norm(gradients: Sequence[Array]) -> float:
    """Euclidean norm of all gradients together, accumulated in the arrays' precision, array by array."""
    flat = (gradient.ravel(order="K") for gradient in gradients)
    with np.errstate(over="ignore", invalid="ignore"):  # the caller looks at what comes out
        return math.sqrt(sum(float(np.dot(row, row)) for row in flat))


def _check_updatable(name: str, W: Any) -> None:
    """Raise unless W is an array that the compiled loop can update in place."""
    if type(W) is not np.ndarray:
        raise TypeError(f"{name} must be an array, got {type(W).__name__}")
    if W.dtype.char not in "fd" or not W.dtype.isnative:
        raise TypeError(f"{name} must hold native float32 or float64 numbers, got dtype {W.dtype.str}")
    if not W.flags.writeable:
        raise ValueError(f"{name} must be writeable, got a read-only array")
    if not (W.flags.c_contiguous or W.flags.f_contiguous):
        raise ValueError(f"{name} must be a contiguous array, got strides {W.strides}")


def _check_gradient(name: str, gradient: Any, W: Array, source: str) -> None:
    """Raise unless a gradient is an array of the weights' shape and dtype."""
    if type(gradient) is not np.ndarray:
        raise TypeError(f"{name} must be an array, got {type(gradient).__name__}")
    checks.same_shape(name, gradient, W.shape, source)
    if gradient.dtype != W.dtype:
        raise TypeError(f"{name} must be {W.dtype} as {source}, got dtype {gradient.dtype.str}")

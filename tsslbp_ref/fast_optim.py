"""The optimiser's step on flat arrays, compiled."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy.typing as npt

from tsslbp_ref.compilation import compiled
from tsslbp_ref.fast_terms import terms
from tsslbp_ref.fast_together import Place, begin, end

Array = npt.NDArray[Any]
FlatLayer = tuple[Array, Array, Array, Array]  # W, gradient, mean and square


class StepConstants(NamedTuple):
    """What a step multiplies by, in the arrays' dtype.

    Parameters
    ----------
    beta1, beta2, epsilon, weight_clamp : float
        Of `optim.AdamW`.
    step_size : float
        The learning rate over 1 - beta1^n.
    square_correction : float
        1 / sqrt(1 - beta2^n).
    decay : float
        1 - learning rate times weight decay.
    gradient_scale : float
        What clips the gradients' norm.
    """

    beta1: float
    beta2: float
    step_size: float
    square_correction: float
    epsilon: float
    decay: float
    gradient_scale: float
    weight_clamp: float


@compiled
def adamw_step(place: Place, layers: tuple[FlatLayer, ...], c: StepConstants) -> bool:
    """One AdamW step on a thread's part of every layer: W, gradient, mean and square, flat, of one dtype."""
    begin(place)
    for layer in range(len(layers)):
        W, gradient, mean, square = layers[layer]
        adamw_sweep(W, gradient, mean, square, c)
    return end(place)


@compiled
def adamw_sweep(W: Array, gradient: Array, mean: Array, square: Array, c: StepConstants) -> None:
    """One AdamW step on flat arrays, in place: scale the gradient, average, step, clamp to +- weight_clamp."""
    for i in range(len(W)):
        scaled = gradient[i] * c.gradient_scale
        mean[i] = terms.moving_average(mean[i], scaled, c.beta1)
        square[i] = terms.moving_average(square[i], scaled * scaled, c.beta2)
        stepped = terms.adamw_weight(W[i], mean[i], square[i], c.step_size, c.square_correction, c.epsilon, c.decay)
        W[i] = min(max(stepped, -c.weight_clamp), c.weight_clamp)

"""The optimiser's step on flat arrays, compiled."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine.fast_terms import terms
from tsslbp_ref.engine.fast_together import Place, begin, end, part
from tsslbp_ref.jit import compiled

Array = npt.NDArray[Any]
FlatLayer = tuple[Array, Array, Array, Array]  # W, gradient, mean and square

NORM_EPSILON = 1e-6  # PyTorch's clip_grad_norm_ adds it to the norm it divides by


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
    """

    beta1: float
    beta2: float
    step_size: float
    square_correction: float
    epsilon: float
    decay: float
    weight_clamp: float


class Update(NamedTuple):
    """A step of the optimiser that a loop makes which makes the gradients, too.

    Parameters
    ----------
    wanted : bool
        Whether it is to be made.
    layers : tuple of FlatLayer
    constants : StepConstants
    clip_norm : float
        Of `optim.AdamW`.
    """

    wanted: bool
    layers: tuple[FlatLayer, ...]
    constants: StepConstants
    clip_norm: float


@compiled
def gradient_scale(norm: float, clip_norm: float) -> float:
    """What gradients of a norm are multiplied by, so that it is clip_norm at most."""
    return min(1.0, clip_norm / (norm + NORM_EPSILON))


@compiled
def update_part(update: Update, thread: int, n_threads: int) -> bool:
    """A thread's part of a step in every layer; False, and nothing is changed, where the gradients' norm is not finite.

    The norm is that of `optim.gradient_norm`, which no compiled loop can call. Every thread works it out by itself,
    which takes as long as it would have to wait for it.
    """
    squares = 0.0
    for layer in range(len(update.layers)):
        gradient = update.layers[layer][1]
        squares += np.dot(gradient, gradient)
    norm = math.sqrt(squares)
    if not math.isfinite(norm):
        return False
    adamw_part(update.layers, gradient_scale(norm, update.clip_norm), update.constants, thread, n_threads)
    return True


@compiled
def adamw_step(place: Place, layers: tuple[FlatLayer, ...], scale: float, c: StepConstants) -> bool:
    """One AdamW step: W, gradient, mean and square of every layer, flat, of one dtype, each thread its part of them."""
    begin(place)
    adamw_part(layers, scale, c, place.thread, place.n_threads)
    return end(place)


@compiled
def adamw_part(layers: tuple[FlatLayer, ...], scale: float, c: StepConstants, thread: int, n_threads: int) -> None:
    """A thread's part of every layer: behind `fast_step.gather`, the weights whose gradient it has made itself."""
    for layer in range(len(layers)):
        W, gradient, mean, square = layers[layer]
        own = part(len(W), thread, n_threads)
        adamw_sweep(W[own], gradient[own], mean[own], square[own], W.dtype.type(scale), c)


@compiled
def adamw_sweep(W: Array, gradient: Array, mean: Array, square: Array, scale: float, c: StepConstants) -> None:
    """One AdamW step on flat arrays, in place: scale the gradient, average, step, clamp to +- weight_clamp."""
    for i in range(len(W)):
        scaled = gradient[i] * scale
        mean[i] = terms.moving_average(mean[i], scaled, c.beta1)
        square[i] = terms.moving_average(square[i], scaled * scaled, c.beta2)
        stepped = terms.adamw_weight(W[i], mean[i], square[i], c.step_size, c.square_correction, c.epsilon, c.decay)
        W[i] = min(max(stepped, -c.weight_clamp), c.weight_clamp)

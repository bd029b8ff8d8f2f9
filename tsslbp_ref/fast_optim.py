"""The optimiser's step on flat arrays, compiled."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from tsslbp_ref.compilation import compiled
from tsslbp_ref.fast_terms import terms


@compiled
def adamw_sweep(
    W: npt.NDArray[Any],
    gradient: npt.NDArray[Any],
    mean: npt.NDArray[Any],
    square: npt.NDArray[Any],
    beta1: float,
    beta2: float,
    step_size: float,
    square_correction: float,
    epsilon: float,
    decay: float,
    gradient_scale: float,
    weight_clamp: float,
) -> None:
    """One AdamW step on flat arrays, in place: scale the gradient, average, step, clamp to +- weight_clamp."""
    for i in range(len(W)):
        scaled = gradient[i] * gradient_scale
        mean[i] = terms.moving_average(mean[i], scaled, beta1)
        square[i] = terms.moving_average(square[i], scaled * scaled, beta2)
        stepped = terms.adamw_weight(W[i], mean[i], square[i], step_size, square_correction, epsilon, decay)
        W[i] = min(max(stepped, -weight_clamp), weight_clamp)

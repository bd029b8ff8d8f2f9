"""Rows for each linear map by finite differences: L = 1/2 |A x|^2, differenced in every entry of x and of W.

With delta = A x these are B1 and B3: dL/dx = A^T delta and dL/dW = delta x^T. L is quadratic in either, so a central
difference is exact but for rounding. `adjoint_checks` asks the same of larger maps, by random dot products.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tsslbp_ref.gradcheck.finite_differences import Array, gradient, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.model import layers
from tsslbp_ref.model.layers import Layer, WeightedLayer

TOLERANCE = 1e-12
STEP = 1.0
LEADING = (2, 2)  # steps and samples before a map's own axes

WEIGHTED: dict[str, tuple[WeightedLayer, ...]] = {
    "dense": (layers.Dense((5,), 3), layers.Dense((1, 2, 3), 2)),
    "conv": tuple(layers.Conv2d((2, 3, 4), 2, size, padding) for size, padding in ((3, 0), (3, 1), (2, 1))),
}
PLAIN: dict[str, tuple[Layer, ...]] = {
    "pool": (layers.SumPool2d((2, 4, 4), 2), layers.SumPool2d((1, 5, 3), 2), layers.SumPool2d((1, 4, 3), 3, 1.0)),
    "dropout": (layers.Dropout((2, 3, 3), 0.4, "unit"), layers.Dropout((2, 3, 3), 0.4, "row")),
}


def all_checks() -> list[Check]:
    """One row a map by its input, and one by its weights if it has any."""
    rows = []
    for name, family in WEIGHTED.items():
        where = f"layers.{type(family[0]).__name__}"
        by_weight = partial(_over_family, _by_weight, family)
        rows.append(_row(f"{name}-by-weight", "dL/dW = delta a^T (B1)", f"{where}.weight_gradient", by_weight))
        rows.append(_row(f"{name}-by-psc", "dL/da = W^T delta (B3)", f"{where}.adjoint", _by_input_of(family)))
    for name, maps in PLAIN.items():
        where = f"layers.{type(maps[0]).__name__}.adjoint"
        rows.append(_row(f"{name}-by-psc", "dL/da = A^T delta", where, _by_input_of(maps)))
    return rows


def _row(name: str, equation: str, where: str, measure: Callable[[], float]) -> Check:
    return Check(f"layer-{name}", f"{equation} (L = |A a|^2 / 2, every entry differenced)", where, TOLERANCE, measure)


def _over_family(measure: Callable[[WeightedLayer], float], family: tuple[WeightedLayer, ...]) -> float:
    return largest(measure(layer) for layer in family)


def _by_input_of(family: tuple[Layer, ...]) -> Callable[[], float]:
    return lambda: largest(_by_input(layer) for layer in family)


def _input(layer: Layer) -> Array:
    return np.random.default_rng(61).normal(size=(*LEADING, *layer.input_shape))


def _parameter(layer: Layer) -> Array | None:
    """Weights, a dropout mask that has zeros, or nothing."""
    rng = np.random.default_rng(62)
    if isinstance(layer, layers.Dropout):
        return layer.draw_mask(LEADING[1], rng, np.float64)
    return None if layer.weight_shape is None else rng.normal(size=layer.weight_shape)


def _loss(layer: Layer, parameter: Array | None, x: Array) -> float:
    y = layer.forward(x, parameter)
    return 0.5 * float(np.vdot(y, y))


def _by_input(layer: Layer) -> float:
    x, parameter = _input(layer), _parameter(layer)
    found = layer.adjoint(layer.forward(x, parameter), parameter)
    return relative_error(found, gradient(partial(_loss, layer, parameter), x, STEP))


def _by_weight(layer: WeightedLayer) -> float:
    x, W = _input(layer), _parameter(layer)
    assert W is not None
    found = layer.weight_gradient(layer.forward(x, W), x)
    return relative_error(found, gradient(lambda moved: _loss(layer, moved, x), W, STEP))

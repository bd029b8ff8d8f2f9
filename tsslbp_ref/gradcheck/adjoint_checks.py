"""Rows for the adjoint of each linear map: <A x, y> = <x, A^T y> for random x and y."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tsslbp_ref.gradcheck.finite_differences import Array, largest
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.sweep_checks import CONVOLUTIONS
from tsslbp_ref.model import layers, sweeps
from tsslbp_ref.model.layers import Layer, WeightedLayer
from tsslbp_ref.model.parameters import NeuronParameters

TOLERANCE = 1e-13
N_DRAWS = 5  # pairs (x, y); one pair can agree by chance, five do not
LEADING = (3, 2)  # steps and samples before a map's own axes
NEURON = NeuronParameters(5.0, 3.0, 1.0)

LinearMap = Callable[[Array], Array]

WEIGHTED: dict[str, tuple[WeightedLayer, ...]] = {
    "dense": (layers.Dense((6,), 4), layers.Dense((2, 3, 2), 5)),
    "conv": CONVOLUTIONS,
}
POOLS = {
    "pool": layers.SumPool2d((2, 6, 4), 2),
    "pool-odd": layers.SumPool2d((2, 7, 5), 2),
    "pool-gain-1": layers.SumPool2d((2, 6, 7), 3, 1.0),
}
DROPOUTS = {
    "dropout-unit": layers.Dropout((2, 4, 3), 0.4, "unit"),
    "dropout-row": layers.Dropout((2, 4, 3), 0.4, "row"),
}


def all_checks() -> list[Check]:
    """One row a map; weighted maps have one for x and one for W."""
    rows = []
    for name, family in WEIGHTED.items():
        where = f"layers.{type(family[0]).__name__}"
        rows.append(_row(name, "<W a, d> = <a, W^T d>", f"{where}.adjoint", partial(_input_side, family)))
        rows.append(
            _row(f"{name}-weights", "<W a, d> = <W, d a^T>", f"{where}.weight_gradient", partial(_weight_side, family))
        )
    for name, pool in POOLS.items():
        rows.append(_row(name, "<A x, y> = <x, A^T y>", "layers.SumPool2d.adjoint", partial(_plain, pool)))
    for name, dropout in DROPOUTS.items():
        rows.append(_row(name, "<m x, y> = <x, m y>", "layers.Dropout.adjoint", partial(_dropout, dropout)))
    rows.append(_row("psc-filter", "<eps * s, g> = <s, G>", "sweeps.psc_filter_adjoint", _psc_filter))
    return rows


def _row(name: str, equation: str, where: str, measure: Callable[[], float]) -> Check:
    return Check(f"adjoint-{name}", f"{equation} (dot-product test)", where, TOLERANCE, measure)


def dot_product_error(forward: LinearMap, adjoint: LinearMap, x_shape: tuple[int, ...]) -> float:
    """max over draws of |<A x, y> - <x, A^T y>| / (|A x| |y|)."""
    rng = np.random.default_rng(51)
    errors = []
    for _ in range(N_DRAWS):
        x = rng.normal(size=x_shape)
        Ax = forward(x)
        y = rng.normal(size=Ax.shape)
        size = float(np.linalg.norm(Ax.ravel()) * np.linalg.norm(y.ravel()))
        errors.append(abs(float(np.vdot(Ax, y)) - float(np.vdot(x, adjoint(y)))) / size)
    return largest(errors)


def _input_side(family: tuple[WeightedLayer, ...]) -> float:
    return largest(_layer(layer, _weights(layer)) for layer in family)


def _plain(layer: Layer) -> float:
    return _layer(layer, None)


def _dropout(layer: layers.Dropout) -> float:
    mask = layer.draw_mask(LEADING[1], np.random.default_rng(52), np.float64)
    return _layer(layer, mask)


def _layer(layer: Layer, parameter: Array | None) -> float:
    return dot_product_error(
        lambda x: layer.forward(x, parameter),
        lambda y: layer.adjoint(y, parameter),
        (*LEADING, *layer.input_shape),
    )


def _weights(layer: WeightedLayer) -> Array:
    assert layer.weight_shape is not None
    return np.random.default_rng(53).normal(size=layer.weight_shape)


def _weight_side(family: tuple[WeightedLayer, ...]) -> float:
    """At a fixed input a, the map W -> W a is linear too, and the weight gradient is its adjoint."""
    errors = []
    for layer in family:
        a = np.random.default_rng(54).normal(size=(*LEADING, *layer.input_shape))
        forward = partial(layer.forward, a)
        adjoint = partial(_swapped_weight_gradient, layer, a)
        errors.append(dot_product_error(forward, adjoint, _weights(layer).shape))
    return largest(errors)


def _swapped_weight_gradient(layer: WeightedLayer, a: Array, delta: Array) -> Array:
    return layer.weight_gradient(delta, a)


def _psc_filter() -> float:
    return dot_product_error(
        lambda s: sweeps.psc_filter(s, NEURON), lambda g: sweeps.psc_filter_adjoint(g, NEURON), (9, *LEADING)
    )

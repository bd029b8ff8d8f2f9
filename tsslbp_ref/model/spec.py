"""A network's name in the paper, "15C5-P2-40C5-P2-300", read into layers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model.layers import (
    DROPOUT_FORMS,
    POOL_GAIN,
    Conv2d,
    Dense,
    Dropout,
    Layer,
    Shape,
    SumPool2d,
    WeightedLayer,
)

Array = npt.NDArray[Any]

CONV_INITS = ("uniform", "he-normal")

_CONV = re.compile(r"([1-9][0-9]*)C([1-9][0-9]*)")
_POOL = re.compile(r"P([1-9][0-9]*)")
_DENSE = re.compile(r"[1-9][0-9]*")
_BEGINNING = re.compile(r"(?:[1-9][0-9]*(?:C(?:[1-9][0-9]*)?)?|P(?:[1-9][0-9]*)?)?")  # of any of the three


def layers_from_spec(
    spec: str,
    input_shape: Sequence[int],
    n_classes: int,
    *,
    padding: int | Sequence[int] = 0,
    dropout: float = 0.0,
    dropout_form: str = "unit",
    pool_gain: float = POOL_GAIN,
) -> list[Layer]:
    """Read a spec into layers; the output layer of `n_classes` neurons, which the spec does not name, comes last.

    Parameters
    ----------
    spec : str
        Parts joined by "-": "15C5" is 15 filters 5x5, "P2" 2x2 sum pooling, "300" a fully connected layer. "" is the
        output layer alone.
    input_shape : sequence of int
        Shape of one sample at one step, (C, H, W) where the spec has a convolution or a pool.
    n_classes : int
    padding : int or sequence of int
        Of every convolution, or one a convolution.
    dropout : float
        Rate of one dropout a hidden layer of neurons, behind the pooling that follows it, if any; 0 adds none.
    dropout_form : {"unit", "row"}
        See `Dropout`.
    pool_gain : float
        Factor of the sum pooling.

    Returns
    -------
    list of Layer

    Raises
    ------
    ValueError, TypeError
        If a part cannot be read (the error points at the first character that fits no part) or does not fit the
        shape before it, or an argument is out of range.

    Examples
    --------
    >>> [layer.output_shape for layer in layers_from_spec("4C3-P2-20", (1, 8, 8), n_classes=10)]
    [(4, 6, 6), (4, 3, 3), (20,), (10,)]
    """
    if not isinstance(spec, str):
        raise TypeError(f"spec must be a string such as '15C5-P2-300', got {checks.shown(spec)}")
    parts = _parts(spec)
    shape = _input_shape(input_shape)
    rate = checks.real_number("dropout", dropout, minimum=0.0)
    if rate >= 1.0:
        raise ValueError(f"dropout must be below 1, got {rate:g}")
    checks.one_of("dropout_form", dropout_form, DROPOUT_FORMS)
    pool_gain = checks.real_number("pool_gain", pool_gain, above=0.0)
    paddings = iter(_paddings(padding, parts))
    layers: list[Layer] = []
    for part, where in parts:
        layers.append(_layer(part, shape, paddings, pool_gain, spec, where))
        shape = layers[-1].output_shape
    layers.append(Dense(shape, checks.axis_size("n_classes", n_classes)))
    return _with_dropout(layers, rate, dropout_form) if rate > 0.0 else layers


def _with_dropout(layers: Sequence[Layer], rate: float, form: str) -> list[Layer]:
    """Dropout before each layer of neurons but the first: behind pooling, as the released code has it for CIFAR-10."""
    found: list[Layer] = []
    for layer in layers:
        if layer.weight_shape is not None and any(below.weight_shape is not None for below in found):
            found.append(Dropout(layer.input_shape, rate, form))
        found.append(layer)
    return found


def _parts(spec: str) -> list[tuple[str, int]]:
    """Split a spec into its parts, each with the index of its first character; all of them can be read."""
    parts = []
    where = 0
    for part in spec.split("-") if spec else []:
        if not any(kind.fullmatch(part) for kind in (_CONV, _POOL, _DENSE)):
            match = _BEGINNING.match(part)
            assert match is not None  # it matches the empty text too
            raise ValueError(
                _pointing(
                    f"cannot read {checks.shown(part)}: a part is like 15C5, P2 or 300", spec, where + match.end()
                )
            )
        for number in re.findall("[0-9]+", part):
            if len(number) > len(str(checks.LARGEST_SIZE)) or int(number) > checks.LARGEST_SIZE:
                wrong = f"a number must be at most {checks.LARGEST_SIZE}, got {checks.shortened(number)}"
                raise ValueError(_pointing(wrong, spec, where + part.index(number)))
        parts.append((part, where))
        where += len(part) + 1
    return parts


def _input_shape(input_shape: Sequence[int]) -> Shape:
    try:
        sizes = checks.listed("input_shape", input_shape)
    except TypeError as error:
        message = f"input_shape must be a sequence of integers such as (1, 28, 28), got {checks.shown(input_shape)}"
        raise TypeError(message) from error
    return tuple(checks.axis_size("input_shape", size) for size in sizes)


def _paddings(padding: int | Sequence[int], parts: list[tuple[str, int]]) -> list[int]:
    """One padding a convolution."""
    n_convolutions = sum(_CONV.fullmatch(part) is not None for part, _ in parts)
    if isinstance(padding, Sequence) and not isinstance(padding, (str, bytes, bytearray, memoryview)):
        if len(padding) != n_convolutions:
            raise ValueError(
                f"padding must have one entry a convolution, {n_convolutions}, got {checks.shown(list(padding))}"
            )
        return [checks.axis_size("padding", p, minimum=0) for p in padding]
    return [checks.axis_size("padding", padding, minimum=0)] * n_convolutions


def _layer(part: str, shape: Shape, paddings: object, pool_gain: float, spec: str, where: int) -> Layer:
    """Build the layer of one readable part of the spec, which starts at character `where`."""
    conv, pool = _CONV.fullmatch(part), _POOL.fullmatch(part)
    if (conv or pool) and len(shape) != 3:
        wrong = f"{checks.shown(part)} needs an input of shape (C, H, W), got {checks.shown(shape)}"
        raise ValueError(_pointing(wrong, spec, where))
    try:
        if conv is not None:
            return Conv2d(shape, int(conv[1]), int(conv[2]), next(paddings))  # type: ignore[call-overload]
        layer: Layer = Dense(shape, int(part)) if pool is None else SumPool2d(shape, int(pool[1]), pool_gain)
    except ValueError as error:
        raise ValueError(_pointing(f"{checks.shown(part)}: {error}", spec, where)) from error
    if min(layer.output_shape) < 1:
        raise ValueError(_pointing(f"{checks.shown(part)} leaves nothing of an input of shape {shape}", spec, where))
    return layer


def _pointing(message: str, spec: str, where: int) -> str:
    return f"spec {checks.shown(spec)}, character {where + 1}: {message}"


def weighted(layers: Sequence[Layer]) -> list[WeightedLayer]:
    """The layers that have weights, and so neurons.

    Examples
    --------
    >>> [type(layer).__name__ for layer in weighted(layers_from_spec("4C3-P2-20", (1, 8, 8), 10))]
    ['Conv2d', 'Dense', 'Dense']
    """
    return [cast(WeightedLayer, layer) for layer in layers if layer.weight_shape is not None]


def initial_weights(
    layer: WeightedLayer, rng: np.random.Generator, scale: float, *, conv_init: str = "uniform"
) -> Array:
    """Initial weights as in the authors' code, in float64.

    Fully connected: normal with std sqrt(2 / fan_in). Convolution: "uniform" in +- 1 / sqrt(fan_in), as from
    commit 8d6913d (2 October 2020) on, or "he-normal", as for fully connected layers, before. All times scale.

    Parameters
    ----------
    layer : WeightedLayer
    rng : numpy.random.Generator
    scale : float
    conv_init : {"uniform", "he-normal"}

    Returns
    -------
    array
        Of the layer's `weight_shape`.

    Raises
    ------
    ValueError, TypeError
        If conv_init is unknown, or rng is not of its kind.

    Examples
    --------
    >>> from tsslbp_ref.model.layers import Dense
    >>> initial_weights(Dense((4,), 3), np.random.default_rng(0), scale=1.0).shape
    (3, 4)
    """
    checks.one_of("conv_init", conv_init, CONV_INITS)
    checks.instance_of("rng", rng, np.random.Generator)
    shape = cast("tuple[int, ...]", layer.weight_shape)
    if isinstance(layer, Conv2d) and conv_init == "uniform":
        bound = 1.0 / math.sqrt(layer.fan_in)
        return scale * rng.uniform(-bound, bound, shape)
    return np.asfortranarray(scale * rng.normal(0.0, math.sqrt(2.0 / layer.fan_in), shape))


def initial_network_weights(
    layers: Sequence[Layer], seed: int, weight_scale: float | tuple[float, float], *, conv_init: str = "uniform"
) -> list[Array]:
    """Initial weights of all layers that have some, drawn in order from one seed.

    Parameters
    ----------
    layers : sequence of Layer
    seed : int
    weight_scale : float or (float, float)
        Factor of all, or one for convolutions and one for fully connected layers.
    conv_init : {"uniform", "he-normal"}
        Of convolutions, see `initial_weights`.

    Returns
    -------
    list of array

    Raises
    ------
    ValueError, TypeError
        If seed, weight_scale or conv_init is out of range.

    Examples
    --------
    >>> layers = layers_from_spec("4C3-P2-20", (1, 8, 8), 10)
    >>> [W.shape for W in initial_network_weights(layers, seed=0, weight_scale=(5.0, 1.0))]
    [(4, 1, 3, 3), (20, 36), (10, 20)]
    """
    rng = np.random.default_rng(checks.positive_integer("seed", seed, minimum=0))
    conv, dense = checks.number_or_pair("weight_scale", weight_scale, above=0.0)
    scales = (conv if isinstance(layer, Conv2d) else dense for layer in weighted(layers))
    return [
        initial_weights(layer, rng, scale, conv_init=conv_init)
        for layer, scale in zip(weighted(layers), scales, strict=True)
    ]

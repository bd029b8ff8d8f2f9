"""A network as a file: its weights as arrays, all else as JSON, in an .npz file without pickle.

The JSON says what is there before anything is read: each layer with its sizes, the constants of neurons and rule, the
dtype, and a version of the format. A run's checkpoints hold the same beside the state of the optimiser. Whatever a file
says is checked as if a user had typed it, by the classes that it is made into.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from tsslbp_ref import checkpoints, checks
from tsslbp_ref.files import CheckpointError, as_path
from tsslbp_ref.model.arguments import fitting_layers
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, Layer, SumPool2d
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

if TYPE_CHECKING:
    from tsslbp_ref.model.network import Network

FORMAT = 1
NETWORK = "network"  # what a checkpoint's dictionary calls the description
BEST = "checkpoint-best.npz"  # what a run's folder calls its best epoch
KINDS = {kind.__name__: kind for kind in (Dense, Conv2d, SumPool2d, Dropout)}
LATER_OF_RULE = {"surrogate_weight": 0.0}  # fields of a rule that files of the first versions lack
ARRAYS_A_WEIGHT = 3  # a run's checkpoint has the optimiser's two averages of each
SPARE_BYTES = 2 * checkpoints.MOST_META_BYTES  # beside the arrays

Made = TypeVar("Made")


def description(network: Network) -> dict[str, Any]:
    """All that makes a network but its weights, JSON-able; an input_tau_s that is the first layer's tau_s is None.

    Raises
    ------
    TypeError
        If a layer is none of `KINDS`.
    """
    neuron, input_tau_s = network.neuron, network.input_tau_s
    return {
        "format": FORMAT,
        "layers": [_layer_fields(i, layer) for i, layer in enumerate(network.layers)],
        "n_steps": network.n_steps,
        "neuron": dataclasses.asdict(neuron)
        if isinstance(neuron, NeuronParameters)
        else [dataclasses.asdict(one) for one in neuron],
        "input_tau_s": None if input_tau_s == network.neurons[0].tau_s else input_tau_s,
        "rule": dataclasses.asdict(network.rule),
        "dtype": network.dtype.name,
    }


def _layer_fields(index: int, layer: Layer) -> dict[str, Any]:
    kind = type(layer).__name__
    if KINDS.get(kind) is not type(layer):
        raise TypeError(f"layers[{index}] must be one of {', '.join(KINDS)} to be saved, got {kind}")
    return {"kind": kind, **dataclasses.asdict(layer)}


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Save a network; see `Network.save`."""
    weights = {f"weight{i}": W for i, W in enumerate(network.weights)}
    checkpoints.save(as_path("path", path), weights, {NETWORK: description(network)})


def load(path: str | os.PathLike[str], make: Callable[..., Made]) -> Made:
    """Make a network of a file, or of the best epoch in a run's folder; see `Network.load`."""
    path = as_path("path", path)
    if path.is_dir():
        path /= BEST
    promised = _arguments(checkpoints.load_meta(path), path)
    n_weights = sum(math.prod(shape) for shape in _shapes(promised["layers"]))
    most_bytes = ARRAYS_A_WEIGHT * n_weights * promised["dtype"].itemsize + SPARE_BYTES
    arrays, meta = checkpoints.load(path, most_bytes)
    arguments = _arguments(meta, path)  # the sha256 of this text is right
    try:
        return make(weights=_weights(arrays, arguments), **arguments)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds no sound network: {error}") from error


def _arguments(meta: dict[str, Any], path: Path) -> dict[str, Any]:
    """What a checkpoint's dictionary says of a network, as arguments of `Network`; the weights are still missing."""
    if NETWORK not in meta:
        raise CheckpointError(
            f"{path} describes no network: it was written before version 0.2.0, or is of continuous time"
        )
    try:
        return _made_arguments(meta[NETWORK])
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} holds no sound network: {error}") from error


def _made_arguments(found: Any) -> dict[str, Any]:
    version = checks.instance_of("network", found, dict).get("format")
    if checks.positive_integer("format", version) > FORMAT:
        raise ValueError(f"a newer version wrote it, in format {version}; this one reads formats up to {FORMAT}")
    _check_keys("network", found, {"format", "layers", "n_steps", "neuron", "input_tau_s", "rule", "dtype"})
    neuron = found["neuron"]
    return {
        "layers": fitting_layers([_layer(f"layers[{i}]", each) for i, each in enumerate(_list("layers", found))]),
        "n_steps": found["n_steps"],
        "neuron": _made("neuron", neuron, NeuronParameters)
        if isinstance(neuron, dict)
        else [_made(f"neuron[{i}]", each, NeuronParameters) for i, each in enumerate(_list("neuron", found))],
        "input_tau_s": found["input_tau_s"],
        "rule": _made("rule", LATER_OF_RULE | checks.instance_of("rule", found["rule"], dict), GradientRule),
        "dtype": checks.float_dtype("dtype", found["dtype"]),
    }


def _list(name: str, found: dict[str, Any]) -> list[Any]:
    return checks.instance_of(name, found[name], list)


def _layer(name: str, fields: Any) -> Layer:
    fields = dict(checks.instance_of(name, fields, dict))
    kind = checks.one_of(f"kind of {name}", fields.pop("kind", None), KINDS)
    return cast(Layer, _made(name, fields, KINDS[kind]))


def _made(name: str, fields: Any, kind: type[Made]) -> Made:
    """A dataclass of all its fields, which it checks."""
    _check_keys(name, fields, {field.name for field in dataclasses.fields(kind)})  # type: ignore[arg-type]
    return kind(**fields)


def _check_keys(name: str, fields: Any, wanted: set[str]) -> None:
    found = set(checks.instance_of(name, fields, dict))
    if found != wanted:
        raise ValueError(f"{name} must have the keys {', '.join(sorted(wanted))}, got {checks.shown(sorted(found))}")


def _shapes(layers: list[Layer]) -> list[tuple[int, ...]]:
    return [shape for layer in layers if (shape := layer.weight_shape) is not None]


def _weights(arrays: dict[str, Any], arguments: dict[str, Any]) -> list[np.ndarray]:
    """The weights among the arrays, each in memory of its own."""
    weights = []
    for i, shape in enumerate(_shapes(arguments["layers"])):
        W, name = arrays.get(f"weight{i}"), f"weight{i}"
        if W is None:
            raise ValueError(f"it lacks {name}")
        checks.same_shape(name, W, shape, "its layer")
        if W.dtype != arguments["dtype"]:
            raise TypeError(f"{name} must be {arguments['dtype']}, got {W.dtype}")
        weights.append(W.copy(order="K"))
    return weights

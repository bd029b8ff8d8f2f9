"""Weights to and from another library's network: a dictionary of arrays by name, as a torch ``state_dict`` is.

Nothing here imports that library. Arrays are whatever NumPy takes, or has ``.detach().cpu().numpy()``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model.network import Network

Array = npt.NDArray[Any]
WEIGHT = "weight"  # ends a name, alone or behind a dot


def to_state_dict(net: Network, like: Mapping[str, Any], names: Sequence[str] | None = None) -> dict[str, Any]:
    """The network's weights by name, each of the kind, dtype and device of the entry that it stands for.

    Parameters
    ----------
    net : Network
    like : mapping
        The other network's ``state_dict()``.
    names : sequence of str, optional
        One a layer that has weights, in order; if not given, the names of `like` that end with "weight", in its order.

    Returns
    -------
    dict
        All entries of `like`, those of the names replaced. ``module.load_state_dict`` takes it.

    Raises
    ------
    ValueError, TypeError
        If the names are not one a layer, one of them is not in `like`, a shape is another, an entry's dtype is no float
        or too narrow for a weight, or, where no names are given, `like` has an entry for which the network has no
        place, such as a bias that is not 0.

    Examples
    --------
    >>> net = Network.from_spec("5", (4,), n_classes=3, n_steps=5)
    >>> theirs = {"hidden.weight": np.zeros((5, 4)), "out.weight": np.zeros((3, 5), "float16")}
    >>> [(name, W.shape, W.dtype.name) for name, W in to_state_dict(net, theirs).items()]
    [('hidden.weight', (5, 4), 'float64'), ('out.weight', (3, 5), 'float16')]
    """
    checks.instance_of("net", net, Network)
    found = dict(checks.instance_of("like", like, Mapping))  # type: ignore[type-abstract]
    for name, W, shape in zip(_names(net, found, names), net.weights, net.weight_shapes, strict=True):
        theirs = as_array(name, found[name])
        _checked(name, theirs, shape)
        if theirs.dtype.kind != "f":
            raise TypeError(f"{name} must hold floats, got dtype {theirs.dtype}: weights would lose their fractions")
        ours = checks.converted(_checked(name, np.asarray(W), shape), theirs.dtype)
        checks.finite_result(f"a weight is not finite in {theirs.dtype}", name, ours)
        found[name] = _of_kind(found[name], ours.reshape(theirs.shape))
    return found


def from_state_dict(net: Network, state: Mapping[str, Any], names: Sequence[str] | None = None) -> None:
    """Give the network the weights of a ``state_dict``; if one does not fit, no weight is changed.

    Parameters
    ----------
    net : Network
    state : mapping
        Arrays or tensors by name. A convolution's may have a last axis of 1, as a convolution in space and time has.
    names : sequence of str, optional
        As for `to_state_dict`.

    Raises
    ------
    ValueError, TypeError
        As `to_state_dict` does, and if a weight is not finite in the network's dtype.

    Examples
    --------
    >>> net = Network.from_spec("5", (4,), n_classes=3, n_steps=5)
    >>> from_state_dict(net, {"hidden.weight": np.ones((5, 4)), "out.weight": np.ones((3, 5))})
    >>> net.weights[1][0]
    array([1., 1., 1., 1., 1.], dtype=float32)
    """
    checks.instance_of("net", net, Network)
    entries = checks.instance_of("state", state, Mapping)  # type: ignore[type-abstract]
    weights = [
        np.array(_checked(name, checks.finite_array(name, as_array(name, entries[name]), dtype=net.dtype), shape))
        for name, shape in zip(_names(net, entries, names), net.weight_shapes, strict=True)
    ]
    net.weights = weights


def as_array(name: str, value: Any) -> Array:
    """A tensor, on whatever device and part of whatever graph, or anything else that NumPy takes, as an array."""
    tensor = value.detach() if hasattr(value, "detach") else value
    tensor = tensor.cpu() if hasattr(tensor, "cpu") else tensor
    return checks.real_array(name, tensor.numpy() if hasattr(tensor, "numpy") else tensor)


def _names(net: Network, entries: Mapping[str, Any], names: Sequence[str] | None) -> list[str]:
    """The entries of the weights, one a layer that has weights."""
    chosen = _weight_names(entries) if names is None else checks.listed("names", names)
    for name in chosen:
        if name not in entries:
            checks.one_of("weight", name, list(entries))
    if len(chosen) != len(net.weight_shapes):
        listed = f"{len(chosen)}: {', '.join(map(str, chosen))}" if chosen else "none"
        raise ValueError(f"there must be one weight a layer of neurons, {len(net.weight_shapes)}, got {listed}")
    return chosen


def _weight_names(entries: Mapping[str, Any]) -> list[str]:
    """Names that end with "weight"; any other entry has to be 0, as the network has no biases."""
    for name, value in entries.items():
        if str(name).rpartition(".")[2] != WEIGHT and np.any(as_array(str(name), value)):
            raise ValueError(f"{name} has no place in the network, whose layers have weights only: choose with names=")
    return [name for name in entries if str(name).rpartition(".")[2] == WEIGHT]


def _checked(name: str, array: Array, shape: tuple[int, ...]) -> Array:
    """The array in the shape of a weight, if it has that shape, or that and a last axis of 1."""
    if array.shape != (*shape, 1):
        checks.same_shape(name, array, shape, "its layer")
    return array.reshape(shape)


def _of_kind(value: Any, array: Array) -> Any:
    """The array as a tensor like another, if that is one."""
    return value.new_tensor(array) if hasattr(value, "new_tensor") else array

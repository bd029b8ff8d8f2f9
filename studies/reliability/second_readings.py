"""What a hostile input says, read a second time in another way: plain slices, plain loops, the standard library.

Each function is given an input that the package has taken, and what the package made of it. A disagreement is an
`AssertionError`, and so is an input that the second reading cannot read.
"""

from __future__ import annotations

import copy
import functools
import gzip
import io
import itertools
import json
import math
import os
import pickle
import re
import struct
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np

import tsslbp_ref as tr
from tsslbp_ref.model import reference, reference_network
from tsslbp_ref.model.parameters import rule_by_name
from tsslbp_ref.training.descriptions import Description

Array = np.ndarray[Any, Any]
P = ParamSpec("P")

RECORD, PLANE, SIDE = 3073, 1024, 32  # bytes of a picture with its label, of a colour; pixels
CORNERS = ((0, 0), (Fraction(7, 2), 7), (7, 0), (0, 0))  # of the camera's way, in pixels
SACCADE_US = 105_000
TAR_BLOCK = 512
BATCHES = ("test_batch.bin", "test_batch")  # the version that is preferred first
PICKLED = {("_codecs", "encode"), ("numpy", "ndarray"), ("numpy", "dtype")} | {
    (f"numpy.{core}.{name}", function)
    for core in ("core", "_core")
    for name, function in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
}
ROUNDINGS = 64  # that a number may be off by, of its dtype
LITERAL = 1e-9  # that a sum in another order may be off by, of the largest number


def finding(reading: Callable[P, None]) -> Callable[P, None]:
    """Let whatever goes wrong in a second reading be an AssertionError."""

    @functools.wraps(reading)
    def read(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with np.errstate(all="ignore"):
                reading(*args, **kwargs)
        except Exception as error:
            raise AssertionError(f"{reading.__name__} read again: {type(error).__name__} {error}") from error

    return read


def _equal(found: Any, again: Any) -> None:
    """Raise unless two arrays have the same shape and numbers."""
    found, again = np.asarray(found), np.asarray(again)
    assert found.shape == again.shape, f"shape {found.shape}, read again {again.shape}"
    assert (found == again).all(), f"{(found != again).sum()} other numbers"


def _close(found: Any, again: Any, terms: Any = 0.0) -> None:
    """Raise unless two arrays have the same shape and, but for a share of the largest number or term, the numbers."""
    found, again = np.asarray(found, float), np.asarray(again, float)
    assert found.shape == again.shape, f"shape {found.shape}, read again {again.shape}"
    scale = max(np.abs(again).max(initial=0.0), np.abs(terms).max(), np.finfo(float).tiny)
    off = np.abs(found / scale - again / scale).max(initial=0.0)
    assert off <= LITERAL, f"{off} off"


# ---------------------------------------------------------------------------------------------------------------------
# Data sets
# ---------------------------------------------------------------------------------------------------------------------


@finding
def idx_file(path: Path, found: Array) -> None:
    """Pictures (n, 1, 28, 28) or labels: the bytes behind the header, in the shape that it has."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    shape = struct.unpack_from(f">{content[3]}I", content, 4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    _equal(found, values[:, np.newaxis] if len(shape) == 3 else values)


@finding
def events(content: bytes, found: Array) -> None:
    """The events of a recording, five bytes after the other; one at y = 240 moves the clock by 2^13 us."""
    again, late = [], 0
    for i in range(0, len(content), 5):
        x, y, sign_and_high, middle, low = content[i : i + 5]
        if y == 240:
            late += 8192
        else:
            t = sign_and_high % 128 * 65536 + middle * 256 + low + late
            again.append((x, y, t, sign_and_high // 128))
    assert found[["x", "y", "t", "p"]].tolist() == again


@finding
def stabilised(recorded: Array, found: Array) -> None:
    """Events less the camera's way, in fractions; halves round up."""
    again = []
    for x, y, t, p in recorded.tolist():
        i = min(t // SACCADE_US, 2)
        share = Fraction(t - i * SACCADE_US, SACCADE_US)
        way = (start + (end - start) * share for start, end in zip(CORNERS[i], CORNERS[i + 1], strict=True))
        moved_x, moved_y = (math.floor(at - by + Fraction(1, 2)) for at, by in zip((x, y), way, strict=True))
        if 0 <= moved_x < 34 and 0 <= moved_y < 34:
            again.append((moved_x, moved_y, t, p))
    assert found.tolist() == again


@finding
def binned(recorded: Array, n_steps: int, width: int, found: Array) -> None:
    """1 at (k, p, y, x) where an event has k w <= t < (k + 1) w, else 0."""
    again = {
        (k, p, y, x) for x, y, t, p in recorded.tolist() for k in range(n_steps) if k * width <= t < (k + 1) * width
    }
    assert set(map(tuple, np.argwhere(found == 1).tolist())) == again
    assert found.sum() == len(again)


@finding
def cifar_batch(name: str, content: bytes, pictures: Array, labels: Array) -> None:
    """The test pictures in a file of either version."""
    again = _binary(content) if name == BATCHES[0] else _unpickled(content)
    _equal(pictures, again[0])
    _equal(labels, again[1])


def _binary(content: bytes) -> tuple[Any, Any]:
    """Pictures and labels by plain slices."""
    records = [content[i : i + RECORD] for i in range(0, len(content), RECORD)]
    rows = [range(1 + c * PLANE, 1 + (c + 1) * PLANE, SIDE) for c in range(3)]
    return [[[list(r[i : i + SIDE]) for i in plane] for plane in rows] for r in records], [r[0] for r in records]


class _Arrays(pickle._Unpickler):  # in Python: a memo index of 2^31 takes no memory
    def find_class(self, module: str, name: str) -> Any:
        """Allow NumPy's arrays and Python 3's bytes, and nothing else."""
        if (module, name) not in PICKLED:
            raise pickle.UnpicklingError(f"{module}.{name} is called")
        return super().find_class(module, name)


def _unpickled(content: bytes) -> tuple[Any, Any]:
    """Pictures and labels by Python's own unpickler."""
    found = _Arrays(io.BytesIO(content), encoding="bytes").load()
    entries = {key.decode() if isinstance(key, bytes) else key: value for key, value in found.items()}
    return np.reshape(entries["data"], (-1, 3, SIDE, SIDE)), entries["labels"]


@finding
def cifar_archive(path: Path, pictures: Array, labels: Array) -> None:
    """The test pictures in an archive's member of the right name, walked through from header to header."""
    content, members, at = gzip.decompress(path.read_bytes()), {}, 0
    while content[at : at + TAR_BLOCK].strip(b"\0"):
        name, size = content[at : at + 100].rstrip(b"\0"), int(content[at + 124 : at + 136].strip(b" \0"), 8)
        members[name.decode().rpartition("/")[2]] = content[at + TAR_BLOCK :][:size]
        at += TAR_BLOCK + math.ceil(size / TAR_BLOCK) * TAR_BLOCK
    name = next(name for name in BATCHES if name in members)
    cifar_batch(name, members[name], pictures, labels)


@finding
def array_file(paths: Mapping[str, Path], found: Mapping[str, Array]) -> None:
    """One's own arrays by `np.load`."""
    for name, array in found.items():
        if "file" in paths:
            with zipfile.ZipFile(paths["file"]) as archive:
                content = archive.read(name + ".npy")
        else:
            content = paths[name].read_bytes()
        again = np.load(io.BytesIO(content), allow_pickle=False)
        assert (array.dtype, array.shape, array.tobytes()) == (again.dtype, again.shape, again.tobytes()), name


# ---------------------------------------------------------------------------------------------------------------------
# Files of this project's own
# ---------------------------------------------------------------------------------------------------------------------


def _stands(name: str, said: Any, found: Any) -> None:
    """Raise unless a value is what a file says: numbers by their value, sequences entry by entry."""
    if isinstance(said, list | tuple):
        assert len(said) == len(found), f"{name} is {found}, it says {said}"
        for one, other in zip(said, found, strict=True):
            _stands(name, one, other)
    else:
        number = isinstance(said, int | float) and not isinstance(said, bool)
        again = float(said) if number and isinstance(found, float) else said
        assert type(found) is type(again), f"{name} is {found!r}, it says {said!r}"
        assert found == again, f"{name} is {found!r}, it says {said!r}"


def _fields_stand(table: Mapping[str, Any], holder: Any) -> None:
    for key, said in table.items():
        _stands(key, said, getattr(holder, key))


@finding
def saved_network(path: Path, net: tr.Network) -> None:
    """The weights by `np.load`, and what the JSON beside them says."""
    with np.load(path, allow_pickle=False) as archive:
        said = json.loads(str(archive["meta"]))["network"]
        for i, W in enumerate(net.weights):
            _equal(W, archive[f"weight{i}"])
            assert W.dtype == said["dtype"]
    assert [type(layer).__name__ for layer in net.layers] == [layer.pop("kind") for layer in said["layers"]]
    pairs = [*zip(said["layers"], net.layers, strict=True), (said["rule"], net.rule)]
    neurons = said["neuron"] if isinstance(said["neuron"], list) else [said["neuron"]] * len(net.neurons)
    for table, holder in (*pairs, *zip(neurons, net.neurons, strict=True)):
        _fields_stand(table, holder)
    input_tau_s = neurons[0]["tau_s"] if said["input_tau_s"] is None else said["input_tau_s"]
    _fields_stand({"n_steps": said["n_steps"], "input_tau_s": input_tau_s}, net)


@finding
def description_file(path: Path, described: Description, net: tr.Network) -> None:
    """All that a TOML file or a config.json says, and the shapes of the weights."""
    content = path.read_bytes()
    tables = json.loads(content)["run"] if path.suffix == ".json" else tomllib.loads(content.decode())
    row, network = described.row, tables["network"]
    data, training, rule = (dict(tables.get(name, {})) for name in ("data", "training", "rule"))
    of_run = {"held_out": data.pop("held_out", 0), "seed": training.pop("seed", None)}
    counts = {name: training.pop(name) for name in ("desired_count", "undesired_count") if name in training}
    data = {"dataset" if key == "set" else key: value for key, value in data.items()}
    files = {key: data.pop(key) for key in ("file", "X", "y", "X_test", "y_test") if key in data}
    if "padding" in network and not isinstance(network["padding"], list):
        network["padding"] = [network["padding"]] * len(row.padding)
    if "weight_scale" in network and not isinstance(network["weight_scale"], list):
        network["weight_scale"] = [network["weight_scale"]] * 2
    named = vars(rule_by_name(rule.pop("name", "released")))
    pairs = ((data, row), (network, row), (training, row), (counts, row.loss_settings), (of_run, described))
    for table, holder in (*pairs, (tables.get("neuron", {}), net.neuron), (named | rule, net.rule)):
        _fields_stand(table, holder)
    assert {key: os.path.abspath(path.parent / file) for key, file in files.items()} == (row.arrays or {})
    shapes = weight_shapes(row.spec, row.input_shape, row.n_classes, row.padding or 0)
    assert [W.shape for W in net.weights] == shapes, shapes
    assert (net.n_steps, net.neuron) == (row.n_steps, row.neuron)


@finding
def run_folder(metrics: bytes, found: list[Any], config: bytes, found_config: Any) -> None:
    """The lines that are whole, and the settings, by `json.loads`."""
    again = [json.loads(line) for line in re.split(rb"\r\n|\r|\n", metrics)[: len(found)]]
    assert json.dumps(again) == json.dumps(found)
    rest = re.split(rb"\r\n|\r|\n", metrics)[len(found) :]
    assert len(rest) <= 1, "whole lines are left out"
    assert json.dumps(json.loads(config)) == json.dumps(found_config)


# ---------------------------------------------------------------------------------------------------------------------
# Calls
# ---------------------------------------------------------------------------------------------------------------------


def weight_shapes(spec: str, shape: Any, classes: int, padding: Any) -> list[tuple[int, ...]]:
    """The shapes of all weights, by one regular expression."""
    shape, found = tuple(shape), []
    paddings = iter(padding if isinstance(padding, list | tuple) else itertools.repeat(padding))
    for part in (*filter(None, spec.split("-")), str(int(classes))):
        match = re.fullmatch("(?P<F>[0-9]+)C(?P<k>[0-9]+)|P(?P<pool>[0-9]+)|(?P<n>[0-9]+)", part)
        assert match is not None, part
        F, k, pool, n = (int(match[name] or 0) for name in ("F", "k", "pool", "n"))
        if F:
            found.append((F, shape[0], k, k))
            more = 2 * next(paddings) - k + 1
            shape = (F, shape[1] + more, shape[2] + more)
        elif pool:
            shape = (shape[0], shape[1] // pool, shape[2] // pool)
        else:
            found.append((n, math.prod(shape)))
            shape = (n,)
    return found


@finding
def spec(text: str, shape: Any, classes: int, padding: Any, found: list[tuple[int, ...]]) -> None:
    """The shapes of all weights."""
    again = weight_shapes(text, shape, classes, padding)
    assert found == again, f"{found}, read again {again}"


def plain(values: Any, dtype: type = np.float64) -> Array:
    """A copy in the order of C; a masked value is no number."""
    assert not np.ma.is_masked(values), "a masked value was taken for a number"
    return np.array(values, dtype, order="C")


@finding
def forward(I: Any, neuron: tr.NeuronParameters, found: tr.Trace) -> None:
    """Membranes and PSCs by nested loops in float64, of a neuron until it is so near the threshold that it may flip."""
    I, eps = plain(I), ROUNDINGS * np.finfo(found.u.dtype).eps
    again = reference.lif_forward(I, neuron)
    _equal(found.u.shape, again.u.shape)
    off = np.zeros(I.shape[1:])
    sure = np.ones(I.shape[1:], bool)
    for t in range(len(I)):
        off = np.where(again.s[t - 1] if t else 0, 0.0, off) + eps * (1.0 + np.abs(again.u[t]) + np.abs(I[t]))
        assert (np.abs(found.u[t] - again.u[t]) <= off)[sure].all(), f"other membranes at step {t}"
        sure &= np.abs(again.u[t] - neuron.threshold) > off
        assert (np.abs(found.a[t] - again.a[t]) <= eps)[sure].all(), f"other PSCs at step {t}"


@finding
def backward(g: Any, trace: tr.Trace, neuron: tr.NeuronParameters, rule: tr.GradientRule, found: Array) -> None:
    """delta by the double sum, which is linear in g; every neuron's own g has its largest number near 1."""
    g = plain(g)
    scale = np.ldexp(1.0, np.clip(np.frexp(np.abs(g).max(axis=0))[1] - 1, -960, None))
    _close(found / scale, reference.tsslbp_backward(g / scale, trace, neuron, rule))


@finding
def gradients(net: tr.Network, X: Any, y: Any, loss: str, value: float, found: list[Array]) -> None:
    """Loss and gradients of a float64 network by nested loops; what samples have may cancel, so each is taken alone."""
    X, y = plain(X), plain(y, np.float64 if loss == "spike-train" else np.int64)
    again_value, again, _ = reference_network.loss_and_gradients(net, X, y, loss)
    _close(value, again_value)
    alone = [
        reference_network.loss_and_gradients(net, X.take([b], X.ndim - 2), y.take([b], y.ndim // 2), loss)[1]
        for b in range(X.shape[-2])
    ]
    for one, other, *terms in zip(found, again, *alone, strict=True):
        _close(one, other, terms)


@finding
def fitted(start: tr.Network, X: Any, y: Any, settings: Mapping[str, Any], net: tr.Network, history: list[Any]) -> None:
    """Weights and metrics of the same training on plain copies."""
    again = copy.deepcopy(start)
    metrics = tr.fit(again, plain(X), plain(y, np.int64), **settings)
    for one, other in zip(net.weights, again.weights, strict=True):
        _close(one, other)
    for epoch, other in zip(history, metrics, strict=True):
        _close([epoch["train_loss"], epoch["train_accuracy"]], [other["train_loss"], other["train_accuracy"]])

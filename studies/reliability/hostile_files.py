"""Hostile files: each maker writes one into a folder and returns what to call, and what must hold of its result: it is
what `second_readings` find.

A maker is given a generator and an empty folder. Its files are sound ones, broken by `damage`, or made to be hostile.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import struct
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import tsslbp_ref as tr
from studies.reliability import second_readings
from studies.reliability.damage import broken_bytes, broken_text, broken_value, hostile_value
from tsslbp_ref import checkpoints
from tsslbp_ref.datasets import cifar10, idx, load_arrays, nmnist
from tsslbp_ref.training import descriptions, run_files

MARKER = "code-was-run"  # a file that a pickle would make if anything in it ran
TOML_ALPHABET = "abcz=[]{}\"'.,#\n 0123456789_-\\\0é"

Attempt = Callable[[], Any]
Maker = Callable[[np.random.Generator, Path], Attempt]


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _some(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


def idx_file(rng: np.random.Generator, folder: Path) -> Attempt:
    """Pictures or labels of MNIST, plain or packed, broken before or after the packing."""
    pictures = _some(rng, 0.5)
    shape = (int(rng.integers(1, 5)), 28, 28) if pictures else (int(rng.integers(1, 40)),)
    content = (
        struct.pack(f">BBBB{len(shape)}I", 0, 0, 8, len(shape), *shape) + rng.integers(0, 10, shape, np.uint8).tobytes()
    )
    packed, late = _some(rng, 0.4), _some(rng, 0.5)
    content = content if packed and late else broken_bytes(content, rng)
    content = gzip.compress(content, mtime=0) if packed else content
    path = _write(folder / ("x.gz" if packed else "x"), broken_bytes(content, rng) if packed and late else content)

    def attempt() -> None:
        values = idx.read_images(path) if pictures else idx.read_labels(path)
        assert values.ndim == (4 if pictures else 1)
        assert pictures or (values.min() >= 0 and values.max() <= 9)
        second_readings.idx_file(path, values)

    return attempt


def event_file(rng: np.random.Generator, folder: Path) -> Attempt:
    """A recording of N-MNIST, binned afterwards."""
    n = int(rng.integers(1, 60))
    raw = np.zeros((n, 5), np.uint8)
    raw[:, :2] = rng.integers(0, 34, (n, 2))
    t = np.sort(rng.integers(0, 300_000, n))
    raw[:, 2], raw[:, 3], raw[:, 4] = rng.integers(0, 2, n) << 7 | t >> 16, t >> 8 & 255, t & 255
    path = _write(folder / "00001.bin", broken_bytes(raw.tobytes(), rng) if _some(rng, 0.95) else raw.tobytes())
    n_steps, width = (int(rng.choice([-1, 0, 1, 30, 300, 2**20, 2**21])) for _ in range(2))

    def attempt() -> None:
        recorded = nmnist.read_events(path)
        second_readings.events(path.read_bytes(), recorded)
        events = nmnist.remove_saccade_motion(recorded)
        second_readings.stabilised(recorded, events)
        if n_steps < 2**20:  # 2^20 steps are 2.4 GB by what they are
            spikes = nmnist.bin_events(events, n_steps, width)
            assert spikes.shape[0] == n_steps
            second_readings.binned(events, n_steps, width, spikes)

    return attempt


@cache
def _cifar_batch() -> tuple[bytes, bytes]:
    """Two pictures, as the binary and as the python version."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 3072), np.uint8)
    binary = b"".join(bytes([label]) + row.tobytes() for label, row in zip((3, 7), pixels, strict=True))
    return binary, pickle.dumps({b"data": pixels, b"labels": [3, 7]}, protocol=2)


def cifar_folder(rng: np.random.Generator, folder: Path) -> Attempt:
    """A batch of the binary version."""
    path = folder / "cifar-10-batches-bin" / "test_batch.bin"
    content = _write(path, broken_bytes(_cifar_batch()[0], rng)).read_bytes()
    return lambda: second_readings.cifar_batch(path.name, content, *_read_cifar(folder))


def cifar_pickle(rng: np.random.Generator, folder: Path) -> Attempt:
    """A batch of the python version; every third is a program that would make a file, were it run."""
    marker = folder / MARKER
    content = _cifar_batch()[1]
    if _some(rng, 0.35):
        program = _program(rng, marker)
        where = int(rng.integers(2, len(content)))
        content = program if _some(rng, 0.5) else content[:where] + program[2:-1] + content[where:]
    content = broken_bytes(content, rng) if _some(rng, 0.8) else content
    _write(folder / "cifar-10-batches-py" / "test_batch", content)

    def attempt() -> None:
        try:
            second_readings.cifar_batch("test_batch", content, *_read_cifar(folder))
        finally:
            if marker.exists():
                raise AssertionError("a pickle's code was run")

    return attempt


def _program(rng: np.random.Generator, marker: Path) -> bytes:
    """A pickle that makes a file."""
    function, argument = (
        (b"os\nsystem", f"touch {marker}"),
        (b"posix\nsystem", f"touch {marker}"),
        (b"builtins\neval", f"open({str(marker)!r}, 'w')"),
        (b"builtins\nexec", f"open({str(marker)!r}, 'w')"),
        (b"pathlib\nPath.touch", str(marker)),
        (b"numpy\ndtype", str(marker)),
    )[rng.integers(6)]
    text = argument.encode()
    pushed = b"X" + struct.pack("<I", len(text)) + text
    if _some(rng, 0.5):
        return b"\x80\x02c" + function + b"\n" + pushed + b"\x85R."
    module, name = (b"\x8c" + bytes([len(part)]) + part for part in function.split(b"\n"))
    return b"\x80\x04" + module + name + b"\x93" + pushed + b"\x85R."


def cifar_tar(rng: np.random.Generator, folder: Path) -> Attempt:
    """An archive with a batch and hostile members, broken before or after the packing."""
    binary, pickled = _cifar_batch()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for _ in range(int(rng.integers(1, 4))):
            member = tarfile.TarInfo(_member_name(rng))
            member.type = bytes(
                rng.choice([tarfile.REGTYPE] * 6 + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
            )
            member.linkname = "../../x" if _some(rng, 0.5) else "y"
            content = binary if member.name.endswith("bin") else pickled
            member.size = len(content) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(content))
    content = stream.getvalue()
    content = broken_bytes(content[:9000], rng) + content[9000:] if _some(rng, 0.5) else content
    content = gzip.compress(content, 1, mtime=0)
    path = _write(folder / "cifar-10-binary.tar.gz", broken_bytes(content, rng) if _some(rng, 0.4) else content)
    return lambda: second_readings.cifar_archive(path, *_read_cifar(path))


def _member_name(rng: np.random.Generator) -> str:
    inside = ("cifar-10-batches-bin/test_batch.bin", "cifar-10-batches-py/test_batch", "test_batch.bin", "readme.html")
    outside = (
        "../test_batch.bin",
        "/test_batch.bin",
        "C:\\test_batch.bin",
        "a/../../b",
        "x" * 300,
        "é\n",
        "..\\test_batch",
    )
    names = inside if _some(rng, 0.7) else outside
    return names[rng.integers(len(names))]


def _read_cifar(path: Path) -> tuple[np.ndarray, np.ndarray]:
    pictures, labels = cifar10.read_split(path, "test")
    assert pictures.shape == (len(labels), 3, 32, 32)
    assert labels.min() >= 0
    assert labels.max() <= 9
    return pictures, labels


# ---------------------------------------------------------------------------------------------------------------------
# Files of this project's own
# ---------------------------------------------------------------------------------------------------------------------


@cache
def _saved() -> tuple[bytes, dict[str, np.ndarray], dict[str, Any]]:
    """A saved network: its bytes, its arrays, its dictionary."""
    net = tr.Network.from_spec("2C3-P2-6", (1, 6, 6), 3, 4, n_threads=1, padding=1, dropout=0.1)
    path = Path(f"/tmp/reliability-{hashlib.sha256(str(id(net)).encode()).hexdigest()[:16]}.npz")
    net.save(path)
    content, (arrays, meta) = path.read_bytes(), checkpoints.load(path)
    path.unlink()
    return content, arrays, meta


def checkpoint(rng: np.random.Generator, folder: Path) -> Attempt:
    """A checkpoint with broken bytes, or a sound archive of the wrong things."""
    content, arrays, meta = _saved()
    path = folder / "checkpoint-last.npz"
    if _some(rng, 0.7):
        _write(path, broken_bytes(content, rng))
    else:
        odd = {"meta": np.array(json.dumps(hostile_value(rng))), "sha256": np.array("0" * 64), "W": _odd_array(rng)}
        stream = io.BytesIO()
        (np.savez_compressed if _some(rng, 0.3) else np.savez)(
            stream, **{k: v for k, v in odd.items() if _some(rng, 0.8)}
        )
        _write(path, broken_bytes(stream.getvalue(), rng) if _some(rng, 0.5) else stream.getvalue())

    def attempt() -> None:
        found, text = checkpoints.load(path)
        assert text == checkpoints.load_meta(path) == meta
        assert found.keys() == arrays.keys()
        assert all(found[name].tobytes() == array.tobytes() for name, array in arrays.items())

    return attempt


def _odd_array(rng: np.random.Generator) -> Any:
    return np.array([hostile_value(rng), ...], object) if _some(rng, 0.3) else rng.normal(size=(3, 4))


def saved_network(rng: np.random.Generator, folder: Path) -> Attempt:
    """A network whose description or arrays are hostile, with a right sha256."""
    _, arrays, meta = _saved()
    arrays = dict(arrays)
    if _some(rng, 0.3):
        name = sorted(arrays)[rng.integers(len(arrays))]
        shape = arrays[name].shape if _some(rng, 0.5) else rng.integers(0, 4, rng.integers(0, 5))
        arrays[name] = rng.normal(size=shape).astype(rng.choice(["f4", "f8", "i4", "c8"]))
        if _some(rng, 0.3):
            arrays[name].reshape(-1)[:1] = 2**31 - 1 if arrays[name].dtype.kind == "i" else np.inf
        if _some(rng, 0.2):
            del arrays[name]
    meta = broken_value(meta, rng) if _some(rng, 0.85) else meta
    path = folder / "net.npz"
    if not isinstance(meta, dict):
        meta = {"network": meta}
    checkpoints.save(path, arrays, meta)

    def attempt() -> None:
        net = tr.Network.load(path)
        assert all(np.isfinite(W).all() for W in net.weights)
        second_readings.saved_network(path, net)
        str(net)

    return attempt


def description_file(rng: np.random.Generator, folder: Path) -> Attempt:
    """A TOML file, or a config.json, that describes a run on arrays of one's own."""
    _write_arrays(folder / "own.npz")
    tables = {
        "name": "mine",
        "data": {"file": "own.npz", "held_out": 2},
        "network": {"spec": "12-8", "n_steps": 4, "dropout": 0.1, "weight_scale": [2.0, 1.0]},
        "neuron": {"tau_m": 5.0, "tau_s": 3.0, "threshold": 1.0},
        "rule": {"name": "released", "inverse_rise_clip": 8.0, "warmup": True},
        "training": {
            "epochs": 3,
            "batch_size": 4,
            "learning_rate": 1e-3,
            "loss": "count",
            "desired_count": 3.0,
            "seed": 1,
        },
    }
    if _some(rng, 0.3):
        tables["data"] = {"set": str(rng.choice(["mnist", "cifar-10", "n-mnist", "x"])), "augment": True}
    config = _some(rng, 0.4)
    if config and "file" in tables["data"]:
        tables["data"]["file"] = str(folder / "own.npz")
    if config:
        text = json.dumps(broken_value({"title": "mine", descriptions.TABLES: tables}, rng))
    else:
        text = descriptions.to_toml(tables)
    if not config or _some(rng, 0.3):
        text = broken_text(text, rng, TOML_ALPHABET)
    path = _write(folder / ("config.json" if config else "mine.toml"), text.encode("utf-8", "surrogatepass"))

    def attempt() -> None:
        described = descriptions.read_file(path)
        second_readings.description_file(path, described, described.row.network(0, rule=described.rule))

    return attempt


def _write_arrays(path: Path) -> bytes:
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    arrays = {"X": rng.random((6, 5)), "y": np.arange(6) % 3, "X_test": rng.random((3, 5)), "y_test": np.arange(3)}
    np.savez(stream, **arrays)
    _write(path, stream.getvalue())
    return stream.getvalue()


def array_file(rng: np.random.Generator, folder: Path) -> Attempt:
    """One's own arrays in an .npz or .npy file."""
    content = _write_arrays(folder / "own.npz")
    if _some(rng, 0.5):
        stream = io.BytesIO()
        np.save(stream, np.asarray(rng.random((4, 5))))
        path = _write(folder / "X.npy", broken_bytes(stream.getvalue(), rng))
        paths = {"X": path, "y": path, "X_test": path, "y_test": path}
    else:
        paths = {"file": _write(folder / "own.npz", broken_bytes(content, rng))}
    return lambda: second_readings.array_file(paths, load_arrays(paths))


def run_folder(rng: np.random.Generator, folder: Path) -> Attempt:
    """The config and the metrics of a run."""
    row = {
        "epoch": 1,
        "train_loss": 2.0,
        "train_accuracy": 0.5,
        "test_accuracy": 0.5,
        "seconds": 1.0,
        "samples_per_second": 9.0,
    }
    rows = [row | {"epoch": n + 1} for n in range(int(rng.integers(1, 4)))]
    broken = [broken_value(one, rng) if _some(rng, 0.4) else one for one in rows]
    lines = "".join(json.dumps(one) + "\n" for one in broken).encode()
    _write(folder / run_files.METRICS, broken_bytes(lines, rng) if _some(rng, 0.5) else lines)
    config = json.dumps(broken_value({"title": "x", "settings": {"seed": 0}, "n_threads": 1}, rng)).encode()
    _write(folder / run_files.CONFIG, broken_bytes(config, rng) if _some(rng, 0.5) else config)

    def attempt() -> None:
        found = run_files.read_metrics(folder)
        assert [one["epoch"] for one in found] == list(range(1, len(found) + 1))
        settings = run_files.read_config(folder)
        metrics, config = ((folder / name).read_bytes() for name in (run_files.METRICS, run_files.CONFIG))
        second_readings.run_folder(metrics, found, config, settings)

    return attempt


FILES: dict[str, Maker] = {
    "IDX": idx_file,
    "event file": event_file,
    "CIFAR binary": cifar_folder,
    "CIFAR pickle": cifar_pickle,
    "CIFAR tar": cifar_tar,
    "checkpoint": checkpoint,
    "saved network": saved_network,
    "TOML or config.json": description_file,
    "array file": array_file,
    "run folder": run_folder,
}

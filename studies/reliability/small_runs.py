"""Three small runs that last about a second: dense, convolutional, events. What is trained is of no interest."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tsslbp_ref import checkpoints
from tsslbp_ref.datasets.nmnist import EVENT_BYTES, SIDE
from tsslbp_ref.model.losses import LossSettings
from tsslbp_ref.model.network import Network
from tsslbp_ref.training.experiments import experiment
from tsslbp_ref.training.run_files import BEST, DURATIONS, LAST, RUN_FILES
from tsslbp_ref.training.runs import Run, read_metrics
from tsslbp_ref.training.tasks import ArrayTask, EventTask, HeldOut, Task
from tsslbp_ref.training.trainer import TrainingSettings

N_CLASSES, N_STEPS = 4, 5
DATA_SEED = 20261127
EVENTS_A_RECORDING, RECORDING_US, PER_DIGIT = 400, 300_000, 2

Outcome = dict[str, str]


def blobs(shape: tuple[int, ...], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise (n, *shape) with a class (n,) that a quarter of the features tell."""
    rng = np.random.default_rng(DATA_SEED)
    X, y = rng.random((n, *shape)).astype(np.float32), np.arange(n) % N_CLASSES
    flat = X.reshape(n, N_CLASSES, -1)
    flat[np.arange(n), y] += 1.0
    return X, y


def write_recordings(folder: Path) -> None:
    """Write a made N-MNIST: two short recordings a digit, of events at random places."""
    rng = np.random.default_rng(DATA_SEED)
    for split in ("Train", "Test"):
        for digit in range(10):
            (folder / split / str(digit)).mkdir(parents=True)
            for number in range(PER_DIGIT):
                raw = np.zeros((EVENTS_A_RECORDING, EVENT_BYTES), np.uint8)
                raw[:, :2] = rng.integers(0, SIDE, (EVENTS_A_RECORDING, 2))
                t = np.sort(rng.integers(0, RECORDING_US, EVENTS_A_RECORDING))
                raw[:, 2] = rng.integers(0, 2, EVENTS_A_RECORDING) << 7 | t >> 16
                raw[:, 3], raw[:, 4] = t >> 8 & 255, t & 255
                (folder / split / str(digit) / f"{number:05d}.bin").write_bytes(raw.tobytes())


def _dense(data: Path) -> tuple[Network, Task, TrainingSettings]:
    X, y = blobs((16,), 120)
    net = Network.from_spec("24-16", (16,), N_CLASSES, N_STEPS, n_threads=1, weight_scale=2.0)
    task = ArrayTask(X[:100], y[:100], X[100:], y[100:], input_shape=(16,), n_classes=N_CLASSES, n_steps=N_STEPS)
    return net, HeldOut(task, 20), TrainingSettings(epochs=8, batch_size=8, learning_rate=1e-2)


def _convolutional(data: Path) -> tuple[Network, Task, TrainingSettings]:
    shape = (1, 8, 8)
    X, y = blobs(shape, 80)
    net = Network.from_spec(
        "4C3-P2-12", shape, N_CLASSES, N_STEPS, n_threads=1, padding=1, dropout=0.2, weight_scale=2.0
    )
    task = ArrayTask(X[:60], y[:60], X[60:], y[60:], input_shape=shape, n_classes=N_CLASSES, n_steps=N_STEPS)
    return net, task, TrainingSettings(epochs=6, batch_size=8, learning_rate=1e-2)


def _events(data: Path) -> tuple[Network, Task, TrainingSettings]:
    row = replace(experiment("n-mnist-12c5-64c5-t30"), spec="3C5-P2", padding=(1,), n_steps=10, bin_width_us=30_000)
    settings = TrainingSettings(4, 4, 1e-2, "count", LossSettings(5.0, 1.0))
    return row.network(0, n_threads=1), EventTask(row, data), settings


SMALL_RUNS: dict[str, Callable[[Path], tuple[Network, Task, TrainingSettings]]] = {
    "dense": _dense,
    "convolutional": _convolutional,
    "events": _events,
}


def train(name: str, data: Path, folder: Path, save_every_s: float) -> None:
    """Train one of the runs in a folder as far as it goes, from where the folder stands."""
    for _ in Run(folder, *SMALL_RUNS[name](data), resume=True).run(save_every_s=save_every_s):
        pass


def outcome(folder: Path) -> Outcome:
    """All of a finished run that must be the same however often it was stopped.

    Names of the files; of both checkpoints a digest of each array and of the counters; every epoch's metrics but the
    seconds, which differ.
    """
    found = {"files": " ".join(sorted(os.listdir(folder)))}
    for name in (LAST, BEST):
        arrays, meta = checkpoints.load(folder / name)
        found |= {f"{name} {key}": _digest(array) for key, array in arrays.items()}
        found |= {f"{name} {key}": json.dumps(value, sort_keys=True) for key, value in meta.items() if key != "config"}
    rows = [{k: v for k, v in row.items() if k not in DURATIONS} for row in read_metrics(folder)]
    return found | {"metrics": json.dumps(rows)}


def _digest(array: Any) -> str:
    return hashlib.sha256(f"{array.dtype.str} {array.shape}".encode() + array.tobytes()).hexdigest()


def whole(found: Outcome) -> bool:
    """Whether nothing but a run's own files lies in its folder."""
    return found["files"] == " ".join(sorted(RUN_FILES))

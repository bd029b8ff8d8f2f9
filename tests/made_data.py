"""Small made data, networks and processes that the tests of training, runs, seeds and the command line share."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from tsslbp_ref import Network
from tsslbp_ref.training import Trainer, TrainingSettings
from tsslbp_ref.training.runs import InterruptedRunError, Run

N_CLASSES = 4
BLOBS = TrainingSettings(epochs=3, batch_size=8, learning_rate=1e-2)


class BlobTask:
    """Pictures (1, 6, 6) with a bright quarter, one a class; the training batches draw noise from their rng."""

    def __init__(self, n_train: int = 36, n_test: int = 20) -> None:
        self.n_train, self.n_test = n_train, n_test
        self.batches_drawn: list[list[int]] = []

    def pictures(self, labels: np.ndarray) -> np.ndarray:
        x = np.zeros((len(labels), 1, 6, 6), dtype=np.float32)
        for i, label in enumerate(labels):
            row, column = 3 * (label // 2), 3 * (label % 2)
            x[i, 0, row : row + 3, column : column + 3] = 1.0
        return x

    def train_batch(self, indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        self.batches_drawn.append(indices.tolist())
        y = indices % N_CLASSES
        x = self.pictures(y)
        return x + rng.normal(0.0, 0.3, x.shape).astype(np.float32), y

    def test_batches(self):
        for start in range(0, self.n_test, 8):
            y = np.arange(start, min(start + 8, self.n_test)) % N_CLASSES
            yield self.pictures(y), y


def blob_network(seed: int = 0, *, spec: str = "3C3-P2-10", n_threads: int = 1, **settings: object) -> Network:
    """A network of every kind of layer for the blobs."""
    options = {"padding": 1, "dropout": 0.2, "weight_scale": 2.0} | settings
    return Network.from_spec(spec, (1, 6, 6), N_CLASSES, 5, seed=seed, n_threads=n_threads, **options)


def blob_trainer(seed: int = 0, *, n_threads: int = 1, **settings: object) -> Trainer:
    settings = dataclasses.replace(BLOBS, seed=seed, **settings)
    return Trainer(blob_network(seed, n_threads=n_threads), BlobTask(), settings)


def blob_run(folder: Path, *, epochs: int = 3, resume: bool = False) -> Run:
    return Run(folder, blob_network(), BlobTask(), dataclasses.replace(BLOBS, epochs=epochs), resume=resume)


def train_in(folder: Path, epochs: int, kill_at: int | None = None) -> None:
    """Train the blobs in a folder as far as it goes; with `kill_at`, die by kill -9 at that call to the disk."""
    if kill_at is not None:
        kill_at_call(kill_at)
    try:
        for _ in blob_run(folder, epochs=epochs, resume=True).run():
            pass
    except InterruptedRunError as stop:
        raise SystemExit(128 + stop.signum) from stop


def kill_at_call(number: int) -> None:
    """Make the `number`-th call, from 0, of os.fsync, os.replace or os.open this process's last."""
    left = [number]

    def deadly(function):
        def call(*arguments, **options):
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*arguments, **options)

        return call

    os.fsync, os.replace, os.open = deadly(os.fsync), deadly(os.replace), deadly(os.open)


def state_of(trainer: Trainer) -> list[bytes]:
    """All bits of weights and optimiser."""
    arrays = [*trainer.network.weights, *trainer.optimiser.means, *trainer.optimiser.squares]
    return [array.tobytes() for array in arrays] + [str(trainer.optimiser.n_steps).encode()]


def without_time(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in ("seconds", "samples_per_second")} for row in rows]


# ---------------------------------------------------------------------------------------------------------------------
# Fashion-MNIST in small, and the command line in its own process
# ---------------------------------------------------------------------------------------------------------------------


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def write_fashion(folder: Path, n_train: int = 200, n_test: int = 60) -> Path:
    """Write a made data set with the names of Fashion-MNIST: noise, and a bright bar at a row that is the class's."""
    folder = folder / "fashion-mnist"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    for part, n in (("train", n_train), ("t10k", n_test)):
        labels = np.arange(n) % 10
        images = rng.integers(0, 60, (n, 28, 28))
        images[np.arange(n), 2 * labels + 4] = 250
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
    return folder


def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which no data is found and nothing can be downloaded, with Python's own buffering of output."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TSSLBP_") and k != "PYTHONUNBUFFERED"}
    package = str(Path(__file__).parents[1])
    return kept | {
        "PYTHONPATH": os.pathsep.join([package, kept.get("PYTHONPATH", "")]),
        "TSSLBP_DATA": str(tmp_path / "no-data"),
        "TSSLBP_CACHE": str(tmp_path / "no-cache"),
        "TSSLBP_BASE_URL_FASHION_MNIST": "http://127.0.0.1:9/",
        "OPENBLAS_NUM_THREADS": "1",
    }


def start_cli(tmp_path: Path, *arguments: object) -> subprocess.Popen:
    """Start `tsslbp-ref` in a process group of its own, with its output in pipes.

    A job in the background of a script is born with SIGINT ignored, and its children too: Ctrl-C is given back here.
    """
    command = [sys.executable, "-m", "tsslbp_ref", *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment(tmp_path),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run_cli(tmp_path: Path, *arguments: object) -> tuple[int, str, str]:
    """Run `tsslbp-ref` to its end: status, standard output, standard error."""
    process = start_cli(tmp_path, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err

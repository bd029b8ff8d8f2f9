"""A run and its folder: config.json, metrics.jsonl, checkpoint-last.npz and checkpoint-best.npz.

A run that was stopped, by a signal or by kill -9 at any moment, goes on from its last checkpoint as if never stopped.
"""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from tsslbp_ref import checkpoints
from tsslbp_ref.checkpoints import CheckpointError
from tsslbp_ref.network import Network
from tsslbp_ref.tasks import Task
from tsslbp_ref.training import Progress, Trainer, TrainingSettings

CONFIG, METRICS, LAST, BEST = "config.json", "metrics.jsonl", "checkpoint-last.npz", "checkpoint-best.npz"
SAME_IN_A_RESUMED_RUN = ("neuron", "rule", "layers", "n_steps", "dtype", "n_threads", "settings")


class InterruptedRunError(Exception):
    """The run was told to stop and has saved its state; `signum` says by which signal."""

    def __init__(self, signum: int, folder: Path) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; the state is saved in {folder}, --resume goes on")
        self.signum = signum


class Run:
    """Train in a folder.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    network : Network
    task : Task
    settings : TrainingSettings
    title : str
        What the run is, for config.json.
    resume : bool
        Go on from the folder's last checkpoint; without one, start anew.
    show_progress : bool

    Raises
    ------
    FileExistsError
        If the folder holds a run and `resume` is not asked for: nothing is overwritten.
    CheckpointError
        If the checkpoint cannot be read or belongs to another network or other settings.
    OSError
        If the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        network: Network,
        task: Task,
        settings: TrainingSettings,
        *,
        title: str = "",
        resume: bool = False,
        show_progress: bool = False,
    ) -> None:
        self.folder = folder
        self.trainer = Trainer(network, task, settings, show_progress=show_progress)
        self.config = _config(network, settings, title)
        has_run = (folder / CONFIG).exists()
        if has_run and not resume:
            raise FileExistsError(f"{folder} holds a run already: resume it, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        if has_run:
            self._check_config()
        if (folder / LAST).exists():
            restore(self.trainer, folder / LAST)
        self._write_config()
        self._drop_metrics_after(self.trainer.progress.epoch)

    def run(self) -> Iterator[dict[str, Any]]:
        """Train to the last epoch, yielding each epoch's metrics once they are on disk with its checkpoint.

        Raises
        ------
        InterruptedRunError
            After SIGINT or SIGTERM, once the state is saved.
        """
        trainer = self.trainer
        with _signals_noted() as noted:
            while trainer.progress.epoch < trainer.settings.epochs:
                best_before = trainer.progress.best_accuracy
                metrics = trainer.run_epoch(lambda: bool(noted))
                if metrics is not None:
                    # Metrics first: a kill between the two leaves a line too many, which a resumed run drops.
                    self._append(metrics)
                    if metrics["test_accuracy"] > best_before:
                        self._save(BEST)
                self._save(LAST)
                if metrics is not None:
                    yield metrics
                if noted:
                    raise InterruptedRunError(noted[0], self.folder)

    def metrics(self) -> list[dict[str, Any]]:
        """All epochs so far, from disk."""
        return read_metrics(self.folder)

    def _save(self, name: str) -> None:
        trainer = self.trainer
        arrays = {f"weight{i}": W for i, W in enumerate(trainer.network.weights)}
        arrays |= {f"mean{i}": m for i, m in enumerate(trainer.optimiser.means)}
        arrays |= {f"square{i}": v for i, v in enumerate(trainer.optimiser.squares)}
        meta = {
            "config": self.config,
            "progress": dataclasses.asdict(trainer.progress),
            "optimiser_steps": trainer.optimiser.n_steps,
        }
        checkpoints.save(self.folder / name, arrays, meta)

    def _append(self, metrics: dict[str, Any]) -> None:
        with (self.folder / METRICS).open("a") as file:
            file.write(json.dumps(metrics) + "\n")

    def _drop_metrics_after(self, epoch: int) -> None:
        if (self.folder / METRICS).exists():
            kept = [json.dumps(row) for row in read_metrics(self.folder) if row["epoch"] <= epoch]
            checkpoints.write_atomically(self.folder / METRICS, "".join(row + "\n" for row in kept).encode())

    def _write_config(self) -> None:
        text = json.dumps(self.config, indent=2) + "\n"
        checkpoints.write_atomically(self.folder / CONFIG, text.encode())

    def _check_config(self) -> None:
        path = self.folder / CONFIG
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise CheckpointError(f"{path} is no JSON: {error}") from error
        _same_run(self.config, found, path)


def _config(network: Network, settings: TrainingSettings, title: str) -> dict[str, Any]:
    """All that decides a run's numbers, JSON-able."""
    config = {
        "title": title,
        "neuron": dataclasses.asdict(network.neuron),
        "rule": {k: str(v) for k, v in dataclasses.asdict(network.rule).items()},
        "layers": [f"{type(layer).__name__} {layer.input_shape} -> {layer.output_shape}" for layer in network.layers],
        "n_steps": network.n_steps,
        "dtype": network.dtype.name,
        "n_threads": network.workers.n_threads,
        "settings": dataclasses.asdict(settings),
    }
    return json.loads(json.dumps(config))


def _same_run(wanted: dict[str, Any], found: dict[str, Any], path: Path) -> None:
    """Raise unless a run found on disk has the settings of this one; the number of epochs may grow."""
    for key in SAME_IN_A_RESUMED_RUN:
        one, other = wanted[key], found.get(key)
        if key == "settings" and isinstance(other, dict):
            one, other = {**one, "epochs": None}, {**other, "epochs": None}
        if one != other:
            raise CheckpointError(f"{path} is of another run: its {key} is {other}, here it is {one}")


def restore(trainer: Trainer, path: Path) -> None:
    """Put a checkpoint's weights, optimiser averages and counters into a trainer.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read or belongs to another network.
    """
    arrays, meta = checkpoints.load(path)
    load_weights(trainer.network, arrays, path)
    for i in range(len(trainer.network.weights)):
        trainer.optimiser.means[i][...] = arrays[f"mean{i}"]
        trainer.optimiser.squares[i][...] = arrays[f"square{i}"]
    trainer.optimiser.n_steps = int(meta["optimiser_steps"])
    trainer.progress = Progress(**meta["progress"])


def load_weights(network: Network, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Put a checkpoint's weights into a network, in place, if they fit."""
    wanted = {f"weight{i}": W.shape for i, W in enumerate(network.weights)}
    found = {name: array.shape for name, array in arrays.items() if name.startswith("weight")}
    if wanted != found:
        raise CheckpointError(f"{path} is of another network: its weights are {found}, here they are {wanted}")
    for i, W in enumerate(network.weights):
        W[...] = arrays[f"weight{i}"]


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line cut short by a kill is left out.

    Raises
    ------
    ValueError
        If another line is no JSON.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    rows = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number} is no JSON: {error}") from error
    return rows


@contextmanager
def _signals_noted() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of dying of them; a second SIGINT kills as ever."""
    noted: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        noted.append(signum)
        signal.signal(signum, signal.SIG_DFL)

    try:
        before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread, which alone gets signals
        yield noted
        return
    try:
        yield noted
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

"""A run and its folder: config.json, metrics.jsonl, checkpoint-last.npz and checkpoint-best.npz.

A run that was stopped, by a signal or by kill -9 at any moment, goes on from its last checkpoint as if never stopped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from tsslbp_ref import checkpoints
from tsslbp_ref.checkpoints import CheckpointError
from tsslbp_ref.layers import Dropout, SumPool2d
from tsslbp_ref.network import Network
from tsslbp_ref.tasks import Task
from tsslbp_ref.training import Progress, Trainer, TrainingSettings

CONFIG, METRICS, LAST, BEST = "config.json", "metrics.jsonl", "checkpoint-last.npz", "checkpoint-best.npz"
METRIC_NAMES = ("epoch", "train_loss", "train_accuracy", "test_accuracy", "seconds", "samples_per_second")
SAME_IN_A_RESUMED_RUN = ("neuron", "rule", "layers", "n_steps", "dtype", "n_threads", "settings")
SAME_IF_NOTED = ("factors", "task")  # the first runs' configs do not have these
SAVE_EVERY_S = 600.0  # within an epoch, so that kill -9 costs minutes even where an epoch takes hours


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
        If a file of the run cannot be read or belongs to another network or other settings: nothing is changed.
    OSError
        If the folder cannot be written, or another process trains in it.
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
        self.folder = Path(folder)
        self.trainer = Trainer(network, task, settings, show_progress=show_progress)
        self.config = _config(network, task, settings, title)
        refuse_occupied(self.folder, resume=resume)
        self.folder.mkdir(parents=True, exist_ok=True)
        with checkpoints.locked(self.folder):
            # All reading comes before any writing: a folder that cannot be resumed stays as it is.
            rows = self._restored_metrics()
            for name in (CONFIG, METRICS, LAST, BEST):
                checkpoints.remove_parts(self.folder / name)
            self._write(CONFIG, json.dumps(self.config, indent=2) + "\n")
            if (self.folder / METRICS).exists():
                self._write(METRICS, "".join(json.dumps(row) + "\n" for row in rows))

    def run(
        self, stop: Callable[[], int] = lambda: 0, *, save_every_s: float = SAVE_EVERY_S
    ) -> Iterator[dict[str, Any]]:
        """Train to the last epoch, yielding each epoch's metrics once they are on disk with its checkpoint.

        Parameters
        ----------
        stop : callable
            Asked after every mini-batch, beside the signals SIGINT and SIGTERM; returns the number of a signal to stop
            as if by it, else 0.
        save_every_s : float
            Seconds between checkpoints within an epoch.

        Raises
        ------
        InterruptedRunError
            After SIGINT or SIGTERM, once the state is saved.
        OSError
            If the disk is full, or another process trains in the folder; the last checkpoint survives.
        """
        progress, epochs = self.trainer.progress, self.trainer.settings.epochs
        with checkpoints.locked(self.folder), signals_noted() as noted:
            while progress.epoch < epochs:
                metrics = self._train_and_save(noted, stop, save_every_s)
                progress = self.trainer.progress
                if metrics is not None:
                    yield metrics
                if noted and progress.epoch < epochs:
                    raise InterruptedRunError(noted[0], self.folder)

    def _train_and_save(self, noted: list[int], stop: Callable[[], int], save_every_s: float) -> dict[str, Any] | None:
        """Train to the end of the epoch, or until stopped, or until a checkpoint is due; save; return the metrics."""
        trainer = self.trainer
        best_before = trainer.progress.best_accuracy
        due = time.monotonic() + save_every_s

        def pause() -> bool:
            in_test = trainer.progress.seen >= trainer.task.n_train  # a test that is cut off begins anew, so let it be
            return asked_to_stop(noted, stop) or (time.monotonic() > due and not in_test)

        metrics = trainer.run_epoch(pause)
        if metrics is not None:
            # Metrics first: a kill between the two leaves a line too many, which a resumed run drops.
            self._append(metrics)
            if metrics["test_accuracy"] > best_before:
                self._save(BEST)
        self._save(LAST)
        return metrics

    def metrics(self) -> list[dict[str, Any]]:
        """All epochs so far, from disk."""
        return read_metrics(self.folder)

    def _restored_metrics(self) -> list[dict[str, Any]]:
        """Restore the trainer from the folder, if it holds anything, and return the epochs that are done."""
        if (self.folder / CONFIG).exists():
            _same_run(self.config, read_config(self.folder), self.folder / CONFIG)
        if (self.folder / LAST).exists():
            restore(self.trainer, self.folder / LAST)
        n_done = self.trainer.progress.epoch
        rows = read_metrics(self.folder)
        if [row["epoch"] for row in rows[:n_done]] != list(range(1, n_done + 1)):
            raise CheckpointError(f"{self.folder / METRICS} does not hold the {n_done} epochs of {LAST}")
        if len(rows) > n_done + 1:  # a kill leaves one line too many, not two
            raise CheckpointError(f"{self.folder / METRICS} holds {len(rows)} epochs, but {LAST} has {n_done}")
        return rows[:n_done]

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
        path = self.folder / METRICS
        line = json.dumps(metrics, allow_nan=False) + "\n"
        try:
            with path.open("a") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())  # before the checkpoint, so that it never has an epoch that this file lacks
        except OSError as error:
            raise OSError(error.errno, f"cannot write {path}: {error.strerror}") from error

    def _write(self, name: str, text: str) -> None:
        checkpoints.write_atomically(self.folder / name, text.encode())


# ---------------------------------------------------------------------------------------------------------------------
# What must agree
# ---------------------------------------------------------------------------------------------------------------------


def refuse_occupied(folder: Path, *, resume: bool) -> None:
    """Raise FileExistsError if a folder holds any file of a run and `resume` is not asked for."""
    held = [name for name in (CONFIG, METRICS, LAST, BEST) if (folder / name).exists()]
    if held and not resume:
        raise FileExistsError(f"{folder} holds a run already ({held[0]}): --resume goes on, or choose another folder")


def _config(network: Network, task: Task, settings: TrainingSettings, title: str) -> dict[str, Any]:
    """All that decides a run's numbers, JSON-able."""
    config = {
        "title": title,
        "neuron": dataclasses.asdict(network.neuron),
        "rule": {k: str(v) for k, v in dataclasses.asdict(network.rule).items()},
        "layers": [f"{type(layer).__name__} {layer.input_shape} -> {layer.output_shape}" for layer in network.layers],
        "factors": _factors(network),
        "task": {"n_train": task.n_train, "n_test": task.n_test},
        "n_steps": network.n_steps,
        "dtype": network.dtype.name,
        "n_threads": network.workers.n_threads,
        "settings": dataclasses.asdict(settings),
    }
    return json.loads(json.dumps(config))


def _factors(network: Network) -> list[str]:
    """What the maps without weights do beyond their shapes."""
    factors = []
    for layer in network.layers:
        if isinstance(layer, SumPool2d):
            factors.append(f"pool gain {layer.gain}")
        if isinstance(layer, Dropout):
            factors.append(f"dropout {layer.rate} {layer.form}")
    return factors


def _same_run(wanted: dict[str, Any], found: Any, path: Path) -> None:
    """Raise unless a run found on disk has the settings of this one; the number of epochs may grow."""
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no settings of a run, but {type(found).__name__}")
    for key in SAME_IN_A_RESUMED_RUN + tuple(key for key in SAME_IF_NOTED if key in found):
        one, other = wanted[key], found.get(key)
        if key == "settings" and isinstance(other, dict):
            one, other = {**one, "epochs": None}, {**other, "epochs": None}
        difference = _first_difference(key, one, other)
        if difference is not None:
            raise CheckpointError(f"{path} is of another run: its {difference}")


def _first_difference(place: str, wanted: Any, found: Any) -> str | None:
    """Say where two JSON values first differ, as "place is this, here it is that"; None where they do not."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        inner = (_first_difference(f"{place}.{key}", wanted[key], found.get(key)) for key in wanted)
        return next((difference for difference in inner if difference is not None), None)
    return None if wanted == found else f"{place} is {found}, here it is {wanted}"


def restore(trainer: Trainer, path: Path) -> None:
    """Put a checkpoint's weights, optimiser averages and counters into a trainer.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read or belongs to another network or other settings; the trainer is unchanged.
    """
    arrays, meta = checkpoints.load(path)
    _same_run(_config(trainer.network, trainer.task, trainer.settings, ""), meta.get("config"), path)
    progress, n_steps = _counters(meta, path)
    optimiser = trainer.optimiser
    _fit({"mean": optimiser.means, "square": optimiser.squares}, arrays, path)
    load_weights(trainer.network, arrays, path)
    for i in range(len(trainer.network.weights)):
        optimiser.means[i][...] = arrays[f"mean{i}"]
        optimiser.squares[i][...] = arrays[f"square{i}"]
    optimiser.n_steps = n_steps
    trainer.progress = progress


def _counters(meta: dict[str, Any], path: Path) -> tuple[Progress, int]:
    """The progress and the number of updates that a checkpoint's meta data holds."""
    try:
        progress, n_steps = Progress(**meta["progress"]), int(meta["optimiser_steps"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} lacks the counters of a run: {type(error).__name__} {error}") from error
    return progress, n_steps


def _fit(wanted: dict[str, list[np.ndarray]], arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise unless the checkpoint's arrays of each name have the numbers and shapes of the wanted ones."""
    for name, group in wanted.items():
        shapes = {f"{name}{i}": array.shape for i, array in enumerate(group)}
        found = {key: array.shape for key, array in arrays.items() if key.startswith(name)}
        if shapes != found:
            raise CheckpointError(f"{path} is of another network: it has {found}, here it is {shapes}")


def load_weights(network: Network, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Put a checkpoint's weights into a network, in place, if they fit."""
    _fit({"weight": network.weights}, arrays, path)
    for i, W in enumerate(network.weights):
        W[...] = arrays[f"weight{i}"]


# ---------------------------------------------------------------------------------------------------------------------
# Reading a folder
# ---------------------------------------------------------------------------------------------------------------------


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder, from config.json.

    Raises
    ------
    CheckpointError
        If the file is no JSON object; the message names it.
    """
    path = folder / CONFIG
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(found).__name__}")
    return found


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line cut short by a kill is left out.

    Raises
    ------
    ValueError
        If another line is not an epoch's metrics.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    rows = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise CheckpointError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(row, dict) or not all(_is_number(row.get(name)) for name in METRIC_NAMES):
            raise CheckpointError(f"{path}, line {number} must hold the numbers {', '.join(METRIC_NAMES)}")
        rows.append(row)
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


# ---------------------------------------------------------------------------------------------------------------------
# Stopping
# ---------------------------------------------------------------------------------------------------------------------


def asked_to_stop(noted: list[int], stop: Callable[[], int]) -> bool:
    """Whether a signal was noted; what `stop` says counts as one."""
    signum = stop()
    if signum and not noted:
        noted.append(signum)
    return bool(noted)


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of dying of them; a second SIGINT kills as ever."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # the main thread alone gets signals
        yield noted
        return

    def note(signum: int, frame: FrameType | None) -> None:
        noted.append(signum)
        signal.signal(signum, signal.SIG_DFL)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

"""A run and its folder: config.json, metrics.jsonl, checkpoint-last.npz and checkpoint-best.npz.

A run that was stopped, by a signal or by kill -9 at any moment, goes on from its last checkpoint as if never stopped.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tsslbp_ref import checkpoints, files
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.saved import NETWORK, description
from tsslbp_ref.training.descriptions import TABLES
from tsslbp_ref.training.exact_training import ExactNetwork, ExactSettings, ExactTrainer, YinYangTask
from tsslbp_ref.training.run_config import check_same_run, config_of
from tsslbp_ref.training.run_files import (
    BEST,
    CONFIG,
    LAST,
    METRICS,
    RUN_FILES,
    is_there,
    read_config,
    read_metrics,
)
from tsslbp_ref.training.run_files import (
    METRIC_NAMES as METRIC_NAMES,  # readers of a run's files know them by this module
)
from tsslbp_ref.training.run_files import refuse_occupied as refuse_occupied
from tsslbp_ref.training.run_state import AnyTrainer, restore, sound_state, state_of
from tsslbp_ref.training.run_state import load_weights as load_weights
from tsslbp_ref.training.stopping import asked_to_stop, signals_noted
from tsslbp_ref.training.tasks import Task
from tsslbp_ref.training.trainer import Trainer, TrainingSettings, deciding

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
    network : Network or ExactNetwork
    task : Task, or YinYangTask for an ExactNetwork
    settings : TrainingSettings, or ExactSettings for an ExactNetwork
    title : str
        What the run is, for config.json.
    state : str, optional
        The state of the authors' code whose settings an experiment has, for config.json.
    tables : dict, optional
        All that makes the run again, for config.json; see `descriptions`.
    resume : bool
        Go on from the folder's last checkpoint; without one, start anew.
    show_progress : bool

    Raises
    ------
    FileExistsError
        If the folder holds a run and `resume` is not asked for: nothing is overwritten.
    CheckpointError
        If a file of the run is missing, cannot be read or belongs to another network or other settings: nothing is
        changed.
    ValueError
        If the run has trained more epochs than the settings ask for, or the task has no test set: nothing is changed.
    OSError
        If the folder cannot be written, or another process trains in it.
    """

    def __init__(
        self,
        folder: Path,
        network: Network | ExactNetwork,
        task: Task | YinYangTask,
        settings: TrainingSettings | ExactSettings,
        *,
        title: str = "",
        state: str | None = None,
        tables: dict[str, Any] | None = None,
        resume: bool = False,
        show_progress: bool = False,
    ) -> None:
        self.folder = Path(folder)
        if not task.n_test:
            raise ValueError("task must have a test set, whose accuracy a run notes: give X_test and y_test")
        self.trainer: AnyTrainer = _trainer(network, task, settings, show_progress=show_progress)
        self.config = config_of(network, task, settings, title) | ({} if state is None else {"state": state})
        self.config |= {} if tables is None else {TABLES: tables}
        self._description()  # a network that cannot be saved is not trained
        refuse_occupied(self.folder, resume=resume)
        self.folder.mkdir(parents=True, exist_ok=True)
        with files.locked(self.folder):
            # All reading comes before any writing: a folder that cannot be resumed stays as it is.
            rows = self._restored_metrics()
            self._refuse_fewer_epochs()
            for name in RUN_FILES:
                files.remove_parts(self.folder / name)
            if not is_there(self.folder / LAST):  # a kill in the first epoch: all of it begins anew
                (self.folder / BEST).unlink(missing_ok=True)
            self._write(CONFIG, json.dumps(self.config, indent=2) + "\n")
            if is_there(self.folder / METRICS):
                self._write(METRICS, "".join(json.dumps(row) + "\n" for row in rows))

    def run(
        self, stop: Callable[[], int] = lambda: 0, *, save_every_s: float = SAVE_EVERY_S
    ) -> Iterator[dict[str, Any]]:
        """Train to the last epoch, yielding each epoch's metrics once they are on disk with its checkpoint.

        Parameters
        ----------
        stop : callable
            Asked after every mini-batch, beside the signals SIGINT, SIGTERM and SIGHUP; returns the number of a signal
            to stop as if by it, else 0.
        save_every_s : float
            Seconds between checkpoints within an epoch.

        Raises
        ------
        InterruptedRunError
            After such a signal, once the state is saved.
        OSError
            If the disk is full, or another process trains in the folder; the last checkpoint survives.
        Exception
            Whatever the task or the network raises, once the batches before it are saved: a resumed run goes on there.
        """
        progress, epochs = self.trainer.progress, self.trainer.settings.epochs
        with files.locked(self.folder), signals_noted() as noted:
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

        try:
            metrics = trainer.run_epoch(pause)
        except Exception:
            if trainer.between_batches:
                with suppress(OSError):  # a disk in trouble must not hide what went wrong first
                    self._save(LAST)
            raise
        if metrics is not None:
            # Metrics first: a kill between the two leaves a line too many, which a resumed run drops.
            self._append(metrics)
            if deciding(metrics) > best_before:
                self._save(BEST)
        self._save(LAST)
        return metrics

    @property
    def finished(self) -> bool:
        """Whether there is no epoch left to train."""
        return self.trainer.progress.epoch >= self.trainer.settings.epochs

    def metrics(self) -> list[dict[str, Any]]:
        """All epochs so far, from disk."""
        return read_metrics(self.folder)

    def _restored_metrics(self) -> list[dict[str, Any]]:
        """Restore the trainer from the folder, if it holds anything, and return the epochs that are done."""
        if is_there(self.folder / CONFIG):
            check_same_run(self.config, read_config(self.folder), self.folder / CONFIG)
        rows = read_metrics(self.folder)
        if is_there(self.folder / LAST):
            restore(self.trainer, self.folder / LAST, self.config)
        else:
            self._refuse_lost_checkpoint(len(rows))
        n_done = self.trainer.progress.epoch
        if len(rows) < n_done:
            raise CheckpointError(f"{self.folder / METRICS} does not hold the {n_done} epochs of {LAST}")
        if len(rows) > n_done + 1:  # a kill leaves one line too many, not two
            raise CheckpointError(f"{self.folder / METRICS} holds {len(rows)} epochs, but {LAST} has {n_done}")
        self._check_best(n_done)
        return rows[:n_done]

    def _check_best(self, n_done: int) -> None:
        """Raise unless the checkpoint of the best epoch is there, once an epoch is done, and is sound."""
        path = self.folder / BEST
        if is_there(path):
            sound_state(self.trainer, path, self.config)
        elif n_done:
            remedy = f"put it back, or copy {LAST} to it to go on without them"
            raise CheckpointError(f"{path} is missing, and with it the weights of the best epoch: {remedy}")

    def _refuse_lost_checkpoint(self, n_epochs: int) -> None:
        """Raise if the last checkpoint is missing where a kill cannot have kept it from being written."""
        path = self.folder / BEST
        best_epoch = sound_state(self.trainer, path, self.config)[1].epoch if is_there(path) else 0
        trained = max(n_epochs, best_epoch)
        if trained > 1 or best_epoch > n_epochs:  # a kill in the first epoch leaves its metrics, then its checkpoint
            held = f"{METRICS} has {n_epochs} epochs and {BEST} is of epoch {best_epoch}"
            remedy = f"put it back, or copy {BEST} to it to go on from there" if best_epoch else "put it back"
            raise CheckpointError(f"{self.folder / LAST} is missing, but {held}: {remedy}")

    def _refuse_fewer_epochs(self) -> None:
        """Raise if the run has trained more epochs than it is to have."""
        progress, epochs = self.trainer.progress, self.trainer.settings.epochs
        least = progress.epoch + (progress.batch > 0)
        if epochs < least:
            done = f"is in epoch {least}" if progress.batch else f"has finished {least} epochs"
            raise ValueError(f"{self.folder} {done} already: --epochs must be at least {least}, got {epochs}")

    def _save(self, name: str) -> None:
        trainer = self.trainer
        arrays = {f"{kind}{i}": array for kind, group in state_of(trainer).items() for i, array in enumerate(group)}
        meta = {
            "config": self.config,
            "progress": dataclasses.asdict(trainer.progress),
            "optimiser_steps": trainer.optimiser.n_steps,
            **self._description(),
        }
        checkpoints.save(self.folder / name, arrays, meta)

    def _description(self) -> dict[str, Any]:
        """What `Network.load` asks of a checkpoint: the network as it is now, learned constants and all."""
        network = self.trainer.network
        return {NETWORK: description(network)} if isinstance(network, Network) else {}

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
        files.write_atomically(self.folder / name, text.encode())


def _trainer(network: Any, task: Any, settings: Any, *, show_progress: bool) -> AnyTrainer:
    """The trainer of a network: in steps, or in continuous time."""
    kind = ExactTrainer if isinstance(network, ExactNetwork) else Trainer
    return kind(network, task, settings, show_progress=show_progress)

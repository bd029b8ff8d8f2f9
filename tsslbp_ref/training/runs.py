"""A run and its folder: config.json, metrics.jsonl, checkpoint-last.npz and checkpoint-best.npz.

A run that was stopped, by a signal or by kill -9 at any moment, goes on from its last checkpoint as if never stopped.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tsslbp_ref import checkpoints, files
from tsslbp_ref.checks import printable, shown
from tsslbp_ref.engine.blas import product_libraries
from tsslbp_ref.engine.threads import available_cores
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.model.layers import Dropout, SumPool2d
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.model.saved import NETWORK, description
from tsslbp_ref.training.descriptions import TABLES
from tsslbp_ref.training.exact_training import ExactNetwork, ExactSettings, ExactTrainer, YinYangTask
from tsslbp_ref.training.experiments import RELEASED
from tsslbp_ref.training.run_files import (
    BEST,
    CONFIG,
    LAST,
    METRICS,
    RUN_FILES,
    is_count,
    is_finite_number,
    is_there,
    read_config,
    read_metrics,
    with_rule_defaults,
)
from tsslbp_ref.training.run_files import (
    METRIC_NAMES as METRIC_NAMES,  # readers of a run's files know them by this module
)
from tsslbp_ref.training.run_files import refuse_occupied as refuse_occupied
from tsslbp_ref.training.stopping import asked_to_stop, signals_noted
from tsslbp_ref.training.tasks import HeldOut, Task
from tsslbp_ref.training.trainer import Progress, Trainer, TrainingSettings, deciding

SAME_IN_A_RESUMED_RUN = ("neuron", "rule", "layers", "n_steps", "dtype", "n_threads", "settings")
SAME_IF_NOTED = ("factors", "task")  # the first runs' configs do not have these
ABSENT = object()  # no JSON value
SPARE_BYTES = 2**24  # of a checkpoint, beside the arrays
SAVE_EVERY_S = 600.0  # within an epoch, so that kill -9 costs minutes even where an epoch takes hours


AnyTrainer = Trainer | ExactTrainer


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
        self.config = _config(network, task, settings, title) | ({} if state is None else {"state": state})
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
            _same_run(self.config, read_config(self.folder), self.folder / CONFIG)
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
            _sound_state(self.trainer, path, self.config)
        elif n_done:
            remedy = f"put it back, or copy {LAST} to it to go on without them"
            raise CheckpointError(f"{path} is missing, and with it the weights of the best epoch: {remedy}")

    def _refuse_lost_checkpoint(self, n_epochs: int) -> None:
        """Raise if the last checkpoint is missing where a kill cannot have kept it from being written."""
        path = self.folder / BEST
        best_epoch = _sound_state(self.trainer, path, self.config)[1].epoch if is_there(path) else 0
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
        arrays = {f"{kind}{i}": array for kind, group in _state(trainer).items() for i, array in enumerate(group)}
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


# ---------------------------------------------------------------------------------------------------------------------
# What must agree
# ---------------------------------------------------------------------------------------------------------------------


def _trainer(network: Any, task: Any, settings: Any, *, show_progress: bool) -> AnyTrainer:
    """The trainer of a network: in steps, or in continuous time."""
    kind = ExactTrainer if isinstance(network, ExactNetwork) else Trainer
    return kind(network, task, settings, show_progress=show_progress)


def _config(
    network: Network | ExactNetwork, task: Task | YinYangTask, settings: TrainingSettings | ExactSettings, title: str
) -> dict[str, Any]:
    """All that decides a run's numbers, JSON-able."""
    described = network.described() if isinstance(network, ExactNetwork) else _described(network)
    noted = dataclasses.asdict(settings)
    if not noted.get("constants_learning_rate", True):
        del noted["constants_learning_rate"]  # as in the runs before there was one
    config = {"title": title, **described, "task": _noted(task), "settings": noted}
    return json.loads(json.dumps(config))


def _described(network: Network) -> dict[str, Any]:
    """What decides the numbers of a network."""
    return {
        "neuron": _neuron(network),
        "rule": {k: str(v) for k, v in dataclasses.asdict(network.rule).items()},
        "layers": [f"{type(layer).__name__} {layer.input_shape} -> {layer.output_shape}" for layer in network.layers],
        "factors": _factors(network),
        "n_steps": network.n_steps,
        "dtype": network.dtype.name,
        "n_threads": network.n_threads or available_cores(),
        "blas": [library._asdict() for library in product_libraries()],  # noted for readers, free to change
    }


def _neuron(network: Network) -> Any:
    """The constants of the neurons, or a list of those of each layer."""
    if isinstance(network.neuron, NeuronParameters):
        return dataclasses.asdict(network.neuron)
    return [dataclasses.asdict(neuron) for neuron in network.neurons] + [{"input_tau_s": network.input_tau_s}]


def _noted(task: Task | YinYangTask) -> dict[str, Any]:
    """How many samples a task has, which are held out, and what tells its data from others, if it says so."""
    fingerprint = getattr(task, "data_sha256", None)
    sizes = {"n_train": task.n_train, "n_test": task.n_test}
    if isinstance(task, HeldOut):
        sizes |= {"n_validation": task.n_validation, "validation_seed": task.seed}
    return sizes if fingerprint is None else {**sizes, "data_sha256": fingerprint}


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
    keys = SAME_IN_A_RESUMED_RUN + tuple(key for key in SAME_IF_NOTED if key in found)
    if "state" in wanted:
        found = {"state": RELEASED, **found}  # the first runs, all of them of this state, did not note it
        keys = ("state", *keys)
    for key in keys:
        one, other = wanted[key], found.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            one, other = _comparable(key, one, other)
        difference = _first_difference(key, one, other)
        if difference is not None:
            raise CheckpointError(f"{path} is of another run: its {difference}")


def _comparable(key: str, wanted: dict[str, Any], found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What must agree of a part of two configs: not the epochs, and of what may be noted what both note."""
    if key in SAME_IF_NOTED:
        names = wanted.keys() & found.keys()
        return {name: wanted[name] for name in wanted if name in names}, {name: found[name] for name in names}
    if key == "settings":
        return {**wanted, "epochs": None}, {**found, "epochs": None}
    if key == "rule" and "inter" in wanted:
        return wanted, with_rule_defaults(found)
    return wanted, found


def _first_difference(place: str, wanted: Any, found: Any) -> str | None:
    """Say where two JSON values first differ, as "place is this, here it is that"; None where they do not."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = dict.fromkeys((*wanted, *found))
        inner = (_first_difference(f"{place}.{key}", wanted.get(key, ABSENT), found.get(key, ABSENT)) for key in keys)
        return next((difference for difference in inner if difference is not None), None)
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = enumerate(itertools.zip_longest(wanted, found, fillvalue=ABSENT))
        inner = (_first_difference(f"{place}[{i}]", one, other) for i, (one, other) in pairs)
        return next((difference for difference in inner if difference is not None), None)
    return None if wanted == found else f"{printable(place)} is {_said(found)}, here it is {_said(wanted)}"


def _said(value: Any) -> str:
    return "absent" if value is ABSENT else shown(value)


def restore(trainer: AnyTrainer, path: Path, config: dict[str, Any]) -> None:
    """Put a checkpoint's weights, learned constants, optimiser averages and counters into a trainer of this config.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read or belongs to another network or other settings; the trainer is unchanged.
    """
    arrays, progress, n_steps = _sound_state(trainer, path, config)
    for kind, group in _state(trainer).items():
        for i, array in enumerate(group):
            array[...] = arrays[f"{kind}{i}"]
    trainer.optimiser.n_steps = n_steps
    if isinstance(trainer, Trainer) and trainer.learned is not None:
        trainer.learned.optimiser.n_steps = n_steps
        trainer.learned.apply()
    trainer.progress = progress


def _state(trainer: AnyTrainer) -> dict[str, list[np.ndarray]]:
    """The arrays that a checkpoint keeps; where constants are learned, rho's averages come after the weights'."""
    optimiser = trainer.optimiser
    state = {"weight": trainer.network.weights, "mean": optimiser.means, "square": optimiser.squares}
    if isinstance(trainer, Trainer) and trainer.learned is not None:
        own = trainer.learned.optimiser
        state |= {
            "mean": [*optimiser.means, *own.means],
            "square": [*optimiser.squares, *own.squares],
            "rho": own.weights,
        }
    return state


def _sound_state(
    trainer: AnyTrainer, path: Path, config: dict[str, Any]
) -> tuple[dict[str, np.ndarray], Progress, int]:
    """A checkpoint's arrays, progress and number of updates, once all of them are known to fit the trainer."""
    arrays, meta = checkpoints.load(path, _most_bytes(trainer))
    _same_run(config, meta.get("config"), path)
    progress, n_steps = _counters(meta, trainer.task.n_train, path)
    _fit(_state(trainer), arrays, path)
    return arrays, progress, n_steps


def _most_bytes(trainer: AnyTrainer) -> int:
    """More than a checkpoint of the trainer's state takes, were its numbers twice as long."""
    return 2 * sum(array.nbytes for group in _state(trainer).values() for array in group) + SPARE_BYTES


def _counters(meta: dict[str, Any], n_train: int, path: Path) -> tuple[Progress, int]:
    """The progress and the number of updates that a checkpoint's meta data holds."""
    try:
        progress, n_steps = Progress(**meta["progress"]), meta["optimiser_steps"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} lacks the counters of a run: {type(error).__name__} {error}") from error
    values = dataclasses.asdict(progress)
    wrong = [name for name in ("epoch", "batch", "correct", "seen") if not is_count(values[name])]
    wrong += [name for name in ("loss", "seconds", "best_accuracy") if not is_finite_number(values[name])]
    if wrong:
        raise CheckpointError(f"{path} holds no counters of a run: its {wrong[0]} is {shown(values[wrong[0]])}")
    if not is_count(n_steps):
        raise CheckpointError(f"{path} holds no counters of a run: its optimiser_steps is {shown(n_steps)}")
    if progress.seen > n_train:
        raise CheckpointError(f"{path} holds no counters of a run: it has seen {progress.seen} samples of {n_train}")
    return progress, n_steps


def _fit(wanted: dict[str, list[np.ndarray]], arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise unless the checkpoint's arrays of each name have the number, type and shapes of the wanted ones.

    Their numbers must be finite: training ends before others are reached.
    """
    for name, group in wanted.items():
        forms = {f"{name}{i}": _form(array) for i, array in enumerate(group)}
        found = {key: _form(array) for key, array in arrays.items() if key.startswith(name)}
        for key in sorted(forms.keys() | found.keys()):
            one, other = found.get(key, "missing"), forms.get(key, "missing")
            if one != other:
                raise CheckpointError(f"{path} is of another network: its {shown(key)} is {one}, here it is {other}")
        for key in forms:
            if not np.isfinite(arrays[key]).all():
                raise CheckpointError(f"{path} holds numbers that are not finite, in {key}")


def _form(array: np.ndarray) -> str:
    """Type and shape, such as "float32 (10, 400)"; the order of a number's bytes does not matter."""
    return f"{array.dtype.name} {array.shape}"


def load_weights(network: Network | ExactNetwork, arrays: dict[str, np.ndarray], path: Path) -> None:
    """Put a checkpoint's weights into a network, in place, if they fit."""
    _fit({"weight": network.weights}, arrays, path)
    for i, W in enumerate(network.weights):
        W[...] = arrays[f"weight{i}"]

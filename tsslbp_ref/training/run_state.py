"""A trainer's state: what a checkpoint keeps of it, and how it comes back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tsslbp_ref import checkpoints
from tsslbp_ref.checks import shown
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.model.network import Network
from tsslbp_ref.training.exact_training import ExactNetwork, ExactTrainer
from tsslbp_ref.training.run_config import check_same_run
from tsslbp_ref.training.run_files import is_count, is_finite_number
from tsslbp_ref.training.trainer import Progress, Trainer

SPARE_BYTES = 2**24  # of a checkpoint, beside the arrays

AnyTrainer = Trainer | ExactTrainer


def restore(trainer: AnyTrainer, path: Path, config: dict[str, Any]) -> None:
    """Put a checkpoint's weights, learned constants, optimiser averages and counters into a trainer of this config.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read or belongs to another network or other settings; the trainer is unchanged.
    """
    arrays, progress, n_steps = sound_state(trainer, path, config)
    for kind, group in state_of(trainer).items():
        for i, array in enumerate(group):
            array[...] = arrays[f"{kind}{i}"]
    trainer.optimiser.n_steps = n_steps
    if isinstance(trainer, Trainer) and trainer.learned is not None:
        trainer.learned.optimiser.n_steps = n_steps
        trainer.learned.apply()
    trainer.progress = progress


def state_of(trainer: AnyTrainer) -> dict[str, list[np.ndarray]]:
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


def sound_state(trainer: AnyTrainer, path: Path, config: dict[str, Any]) -> tuple[dict[str, np.ndarray], Progress, int]:
    """A checkpoint's arrays, progress and number of updates, once all of them are known to fit the trainer."""
    arrays, meta = checkpoints.load(path, _most_bytes(trainer))
    check_same_run(config, meta.get("config"), path)
    progress, n_steps = _counters(meta, trainer.task.n_train, path)
    _fit(state_of(trainer), arrays, path)
    return arrays, progress, n_steps


def _most_bytes(trainer: AnyTrainer) -> int:
    """More than a checkpoint of the trainer's state takes, were its numbers twice as long."""
    return 2 * sum(array.nbytes for group in state_of(trainer).values() for array in group) + SPARE_BYTES


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

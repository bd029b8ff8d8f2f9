"""The training loop: epochs of mini-batches, progress, metrics, and a state that can stop and go on bit for bit.

Nothing random is carried from batch to batch: the order of an epoch and the draws of a batch are functions of (seed,
epoch, batch). So weights, the optimiser's averages and three counters are the whole state.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from tsslbp_ref import checks, losses
from tsslbp_ref.network import Network
from tsslbp_ref.optim import AdamW
from tsslbp_ref.tasks import Task

Array = npt.NDArray[Any]

ORDER_STREAM, DRAW_STREAM = 0, 1  # keep the order of an epoch and the draws of its batches apart


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; the defaults are the paper's for MNIST.

    Parameters
    ----------
    epochs, batch_size : int
    learning_rate : float
    loss : str
        See `losses.LOSSES`.
    loss_settings : LossSettings
    seed : int
        Of the data order, the augmentation and the dropout.

    Raises
    ------
    ValueError, TypeError
        If a number is out of range or the loss's name is unknown.
    """

    epochs: int = 100
    batch_size: int = 50
    learning_rate: float = 5e-4
    loss: str = "kernel"
    loss_settings: losses.LossSettings = field(default_factory=losses.LossSettings)
    seed: int = 0

    def __post_init__(self) -> None:
        checks.positive_integer("epochs", self.epochs)
        checks.positive_integer("batch_size", self.batch_size)
        checks.real_number("learning_rate", self.learning_rate, above=0.0)
        checks.one_of("loss", self.loss, losses.LOSSES)
        checks.positive_integer("seed", self.seed, minimum=0)


@dataclass
class Progress:
    """Where a run stands: the epoch, the batch within it, and the epoch's sums so far."""

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0
    correct: int = 0
    seen: int = 0
    best_accuracy: float = -1.0


class Trainer:
    """Train a network on a task, an epoch at a time.

    Parameters
    ----------
    network : Network
        Trained in place.
    task : Task
    settings : TrainingSettings
    show_progress : bool
        Draw a tqdm bar on standard error.
    """

    def __init__(
        self, network: Network, task: Task, settings: TrainingSettings, *, show_progress: bool = False
    ) -> None:
        self.network = network
        self.task = task
        self.settings = settings
        self.show_progress = show_progress
        self.optimiser = AdamW(network.weights, settings.learning_rate, workers=network.workers)
        self.progress = Progress()

    def run_epoch(self, should_stop: Callable[[], bool] = lambda: False) -> dict[str, Any] | None:
        """Train to the end of the current epoch, test, and return the epoch's metrics.

        Parameters
        ----------
        should_stop : callable
            Asked after every mini-batch; True ends the call early.

        Returns
        -------
        dict or None
            epoch (from 1), train_loss (a sample), train_accuracy, test_accuracy (shares of 1), seconds and
            samples_per_second of training; None if stopped early, with the state ready to go on.

        Raises
        ------
        ValueError
            If the gradients stop being finite.
        """
        started, seen_before = time.perf_counter(), self.progress.seen
        order = self._rng(ORDER_STREAM).permutation(self.task.n_train)
        with self._bar(len(order)) as bar:
            while self.progress.seen < len(order):
                self._train_batch(order[self.progress.seen :][: self.settings.batch_size], bar)
                if should_stop() and self.progress.seen < len(order):
                    return None
        seconds = time.perf_counter() - started
        return self._finish_epoch(seconds, (self.progress.seen - seen_before) / seconds)

    def _train_batch(self, indices: npt.NDArray[np.int64], bar: Any) -> None:
        rng = self._rng(DRAW_STREAM, self.progress.batch)
        x, y = self.task.train_batch(indices, rng)
        value, gradients, a, _ = self.network.training_pass(
            x, y, self.settings.loss, settings=self.settings.loss_settings, rng=rng
        )
        self.optimiser.step(gradients)
        state = self.progress
        per_sample = len(y) if self.settings.loss == "softmax" else 1  # the other losses are sums over the batch
        state.loss += value * per_sample
        state.correct += int((a.sum(axis=0).argmax(axis=1) == y).sum())
        state.seen += len(y)
        state.batch += 1
        bar.update(len(y))
        bar.set_postfix(loss=f"{state.loss / state.seen:.4f}", acc=f"{state.correct / state.seen:.4f}", refresh=False)

    def _finish_epoch(self, seconds: float, rate: float) -> dict[str, Any]:
        state = self.progress
        metrics = {
            "epoch": state.epoch + 1,
            "train_loss": state.loss / state.seen,
            "train_accuracy": state.correct / state.seen,
            "test_accuracy": self.test_accuracy(),
            "seconds": round(seconds, 3),
            "samples_per_second": round(rate, 1),
        }
        best = max(state.best_accuracy, metrics["test_accuracy"])
        self.progress = Progress(epoch=state.epoch + 1, best_accuracy=best)
        return metrics

    def test_accuracy(self) -> float:
        """Share of the test set whose class is predicted right."""
        correct = sum(int((self.network.predict(x) == y).sum()) for x, y in self.task.test_batches())
        return correct / self.task.n_test

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, self.progress.epoch, *stream])

    def _bar(self, total: int) -> Any:
        return tqdm(
            total=total,
            initial=self.progress.seen,
            desc=f"epoch {self.progress.epoch + 1}/{self.settings.epochs}",
            unit="sample",
            disable=not self.show_progress,
            leave=False,
        )

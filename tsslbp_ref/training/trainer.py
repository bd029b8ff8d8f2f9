"""The training loop: epochs of mini-batches, progress, metrics, and a state that can stop and go on bit for bit.

Nothing random is carried from batch to batch: the order of an epoch and the draws of a batch are functions of (seed,
epoch, batch). So weights, the optimiser's averages and three counters are the whole state.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine.blas import one_blas_thread
from tsslbp_ref.model import losses
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.training.learned_constants import LearnedConstants
from tsslbp_ref.training.progress import progress
from tsslbp_ref.training.run_files import TEST, VALIDATION
from tsslbp_ref.training.tasks import HeldOut, Task

Array = npt.NDArray[Any]

ORDER_STREAM, DRAW_STREAM = 0, 1  # keep the order of an epoch and the draws of its batches apart
LABEL_LOSSES = tuple(name for name in losses.LOSSES if name != "spike-train")  # what a task with labels trains on


@dataclass(frozen=True)
class TrainingSettings:
    """How to train; the defaults are the paper's for MNIST.

    Parameters
    ----------
    epochs, batch_size : int
    learning_rate : float
    loss : str
        See `LABEL_LOSSES`.
    loss_settings : LossSettings
    seed : int
        Of the data order, the augmentation and the dropout.
    constants_learning_rate : float
        Of the hidden layers' tau_m and tau_s, see `learned_constants`; 0 leaves them as they are.

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
    constants_learning_rate: float = 0.0

    def __post_init__(self) -> None:
        if self.loss == "spike-train":
            raise ValueError("loss 'spike-train' has desired trains and no labels: see Network.training_step")
        checks.set_fields(
            self,
            epochs=checks.positive_integer("epochs", self.epochs),
            batch_size=checks.axis_size("batch_size", self.batch_size),
            learning_rate=checks.real_number("learning_rate", self.learning_rate, above=0.0),
            loss=checks.one_of("loss", self.loss, LABEL_LOSSES),
            loss_settings=checks.instance_of("loss_settings", self.loss_settings, losses.LossSettings),
            seed=checks.positive_integer("seed", self.seed, minimum=0),
            constants_learning_rate=checks.real_number(
                "constants_learning_rate", self.constants_learning_rate, minimum=0.0
            ),
        )


@dataclass
class Progress:
    """Where a run stands: the epoch, the batch within it, the epoch's sums so far, and the best epoch before it.

    The best epoch is chosen by the samples that are held out, where there are any, else by the test set.
    """

    epoch: int = 0
    batch: int = 0
    loss: float = 0.0
    correct: int = 0
    seen: int = 0
    seconds: float = 0.0  # of training; the time between a stop and a resume does not count
    best_accuracy: float = -1.0

    def finished(self, accuracies: Mapping[str, float]) -> tuple[dict[str, Any], Progress]:
        """The metrics of the epoch that has ended, with these accuracies, and where the next one begins."""
        metrics = {
            "epoch": self.epoch + 1,
            "train_loss": self.loss / self.seen,
            "train_accuracy": self.correct / self.seen,
            **accuracies,
            "seconds": round(self.seconds, 3),
            "samples_per_second": round(self.seen / self.seconds, 1),
        }
        best = max(self.best_accuracy, deciding(metrics))
        return metrics, Progress(epoch=self.epoch + 1, best_accuracy=best)


def deciding(metrics: Mapping[str, Any]) -> float:
    """The accuracy of an epoch that says whether it is the best one; without any, no epoch is better than another."""
    return metrics.get(VALIDATION, metrics.get(TEST, 0.0))


class Trainer:
    """Train a network on a task, an epoch at a time.

    Parameters
    ----------
    network : Network
        Trained in place.
    task : Task
    settings : TrainingSettings
    show_progress : bool
        Show the progress on standard error: a bar on a terminal, else a line now and then.

    Raises
    ------
    ValueError, TypeError
        If constants are to be learned and the network has none that can be.
    """

    def __init__(
        self, network: Network, task: Task, settings: TrainingSettings, *, show_progress: bool = False
    ) -> None:
        self.network = network
        self.task = task
        self.settings = settings
        self.show_progress = show_progress
        self.optimiser = AdamW(network.weights, settings.learning_rate)
        rate = settings.constants_learning_rate
        self.learned = LearnedConstants(network, rate) if rate else None
        self.progress = Progress()
        self._n_updates_counted = 0

    @property
    def between_batches(self) -> bool:
        """Whether weights, averages and counters are of the same batch; not so after an error within an update."""
        optimisers = [self.optimiser] if self.learned is None else [self.optimiser, self.learned.optimiser]
        return all(not one.updating and one.n_steps == self._n_updates_counted for one in optimisers)

    def run_epoch(self, should_stop: Callable[[], bool] = lambda: False) -> dict[str, Any] | None:
        """Train to the end of the current epoch, test, and return the epoch's metrics.

        Parameters
        ----------
        should_stop : callable
            Asked after every mini-batch, of the test too; True ends the call early.

        Returns
        -------
        dict or None
            epoch (from 1), train_loss (a sample), train_accuracy, test_accuracy if there is a test set,
            validation_accuracy of the samples that are held out, if any are (shares of 1), seconds and
            samples_per_second of training, tau_m and tau_s of the hidden layers where they are learned; None if stopped
            early, with the state ready to go on.

        Raises
        ------
        ValueError
            If the gradients stop being finite or the task hands out what the network cannot take; the message says in
            which batch.
        """
        self._n_updates_counted = self.optimiser.n_steps
        order = self._rng(ORDER_STREAM).permutation(self.task.n_train)
        # The optimiser's and the loss's sums are BLAS calls, too, and their last bits depend on BLAS's own threads.
        with one_blas_thread():
            with self._progress() as show:
                while self.progress.seen < len(order):
                    self._train_batch(order[self.progress.seen :][: self.settings.batch_size])
                    show()
                    if should_stop():
                        return None
            accuracies = {name: self._share(batches, n, should_stop) for name, batches, n in self._tests()}
        if any(accuracy is None for accuracy in accuracies.values()):
            return None
        metrics, self.progress = self.progress.finished(cast("dict[str, float]", accuracies))
        return metrics if self.learned is None else metrics | self.learned.metrics()

    def _train_batch(self, indices: npt.NDArray[np.int64]) -> None:
        state, settings = self.progress, self.settings
        started = time.perf_counter()
        rng = self._rng(DRAW_STREAM, state.batch)
        try:
            x, y = self.task.train_batch(indices, rng)
            if self.learned is None:
                value, _, a = self.network.training_step(
                    x, y, settings.loss, settings=settings.loss_settings, rng=rng, optimiser=self.optimiser
                )
            else:  # by the plain loops, which hand out what passed through each layer
                value, gradients, a, flows = self.network.training_pass(
                    x, y, settings.loss, settings=settings.loss_settings, rng=rng
                )
                self.optimiser.step(gradients)
                self.learned.step(flows)
        except ValueError as error:
            raise ValueError(f"epoch {state.epoch + 1}, batch {state.batch + 1}: {error}") from error
        per_sample = len(y) if settings.loss == "softmax" else 1  # the other losses are sums over the batch
        state.loss += value * per_sample
        state.correct += int((a.sum(axis=0).argmax(axis=1) == y).sum())
        state.seen += len(y)
        state.batch += 1
        state.seconds += time.perf_counter() - started
        self._n_updates_counted = self.optimiser.n_steps

    def test_accuracy(self) -> float:
        """Share of the test set whose class is predicted right."""
        accuracy = self._share(self.task.test_batches(), self.task.n_test, lambda: False)
        assert accuracy is not None
        return accuracy

    def _tests(self) -> Iterator[tuple[str, Iterator[tuple[Array, Array]], int]]:
        """What an epoch ends with: the metric's name, the samples in batches, and their number."""
        if self.task.n_test:
            yield TEST, self.task.test_batches(), self.task.n_test
        if isinstance(self.task, HeldOut):
            yield VALIDATION, self.task.validation_batches(), self.task.n_validation

    def _share(
        self, batches: Iterable[tuple[Array, Array]], n_samples: int, should_stop: Callable[[], bool]
    ) -> float | None:
        """Share of samples whose class is predicted right, or None if stopped early."""
        correct = 0
        for x, y in batches:
            correct += int((self.network.predict(x) == y).sum())
            if should_stop():
                return None
        return correct / n_samples

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.settings.seed, self.progress.epoch, *stream])

    @contextmanager
    def _progress(self) -> Iterator[Callable[[], None]]:
        """Yield what to call after every batch."""
        state = self.progress
        title = f"epoch {state.epoch + 1}/{self.settings.epochs}"
        n_train = self.task.n_train
        with progress(n_train, title, "sample", initial=state.seen, show=self.show_progress) as show:
            yield lambda: show(
                state.seen, loss=f"{state.loss / state.seen:.4f}", acc=f"{state.correct / state.seen:.4f}"
            )


def epoch_line(metrics: dict[str, Any]) -> str:
    """One epoch's metrics, for people."""
    names = {"train": "train_accuracy", "test": TEST, "held-out": VALIDATION}
    accuracies = "  ".join(f"{kind} {metrics[name]:.2%}" for kind, name in names.items() if name in metrics)
    return (
        f"epoch {metrics['epoch']:3d}  loss {metrics['train_loss']:.4f}  {accuracies}  "
        f"{metrics['seconds']:.1f} s ({metrics['samples_per_second']:.0f} samples/s)"
    )

"""Train a CIFAR-10 network of the paper on a few of its pictures: does it learn, and what would the full run take?

Everything is as in the experiment's row but the number of pictures, of epochs, and the size of a mini-batch.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.experiments import EXPERIMENTS, experiment
from tsslbp_ref.tasks import Task, task_of
from tsslbp_ref.training import Trainer, TrainingSettings, epoch_line

Array = npt.NDArray[Any]
FIELDS = ("epoch", "train_loss", "train_accuracy", "test_accuracy", "seconds", "samples_per_second")
USAGE_ERROR = 2


@dataclass(frozen=True)
class Subset:
    """The first `n_train` training samples of a task, and whole test batches up to at least `n_test`.

    Parameters
    ----------
    task : Task
    n_train : int
    least_test : int
    """

    task: Task
    n_train: int
    least_test: int

    def __post_init__(self) -> None:
        checks.positive_integer("n_train", self.n_train)
        checks.positive_integer("least_test", self.least_test)
        if self.n_train > self.task.n_train:
            raise ValueError(f"n_train must be at most {self.task.n_train}, got {self.n_train}")

    @property
    def n_test(self) -> int:
        """Test samples in the batches that are handed out."""
        return sum(len(y) for _, y in self.test_batches())

    def train_batch(self, indices: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, Array]:
        """As the whole task."""
        return self.task.train_batch(indices, rng)

    def test_batches(self) -> Iterator[tuple[Array, Array]]:
        """The task's first test batches."""
        seen = 0
        for x, y in self.task.test_batches():
            yield x, y
            seen += len(y)
            if seen >= self.least_test:
                return


def train(
    name: str, n_train: int, n_test: int, batch_size: int, epochs: int, seed: int = 0
) -> Iterator[dict[str, Any]]:
    """Train the experiment `name` on a subset; yield an epoch's metrics (see `Trainer.run_epoch`)."""
    row = experiment(name)
    settings = TrainingSettings(epochs, batch_size, row.learning_rate, row.loss, row.loss_settings, seed)
    trainer = Trainer(row.network(seed), Subset(task_of(row), n_train, n_test), settings)
    for _ in range(epochs):
        metrics = trainer.run_epoch()
        assert metrics is not None
        yield metrics


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.cifar_subset", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", metavar="NAME", help=f"one of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--train", type=int, default=1000, metavar="N", help="pictures (default: %(default)s)")
    parser.add_argument("--test", type=int, default=300, metavar="N", help="at least so many (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=20, metavar="N", help="mini-batch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=8, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="(default: %(default)s)")
    parser.add_argument("--csv", type=Path, help="write the epochs here, a line each as it ends")
    options = parser.parse_args(arguments)
    try:
        rows = train(options.experiment, options.train, options.test, options.batch, options.epochs, options.seed)
        written = []
        for metrics in rows:
            print(epoch_line(metrics), flush=True)
            written.append({field: metrics[field] for field in FIELDS})
            if options.csv:
                _write(options.csv, written)
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m studies.cifar_subset: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    sys.exit(main())

"""Train an experiment of the paper's table on a few of its images: does the network learn?

``python -m studies.subset_training EXPERIMENT --images 2000 --folder FOLDER`` writes a run folder, like
`tsslbp-ref train`, so that `tsslbp-ref results` and the other studies read it. It is for networks whose full run takes
weeks. Everything is as in the experiment's row but what the command line says otherwise.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from tsslbp_ref import checks
from tsslbp_ref.training import TrainingSettings, epoch_line
from tsslbp_ref.training.experiments import EXPERIMENTS, Experiment, experiment
from tsslbp_ref.training.runs import InterruptedRunError, Run
from tsslbp_ref.training.tasks import HeldOut, SampledTask, task_of

Array = npt.NDArray[Any]
USAGE_ERROR = 2
SIGNAL_BASE = 128  # exit status of a process that a signal stopped, as shells have it


@dataclass(frozen=True)
class Subset:
    """The first `n_train` training samples of a task, and its first `n_test` test samples.

    Parameters
    ----------
    task : SampledTask
        Of static images.
    n_train, n_test : int

    Raises
    ------
    ValueError, TypeError
        If a number is not a positive integer, or the task has fewer samples.
    """

    task: SampledTask
    n_train: int
    n_test: int

    def __post_init__(self) -> None:
        for name, most in (("n_train", self.task.n_train), ("n_test", self.task.n_test)):
            if checks.positive_integer(name, getattr(self, name)) > most:
                raise ValueError(f"{name} must be at most {most}, got {getattr(self, name)}")

    @property
    def test_batch(self) -> int:
        """As the whole task."""
        return self.task.test_batch

    def train_samples(self, indices: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """As the whole task."""
        return self.task.train_samples(indices)

    def train_batch(self, indices: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, Array]:
        """As the whole task."""
        return self.task.train_batch(indices, rng)

    def test_batches(self) -> Iterator[tuple[Array, Array]]:
        """As the whole task, up to `n_test` samples."""
        left = self.n_test
        for x, y in self.task.test_batches():
            yield x[:left], y[:left]
            left -= len(y)
            if left <= 0:
                return


def changed_row(options: argparse.Namespace) -> Experiment:
    """The experiment's row with what the command line changes in it."""
    row = experiment(options.experiment)
    if row.dataset == "n-mnist":
        raise ValueError(f"experiment must be one of static images, got {row.name}")
    changes: dict[str, Any] = {"dropout": 0.0, "augment": False} if options.plain else {}
    if options.batch is not None:
        changes["batch_size"] = options.batch
    if options.learning_rate is not None:
        changes["learning_rate"] = options.learning_rate
    return replace(row, **changes)


def train(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Train in the folder; yield an epoch's metrics (see `Run.run`)."""
    row = changed_row(options)
    whole: SampledTask = task_of(row, options.data, download=False)  # type: ignore[assignment] # all of the table are
    subset = Subset(whole, options.images, options.test)
    task = subset if options.held_out is None else HeldOut(subset, options.held_out)
    settings = TrainingSettings(
        options.epochs, row.batch_size, row.learning_rate, row.loss, row.loss_settings, options.seed
    )
    network = row.network(options.seed, n_threads=options.threads)
    with threadpool_limits(1, user_api="blas"):
        yield from Run(options.folder, network, task, settings, title=row.name, resume=options.resume).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m studies.subset_training", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("experiment", metavar="EXPERIMENT", help=f"one of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--folder", type=Path, required=True, help="of the run")
    parser.add_argument("--images", type=int, default=2000, metavar="N", help="to train on (default: %(default)s)")
    parser.add_argument("--test", type=int, default=500, metavar="N", help="test images (default: %(default)s)")
    parser.add_argument("--held-out", type=int, metavar="N", help="of those to train on, to choose the epoch")
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--batch", type=int, metavar="N", help="instead of the experiment's")
    parser.add_argument("--learning-rate", type=float, metavar="X", help="instead of the experiment's")
    parser.add_argument("--plain", action="store_true", help="no dropout, no crop and no flip")
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 2 with one line that says what is wrong, or 128 + a signal that stopped it."""
    options = _parser().parse_args(arguments)
    try:
        for metrics in train(options):
            print(epoch_line(metrics), flush=True)
    except InterruptedRunError as stopped:
        print(stopped, file=sys.stderr)
        return SIGNAL_BASE + stopped.signum
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m studies.subset_training: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

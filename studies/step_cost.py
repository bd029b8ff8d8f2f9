"""What one training step of an experiment costs: processor time, wall time and peak memory, and so the full run.

``python -m studies.step_cost NAME`` builds the network of an experiment of the paper's table, takes one sample through
it untimed, so that all loops are compiled, and then times training steps on a batch of the experiment's size: forward,
backward and update, as `tsslbp_ref.training` does them. With ``--real`` the batch is the first of the training data.
Without, no data set is needed: the input is random, images normal and events as rare as in a recording of N-MNIST.
Reading and augmenting data is not in the measure.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from tsslbp_ref import checks
from tsslbp_ref.files import write_atomically
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.training.experiments import EXPERIMENTS, N_CLASSES, Experiment, experiment
from tsslbp_ref.training.tasks import Task, task_of

Array = npt.NDArray[Any]

# Share of (step, polarity, pixel) with an event: results/n-mnist-recording.csv has 0.0123 in its 100 steps of 3 ms and
# 0.0152 in the first 30; a test holds the constant to them.
EVENT_SHARE = 0.015
EVENT_DATASET = "n-mnist"
TRAINING_SAMPLES = {"mnist": 60_000, "fashion-mnist": 60_000, "n-mnist": 60_000, "cifar-10": 50_000}  # in full
DAY_S = 86_400.0
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; getrusage(2) counts in kibibytes but on macOS


@dataclass(frozen=True)
class StepCost:
    """Cost of a training step.

    Attributes
    ----------
    batch_size : int
    cpu_seconds : float
        Processor time of all threads, mean of a step.
    wall_seconds : float
        Mean of a step.
    peak_bytes : int
        The largest resident set of the process so far: network, optimiser, step, the
        libraries themselves and, with a task, the data set.
    """

    batch_size: int
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int


def random_batch(row: Experiment, batch_size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Input and labels of the experiment's shapes: (B, C, H, W) normal images or (T, B, C, H, W) rare events."""
    y = rng.integers(N_CLASSES, size=batch_size)
    if row.dataset == EVENT_DATASET:
        events = rng.random((row.n_steps, batch_size, *row.input_shape), dtype=np.float32) < EVENT_SHARE
        return events.astype(np.float32), y
    return rng.standard_normal((batch_size, *row.input_shape), dtype=np.float32), y


def first_batch(task: Task, batch_size: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Input and labels of the first training samples."""
    return task.train_batch(np.arange(min(batch_size, task.n_train)), rng)


def full_run_days(row: Experiment, cost: StepCost) -> float:
    """Days of one core that all epochs on the whole data set would take at this cost of a step."""
    return row.epochs * TRAINING_SAMPLES[row.dataset] / cost.batch_size * cost.cpu_seconds / DAY_S


def measure(
    row: Experiment, *, task: Task | None = None, n_steps: int = 1, n_threads: int = 1, seed: int = 0
) -> StepCost:
    """Time `n_steps` training steps, after one of a single sample that is not timed.

    Parameters
    ----------
    row : Experiment
    task : Task, optional
        Its first training samples are the batch; random input if not given.
    n_steps : int
        Number of training steps, not of time steps.
    n_threads : int
        Threads that share a mini-batch.
    seed : int
        Of weights, input and dropout.

    Returns
    -------
    StepCost

    Raises
    ------
    TypeError, ValueError
        If a number is not a positive integer.
    """
    n_steps = checks.positive_integer("n_steps", n_steps)
    rng = np.random.default_rng(checks.positive_integer("seed", seed, minimum=0))
    network = row.network(seed, n_threads=n_threads)
    optimiser = AdamW(network.weights, row.learning_rate)

    def step(x: Array, y: Array) -> None:
        gradients = network.training_step(x, y, row.loss, settings=row.loss_settings, rng=rng)[1]
        optimiser.step(gradients)

    with threadpool_limits(1, user_api="blas"):
        step(*random_batch(row, 1, rng))
        x, y = random_batch(row, row.batch_size, rng) if task is None else first_batch(task, row.batch_size, rng)
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(n_steps):
            step(x, y)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT
    return StepCost(len(y), cpu / n_steps, wall / n_steps, peak)


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.step_cost", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment", metavar="NAME", help=f"one of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--steps", type=int, default=1, metavar="N", help="training steps (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads (default: %(default)s)")
    parser.add_argument("--real", action="store_true", help="a batch of the training data instead of random input")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--json", type=Path, help="put the numbers into this file, instead of this experiment's")
    options = parser.parse_args(arguments)
    try:
        row = experiment(options.experiment)
        task = task_of(row, options.data, download=False) if options.real else None
        cost = measure(row, task=task, n_steps=options.steps, n_threads=options.threads)
        if options.json is not None:
            _keep(options.json, row, cost, options)
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m studies.step_cost: {error}", file=sys.stderr)
        return USAGE_ERROR
    print(
        f"{row.name}: batch {cost.batch_size}, {cost.cpu_seconds:.3g} CPU s and {cost.wall_seconds:.3g} s a step, "
        f"peak {cost.peak_bytes / 2**30:.3g} GiB; "
        f"all {row.epochs} epochs: {full_run_days(row, cost):.3g} days of one core"
    )
    return 0


def _keep(path: Path, row: Experiment, cost: StepCost, options: argparse.Namespace) -> None:
    """Put an experiment's cost into a JSON file beside those of the others."""
    table = json.loads(path.read_text()) if path.exists() else {}
    if not isinstance(table, dict):
        raise ValueError(f"{path} must hold a JSON object, got a {type(table).__name__}")
    table[row.name] = {
        "input": "real" if options.real else "random",
        "batch": cost.batch_size,
        "threads": options.threads,
        "steps": options.steps,
        "cpu_seconds": round(cost.cpu_seconds, 3),
        "wall_seconds": round(cost.wall_seconds, 3),
        "peak_gib": round(cost.peak_bytes / 2**30, 3),
        "full_run_days": round(full_run_days(row, cost), 2),
    }
    write_atomically(path, (json.dumps(table, indent=1) + "\n").encode())


if __name__ == "__main__":
    sys.exit(main())

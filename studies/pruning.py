"""How many hidden neurons a trained dense network can do without: drop those that fire least on the training data.

``python -m studies.pruning RUN_FOLDER [...] --out results/pruning.csv`` counts the spikes of every hidden neuron over
the training data, drops the neurons that never fire there, then the least active 10 %, 20 %, ... of all hidden neurons
and, for comparison, as many chosen at random, and tests each smaller network: the best epoch's and the last one's.
In a run with held-out pictures those have chosen the best. Nothing is trained again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from studies.trained_runs import KEY, TrainedRun, load_run, merge_rows
from tsslbp_ref import checks
from tsslbp_ref.model.layers import Dense
from tsslbp_ref.model.network import Network
from tsslbp_ref.training.run_files import BEST, LAST
from tsslbp_ref.training.tasks import Task, task_of

Array = npt.NDArray[Any]

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BATCH = 500
COLUMNS = (*KEY, "dropped", "neurons", "weights", "test_accuracy", "errors_new", "errors_gone", "measure")
USAGE_ERROR = 2


def spikes_of_hidden(network: Network, task: Task, most: int | None = None) -> list[Array]:
    """Spikes of every hidden neuron over the training data, summed over steps and samples.

    Parameters
    ----------
    network : Network
    task : Task
    most : int, optional
        At most so many samples, from the first on; all if not given.

    Returns
    -------
    list of (N,) array of int64
        One a hidden layer.
    """
    n = task.n_train if most is None else min(task.n_train, checks.positive_integer("most", most))
    counts: list[Array] | None = None
    for start in range(0, n, BATCH):
        x, y = task.train_batch(np.arange(start, min(start + BATCH, n)), np.random.default_rng(0))
        flows = network.gradient_flow(x, y)
        new = [(flow.trace.s > 0).sum(axis=(0, 1)) for flow in flows[:-1]]
        counts = new if counts is None else [old + more for old, more in zip(counts, new, strict=True)]
    assert counts is not None  # a task has a sample
    return counts


def without(network: Network, kept: Sequence[npt.NDArray[np.bool_]]) -> Network:
    """The network that has only the hidden neurons of which `kept` is True, with their weights.

    Parameters
    ----------
    network : Network
        Of dense layers.
    kept : sequence of (N,) array of bool
        One a hidden layer, each with at least one True.

    Returns
    -------
    Network
        Shares nothing with the first.

    Raises
    ------
    ValueError
        If a layer is not dense, or `kept` does not fit.
    """
    for layer in network.layers:
        if not isinstance(layer, Dense):
            raise ValueError(f"every layer must be dense, got {type(layer).__name__}")
    if [len(k) for k in kept] != [len(W) for W in network.weights[:-1]] or not all(k.any() for k in kept):
        raise ValueError(
            f"kept must have {[len(W) for W in network.weights[:-1]]} entries, got {[len(k) for k in kept]}"
        )
    into = [*kept, np.ones(len(network.weights[-1]), dtype=bool)]
    small = Network.from_spec(
        "-".join(str(int(k.sum())) for k in kept), network.input_shape, len(network.weights[-1]), network.n_steps,
        network.neuron, network.rule, dtype=str(network.weights[0].dtype), n_threads=1,
    )  # fmt: skip
    below = np.ones(network.weights[0].shape[1], dtype=bool)
    for own, W, rows in zip(small.weights, network.weights, into, strict=True):
        own[...] = W[np.ix_(rows, below)]
        below = rows
    return small


def right_answers(network: Network, task: Task) -> npt.NDArray[np.bool_]:
    """Which test samples are classified right."""
    return np.concatenate([network.predict(x) == y for x, y in task.test_batches()])


def measure(run: TrainedRun, task: Task, most: int | None = None) -> Iterator[dict[str, Any]]:
    """A row a smaller network; the whole one first."""
    counts = spikes_of_hidden(run.network, task, most)
    before = right_answers(run.network, task)
    flat, sizes = np.concatenate(counts), [len(c) for c in counts]
    rng = np.random.default_rng(run.seed)
    random_order, by_count = rng.permutation(len(flat)), np.argsort(flat, kind="stable")
    plans = [("nothing", flat >= 0), ("silent on the training data", flat > 0)]
    for share in SHARES:
        n = round(share * len(flat))
        for name, order in (("least active", by_count), ("random", random_order)):
            kept = np.ones(len(flat), dtype=bool)
            kept[order[:n]] = False
            plans.append((f"{name} {share:.0%}", kept))
    for name, kept in plans:
        parts = np.split(kept, np.cumsum(sizes)[:-1])
        if not all(part.any() for part in parts):
            continue  # a layer would be empty
        small = without(run.network, parts)
        after = right_answers(small, task)
        yield run.key | {
            "dropped": name, "neurons": int(kept.sum()), "weights": sum(W.size for W in small.weights),
            "test_accuracy": float(after.mean()), "errors_new": int((before & ~after).sum()),
            "errors_gone": int((~before & after).sum()), "measure": run.measure,
        }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.pruning", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="RUN_FOLDER")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    options = parser.parse_args(arguments)
    try:
        for folder in options.folders:
            both = [load_run(folder, checkpoint) for checkpoint in (BEST, LAST)]
            task = task_of(both[0].row, options.data, download=False)
            rows = [row for run in both for row in measure(run, task)]
            merge_rows(options.out, COLUMNS, rows)
            for row in rows:
                print(f"{folder}: {row['measure']}, {row['dropped']}: {row['test_accuracy']:.2%}")
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m studies.pruning: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

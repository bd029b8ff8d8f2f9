"""Accuracy of dense networks on Fashion-MNIST by depth, by number of time steps, and by half of the intra-neuron term.

``python -m studies.depth_and_steps GRID --out results/GRID.csv`` trains every cell of a grid from several seeds, and
writes a row an epoch and cell. Where OUT holds a cell already, it is left out, so that the command goes on where it was
stopped. The grids:

- depth: 1 to 10 hidden layers of 200 neurons, at T = 5;
- steps: 400-400 at T = 1 to 20;
- intra: 400-400 at T = 5, 10, 20 by the released rule, without the intra-neuron term, and by either half of it.

OUT with "-summary" has the test accuracy (%) by network, T and rule, with its 95 % interval (Student): of the best
epoch on the test pictures, of the last one, and, where ``--held-out`` leaves training pictures out, of the epoch
`chosen` on those. In the grid intra it has each rule's difference from that without the term, too, taken seed by seed.

All else is as in the row fashion-mnist-400-400 of the released settings. `delta_1`, `delta_2`, ... are the mean |delta|
(loss per unit of membrane) of the layers over the first training batch, all its steps and neurons, after the epoch;
epoch 0 is before training. `silent_1`, ... are the shares of neurons that do not fire for a picture of that batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from studies.ablation import PERCENT, Mean, mean_over_seeds, paired_difference, text_of
from studies.trained_runs import Row, read_rows, write_rows
from tsslbp_ref import checks
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.parameters import GradientRule, rule_by_name
from tsslbp_ref.training import Trainer, TrainingSettings
from tsslbp_ref.training.experiments import experiment
from tsslbp_ref.training.tasks import Task, task_of

EXPERIMENT = "fashion-mnist-400-400"
DEPTHS, DEPTH_WIDTH = tuple(range(1, 11)), 200
STEPS = (1, 2, 3, 5, 8, 12, 16, 20)
INTRA_STEPS = (5, 10, 20)
WITHOUT, CHOSEN = "no-intra", "chosen"
MEASURES = ("best", "last", CHOSEN)
HALVES = {  # of the intra-neuron term
    "leak-alone": GradientRule(intra="leak"),
    "reset-alone": GradientRule(intra="reset"),
}
MOST_LAYERS = max(DEPTHS) + 1
OF_EPOCH = ("epoch", "train_loss", "test_accuracy", "validation_accuracy", "seconds")
COLUMNS = (
    *("spec", "steps", "rule", "seed", *OF_EPOCH),
    *(f"delta_{k}" for k in range(1, MOST_LAYERS + 1)),
    *(f"silent_{k}" for k in range(1, MOST_LAYERS + 1)),
)
SUMMARY = ("steps", "measure", "quantity", "n", "mean", "std", "low", "high")
GRID_SUMMARY = (*SUMMARY, "spec")
PROBE = 100  # pictures whose delta is looked at
USAGE_ERROR = 2


class Cell(NamedTuple):
    """One training: what differs from the experiment's row."""

    spec: str
    steps: int
    rule: str
    seed: int


def grid(name: str, n_seeds: int) -> list[Cell]:
    """The cells of a grid, seed by seed, so that a grid which is stopped early has whole seeds.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown or the number of seeds no positive integer.
    """
    deep = [("-".join([str(DEPTH_WIDTH)] * depth), 5) for depth in DEPTHS]
    shapes, rules = {
        "depth": (deep, ("released", "september-2020", "surrogate")),
        "steps": ([("400-400", T) for T in STEPS], ("released", "surrogate")),
        "intra": ([("400-400", T) for T in INTRA_STEPS], ("released", WITHOUT, *HALVES)),
    }[checks.one_of("grid", name, ("depth", "steps", "intra"))]
    seeds = range(checks.positive_integer("n_seeds", n_seeds))
    return [Cell(spec, T, rule, seed) for seed in seeds for spec, T in shapes for rule in rules]


def train(cell: Cell, epochs: int, data_dir: Path | None, held_out: int = 0) -> list[Row]:
    """Train one cell on one thread, without some of the training pictures; a row an epoch, and one before the first."""
    row = replace(experiment(EXPERIMENT), spec=cell.spec, n_steps=cell.steps)
    rule = HALVES[cell.rule] if cell.rule in HALVES else rule_by_name(cell.rule)
    network = row.network(cell.seed, rule=rule, n_threads=1)
    task = _task(data_dir, held_out)
    settings = TrainingSettings(epochs, row.batch_size, row.learning_rate, row.loss, row.loss_settings, cell.seed)
    trainer = Trainer(network, task, settings)
    with threadpool_limits(1, user_api="blas"):
        before = {"epoch": 0, "train_loss": np.nan, "test_accuracy": trainer.test_accuracy(), "seconds": 0.0}
        rows = [_row(cell, before, network, task, row.loss)]
        for _ in range(epochs):
            metrics = trainer.run_epoch()
            assert metrics is not None  # nobody stops it
            rows.append(_row(cell, metrics, network, task, row.loss))
    return rows


@cache
def _task(data_dir: Path | None, held_out: int) -> Task:
    return task_of(experiment(EXPERIMENT), data_dir, download=False, held_out=held_out)


def _row(cell: Cell, metrics: dict[str, float], network: Network, task: Task, loss: str) -> Row:
    x, y = task.train_batch(np.arange(PROBE), np.random.default_rng(0))
    flows = network.gradient_flow(x, y, loss)
    values = cell._asdict() | {name: metrics[name] for name in OF_EPOCH if name in metrics}
    for k, flow in enumerate(flows, start=1):
        values[f"delta_{k}"] = float(np.abs(flow.delta).mean())
        values[f"silent_{k}"] = float((~(flow.trace.s > 0).any(axis=0)).mean())
    return {name: text_of(values.get(name, "")) for name in COLUMNS}


def finished(rows: Sequence[Row], epochs: int) -> set[Cell]:
    """The cells whose last epoch is in the table."""
    return {Cell(r["spec"], int(r["steps"]), r["rule"], int(r["seed"])) for r in rows if int(r["epoch"]) == epochs}


def compared(values: dict[tuple[int, str], list[float]], measure: str) -> list[Row]:
    """Rows of a summary: by (steps, rule) the mean over the seeds, and what it has above that without the term."""
    table = []
    for (n_steps, rule), of_seed in values.items():
        mean = mean_over_seeds(of_seed)
        quantities = [(rule, mean)]
        if rule != WITHOUT and (n_steps, WITHOUT) in values:
            other = paired_difference(of_seed, values[n_steps, WITHOUT])
            quantities.append((f"{rule} minus {WITHOUT}", Mean(other.pairs, other.mean, np.nan, other.low, other.high)))
        for quantity, found in quantities:
            table.append(dict(zip(SUMMARY, map(text_of, (n_steps, measure, quantity, *found)), strict=True)))
    return table


def accuracies(rows: Sequence[Row]) -> list[Row]:
    """Rows of the summary: by network and measure, test accuracy (%) by T and rule."""
    runs: dict[str, dict[tuple[int, str], dict[int, list[Row]]]] = {}
    for row in rows:
        if int(row["epoch"]) > 0:
            of_spec = runs.setdefault(row["spec"], {})
            of_spec.setdefault((int(row["steps"]), row["rule"]), {}).setdefault(int(row["seed"]), []).append(row)
    table = []
    for spec, of_spec in sorted(runs.items(), key=lambda item: item[0].count("-")):
        for measure in MEASURES:
            if measure != CHOSEN or any(row["validation_accuracy"] for row in rows):
                values = {
                    key: [accuracy(of_seed[seed], measure) for seed in sorted(of_seed)]
                    for key, of_seed in sorted(of_spec.items())
                }
                table += [row | {"spec": spec} for row in compared(values, measure)]
    return table


def accuracy(epochs: Sequence[Row], measure: str) -> float:
    """Test accuracy (%) of a run's best, last or chosen epoch, which is the first that is best on held-out pictures."""
    if measure == "last":
        return PERCENT * float(epochs[-1]["test_accuracy"])
    judge = "test_accuracy" if measure == "best" else "validation_accuracy"
    return PERCENT * float(max(epochs, key=lambda row: float(row[judge]))["test_accuracy"])


def run(options: argparse.Namespace) -> Iterator[Row]:
    """Train what OUT lacks; yield the last row of each cell."""
    rows = read_rows(options.out, COLUMNS) if options.out.exists() else []
    done = finished(rows, options.epochs)
    left = [cell for cell in grid(options.grid, options.seeds) if cell not in done]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        trainings = [pool.submit(train, cell, options.epochs, options.data, options.held_out) for cell in left]
        for training in as_completed(trainings):
            rows += training.result()
            write_rows(options.out, COLUMNS, rows)
            yield rows[-1]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.depth_and_steps", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("grid", help="depth, steps or intra")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0, 1, ... (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="training pictures to choose the epoch by (default: none)"
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="trainings at once (default: %(default)s)")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    options = parser.parse_args(arguments)
    try:
        for row in run(options):
            print(
                f"{row['spec']} T {row['steps']} {row['rule']} seed {row['seed']}: {row['test_accuracy']}", flush=True
            )
        table = accuracies(read_rows(options.out, COLUMNS))
        write_rows(options.out.with_name(f"{options.out.stem}-summary.csv"), GRID_SUMMARY, table)
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m studies.depth_and_steps: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

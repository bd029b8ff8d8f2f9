"""Two races on Yin-Yang: the exact gradient and the rules from the same weights, with the same batches and optimiser.

``python -m studies.yin_yang_races --out results/yin-yang-races.csv`` settles each contender's learning rate, and the
kappa of timing plus surrogate, on the validation points with four seeds, then trains from seeds 0, 1, ... and writes

- OUT: a row an epoch of each run (of the runs that settle, the last epoch only); a run that is stopped goes on there;
- OUT with "-settling": the settings on the validation points, with intervals as below;
- OUT with "-summary": means over the seeds and paired differences, with 95 % intervals by Student's t.

Race "peak": outputs without a threshold, cross-entropy of the highest membranes. Race "van-rossum": one desired spike
of the true class; read by the first output spike and by the number of output spikes.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from studies.ablation import PERCENT, mean_over_seeds, paired_difference, text_of
from studies.gradient_alignment import cosine_and_norm_ratio
from studies.trained_runs import Row, read_rows, write_rows
from studies.yin_yang_contenders import (
    PEAK,
    RACES,
    VAN_ROSSUM,
    Contender,
    FloatArray,
    Silence,
    forward,
    loss_and_gradient,
)
from tsslbp_ref.datasets import yin_yang
from tsslbp_ref.model.parameters import rule_by_name
from tsslbp_ref.training.exact_training import Adam, clipped, cosine_rate

EXACT, RELEASED, SURROGATE = "exact", "released", "surrogate"
FINE, BOTH = "consistent-0.1", "timing-plus-surrogate"
STATES = ("september-2020", "november-2020")
RULES = ("consistent", RELEASED, "no-intra", *(f"{state}-no-warmup" for state in STATES), SURROGATE, BOTH)
NAMES = (EXACT, FINE, *RULES)
FINE_DT = 0.1
RATES = {PEAK: (0.1, 0.3, 1.0), VAN_ROSSUM: (0.03, 0.1, 0.3, 1.0)}
KAPPAS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
SETTLING_SEEDS = (100, 101, 102, 103)
EPOCHS, SETTLING_EPOCHS = 10, 2
BATCH = 20
PROBE = 100  # validation points at which the angle with the exact gradient is taken
N_HIDDEN = 100
ORDER_STREAM, WEIGHTS_STREAM = 0, 1
USAGE_ERROR = 2


class Course(NamedTuple):
    """Settings of a race, settled with the exact gradient: initial weights, largest norm, terms against silence."""

    hidden_weights: tuple[float, float]
    output_weights: tuple[float, float]
    clip: float
    silence: Silence


COURSES = {
    PEAK: Course((10.0, 15.0), (1.0, 4.0), 0.05, Silence(hidden=0.01)),
    VAN_ROSSUM: Course((10.0, 15.0), (0.3, 1.0), 1.0, Silence(output=0.1, hidden=0.001)),
}


class Cell(NamedTuple):
    """One training; `kappa` is 0 where there is none."""

    race: str
    contender: str
    kappa: float
    learning_rate: float
    seed: int
    split: str


COLUMNS = (
    *(*Cell._fields, "epoch", "loss", "accuracy", "accuracy_by_count", "silent_hidden", "silent_true_outputs"),
    *("hidden_spikes", "output_spikes", "cosine", "norm_ratio", "cosine_hidden", "norm_ratio_hidden", "cpu_seconds"),
)


def contender(name: str, kappa: float = 0.0) -> Contender:
    """A contender by its name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name == EXACT:
        return Contender(EXACT)
    if name == FINE:
        return Contender(name, rule_by_name("consistent"), FINE_DT)
    if name == "consistent":
        return Contender(name, rule_by_name(name))
    if name.endswith("-no-warmup"):
        return Contender(name, dataclasses.replace(rule_by_name(name.removesuffix("-no-warmup")), warmup=False))
    rule = rule_by_name(name)
    if name == BOTH:
        rule = dataclasses.replace(rule, surrogate_weight=kappa)
    return Contender(name, rule, against_silence=False)


# ---------------------------------------------------------------------------------------------------------------------
# One training
# ---------------------------------------------------------------------------------------------------------------------


@cache
def points_of(split: str) -> yin_yang.YinYang:
    """The points of a split, made once."""
    return yin_yang.load_yin_yang(split)


def initial_weights(race: str, seed: int) -> list[FloatArray]:
    """W of both layers, the same for all contenders."""
    rng, course = np.random.default_rng([seed, WEIGHTS_STREAM]), COURSES[race]
    n_in = yin_yang.spike_times([[0.0, 0.0]]).shape[1]
    return [
        rng.normal(*course.hidden_weights, (N_HIDDEN, n_in)),
        rng.normal(*course.output_weights, (yin_yang.N_CLASSES, N_HIDDEN)),
    ]


def weights_by_epoch(
    cell: Cell, epochs: int, n_train: int | None = None
) -> Iterator[tuple[dict[str, float], list[FloatArray]]]:
    """Train on the first `n_train` points, on all if not given; yield what an epoch was like, and the weights after it.

    Raises
    ------
    ValueError
        If the gradient is not finite, or no contender has the name.
    """
    runner, course = contender(cell.contender, cell.kappa), COURSES[cell.race]
    all_points, all_labels = points_of("train")
    points, labels = all_points[:n_train], all_labels[:n_train]
    weights = initial_weights(cell.race, cell.seed)
    optimiser, seconds = Adam(weights), 0.0
    n_updates = epochs * -(-len(labels) // BATCH)
    for epoch in range(epochs):
        started, total = time.process_time(), 0.0
        order = np.random.default_rng([cell.seed, epoch, ORDER_STREAM]).permutation(len(labels))
        for batch in (order[k : k + BATCH] for k in range(0, len(order), BATCH)):
            found = loss_and_gradient(runner, cell.race, weights, points[batch], labels[batch], course.silence)
            rate = cosine_rate(cell.learning_rate, optimiser.n_steps, n_updates)
            optimiser.step(clipped(found.weights, course.clip), rate)
            total += found.loss * len(batch)
        seconds += time.process_time() - started
        yield {"epoch": epoch + 1, "loss": total / len(labels), "cpu_seconds": seconds}, weights


def train(cell: Cell, epochs: int, n_train: int | None = None) -> list[Row]:
    """Train as `weights_by_epoch` does; return a row an epoch."""
    runner = contender(cell.contender, cell.kappa)
    with threadpool_limits(1):
        return [
            _row(cell, measured | _tested(cell, runner, weights) | _angle(cell.race, runner, weights))
            for measured, weights in weights_by_epoch(cell, epochs, n_train)
        ]


def _tested(cell: Cell, runner: Contender, weights: list[FloatArray]) -> dict[str, float]:
    """Accuracies, silence and spikes on the points of the cell's split."""
    points, labels = points_of(cell.split)
    passed = forward(runner, cell.race, weights, points)
    by_first, by_count = (float(np.mean(found == labels)) for found in passed.predictions(cell.race))
    found = {
        "accuracy": by_first,
        "silent_hidden": float(np.mean(~passed.hidden_counts.any(axis=0))),
        "hidden_spikes": float(passed.hidden_counts.sum(axis=1).mean()),
    }
    if cell.race == PEAK:
        return found
    true_counts = passed.counts[np.arange(len(labels)), labels]
    return found | {
        "accuracy_by_count": by_count,
        "silent_true_outputs": float(np.mean(true_counts == 0)),
        "output_spikes": float(passed.counts.sum(axis=1).mean()),
    }


def _angle(race: str, runner: Contender, weights: list[FloatArray]) -> dict[str, float]:
    """Cosines with the exact gradient at the same weights, all and hidden layer; no term against silence."""
    if runner.rule is None:
        return {}
    points, labels = points_of("validation")
    both = runner, contender(EXACT)
    claimed, exact = (loss_and_gradient(one, race, weights, points[:PROBE], labels[:PROBE]).weights for one in both)
    if not exact[0].any():
        return {}  # all outputs are silent: the exact gradient points nowhere
    cosine, ratio = cosine_and_norm_ratio(*(np.concatenate([g.ravel() for g in of]) for of in (claimed, exact)))
    hidden, hidden_ratio = cosine_and_norm_ratio(claimed[0], exact[0])
    return {"cosine": cosine, "norm_ratio": ratio, "cosine_hidden": hidden, "norm_ratio_hidden": hidden_ratio}


def _row(cell: Cell, measured: dict[str, float]) -> Row:
    values = cell._asdict() | measured
    return {name: text_of(values.get(name, "")) for name in COLUMNS}


# ---------------------------------------------------------------------------------------------------------------------
# Which trainings, and which settings
# ---------------------------------------------------------------------------------------------------------------------


def settling_cells(race: str, names: Sequence[str]) -> list[Cell]:
    """What is to be trained before a setting can be chosen: all rates, of timing plus surrogate with all kappas."""
    return [
        Cell(race, name, kappa, rate, seed, "validation")
        for name in names
        for kappa in (KAPPAS if name == BOTH else (0.0,))
        for rate in RATES[race]
        for seed in SETTLING_SEEDS
        if name != FINE
    ]


def best(cells: Sequence[Cell], rows: Sequence[Row]) -> Cell:
    """A cell with the settings that have the highest mean accuracy on the validation points, last epoch."""
    accuracy: dict[tuple[float, float], list[float]] = {}
    of_cell = {_cell(row): float(row["accuracy"]) for row in rows}
    for cell in cells:
        accuracy.setdefault((cell.kappa, cell.learning_rate), []).append(of_cell[cell])
    chosen = max(accuracy, key=lambda settings: float(np.mean(accuracy[settings])))
    return next(cell for cell in cells if (cell.kappa, cell.learning_rate) == chosen)


def racing_cells(rows: Sequence[Row], race: str, names: Sequence[str], n_seeds: int) -> list[Cell]:
    """The race itself. The consistent rule at the fine step has the settings of the one at the coarse step."""
    settled = settling_cells(race, names)
    cells = []
    for name in names:
        source = "consistent" if name == FINE else name
        chosen = best([cell for cell in settled if cell.contender == source], rows)
        cells += [chosen._replace(contender=name, seed=seed, split="test") for seed in range(n_seeds)]
    return sorted(cells, key=lambda cell: (cell.contender == FINE, cell.seed))  # the slow one last


def epochs_of(cell: Cell, options: argparse.Namespace) -> int:
    """How long a training is."""
    return options.epochs if cell.split == "test" else options.settling_epochs


def cells_of(rows: Sequence[Row]) -> set[Cell]:
    """The trainings that are in the table."""
    return {_cell(row) for row in rows}


def _cell(row: Row) -> Cell:
    numbers = float(row["kappa"]), float(row["learning_rate"]), int(row["seed"])
    return Cell(row["race"], row["contender"], *numbers, row["split"])


def run(options: argparse.Namespace) -> Iterator[Row]:
    """Train what OUT lacks, what settles first; yield the last row of each training."""
    rows = read_rows(options.out, COLUMNS) if options.out.exists() else []
    stages: tuple[Callable[[str], list[Cell]], ...] = (
        lambda race: settling_cells(race, options.contenders),
        lambda race: racing_cells(rows, race, options.contenders, options.seeds),
    )
    for stage in stages:
        wanted = itertools.chain.from_iterable(map(stage, options.races))
        done = cells_of(rows)
        left = [cell for cell in wanted if cell not in done]
        for cell, found in _trained(left, options):
            rows += found if cell.split == "test" else found[-1:]
            write_rows(options.out, COLUMNS, rows)
            yield rows[-1]


def _trained(cells: Sequence[Cell], options: argparse.Namespace) -> Iterator[tuple[Cell, list[Row]]]:
    """Train each cell, several at once if there are workers for it."""
    if options.workers == 1:
        yield from ((cell, train(cell, epochs_of(cell, options), options.points)) for cell in cells)
        return
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        trainings = {pool.submit(train, cell, epochs_of(cell, options), options.points): cell for cell in cells}
        for training in as_completed(trainings):
            yield trainings[training], training.result()


# ---------------------------------------------------------------------------------------------------------------------
# Summary
# ---------------------------------------------------------------------------------------------------------------------

SUMMARY = (
    *("race", "reading", "contender", "kappa", "learning_rate", "epoch", "n", "mean", "low", "high"),
    *("against", "pairs", "difference", "difference_low", "difference_high", "p_value"),
)
READINGS = {"accuracy": "first spike", "accuracy_by_count": "count"}


def summary(rows: Sequence[Row]) -> list[Row]:
    """Mean accuracy in percent after the last epoch, against the released rule, exact gradient and surrogate."""
    last = max((int(row["epoch"]) for row in rows), default=0)
    final = [row for row in rows if row["split"] == "test" and int(row["epoch"]) == last]
    found = []
    for race, column in itertools.product(RACES, READINGS):
        values: dict[str, dict[str, float]] = {}
        settings = {}
        for row in final:
            if row["race"] == race and row[column] != "":
                values.setdefault(row["contender"], {})[row["seed"]] = PERCENT * float(row[column])
                settings[row["contender"]] = (row["kappa"], row["learning_rate"])
        reading = PEAK if race == PEAK else READINGS[column]
        for name, by_seed in values.items():
            mean = mean_over_seeds(list(by_seed.values()))
            head = (race, reading, name, *settings[name], last, mean.n, mean.mean, mean.low, mean.high)
            for baseline in (RELEASED, EXACT, SURROGATE):
                found.append(_summary_row(head, baseline, by_seed, values.get(baseline, {})))
    return found


def settling_summary(rows: Sequence[Row]) -> list[Row]:
    """Mean accuracy in percent on the validation points by setting, against the released rule at the same rate."""
    values: dict[tuple[str, str, str, str], dict[str, float]] = {}
    epochs = {}
    for row in rows:
        if row["split"] == "validation":
            setting = (row["race"], row["contender"], row["kappa"], row["learning_rate"])
            values.setdefault(setting, {})[row["seed"]] = PERCENT * float(row["accuracy"])
            epochs[setting] = row["epoch"]
    found = []
    for setting, by_seed in values.items():
        race, name, kappa, rate = setting
        mean = mean_over_seeds(list(by_seed.values()))
        reading = PEAK if race == PEAK else READINGS["accuracy"]
        head = (race, reading, name, kappa, rate, epochs[setting], mean.n, mean.mean, mean.low, mean.high)
        found.append(_summary_row(head, RELEASED, by_seed, values.get((race, RELEASED, "0", rate), {})))
    return found


def _summary_row(head: tuple[object, ...], against: str, by_seed: dict[str, float], baseline: dict[str, float]) -> Row:
    seeds = [seed for seed in by_seed if seed in baseline]
    cells: list[object] = [*head, against, len(seeds)]
    if seeds and by_seed is not baseline:
        difference = paired_difference([by_seed[seed] for seed in seeds], [baseline[seed] for seed in seeds])
        cells += [difference.mean, difference.low, difference.high, difference.p_value]
    cells += [""] * (len(SUMMARY) - len(cells))
    return dict(zip(SUMMARY, map(text_of, cells), strict=True))


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.yin_yang_races", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, metavar="CSV")
    parser.add_argument("--races", nargs="+", choices=RACES, default=RACES, help="(default: both)")
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=NAMES, help="(default: all)")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="seeds 0, 1, ... (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--settling-epochs", type=int, default=SETTLING_EPOCHS, metavar="N", help="of a setting (default: %(default)s)"
    )
    parser.add_argument("--points", type=int, metavar="N", help="the first N training points (default: all)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="trainings at once (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        for row in run(options):
            what = " ".join(row[name] for name in Cell._fields)
            print(f"{what}: {row['accuracy']} {row['accuracy_by_count']} in {row['cpu_seconds']} s", flush=True)
        rows = read_rows(options.out, COLUMNS)
        for name, table in (("settling", settling_summary(rows)), ("summary", summary(rows))):
            write_rows(options.out.with_name(f"{options.out.stem}-{name}.csv"), SUMMARY, table)
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m studies.yin_yang_races: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

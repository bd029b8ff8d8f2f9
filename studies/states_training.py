"""Which state of the authors' code trains best, and what makes the difference, the rule or the settings.

``python -m studies.states_training RUNS ... --out results/states-training.csv`` reads the run folders below RUNS, as
``tsslbp-ref train --state`` makes them, and writes two tables:

- OUT: a row an epoch of each run; runs that are in the table and not below RUNS stay in it;
- OUT with "-summary": a row a quantity and measure, with its 95 % interval over the seeds.

Without RUNS only the summary is written, from the table as it is. The released code's runs at its own settings are
read from the table of learning curves. A run that has fewer epochs than the longest of its experiment, or than
``--epochs``, is left out. ``--epochs 40 100`` gives the summary of the first 40, then that of 100.

Three measures: `best` is a run's best epoch on the test pictures, the paper's measure, `last` its last epoch, `chosen`
the epoch with the best accuracy on held-out training pictures, where a run has held some out. A seed gives the same
initial weights and the same order of the data under every rule and all settings of one network, so that differences
are taken seed by seed (Student's interval). The paper's runs are no pairs of ours: there the interval is Welch's.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from studies.ablation import CONFIDENCE, PERCENT, Mean, mean_over_seeds, paired_difference, text_of
from studies.ablation import read_runs as read_learning_curves
from studies.trained_runs import KEY, Row, merge_rows, read_rows, write_rows
from tsslbp_ref import checks
from tsslbp_ref.training import results
from tsslbp_ref.training.experiments import EXPERIMENTS, RELEASED, STATES
from tsslbp_ref.training.run_files import read_config, read_metrics

MEASURES = ("best", "last", "chosen")
ACCURACIES = ("train_accuracy", "test_accuracy", "validation_accuracy")
HEADER = (*KEY, "epoch", *ACCURACIES)
SUMMARY = ("experiment", "quantity", "measure", "epochs", "n", "mean", "std", "low", "high")
AT = "-at-"  # between rule and settings in a run's variant; released settings have no name there
CURVES = Path("results/learning-curves-fashion-mnist-400-400.csv")
HELD_OUT = ", pictures held out"
AGAINST_RELEASED = ("no-intra", "surrogate", "released-kernel-paper")  # by held-out pictures, at the released settings
PAPER_SEEDS = 5
PAPER = "the paper"
SEPTEMBER = "september-2020"
DIGITS = 6  # significant, of every number in the summary
FACTORS = {  # weights of (rule, settings): both September's, rule alone, settings alone, both released
    "September's rule, at September's settings": (1.0, 0.0, -1.0, 0.0),
    "September's rule, at the released settings": (0.0, 1.0, 0.0, -1.0),
    "September's rule, mean": (0.5, 0.5, -0.5, -0.5),
    "September's settings, by September's rule": (1.0, -1.0, 0.0, 0.0),
    "September's settings, by the released rule": (0.0, 0.0, 1.0, -1.0),
    "September's settings, mean": (0.5, -0.5, 0.5, -0.5),
    "interaction": (1.0, -1.0, -1.0, 1.0),
}


@dataclass(frozen=True)
class Run:
    """One training: accuracies in percent, epoch by epoch; `validation` is empty where nothing was held out."""

    experiment: str
    rule: str
    settings: str
    name: str
    test: tuple[float, ...]
    validation: tuple[float, ...] = ()

    @property
    def group(self) -> str:
        """The rule, the state whose settings it has, and whether it trained on fewer pictures."""
        return group_of(self.rule, self.settings) + (HELD_OUT if self.validation else "")

    def measure(self, name: str) -> float:
        """Test accuracy of the best, the last or the chosen epoch; NaN where none could be chosen."""
        if checks.one_of("measure", name, MEASURES) == "best":
            return max(self.test)
        if name == "last":
            return self.test[-1]
        return self.test[int(np.argmax(self.validation))] if self.validation else math.nan


def group_of(rule: str, settings: str) -> str:
    """Name the runs by a rule with the settings of a state."""
    return f"{rule} at {settings}"


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


def epochs_below(folders: Iterable[Path]) -> Iterator[dict[str, object]]:
    """Every epoch of every run below the folders, as rows of the table.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        If there is no run below a folder, or a file of a run cannot be read or is damaged.
    """
    for folder in itertools.chain.from_iterable(map(results.run_folders, folders)):
        config = read_config(folder)
        n_held_out = results.validation_of(config)
        name = f"{folder.name}-held-out-{n_held_out}" if n_held_out else folder.name
        run = dict(zip(KEY, (config["title"], results.variant_of(config, folder), name), strict=True))
        for metrics in read_metrics(folder):
            yield run | {"epoch": metrics["epoch"]} | {name: metrics.get(name, "") for name in ACCURACIES}


def read_runs(table: Path, curves: Path = CURVES) -> list[Run]:
    """The runs of the table, and those of the released code from the table of learning curves.

    Raises
    ------
    ValueError
        If one of them is another table.
    OSError
        If it cannot be read.
    """
    epochs: dict[tuple[str, ...], list[Row]] = {}
    for row in read_rows(table, HEADER):
        epochs.setdefault(tuple(row[name] for name in KEY), []).append(row)
    found = [_run(key, rows) for key, rows in epochs.items()]
    released = (run for run in read_learning_curves(curves) if run.rule == RELEASED)
    return found + [Run(run.experiment, RELEASED, RELEASED, run.name, run.accuracy) for run in released]


def _run(key: tuple[str, ...], rows: list[Row]) -> Run:
    experiment, variant, name = key
    rule, _, settings = variant.partition(AT)
    test, validation = (
        tuple(PERCENT * float(row[column]) for row in rows if row[column] != "")
        for column in ("test_accuracy", "validation_accuracy")
    )
    return Run(experiment, rule, settings or RELEASED, name, test, validation)


def cut(runs: Sequence[Run], epochs: int | None = None) -> list[Run]:
    """The first epochs of every run that has so many; as many as the longest of its experiment has, if not given.

    The learning rate is constant, so that the first epochs of a run are what a shorter run would have been.

    Raises
    ------
    ValueError, TypeError
        If epochs is not a positive integer.
    """
    longest: dict[str, int] = {}
    for run in runs:
        longest[run.experiment] = max(longest.get(run.experiment, 0), len(run.test))
    wanted = longest if epochs is None else dict.fromkeys(longest, checks.positive_integer("epochs", epochs))
    lengths = [(run, wanted[run.experiment]) for run in runs]
    return [replace(run, test=run.test[:n], validation=run.validation[:n]) for run, n in lengths if len(run.test) >= n]


# ---------------------------------------------------------------------------------------------------------------------
# Summary
# ---------------------------------------------------------------------------------------------------------------------


def summary(runs: Sequence[Run]) -> list[Row]:
    """A row a quantity and measure: accuracy by rule and settings, and what sets them apart."""
    rows = []
    for experiment in dict.fromkeys(run.experiment for run in runs):
        of_experiment = [run for run in runs if run.experiment == experiment]
        epochs = len(of_experiment[0].test)
        for measure in MEASURES:
            values: dict[str, dict[str, float]] = {}
            for run in of_experiment:
                if not math.isnan(run.measure(measure)):
                    values.setdefault(run.group, {})[run.name] = run.measure(measure)
            quantities = _quantities(values, experiment if measure == "best" else None)
            rows += [_row(experiment, quantity, measure, epochs, mean) for quantity, mean in quantities]
    return rows


def _quantities(values: dict[str, dict[str, float]], of_paper: str | None) -> Iterator[tuple[str, Mean]]:
    for group, by_seed in values.items():
        mean = mean_over_seeds(list(by_seed.values()))
        yield group, mean
        if of_paper is not None and mean.n > 1:
            yield f"{group} minus {PAPER}", minus_paper(mean, of_paper)
    for name, terms in contrasts().items():
        seeds = [name for name in values.get(next(iter(terms)), {}) if all(name in values.get(g, {}) for g in terms)]
        if seeds:
            of_seed = [sum(factor * values[group][seed] for group, factor in terms.items()) for seed in seeds]
            difference = paired_difference(of_seed, np.zeros(len(seeds)))
            std = float(np.std(of_seed, ddof=1)) if len(seeds) > 1 else math.nan
            yield name, Mean(difference.pairs, difference.mean, std, difference.low, difference.high)


def contrasts() -> dict[str, dict[str, float]]:
    """Differences of groups: each a weighted sum, taken seed by seed.

    Two states, each at its own settings, also where pictures were held out; there, too, `AGAINST_RELEASED`; and what
    September's rule has above the released one, and September's settings above the released ones, at both values of the
    other. `interaction` is what one gains by the other.
    """
    found = {
        f"{later} minus {earlier}": {later: 1.0, earlier: -1.0}
        for held_out in ("", HELD_OUT)
        for earlier, later in itertools.combinations((group_of(state, state) + held_out for state in STATES), 2)
    }
    released = group_of(RELEASED, RELEASED) + HELD_OUT
    for rule in AGAINST_RELEASED:
        group = group_of(rule, RELEASED) + HELD_OUT
        found[f"{group} minus {released}"] = {group: 1.0, released: -1.0}
    cells = [group_of(*pair) for pair in itertools.product((SEPTEMBER, RELEASED), repeat=2)]
    for name, weights in FACTORS.items():
        found[name] = {cell: weight for cell, weight in zip(cells, weights, strict=True) if weight}
    return found


def minus_paper(ours: Mean, experiment: str) -> Mean:
    """Our mean minus the paper's, with Welch's interval; the paper gives mean and deviation of five runs."""
    paper = EXPERIMENTS[experiment].paper
    if paper.mean is None or paper.std is None:
        return Mean(ours.n, math.nan, math.nan, math.nan, math.nan)
    parts = ours.std**2 / ours.n, paper.std**2 / PAPER_SEEDS
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (ours.n - 1) + parts[1] ** 2 / (PAPER_SEEDS - 1))
    half = float(stats.t.ppf((1.0 + CONFIDENCE) / 2.0, freedom)) * math.sqrt(sum(parts))
    difference = ours.mean - paper.mean
    return Mean(ours.n, difference, math.nan, difference - half, difference + half)


def _row(experiment: str, quantity: str, measure: str, epochs: int, mean: Mean) -> Row:
    cells = (experiment, quantity, measure, epochs, *mean)
    return dict(zip(SUMMARY, map(text_of, cells), strict=True))


def write_summary(rows: Iterable[Row], path: Path) -> None:
    """Write the summary, only ever as a whole.

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    """
    write_rows(path, SUMMARY, rows)


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.states_training", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUNS", help="folders of runs (default: none)")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="table of all epochs to write or extend")
    parser.add_argument(
        "--curves", type=Path, default=CURVES, metavar="CSV", help="the released code's runs (default: %(default)s)"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        nargs="+",
        metavar="N",
        help="first epochs of each run, one N or more (default: all)",
    )
    options = parser.parse_args(arguments)
    try:
        merge_rows(options.out, HEADER, epochs_below(options.runs))
        runs = read_runs(options.out, options.curves)
        cuts = [cut(runs, epochs) for epochs in options.epochs or [None]]
        rows = [row for compared in cuts for row in summary(compared)]
        write_summary(rows, options.out.with_name(f"{options.out.stem}-summary.csv"))
    except (ValueError, KeyError, TypeError, OSError) as error:
        print(f"python -m studies.states_training: {error}", file=sys.stderr)
        return USAGE_ERROR
    kept = {(run.experiment, run.group, run.name) for compared in cuts for run in compared}
    for run in runs:
        if (run.experiment, run.group, run.name) not in kept:
            print(f"left out: {run.experiment}, {run.group}, {run.name}: {len(run.test)} epochs", file=sys.stderr)
    for row in rows:
        interval = f" ({row['low']} to {row['high']})" if row["low"] else ""
        within = f"{row['measure']} of {row['epochs']} epochs, n = {row['n']}"
        print(f"{row['experiment']}, {row['quantity']}, {within}: {row['mean']}{interval}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

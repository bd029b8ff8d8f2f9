"""What each part of the rule is worth in training: accuracy by rule over the seeds, and against the released rule.

``python -m studies.ablation --csv results/ablation.csv --out results/ablation-summary.csv`` reads the table that
``tsslbp-ref results RUNS --csv results/ablation.csv`` wrote, and writes a row a rule and measure. `best` is a run's
best epoch, the paper's measure; the test data chose it, so that it is a little too good. `final` is the last epoch.

A seed gives the same initial weights and the same order of the data under every rule. So the difference of two rules
is taken seed by seed, and tested with a paired t-test. The intervals are Student's. Both take the seeds for draws from
a normal distribution, which five seeds can neither show nor deny; where a rule dies from some seeds and not from
others it is plainly not so, and the single seeds (figure 27) say more than an interval. All rules but one are compared
with that one: five comparisons ask for a p-value five times smaller than one does.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from studies.trained_runs import KEY, Row, read_rows, write_rows
from tsslbp_ref import checks
from tsslbp_ref.training.runs import METRIC_NAMES

BASELINE = "released"
MEASURES = ("best", "final")
CONFIDENCE = 0.95
PERCENT = 100.0
DIGITS = 6  # significant, of every number in the table
ROUNDING = 1e-9  # percent; differences that spread less than this do not spread
SUMMARY = (
    *("experiment", "rule", "measure", "epochs", "n", "mean", "std", "low", "high"),
    *("pairs", "difference", "difference_low", "difference_high", "t", "p_value"),
)


@dataclass(frozen=True)
class Run:
    """One training: test accuracy in percent, epoch by epoch."""

    experiment: str
    rule: str
    name: str
    accuracy: tuple[float, ...]

    def measure(self, name: str) -> float:
        """Accuracy of the best or of the final epoch."""
        return max(self.accuracy) if checks.one_of("measure", name, MEASURES) == "best" else self.accuracy[-1]


class Mean(NamedTuple):
    """Mean over seeds, standard deviation (n - 1), and the mean's interval; NaN where one seed does not give it."""

    n: int
    mean: float
    std: float
    low: float
    high: float


class Difference(NamedTuple):
    """Mean difference over pairs, its interval, and the paired t-test; NaN where the pairs do not give it."""

    pairs: int
    mean: float
    low: float
    high: float
    t: float
    p_value: float


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


def read_runs(path: Path) -> list[Run]:
    """Read the table of all epochs.

    Raises
    ------
    ValueError
        If it is another table, is empty, lacks an epoch of a run, or an accuracy is not between 0 and 1.
    OSError
        If it cannot be read.
    """
    epochs: dict[tuple[str, ...], list[Row]] = {}
    for row in read_rows(path, (*KEY, *METRIC_NAMES)):
        epochs.setdefault(tuple(row[name] for name in KEY), []).append(row)
    if not epochs:
        raise ValueError(f"{path} holds no epoch")
    return [_run(key, rows, path) for key, rows in epochs.items()]


def _run(key: tuple[str, ...], rows: list[Row], path: Path) -> Run:
    found = [row["epoch"] for row in rows]
    if found != [str(number) for number in range(1, len(rows) + 1)]:
        raise ValueError(f"{path}: the epochs of {'/'.join(key)} must be 1, 2, ..., got {', '.join(found)}")
    accuracy = tuple(float(row["test_accuracy"]) for row in rows)
    if not all(0.0 <= value <= 1.0 for value in accuracy):
        raise ValueError(f"{path}: test_accuracy of {'/'.join(key)} must be between 0 and 1")
    experiment, rule, name = key
    return Run(experiment, rule, name, tuple(PERCENT * value for value in accuracy))


def finished_runs(runs: Sequence[Run]) -> list[Run]:
    """Leave out the runs that have fewer epochs than the longest one of their experiment: they are still under way."""
    epochs: dict[str, int] = {}
    for run in runs:
        epochs[run.experiment] = max(epochs.get(run.experiment, 0), len(run.accuracy))
    return [run for run in runs if len(run.accuracy) == epochs[run.experiment]]


# ---------------------------------------------------------------------------------------------------------------------
# Statistics
# ---------------------------------------------------------------------------------------------------------------------


def mean_over_seeds(values: npt.ArrayLike) -> Mean:
    """Mean +- t std / sqrt(n), t the quantile of Student's distribution with n - 1 degrees of freedom.

    Raises
    ------
    ValueError, TypeError
        If values is not a vector of finite numbers.
    """
    x = checks.finite_array("values", values, ndim=1)
    if len(x) < 2:
        return Mean(len(x), float(x.mean()), math.nan, math.nan, math.nan)
    mean, std = float(x.mean()), float(x.std(ddof=1))
    half = float(stats.t.ppf((1.0 + CONFIDENCE) / 2.0, len(x) - 1)) * std / math.sqrt(len(x))
    return Mean(len(x), mean, std, mean - half, mean + half)


def paired_difference(values: npt.ArrayLike, baseline: npt.ArrayLike) -> Difference:
    """Mean of values - baseline, pair by pair, with its interval and the paired t-test (`scipy.stats.ttest_rel`).

    Differences that do not spread have an interval of length 0 and no test.

    Raises
    ------
    ValueError, TypeError
        If the two are not vectors of finite numbers of the same length.
    """
    x, y = (checks.finite_array(name, of, ndim=1) for name, of in (("values", values), ("baseline", baseline)))
    checks.same_shape("values", x, y.shape, "baseline")
    n, mean = len(x), float((x - y).mean())
    if n < 2:
        return Difference(n, mean, math.nan, math.nan, math.nan, math.nan)
    if np.ptp(x - y) < ROUNDING:
        return Difference(n, mean, mean, mean, math.nan, math.nan)
    test = stats.ttest_rel(x, y)
    interval = test.confidence_interval(CONFIDENCE)
    return Difference(n, mean, float(interval.low), float(interval.high), float(test.statistic), float(test.pvalue))


def summary(runs: Sequence[Run]) -> list[Row]:
    """A row a rule and measure, the released rule first; numbers that do not exist are empty.

    Parameters
    ----------
    runs : sequence of Run
        All finished; runs of one name are a pair.
    """
    rows = []
    for experiment in dict.fromkeys(run.experiment for run in runs):
        of_rule: dict[str, dict[str, Run]] = {BASELINE: {}}
        for run in runs:
            if run.experiment == experiment:
                of_rule.setdefault(run.rule, {})[run.name] = run
        for rule, by_name in of_rule.items():
            if by_name:
                rows += [_summary_row(experiment, rule, m, by_name, of_rule[BASELINE]) for m in MEASURES]
    return rows


def _summary_row(experiment: str, rule: str, measure: str, by_name: dict[str, Run], baseline: dict[str, Run]) -> Row:
    mean = mean_over_seeds([run.measure(measure) for run in by_name.values()])
    names = [name for name in by_name if name in baseline]
    epochs = len(next(iter(by_name.values())).accuracy)
    cells: list[object] = [experiment, rule, measure, epochs, *mean]
    if rule != BASELINE and names:
        pair = ([of[name].measure(measure) for name in names] for of in (by_name, baseline))
        cells += paired_difference(*pair)
    cells += [""] * (len(SUMMARY) - len(cells))
    return dict(zip(SUMMARY, map(text_of, cells), strict=True))


def text_of(value: object) -> str:
    """A number to `DIGITS` digits, empty where there is none; all else as it is."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.{DIGITS}g}"
    return str(value)


# ---------------------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------------------


def write_summary(rows: Iterable[Row], path: Path) -> None:
    """Write the table, only ever as a whole.

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    """
    write_rows(path, SUMMARY, rows)


def as_markdown(rows: Iterable[Row]) -> str:
    """The same for people: one line a rule and measure, percent to two digits."""
    lines = ["| rule | measure | n | mean ± std | minus released (95 % interval) | p |", "|---|---|---|---|---|---|"]
    for row in rows:
        spread = f" ± {float(row['std']):.2f}" if row["std"] else ""
        between = ""
        if row["difference"]:
            between = f"{float(row['difference']):+.2f}"
            if row["difference_low"]:
                between += f" ({float(row['difference_low']):+.2f} to {float(row['difference_high']):+.2f})"
        p_value = f"{float(row['p_value']):.2g}" if row["p_value"] else ""
        cells = (row["rule"], row["measure"], row["n"], f"{float(row['mean']):.2f}{spread}", between, p_value)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.ablation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--csv", type=Path, default=Path("results/ablation.csv"), help="table of all epochs (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="table to write")
    options = parser.parse_args(arguments)
    try:
        runs = read_runs(options.csv)
        finished = finished_runs(runs)
        rows = summary(finished)
        write_summary(rows, options.out)
    except (ValueError, OSError) as error:
        print(f"python -m studies.ablation: {error}", file=sys.stderr)
        return USAGE_ERROR
    for run in runs:
        if run not in finished:
            what = f"{run.experiment}/{run.rule}/{run.name}"
            print(f"left out, not finished: {what} ({len(run.accuracy)} epochs)", file=sys.stderr)
    print(as_markdown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

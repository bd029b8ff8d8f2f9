"""The Yin-Yang races along the way: accuracy, time, silence, spikes and angles by epoch.

``python -m studies.yin_yang_angles results/yin-yang-races.csv --out results/yin-yang-angles.csv`` trains the first
seeds of a table of `yin_yang_races` once more, with its settings, and writes

- OUT: the cosines of a contender's gradient with the exact and with the smoothed one, a row a race, contender, seed and
  epoch. The smoothed gradient is that of the contender's own loss at its own weights (`gradcheck.smoothed_gradient`),
  on the points on which `yin_yang_races` takes the angle with the exact one.
- OUT with "-summary": the means of these and of what the table of the races holds, by epoch, with 95 % intervals.

A run that is stopped goes on where it was. With ``--print`` it only prints that summary, a table a race.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from studies.ablation import PERCENT, mean_over_seeds, text_of
from studies.gradient_alignment import beside
from studies.trained_runs import Row, read_rows, write_rows
from studies.yin_yang_contenders import RACES, FloatArray, loss_alone, loss_and_gradient
from studies.yin_yang_races import COLUMNS as RACE_COLUMNS
from studies.yin_yang_races import EXACT, FINE, PROBE, Cell, cells_of, contender, points_of, weights_by_epoch
from tsslbp_ref.gradcheck import smoothed_gradient

LENGTH = 0.03  # of a move, relative to the norm of all weights
PAIRS = 150  # of moves, in each of two independent halves
N_SEEDS = 10
LAST = -1  # epoch
COLUMNS = ("race", "contender", "seed", "epoch", "cosine_exact", "cosine_smoothed", "cosine_of_halves")
SUMMARY = ("race", "contender", "epoch", "quantity", "n", "mean", "low", "high")
QUANTITIES = {  # heading in the printed table, and how a mean is written there
    "accuracy": ("accuracy, %", ".1f"),
    "cpu_seconds": ("CPU, s", ".1f"),
    "silent_hidden": ("silent hidden, %", ".0f"),
    "silent_true_outputs": ("silent true output, %", ".0f"),
    "hidden_spikes": ("hidden spikes", ".0f"),
    "output_spikes": ("output spikes", ".1f"),
    "cosine_exact": ("cosine with exact", ".2f"),
    "cosine_smoothed": ("with smoothed", ".2f"),
}
SHARES = ("accuracy", "silent_hidden", "silent_true_outputs")  # in the summary in per cent
DIGITS = 4
USAGE_ERROR = 2


def flat(layers: Sequence[FloatArray]) -> FloatArray:
    """All layers in one vector."""
    return np.concatenate([layer.ravel() for layer in layers])


def cosine(x: FloatArray, y: FloatArray) -> float:
    """<x, y> / (|x| |y|); nan where one of them is zero and points nowhere."""
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / size if size > 0.0 else math.nan


def cosine_with_noisy(g: FloatArray, one: FloatArray, other: FloatArray) -> float:
    r"""Cosine of g with what two independent noisy vectors estimate: <g, one + other> / (2 |g| sqrt(<one, other>)).

    Their noise makes each of them longer, but not <one, other>, whose mean is the square of the true length. nan where
    that is not positive.
    """
    square = float(one @ other)
    size = float(np.linalg.norm(g)) * math.sqrt(max(square, 0.0))
    return float(g @ (one + other)) / (2.0 * size) if size > 0.0 else math.nan


def angles(cell: Cell, weights: list[FloatArray], pairs: int) -> dict[str, float]:
    """The cosines of a contender's gradient at some weights, without the terms against silence."""
    runner = contender(cell.contender, cell.kappa)
    points, labels = (array[:PROBE] for array in points_of("validation"))
    own, exact = (
        flat(loss_and_gradient(one, cell.race, weights, points, labels).weights) for one in (runner, contender(EXACT))
    )
    halves = [
        flat(
            smoothed_gradient(
                lambda moved: loss_alone(runner, cell.race, moved, points, labels), weights, LENGTH, pairs, seed
            ).gradient
        )
        for seed in (2 * cell.seed, 2 * cell.seed + 1)
    ]
    return {
        "cosine_exact": cosine(own, exact),
        "cosine_smoothed": cosine_with_noisy(own, *halves),
        "cosine_of_halves": cosine(*halves),
    }


def run(races: Sequence[Row], measured: Sequence[Row], options: argparse.Namespace) -> Iterator[list[Row]]:
    """Train the first seeds of the races again, those that are not measured; yield the rows of each training."""
    rows = [row for row in races if row["split"] == "test"]
    epochs = max((int(row["epoch"]) for row in rows), default=0)
    done = {(row["race"], row["contender"], row["seed"]) for row in measured}
    cells = [cell for cell in cells_of(rows) if cell.seed < options.seeds]
    at = {epochs if epoch == LAST else epoch for epoch in options.at}
    for cell in sorted(cells, key=lambda cell: (cell.contender == FINE, cell.seed, cell)):  # the slow one last
        if (cell.race, cell.contender, str(cell.seed)) in done:
            continue
        with threadpool_limits(1):
            yield [
                _row(cell, epoch["epoch"], angles(cell, weights, options.pairs))
                for epoch, weights in weights_by_epoch(cell, epochs, options.points)
                if epoch["epoch"] in at
            ]


def _row(cell: Cell, epoch: float, found: dict[str, float]) -> Row:
    head = {"race": cell.race, "contender": cell.contender, "seed": str(cell.seed), "epoch": str(epoch)}
    return head | {name: "" if math.isnan(value) else f"{value:.{DIGITS}g}" for name, value in found.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Summary
# ---------------------------------------------------------------------------------------------------------------------


def summary(races: Sequence[Row], measured: Sequence[Row]) -> list[Row]:
    """Means by race, contender and epoch over the seeds that have the quantity, with intervals by Student's t."""
    values: dict[tuple[str, ...], list[float]] = {}
    tested = [row | {"cosine_exact": row["cosine"]} for row in races if row["split"] == "test"]
    for name in QUANTITIES:
        for row in measured if name == "cosine_smoothed" else tested:
            if row[name] != "":
                key = (row["race"], row["contender"], row["epoch"], name)
                values.setdefault(key, []).append((PERCENT if name in SHARES else 1.0) * float(row[name]))
    found = []
    for key, of_seeds in values.items():
        mean = mean_over_seeds(of_seeds)
        numbers = map(text_of, (mean.n, mean.mean, mean.low, mean.high))
        found.append(dict(zip(SUMMARY, (*key, *numbers), strict=True)))
    return found


def as_markdown(rows: Sequence[Row], race: str) -> str:
    """The means of a race for people, a line a contender: a number an epoch whose angles are measured in each cell."""
    angled = {(row["race"], row["epoch"]) for row in rows if row["quantity"] == "cosine_smoothed"}
    of_race = [row for row in rows if row["race"] == race and (race, row["epoch"]) in angled]
    names = [name for name in QUANTITIES if any(row["quantity"] == name for row in of_race)]
    lines = [f"| | {' | '.join(QUANTITIES[name][0] for name in names)} |", "|---" * (len(names) + 1) + "|"]
    for one in dict.fromkeys(row["contender"] for row in of_race):
        cells = [
            ", ".join(
                f"{float(row['mean']):{QUANTITIES[name][1]}}"
                for row in of_race
                if (row["contender"], row["quantity"]) == (one, name)
            )
            for name in names
        ]
        lines.append(f"| {one} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.yin_yang_angles", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("table", type=Path, help="of yin_yang_races")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV")
    parser.add_argument("--seeds", type=int, default=N_SEEDS, metavar="N", help="seeds 0, 1, ... (%(default)s)")
    parser.add_argument("--pairs", type=int, default=PAIRS, metavar="N", help="of moves, twice (%(default)s)")
    parser.add_argument(
        "--at", type=int, nargs="+", default=[1, LAST], metavar="EPOCH", help="%(default)s, where -1 is the last"
    )
    parser.add_argument("--points", type=int, metavar="N", help="the first N training points (default: all)")
    parser.add_argument("--print", action="store_true", dest="printed", help="print the summary, and measure nothing")
    options = parser.parse_args(arguments)
    out, beside_it = options.out, beside(options.out, "summary")
    try:
        if options.printed:
            summed = read_rows(beside_it, SUMMARY)
            print("\n\n".join(as_markdown(summed, race) for race in RACES))
            return 0
        races = read_rows(options.table, RACE_COLUMNS)
        rows = read_rows(out, COLUMNS) if out.exists() else []
        for found in run(races, rows, options):
            rows += found
            write_rows(out, COLUMNS, rows)
            write_rows(beside_it, SUMMARY, summary(races, rows))
            print(", ".join(found[-1].values()), flush=True)
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m studies.yin_yang_angles: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

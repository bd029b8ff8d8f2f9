"""What the intra-neuron term is worth on the embedded task, by the length of its raster.

``python -m studies.raster_steps --out results/raster-steps.csv`` trains the task of `tsslbp_ref.raster` on the first 10
or 19 of its 38 steps, on all of them, and on two or four rasters one after the other, from several seeds: by the
released rule, without the intra-neuron term, and by either half of it. A row a run; OUT with "-summary" has, for each
length, the share of wrong entries (%) and its difference from that without the term, seed by seed, with its 95 %
interval (Student).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from studies.ablation import PERCENT, text_of
from studies.depth_and_steps import HALVES, SUMMARY, WITHOUT, compared
from studies.trained_runs import Row, write_rows
from tsslbp_ref import checks
from tsslbp_ref.model.parameters import rule_by_name
from tsslbp_ref.training import raster

LENGTHS = (10, 19, 38, 76, 152)  # time steps
RULES = ("released", WITHOUT, *HALVES)
N_SEEDS = 10
N_UPDATES = 600
COLUMNS = ("steps", "rule", "seed", "updates", "wrong_places", "places", "final_loss")
USAGE_ERROR = 2


def desired_of(n_steps: int) -> npt.NDArray[np.float64]:
    """The raster's first steps; beyond its end it begins again."""
    once = raster.desired_raster()
    return once[np.arange(n_steps) % len(once)]


def run(n_steps: int, name: str, seed: int, n_updates: int) -> Row:
    """Train once, and return its row."""
    rule = HALVES[name] if name in HALVES else rule_by_name(name)
    task = raster.raster_task(seed, desired=desired_of(n_steps), rule=rule, dtype="float64")
    final_loss = raster.learn(task, n_updates)[-1]
    cells = (n_steps, name, seed, n_updates, raster.n_wrong(task), task.desired.size, final_loss)
    return dict(zip(COLUMNS, map(text_of, cells), strict=True))


def summary(rows: Iterable[Row]) -> list[Row]:
    """By length: the share of wrong entries (%) of every rule, and what it has above that without the term."""
    wrong: dict[tuple[int, str], list[float]] = {}
    for row in rows:
        share = PERCENT * int(row["wrong_places"]) / int(row["places"])
        wrong.setdefault((int(row["steps"]), row["rule"]), []).append(share)
    return compared(wrong, "wrong entries")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.raster_steps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="seeds 0, 1, ... (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=N_UPDATES, help="of each run (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="table of all runs")
    options = parser.parse_args(arguments)
    try:
        seeds = range(checks.positive_integer("seeds", options.seeds, minimum=2))
        updates = checks.positive_integer("updates", options.updates)
        rows = [run(n_steps, rule, seed, updates) for n_steps in LENGTHS for rule in RULES for seed in seeds]
        write_rows(options.out, COLUMNS, rows)
        table = summary(rows)
        write_rows(options.out.with_name(f"{options.out.stem}-summary.csv"), SUMMARY, table)
    except (ValueError, OSError) as error:
        print(f"python -m studies.raster_steps: {error}", file=sys.stderr)
        return USAGE_ERROR
    for row in table:
        print(f"T {row['steps']}, {row['quantity']}, n = {row['n']}: {row['mean']} ({row['low']} to {row['high']})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

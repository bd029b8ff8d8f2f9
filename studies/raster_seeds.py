"""The embedded task from several seeds: how many entries of the raster each rule leaves wrong.

``python -m studies.raster_seeds --out results/raster-seeds.csv`` trains the task of `tsslbp_ref.raster` by each of
six rules from each seed, and writes a row a run. A seed gives the same input trains and initial weights under every
rule, so that rules are compared seed by seed.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from tsslbp_ref import checks
from tsslbp_ref.files import write_atomically
from tsslbp_ref.model.parameters import rule_by_name
from tsslbp_ref.training import raster

RULES = ("released", "no-intra", "surrogate", "june-2020", "september-2020", "november-2020")
N_SEEDS = 10
N_UPDATES = 600
COLUMNS = ("rule", "seed", "updates", "wrong_places", "final_loss")
USAGE_ERROR = 2


def run(rule: str, seed: int, n_updates: int = N_UPDATES) -> tuple[str, int, int, int, float]:
    """Train once; return the row: rule, seed, updates, entries of the output raster that are wrong, and the loss.

    Raises
    ------
    ValueError, TypeError
        If the rule is not known, or a number is out of range.
    """
    task = raster.raster_task(seed=seed, rule=rule_by_name(rule), dtype="float64")
    final_loss = raster.learn(task, n_updates)[-1]
    return rule, seed, n_updates, raster.n_wrong(task), final_loss


def table(n_seeds: int, n_updates: int) -> bytes:
    """All runs as CSV, rule by rule."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rule in RULES:
        for seed in range(n_seeds):
            *row, final_loss = run(rule, seed, n_updates)
            writer.writerow([*row, f"{final_loss:.6g}"])
    return text.getvalue().encode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.raster_seeds", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=N_SEEDS, help="seeds 0, 1, ... (default: %(default)s)")
    parser.add_argument("--updates", type=int, default=N_UPDATES, help="of each run (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the table")
    options = parser.parse_args(arguments)
    try:
        checks.positive_integer("seeds", options.seeds)
        checks.positive_integer("updates", options.updates)
        write_atomically(options.out, table(options.seeds, options.updates))
    except (ValueError, OSError) as error:
        print(f"python -m studies.raster_seeds: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

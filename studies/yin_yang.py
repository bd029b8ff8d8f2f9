"""Yin-Yang runs with the exact gradient as tables: every epoch of every seed, and the weights of one run.

``python -m studies.yin_yang RUNS --out results`` reads the finished runs RUNS/seed*, which
``tsslbp-ref train yin-yang --rule exact --seeds 0-9`` makes in runs/yin-yang/exact, and writes into OUT

- yin-yang.csv: seed, epoch, loss and accuracies, seconds of training;
- yin-yang-weights.csv: the weights of the lowest seed after its last epoch.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from tsslbp_ref import checkpoints
from tsslbp_ref.files import write_atomically
from tsslbp_ref.training.run_files import LAST, METRIC_NAMES, read_config, read_metrics

CURVES, WEIGHTS = "yin-yang.csv", "yin-yang-weights.csv"
COLUMNS = ("seed", *(name for name in METRIC_NAMES if name != "samples_per_second"))
MOST_BYTES = 2**24  # of a checkpoint
PERCENT = 100.0
LEVEL = 0.95


def finished_runs(runs: Path) -> dict[int, Path]:
    """The folders seed<k> below `runs` that have all their epochs, by seed.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = {}
    for folder in runs.glob("seed*"):
        settings = read_config(folder)["settings"]
        if len(read_metrics(folder)) == settings["epochs"]:
            found[int(settings["seed"])] = folder
    if not found:
        raise FileNotFoundError(f"no finished run seed* in {runs}")
    return dict(sorted(found.items()))


def weights_of(folder: Path) -> list[npt.NDArray[np.float64]]:
    """The weights of a run after its last epoch."""
    arrays, _ = checkpoints.load(folder / LAST, MOST_BYTES)
    return [arrays[f"weight{k}"] for k in range(sum(name.startswith("weight") for name in arrays))]


def summary(final: Sequence[float]) -> str:
    """Mean of the last epochs' test accuracies with its 95 % interval by Student's t, and the least one."""
    half = stats.t.ppf(0.5 + LEVEL / 2.0, len(final) - 1) * statistics.stdev(final) / len(final) ** 0.5
    return f"{len(final)} seeds: mean {statistics.mean(final):.2f} +- {half:.2f} %, least {min(final):.2f} %"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m studies.yin_yang", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    runs = finished_runs(options.runs)
    curves: list[dict[str, Any]] = [
        {"seed": seed, **row} for seed, folder in runs.items() for row in read_metrics(folder)
    ]
    _write(options.out / CURVES, COLUMNS, ([row[name] for name in COLUMNS] for row in curves))
    layers = enumerate(weights_of(next(iter(runs.values()))))
    rows = ([layer, *index, repr(float(value))] for layer, W in layers for index, value in np.ndenumerate(W))
    _write(options.out / WEIGHTS, ("layer", "row", "column", "weight"), rows)
    last = [PERCENT * read_metrics(folder)[-1]["test_accuracy"] for folder in runs.values()]
    print(summary(last) if len(last) > 1 else f"seed {next(iter(runs))}: {last[0]:.2f} %")
    return 0


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_atomically(path, text.getvalue().encode())


if __name__ == "__main__":
    sys.exit(main())

"""Learned time constants beside fixed ones: accuracy, spikes, and where tau_m and tau_s of the hidden layers go.

``python -m studies.learned_constants RUNS --data DIR --out results/learned-constants.csv`` reads the runs of
fashion-mnist-400-400 below RUNS, by the released rule, with and without ``--learn-constants``, and writes a row a run
and epoch; in a run's last epoch, with the spikes a test picture of each layer, from its last checkpoint. Beside OUT
comes a table with "-summary": means with Student's 95 % intervals over the seeds, and the paired differences: a seed
gives the same initial weights and order of the data.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from studies.ablation import mean_over_seeds, paired_difference, text_of
from studies.depth_and_steps import CHOSEN, accuracy
from studies.gradient_alignment import beside
from studies.trained_runs import BATCH_SIZE, KEY, Row, write_rows
from tsslbp_ref.model import backpropagation
from tsslbp_ref.model.network import Network
from tsslbp_ref.training.experiments import EXPERIMENTS
from tsslbp_ref.training.results import variant_of
from tsslbp_ref.training.run_files import LAST, read_config, read_metrics
from tsslbp_ref.training.tasks import task_of

EXPERIMENT = "fashion-mnist-400-400"
RULE = "released"
LEARNED, FIXED = "learned", "fixed"
ACCURACIES = {f"{measure} accuracy (%)": measure for measure in ("last", "best", CHOSEN)}
N_HIDDEN = 2
TAUS = tuple(f"{name}_{layer}" for name in ("tau_m", "tau_s") for layer in range(1, N_HIDDEN + 1))
SPIKES = tuple(f"spikes_{layer}" for layer in range(1, N_HIDDEN + 2))  # the last layer's are the outputs'
HEADER = (*KEY, "epoch", "train_loss", "test_accuracy", "validation_accuracy", *TAUS, *SPIKES)
SUMMARY = (
    *("measure", "n", "learned", "learned_low", "learned_high", "fixed", "fixed_low", "fixed_high"),
    *("difference", "low", "high", "p_value"),
)


def run_rows(folder: Path, rule: str, data: Path | None) -> list[dict[str, Any]]:
    """All epochs of a run."""
    neuron = EXPERIMENTS[EXPERIMENT].neuron
    at_rest = {"tau_m": [neuron.tau_m] * N_HIDDEN, "tau_s": [neuron.tau_s] * N_HIDDEN}
    rows = []
    for metrics in read_metrics(folder):
        taus = [value for name in ("tau_m", "tau_s") for value in metrics.get(name, at_rest[name])]
        own = {name: metrics[name] for name in HEADER if name in metrics}
        rows.append(
            {"experiment": EXPERIMENT, "rule": rule, "run": folder.name, **own, **dict(zip(TAUS, taus, strict=True))}
        )
    rows[-1] |= dict(zip(SPIKES, spikes_a_picture(Network.load(folder / LAST, n_threads=1), data), strict=True))
    return rows


def spikes_a_picture(net: Network, data: Path | None) -> list[float]:
    """Mean number of spikes of each layer, over the test pictures."""
    counts, n = np.zeros(len(net.neurons)), 0
    for x, y in task_of(EXPERIMENTS[EXPERIMENT], data, download=False).test_batches():
        for start in range(0, len(y), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            with threadpool_limits(1, user_api="blas"):  # waiting threads of BLAS take the cores from other runs
                records, _ = backpropagation.forward(net, x[part].astype(net.dtype), [None] * len(net.layers))
            traces = (record.trace for record in records if isinstance(record, backpropagation.NeuronRecord))
            counts += [np.count_nonzero(trace.u > trace.threshold) for trace in traces]
            n += len(y[part])
    return [float(count) / n for count in counts]


def runs_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """The run folders of the experiment by the released rule, each with its variant: whether constants are learned."""
    for place in sorted((folder / EXPERIMENT).glob("*/seed*")):
        variant = variant_of(read_config(place), place)
        if variant == RULE or variant.startswith(f"{RULE}-constants-"):
            yield variant, place


def measure(runs: Path, data: Path | None) -> list[Row]:
    """All rows, the learned runs first; runs that have fewer epochs than the longest are still under way, and left out.

    Raises
    ------
    ValueError
        If there is no run with learned constants or none with fixed ones.
    """
    lengths = {place: len(read_metrics(place[1])) for place in runs_below(runs)}
    n_epochs = max((n for (rule, _), n in lengths.items() if rule != RULE), default=0)
    finished = [place for place, n in lengths.items() if n == n_epochs > 0]
    kinds = {FIXED if rule == RULE else LEARNED for rule, _ in finished}
    for kind in (LEARNED, FIXED):
        if kind not in kinds:
            raise ValueError(f"{runs} must hold runs with {kind} constants as long as the longest, and holds none")
    rows = [row for rule, folder in finished for row in run_rows(folder, rule, data)]
    rows.sort(key=lambda row: (row["rule"] == RULE, row["run"], int(row["epoch"])))
    return [{name: text_of(row.get(name, "")) for name in HEADER} for row in rows]


# ---------------------------------------------------------------------------------------------------------------------
# Summary
# ---------------------------------------------------------------------------------------------------------------------


def summary(rows: Sequence[Row]) -> Iterator[Row]:
    """A row a measure: the last epoch's and the best accuracy, spikes, and the constants at the end."""
    by_run: dict[str, dict[str, list[Row]]] = {LEARNED: {}, FIXED: {}}
    for row in rows:
        by_run[FIXED if row["rule"] == RULE else LEARNED].setdefault(row["run"], []).append(row)
    common = [name for name in by_run[LEARNED] if name in by_run[FIXED]]
    learned, fixed = ([by_run[kind][name] for name in common] for kind in (LEARNED, FIXED))
    held_out = rows[0]["validation_accuracy"] != ""
    accuracies = [name for name, measure in ACCURACIES.items() if measure != CHOSEN or held_out]
    for name in (*accuracies, "last training loss", "hidden spikes a picture", *TAUS):
        yield _summary_row(name, *([_value(name, epochs) for epochs in kind] for kind in (learned, fixed)))


def _value(name: str, epochs: list[Row]) -> float:
    """One number of a run."""
    if name in ACCURACIES:
        return accuracy(epochs, ACCURACIES[name])
    if name == "last training loss":
        return float(epochs[-1]["train_loss"])
    if name in TAUS:
        return float(epochs[-1][name])
    return sum(float(epochs[-1][one]) for one in SPIKES[:N_HIDDEN])


def _summary_row(name: str, learned: list[float], fixed: list[float]) -> Row:
    cells: list[Any] = [name, len(learned)]
    for values in (learned, fixed):
        mean = mean_over_seeds(values)
        cells += [mean.mean, mean.low, mean.high]
    if name not in TAUS:  # a constant that is fixed is no measurement
        pair = paired_difference(learned, fixed)
        cells += [pair.mean, pair.low, pair.high, pair.p_value]
    return {key: text_of(cell) for key, cell in itertools.zip_longest(SUMMARY, cells, fillvalue="")}


def as_markdown(rows: Sequence[Row]) -> str:
    """The summary for people."""
    lines = ["| measure | learned | fixed | difference (95 % interval) |", "|---|---|---|---|"]
    for row in rows:
        learned, fixed, pair = (
            f"{float(row[mid]):.4g} [{float(row[low]):.4g}, {float(row[high]):.4g}]" if row[low] else row[mid]
            for mid, low, high in (
                ("learned", "learned_low", "learned_high"),
                ("fixed", "fixed_low", "fixed_high"),
                ("difference", "low", "high"),
            )
        )
        lines.append(f"| {row['measure']} | {learned} | {fixed} | {pair} |")
    return "\n".join(lines)


USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.learned_constants", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("runs", type=Path, help="folder of run folders")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="table to write")
    options = parser.parse_args(arguments)
    try:
        rows = measure(options.runs, options.data)
        found = list(summary(rows))
        write_rows(options.out, HEADER, rows)
        write_rows(beside(options.out, "summary"), SUMMARY, found)
    except (ValueError, OSError) as error:
        print(f"python -m studies.learned_constants: {error}", file=sys.stderr)
        return USAGE_ERROR
    print(as_markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

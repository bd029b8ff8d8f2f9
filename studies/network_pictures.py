"""What trained networks look like: confusion matrix, and first-layer filters before and after training.

``python -m studies.network_pictures RUN_FOLDER [...] --out results`` writes into OUT

- confusion.csv: how many test samples of each class were taken for each class; the rows of a run that is measured anew
  replace the old ones, those of other runs stay;
- first-layer-EXPERIMENT-RULE-RUN.csv: the few first-layer filters that training changed most.

Learning curves need no script of their own: ``tsslbp-ref results RUNS --csv results/NAME.csv`` writes them.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from studies.trained_runs import KEY, PassedBatch, TrainedRun, load_run, merge_rows, pass_test_data
from tsslbp_ref import checks
from tsslbp_ref.files import write_atomically
from tsslbp_ref.model.layers import Conv2d
from tsslbp_ref.model.network import Network

CONFUSION_TABLE = "confusion.csv"
CONFUSION = (*KEY, "epoch", "true", "predicted", "count")
FILTERS = ("filter", "channel", "row", "column", "initial", "learned")
N_FILTERS = 6
DECIMALS = 4  # of the filters' weights, which are at most 4


def confusion_counts(batches: Iterable[PassedBatch], n_classes: int) -> npt.NDArray[np.int64]:
    """counts[true, predicted]: samples of the class `true` that were taken for `predicted`."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    for batch in batches:
        np.add.at(counts, (batch.labels, batch.predicted), 1)
    return counts


def first_layer_filters(network: Network) -> npt.NDArray[np.floating]:
    """The weights of the first layer as images, (filters, C, H, W); a fully connected neuron is one filter."""
    layer = network.layers[0]
    shape = layer.input_shape[:1] + (layer.kernel_size,) * 2 if isinstance(layer, Conv2d) else layer.input_shape
    return network.weights[0].reshape(-1, *shape)


def most_changed(initial: npt.NDArray[np.floating], learned: npt.NDArray[np.floating], n: int) -> list[int]:
    """The n filters with the largest |W_learned - W_initial|, the largest first.

    Raises
    ------
    ValueError, TypeError
        If the shapes differ or n is not a positive integer.
    """
    checks.same_shape("learned", learned, initial.shape, "initial")
    size = np.linalg.norm((learned - initial).reshape(len(initial), -1), axis=1)
    order = np.argsort(-size, kind="stable")
    return [int(number) for number in order[: checks.positive_integer("n", n)]]


def filter_rows(run: TrainedRun, n: int = N_FILTERS) -> Iterator[tuple[object, ...]]:
    """Rows of the table of filters: every weight of the most changed ones, before and after training."""
    initial = first_layer_filters(run.row.network(run.seed, n_threads=1))
    learned = first_layer_filters(run.network)
    for number in most_changed(initial, learned, n):
        for index in np.ndindex(initial.shape[1:]):
            before, after = initial[number][index], learned[number][index]
            yield (number, *index, f"{before:.{DECIMALS}f}", f"{after:.{DECIMALS}f}")


def write_pictures(run: TrainedRun, batches: Iterable[PassedBatch], out: Path) -> None:
    """Write both tables of one run.

    Raises
    ------
    ValueError, OSError
        If a table cannot be read or written; what was there stays.
    """
    counts = confusion_counts(batches, run.network.n_classes)
    cells = [{"true": i, "predicted": j, "count": n, "epoch": run.epoch} for (i, j), n in np.ndenumerate(counts)]
    merge_rows(out / CONFUSION_TABLE, CONFUSION, (run.key | cell for cell in cells))
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([FILTERS, *filter_rows(run)])
    write_atomically(out / f"first-layer-{run.row.name}-{run.rule}-{run.name}.csv", text.getvalue().encode())


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.network_pictures", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="with a checkpoint of its best epoch")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the tables")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the data sets (default: TSSLBP_DATA)")
    parser.add_argument("--samples", type=int, metavar="N", help="at most so many test samples (default: all)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    try:
        for run in [load_run(folder) for folder in options.runs]:  # all are found before anything is measured
            batches = pass_test_data(run, options.data, options.samples)
            write_pictures(run, tqdm(batches, run.row.name, unit="batch", disable=options.quiet or None), options.out)
    except (ValueError, TypeError, OSError) as error:
        print(f"python -m studies.network_pictures: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Operations a picture: synaptic additions of a trained spiking network against the multiplications of an ANN.

``python -m studies.operations --out results/operations.csv`` reads results/firing-sparsity.csv, which holds the mean
firing count of every layer, and writes a row a run and weighted layer:

    additions       = spikes of the layer below x weights that leave one of its neurons      (mean a picture)
    multiplications = weights x positions                                                    (an ANN of the same shape)

A static picture is a current, not spikes: its first layer multiplies once and adds the result at every step, so that it
costs the ANN's multiplications. The leak and the reset, a few operations a neuron and step, are in `neuron_updates`.

Energy, of arithmetic alone: 4.6 pJ for a multiplication and an addition, .9 pJ for an addition, 32-bit floats at 45 nm
(Horowitz, "Computing's energy problem", ISSCC 2014). Memory costs more than either, and is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studies.firing_sparsity import SPARSITY
from studies.trained_runs import KEY, Row, merge_rows, read_rows
from tsslbp_ref.model.layers import Conv2d, Layer
from tsslbp_ref.model.spec import weighted
from tsslbp_ref.training.experiments import experiment

PICOJOULE_ADD, PICOJOULE_MULTIPLY_ADD = 0.9, 4.6
SOURCE = Path("results/firing-sparsity.csv")
COLUMNS = (*KEY, "layer", "name", "input", "multiplications", "additions", "neuron_updates", "ann_nj", "snn_nj")
NANO = 1e-3  # picojoule to nanojoule
USAGE_ERROR = 2


def multiplications(layer: Layer) -> int:
    """Products of one pass through a weighted layer: rows x columns, or filters x channels x k^2 x output positions.

    A product with the padding's zeros is not counted.
    """
    if not isinstance(layer, Conv2d):
        return int(np.prod(layer.output_shape)) * int(np.prod(layer.input_shape))
    ones = np.ones((1, *layer.input_shape))
    return int(layer.forward(ones, np.ones(layer.weight_shape)).sum())


def rows_of_run(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """The rows of one run, layer by layer, from its rows in the table of firing counts."""
    row = experiment(rows[0]["experiment"])
    layers = weighted(row.network(0, n_threads=1).layers)
    spikes_below = None  # of a static picture: a current
    for layer, found in zip(layers, rows, strict=True):
        n, neurons = multiplications(layer), int(found["neurons"])
        if spikes_below is not None or row.dataset != "n-mnist":  # the table does not count a recording's events
            is_current = spikes_below is None
            additions = 0.0 if spikes_below is None else spikes_below * (n / int(np.prod(layer.input_shape)))
            multiplied = n if is_current else 0
            yield {name: found[name] for name in KEY} | {
                "layer": found["layer"], "name": found["name"], "input": "current" if is_current else "spikes",
                "multiplications": n, "additions": additions, "neuron_updates": neurons * int(found["steps"]),
                "ann_nj": NANO * PICOJOULE_MULTIPLY_ADD * n,
                "snn_nj": NANO * (PICOJOULE_MULTIPLY_ADD * multiplied + PICOJOULE_ADD * additions),
            }  # fmt: skip
        spikes_below = neurons * float(found["mean_count"])


def table(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """Every run of the table of firing counts."""
    by_run: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        by_run.setdefault(tuple(row[name] for name in KEY), []).append(row)
    for of_run in by_run.values():
        yield from rows_of_run(of_run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.operations", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sparsity", type=Path, default=SOURCE, metavar="CSV", help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV")
    options = parser.parse_args(arguments)
    try:
        merge_rows(options.out, COLUMNS, table(read_rows(options.sparsity, SPARSITY)))
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m studies.operations: {error}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Convolution by frequency against convolution in the pictures' own places: which layers gain, on one thread.

    python -m benchmarks.frequencies --json results/frequencies.json

`fast_fourier.Convolution.pays` chooses by the number of multiplications; here both ways are timed, forward and back,
interleaved, medians, for layers of the paper's networks and some around them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tsslbp_ref.engine import fast_fourier
from tsslbp_ref.model.layers import Conv2d

SEED, N_PICTURES, ROUNDS = 8, 100, 9
LAYERS = (
    Conv2d((1, 28, 28), 15, 5, 0),  # MNIST, first and second
    Conv2d((15, 12, 12), 40, 5, 0),
    Conv2d((1, 28, 28), 32, 5, 2),  # Fashion-MNIST
    Conv2d((32, 14, 14), 64, 5, 2),
    Conv2d((12, 17, 17), 64, 5, 0),  # near N-MNIST's second
    Conv2d((8, 12, 12), 16, 5, 0),
    Conv2d((4, 12, 12), 8, 5, 0),
    Conv2d((15, 12, 12), 40, 3, 0),
    Conv2d((16, 8, 8), 32, 3, 1),
    Conv2d((32, 32, 32), 64, 3, 1),  # near CIFAR-10's, with fewer channels
    Conv2d((64, 16, 16), 128, 3, 1),
)


def measure(layer: Conv2d) -> dict[str, Any]:
    """Time a layer's three products, both ways."""
    by_frequency = fast_fourier.Convolution(layer.input_shape, layer.n_filters, layer.kernel_size, layer.padding)
    rng = np.random.default_rng(SEED)
    x, W, delta = (
        rng.random(shape, dtype=np.float32)
        for shape in ((N_PICTURES, *layer.input_shape), layer.weight_shape, (N_PICTURES, *layer.output_shape))
    )
    in_places = _InPlaces(layer.input_shape, layer.n_filters, layer.kernel_size, layer.padding)
    I, g = np.empty_like(delta), np.empty_like(x)
    times: dict[str, list[float]] = {"frequency_ms": [], "places_ms": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        by_frequency.forward(x, W, I)
        by_frequency.backward(delta, x, W, g)
        middle = time.perf_counter()
        in_places.forward(x, W, I)
        in_places.backward(delta, x, W, g)
        times["frequency_ms"].append(1e3 * (middle - start))
        times["places_ms"].append(1e3 * (time.perf_counter() - middle))
    direct = math.prod(layer.output_shape) * layer.fan_in
    return {
        "input_shape": list(layer.input_shape),
        "n_filters": layer.n_filters,
        "kernel_size": layer.kernel_size,
        "padding": layer.padding,
        "fewer_multiplications": direct / by_frequency.multiplications,
        "piece": by_frequency.piece,
        "chosen": by_frequency.pays,
        **{name: statistics.median(values) for name, values in times.items()},
    }


class _InPlaces(Conv2d):
    """A convolution that never goes by frequency."""

    by_frequency = None  # type: ignore[assignment]


def main() -> None:
    """Measure every layer, print, and write the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where to write the rows")
    path = parser.parse_args().json
    with threadpool_limits(1, user_api="blas"):
        rows = [measure(layer) for layer in LAYERS]
    for row in rows:
        gain = row["places_ms"] / row["frequency_ms"]
        sizes = f"{tuple(row['input_shape'])} {row['n_filters']}C{row['kernel_size']} padding {row['padding']}"
        print(f"{sizes:34} multiplies {row['fewer_multiplications']:.2f} times less, takes {gain:.2f} times less long,",
              "chosen" if row["chosen"] else "not chosen")  # fmt: skip
    if path is not None:
        path.write_text(json.dumps({"n_pictures": N_PICTURES, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()

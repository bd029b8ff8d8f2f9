"""The floor: the dense matrix products of a training step and nothing else, by NumPy's BLAS, results overwritten.

A layer costs three products: forward, dL/dW, and, above the first layer, dL/da. A static input passes the first layer
once. A convolution counts as the product with the matrix of its patches (im2col), which is made beforehand.
"""

from __future__ import annotations

import math

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.contenders import Contender, Step
from benchmarks.workloads import N_CLASSES, Workload
from tsslbp_ref.model.layers import Conv2d
from tsslbp_ref.model.spec import layers_from_spec, weighted


def product_shapes(workload: Workload) -> list[tuple[int, int, int]]:
    """(rows, fan-in, outputs) of each layer's product: rows are samples, time steps and positions together."""
    shapes = []
    layers = layers_from_spec(workload.spec, workload.input_shape, N_CLASSES, padding=workload.paddings)
    for index, layer in enumerate(weighted(layers)):
        shown = workload.batch * (1 if index == 0 and workload.density is None else workload.n_steps)
        positions = math.prod(layer.output_shape[1:]) if isinstance(layer, Conv2d) else 1
        outputs = math.prod(layer.output_shape) // positions
        shapes.append((shown * positions, layer.fan_in, outputs))
    return shapes


def training_step(workload: Workload, contender: Contender) -> Step:
    """Make the step: all products, one after the other."""
    threadpool_limits(contender.threads, user_api="blas")
    rng = np.random.default_rng(0)
    triples = [
        tuple(rng.random(shape, dtype=np.float32) for shape in ((rows, n_in), (n_out, n_in), (rows, n_out)))
        for rows, n_in, n_out in product_shapes(workload)
    ]

    def step() -> None:
        for index, (x, W, delta) in enumerate(triples):
            np.matmul(x, W.T, out=outputs[index][0])
            np.matmul(delta.T, x, out=outputs[index][1])
            if index > 0:
                np.matmul(delta, W, out=outputs[index][2])

    outputs = [(np.empty_like(delta), np.empty_like(W), np.empty_like(x)) for x, W, delta in triples]
    return step

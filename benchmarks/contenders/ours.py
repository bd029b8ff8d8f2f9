"""Our own training step, as `training.Trainer` makes it.

`benchmarks.against` runs this module on another checkout of the package, too: it asks for public names alone.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np

from benchmarks.contenders import Contender, Step
from benchmarks.workloads import N_CLASSES, Workload
from tsslbp_ref import Network, NeuronParameters, optim

SEED = 0  # of the dropout masks


def training_step(workload: Workload, contender: Contender) -> Step:
    """Make the step: kernel loss, gradients, AdamW."""
    network = Network.from_spec(
        workload.spec,
        workload.input_shape,
        N_CLASSES,
        workload.n_steps,
        NeuronParameters(workload.tau_m, workload.tau_s),
        padding=workload.paddings,
        dropout=workload.dropout,
        weight_scale=workload.weight_scale,
        n_threads=contender.threads,
    )
    optimiser = _optimiser(network)
    x, y = workload.inputs()
    rng = np.random.default_rng(SEED) if workload.dropout else None

    def step() -> float:
        loss, _, _ = network.training_step(x, y, rng=rng, optimiser=optimiser)
        return loss

    return step


def _optimiser(network: Any) -> Any:
    """AdamW of the network's weights; before the engine held the threads, it asked for the network's."""
    if "workers" in signature(optim.AdamW).parameters:
        return optim.AdamW(network.weights, workers=network.workers)
    return optim.AdamW(network.weights)

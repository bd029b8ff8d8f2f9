"""Our own training step, as `training.Trainer` makes it."""

from __future__ import annotations

from benchmarks.contenders import Contender, Step
from benchmarks.workloads import N_CLASSES, Workload
from tsslbp_ref import NeuronParameters
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.optim import AdamW


def training_step(workload: Workload, contender: Contender) -> Step:
    """Make the step: kernel loss, gradients, AdamW."""
    network = Network.from_spec(
        workload.spec,
        workload.input_shape,
        N_CLASSES,
        workload.n_steps,
        NeuronParameters(workload.tau_m, workload.tau_s),
        n_threads=contender.threads,
    )
    optimiser = AdamW(network.weights)
    x, y = workload.inputs()

    def step() -> float:
        loss, _, _ = network.training_step(x, y, optimiser=optimiser)
        return loss

    return step

"""Rows that hold a training step in one compiled call a shard equal to literal loops, from picture to dL/dW."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine.fast_words import FEWEST_NEURONS
from tsslbp_ref.gradcheck.finite_differences import Array, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.sweep_checks import TOLERANCES
from tsslbp_ref.model import losses, reference
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

NEURON = NeuronParameters(5.0, 3.0, 1.0)
N_INPUTS, N_CLASSES, BATCH, N_STEPS = 4, 3, 5, 6
SPECS = {"products": "6-5", "words": f"5-{FEWEST_NEURONS}"}
SEED, WEIGHT_SCALE = 2, 2.0  # every layer has spikes and silence, on both sides of the warm-up gate


def all_checks() -> list[Check]:
    """By products and by words, each as one shard and as two."""
    return [
        Check(
            f"sweep-whole-step-{kind}",
            f"L, a, dL/dW (F1 - B3) by {kind}, one call a shard: against double sums and plain products",
            "whole_steps.WholeStep.run",
            TOLERANCES["float64"],
            partial(_over_shards, spec),
        )
        for kind, spec in SPECS.items()
    ]


def _over_shards(spec: str) -> float:
    return largest(_whole_step(spec, n_threads) for n_threads in (1, 2))


def _whole_step(spec: str, n_threads: int) -> float:
    network = Network.from_spec(
        spec,
        (N_INPUTS,),
        N_CLASSES,
        N_STEPS,
        NEURON,
        seed=SEED,
        dtype="float64",
        weight_scale=WEIGHT_SCALE,
        n_threads=n_threads,
    )
    x, y = np.random.default_rng(SEED).random((BATCH, N_INPUTS)), np.arange(BATCH, dtype=np.int64) % N_CLASSES
    value, gradients, a = network.training_step(x, y)
    wanted_value, wanted_gradients, wanted_a = _literal_step(network.weights, x, y)
    errors = [relative_error(value, wanted_value), relative_error(a, wanted_a)]
    errors += [relative_error(dW, wanted) for dW, wanted in zip(gradients, wanted_gradients, strict=True)]
    return largest(errors)


def _literal_step(Ws: list[Array], x: Array, y: npt.NDArray[np.int64]) -> tuple[float, list[Array], Array]:
    """Loss, dL/dW of every layer, and the output PSC, step by step and layer by layer."""
    pscs = [reference.psc_filter(np.broadcast_to(x, (N_STEPS, *x.shape)), NEURON)]
    traces = []
    for W in Ws:
        traces.append(reference.lif_forward(np.einsum("oi,tbi->tbo", W, pscs[-1]), NEURON))
        pscs.append(traces[-1].a)
    d = losses.desired_train_released(N_STEPS)
    for _ in range(2):
        d = reference.psc_filter(d, NEURON)
    error = pscs[-1].copy()
    error[:, np.arange(len(y)), y] -= d[:, None]
    g = error
    gradients: list[Array] = []
    for W, trace, below in zip(Ws[::-1], traces[::-1], pscs[-2::-1], strict=True):
        delta = reference.tsslbp_backward(g, trace, NEURON, GradientRule())
        gradients.insert(0, np.einsum("tbo,tbi->oi", delta, below))
        g = np.einsum("tbo,oi->tbi", delta, W)
    return 0.5 * float((error**2).sum()), gradients, pscs[-1]

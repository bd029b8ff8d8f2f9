"""Rows that hold our numbers equal to those of the authors' own code, at four commits: layers, losses, whole networks.

The numbers lie in the folder golden, whose README says what they are and how they were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tsslbp_ref.gradcheck.finite_differences import Array, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.model import losses, reference, sweeps
from tsslbp_ref.model.losses import LossSettings
from tsslbp_ref.model.network import Engine, Network, PlainEngine
from tsslbp_ref.model.parameters import NeuronParameters, rule_by_name

FOLDER = Path(__file__).parent / "golden"
TOLERANCE = 1e-12
COUNTS = LossSettings(desired_count=4.0, undesired_count=1.0)
LOSS_NEURON = NeuronParameters(tau_m=5.0, tau_s=3.0)


class GoldenFile(NamedTuple):
    """What one file holds."""

    rule: str
    commit: str
    layers: Sequence[str]
    losses: dict[str, str]  # of each network


class GoldenNetwork(NamedTuple):
    """How a network is built."""

    spec: str
    padding: int | Sequence[int] = 0


LAYERS = ("layer0", "layer1", "layer2", "layer3")
ONCE_01011 = dict.fromkeys(("dense", "dense20", "quiet", "cnn"), "kernel-paper")
TWICE_01111 = dict.fromkeys(ONCE_01011, "kernel")
FILES = {
    "released_code_vectors": GoldenFile(
        "released", "ffaac71", LAYERS, dict.fromkeys(("dense", "dense20", "cnn"), "kernel")
    ),
    "released_code_more": GoldenFile(
        "released",
        "ffaac71",
        ("ties", "clipped"),
        {"events_count": "count", "softmax7": "softmax", "slow_kernel": "kernel"},
    ),
    "code_of_june_2020": GoldenFile("june-2020", "d0a06b7", LAYERS, ONCE_01011),
    "code_of_september_2020": GoldenFile("september-2020", "6e40449", LAYERS, ONCE_01011),
    "code_of_november_2020": GoldenFile("november-2020", "f9ab4b4", LAYERS, TWICE_01111),
}
NETWORKS = {
    "dense": GoldenNetwork("9-8"),
    "dense20": GoldenNetwork("9"),
    "quiet": GoldenNetwork("9-8"),
    "cnn": GoldenNetwork("3C3-P2-4C3-6", (1, 0)),
    "events_count": GoldenNetwork("3C3-P2-4C2", (1, 0)),
    "softmax7": GoldenNetwork("9"),
    "slow_kernel": GoldenNetwork("9-8"),
}


def all_checks() -> list[Check]:
    """Every layer, loss and network of every file."""
    rows = []
    for file, (rule, commit, layers, networks) in FILES.items():
        rows += [
            Check(
                f"golden-{rule}-{layer}",
                f"a, delta of a layer by the authors' code, {commit}",
                "reference.tsslbp_backward, sweeps.tsslbp_backward",
                TOLERANCE,
                partial(layer_error, file, layer),
            )
            for layer in layers
        ]
        rows += [
            Check(
                f"golden-{rule}-{network}",
                f"L, a, dL/dW of a network by the authors' code, {commit}",
                "network.Network.loss_and_gradients",
                TOLERANCE,
                partial(network_error, file, network),
            )
            for network in networks
        ]
    return rows + [
        Check(
            f"golden-released-loss-{name}",
            "L, dL/da by the authors' code, ffaac71",
            "losses.value_and_gradient",
            TOLERANCE,
            partial(_loss_error, name),
        )
        for name in ("kernel", "count", "softmax")
    ]


@cache
def golden_numbers(file: str) -> dict[str, Array]:
    """All arrays of a file of the folder, by name."""
    with np.load(FOLDER / f"{file}.npz", allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def layer_error(file: str, layer: str) -> float:
    """The larger error of the literal loops and of the sweeps."""
    golden, rule = golden_numbers(file), rule_by_name(FILES[file].rule)
    I, a, g, delta, constants = (golden[f"{layer}_{key}"] for key in ("I", "a", "g", "dI", "par"))
    neuron = NeuronParameters(*constants)
    errors = []
    for twin in (reference, sweeps):
        trace = twin.lif_forward(I, neuron)
        found = twin.tsslbp_backward(g, trace, neuron, rule)
        errors += [relative_error(trace.a, a), relative_error(found, delta)]
    return largest(errors)


def network_error(file: str, name: str) -> float:
    """The larger error of the plain loops and of the fast engine."""
    golden = golden_numbers(file)
    y, loss, a = (golden[f"{name}_{key}"] for key in ("y", "loss", "a"))
    errors = []
    for engine in (PlainEngine(), None):
        net = golden_network(file, name, engine=engine)
        value, gradients, output = net.training_step(golden[f"{name}_x"], y, FILES[file].losses[name], settings=COUNTS)
        errors += [relative_error(value, loss), relative_error(output, a)]
        errors += [relative_error(dW, golden[f"{name}_dW{index}"]) for index, dW in enumerate(gradients)]
    return largest(errors)


def golden_network(file: str, name: str, *, n_threads: int = 1, engine: Engine | None = None) -> Network:
    """The network of a file, in float64, with its weights, by the rule of its commit."""
    golden = golden_numbers(file)
    spec, padding = NETWORKS[name]
    n_steps, tau_m, tau_s = golden[f"{name}_par"]
    weights = [golden[key] for key in sorted(golden) if key.startswith(f"{name}_W")]
    net = Network.from_spec(
        spec,
        golden[f"{name}_x"].shape[-3:],
        len(weights[-1]),
        int(n_steps),
        NeuronParameters(tau_m, tau_s),
        rule_by_name(FILES[file].rule),
        dtype="float64",
        padding=padding,
        n_threads=n_threads,
        engine=engine,
    )
    net.weights = weights
    return net


def _loss_error(name: str) -> float:
    golden = golden_numbers("released_code_vectors")
    value, g = losses.value_and_gradient(name, golden["loss_a"], golden["loss_y"], LOSS_NEURON, COUNTS)
    return largest([relative_error(value, golden[f"loss_{name}"]), relative_error(g, golden[f"loss_{name}_da"])])

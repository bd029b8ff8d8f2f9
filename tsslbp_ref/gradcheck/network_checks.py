"""Rows that hold three ways through a network equal: literal loops, the two plain loops, and the fast engine.

Each row runs a training step of one network by `reference_network.loss_and_gradients`, and by `PlainEngine` or by the
fast engine on one, two and three threads; its error is the largest difference in loss, output and dL/dW.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tsslbp_ref.engine.spike_patterns import FEWEST_NEURONS
from tsslbp_ref.gradcheck.finite_differences import Array, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.model import reference_network
from tsslbp_ref.model.layers import Dropout
from tsslbp_ref.model.losses import LOSSES
from tsslbp_ref.model.network import Engine, Network, PlainEngine
from tsslbp_ref.model.parameters import NeuronParameters, named_rules

TOLERANCE = 1e-12
BATCH, N_CLASSES, N_STEPS, SEED = 3, 3, 6, 8  # of which every layer fires
BY_LAYER = (NeuronParameters(5.0, 3.0, 1.0), NeuronParameters(4.0, 2.0, 0.8), NeuronParameters(8.0, 4.0, 1.1))

DENSE: dict[str, Any] = {"spec": "6-5", "input_shape": (30,), "weight_scale": 4.0}
CONV: dict[str, Any] = {"spec": "3C3-P2-4", "input_shape": (2, 5, 5), "weight_scale": (8.0, 3.0), "padding": 1}
NETWORKS: dict[str, dict[str, Any]] = {
    "dense": DENSE,
    "dense-deep": DENSE | {"spec": "6-5-5-4-4"},
    # So wide that spike patterns are followed, and with those of the layer below: the constants differ by layer.
    "dense-wide": DENSE | {"spec": f"5-{FEWEST_NEURONS}", "weight_scale": 1.5, "neuron": BY_LAYER},
    "dense-dropout": DENSE | {"dropout": 0.3},
    "dense-by-layer": DENSE | {"neuron": BY_LAYER, "input_tau_s": 2.5},
    "conv": CONV,
    "conv-pool-first": CONV | {"spec": "P2-3C2-P2-4", "weight_scale": 5.0},
    # A convolution above another, and images that are no squares.
    "conv-conv": CONV | {"spec": "3C3-P2-4C2", "input_shape": (2, 4, 6), "weight_scale": 8.0},
    "conv-dropout": CONV | {"dropout": 0.3},
    "conv-by-layer": CONV | {"neuron": BY_LAYER, "input_tau_s": 2.5},
}
INPUTS = ("static", "spikes", "sparse")
SPARSE = 0.05


def all_checks() -> list[Check]:
    """Every network with every input, then one network with every loss and with every rule; first by plain loops."""
    steps = {
        f"{name}-{fed}": {"fed": fed, "loss": "kernel", **settings}
        for name, settings in NETWORKS.items()
        for fed in INPUTS
    }
    for kind, settings in (("dense", DENSE), ("conv", CONV)):
        steps |= {f"{kind}-loss-{loss}": {"fed": "static", "loss": loss, **settings} for loss in LOSSES}
        for name, rule in named_rules().items():
            steps[f"{kind}-rule-{name}"] = {"fed": "spikes", "loss": "kernel", "rule": rule, **settings}
    plain = [(f"network-{name}", "plain loops", partial(plain_error, **step)) for name, step in steps.items()]
    fast = [(f"engine-network-{name}", "fast engine", partial(fast_error, **step)) for name, step in steps.items()]
    return [
        Check(name, f"L, a, dL/dW of a step: {way}", "reference_network.loss_and_gradients", TOLERANCE, measure)
        for name, way, measure in plain + fast
    ]


def plain_error(**step: Any) -> float:
    """The largest error of the plain loops, relative to the largest entry of each literal array."""
    return _error((1,), PlainEngine(), **step)


def fast_error(**step: Any) -> float:
    """The largest error of the fast engine on one, two and three threads."""
    return _error((1, 2, 3), None, **step)


def _error(thread_counts: tuple[int, ...], engine: Engine | None, *, fed: str, loss: str, **settings: Any) -> float:
    y, errors = _target(loss), []
    net, x = network(fed, **settings)
    expected = reference_network.loss_and_gradients(net, x, y, loss, masks=_masks(net))
    for n_threads in thread_counts:
        net, x = network(fed, engine=engine, n_threads=n_threads, **settings)
        value, gradients, a = net.training_step(x, y, loss, rng=np.random.default_rng(SEED))
        errors += [relative_error(value, expected[0]), relative_error(a, expected[2])]
        errors += [relative_error(one, other) for one, other in zip(gradients, expected[1], strict=True)]
    return largest(errors)


def network(fed: str, **settings: Any) -> tuple[Network, Array]:
    """A network of this file, and its input."""
    net = Network.from_spec(n_classes=N_CLASSES, n_steps=N_STEPS, seed=SEED, dtype="float64", **settings)
    return net, _input(fed, net)


def _input(fed: str, net: Network) -> Array:
    """Images, spike trains, or sparse spike trains of large inputs' density."""
    rng = np.random.default_rng(SEED)
    if fed == "static":
        return rng.random((BATCH, *net.input_shape))
    density = SPARSE if fed == "sparse" else 0.4
    s = (rng.random((N_STEPS, BATCH, *net.input_shape)) < density).astype(np.float64)
    s[0, 0].flat[0] = 1.0  # at least one spike
    return 4.0 * s if fed == "sparse" else s  # of a height that makes neurons fire


def _target(loss: str) -> Any:
    """One class a sample, or desired trains."""
    if loss == "spike-train":
        shape = (N_STEPS, BATCH, N_CLASSES)
        return (np.random.default_rng(SEED).random(shape) < 0.3).astype(np.float64)
    return np.arange(BATCH) % N_CLASSES


def _masks(net: Network) -> list[Array | None] | None:
    """The dropout masks that a network draws from the same seed in the same order; None if it drops nothing."""
    if not any(isinstance(layer, Dropout) for layer in net.layers):
        return None
    rng = np.random.default_rng(SEED)
    return [layer.draw_mask(BATCH, rng, np.float64) if isinstance(layer, Dropout) else None for layer in net.layers]

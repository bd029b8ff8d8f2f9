"""Rows for the whole backward pass against central differences of the frozen-event tangent network of `tangent`.

Each row compares three things, and its error is the largest of the three: the loss of the two networks, every weight's
derivative (relative to the largest of its layer), and the derivative along one random direction through all weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from tsslbp_ref.engine.spike_patterns import FEWEST_NEURONS
from tsslbp_ref.gradcheck.finite_differences import Array, central_difference, gradient, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.tangent import FrozenNeurons, TangentNetwork, filtered
from tsslbp_ref.model import reference
from tsslbp_ref.model.layers import Dropout
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, named_rules

NEURON = NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)
TOLERANCE = 1e-10
WEIGHT_STEP = 0.5  # the loss is quadratic in any one weight, so that any step is exact but for rounding
DIRECTION_STEP = 1.0  # along a direction of length 1
# By loss, both steps and the Richardson levels of the first: count is quadratic between its dead zones, softmax smooth.
STEPS = {"count": (1e-3, 1e-2, 1), "softmax": (0.05, 0.05, 5)}
PHI_SEED = 188  # spikes, silence, and slow rises on both sides of the clip
PHI_STEP = 0.5  # the PSC is linear in the weighted input of its own layer
PHI_ALONE = {  # what no named rule has: a hop that starts from silent steps too, a kappa that is not 1
    "one-hop-leak": GradientRule(intra="one-hop"),
    "half-surrogate": GradientRule(surrogate_weight=0.5),
}


@dataclass(frozen=True)
class Case:
    """A network and a mini-batch for one row.

    The seeds are chosen so that every layer has spikes, repeated spikes and silence, on both sides of the warm-up gate;
    a test holds that. A layer whose gradient is all zeros would be an error, not a pass.
    """

    spec: str
    input_shape: tuple[int, ...]
    rule: GradientRule = field(default_factory=GradientRule)
    n_steps: int = 8
    batch: int = 2
    n_classes: int = 3
    seed: int = 14
    feed: str = "static"  # or "spikes", "sparse spikes"
    weight_scale: float | tuple[float, float] = 2.0
    padding: int | tuple[int, ...] = 0
    dropout: float = 0.0
    dropout_form: str = "unit"
    loss: str = "kernel"

    def network(self) -> Network:
        """The network, in float64, on one thread."""
        return Network.from_spec(
            self.spec,
            self.input_shape,
            self.n_classes,
            self.n_steps,
            neuron=NEURON,
            rule=self.rule,
            seed=self.seed,
            dtype="float64",
            padding=self.padding,
            dropout=self.dropout,
            dropout_form=self.dropout_form,
            weight_scale=self.weight_scale,
            n_threads=1,
        )

    def input(self) -> Array:
        """Static images in 0 .. 1, or spike trains."""
        rng = np.random.default_rng(self.seed)
        if self.feed == "static":
            return rng.random((self.batch, *self.input_shape))
        density = 0.05 if self.feed == "sparse spikes" else 0.4
        return (rng.random((self.n_steps, self.batch, *self.input_shape)) < density).astype(np.float64)

    def input_psc(self) -> Array:
        """The PSC of the input, (T, B, ...): a static image is its own train at every step."""
        x = self.input()
        s = np.broadcast_to(x, (self.n_steps, *x.shape)) if self.feed == "static" else x
        return filtered(np.array(s), NEURON.theta_s)

    def labels(self) -> Any:
        """One class a sample."""
        return np.arange(self.batch) % self.n_classes


STATES = ("june-2020", "september-2020", "november-2020")  # whose warm-up is a switch for a whole layer
DENSE_SPECS = {1: "", 2: "5", 3: "5-4"}
CONV = Case("3C3-P2-2C2", (2, 6, 6), padding=(1, 1), weight_scale=(3.0, 2.0), seed=4)


def _dense(n_layers: int, **settings: Any) -> Case:
    return Case(DENSE_SPECS[n_layers], (6,), **settings)


def cases() -> dict[str, Case]:
    """All networks that are checked, by the name of their row."""
    rules = named_rules()
    found = {}
    for n_layers in DENSE_SPECS:
        for feed in ("static", "spikes"):
            for rule in ("released", "no-warmup"):
                found[f"tangent-{rule}-dense-{n_layers}-{feed}"] = _dense(n_layers, feed=feed, rule=rules[rule])
    for rule in ("no-intra", "literal", "surrogate", "consistent", "timing-plus-surrogate"):
        found[f"tangent-{rule}-dense-3-static"] = _dense(3, rule=rules[rule])
    found["tangent-released-dense-3-sparse-spikes"] = Case(
        "5-4", (30,), feed="sparse spikes", weight_scale=8.0, seed=11
    )
    found["tangent-released-dense-3-patterns"] = Case(f"2-{FEWEST_NEURONS}", (4,), n_classes=2, seed=21)
    found["tangent-released-dense-3-paper-loss"] = _dense(3, loss="kernel-paper")
    for loss in STEPS:
        found[f"tangent-released-dense-3-loss-{loss}"] = _dense(3, loss=loss)
    found["tangent-released-dense-3-dropout"] = _dense(3, dropout=0.3)
    found["tangent-released-conv-static"] = CONV
    found["tangent-released-conv-spikes"] = replace(CONV, feed="spikes")
    found["tangent-consistent-conv-spikes"] = replace(CONV, feed="spikes", rule=rules["consistent"])
    found["tangent-timing-plus-surrogate-conv-spikes"] = replace(
        CONV, feed="spikes", rule=rules["timing-plus-surrogate"]
    )
    for state in STATES:
        found[f"tangent-{state}-dense-3-static"] = _dense(3, rule=rules[state])
        found[f"tangent-{state}-dense-3-quiet"] = _dense(3, rule=rules[state], weight_scale=1.5, seed=22)
        found[f"tangent-{state}-conv-spikes"] = replace(CONV, feed="spikes", rule=rules[state])
    found["tangent-released-conv-dropout"] = replace(CONV, dropout=0.3)
    found["tangent-released-conv-dropout-rows"] = replace(CONV, dropout=0.3, dropout_form="row")
    return found


def all_checks() -> list[Check]:
    """One row a network, and one a rule for phi of a single layer."""
    rows = [
        Check(
            f"phi-{name}",
            "phi(t_k, t_m) = da~[t_k]/dI~[t_m] (frozen-event tangent layer, differenced in I)",
            "reference.dependency_matrix",
            TOLERANCE,
            partial(dependency_error, rule),
        )
        for name, rule in (named_rules() | PHI_ALONE).items()
    ]
    return rows + [
        Check(
            name,
            "dL/dW (frozen-event tangent network, every weight and a random direction)",
            "network.Network.loss_and_gradients",
            TOLERANCE,
            partial(tangent_error, case),
        )
        for name, case in cases().items()
    ]


# ---------------------------------------------------------------------------------------------------------------------
# The whole backward pass
# ---------------------------------------------------------------------------------------------------------------------


def frozen(case: Case) -> tuple[float, list[list[Array]], TangentNetwork, Network]:
    """Run a case by the fast engine and by the plain one: loss, both gradients, and the run's tangent network."""
    network = case.network()
    arguments = (case.input(), case.labels(), case.loss)

    def rng() -> np.random.Generator | None:
        return np.random.default_rng(case.seed) if case.dropout else None

    value, gradients = network.loss_and_gradients(*arguments, rng=rng())
    _, plain_gradients, _, flows = network.training_pass(*arguments, rng=rng())
    tangent = TangentNetwork(
        layers=network.layers,
        masks=_masks(case, network),
        neurons=[FrozenNeurons.of(flow.trace, NEURON, case.rule) for flow in flows],
        input_psc=case.input_psc(),
        y=case.labels(),
        neuron=NEURON,
        loss_name=case.loss,
    )
    return value, [gradients, plain_gradients], tangent, network


def _masks(case: Case, network: Network) -> list[Array | None]:
    """The dropout masks of the run, drawn again from the same seed in the same order."""
    rng = np.random.default_rng(case.seed)
    return [
        layer.draw_mask(case.batch, rng, np.float64) if isinstance(layer, Dropout) else None for layer in network.layers
    ]


def tangent_error(case: Case) -> float:
    """The largest of the three errors of a case."""
    value, both_gradients, tangent, network = frozen(case)
    W = network.weights
    errors = [relative_error(value, tangent.loss(W))]
    for layer, found in enumerate(zip(*both_gradients, strict=True)):
        derivatives = _weight_derivatives(tangent, W, layer)
        errors += [relative_error(gradients, derivatives) for gradients in found]
    errors.append(_direction_error(tangent, W, both_gradients[0], case.seed))
    return largest(errors)


def _weight_derivatives(tangent: TangentNetwork, W: Sequence[Array], layer: int) -> Array:
    """Central differences of the tangent network's loss in every weight of one layer."""

    def loss(moved: Array) -> float:
        return tangent.loss([*W[:layer], moved, *W[layer + 1 :]])

    step, _, levels = _steps(tangent)
    return gradient(loss, W[layer], step, levels)


def _steps(tangent: TangentNetwork) -> tuple[float, float, int]:
    """A weight's step, that along a direction, and the Richardson levels of the first."""
    return STEPS.get(tangent.loss_name, (WEIGHT_STEP, DIRECTION_STEP, 1))


def _direction_error(tangent: TangentNetwork, W: Sequence[Array], gradients: Sequence[Array], seed: int) -> float:
    """One random direction through all layers at once, where the layers' changes multiply.

    Along it a quadratic loss is a polynomial of degree 2 x layers, which as many Richardson levels as layers
    difference exactly. The error is relative to |gradient| |direction|, as the derivative along a
    direction can be small by chance.
    """
    rng = np.random.default_rng(seed)
    directions = [rng.normal(size=w.shape) for w in W]
    length = math.sqrt(sum(float(np.vdot(d, d)) for d in directions))
    directions = [d / length for d in directions]

    def loss(h: float) -> float:
        return tangent.loss([w + h * d for w, d in zip(W, directions, strict=True)])

    _, step, levels = _steps(tangent)
    numeric = central_difference(loss, step, levels=max(levels, len(W)))
    found = sum(float(np.vdot(g, d)) for g, d in zip(gradients, directions, strict=True))
    size = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients))
    return abs(found - numeric) / size


# ---------------------------------------------------------------------------------------------------------------------
# phi of one layer
# ---------------------------------------------------------------------------------------------------------------------


def phi_weighted_input() -> Array:
    """Weighted input of the layer whose phi is checked, (T, B, N)."""
    return np.random.default_rng(PHI_SEED).normal(0.4, 0.7, size=(10, 2, 6))


def dependency_error(rule: GradientRule) -> float:
    """The literal case table B5 - B8 against the tangent layer: column m is its answer to the input at step m."""
    I = phi_weighted_input()
    trace = reference.lif_forward(I, NEURON)
    neurons = FrozenNeurons.of(trace, NEURON, rule)

    def psc(t_m: int, h: float) -> Array:
        moved = I.copy()
        moved[t_m] += h
        return neurons.psc(moved)

    numeric = [central_difference(partial(psc, t_m), PHI_STEP) for t_m in range(len(I))]
    return relative_error(reference.dependency_matrix(trace, NEURON, rule), np.stack(numeric, axis=1))

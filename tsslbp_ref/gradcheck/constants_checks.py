"""Rows for the gradients by tau_m, tau_s and V: complex steps of the tangent network, literal loops, and identities.

A complex step needs no difference: the imaginary part of the tangent network's output at a constant + ih, over h, is
its derivative without cancellation. Its loss is read through the run's own dL/da of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tsslbp_ref.gradcheck import network_checks
from tsslbp_ref.gradcheck.finite_differences import COMPLEX_STEP, Array, complex_step, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.samples import RISE, over_neurons
from tsslbp_ref.gradcheck.tangent import UNMOVED, FrozenNeurons, Moved, filtered
from tsslbp_ref.model import constants, reference, terms
from tsslbp_ref.model.network import LayerFlow, Network
from tsslbp_ref.model.parameters import ConstantGradients, GradientRule, NeuronParameters, rule_by_name

TERM, AGREEMENT, TANGENT, IDENTITY = 1e-13, 1e-12, 1e-10, 1e-12
V_BEFORE, A_BEFORE = 0.6, 0.3  # membrane and PSC before the step
NETWORKS = {name: network_checks.NETWORKS[f"{name}-by-layer"] for name in ("dense", "conv")}
RULES = ("released", "no-warmup", "surrogate", "consistent", "september-2020")
LEAKY = ("no-warmup", "consistent")  # the leak between spikes, and no warm-up
# Name of the row, its field in ConstantGradients, what is checked, equation.
BY = (
    ("tau-m-fixed-Wd", "tau_m_fixed_W_d", "by_tau_m_fixed_W_d", "dL/dtau_m = sum_t delta v[t-1] / tau_m^2, W_d held"),
    ("tau-m-fixed-W", "tau_m_fixed_W", "by_tau_m_fixed_W", "dL/dtau_m = -sum_t delta du / tau_m, W = tau_m W_d held"),
    ("tau-s", "tau_s", "by_tau_s", "dL/dtau_s = -sum_t G (s - a[t-1]) / tau_s, by the input's too"),
    ("threshold", "threshold", "by_threshold_of_the_tangent", "dL/dV = -sum_t max(s, m) delta"),
)


class Run(NamedTuple):
    """A network, its input, and what passed through it and back."""

    net: Network
    x: Array
    flows: list[LayerFlow]
    weight_gradients: list[Array]
    found: constants.NetworkConstantGradients


def run_of(name: str, rule: GradientRule) -> Run:
    """A network of `NETWORKS` under a rule, on spike trains, constants by layer."""
    net, x = network_checks.network("spikes", rule=rule, **NETWORKS[name])
    y = np.arange(x.shape[1]) % net.n_classes
    _, weight_gradients, _, flows = net.training_pass(x, y)
    return Run(net, x, flows, weight_gradients, constants.gradients(net, x, y))


def all_checks() -> list[Check]:
    """The direct partials, tangent rows by rule and constant, literal loops, identities."""
    cases = [("dense", rule) for rule in RULES] + [("conv", "released")]
    tangent_rows = [
        Check(
            f"tangent-constants-{name}-{network}-{rule}",
            f"{equation} (complex step at frozen events)",
            f"constants.{where}",
            TANGENT,
            partial(tangent_error, network, rule, field),
        )
        for network, rule in cases
        for name, field, where, equation in BY
    ]
    literal_rows = [
        Check(
            f"constants-literal-{network}-{rule}",
            "dL/dtau_m, dL/dtau_s, dL/dV of each neuron: nested loops",
            "constants.of_layer",
            AGREEMENT,
            partial(literal_error, network, rule),
        )
        for network, rule in cases
    ]
    return [*_term_rows(), *tangent_rows, *literal_rows, *_identity_rows()]


def _identity_rows() -> list[Check]:
    """The sums over a layer that the constants' gradients obey."""
    spikes_rows = [
        Check(
            f"constants-identity-spikes-{rule}",
            "V dL/dV = -sum over spikes of delta u: a telescoping sum, without warm-up",
            "constants.by_threshold",
            IDENTITY,
            partial(spikes_error, rule),
        )
        for rule in LEAKY
    ]
    return spikes_rows + [
        Check(
            f"constants-identity-scale-{rule}",
            "V dL/dV + sum_j W_ij dL/dW_ij = 0 (W and V x c)",
            "constants.by_threshold",
            IDENTITY,
            partial(scale_error, rule),
        )
        for rule in RULES
    ]


# ---------------------------------------------------------------------------------------------------------------------
# The direct partials
# ---------------------------------------------------------------------------------------------------------------------


def _term_rows() -> list[Check]:
    rows = (
        ("tau-m-fixed-Wd", "membrane_by_tau_m_at_fixed_W_d", "du/dtau_m = v[t-1]/tau_m^2 (F3", _tau_m_fixed_W_d),
        ("tau-m-fixed-W", "membrane_by_tau_m_at_fixed_W", "du/dtau_m = -du/tau_m (F3, I = W a/tau_m", _tau_m_fixed_W),
        ("tau-s", "psc_by_tau_s", "da/dtau_s = -(s - a[t-1])/tau_s^2 (F6", _tau_s),
        ("threshold", "membrane_by_threshold", "du/dV = -I/V (F3 with I V/V' instead of a threshold V'", _threshold),
    )
    return [
        Check(f"term-constants-{name}", f"{equation}, complex step)", f"terms.{where}", TERM, over_neurons(measure))
        for name, where, equation, measure in rows
    ]


def _tau_m_fixed_W_d(neuron: NeuronParameters) -> float:
    moved = complex_step(lambda tau_m: terms.membrane(V_BEFORE, RISE, 1.0 / tau_m), neuron.tau_m)  # type: ignore[arg-type]
    return relative_error(terms.membrane_by_tau_m_at_fixed_W_d(V_BEFORE, neuron.theta_m), moved)


def _tau_m_fixed_W(neuron: NeuronParameters) -> float:
    def membrane(tau_m: Any) -> Any:
        return terms.membrane(V_BEFORE, RISE / tau_m, 1.0 / tau_m)

    rise = terms.membrane_rise(membrane(neuron.tau_m), V_BEFORE)
    found = terms.membrane_by_tau_m_at_fixed_W(rise, neuron.theta_m)
    return relative_error(found, complex_step(membrane, neuron.tau_m))


def _tau_s(neuron: NeuronParameters) -> float:
    trains = (0.0, 1.0)
    moved = [complex_step(lambda tau_s, s=s: terms.psc(A_BEFORE, s, 1.0 / tau_s), neuron.tau_s) for s in trains]  # type: ignore[misc]
    return relative_error([terms.psc_by_tau_s(A_BEFORE, s, neuron.theta_s) for s in trains], moved)


def _threshold(neuron: NeuronParameters) -> float:
    V = neuron.threshold
    moved = complex_step(lambda other: terms.membrane(V_BEFORE, RISE * V / other, neuron.theta_m), V)  # type: ignore[arg-type]
    return relative_error(terms.membrane_by_threshold(RISE, V), moved)


# ---------------------------------------------------------------------------------------------------------------------
# The tangent network
# ---------------------------------------------------------------------------------------------------------------------


def tangent_error(network: str, rule: str, field: str) -> float:
    """The largest error of one constant over all layers, relative to each layer's largest derivative."""
    run = run_of(network, rule_by_name(rule))
    frozen = [
        FrozenNeurons.of(flow.trace, neuron, run.net.rule)
        for flow, neuron in zip(run.flows, run.net.neurons, strict=True)
    ]
    derivative = partial(_derivative, run, frozen, field)
    expected = [np.array([derivative(layer, i) for i in range(n)]) for layer, n in enumerate(_widths(run))]
    errors = [relative_error(found, wanted) for found, wanted in zip(_found(run, field), expected, strict=True)]
    if field == "tau_s":
        errors.append(relative_error(run.found.input_tau_s.ravel(), _by_input_tau_s(run, frozen)))
    return largest(errors)


def _widths(run: Run) -> list[int]:
    return [flow.delta.shape[2] for flow in run.flows]


def _found(run: Run, field: str) -> Iterator[Array]:
    """The derivatives to be checked; of V the tangent network's own."""
    for flow, neuron, by in zip(run.flows, run.net.neurons, run.found.layers, strict=True):
        if field == "threshold":
            yield constants.by_threshold_of_the_tangent(flow.delta, flow.trace, neuron, run.net.rule)
        else:
            yield getattr(by, field)


def _derivative(run: Run, frozen: Sequence[FrozenNeurons], field: str, layer: int, i: int) -> float:
    """dL/d(constant) of neuron i of a layer, by a complex step."""
    step = np.zeros(_widths(run)[layer], complex)
    step[i] = 1j * COMPLEX_STEP
    neurons, tau_m = frozen[layer], run.net.neurons[layer].tau_m
    if field == "tau_m_fixed_W":  # W_d = W / tau_m moves, too
        return _loss(run, frozen, layer, neurons.psc(neurons.I * (tau_m / (tau_m + step)), Moved(tau_m=step)))
    name = "tau_m" if field == "tau_m_fixed_W_d" else field
    return _loss(run, frozen, layer, neurons.psc(neurons.I, Moved(**{name: step})))


def _by_input_tau_s(run: Run, frozen: Sequence[FrozenNeurons]) -> Array:
    """dL/dtau_s of each input's PSC."""
    n = int(np.prod(run.net.input_shape))
    trains = run.x.reshape(*run.x.shape[:2], n)
    tau_s = run.net.input_tau_s + 1j * COMPLEX_STEP * np.eye(n)
    return np.array([_loss(run, frozen, -1, filtered(trains, 1.0 / one)) for one in tau_s])


def _loss(run: Run, frozen: Sequence[FrozenNeurons], layer: int, a: Any) -> float:
    """Im L / h, from the complex PSC of a layer of neurons, -1 the input's, to the output."""
    net = run.net
    places = [i for i, one in enumerate(net.layers) if one.weight_shape is not None]
    start = places[layer] + 1 if layer >= 0 else 0
    weights, waiting = iter(net.weights[layer + 1 :]), iter(frozen[layer + 1 :])
    a = a.reshape(*a.shape[:2], *net.layers[start].input_shape) if start < len(net.layers) else a
    for one in net.layers[start:]:
        W = None if one.weight_shape is None else next(weights)
        a = _by_parts(lambda part, one=one, W=W: one.forward(part, W), a)  # type: ignore[misc]
        if W is not None:
            a = next(waiting).psc(a.reshape(*a.shape[:2], -1), UNMOVED).reshape(a.shape)
    return float(np.vdot(run.flows[-1].g, a.reshape(run.flows[-1].g.shape)).imag) / COMPLEX_STEP


def _by_parts(linear: Callable[[Array], Array], a: Any) -> Any:
    """A linear map of real arrays, of a complex one; the imaginary part is scaled, for it would be lost beside 1."""
    return linear(np.ascontiguousarray(a.real)) + 1j * COMPLEX_STEP * linear(
        np.ascontiguousarray(a.imag / COMPLEX_STEP)
    )


# ---------------------------------------------------------------------------------------------------------------------
# Literal loops, identities
# ---------------------------------------------------------------------------------------------------------------------


def literal_error(network: str, rule: str) -> float:
    """All constants of all layers by nested loops, relative to the largest derivative of each array."""
    run = run_of(network, rule_by_name(rule))
    errors = []
    for flow, neuron, found in zip(run.flows, run.net.neurons, run.found.layers, strict=True):
        expected: ConstantGradients = reference.constant_gradients(flow.g, flow.delta, flow.trace, neuron)
        errors += [relative_error(one, other) for one, other in zip(found, expected, strict=True)]
    return largest(errors)


def spikes_error(rule: str) -> float:
    """V dL/dV against the sum over spikes of delta u, over the largest of its layer."""
    run = run_of("dense", rule_by_name(rule))
    return largest(
        relative_error(neuron.threshold * by.threshold, -np.sum(flow.delta * flow.trace.s * flow.trace.u, axis=(0, 1)))
        for flow, neuron, by in zip(run.flows, run.net.neurons, run.found.layers, strict=True)
    )


def scale_error(rule: str) -> float:
    """V dL/dV against -sum_j W_ij dL/dW_ij, over the largest of its layer."""
    run = run_of("dense", rule_by_name(rule))
    return largest(
        relative_error(neuron.threshold * by.threshold, -np.sum(W * dW, axis=1))
        for W, dW, neuron, by in zip(
            run.net.weights, run.weight_gradients, run.net.neurons, run.found.layers, strict=True
        )
    )

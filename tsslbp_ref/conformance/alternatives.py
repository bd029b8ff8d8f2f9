"""What an array that does not agree may be: another named rule, a rule or neuron with one thing changed, another loss.

Each alternative computes the arrays of a case anew. `transforms` has ours in another order of axes, a step late or
early, or times a number.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np

from tsslbp_ref.conformance.cases import Array, Case, Quantity, layer_quantities, network_quantities
from tsslbp_ref.gradcheck.golden_checks import COUNTS, golden_network
from tsslbp_ref.model import losses, sweeps, terms
from tsslbp_ref.model.layers import SumPool2d
from tsslbp_ref.model.losses import LossSettings
from tsslbp_ref.model.network import PlainEngine
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, named_rules
from tsslbp_ref.model.trace import Trace

AT_A_TIE = 1.0 + 1e-12  # a bound that is reached only where it would be equal
NO_CLIP = 300.0  # of the surrogate's argument, whose exponential is still a number
OTHER_WIDTHS = (0.1, 0.25, 0.5, 1.0)  # of the surrogate; the authors' is 0.2
WARMUP_HANDED_ON = "released with the chain handing on the warm-up's value"
N_MNIST_COUNTS = LossSettings(15.0, 3.0)

Found = dict[str, list[Quantity]]


@cache
def alternatives(case: Case) -> Found:
    """The arrays of a case by every alternative, by its name."""
    return {"layer": _of_layer, "loss": _of_loss, "network": _of_network}[case.kind](case)


# ---------------------------------------------------------------------------------------------------------------------
# Rules and neurons with one thing changed
# ---------------------------------------------------------------------------------------------------------------------


def other_rules(state: str) -> dict[str, GradientRule]:
    """All named rules but the state's, then the state's with one thing changed; each rule once."""
    own = named_rules()[state]
    at_every_step = own.warmup is True
    changes: dict[str, dict[str, object]] = {
        "without the clip of 1/du": {"inverse_rise_clip": math.inf},
        "with 1/du clipped at 10": {"inverse_rise_clip": 10.0},
        "with 1/du clipped at 8": {"inverse_rise_clip": 8.0},
        "without the warm-up": {"warmup": False},
        "with the warm-up of a whole layer": {"warmup": "layer"},
        "with the warm-up where a < theta_s / 4": {"warmup": True},
        "with the warm-up where a <= theta_s / 4": {"warmup": True, "warmup_gate": 0.25 * AT_A_TIE},
        "with the warm-up where a < theta_s": {"warmup": True, "warmup_gate": 1.0},
        **{f"with a surrogate of width {width:g}": {"surrogate_width": width} for width in OTHER_WIDTHS},
        "without the clip of the surrogate's argument": {"surrogate_argument_clip": NO_CLIP},
        "without delta at silent steps": {"silent": "none"},
        "with delta leaked to silent steps": {"silent": "leak"},
        "without the intra-neuron term": {"intra": False},
        "with the paper's chain of resets": {"intra": True},
        "without the reset in the intra-neuron term": {"intra": "leak"},
        "with the intra-neuron term of September 2020": {"intra": "one-hop"},
        "with the literal sign": {"inter": "literal"},
    }
    if not at_every_step:
        changes["with the surrogate up to a firing rate of 0.05"] = {"warmup_rate": 0.05}
    rules = dict(named_rules())
    rules |= {f"{state} {text}": replace(own, **change) for text, change in changes.items()}  # type: ignore[arg-type]
    once: dict[GradientRule, str] = {own: state}
    for name, rule in rules.items():
        once.setdefault(rule, name)
    return {name: rule for rule, name in once.items() if rule != own}


def other_neurons(neuron: NeuronParameters) -> dict[str, NeuronParameters]:
    """Neurons that fire at the threshold, or decay by another factor."""
    m, s = (1.0 / -math.expm1(-1.0 / tau) for tau in (neuron.tau_m, neuron.tau_s))
    return {
        "a spike where u >= V": replace(neuron, threshold=math.nextafter(neuron.threshold, 0.0)),
        "a leak of exp(-1/tau_m) instead of 1 - 1/tau_m": replace(neuron, tau_m=m),
        "a PSC that decays by exp(-1/tau_s) instead of 1 - 1/tau_s": replace(neuron, tau_s=s),
        "both decays as exp(-1/tau)": replace(neuron, tau_m=m, tau_s=s),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Whole cases
# ---------------------------------------------------------------------------------------------------------------------


def _of_layer(case: Case) -> Found:
    I, g, neuron = case.golden("I"), case.golden("g"), case.neuron
    right = sweeps.lif_forward(I, neuron)
    rules, found = other_rules(case.state), {}
    for name, rule in rules.items():
        found[name] = layer_quantities(right, sweeps.tsslbp_backward(g, right, neuron, rule), case.golden("a"))
    if case.rule == GradientRule():
        delta = _warmup_handed_on(g, right, neuron, case.rule)
        found[WARMUP_HANDED_ON] = layer_quantities(right, delta, case.golden("a"))
    traces = {name: (sweeps.lif_forward(I, other), other) for name, other in other_neurons(neuron).items()}
    traces |= {name: (trace, neuron) for name, trace in _other_traces(I, neuron)}
    for name, (trace, other) in traces.items():
        found[name] = layer_quantities(trace, sweeps.tsslbp_backward(g, trace, other, case.rule))
    return found


def _warmup_handed_on(g: Array, trace: Trace, neuron: NeuronParameters, rule: GradientRule) -> Array:
    """Delta of the released rule, but what a warm-up's step hands on is its surrogate's value, not the chain's."""
    G, later = sweeps.psc_filter_adjoint(g, neuron), np.zeros_like(g[0])
    by_surrogate = sweeps.tsslbp_backward(g, trace, neuron, named_rules()["surrogate"])
    delta, leak = np.zeros_like(g), 1.0 - neuron.theta_m
    for t in reversed(range(len(g))):
        fires, v = trace.s[t] > 0.0, terms.membrane_after_reset(trace.u[t - 1], trace.s[t - 1]) if t else 0.0
        rise = np.where(fires, terms.membrane_rise(trace.u[t], v), 1.0)  # of a silent step it is not asked
        psi = np.minimum(1.0 / rise, rule.inverse_rise_clip)
        chain = np.where(fires, psi * (G[t] + neuron.theta_m * trace.u[t] * later), leak * later)
        delta[t] = later = np.where(trace.a[t] < rule.warmup_gate * neuron.theta_s, by_surrogate[t], chain)
    return delta


def _other_traces(I: Array, neuron: NeuronParameters) -> Iterator[tuple[str, Trace]]:
    """Forward passes that no constants of a neuron give."""
    right, V = sweeps.lif_forward(I, neuron), neuron.threshold
    late = np.zeros_like(right.s)
    late[1:] = right.s[:-1]
    yield "a PSC one step late: s[t-1] instead of s[t]", Trace(right.u, sweeps.psc_filter(late, neuron), V)
    yield "a PSC of s instead of theta_s s", Trace(right.u, neuron.tau_s * right.a, V)
    yield "an input of theta_m I instead of I", sweeps.lif_forward(neuron.theta_m * I, neuron)
    u, v = np.empty_like(I), np.zeros_like(I[0])
    for t in range(len(I)):
        u[t] = (1.0 - neuron.theta_m) * v + I[t]
        v = u[t] - V * (u[t] > V)
    yield "a reset that subtracts V", Trace(u, sweeps.psc_filter((u > V) * 1.0, neuron), V)


def _of_loss(case: Case) -> Found:
    a, y = case.golden("a"), case.golden("y")
    found = {}
    for name in ("kernel", "kernel-paper", "count", "softmax"):
        if name != case.loss:
            value, g = losses.value_and_gradient(name, a, y, case.neuron, COUNTS)
            found[f"the loss {name}"] = _loss_quantities(case, value, g)
    value, g = losses.value_and_gradient("count", a, y, case.neuron, N_MNIST_COUNTS)
    found["the loss count with targets 15 and 3"] = _loss_quantities(case, value, g)
    return found


def _loss_quantities(case: Case, value: float, g: Array) -> list[Quantity]:
    return [Quantity("loss", np.array(value)), case._over_time("g", g)]


def _of_network(case: Case) -> Found:
    def plain() -> list[Quantity]:
        return network_quantities(case, net, loss)

    net, loss, found = case.network(), str(case.loss), {}
    for name, rule in other_rules(case.state).items():
        net.rule = rule
        found[name] = plain()
    net.rule = case.rule
    for name, neuron in other_neurons(case.neuron).items():
        net.neuron = neuron
        found[name] = plain()
    net.neuron = case.neuron
    net.input_tau_s = 1.0  # then a = s
    found["an input without the PSC's filter"] = plain()
    for other in ("kernel", "kernel-paper", "count", "softmax"):
        if other != loss:
            found[f"the loss {other}"] = network_quantities(case, case.network(), other)
    if any(isinstance(layer, SumPool2d) for layer in net.layers):
        net = golden_network(case.file, case.key, engine=PlainEngine())
        for name, gain in (("a pool without the factor 1.1", 1.0), ("a pool that takes the mean", 0.25)):
            net.layers = [
                dataclasses.replace(layer, gain=gain) if isinstance(layer, SumPool2d) else layer for layer in net.layers
            ]
            found[name] = plain()
    return found


# ---------------------------------------------------------------------------------------------------------------------
# The same array in another guise
# ---------------------------------------------------------------------------------------------------------------------


def transforms(ours: Quantity, yours: Array, n_samples: int) -> Iterator[tuple[str, Array]]:
    """Ours in another order of axes, a step late or early, back to front, and times the number that fits best."""
    x = ours.values
    if ours.sample is not None:
        for order in itertools.permutations(range(3)):
            if order != (0, 1, 2) and tuple(x.shape[axis] for axis in order) == x.shape:
                yield f"ours with its axes in the order {''.join('TBN'[axis] for axis in order)}", x.transpose(order)
        late, early = np.zeros_like(x), np.zeros_like(x)
        late[1:], early[:-1] = x[:-1], x[1:]
        yield "ours one step late", late
        yield "ours one step early", early
        yield "ours back to front in time", x[::-1]
    elif x.ndim == 2 and x.shape[0] == x.shape[1]:
        yield "ours transposed", x.T
    elif x.ndim == 4:
        yield "ours with its kernels turned by 180 degrees", x[:, :, ::-1, ::-1]
    yield "ours divided by the number of samples", x / n_samples
    scale = float(np.vdot(x, yours) / max(float(np.vdot(x, x)), np.finfo(float).tiny))
    if math.isfinite(scale) and abs(scale) > 1e-6:
        yield f"ours times {scale:.6g}", scale * x

"""Rows whose constants are written out as numbers: nothing that they expect is read from the package.

A row that asks the package for the clip and then checks the clip passes with any clip. These rows say 8, 1/4 and 0.2
themselves. Their errors are relative to each single entry, so that small ones count as much as large ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

from tsslbp_ref.gradcheck.finite_differences import Array, largest
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.model import losses, optim, parameters, reference, sweeps, terms
from tsslbp_ref.model.layers import SumPool2d
from tsslbp_ref.model.network import Network, PlainEngine
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters
from tsslbp_ref.model.trace import Trace

TOLERANCE = 1e-12
EARLIER_STATES = ("june-2020", "september-2020", "november-2020")
# One neuron with tau_m 5, tau_s 3, V 1: spikes at steps 1 and 3, the membrane before each 0.6 and 0.5.
U = np.array([0.6, 1.2, 0.5, 1.4, 0.3])
EPS = np.array([1.0, 2.0 / 3.0, 4.0 / 9.0, 8.0 / 27.0, 16.0 / 81.0]) / 3.0
CONSTANTS = ((5.0, 3.0, 1.0), (12.5, 4.2, 0.7), (2.0, 6.0, 1.3))  # tau_m, tau_s, V


def all_checks() -> list[Check]:
    """Constants, spikes at the threshold, phi case by case, losses, and the optimiser's first step."""
    rows: list[tuple[str, str, str, Callable[[], float]]] = [
        ("neuron", "tau_m, tau_s, V = 5, 3, 1 if not given", "parameters.NeuronParameters", _neuron),
        ("rule", "clip 8, width 0.2, gate 1/4; 2020: clip 10, rate 0.1", "parameters.named_rules", _rule),
        ("counts", "desired counts 4 and 1, or 0; pooling's gain 1.1", "losses.LossSettings", _counts),
        ("long-train", "0,1,1,1,... in 9 steps, 0,1,0,1,... in 10", "losses.desired_train_released", _long_train),
        ("threshold", "s = (u > V): not at V, nor an ulp below, but an ulp above", "terms.spike", _threshold),
        ("reset", "nu of a spike of 1.5: 0 before it, then -1.5, -1.2", "terms.reset_kernel", _reset),
        ("clip", "a rise of 1/12, and of 0, gives dt_m/du = -8", "reference.tsslbp_backward", _clip),
        ("gate", "a of 0.3 or 1/4 theta_s keeps delta, 0.2 has it replaced", "reference.tsslbp_backward", _gate),
        (
            "2020",
            "clip 10; a rate of 0.1 is the surrogate's, an ulp above the chain's",
            "sweeps.tsslbp_backward",
            _in_2020,
        ),
        ("warmup-tails", "ds/du from 0.2 to 10 widths off V, each entry", "reference.tsslbp_backward", _tails),
    ]
    rows += [
        (f"phi-{name}", f"phi(t_k, {t_m}): {text}", "reference.dependency_matrix", partial(_phi, t_m))
        for name, t_m, text in (
            ("last-spike", 3, "eps / rise of a spike without a successor"),
            ("silent", 2, "the leak 0.8 times phi of the next step"),
            ("spike", 1, "eps / rise, and 0.2 u / rise 0.8 phi of the next spike"),
            ("before-spike", 0, "the leak into a spike with a successor"),
            ("nothing", 4, "0 of a silent step without a spike behind it"),
        )
    ]
    rows.append(("phi-tails", "phi of 40 steps, each entry, down to 4e-8", "reference.dependency_matrix", _phi_tails))
    rows += [
        (
            f"delta-{tau_m:g}-{tau_s:g}-{V:g}",
            "B2 in numbers",
            "reference.tsslbp_backward",
            partial(_delta, tau_m, tau_s, V),
        )
        for tau_m, tau_s, V in CONSTANTS
    ]
    rows += [
        ("output-delta", "delta of the output layer from a - d", "network.Network.gradient_flow", _output_delta),
        ("softmax-shift", "a = (800, 0), label 0: loss and gradient 0", "losses.softmax", _softmax_shift),
        ("softmax-shares", "L3 of 2 samples of 5 classes, alike: log 5, (1/5 - onehot)/2", "losses.softmax", _softmax),
        ("van-rossum", "L1 of one entry 1/2 off: 1/8 and 1/2", "losses.van_rossum", _van_rossum),
        ("spike-train", "L1 against a train, filtered once by 1/3 (2/3)^n", "losses.filtered_train", _spike_train),
        ("loss-overflow", "L of a = 1e200 is an error, not infinite", "losses.value_and_gradient", _overflow),
        ("adamw", "AdamW's first two steps", "optim.AdamW.step", _adamw),
    ]
    return [Check(f"number-{name}", equation, where, TOLERANCE, measure) for name, equation, where, measure in rows]


def entry_error(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """max |found - expected| / |expected| over the entries; infinite where 0 is expected and not found."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if found.shape != expected.shape:
        raise ValueError(f"found must have shape {expected.shape} to match expected, got {found.shape}")
    off = np.abs(found - expected)
    if np.any(off[expected == 0.0] != 0.0):
        return math.inf
    return float(np.max(off[expected != 0.0] / np.abs(expected[expected != 0.0]), initial=0.0))


# ---------------------------------------------------------------------------------------------------------------------
# Constants
# ---------------------------------------------------------------------------------------------------------------------


def _neuron() -> float:
    neuron = NeuronParameters()
    found = [neuron.tau_m, neuron.tau_s, neuron.threshold, neuron.theta_m, neuron.theta_s]
    return entry_error(found, [5.0, 3.0, 1.0, 0.2, 1.0 / 3.0])


def _rule() -> float:
    rules = parameters.named_rules()
    errors = []
    for name in ("released", *EARLIER_STATES):
        rule = rules[name]
        clip = 8.0 if name == "released" else 10.0
        numbers = [rule.inverse_rise_clip, rule.surrogate_width, rule.surrogate_argument_clip, rule.warmup_gate]
        errors.append(entry_error([*numbers, rule.warmup_rate], [clip, 0.2, 8.0, 0.25, 0.1]))
        words = (rule.warmup, rule.silent)
        errors.append(0.0 if words == ((True, "leak") if name == "released" else ("layer", "none")) else math.inf)
    return largest([*errors, 0.0 if rules["released"] == GradientRule() else math.inf])


def _counts() -> float:
    settings = losses.LossSettings()
    found = [settings.desired_count, settings.undesired_count, SumPool2d((1, 2, 2), 2).gain]
    none = losses.LossSettings(0.0, 0.0)
    return entry_error([*found, none.desired_count, none.undesired_count], [4.0, 1.0, 1.1, 0.0, 0.0])


# ---------------------------------------------------------------------------------------------------------------------
# Neurons
# ---------------------------------------------------------------------------------------------------------------------


def _long_train() -> float:
    pairs = ((9, [0.0] + 8 * [1.0]), (10, 5 * [0.0, 1.0]))
    return largest([entry_error(losses.desired_train_released(n), train) for n, train in pairs])


def _threshold() -> float:
    """One step from rest, so that u = I: the literal loop, the sweep, the record and the single term."""
    errors = []
    for V in (1.0, 0.7):
        u = np.array([np.nextafter(V, 0.0), V, np.nextafter(V, 2.0)])
        expected = np.array([0.0, 0.0, 1.0])
        neuron = NeuronParameters(5.0, 3.0, V)
        for twin in (reference, sweeps):
            trace = twin.lif_forward(u.reshape(1, 1, 3), neuron)
            errors += [entry_error(trace.s.ravel(), expected), entry_error(trace.a.ravel(), expected / 3.0)]
        errors.append(entry_error([terms.spike(float(one), V) for one in u], expected))
    return largest(errors)


def _both_deltas(trace: Trace, g: Array, neuron: NeuronParameters | None = None) -> tuple[Array, Array]:
    """Delta of the released rule, by the literal loops and by the sweep."""
    neuron = NeuronParameters(5.0, 3.0, 1.0) if neuron is None else neuron
    rule = GradientRule()
    return reference.tsslbp_backward(g, trace, neuron, rule), sweeps.tsslbp_backward(g, trace, neuron, rule)


def _one_neuron(u: npt.ArrayLike, a: npt.ArrayLike, V: float = 1.0) -> Trace:
    """The record of one neuron."""
    return Trace(np.reshape(np.array(u, float), (-1, 1, 1)), np.reshape(np.array(a, float), (-1, 1, 1)), V)


def _logistic_slope(x: float) -> float:
    """The slope of the logistic function: 1 / (2 cosh(x/2))^2."""
    return 1.0 / (2.0 * math.cosh(x / 2.0)) ** 2


def _reset() -> float:
    neuron = NeuronParameters()
    return entry_error([terms.reset_kernel(lag, 1.5, neuron.theta_m) for lag in (-1, 0, 1)], [0.0, -1.5, -1.2])


def _clip() -> float:
    """Membrane 0.95, then 0.95 + rise: dL/da of 1 in the spike's step meets eps[0] = 1/3."""
    errors = [entry_error([terms.firing_time_by_membrane(rise, 8.0) for rise in (0.0, 1.0)], [-8.0, -1.0])]
    for rise, inverse in ((1.0 / 12.0, 8.0), (0.1, 8.0), (0.2, 5.0), (0.125, 8.0)):
        trace = _one_neuron([0.95, 0.95 + rise], [1.0, 1.0])
        g = np.array([0.0, 1.0]).reshape(2, 1, 1)
        expected = [0.8 * inverse / 3.0, inverse / 3.0]
        errors += [entry_error(delta.ravel(), expected) for delta in _both_deltas(trace, g)]
        errors.append(entry_error(terms.firing_time_by_membrane(rise, GradientRule().inverse_rise_clip), -inverse))
    return largest(errors)


def _gate() -> float:
    """A silent step before a spike that rises by 1/2: it keeps 0.8 x 2/3, or has the surrogate of eps[0] and eps[1]."""
    errors = []
    g = np.array([1.0, 1.0]).reshape(2, 1, 1)
    kept, replaced = 0.8 * 2.0 / 3.0, _logistic_slope(-0.5) / 0.2 * (1.0 / 3.0 + 2.0 / 9.0)
    for share, expected in ((0.3, kept), (0.2, replaced), (0.249, replaced), (0.25, kept), (0.0, replaced)):
        trace = _one_neuron([0.9, 1.4], [share / 3.0, 1.0])
        errors += [entry_error(delta.ravel(), [expected, 2.0 / 3.0]) for delta in _both_deltas(trace, g)]
    return largest(errors)


def _in_2020() -> float:
    """The neuron of `_clip` by the states of 2020, on both sides of the switch; its last spike has no successor."""
    errors = []
    g, neuron = np.array([0.0, 1.0]).reshape(2, 1, 1), NeuronParameters(5.0, 3.0, 1.0)
    for rise, inverse in ((1.0 / 12.0, 10.0), (0.125, 8.0), (0.2, 5.0)):
        trace = _one_neuron([0.95, 0.95 + rise], [1.0, 1.0])
        slopes = [_logistic_slope((u - 1.0) / 0.2) / 0.2 for u in (0.95, 0.95 + rise)]
        warm, chain = [slopes[0] * 2.0 / 9.0, slopes[1] / 3.0], [0.0, inverse / 3.0]
        for rate, expected in ((0.1, warm), (float(np.nextafter(0.1, 1.0)), chain)):
            for state in EARLIER_STATES:
                rule = parameters.named_rules()[state]
                for twin in (reference, sweeps):
                    errors.append(entry_error(twin.tsslbp_backward(g, trace, neuron, rule, rate).ravel(), expected))
    return largest(errors)


def _tails() -> float:
    """A single step that is silent or fires, with a PSC of 0, at distances of 0.2 to 10 widths of 0.2 from V.

    And 5,000 widths off without a clip to speak of, where exp of the distance is beyond double precision.
    """
    far = [terms.surrogate_spike_by_membrane(u, 0.0, 0.2, 1e4) for u in (-1000.0, 1000.0)]
    errors = [entry_error(far, [0.0, 0.0])]
    for x in (-10.0, -8.0, -7.0, -4.0, -1.0, -0.2, 0.2, 1.0, 4.0, 7.0, 8.0, 10.0):
        trace = _one_neuron([1.0 + 0.2 * x], [0.0])
        expected = [_logistic_slope(min(max(x, -8.0), 8.0)) / 0.2 / 3.0]
        literal, swept = _both_deltas(trace, np.ones((1, 1, 1)))
        errors += [entry_error(literal.ravel(), expected), entry_error(swept.ravel(), expected)]
    return largest(errors)


def _phi(t_m: int) -> float:
    """Column t_m of phi of the neuron `U`: from the case table, and the sweep's answer to a dL/da of 1 at each t_k."""
    last = np.array([0.0, 0.0, 0.0, EPS[0], EPS[1]]) / 0.9
    spike = np.array([0.0, *EPS[:4]]) / 0.6 + 0.2 * 1.2 / 0.6 * 0.8 * last
    expected = {0: 0.8 * spike, 1: spike, 2: 0.8 * last, 3: last, 4: np.zeros(5)}[t_m]
    trace = _one_neuron(U, np.ones(5))
    matrix = reference.dependency_matrix(trace, NeuronParameters(5.0, 3.0, 1.0), GradientRule())
    units = np.eye(5).reshape(5, 5, 1, 1)
    swept = [_both_deltas(trace, g)[1][t_m, 0, 0] for g in units]
    return largest([entry_error(matrix[:, t_m].ravel(), expected), entry_error(swept, expected)])


def _phi_tails() -> float:
    """Spikes at steps 0 and 39 only: what is left of the PSC 39 steps on, and of the leak, entry by entry."""
    u = np.array([1.2, *[0.5] * 38, 1.4])
    expected = np.zeros((40, 40))
    expected[:, 0] = (2.0 / 3.0) ** np.arange(40) / 3.0 / 1.2
    expected[39, 1:] = 0.8 ** np.arange(38, -1, -1) / 3.0 / 0.9
    expected[39, 0] += 0.2 * 0.8**38 / 3.0 / 0.9
    neuron, rule, trace = NeuronParameters(5.0, 3.0, 1.0), GradientRule(), _one_neuron(u, np.ones(40))
    matrix = reference.dependency_matrix(trace, neuron, rule)[:, :, 0, 0]
    swept = [sweeps.tsslbp_backward(g, trace, neuron, rule)[:, 0, 0] for g in np.eye(40).reshape(40, 40, 1, 1)]
    return largest([entry_error(matrix, expected), entry_error(swept, expected)])


def _released_delta(trace: Trace, g: Array, tau_m: float, tau_s: float, V: float) -> Array:
    """B2 as released, by one loop of its own: 8, 1/4, 0.2 are numbers here."""
    u, a = trace.u, trace.a
    delta, G, chain = np.zeros_like(g), np.zeros_like(g[0]), np.zeros_like(g[0])
    for t in reversed(range(len(g))):
        G = g[t] / tau_s + (1.0 - 1.0 / tau_s) * G  # sum_k eps[k-t] g[k]
        fired = u[t] > V
        below = np.where(u[t - 1] > V, 0.0, u[t - 1]) if t > 0 else np.zeros_like(u[t])
        psi = np.where(fired, np.minimum(1.0 / np.where(fired, u[t] - below, 1.0), 8.0), 0.0)
        handed_on = np.where(fired, u[t] / tau_m * psi, 1.0 - 1.0 / tau_m)
        chain = psi * G + handed_on * chain
        x = np.clip((u[t] - V) / 0.2, -8.0, 8.0)
        warm = G / (2.0 * np.cosh(x / 2.0)) ** 2 / 0.2
        delta[t] = np.where(a[t] < 0.25 / tau_s, warm, chain)  # the chain goes on with what was replaced
    return delta


def _delta(tau_m: float, tau_s: float, V: float) -> float:
    """Random membranes and PSCs, so that every case and both sides of clip and gate occur."""
    rng = np.random.default_rng(5)
    trace = Trace(V * rng.normal(0.7, 0.6, (12, 3, 8)), rng.uniform(0.0, 0.6 / tau_s, (12, 3, 8)), V)
    g = rng.uniform(0.5, 1.5, trace.u.shape)
    expected = _released_delta(trace, g, tau_m, tau_s, V)
    return largest(entry_error(found, expected) for found in _both_deltas(trace, g, NeuronParameters(tau_m, tau_s, V)))


# ---------------------------------------------------------------------------------------------------------------------
# Losses and the optimiser
# ---------------------------------------------------------------------------------------------------------------------


def _output_delta() -> float:
    """An output layer alone, kernel loss: g is a minus 0, 1, 1, 1, 1 filtered twice, and delta is B2 of that g."""
    net = Network.from_spec("", (4,), 3, 5, dtype="float64", seed=3, weight_scale=3.0, engine=PlainEngine())
    labels = np.array([0, 2])
    (flow,) = net.gradient_flow(np.random.default_rng(3).random((2, 4)), labels)
    lag = np.subtract.outer(np.arange(5), np.arange(5))
    kernel = np.where(lag >= 0, (2.0 / 3.0) ** np.maximum(lag, 0) / 3.0, 0.0)
    d = np.zeros((5, 2, 3))
    d[:, np.arange(2), labels] = (kernel @ kernel @ np.array([0.0, 1.0, 1.0, 1.0, 1.0]))[:, None]
    g = flow.trace.a - d
    return largest([entry_error(flow.g, g), entry_error(flow.delta, _released_delta(flow.trace, g, 5.0, 3.0, 1.0))])


def _softmax_shift() -> float:
    """A difference of 800 is beyond exp in double precision."""
    value, g = losses.value_and_gradient("softmax", np.array([[[800.0, 0.0]]]), [0], NeuronParameters())
    return largest([abs(value), float(np.abs(g).max())])


def _softmax() -> float:
    value, g = losses.value_and_gradient("softmax", np.full((3, 2, 5), 0.25), [4, 0], NeuronParameters())
    expected = np.full((3, 2, 5), 0.1)
    expected[:, 0, 4] = expected[:, 1, 0] = -0.4
    return largest([entry_error(value, math.log(5.0)), entry_error(g, expected)])


def _van_rossum() -> float:
    a, d = np.full((2, 1, 2), 0.75), np.full((2, 1, 2), 0.75)
    d[1, 0, 1] = 0.25
    value, g = losses.van_rossum(a, d)
    return largest([entry_error(value, 0.125), entry_error(g.ravel(), [0.0, 0.0, 0.0, 0.5])])


def _spike_train() -> float:
    """A desired spike at step 1 of output 0; nothing fired, so that the gradient is minus the target."""
    train = np.zeros((4, 1, 2))
    train[1, 0, 0] = 1.0
    value, g = losses.value_and_gradient("spike-train", np.zeros((4, 1, 2)), train, NeuronParameters())
    target = np.array([0.0, 1.0, 2.0 / 3.0, 4.0 / 9.0]) / 3.0
    of_a_network = losses.Loss("spike-train", NeuronParameters()).target(train, train.shape, train.dtype)
    errors = [entry_error(found[:, 0, 0], target) for found in (-g, of_a_network)]
    errors += [entry_error(found[:, 0, 1], np.zeros(4)) for found in (-g, of_a_network)]
    return largest([*errors, entry_error(value, 0.5 * float(target @ target))])


def _overflow() -> float:
    try:
        losses.value_and_gradient("kernel-paper", np.full((1, 1, 2), 1e200), [0], NeuronParameters())
    except ValueError:
        return 0.0
    return math.inf


def _adamw() -> float:
    """Steps of 5e-4, means 0.9 and 0.999, epsilon 1e-8, decay 0.01, gradients cut to a norm of 1, weights to +- 4."""
    W, first, second = np.array([1.0, -2.0, 4.0]), np.array([3.0, 4.0, 0.0]), np.array([0.1, -0.2, 0.0])
    found = [W.copy()]
    optimiser = optim.AdamW(found)
    cut = first / (5.0 + 1e-6)
    once = W * (1.0 - 5e-6) - 5e-4 * cut / (np.abs(cut) + 1e-8)
    mean, square = 0.9 * 0.1 * cut + 0.1 * second, 0.999 * 0.001 * cut**2 + 0.001 * second**2
    moved = 5e-4 / (1.0 - 0.9**2) * mean / (np.sqrt(square / (1.0 - 0.999**2)) + 1e-8)
    errors = []
    for gradient, expected in ((first, once), (second, once * (1.0 - 5e-6) - moved)):
        optimiser.step([gradient])
        errors.append(entry_error(found[0], expected))
    held = [np.array([4.5])]
    optim.AdamW(held).step([np.array([0.0])])
    return largest([*errors, entry_error(held[0], [4.0])])

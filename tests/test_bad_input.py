"""Wrong arguments of the Python API: a ValueError or TypeError that names the argument and says what was found."""

import math

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref import fast, losses, reference
from tsslbp_ref.optim import AdamW

NEURON, RULE = tr.NeuronParameters(), tr.GradientRule()


@pytest.mark.parametrize("field", ["tau_m", "tau_s", "threshold"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, "5", None, True, [5.0]])
def test_neuron_parameters(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        tr.NeuronParameters(**{field: value})


@pytest.mark.parametrize("value", [0.99, 0.5])
@pytest.mark.parametrize("field", ["tau_m", "tau_s"])
def test_a_time_constant_below_one_step(field, value):
    with pytest.raises(ValueError, match=f"{field} must be at least 1, got {value}"):
        tr.NeuronParameters(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inter", "relesed"),
        ("intra", "yes"),
        ("intra", 1),
        ("warmup", None),
        ("inverse_rise_clip", 0.0),
        ("inverse_rise_clip", math.nan),
        ("surrogate_width", -0.2),
        ("surrogate_argument_clip", math.inf),
        ("warmup_gate", -1.0),
    ],
)
def test_gradient_rule(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        tr.GradientRule(**{field: value})


def test_an_unknown_rule_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ValueError, match=r"unknown inter 'relesed'.*'literal'.*did you mean 'released'"):
        tr.GradientRule(inter="relesed")
    with pytest.raises(ValueError, match=r"unknown rule 'nointra'.*'no-intra'"):
        tr.rule_by_name("nointra")


@pytest.mark.parametrize("twin", [fast, reference], ids=["fast", "reference"])
@pytest.mark.parametrize(
    ("I", "message"),
    [
        (np.zeros((5, 3)), r"I must have 3 axes, got 2 \(shape \(5, 3\)\)"),
        (np.zeros((0, 2, 3)), r"I must not be empty, got shape \(0, 2, 3\)"),
        (np.full((5, 2, 3), np.nan), r"I must be finite, got nan at index \[0, 0, 0\]"),
        (np.full((5, 2, 3), np.inf), "I must be finite, got inf"),
        (np.full((5, 2, 3), 1j), "I must hold real numbers, got dtype complex128"),
        ([[[1.0], [2.0, 3.0]]], "I must be a rectangular array"),
        ("spikes", "I must hold real numbers"),
    ],
)
def test_weighted_input(twin, I, message):
    with pytest.raises((ValueError, TypeError), match=message):
        twin.lif_forward(I, NEURON)


@pytest.mark.parametrize("twin", [fast, reference], ids=["fast", "reference"])
def test_psc_gradient(twin):
    trace = twin.lif_forward(np.ones((5, 2, 3)), NEURON)
    with pytest.raises(ValueError, match=r"g must have shape \(5, 2, 3\) to match trace.u, got \(5, 2, 4\)"):
        twin.tsslbp_backward(np.ones((5, 2, 4)), trace, NEURON, RULE)
    with pytest.raises(ValueError, match="g must be finite"):
        twin.tsslbp_backward(np.full((5, 2, 3), np.nan), trace, NEURON, RULE)
    with pytest.raises(TypeError, match="trace must be a Trace"):
        twin.tsslbp_backward(np.ones((5, 2, 3)), np.ones((5, 2, 3)), NEURON, RULE)


def test_a_neuron_of_the_wrong_kind():
    with pytest.raises(TypeError, match="neuron must be a NeuronParameters, got tuple"):
        tr.lif_forward(np.ones((5, 2, 3)), (5.0, 3.0))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 3], "y must lie in 0 .. 2, got 3"),
        ([0, -1], "y must lie in 0 .. 2, got -1"),
        ([0], r"y must have shape \(2,\)"),
        ([0.0, 1.0], "y must hold integer class labels"),
    ],
)
def test_labels(y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        losses.value_and_gradient("kernel", np.zeros((5, 2, 3)), y, NEURON)


def test_an_unknown_loss_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown loss 'kernal'; known: 'kernel', 'kernel-paper', 'count', 'softmax'"):
        losses.value_and_gradient("kernal", np.zeros((5, 2, 3)), [0, 1], NEURON)


@pytest.mark.parametrize("field", ["desired_count", "undesired_count"])
@pytest.mark.parametrize("value", [-1.0, math.nan, "4"])
def test_count_targets(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        tr.LossSettings(**{field: value})


def small_network(**keywords):
    settings = {"n_steps": 5, "seed": 0, "dtype": "float64"} | keywords
    return tr.Network.from_spec("6", (1, 2, 2), 3, **settings)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 4)), r"x must have shape \(B, \*\(1, 2, 2\)\) or \(T, B, \*\(1, 2, 2\)\), got \(2, 4\)"),
        (np.zeros((2, 1, 2, 3)), r"got \(2, 1, 2, 3\)"),
        (np.zeros((4, 2, 1, 2, 2)), r"x must have T = 5 steps, got 4"),
        (np.zeros((0, 1, 2, 2)), "x must not be empty"),
        (np.full((2, 1, 2, 2), np.nan), "x must be finite"),
    ],
)
def test_network_input(x, message):
    with pytest.raises(ValueError, match=message):
        small_network().forward(x)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"n_steps": 0}, "n_steps must be at least 1, got 0"),
        ({"n_steps": 2.5}, "n_steps must be an integer, got 2.5"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64, got float16"),
        ({"dropout": 1.0}, "dropout must be below 1"),
        ({"weight_scale": 0.0}, "weight_scale must be greater than 0"),
        ({"n_threads": 0}, "n_threads must be at least 1"),
        ({"neuron": 5.0}, "neuron must be a NeuronParameters, got float"),
        ({"rule": "released"}, "rule must be a GradientRule, got str"),
    ],
)
def test_network_settings(keywords, message):
    with pytest.raises((ValueError, TypeError), match=message):
        small_network(**keywords)


def test_network_weights():
    x = np.zeros((2, 1, 2, 2))
    network = small_network()
    network.weights[0] = np.zeros((6, 5))
    with pytest.raises(ValueError, match=r"weights\[0\] must have shape \(6, 4\) to match its layer, got \(6, 5\)"):
        network.forward(x)
    network.weights[0] = np.full((6, 4), np.nan)
    with pytest.raises(ValueError, match=r"weights\[0\] must be finite"):
        network.loss_and_gradients(x, [0, 1])
    network.weights = network.weights[1:]
    with pytest.raises(ValueError, match="weights must be 2 arrays, got 1"):
        network.forward(x)


def test_optimiser():
    W = np.zeros((2, 3))
    with pytest.raises(ValueError, match="learning_rate must be greater than 0"):
        AdamW([W], learning_rate=0.0)
    with pytest.raises(ValueError, match=r"betas must be two numbers in \[0, 1\)"):
        AdamW([W], betas=(0.9, 1.0))
    with pytest.raises(ValueError, match=r"gradients\[0\] must have shape \(2, 3\)"):
        AdamW([W]).step([np.zeros((3, 2))])
    with pytest.raises(ValueError, match="gradients must be finite"):
        AdamW([W]).step([np.full((2, 3), np.nan)])
    assert not W.any()

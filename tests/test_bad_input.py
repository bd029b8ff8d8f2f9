"""Wrong constants, rules, arrays, traces and targets: a ValueError or TypeError that names argument and value."""

import dataclasses
import math

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.model import losses, reference, sweeps
from tsslbp_ref.model.optim import AdamW

NEURON, RULE = tr.NeuronParameters(), tr.GradientRule()
LITERAL_FORWARD = (reference.lif_forward, reference.psc_filter)
BACKWARD = (
    lambda trace, neuron, rule: sweeps.tsslbp_backward(np.ones((5, 2, 3)), trace, neuron, rule),
    lambda trace, neuron, rule: reference.tsslbp_backward(np.ones((5, 2, 3)), trace, neuron, rule),
    reference.dependency_matrix,
    reference.dependency_parts,
)
BACKWARD_NAMES = ("fast", "reference", "dependency_matrix", "dependency_parts")


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
        ("inverse_rise_clip", -math.inf),
        ("inverse_rise_clip", np.array([1.0, 2.0])),
        ("inverse_rise_clip", [[1.0], [2.0, 3.0]]),
        ("surrogate_width", -0.2),
        ("surrogate_argument_clip", math.inf),
        ("warmup_gate", -1.0),
        ("warmup", "layers"),
        ("warmup_rate", -0.1),
        ("silent", "leaks"),
    ],
)
def test_gradient_rule(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        tr.GradientRule(**{field: value})


@pytest.mark.parametrize("rate", [None, -0.1, 1.5, math.nan, "0.2"])
def test_a_firing_rate(rate):
    rule = tr.rule_by_name("june-2020")
    assert rule.needs_firing_rate
    for coefficients in (rule.coefficients, lambda neuron, rate: sweeps.coefficients(neuron, rule, np.float64, rate)):
        with pytest.raises((ValueError, TypeError), match="firing_rate"):
            coefficients(NEURON, rate)


def test_a_small_clip_of_the_surrogates_argument_is_taken():
    I = np.full((2, 1, 1), 0.05)  # far below the threshold
    for clip in (0.5, 1e-3):
        rule = tr.GradientRule(inter="surrogate", surrogate_argument_clip=clip)
        delta = tr.tsslbp_backward(np.ones(I.shape), tr.lif_forward(I, NEURON), NEURON, rule)
        slope = math.exp(-clip) / (1.0 + math.exp(-clip)) ** 2 / rule.surrogate_width
        assert delta[1, 0, 0] == pytest.approx(NEURON.theta_s * slope, rel=1e-12)


def test_a_rule_without_a_clip():
    for infinity in (math.inf, np.float32(math.inf)):
        assert tr.GradientRule(inverse_rise_clip=infinity).coefficients(NEURON).inverse_rise_clip == math.inf


def test_an_unknown_rule_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ValueError, match=r"unknown inter 'relesed'.*'literal'.*did you mean 'released'"):
        tr.GradientRule(inter="relesed")
    with pytest.raises(ValueError, match=r"unknown rule 'nointra'.*'no-intra'"):
        tr.rule_by_name("nointra")


@pytest.mark.parametrize("twin", [sweeps, reference], ids=["fast", "reference"])
@pytest.mark.parametrize(
    ("I", "message"),
    [
        (np.zeros((5, 3)), r"I must be \(T, B, N\): steps, batch, neurons; got 2 axes, shape \(5, 3\)"),
        (np.zeros((0, 2, 3)), r"I must not be empty, got shape \(0, 2, 3\)"),
        (np.full((5, 2, 3), np.nan), r"I must be finite, got nan at index \[0, 0, 0\]"),
        (np.full((5, 2, 3), np.inf), "I must be finite, got inf"),
        (np.full((5, 2, 3), 1j), "I must hold real numbers, got dtype complex128"),
        ([[[1.0], [2.0, 3.0]]], "I must be a rectangular array"),
        (np.ma.masked_less(np.eye(3)[None], 0.5), "I must not be masked, got 6 masked values"),
        ("spikes", "I must hold real numbers"),
    ],
)
def test_weighted_input(twin, I, message):
    with pytest.raises((ValueError, TypeError), match=message):
        twin.lif_forward(I, NEURON)


@pytest.mark.parametrize("twin", [sweeps, reference], ids=["fast", "reference"])
def test_psc_gradient(twin):
    trace = twin.lif_forward(np.ones((5, 2, 3)), NEURON)
    with pytest.raises(ValueError, match=r"g must have shape \(5, 2, 3\) to match trace.u, got \(5, 2, 4\)"):
        twin.tsslbp_backward(np.ones((5, 2, 4)), trace, NEURON, RULE)
    with pytest.raises(ValueError, match="g must be finite"):
        twin.tsslbp_backward(np.full((5, 2, 3), np.nan), trace, NEURON, RULE)
    with pytest.raises(TypeError, match="trace must be a Trace"):
        twin.tsslbp_backward(np.ones((5, 2, 3)), np.ones((5, 2, 3)), NEURON, RULE)


def changed(trace, **fields):
    return dataclasses.replace(trace, **fields)


@pytest.mark.parametrize("backward", BACKWARD, ids=BACKWARD_NAMES)
def test_a_trace_whose_arrays_do_not_belong_together(backward):
    trace = tr.lif_forward(np.ones((5, 2, 3)), NEURON)
    with pytest.raises(ValueError, match=r"trace.a must have shape \(5, 2, 3\) to match trace.u, got \(2, 2, 3\)"):
        backward(changed(trace, a=trace.a[:2].copy()), NEURON, RULE)
    with pytest.raises(
        ValueError, match=r"trace.u must be \(T, B, N\): steps, batch, neurons; got 2 axes, shape \(5, 6\)"
    ):
        backward(changed(trace, u=trace.u.reshape(5, 6)), NEURON, RULE)
    for name in "ua":
        with pytest.raises(ValueError, match=rf"trace\.{name} must be finite, got nan"):
            backward(changed(trace, **{name: np.full((5, 2, 3), np.nan)}), NEURON, RULE)
        with pytest.raises(TypeError, match=rf"trace\.{name} must hold real numbers"):
            backward(changed(trace, **{name: None}), NEURON, RULE)


@pytest.mark.parametrize("backward", BACKWARD, ids=BACKWARD_NAMES)
def test_a_trace_of_other_neurons(backward):
    trace = tr.lif_forward(np.ones((5, 2, 3)), NEURON)
    with pytest.raises(ValueError, match=r"trace.threshold must be neuron.threshold = 2.0, got 1.0"):
        backward(trace, tr.NeuronParameters(5.0, 3.0, 2.0), RULE)


@pytest.mark.parametrize("backward", BACKWARD, ids=BACKWARD_NAMES)
def test_a_neuron_or_a_rule_of_the_wrong_kind(backward):
    trace = tr.lif_forward(np.ones((5, 2, 3)), NEURON)
    with pytest.raises(TypeError, match="rule must be a GradientRule, got str"):
        backward(trace, NEURON, "released")
    with pytest.raises(TypeError, match="neuron must be a NeuronParameters, got NoneType"):
        backward(trace, None, RULE)


@pytest.mark.parametrize("function", [tr.lif_forward, tr.psc_filter, tr.psc_filter_adjoint, *LITERAL_FORWARD])
def test_a_forward_function_without_a_neuron(function):
    with pytest.raises(TypeError, match="neuron must be a NeuronParameters, got NoneType"):
        function(np.ones((5, 2, 3)), None)
    with pytest.raises(TypeError, match="neuron must be a NeuronParameters, got tuple"):
        function(np.ones((5, 2, 3)), (5.0, 3.0))


@pytest.mark.parametrize("function", [sweeps.psc_filter, reference.psc_filter, sweeps.psc_filter_adjoint])
def test_a_ragged_signal(function):
    with pytest.raises(ValueError, match=r"[sg] must be a rectangular array of numbers"):
        function([[1.0], [2.0, 3.0]], NEURON)


@pytest.mark.parametrize("twin", [sweeps, reference], ids=["fast", "reference"])
@pytest.mark.parametrize(("value", "dtype"), [(-1.7e308, "float64"), (-3.4e38, "float32")])
@pytest.mark.filterwarnings("error")
def test_a_membrane_that_overflows(twin, value, dtype):
    with pytest.raises(ValueError, match="I is too large: the membranes must be finite, got -inf at the last step"):
        twin.lif_forward(np.full((5, 1, 1), value, dtype), NEURON)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 3], "y must lie in 0 .. 2, got 3"),
        ([0, -1], "y must lie in 0 .. 2, got -1"),
        ([0], r"y must have shape \(2,\)"),
        ([0.0, 1.0], "y must hold integer class labels"),
        ([[0], [0, 1]], "y must be a rectangular array"),
        ([[0], [1]], r"y must be class labels \(2,\), got shape \(2, 1\): y.ravel\(\) has it"),
        (
            np.zeros((5, 2, 3)),
            r"y must be class labels \(2,\): desired trains \(5, 2, 3\) are of the loss 'spike-train'",
        ),
        (np.ma.masked_equal([0, 1], 1), "y must not be masked, got 1 masked values"),
    ],
)
def test_labels(y, message):
    with pytest.raises((ValueError, TypeError), match=message):
        losses.value_and_gradient("kernel", np.zeros((5, 2, 3)), y, NEURON)


@pytest.mark.parametrize("loss", ["kernel", "count", "softmax"])
def test_a_loss_without_a_neuron_or_with_other_settings(loss):
    with pytest.raises(TypeError, match="neuron must be a NeuronParameters, got NoneType"):
        losses.value_and_gradient(loss, np.zeros((5, 2, 3)), [0, 1], None)
    for settings in ("abc", 0, ()):
        with pytest.raises(TypeError, match=f"settings must be a LossSettings, got {type(settings).__name__}"):
            losses.value_and_gradient(loss, np.zeros((5, 2, 3)), [0, 1], NEURON, settings)


def test_an_unknown_loss_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown loss 'kernal'; known: 'kernel', 'kernel-paper', 'count', 'softmax'"):
        losses.value_and_gradient("kernal", np.zeros((5, 2, 3)), [0, 1], NEURON)
    with pytest.raises(ValueError, match="unknown loss 'kernal'"):
        losses.Loss("kernal", NEURON)


@pytest.mark.parametrize("field", ["desired_count", "undesired_count"])
@pytest.mark.parametrize("value", [-1.0, math.nan, "4"])
def test_count_targets(field, value):
    with pytest.raises((ValueError, TypeError), match=field):
        tr.LossSettings(**{field: value})
    assert getattr(tr.LossSettings(**{field: 0.0}), field) == 0.0


def test_an_overflow_names_the_number_farthest_from_0():
    a = np.zeros((1, 1, 2))
    a[0, 0, 1] = -1e200
    with pytest.raises(ValueError, match=r"^a is too large: the loss .* got -1e\+200 at index \[0, 0, 1\]"):
        losses.value_and_gradient("kernel-paper", a, [0], NEURON)


def test_desired_trains_of_another_shape():
    for shape in ((5, 1, 3), (4, 2, 3)):
        with pytest.raises(ValueError, match=r"y must have shape \(5, 2, 3\) to match the output PSC"):
            losses.value_and_gradient("spike-train", np.zeros((5, 2, 3)), np.zeros(shape), NEURON)


def test_the_rows_of_the_check_table():
    with pytest.raises(TypeError, match="names must be a sequence, got 5"):
        tr.gradcheck.run(5)


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
    for name in ("clip_norm", "weight_clamp"):
        with pytest.raises(TypeError, match=f"{name} must be a real number"):
            AdamW([W], **{name: np.ones(2)})
        with pytest.raises(ValueError, match=f"{name} must be greater than 0"):
            AdamW([W], **{name: 0.0})
    assert not W.any()


def test_a_line_holds_only_so_many_known_names():
    with pytest.raises(ValueError, match=r"; known: .*, \.\.\. \(5000 in all\) \(did you mean '4711'\?\)$") as error:
        tr.checks.one_of("number", "47111", [str(i) for i in range(5000)])
    assert len(str(error.value)) < 500

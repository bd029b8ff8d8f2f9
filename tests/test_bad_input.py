"""Wrong arguments of the Python API: a ValueError or TypeError that names the argument and says what was found."""

import dataclasses
import math
import warnings

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


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i2"])
def test_arrays_in_the_other_byte_order_are_taken(dtype):
    foreign = (np.arange(30).reshape(5, 2, 3) / 5).astype(dtype)
    I = foreign.astype(foreign.dtype.newbyteorder("="))
    trace = tr.lif_forward(I, NEURON)
    assert np.array_equal(tr.lif_forward(foreign, NEURON).u, trace.u)
    assert np.array_equal(tr.psc_filter(foreign, NEURON), tr.psc_filter(I, NEURON))
    assert np.array_equal(tr.psc_filter_adjoint(foreign, NEURON), tr.psc_filter_adjoint(I, NEURON))
    swapped = changed(trace, u=trace.u.astype(trace.u.dtype.newbyteorder(">")))
    delta = tr.tsslbp_backward(I, trace, NEURON, RULE)
    assert np.array_equal(tr.tsslbp_backward(foreign, swapped, NEURON, RULE), delta)
    network, x = small_network(n_steps=3), foreign[:4, :1, :1].reshape(1, 1, 2, 2)
    assert np.array_equal(network.forward(x), network.forward(x.tolist()))


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
        (np.zeros((2, 4)), r"x must have shape \(B, 1, 2, 2\) or \(5, B, 1, 2, 2\), got \(2, 4\)"),
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
        ({"neuron": 5.0}, "neuron must be a NeuronParameters, or a sequence of one a layer of neurons, got float"),
        ({"rule": "released"}, "rule must be a GradientRule, got str"),
        ({"neuron": 0}, "neuron must be a NeuronParameters, or a sequence of one a layer of neurons, got int"),
        ({"rule": 0}, "rule must be a GradientRule, got int"),
        ({"dtype": None}, "dtype must be one of float32, float64, got None"),
        ({"weight_scale": (1, 2, 3)}, r"weight_scale must be a number or a pair of numbers, got \(1, 2, 3\)"),
        ({"weight_scale": (1, "2")}, "weight_scale must be a real number, got '2'"),
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


def test_network_weights_that_are_no_sequence():
    network = small_network()
    for weights in (None, 1.0, "weights"):
        with pytest.raises(TypeError, match=f"weights must be a sequence, got {weights!r}"):
            network.weights = weights
    assert len(network.weights) == 2


def test_network_weights_may_be_any_sequence():
    network = small_network()
    x = np.random.default_rng(0).normal(size=(2, 1, 2, 2))
    a = network.forward(x)
    network.weights = tuple(W.tolist() for W in network.weights)
    assert isinstance(network.weights, list)
    assert np.array_equal(network.forward(x), a)
    network.weights[1] = np.zeros((3, 6))
    assert not network.forward(x).any()


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("loss", ["kernel", "count"])
def test_settings_and_rng_of_a_training_step(loss, dropout):
    network, x = small_network(dropout=dropout), np.zeros((2, 1, 2, 2))
    for settings in ("abc", (), 0):
        with pytest.raises(TypeError, match=f"settings must be a LossSettings, got {type(settings).__name__}"):
            network.loss_and_gradients(x, [0, 1], loss, settings=settings)
        with pytest.raises(TypeError, match="settings must be a LossSettings"):
            network.gradient_flow(x, [0, 1], loss, settings)
    with pytest.raises(TypeError, match="rng must be a Generator, got int"):
        network.loss_and_gradients(x, [0, 1], loss, rng=0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e300, 3e38])
def test_an_input_too_large_for_single_precision_is_an_error_and_no_warning(scale):
    network, x = small_network(dtype="float32"), scale * np.ones((2, 1, 2, 2))
    network.weights = [10.0 * W for W in network.weights]
    message = r"x must be finite in float32, got 1e\+300 at index \[0, 0, 0, 0\]|membranes of layer 0 are not finite"
    with pytest.raises(ValueError, match=message):
        network.forward(x)
    with pytest.raises(ValueError, match=message):
        network.loss_and_gradients(x, [0, 1])


@pytest.mark.filterwarnings("error")
def test_a_weight_too_large_for_single_precision_is_an_error_and_no_warning():
    network = small_network(dtype="float32")
    network.weights[1] = np.full((3, 6), 1e300)
    with pytest.raises(ValueError, match=r"weights\[1\] must be finite"):
        network.forward(np.ones((2, 1, 2, 2)))


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


# ---------------------------------------------------------------------------------------------------------------------
# What is no error, and is not what anybody wants
# ---------------------------------------------------------------------------------------------------------------------


def test_raw_pixels_are_warned_of():
    net = tr.Network.from_spec("", (1, 2, 2), 3, 5)
    raw = np.array([[[[0, 255], [3, 4]]]], np.uint8)
    for call in (net.forward, net.predict, lambda x: net.loss_and_gradients(x, [0])):
        with pytest.warns(
            UserWarning, match=r"^x holds raw pixels, .* normalised pictures, of datasets\.normalise, or"
        ):
            call(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (raw > 3, raw // 255, raw / 255.0, tr.datasets.normalise(raw, "mnist"), np.stack([raw] * 5) // 255):
            net.predict(x)


@pytest.mark.parametrize(("loss", "learns"), [("kernel", False), ("kernel-01111-twice", False), ("kernel-paper", True)])
def test_a_loss_that_asks_for_no_spike_is_warned_of(loss, learns):
    losses._desired_psc.cache_clear()
    net = tr.Network.from_spec("", (4,), 3, n_steps=1)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        net.training_step(np.ones((2, 4)), [0, 1], loss)
    lines = [str(one.message) for one in warned]
    assert lines == [] if learns else lines[0].startswith(f"loss '{loss}' teaches nothing with n_steps = 1, ")
    one, other = (losses.Loss(loss, NEURON).target([y], (1, 1, 3), "float64") for y in (0, 1))
    assert np.array_equal(one, other) == (not learns)


def test_a_line_holds_only_so_many_known_names():
    with pytest.raises(ValueError, match=r"; known: .*, \.\.\. \(5000 in all\) \(did you mean '4711'\?\)$") as error:
        tr.checks.one_of("number", "47111", [str(i) for i in range(5000)])
    assert len(str(error.value)) < 500


class Wrapped:
    """An object of another library: it is no array, but can be made one."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype)


@pytest.mark.parametrize("as_given", [np.ndarray.tolist, Wrapped, np.asfortranarray], ids=["list", "object", "fortran"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_do_not_depend_on_what_holds_the_numbers(as_given, dtype):
    """Trains and pictures, labels, weights, and the arrays of one layer; a list's numbers are float64."""
    rng = np.random.default_rng(0)
    I, g = (rng.normal(0.5, 0.5, (5, 2, 3)) for _ in range(2))
    trains, pictures = rng.random((5, 7, 1, 2, 2)) < 0.4, rng.random((7, 1, 2, 2)).astype("float32")
    y = np.arange(7) % 3

    def results(given):
        trace = tr.lif_forward(given(I), NEURON)
        made = [trace.u, trace.a, tr.psc_filter(given(g), NEURON), tr.psc_filter_adjoint(given(g), NEURON)]
        made.append(tr.tsslbp_backward(given(g), trace, NEURON, RULE))
        network = small_network(dtype=dtype, n_threads=2)
        network.weights = [given(W) for W in network.weights]
        for x in (trains, pictures):
            loss, gradients = network.loss_and_gradients(given(x), given(y), "count")
            made += [np.array(loss), *gradients, network.forward(given(x))]
        return made

    expected, found = results(np.asarray), results(as_given)
    assert [(array.dtype, array.tobytes()) for array in found] == [(array.dtype, array.tobytes()) for array in expected]

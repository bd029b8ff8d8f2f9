"""Wrong input, settings and weights of a network are named; what is no error gives the same bits, or a warning."""

import dataclasses
import warnings

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.model import backpropagation, losses

NEURON, RULE = tr.NeuronParameters(), tr.GradientRule()


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
        ({"rule": "june-2020"}, r"rule must be a GradientRule, got str: rule_by_name\('june-2020'\) is one"),
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


@pytest.mark.parametrize("value", [0, -1, 2.5, None])
def test_a_number_of_steps_that_is_set_later(value):
    network = small_network()
    with pytest.raises((ValueError, TypeError), match="n_steps must be"):
        network.n_steps = value
    assert network.n_steps == 5


@pytest.mark.parametrize(
    ("g", "message"),
    [
        (np.ones((2, 5, 3)), r"g must have shape \(5, 2, 3\) to match the output PSC, got \(2, 5, 3\)"),
        (np.ones((5, 2, 4)), r"got \(5, 2, 4\)"),
        (np.ones((5, 6)).tolist(), r"g must be \(T, B, n_classes\): steps, batch, output neurons; got 2 axes"),
        (np.full((5, 2, 3), np.nan), "g must be finite"),
    ],
)
def test_the_gradient_that_goes_back_through_a_network(g, message):
    network = small_network()
    records, _ = backpropagation.forward(network, np.ones((2, 1, 2, 2)).tolist(), [None, None])
    with pytest.raises(ValueError, match=message):
        backpropagation.backward(network, records, g)


@pytest.mark.parametrize("x", [np.ones((4, 2, 1, 2, 2)), np.ones((2, 3)), "x"])
def test_the_input_that_goes_forward_through_a_network(x):
    with pytest.raises((ValueError, TypeError), match="x must"):
        backpropagation.forward(small_network(), x, [None, None])


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


# ---------------------------------------------------------------------------------------------------------------------
# What is no error, and is not what anybody wants
# ---------------------------------------------------------------------------------------------------------------------


def test_raw_pixels_are_warned_of():
    net = tr.Network.from_spec("", (1, 2, 2), 3, 5)
    raw = np.array([[[[0, 255], [3, 4]]]], np.uint8)
    for call in (net.forward, net.predict, lambda x: net.loss_and_gradients(x, [0])):
        with pytest.warns(UserWarning, match=r"^x holds raw pixels, .* normalised images, of datasets\.norm") as found:
            call(raw)
        assert {one.filename for one in found} == {__file__}, "the caller's line is shown"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for x in (raw > 3, raw // 255, raw / 255.0, tr.datasets.normalise(raw, "mnist"), np.stack([raw] * 5) // 255):
            net.predict(x)


@pytest.mark.parametrize(
    ("loss", "n_steps", "learns"),
    [("kernel", 1, False), ("kernel-01111-twice", 1, False), ("kernel-paper", 1, True), ("kernel", 2, True)],
)
def test_a_loss_that_asks_for_no_spike_is_warned_of(loss, n_steps, learns):
    losses._desired_psc.cache_clear()
    net = tr.Network.from_spec("", (4,), 3, n_steps)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        net.training_step(np.ones((2, 4)), [0, 1], loss)
    lines = [str(one.message) for one in warned]
    assert {one.filename for one in warned} <= {__file__}
    assert lines == [] if learns else lines[0].startswith(f"loss '{loss}' teaches nothing with n_steps = 1, ")
    one, other = (losses.Loss(loss, NEURON).target([y], (n_steps, 1, 3), "float64") for y in (0, 1))
    assert np.array_equal(one, other) == (not learns)


@pytest.mark.parametrize("dtype", [">f8", ">f4", ">i2"])
def test_arrays_in_the_other_byte_order_are_taken(dtype):
    foreign = (np.arange(30).reshape(5, 2, 3) / 5).astype(dtype)
    I = foreign.astype(foreign.dtype.newbyteorder("="))
    trace = tr.lif_forward(I, NEURON)
    assert np.array_equal(tr.lif_forward(foreign, NEURON).u, trace.u)
    assert np.array_equal(tr.psc_filter(foreign, NEURON), tr.psc_filter(I, NEURON))
    assert np.array_equal(tr.psc_filter_adjoint(foreign, NEURON), tr.psc_filter_adjoint(I, NEURON))
    swapped = dataclasses.replace(trace, u=trace.u.astype(trace.u.dtype.newbyteorder(">")))
    delta = tr.tsslbp_backward(I, trace, NEURON, RULE)
    assert np.array_equal(tr.tsslbp_backward(foreign, swapped, NEURON, RULE), delta)
    network, x = small_network(n_steps=3), foreign[:4, :1, :1].reshape(1, 1, 2, 2)
    assert np.array_equal(network.forward(x), network.forward(x.tolist()))


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

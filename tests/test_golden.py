"""The authors' numbers at four commits: layers, losses and whole networks, forward and backward, in float64."""

import numpy as np
import pytest
from conftest import relative_error

import tsslbp_ref as tr
from tsslbp_ref.gradcheck.golden_checks import COUNTS, FILES, golden_network, golden_numbers
from tsslbp_ref.model import losses, reference, reference_network, sweeps
from tsslbp_ref.model.parameters import NeuronParameters

TOLERANCE = 1e-12
LAYERS = [(file, layer) for file, content in FILES.items() for layer in content.layers]
NETWORKS = [(file, name) for file, content in FILES.items() for name in content.losses]


def layer_of(file, layer):
    golden = golden_numbers(file)
    return [golden[f"{layer}_{key}"] for key in ("I", "a", "g", "dI")], NeuronParameters(*golden[f"{layer}_par"])


@pytest.mark.parametrize("twin", [sweeps, reference], ids=["fast", "reference"])
@pytest.mark.parametrize(("file", "layer"), LAYERS)
def test_a_layer_forward_and_backward(file, layer, twin):
    (I, a, g, expected), neuron = layer_of(file, layer)
    trace = twin.lif_forward(I, neuron)
    delta = twin.tsslbp_backward(g, trace, neuron, tr.rule_by_name(FILES[file].rule))
    assert relative_error(trace.a, a) < TOLERANCE
    assert relative_error(delta, expected) < TOLERANCE


@pytest.mark.parametrize("file", [file for file in FILES if "2020" in file])
def test_layers_of_2020_lie_on_both_sides_of_the_switch_and_no_other_rule_gives_their_numbers(file):
    rates = []
    for layer in FILES[file].layers:
        (I, _, g, expected), neuron = layer_of(file, layer)
        trace = sweeps.lif_forward(I, neuron)
        rates.append(trace.firing_rate)
        for name, rule in tr.named_rules().items():
            surrogate = trace.firing_rate <= 0.1 and (name == "surrogate" or name.endswith("-2020"))
            if name != FILES[file].rule and not surrogate:
                assert relative_error(sweeps.tsslbp_backward(g, trace, neuron, rule), expected) > 1e-3, (layer, name)
    assert min(rates) <= 0.1 < max(rates)


def test_ties_and_clipped_spikes_are_there():
    (I, a, _, _), neuron = layer_of("released_code_more", "ties")
    assert (sweeps.lif_forward(I, neuron).u == neuron.threshold).any()
    assert (a == neuron.theta_s / 4.0).any()
    (I, _, _, _), neuron = layer_of("released_code_more", "clipped")
    trace = sweeps.lif_forward(I, neuron)
    v_before = np.concatenate([np.zeros_like(I[:1]), (trace.u * (1.0 - trace.s))[:-1]])
    assert ((trace.s == 1.0) & (trace.u - v_before < 1.0 / 8.0)).sum() == 60


@pytest.mark.parametrize("name", ["kernel", "count", "softmax"])
def test_a_loss_and_its_gradient(golden, name):
    neuron = NeuronParameters(tau_m=5.0, tau_s=3.0)
    value, gradient = losses.value_and_gradient(name, golden["loss_a"], golden["loss_y"], neuron, COUNTS)
    assert value == pytest.approx(float(golden[f"loss_{name}"]), rel=TOLERANCE)
    assert relative_error(gradient, golden[f"loss_{name}_da"]) < TOLERANCE


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize(("file", "name"), NETWORKS)
def test_a_network(file, name, n_threads):
    golden = golden_numbers(file)
    network = golden_network(file, name, n_threads=n_threads)
    x, y, loss = golden[f"{name}_x"], golden[f"{name}_y"], FILES[file].losses[name]
    value, gradients = network.loss_and_gradients(x, y, loss, settings=COUNTS)
    assert relative_error(network.forward(x), golden[f"{name}_a"]) < TOLERANCE
    assert value == pytest.approx(float(golden[f"{name}_loss"]), rel=TOLERANCE)
    for index, gradient in enumerate(gradients):
        assert relative_error(gradient, golden[f"{name}_dW{index}"]) < TOLERANCE


@pytest.mark.parametrize("file", [file for file in FILES if "2020" in file])
def test_a_network_by_literal_loops(file):
    """`quiet` has layers on both sides of the switch, and in September spikes that repeat on the surrogate's."""
    golden, name = golden_numbers(file), "quiet"
    network, loss = golden_network(file, name), FILES[file].losses[name]
    found = reference_network.loss_and_gradients(network, golden["quiet_x"], golden["quiet_y"], loss)
    assert relative_error(found[0], golden["quiet_loss"]) < TOLERANCE
    for index, gradient in enumerate(found[1]):
        assert relative_error(gradient, golden[f"quiet_dW{index}"]) < TOLERANCE


@pytest.mark.parametrize("name", ["dense", "cnn"])
def test_a_network_fed_the_picture_at_every_step(golden, name):
    """The static shortcut is the plain product: a picture repeated T times as a 'spike train' gives the same."""
    network = golden_network("released_code_vectors", name)
    repeated = np.repeat(golden[f"{name}_x"][None], network.n_steps, axis=0)
    _, gradients = network.loss_and_gradients(repeated, golden[f"{name}_y"])
    for index, gradient in enumerate(gradients):
        assert relative_error(gradient, golden[f"{name}_dW{index}"]) < TOLERANCE

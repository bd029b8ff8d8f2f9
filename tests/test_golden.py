"""The released code's numbers: layers, losses and whole networks, forward and backward, in float64."""

import numpy as np
import pytest
from conftest import relative_error

from tsslbp_ref.model import losses, reference, sweeps
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

TOLERANCE = 1e-12
NETWORKS = {"dense": ("9-8", 0), "dense20": ("9", 0), "cnn": ("3C3-P2-4C3-6", (1, 0))}


@pytest.mark.parametrize("twin", [sweeps, reference], ids=["fast", "reference"])
@pytest.mark.parametrize("layer", range(4))
def test_a_layer_forward_and_backward(golden, layer, twin):
    tau_m, tau_s, threshold = golden[f"layer{layer}_par"]
    neuron = NeuronParameters(tau_m, tau_s, threshold)
    trace = twin.lif_forward(golden[f"layer{layer}_I"], neuron)
    delta = twin.tsslbp_backward(golden[f"layer{layer}_g"], trace, neuron, GradientRule())
    assert relative_error(trace.a, golden[f"layer{layer}_a"]) < TOLERANCE
    assert relative_error(delta, golden[f"layer{layer}_dI"]) < TOLERANCE


@pytest.mark.parametrize("name", ["kernel", "count", "softmax"])
def test_a_loss_and_its_gradient(golden, name):
    neuron = NeuronParameters(tau_m=5.0, tau_s=3.0)
    settings = losses.LossSettings(desired_count=4.0, undesired_count=1.0)
    value, gradient = losses.value_and_gradient(name, golden["loss_a"], golden["loss_y"], neuron, settings)
    assert value == pytest.approx(float(golden[f"loss_{name}"]), rel=TOLERANCE)
    assert relative_error(gradient, golden[f"loss_{name}_da"]) < TOLERANCE


def golden_network(golden, name, **keywords):
    spec, padding = NETWORKS[name]
    n_steps, tau_m, tau_s = golden[f"{name}_par"]
    weights = [golden[key] for key in sorted(golden) if key.startswith(f"{name}_W")]
    network = Network.from_spec(
        spec,
        golden[f"{name}_x"].shape[1:],
        len(weights[-1]),
        int(n_steps),
        NeuronParameters(tau_m, tau_s),
        dtype="float64",
        padding=padding,
        **keywords,
    )
    network.weights = weights
    return network


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network(golden, name, n_threads):
    network = golden_network(golden, name, n_threads=n_threads)
    loss, gradients = network.loss_and_gradients(golden[f"{name}_x"], golden[f"{name}_y"], loss="kernel")
    assert relative_error(network.forward(golden[f"{name}_x"]), golden[f"{name}_a"]) < TOLERANCE
    assert loss == pytest.approx(float(golden[f"{name}_loss"]), rel=TOLERANCE)
    for index, gradient in enumerate(gradients):
        assert relative_error(gradient, golden[f"{name}_dW{index}"]) < TOLERANCE


@pytest.mark.parametrize("name", ["dense", "cnn"])
def test_a_network_fed_the_picture_at_every_step(golden, name):
    """The static shortcut is the plain product: a picture repeated T times as a 'spike train' gives the same."""
    network = golden_network(golden, name)
    x = golden[f"{name}_x"]
    repeated = np.repeat(x[None], network.n_steps, axis=0)
    _, gradients = network.loss_and_gradients(repeated, golden[f"{name}_y"])
    for index, gradient in enumerate(gradients):
        assert relative_error(gradient, golden[f"{name}_dW{index}"]) < TOLERANCE

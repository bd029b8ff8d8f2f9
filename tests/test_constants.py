"""Gradients by the constants beyond the check table: kinds of input, sums over a layer, bad arguments."""

from __future__ import annotations

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.model import constants, reference

NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0)


def network(spec="6-5", shape=(4,), **settings):
    settings = {"dtype": "float64", "weight_scale": 3.0, "n_threads": 1} | settings
    return tr.Network.from_spec(spec, shape, n_classes=3, n_steps=6, **settings)


def test_a_static_image_is_its_own_train():
    net, x = network(), np.random.default_rng(0).random((2, 4))
    static, trains = (constants.gradients(net, one, [0, 1]) for one in (x, np.stack([x] * net.n_steps)))
    np.testing.assert_allclose(static.input_tau_s, trains.input_tau_s, rtol=1e-13)
    assert static.input_tau_s.shape == (4,)
    assert np.all(static.input_tau_s != 0.0)


def test_a_batch_has_the_sum_over_its_samples():
    net, x = network("2C3-P2-4", (2, 6, 6), padding=1), np.random.default_rng(1).random((3, 2, 6, 6))
    whole = constants.gradients(net, x, [0, 1, 2])
    parts = [constants.gradients(net, x[i : i + 1], [i]) for i in range(3)]
    for number, layer in enumerate(whole.layers):
        for name, found in layer._asdict().items():
            expected = sum(getattr(part.layers[number], name) for part in parts)
            np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(expected).max())
            assert layer.summed()[name] == pytest.approx(expected.sum())
    assert whole.layers[0].tau_s.shape == (2 * 6 * 6,)
    np.testing.assert_allclose(whole.input_tau_s, sum(part.input_tau_s for part in parts), atol=1e-12)


def test_dropped_neurons_have_no_derivative_by_tau_s():
    net, x = network(dropout=0.5), np.random.default_rng(2).random((2, 4))
    mask = net.layers[1].draw_mask(2, np.random.default_rng(5), np.float64)
    found = constants.gradients(net, x, [0, 1], rng=np.random.default_rng(5)).layers[0].tau_s
    assert np.all(found[~mask.any(axis=0)] == 0.0)
    assert np.any(found != 0.0)


@pytest.mark.parametrize("of_layer", [constants.of_layer, reference.constant_gradients], ids=["fast", "literal"])
def test_bad_arguments(of_layer):
    trace = tr.lif_forward(np.full((4, 2, 3), 0.4), NEURON)
    good = np.ones((4, 2, 3))
    with pytest.raises(ValueError, match=r"g must have shape \(4, 2, 3\)"):
        of_layer(np.ones((4, 2, 2)), good, trace, NEURON)
    with pytest.raises(ValueError, match="delta must be finite, got nan"):
        of_layer(good, np.where(np.arange(3) == 1, np.nan, good), trace, NEURON)
    with pytest.raises(ValueError, match="threshold"):
        of_layer(good, good, trace, tr.NeuronParameters(threshold=2.0))
    with pytest.raises(TypeError, match="neuron"):
        of_layer(good, good, trace, 5.0)
    with pytest.raises(TypeError, match="trace"):
        of_layer(good, good, good, NEURON)
    with pytest.raises(ValueError, match=r"rule\.surrogate_weight must be 0"):
        constants.by_threshold_of_the_tangent(good, trace, NEURON, tr.rule_by_name("timing-plus-surrogate"))


def test_a_network_refuses_what_training_refuses():
    net = network()
    with pytest.raises(ValueError, match="x must"):
        constants.gradients(net, np.ones((2, 5)), [0, 1])
    net.weights[1][0, 0] = np.nan
    with pytest.raises(ValueError, match="weights"):
        constants.gradients(net, np.ones((2, 4)), [0, 1])

"""A network whose output layer is a convolution: the fast engine has the output and gradients of the plain loops."""

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.engine import FastEngine
from tsslbp_ref.model.layers import Conv2d
from tsslbp_ref.model.network import Network, PlainEngine


@pytest.mark.parametrize("leading", [(3,), (4, 3)], ids=["image", "train"])
def test_output_of_feature_maps_is_flat(leading: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    layers = [Conv2d((1, 5, 4), 2, 2, 0), Conv2d((2, 4, 3), 2, 2, 0)]
    weights = [rng.normal(0.5, 0.5, layer.weight_shape) for layer in layers]
    x = rng.random((*leading, 1, 5, 4))
    results = []
    for engine in (FastEngine(2), PlainEngine()):
        net = Network(
            layers,
            weights,
            n_steps=4,
            neuron=tr.NeuronParameters(),
            rule=tr.GradientRule(),
            dtype="float64",
            engine=engine,
        )
        assert net.forward(x).shape == (4, 3, 12)
        results.append(net.training_step(x, [0, 5, 11]))
    fast, plain = results
    np.testing.assert_allclose(fast.output, plain.output, rtol=1e-12, atol=1e-14)
    for dW, expected in zip(fast.gradients, plain.gradients, strict=True):
        assert np.any(expected)
        np.testing.assert_allclose(dW, expected, rtol=1e-12, atol=1e-14)

"""What is passed together: which layers are, and that nothing changes but the time and the memory."""

import numpy as np
import pytest
from tsslbp_ref.engine.layer_runs import DENSE, POOLED, SINGLE, joined

import tsslbp_ref as tr
from tsslbp_ref.model import network as network_module
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, SumPool2d

NEURON = tr.NeuronParameters(5.0, 3.0)
TOLERANCE = 1e-12
HIDDEN = [Dense((8,), 8) for _ in range(3)]
CONV, POOL, DROPOUT = Conv2d((1, 4, 4), 2, 3, 0), SumPool2d((2, 2, 2), 2), Dropout((8,), 0.5)
FIRST_POOL = SumPool2d((1, 4, 4), 2)


def cut(*layers, static=False):
    return [(list(members), kind) for members, kind in joined(layers, static=static)]


def test_fully_connected_layers_behind_neurons_are_a_run():
    assert cut(*HIDDEN) == cut(*HIDDEN, static=True) == [([0], SINGLE), ([1, 2], DENSE)]
    assert cut(CONV, POOL, *HIDDEN) == [([0], SINGLE), ([1], SINGLE), ([2, 3, 4], DENSE)]
    assert cut(DROPOUT, *HIDDEN[:2]) == [([0], SINGLE), ([1], SINGLE), ([2], DENSE)]


def test_dropout_parts_a_run():
    layers = (HIDDEN[0], HIDDEN[1], DROPOUT, HIDDEN[2])
    assert cut(*layers) == [([0], SINGLE), ([1], DENSE), ([2], SINGLE), ([3], DENSE)]


def test_neurons_under_a_static_picture_and_their_pooling_are_passed_together():
    assert cut(CONV, POOL, CONV, POOL, static=True) == [([0, 1], POOLED), ([2], SINGLE), ([3], SINGLE)]
    assert cut(FIRST_POOL, CONV, POOL, HIDDEN[0], static=True) == [([0], SINGLE), ([1, 2], POOLED), ([3], DENSE)]
    assert cut(CONV, Dropout((2, 2, 2), 0.5), POOL, static=True) == [([0], SINGLE), ([1], SINGLE), ([2], SINGLE)]


def test_another_kind_of_layer_is_passed_by_itself():
    class OtherDense(Dense):
        """Another map, for all that is known."""

    class OtherPool(SumPool2d):
        """Another map, for all that is known."""

    assert cut(HIDDEN[0], OtherDense((8,), 8)) == [([0], SINGLE), ([1], SINGLE)]
    assert cut(CONV, OtherPool((2, 2, 2), 2), static=True) == [([0], SINGLE), ([1], SINGLE)]


@pytest.mark.parametrize("spec", ["3C3-P2-4", "P2-3C2-P2-4", "2C3-P3-3C2", "2C2-P2-P2-5-4", "6-5"])
@pytest.mark.parametrize("n_steps", [1, 2, 7])
def test_passed_together_or_layer_by_layer(spec, n_steps, monkeypatch):
    """Odd maps, whose last row and column fill no block, are among them."""
    rng = np.random.default_rng(1)
    x, y = 4.0 * rng.random((5, 2, 9, 9)), rng.integers(0, 3, 5)
    net = tr.Network.from_spec(
        spec, (2, 9, 9), 3, n_steps, NEURON, dtype="float64", weight_scale=8.0, n_threads=2, seed=2
    )
    loss, gradients = net.loss_and_gradients(x, y)
    a = net.forward(x)
    assert a.any() or n_steps < 3
    monkeypatch.setattr(
        network_module, "joined", lambda layers, static: [(range(i, i + 1), SINGLE) for i in range(len(layers))]
    )
    assert np.array_equal(net.forward(x), a)
    wanted_loss, wanted = net.loss_and_gradients(x, y)
    assert loss == pytest.approx(wanted_loss, rel=TOLERANCE)
    for found, expected in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * max(1.0, np.abs(expected).max()))


def test_membranes_under_a_picture_that_is_too_large_are_named():
    net = tr.Network.from_spec("2C3-P2", (1, 6, 6), 3, 4, NEURON)
    net.weights[0][...] = -1.0
    with pytest.raises(ValueError, match="the membranes of layer 0 are not finite"):
        net.forward(np.full((1, 1, 6, 6), 3e38))
    net.weights[0][0] = np.nan
    with pytest.raises(ValueError, match=r"weights\[0\] must be finite"):
        net.forward(np.ones((1, 1, 6, 6)))


def test_the_first_layer_leaves_no_membranes_behind():
    net = tr.Network.from_spec("2C3-P2", (1, 8, 8), 3, 50, NEURON, n_threads=1)
    net.loss_and_gradients(np.ones((2, 1, 8, 8)), [0, 1])
    kept = net._shelf._free[0]._flat
    assert (1, "a") in kept
    assert not {(0, "u"), (0, "a"), (1, "g")} & set(kept)

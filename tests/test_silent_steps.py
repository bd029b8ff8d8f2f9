"""Steps and pictures without a spike are passed over, and nothing changes but the time."""

import numpy as np
import pytest
from conftest import relative_error
from tsslbp_ref.engine.signals import PSCSignal

import tsslbp_ref as tr
from tsslbp_ref.engine import fast_events, fast_layers
from tsslbp_ref.model import reference_layers
from tsslbp_ref.model.layers import Conv2d, Dense, SumPool2d

TOLERANCE = 1e-13
LAYERS = [Dense((2, 5, 6), 4), Conv2d((2, 5, 6), 3, 3, 0), Conv2d((2, 5, 6), 3, 3, 1)]


def psc_with_silence(shape, silent, seed=0):
    """A PSC (T, B, ...) that is 0 where `silent` (T, B) says so."""
    a = np.random.default_rng(seed).random(shape)
    a[np.asarray(silent, bool)] = 0.0
    return a


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize(
    ("silent", "first"),
    [
        ([[0, 0, 0]] * 4, 0),
        ([[1, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 1]], 2),
        ([[1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1]], 0),
        ([[1, 1, 1]] * 4, 3),
    ],
    ids=["none", "at the start", "scattered", "all"],
)
def test_silence_changes_nothing(layer, silent, first):
    a = psc_with_silence((4, 3, *layer.input_shape), silent)
    rng = np.random.default_rng(1)
    W, delta = rng.normal(size=layer.weight_shape), rng.normal(size=(4, 3, *layer.output_shape))
    signal = PSCSignal(a)
    assert signal.first == first
    I = signal.weighted_input(layer, W, np.full((4, 3, *layer.output_shape), np.nan))
    if isinstance(layer, Dense):
        wanted, wanted_dW = a.reshape(4, 3, -1) @ W.T, np.einsum("tbo,tbi->oi", delta, a.reshape(4, 3, -1))
    else:
        flat, flat_delta = a.reshape(12, *layer.input_shape), delta.reshape(12, *layer.output_shape)
        wanted = reference_layers.conv2d_forward(flat, W, layer.padding).reshape(I.shape)
        wanted_dW = reference_layers.conv2d_weight_gradient(flat_delta, flat, layer.padding)
    np.testing.assert_allclose(I, wanted, rtol=0, atol=TOLERANCE * max(1.0, np.abs(wanted).max()))
    dW = signal.weight_gradient(layer, delta)
    np.testing.assert_allclose(dW, wanted_dW, rtol=0, atol=TOLERANCE * max(1.0, np.abs(wanted_dW).max()))


@pytest.mark.parametrize("spec", ["6-5", "3C3-5"])
def test_a_weight_that_is_not_finite_shows_behind_a_silent_layer(spec):
    net = tr.Network.from_spec(spec, (1, 5, 5), 3, 4, tr.NeuronParameters(), dtype="float64", n_threads=1)
    x = np.full((2, 1, 5, 5), 1e-3)
    assert not net.forward(x).any()
    net.weights[1][0] = np.nan
    with pytest.raises(ValueError, match=r"weights\[1\] must be finite"):
        net.forward(x)


def test_the_first_step_whose_product_is_needed():
    a = np.zeros((5, 2, 3))
    assert fast_events.first_needed_step(a) == 4
    a[3, 1, 2] = 1e-300
    assert fast_events.first_needed_step(a) == 3
    a[0, 0, 0] = -1.0
    assert fast_events.first_needed_step(a) == 0


def test_live_pictures_are_those_with_a_number_and_the_last():
    pictures = np.zeros((5, 2, 3, 3))
    pictures[1, 1, 2, 2] = pictures[3, 0, 0, 0] = 1.0
    assert fast_layers.live_pictures(pictures).tolist() == [1, 3, 4]


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("shape", [(3, 7, 9), (2, 6, 6), (1, 3, 40)])
def test_pooling_by_pairs_and_by_any_size(size, shape):
    layer = SumPool2d(shape, size, 1.1)
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(4, *layer.input_shape)), rng.normal(size=(4, *layer.output_shape))
    channels, height, width = layer.output_shape
    whole = x[:, :, : height * size, : width * size]
    wanted = 1.1 * whole.reshape(4, channels, height, size, width, size).sum(axis=(3, 5))
    assert relative_error(layer.forward(x, None), wanted) < TOLERANCE
    back = np.zeros_like(x)
    back[:, :, : height * size, : width * size] = 1.1 * y.repeat(size, axis=2).repeat(size, axis=3)
    assert relative_error(layer.adjoint(y, None), back) < TOLERANCE

"""Winograd's convolution: which layers it serves, how it rounds. Rows engine-conv-*-winograd: that it is right."""

import numpy as np
import pytest

from tsslbp_ref.engine import convolution, winograd
from tsslbp_ref.model.layers import Conv2d


@pytest.mark.parametrize(
    ("layer", "served"),
    [
        (Conv2d((32, 8, 8), 32, 3, padding=1), True),
        (Conv2d((32, 9, 7), 32, 3, padding=0), True),
        (Conv2d((32, 8, 8), 32, 5, padding=2), False),
        (Conv2d((31, 8, 8), 32, 3, padding=1), False),
        (Conv2d((32, 8, 8), 31, 3, padding=1), False),
        (Conv2d((32, 3, 3), 32, 3, padding=0), False),  # a tile of 4 x 4 outputs for one
        (Conv2d((32, 8, 8), 32, 3, padding=3), False),  # more than the filters reach
    ],
)
def test_it_serves_3_x_3_filters_with_channels_and_outputs_enough(layer, served):
    assert winograd.serves(layer) is served


def test_float32_rounds_at_most_ten_times_as_im2col():
    layer, rng = Conv2d((64, 8, 8), 64, 3, padding=1), np.random.default_rng(3)
    x = rng.random((4, *layer.input_shape)) * (rng.random((4, *layer.input_shape)) < 0.3)
    W, delta = rng.normal(size=layer.weight_shape), rng.normal(size=(4, *layer.output_shape))
    exact = results(convolution, layer, x, W, delta)
    single = [array.astype(np.float32) for array in (x, W, delta)]
    ours, plain = (results(way, layer, *single) for way in (winograd, convolution))
    for name, value in exact.items():
        error, error_of_plain = (np.sqrt(np.mean((found[name] - value) ** 2)) for found in (ours, plain))
        assert 0.0 < error < 10.0 * error_of_plain, name


@pytest.mark.parametrize("points", [(0.0, 1.0, -1.0, 2.0, -2.0), (0.0, 1.0, -1.0, 0.5, -0.5)])
def test_its_points_round_less_than_whole_numbers_and_halves(points, monkeypatch):
    layer, rng = Conv2d((64, 8, 8), 64, 3, padding=1), np.random.default_rng(3)
    x, W, delta = (
        rng.normal(size=shape) for shape in ((4, *layer.input_shape), layer.weight_shape, (4, *layer.output_shape))
    )
    exact, single = results(convolution, layer, x, W, delta), [array.astype(np.float32) for array in (x, W, delta)]
    ours = results(winograd, layer, *single)
    monkeypatch.setattr(winograd, "POINTS", points)
    theirs = results(winograd, layer, *single)
    for name, value in exact.items():
        error, of_points = (np.sqrt(np.mean((found[name] - value) ** 2)) for found in (ours, theirs))
        assert 1.3 * error < of_points, name


def results(way, layer, x, W, delta):
    I, g = np.empty_like(delta), np.empty_like(x)
    way.forward(layer, x, W, I)
    way.adjoint(layer, delta, W, g)
    return {"I": I, "g": g, "dL/dW": way.weight_gradient(layer, delta, x)}


def test_silent_images_give_zeros_and_a_filter_that_is_not_finite_shows():
    layer = Conv2d((32, 4, 4), 32, 3, padding=1)
    x, W = np.zeros((3, *layer.input_shape)), np.ones(layer.weight_shape)
    I = np.full((3, *layer.output_shape), np.nan)
    winograd.forward(layer, x, W, I)
    assert not I.any()
    W[0, 0, 0, 0] = np.nan
    winograd.forward(layer, x, W, I)
    assert np.isnan(I[-1, 0]).any()

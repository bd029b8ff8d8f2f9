"""The convolution by frequency: where a layer chooses it, and that it changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tsslbp_ref import GradientRule, Network, NeuronParameters
from tsslbp_ref.engine import fast_fourier
from tsslbp_ref.jit import compiled, multiply
from tsslbp_ref.model import reference_layers
from tsslbp_ref.model.layers import Conv2d

MEASURED = Path(__file__).parents[1] / "results" / "frequencies.json"
DEEP = Conv2d((15, 12, 12), n_filters=40, kernel_size=5, padding=0)  # the second of MNIST's network


@pytest.mark.parametrize(
    ("shape", "n_filters", "kernel_size", "padding"),
    [((15, 12, 12), 40, 5, 0), ((3, 7, 9), 5, 3, 1), ((2, 8, 5), 4, 5, 2), ((2, 3, 4), 3, 1, 0), ((1, 3, 3), 2, 3, 0)],
)
def test_equals_nested_loops_of_either_parity_and_padding(shape, n_filters, kernel_size, padding):
    layer = Conv2d(shape, n_filters, kernel_size, padding)
    convolution = fast_fourier.Convolution(shape, n_filters, kernel_size, padding)
    rng = np.random.default_rng(0)
    x, delta = rng.normal(size=(4, *shape)), rng.normal(size=(4, *layer.output_shape))
    W, I, g = rng.normal(size=layer.weight_shape), np.empty_like(delta), np.empty_like(x)
    convolution.forward(x, W, I)
    dW = convolution.backward(delta, x, W, g)
    np.testing.assert_allclose(I, reference_layers.conv2d_forward(x, W, padding), rtol=0, atol=1e-11)
    np.testing.assert_allclose(g, reference_layers.conv2d_adjoint(delta, W, padding, shape[1:]), rtol=0, atol=1e-11)
    np.testing.assert_allclose(dW, reference_layers.conv2d_weight_gradient(delta, x, padding), rtol=0, atol=1e-11)


def test_more_pictures_than_a_piece_and_silent_ones_between_them():
    convolution = DEEP.by_frequency
    assert convolution is not None
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2 * convolution.piece + 3, 15, 12, 12))
    x[::3] = 0.0
    delta, W = rng.normal(size=(len(x), 40, 8, 8)), rng.normal(size=DEEP.weight_shape)
    g = np.empty_like(x)
    dW = DEEP.backward(delta, x, W, g)
    np.testing.assert_allclose(g, DEEP.adjoint(delta, W), rtol=0, atol=1e-10)  # in the pictures' own places
    np.testing.assert_allclose(dW, DEEP.weight_gradient(delta, x), rtol=0, atol=1e-10)
    silent = np.full(delta.shape, np.nan)
    DEEP.forward(np.zeros_like(x), W, silent)
    assert not silent.any()


def test_single_precision_is_rounded_and_no_more():
    rng = np.random.default_rng(2)
    x, W = rng.random((5, 15, 12, 12)), rng.normal(size=DEEP.weight_shape)
    exact, single = DEEP.forward(x, W), DEEP.forward(x.astype(np.float32), W.astype(np.float32))
    assert single.dtype == np.float32
    assert abs(single - exact).max() < 3e-6 * abs(exact).max()


def test_a_layer_chooses_it_where_it_multiplies_much_less_and_a_piece_fits_the_cache():
    assert DEEP.by_frequency is not None
    assert Conv2d((1, 28, 28), 15, 5, 0).by_frequency is None  # one channel: going there and back costs more
    assert Conv2d((64, 32, 32), 128, 3, 1).by_frequency is None  # a picture's frequencies are too many
    direct = 40 * 8 * 8 * DEEP.fan_in
    assert direct > 2 * DEEP.by_frequency.multiplications


def test_where_it_is_chosen_it_was_measured_to_be_faster():
    rows = json.loads(MEASURED.read_text())["rows"]
    chosen = [row for row in rows if row["chosen"]]
    assert 3 <= len(chosen) < len(rows)
    for row in rows:
        layer = Conv2d(tuple(row["input_shape"]), row["n_filters"], row["kernel_size"], row["padding"])
        assert (layer.by_frequency is not None) == row["chosen"]
    assert all(row["frequency_ms"] < row["places_ms"] for row in chosen)


def test_a_training_step_is_the_one_part_by_part():
    networks = [
        Network.from_spec(
            "12C5-P2-32C5-20", (1, 24, 24), 10, 5, NeuronParameters(), GradientRule(), seed=3, dtype="float64",
            n_threads=threads,
        )
        for threads in (1, 2)
    ]  # fmt: skip
    assert networks[0].layers[2].by_frequency is not None
    rng = np.random.default_rng(4)
    x, y = rng.random((9, 1, 24, 24)), rng.integers(0, 10, 9)
    loss, gradients = networks[0].loss_and_gradients(x, y)
    loss_in_parts, in_parts, _, _ = networks[0].training_pass(x, y)  # whose way back is in the pictures' own places
    loss_shared, shared = networks[1].loss_and_gradients(x, y)
    assert any(gradient.any() for gradient in gradients)
    for others, value in ((in_parts, loss_in_parts), (shared, loss_shared)):
        assert value == pytest.approx(loss, rel=1e-12)
        for gradient, other in zip(gradients, others, strict=True):
            np.testing.assert_allclose(other, gradient, rtol=0, atol=1e-12 * max(1.0, abs(gradient).max()))


def test_a_filter_that_is_not_finite_is_found():
    network = Network.from_spec("12C5-P2-32C5-20", (1, 24, 24), 10, 3, seed=3)
    network.weights[1][0, 0, 0, 0] = np.inf
    with pytest.raises(ValueError, match=r"weights\[1\]"):
        network.loss_and_gradients(np.ones((2, 1, 24, 24)), [0, 1])


@compiled
def _multiplied(A, B, C, turned_A, turned_B, adds):
    multiply(A, B, C, turned_A, turned_B, adds)


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("turned_B", [False, True])
@pytest.mark.parametrize("turned_A", [False, True])
def test_multiply_takes_rows_that_do_not_follow_one_another(turned_A, turned_B, adds):
    rng = np.random.default_rng(5)
    A = rng.normal(size=(4, 3) if turned_A else (3, 4))
    B = rng.normal(size=(5, 4) if turned_B else (4, 5))
    wide = [np.repeat(matrix[:, None], 2, axis=1) for matrix in (A, B)]
    C, plain = rng.normal(size=(3, 2, 5)), np.empty((3, 5))
    before = C.copy()
    product = (A.T if turned_A else A) @ (B.T if turned_B else B)
    plain[:] = before[:, 1]
    multiply(A, B, plain, turned_A, turned_B, adds)
    _multiplied(wide[0][:, 0], wide[1][:, 1], C[:, 1], turned_A, turned_B, adds)
    np.testing.assert_allclose(C[:, 1], product + (before[:, 1] if adds else 0.0), rtol=0, atol=1e-13)
    np.testing.assert_allclose(plain, C[:, 1], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(C[:, 0], before[:, 0])

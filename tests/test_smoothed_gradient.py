"""The smoothed gradient: what it is of losses whose smoothing is known, its standard error, and what it refuses."""

import math

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.gradcheck import smoothed_gradient

W = [np.array([[0.5, -1.0, 0.25], [2.0, 0.0, -0.5]]), np.array([[1.5, -0.75]])]


def flat(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def within(found, expected, errors=3.5):
    """Whether every entry lies within so many standard errors; of 8 entries one in 270 sets would not."""
    return np.all(np.abs(flat(found.gradient) - flat(expected)) < errors * flat(found.standard_error))


def test_of_a_quadratic_loss_it_is_the_gradient():
    """Smoothing adds a constant to a quadratic loss, whose gradient thus stays 2 A w."""
    A = np.array([[2.0, 0.5], [0.5, 1.0]])
    w = np.array([1.0, -2.0])
    found = smoothed_gradient(lambda v: float(v @ A @ v), w, 0.3, n_moves=4000)
    assert within(found, 2.0 * A @ w)
    assert found.standard_error.max() < 0.15
    assert not within(found, 2.4 * A @ w)


def test_of_a_linear_loss_the_mean_of_z_z_is_all_the_noise():
    """(L(w + m) - L(w - m)) m / (2 sigma^2) = (c z) z, whose mean is c and whose covariance is |c|^2 I + c c^T."""
    c = [np.arange(6.0).reshape(2, 3), np.array([[1.0, -2.0]])]
    found = smoothed_gradient(lambda v: sum(float(np.vdot(a, b)) for a, b in zip(c, v, strict=True)), W, 1e-3, 4000)
    assert within(found, c)
    expected = np.sqrt((np.sum(flat(c) ** 2) + flat(c) ** 2) / 4000)
    np.testing.assert_allclose(flat(found.standard_error), expected, rtol=0.1)
    assert [gradient.shape for gradient in found.gradient] == [w.shape for w in W]


def test_of_a_jump_it_is_the_density_of_the_moves_there():
    """L = 1 where w > 1, one weight of 0.8: smoothed the slope is the normal density at the distance of the jump."""
    length, w = 0.5, 0.8
    sigma = length * w
    found = smoothed_gradient(lambda v: float(v > 1.0), w, length, n_moves=4000)
    density = math.exp(-0.5 * (0.2 / sigma) ** 2) / (sigma * math.sqrt(2.0 * math.pi))
    assert abs(found.gradient - density) < 3.0 * found.standard_error < 0.1 * density
    assert found.gradient.shape == ()


def test_a_move_is_as_long_as_the_step():
    sizes = []

    def loss(weights):
        sizes.append(np.linalg.norm(flat(weights) - flat(W)))
        return 0.0

    found = smoothed_gradient(loss, W, 0.2, n_moves=500)
    assert len(sizes) == 1000
    assert np.sqrt(np.mean(np.square(sizes))) == pytest.approx(0.2 * np.linalg.norm(flat(W)), rel=0.05)
    assert not np.any(flat(found.gradient))


def test_the_seed_is_the_moves():
    results = [smoothed_gradient(lambda v: float(np.sum(v**3)), W[0], 0.1, 20, seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(results[0].gradient, results[1].gradient)
    assert np.all(results[0].gradient != results[2].gradient)
    assert smoothed_gradient(lambda v: float(np.sum(v**3)), W[0], 0.1, 20).gradient.tolist() == (
        results[0].gradient.tolist()
    )


def test_the_weights_stay_as_they_are():
    weights = [w.copy() for w in W]
    smoothed_gradient(lambda v: float(v[0].sum()), weights, 0.1, 5)
    assert all(np.array_equal(a, b) for a, b in zip(weights, W, strict=True))
    assert tr.gradcheck.smoothed_gradient is smoothed_gradient


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 0.0}, "length must be greater than 0"),
        ({"length": "long"}, "length must be a real number"),
        ({"n_moves": 1}, "n_moves must be"),
        ({"seed": -1}, "seed must be"),
        ({"weights": []}, "weights must hold at least one array"),
        ({"weights": [np.zeros(3)]}, "weights must not be all zeros"),
        ({"weights": [np.array([np.nan])]}, "weights must be finite"),
        ({"loss": lambda w: math.nan}, "the loss must be finite"),
        ({"loss": lambda w: "low"}, "the loss must be a real number"),
    ],
)
def test_what_it_refuses(changes, message):
    arguments = {"loss": lambda w: 0.0, "weights": W, "length": 0.1} | changes
    with pytest.raises((ValueError, TypeError), match=message):
        smoothed_gradient(**arguments)

"""The losses by nested loops, against numbers worked out by hand and against the losses in arrays."""

import math

import numpy as np
import pytest

from tsslbp_ref.model import losses, reference_losses
from tsslbp_ref.model.losses import LossSettings
from tsslbp_ref.model.parameters import NeuronParameters

NEURON = NeuronParameters(tau_s=2.0)  # every filter halves
SETTINGS = LossSettings(desired_count=4.0, undesired_count=1.0)


@pytest.mark.parametrize("name", ["kernel", "kernel-01111-twice", "kernel-paper", "kernel-01011-once"])
@pytest.mark.parametrize(
    ("n_steps", "released", "paper"),
    [
        (1, [0], [1]),
        (2, [0, 1], [0, 1]),
        (5, [0, 1, 1, 1, 1], [0, 1, 0, 1, 1]),
        (9, [0, 1, 1, 1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1, 0, 1, 1]),
        (10, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]),
        (11, [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1]),
    ],
)
def test_the_desired_trains_of_the_true_class(name, n_steps, released, paper):
    found = reference_losses.desired_trains(name, (n_steps, 2, 3), np.array([2, 0]))
    train = released if name in ("kernel", "kernel-01111-twice") else paper
    assert found[:, 0, 2].tolist() == found[:, 1, 0].tolist() == train
    assert found.sum() == 2 * sum(train)


@pytest.mark.parametrize(
    ("name", "y", "target"),
    [
        ("kernel", [1], [0.0, 0.25, 0.5, 0.6875, 0.8125]),
        ("kernel-01111-twice", [1], [0.0, 0.25, 0.5, 0.6875, 0.8125]),
        ("kernel-paper", [1], [0.0, 0.5, 0.25, 0.625, 0.8125]),
        ("kernel-01011-once", [1], [0.0, 0.5, 0.25, 0.625, 0.8125]),
        (
            "spike-train",
            np.array([[0.0, 0.0], [0.0, 1.0], [0, 0], [0, 0], [0, 0]])[:, None],
            [0, 0.5, 0.25, 0.125, 0.0625],
        ),
    ],
)
def test_van_rossum_of_a_flat_output(name, y, target):
    """L1 against the filtered train, other outputs against silence."""
    a = np.full((5, 1, 2), 0.5)
    value, g = reference_losses.value_and_gradient(name, a, np.asarray(y), NEURON, SETTINGS)
    expected = 0.5 - np.array([[0.0] * 5, target])
    assert np.array_equal(g[:, 0].T, expected)
    assert value == 0.5 * (expected**2).sum()


def test_count_has_a_gradient_on_the_wrong_side_alone():
    """e = (sum - desired)/T with T = 2: above and below, for the true class and another."""
    a = np.array([[[1.0, 1.0, 0.25], [4.0, 1.5, 0.5]], [[2.0, 1.0, 0.25], [1.0, 0.5, 0.25]]])
    value, g = reference_losses.value_and_gradient("count", a, np.array([0, 0]), NEURON, SETTINGS)
    e = np.array([[-0.5, 0.5, 0.0], [0.0, 0.5, 0.0]])  # sums 3, 2, 0.5 and 5, 2, 0.75; desired 4, 1, 1
    assert np.array_equal(g, [e, e])
    assert value == 0.75


def test_softmax_of_logarithms():
    """q = log 1, log 2, log 5, in two equal steps: shares of an eighth; a mean over the batch."""
    q = np.log([[1.0, 2.0, 5.0], [5.0, 1.0, 2.0]])
    value, g = reference_losses.value_and_gradient("softmax", np.array([q, q]) / 2, np.array([2, 1]), NEURON, SETTINGS)
    expected = np.array([[0.125, 0.25, -0.375], [0.625, -0.875, 0.25]]) / 2
    assert np.allclose(g, [expected, expected], rtol=1e-14)
    assert math.isclose(value, -(math.log(5 / 8) + math.log(1 / 8)) / 2, rel_tol=1e-14)


def test_softmax_of_large_sums():
    """The largest sum is taken from all, so that nothing overflows."""
    a = np.array([[[2000.0, 0.0, -2000.0]]])
    value, g = reference_losses.value_and_gradient("softmax", a, np.array([1]), NEURON, SETTINGS)
    assert value == 2000.0
    assert g.tolist() == [[[1.0, -1.0, 0.0]]]


@pytest.mark.filterwarnings("ignore:loss 'kernel")  # in one step
@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("n_steps", [1, 2, 6, 9, 10, 13])
def test_nested_loops_and_arrays_agree(name, n_steps):
    rng = np.random.default_rng(n_steps)
    a = 4.0 * rng.random((n_steps, 4, 3)) / n_steps
    y = np.round(rng.random(a.shape)) if name == "spike-train" else np.array([2, 0, 1, 1])
    value, g = reference_losses.value_and_gradient(name, a, y, NEURON, SETTINGS)
    expected, expected_g = losses.value_and_gradient(name, a, y, NEURON, SETTINGS)
    assert math.isclose(value, expected, rel_tol=1e-13)
    assert np.allclose(g, expected_g, rtol=1e-12, atol=1e-15)


def test_an_unknown_loss_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown loss 'kernal'; known: 'kernel', 'kernel-paper'"):
        reference_losses.value_and_gradient("kernal", np.zeros((5, 1, 2)), np.array([0]), NEURON, SETTINGS)

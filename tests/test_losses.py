"""The losses themselves: whole numbers, wrong arguments, and a loss that is new."""

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.gradcheck import loss_checks
from tsslbp_ref.gradcheck.finite_differences import central_difference, gradient
from tsslbp_ref.model import losses, reference_losses

NEURON, SETTINGS = tr.NeuronParameters(tau_s=2.0), losses.LossSettings()
A = np.arange(30).reshape(5, 2, 3) % 4  # whole numbers
Y = np.array([2, 0])
TRAIN = np.array([0, 1, 0, 1])


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist, lambda a: a.astype(np.uint8)])
@pytest.mark.parametrize("module", [losses, reference_losses])
@pytest.mark.parametrize("name", losses.LOSSES)
def test_whole_numbers_give_the_loss_and_gradient_of_the_same_floats(name, module, kind):
    y = (A > 1).astype(float) if name == "spike-train" else Y
    value, g = module.value_and_gradient(name, kind(A), y, NEURON, SETTINGS)
    expected, expected_g = losses.value_and_gradient(name, A.astype(float), y, NEURON, SETTINGS)
    assert value == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(g, expected_g, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist, lambda a: a.astype(bool)])
def test_a_train_of_whole_numbers_is_filtered_as_floats_are(kind):
    assert losses.filtered_train(kind(TRAIN), NEURON).tolist() == [0.0, 0.5, 0.25, 0.625]


@pytest.mark.parametrize("kind", [np.asarray, np.ndarray.tolist])
def test_each_loss_alone_takes_whole_numbers(kind):
    for found, expected in (
        (losses.count(kind(A), Y, SETTINGS), losses.count(A.astype(float), Y, SETTINGS)),
        (losses.softmax(kind(A), kind(Y)), losses.softmax(A.astype(float), Y)),
        (losses.van_rossum(kind(A), kind(A // 2)), losses.van_rossum(A.astype(float), A // 2)),
    ):
        assert found[0] == expected[0]
        assert found[1].dtype == np.float64
        assert found[1].any()
        assert np.array_equal(found[1], expected[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: losses.van_rossum(np.ones((5, 1, 3)), np.ones((5, 2, 3))),
            r"d must have shape \(5, 1, 3\) to match a",
        ),
        (lambda: losses.van_rossum(["a"], [1.0]), "a must hold real numbers"),
        (lambda: losses.softmax(np.ones((5, 1, 3)), [-1]), "y must lie in 0 .. 2, got -1"),
        (lambda: losses.softmax(np.ones((5, 1, 3)), [5]), "y must lie in 0 .. 2, got 5"),
        (lambda: losses.count([[1.0]], [0], SETTINGS), r"a must be \(T, B, n_classes\)"),
        (lambda: losses.count(np.ones((5, 1, 3)), [0], None), "settings must be a LossSettings, got NoneType"),
        (lambda: losses.released_psc(5, 3.0), "neuron must be a NeuronParameters, got float"),
        (lambda: losses.filtered_train([], NEURON), "train must not be empty"),
        (lambda: losses.filtered_train(1.0, NEURON), r"train must have a first axis, got shape \(\)"),
        (lambda: reference_losses.value_and_gradient("count", A, [9, 0], NEURON, SETTINGS), "y must lie in 0 .. 2"),
        (lambda: reference_losses.value_and_gradient("softmax", A, Y, None, SETTINGS), "neuron must be a NeuronPar"),
        (lambda: reference_losses.value_and_gradient("softmax", A, Y, NEURON, None), "settings must be a LossSettings"),
        (lambda: gradient(np.sum, [1.0, np.nan], step=0.5), "x must be finite"),
        (lambda: gradient(np.sum, [1.0], step=0.0), "step must be greater than 0"),
        (lambda: central_difference(abs, 0.5, levels=0), "levels must be at least 1"),
    ],
)
def test_what_is_wrong_is_said_by_name(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_the_difference_quotient_of_whole_numbers_is_that_of_floats():
    assert gradient(lambda x: float((x**2).sum()), np.array([[2, 1], [0, -3]]), step=0.25).tolist() == [[4, 2], [0, -6]]


@pytest.mark.parametrize("module", [losses, reference_losses])
def test_a_name_without_a_formula_is_no_other_loss(monkeypatch, module):
    monkeypatch.setattr(losses, "LOSSES", (*losses.LOSSES, "mine"))
    with pytest.raises(ValueError, match="loss 'mine' is in LOSSES, and"):
        module.value_and_gradient("mine", A, Y, NEURON, SETTINGS)


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (2.0, False)])
def test_a_new_loss_has_a_row_that_differences_it(monkeypatch, factor, passes):
    """L = sum 1/2 a^2, with its gradient, and with twice its gradient."""

    def mine(loss, a, target, shard):
        return 0.5 * float((a**2).sum()), factor * a

    monkeypatch.setattr(losses, "LOSSES", (*losses.LOSSES, "mine"))
    monkeypatch.setattr(losses.Loss, "_value_and_gradient", mine)
    row = next(check for check in loss_checks.all_checks() if check.name == "loss-mine")
    assert row.run().passed == passes

"""AdamW against a few lines of NumPy, and the order clip, step, clamp."""

import numpy as np
import pytest
from tsslbp_ref.engine.workers import Workers

from tsslbp_ref.engine import fast_optim
from tsslbp_ref.model import optim
from tsslbp_ref.model.optim import AdamW, gradient_norm


def numpy_adamw(W, gradients, lr=5e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    """Loshchilov and Hutter's algorithm, unclipped."""
    W, m, v = W.copy(), np.zeros_like(W), np.zeros_like(W)
    for n, g in enumerate(gradients, start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        W -= lr * decay * W
        W -= lr * (m / (1 - beta1**n)) / (np.sqrt(v / (1 - beta2**n)) + epsilon)
    return W


@pytest.mark.parametrize("n_threads", [1, 2])
def test_against_numpy(n_threads, monkeypatch):
    monkeypatch.setattr(optim, "NUMBERS_A_THREAD", 8)
    rng = np.random.default_rng(0)
    W = rng.normal(size=(7, 5))
    gradients = [1e-2 * rng.normal(size=W.shape) for _ in range(20)]
    wanted = numpy_adamw(W, gradients)
    optimiser = AdamW([W], workers=Workers(n_threads))
    for gradient in gradients:
        assert optimiser.step([gradient]) == pytest.approx(np.linalg.norm(gradient))
    np.testing.assert_allclose(W, wanted, rtol=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("gradient_order", ["C", "F"])
def test_arrays_by_rows_and_by_columns(order, gradient_order):
    rng = np.random.default_rng(0)
    W = rng.normal(size=(7, 5))
    gradients = [1e-2 * rng.normal(size=W.shape) for _ in range(3)]
    updated = np.array(W, order=order)
    optimiser = AdamW([updated])
    for gradient in gradients:
        optimiser.step([np.asarray(gradient, order=gradient_order)])
    np.testing.assert_allclose(updated, numpy_adamw(W, gradients), rtol=1e-12)


def test_arrays_that_cannot_be_updated_in_place_are_named():
    W = np.ones((4, 6))
    with pytest.raises(ValueError, match="weights must be contiguous arrays, got strides"):
        AdamW([W[:, ::2]]).step([np.ones((4, 3))])


def test_a_weight_may_be_replaced_by_one_in_the_other_order():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(7, 5))
    gradients = [1e-2 * rng.normal(size=W.shape) for _ in range(4)]
    weights = [np.asfortranarray(W)]
    optimiser = AdamW(weights)
    for gradient in gradients:
        weights[0] = np.array(weights[0], order="C" if weights[0].flags.f_contiguous else "F")
        optimiser.step([gradient])
    np.testing.assert_allclose(weights[0], numpy_adamw(W, gradients), rtol=1e-12)


def test_the_norm_is_clipped_over_all_arrays_together():
    rng = np.random.default_rng(1)
    start = [rng.normal(size=(4, 3)), rng.normal(size=(2, 4))]
    gradients = [10.0 * rng.normal(size=W.shape) for W in start]
    clipped = [g / (gradient_norm(gradients) + 1e-6) for g in gradients]
    one, other = [W.copy() for W in start], [W.copy() for W in start]
    AdamW(one, epsilon=1.0).step(gradients)
    AdamW(other, epsilon=1.0, clip_norm=np.inf).step(clipped)
    for W, same in zip(one, other, strict=True):
        np.testing.assert_allclose(W, same, rtol=1e-12)
    unclipped = [W.copy() for W in start]
    AdamW(unclipped, epsilon=1.0, clip_norm=np.inf).step(gradients)
    assert not np.allclose(unclipped[0], one[0])


def test_weights_are_clamped_after_the_step():
    W = np.array([[3.9995, -3.9995, 0.0]])
    AdamW([W], learning_rate=0.01, weight_decay=0.0).step([np.array([[-1.0, 1.0, 0.5]])])
    assert W[0, 0] == 4.0
    assert W[0, 1] == -4.0
    assert W[0, 2] < 0.0


@pytest.mark.parametrize("n_threads", [1, 2, 3, 50])
def test_threads_share_every_layer_and_change_every_weight_once(n_threads):
    rng = np.random.default_rng(3)
    start = [rng.normal(size=size) for size in (7, 1, 12, 3)]
    alone, shared = ([(W.copy(), W.copy(), np.zeros_like(W), np.zeros_like(W)) for W in start] for _ in range(2))
    c = AdamW([start[0]]).update([start[0]]).constants
    fast_optim.adamw_part(tuple(alone), 0.5, c, 0, 1)
    for thread in range(n_threads):
        fast_optim.adamw_part(tuple(shared), 0.5, c, thread, n_threads)
    for one, other, W in zip(alone, shared, start, strict=True):
        assert (one[0] != W).all()
        for array, same in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, same)


@pytest.mark.parametrize("clip_norm", [1.0, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_update_within_a_loop_is_a_step(clip_norm, dtype):
    rng = np.random.default_rng(4)
    start = [np.asfortranarray(rng.normal(size=shape).astype(dtype)) for shape in ((4, 3), (2, 4))]
    one, other = ([W.copy(order="F") for W in start] for _ in range(2))
    stepping, updating = AdamW(one, clip_norm=clip_norm), AdamW(other, clip_norm=clip_norm)
    for _ in range(3):
        gradients = [np.asfortranarray(rng.normal(size=W.shape).astype(dtype)) for W in start]
        stepping.step(gradients)
        assert fast_optim.update_part(updating.update(gradients), 0, 1)
    assert updating.n_steps == stepping.n_steps == 3
    for W, same, before in zip(one, other, start, strict=True):
        assert (before != W).all()
        np.testing.assert_allclose(same, W, rtol=4 * np.finfo(dtype).eps)


def test_an_update_of_a_norm_that_is_not_finite_changes_nothing():
    W = np.asfortranarray(np.ones((2, 3)))
    optimiser = AdamW([W])
    assert not fast_optim.update_part(optimiser.update([np.asfortranarray(np.full((2, 3), 1e200))]), 0, 1)
    assert (W == 1.0).all()
    assert not optimiser.means[0].any()


def test_few_weights_wake_no_thread():
    few, enough = (np.zeros(2 * optim.NUMBERS_A_THREAD - short) for short in (1, 0))
    optimiser = AdamW([few], workers=Workers(2))
    assert optimiser._worth_waking([(few,) * 4]) == 1
    assert optimiser._worth_waking([(enough,) * 4]) == 2
    assert optimiser._worth_waking([(enough[1:],) * 4, (few[:1],) * 4]) == 2


def test_weights_of_two_precisions_are_clipped_together():
    rng = np.random.default_rng(2)
    start = [rng.normal(size=(4, 3)), rng.normal(size=(3, 2))]
    gradients = [10.0 * rng.normal(size=W.shape) for W in start]
    wanted, mixed = [W.copy() for W in start], [start[0].astype("float32"), start[1].copy()]
    AdamW(wanted, epsilon=1.0).step(gradients)
    AdamW(mixed, epsilon=1.0).step([gradients[0].astype("float32"), gradients[1]])
    assert [W.dtype for W in mixed] == ["float32", "float64"]
    for W, same in zip(mixed, wanted, strict=True):
        np.testing.assert_allclose(W, same, rtol=1e-6)

"""AdamW against a few lines of NumPy, and the order clip, step, clamp."""

import numpy as np
import pytest

from tsslbp_ref.engine import FastEngine
from tsslbp_ref.model.optim import AdamW, gradient_norm


def numpy_adamw(W, gradients, lr=5e-4, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.01):
    """Loshchilov and Hutter's algorithm, unclipped."""
    W, m, v = W.copy(), np.zeros_like(W), np.zeros_like(W)
    for n, g in enumerate(gradients, start=1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        W -= lr * decay * W
        W -= lr * (m / (1 - beta1**n)) / (np.sqrt(v / (1 - beta2**n)) + epsilon)
    return W


@pytest.mark.parametrize("engine", [None, FastEngine(2)], ids=["alone", "by an engine"])
def test_against_numpy(engine):
    rng = np.random.default_rng(0)
    start = [rng.normal(size=shape) for shape in ((7, 5), (1, 1), (2, 3))]
    gradients = [[1e-2 * rng.normal(size=W.shape) for W in start] for _ in range(20)]
    weights = [W.copy() for W in start]
    optimiser = AdamW(weights)
    for each in gradients:
        if engine is None:
            assert optimiser.step(each) == pytest.approx(np.sqrt(sum(np.sum(g**2) for g in each)))
        else:
            engine.update(optimiser, each)
    assert optimiser.n_steps == 20
    for k, W in enumerate(weights):
        np.testing.assert_allclose(W, numpy_adamw(start[k], [each[k] for each in gradients]), rtol=1e-12)


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


@pytest.mark.parametrize(
    ("W", "message"),
    [
        ([[1.0, 2.0]], r"weights\[0\] must be an array, got list"),
        (np.ma.ones((2, 3)), r"weights\[0\] must be an array, got MaskedArray"),
        (np.full((2, 3), 3), r"weights\[0\] must hold native float32 or float64 numbers, got dtype <i8"),
        (np.ones((2, 3), bool), r"weights\[0\] must hold native float32 or float64 numbers, got dtype \|b1"),
        (np.ones((2, 3), ">f8"), r"weights\[0\] must hold native float32 or float64 numbers, got dtype >f8"),
        (np.ones((2, 3), "float16"), r"weights\[0\] must hold native float32 or float64 numbers, got dtype <f2"),
        (np.ones((2, 3), "longdouble"), r"weights\[0\] must hold native float32 or float64 numbers, got dtype <f16"),
        (np.array([[1.0, np.nan]]), r"weights\[0\] must be finite, got nan at index \[0, 1\]"),
        (np.ones((4, 6))[:, ::2], r"weights\[0\] must be a contiguous array, got strides \(48, 16\)"),
        (np.broadcast_to(1.0, (2, 3)), r"weights\[0\] must be writeable, got a read-only array"),
        (np.lib.stride_tricks.as_strided(np.ones(3), (2, 3), (0, 8)), r"weights\[0\] must be a contiguous array"),
        (np.frombuffer(bytes(8)), r"weights\[0\] must be writeable, got a read-only array"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_arrays_that_cannot_be_updated_in_place_are_named(W, message):
    with pytest.raises((ValueError, TypeError), match=message):
        AdamW([W])


def test_a_weight_that_was_replaced_by_another_kind_is_named():
    optimiser, W = AdamW([np.ones((2, 3))]), np.ones((2, 3))
    W.flags.writeable = False
    optimiser.weights[0] = W
    with pytest.raises(ValueError, match=r"weights\[0\] must be writeable, got a read-only array"):
        optimiser.step([np.ones((2, 3))])
    assert optimiser.n_steps == 0


def test_weights_on_disk(tmp_path):
    np.save(tmp_path / "W.npy", np.ones((2, 3)))
    for mode, kind in (("r", "memmap"), ("r+", "memmap")):
        with pytest.raises(TypeError, match=rf"weights\[0\] must be an array, got {kind}"):
            AdamW([np.load(tmp_path / "W.npy", mmap_mode=mode)])
    with pytest.raises(ValueError, match=r"weights\[0\] must be writeable, got a read-only array"):
        AdamW([np.asarray(np.load(tmp_path / "W.npy", mmap_mode="r"))])


@pytest.mark.parametrize(
    ("gradient", "message"),
    [
        ([[1.0, 1.0]], r"gradients\[0\] must be an array, got list"),
        (np.ones((1, 2), "float32"), r"gradients\[0\] must be float64 as weights\[0\], got dtype <f4"),
        (np.ones((1, 2), ">f8"), r"gradients\[0\] must be float64 as weights\[0\], got dtype >f8"),
        (np.ones((1, 2), int), r"gradients\[0\] must be float64 as weights\[0\], got dtype <i8"),
        (np.ones((2, 1)), r"gradients\[0\] must have shape \(1, 2\) to match weights\[0\], got \(2, 1\)"),
        (np.full((1, 2), 1e200), "gradients must be finite, got a norm of inf"),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
@pytest.mark.filterwarnings("error")
def test_gradients_that_do_not_fit_change_nothing(gradient, message):
    W = np.ones((1, 2))
    optimiser = AdamW([W])
    with pytest.raises((ValueError, TypeError), match=message):
        optimiser.step([gradient])
    assert (W == 1.0).all()
    assert not optimiser.means[0].any()
    assert optimiser.n_steps == 0
    with pytest.raises(ValueError, match="gradients must be 1 arrays, got 2"):
        optimiser.step([np.ones((1, 2))] * 2)


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

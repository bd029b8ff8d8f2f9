"""The threads that share a mini-batch: order, errors, one BLAS thread for as long as any of them computes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from tsslbp_ref.engine.workers import Workers

import tsslbp_ref as tr
from tsslbp_ref.engine import buffers
from tsslbp_ref.model import network as network_module
from tsslbp_ref.model.layers import Conv2d, Dense, SumPool2d
from tsslbp_ref.model.network import Network


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("n_items", [0, 1, 2, 7])
def test_results_come_in_the_items_order(n_threads: int, n_items: int) -> None:
    assert Workers(n_threads).map(lambda item: item**2, range(n_items)) == [item**2 for item in range(n_items)]


def test_the_calling_thread_takes_the_first_item() -> None:
    threads = Workers(2).map(lambda _: threading.get_ident(), range(2))
    assert threads[0] == threading.get_ident() != threads[1]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_waits_for_the_others(failing: int) -> None:
    ended = []

    def work(item: int) -> None:
        if item == failing:
            raise ArithmeticError(f"item {item}")
        threading.Event().wait(0.05)
        ended.append(item)

    with pytest.raises(ArithmeticError, match=f"item {failing}"):
        Workers(2).map(work, range(2))
    assert ended == [1 - failing]


def test_blas_has_one_thread_while_the_items_are_worked_on() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        assert blas_threads() == {2}
        assert Workers(2).map(lambda _: blas_threads(), range(2)) == [{1}, {1}]
        assert blas_threads() == {2}


def test_a_test_pass_of_many_shards_uses_every_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_module, "SHARD_BYTES", 1)
    net = Network.from_spec("5", (1, 3, 3), 2, 4, tr.NeuronParameters(), n_threads=2, dtype="float64")
    given = []
    monkeypatch.setattr(net.workers, "map", lambda function, items: given.extend(items) or [function(i) for i in given])
    x = np.random.default_rng(0).normal(size=(7, 1, 3, 3))
    a = net.forward(x)
    assert given == [0, 1]
    monkeypatch.setattr(network_module, "SHARD_BYTES", 1 << 28)
    np.testing.assert_allclose(a, Network.forward(net, x), rtol=1e-12)


def test_a_weight_that_no_event_touches_must_be_finite_too() -> None:
    net = Network.from_spec("4", (60, 1, 1), 3, 5, tr.NeuronParameters(), n_threads=1)
    x = np.zeros((5, 2, 60, 1, 1), dtype=np.uint8)
    x[:, :, :2] = 1
    net.forward(x)
    net.weights[0][:, 50] = np.nan
    with pytest.raises(ValueError, match=r"weights\[0\] must be finite"):
        net.forward(x)
    with pytest.raises(ValueError, match=r"weights\[0\] must be finite"):
        net.loss_and_gradients(x, [0, 1])


LAYERS = [Dense((2, 4, 4), 3), Conv2d((2, 4, 4), 3, 3, 1), SumPool2d((2, 4, 4), 2)]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_layer_says_where_it_cannot_write(layer) -> None:
    rng = np.random.default_rng(0)
    W = None if layer.weight_shape is None else rng.normal(size=layer.weight_shape)
    x, y = rng.normal(size=(5, *layer.input_shape)), rng.normal(size=(5, *layer.output_shape))
    with pytest.raises(ValueError, match="out must be contiguous, got strides"):
        layer.forward(x, W, np.empty((10, *layer.output_shape))[::2])
    with pytest.raises(ValueError, match="out must be contiguous, got strides"):
        layer.adjoint(y, W, np.empty((10, *layer.input_shape))[::2])


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_a_layer_takes_integers_for_floats(layer) -> None:
    rng = np.random.default_rng(0)
    W = None if layer.weight_shape is None else rng.normal(size=layer.weight_shape)
    x, y = rng.integers(-3, 4, (5, *layer.input_shape)), rng.integers(-3, 4, (5, *layer.output_shape))
    np.testing.assert_array_equal(layer.forward(x, W), layer.forward(x.astype(float), W))
    np.testing.assert_array_equal(layer.adjoint(y, W), layer.adjoint(y.astype(float), W))


@pytest.mark.parametrize("dtype", [">i2", ">f4", "<u4", "?"])
def test_events_are_found_in_any_byte_order(dtype: str) -> None:
    s = (np.random.default_rng(0).random((4, 3, 20)) < 0.2).astype(dtype)
    events = tr.fast_events.find_events(s, np.float32)
    assert events is not None
    np.testing.assert_array_equal(events.dense(), s.astype(np.float32))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (3, 5), (1000, 100)])
def test_arrays_start_with_a_cache_line(shape: tuple[int, ...], dtype: str) -> None:
    array = buffers.aligned(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.size == 0 or array.ctypes.data % buffers.CACHE_LINE_BYTES == 0

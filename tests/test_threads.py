"""The threads that share a mini-batch: order, errors, and their memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tsslbp_ref.engine import threads
from tsslbp_ref.engine.threads import BufferPool, Buffers, Threads


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("n_items", [0, 1, 2, 7])
def test_results_come_in_the_items_order(n_threads: int, n_items: int) -> None:
    assert Threads(n_threads).map(lambda item: item**2, range(n_items)) == [item**2 for item in range(n_items)]


def test_the_calling_thread_takes_the_first_item() -> None:
    found = Threads(2).map(lambda _: threading.get_ident(), range(2))
    assert found[0] == threading.get_ident() != found[1]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_waits_for_the_others(failing: int) -> None:
    ended, begun = [], threading.Event()

    def work(item: int) -> None:
        if item == failing:
            begun.wait()
            raise ArithmeticError(f"item {item}")
        begun.set()
        threading.Event().wait(0.05)
        ended.append(item)

    with pytest.raises(ArithmeticError, match=f"item {failing}"):
        Threads(2).map(work, range(2))
    assert ended == [1 - failing]


@pytest.mark.parametrize(("n_threads", "largest", "lengths"), [(1, None, [7]), (2, 2, [1, 2, 2, 2]), (3, 9, [2, 2, 3])])
def test_shards_are_as_many_for_every_thread(n_threads: int, largest: int | None, lengths: list[int]) -> None:
    shards = Threads(n_threads).shards(7, largest)
    assert [shard.stop - shard.start for shard in shards] == lengths
    assert (shards[0].start, shards[-1].stop) == (0, 7)


def test_a_buffer_is_the_same_memory_until_more_is_asked_for() -> None:
    buffers = Buffers()
    first = buffers.take("u", (3, 4), np.float32)
    assert np.shares_memory(first, buffers.take("u", (2, 3), np.float32))
    assert not np.shares_memory(first, buffers.take("a", (3, 4), np.float32))
    assert not np.shares_memory(first, buffers.take("u", (4, 4), np.float32))
    assert buffers.take("u", (4, 4), np.float64).dtype == np.float64


def test_borrowed_buffers_are_not_lent_twice() -> None:
    pool = BufferPool()
    with pool.borrow() as one, pool.borrow() as other:
        assert one is not other
    with pool.borrow() as again:
        assert again in (one, other)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (1000, 100)])
def test_arrays_start_with_a_cache_line(shape: tuple[int, ...], dtype: str) -> None:
    array = threads.aligned(shape, dtype)
    assert (array.shape, array.dtype) == (shape, dtype)
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.size == 0 or array.ctypes.data % threads.CACHE_LINE_BYTES == 0

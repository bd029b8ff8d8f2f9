"""The threads that share a mini-batch: order, errors, one BLAS thread while any of them computes, and their memory."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tsslbp_ref.engine import threads
from tsslbp_ref.engine.threads import BufferPool, Buffers, Threads, one_blas_thread


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


# ---------------------------------------------------------------------------------------------------------------------
# Threads
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("n_items", [0, 1, 2, 7])
def test_results_come_in_the_items_order(n_threads: int, n_items: int) -> None:
    assert Threads(n_threads).map(lambda item: item**2, range(n_items)) == [item**2 for item in range(n_items)]


def test_the_calling_thread_takes_the_first_item() -> None:
    found = Threads(2).map(lambda _: threading.get_ident(), range(2))
    assert found[0] == threading.get_ident() != found[1]


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_waits_for_the_others(failing: int) -> None:
    ended = []

    def work(item: int) -> None:
        if item == failing:
            raise ArithmeticError(f"item {item}")
        threading.Event().wait(0.05)
        ended.append(item)

    with pytest.raises(ArithmeticError, match=f"item {failing}"):
        Threads(2).map(work, range(2))
    assert ended == [1 - failing]


def test_a_forked_process_starts_threads_of_its_own() -> None:
    pool = Threads(2)
    pool.map(abs, range(2))
    child = os.fork()
    if child == 0:
        os._exit(0 if pool.map(abs, [-1, -2]) == [1, 2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(("n_threads", "largest", "lengths"), [(1, None, [7]), (2, 2, [1, 2, 2, 2]), (3, 9, [2, 2, 3])])
def test_shards_are_as_many_for_every_thread(n_threads: int, largest: int | None, lengths: list[int]) -> None:
    shards = Threads(n_threads).shards(7, largest)
    assert [shard.stop - shard.start for shard in shards] == lengths
    assert (shards[0].start, shards[-1].stop) == (0, 7)


# ---------------------------------------------------------------------------------------------------------------------
# BLAS
# ---------------------------------------------------------------------------------------------------------------------


def test_blas_has_one_thread_while_the_items_are_worked_on() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        assert Threads(2).map(lambda _: blas_threads(), range(2)) == [{1}, {1}]
        assert blas_threads() == {2}


def test_any_thread_may_limit_blas() -> None:
    """Also where another one has set a limit before: threadpoolctl lets the first thread alone."""

    def limited() -> set[int]:
        with one_blas_thread():
            return blas_threads()

    with threadpool_limits(limits=2, user_api="blas"), ThreadPoolExecutor(1) as pool:
        assert limited() == {1}
        assert pool.submit(limited).result() == {1}
        assert limited() == {1}
        assert blas_threads() == {2}


def test_the_limit_on_blas_lasts_until_the_last_holder_has_left() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        first, second = one_blas_thread(), one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == {2}


@pytest.mark.parametrize("method", ["hold", "release"])
def test_an_interrupt_gives_blas_its_threads_back(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C right behind the limit, and right before its end."""
    limit = threads._BLAS_LIMIT
    original = getattr(limit, method)

    def interrupted(holder: object) -> None:
        original(holder)
        monkeypatch.undo()
        raise KeyboardInterrupt

    with threadpool_limits(limits=2, user_api="blas"):
        monkeypatch.setattr(limit, method, interrupted)
        with pytest.raises(KeyboardInterrupt), one_blas_thread():
            pass
        assert blas_threads() == {2}


# ---------------------------------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------------------------------


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

"""A mini-batch in shards, one a thread, and the memory that a thread keeps from one mini-batch to the next.

The compiled loops and BLAS both release the interpreter lock, so a thread takes a shard through the whole network. BLAS
runs on one thread meanwhile: two thread pools on the same cores fight for them.
"""

from __future__ import annotations

import _thread
import itertools
import math
import os
import time
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine.blas import Lock, one_blas_thread

Array = npt.NDArray[Any]
Item = TypeVar("Item")
Result = TypeVar("Result")

WAIT_S = 1e-4  # for other threads, after an error
CACHE_LINE_BYTES = 64  # on x86 and most ARM processors


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Threads:
    """Threads that take shards in order.

    Parameters
    ----------
    n_threads : int, optional
        As many as there are cores if not given.

    Raises
    ------
    ValueError, TypeError
        If n_threads is not a positive integer of up to eight a core.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        n_cores = available_cores()
        self.n_threads = n_cores if n_threads is None else checks.thread_count("n_threads", n_threads, n_cores)
        self._tasks: SimpleQueue[Any] | None = None
        self._process = 0  # whose threads take the tasks

    def shards(self, batch: int, largest: int | None = None) -> list[slice]:
        """Cut a batch into runs of neighbours, as many as there are threads; the same cut for the same count.

        Where a run would be longer than `largest`, every thread gets two, or three, and so on.
        """
        n_shards = min(self.n_threads, batch)
        if largest is not None:
            rounds = math.ceil(batch / (n_shards * largest))
            n_shards = min(n_shards * rounds, batch)
        edges = [batch * k // n_shards for k in range(n_shards + 1)]
        return [slice(start, stop) for start, stop in itertools.pairwise(edges)]

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Call the function on every item, in threads, and return the results in the items' order.

        The calling thread takes the first item itself: it is awake, and waking another takes as long as a small layer.
        """
        items = list(items)
        with one_blas_thread():
            if self.n_threads == 1 or len(items) < 2:
                return [function(item) for item in items]
            tasks, shared = self._own_tasks(), _Shared(function)
            try:
                for number, item in enumerate(items[1:], start=1):
                    tasks.put((shared, number, item))
                results = {0: function(items[0])}
                while len(results) < len(items):
                    number, result, error = shared.done.get()
                    if error is not None:
                        raise error
                    results[number] = result
                return [results[number] for number in range(len(items))]
            finally:
                shared.close()  # also after an error or an interrupt: nobody writes on into arrays that the caller has

    def _own_tasks(self) -> SimpleQueue[Any]:
        """Return the queue of the running process's threads: threads do not come along where a process is forked.

        Queue and start of a thread are written in C, so that a call is whole or not made: an interrupt within
        ThreadPoolExecutor's `submit` can leave a lock held, one within `Thread.start` can become a RuntimeError.
        """
        if self._tasks is None or self._process != os.getpid():
            tasks: SimpleQueue[Any] = SimpleQueue()
            for _ in range(self.n_threads - 1):
                weakref.finalize(self, tasks.put, None)  # the thread ends with this object
                _thread.start_new_thread(_work, (tasks,))
            self._tasks, self._process = tasks, os.getpid()
        return self._tasks


def _work(tasks: SimpleQueue[Any]) -> None:
    """Take tasks until there is a None among them."""
    while (task := tasks.get()) is not None:
        shared, number, item = task
        shared(number, item)
        del task, shared, item  # a waiting thread keeps no arrays alive


class _Shared:
    """A function that threads call until it is closed.

    Each call puts its number, and its result or its error, into `done`.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self.done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
        self._lock = Lock()
        self._n_running = 0
        self._closed = False

    def __call__(self, number: int, item: Any) -> None:
        with self._lock:
            if self._closed:
                return
            self._n_running += 1
        try:
            self.done.put((number, self._function(item), None))
        except BaseException as error:  # the caller's to see, whatever it is
            self.done.put((number, None, error))
        finally:
            with self._lock:
                self._n_running -= 1

    def close(self) -> None:
        """Let no further call begin, and wait for those that have begun, through any further interrupt."""
        interrupt = None
        while True:
            try:
                with self._lock:
                    self._closed = True
                    if not self._n_running:
                        break
                time.sleep(WAIT_S)
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


# ---------------------------------------------------------------------------------------------------------------------
# Memory
# ---------------------------------------------------------------------------------------------------------------------


def aligned(shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return an array of any content that starts with a cache line, so that a sweep's vectors do not lie across two.

    Without it a step of W1 takes 6.8 % longer.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    raw = np.empty(n_bytes + CACHE_LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % CACHE_LINE_BYTES
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


class Buffers:
    """The memory of a thread's last pass, as long as it is large enough.

    A large array that is made anew comes in fresh memory pages, and the operating system's work on them can cost more
    than the sweep that fills them. Without it a step of W1 takes 68.1 % longer, a step of W2 takes 12.4 % longer.
    """

    def __init__(self) -> None:
        self._flat: dict[Hashable, Array] = {}

    def take(self, key: Hashable, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """Return an array of any content; a key is taken once in a pass."""
        size = math.prod(shape)
        flat = self._flat.get(key)
        if flat is None or flat.size < size or flat.dtype != dtype:
            self._flat.pop(key, None)  # the old one goes before the new one comes
            self._flat[key] = flat = aligned((size,), dtype)
        return flat[:size].reshape(shape)


class BufferPool:
    """Buffers that are borrowed for one pass: two passes at a time never write to the same memory."""

    def __init__(self) -> None:
        self._free: list[Buffers] = []

    @contextmanager
    def borrow(self) -> Iterator[Buffers]:
        """Hand out buffers until the end of the block."""
        try:
            buffers = self._free.pop()
        except IndexError:
            buffers = Buffers()
        try:
            yield buffers
        finally:
            self._free.append(buffers)

"""A mini-batch in shards, one a thread: the one pool of this project.

The compiled loops and BLAS both release the interpreter lock, so a thread takes a shard through the whole network.
BLAS runs on one thread meanwhile: two pools on the same cores fight for them.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import ThreadpoolController

from tsslbp_ref import checks

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """Threads that take shards in order.

    The number of BLAS threads is the whole process's. Passes that threads of your own start at the same time may leave
    it at one after they have ended.

    Parameters
    ----------
    n_threads : int, optional
        As many as there are cores if not given.

    Raises
    ------
    ValueError, TypeError
        If n_threads is not a positive integer.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        self.n_threads = available_cores() if n_threads is None else checks.positive_integer("n_threads", n_threads)
        self._blas = ThreadpoolController().select(user_api="blas").lib_controllers
        self._pool = ThreadPoolExecutor(self.n_threads - 1) if self.n_threads > 1 else None

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
        with self._one_blas_thread():
            if self._pool is None:
                return [function(item) for item in items]
            items = list(items)
            futures = [self._pool.submit(function, item) for item in items[1:]]
            try:
                results = [function(item) for item in items[:1]]
            finally:
                for future in futures:
                    future.exception()  # waits, also after an error: nobody writes on into arrays that the caller has
            return results + [future.result() for future in futures]

    @contextmanager
    def _one_blas_thread(self) -> Iterator[None]:
        """Limit BLAS to one thread until the end of the block, and to what it had after it.

        `ThreadpoolController.limit` does the same, but asks every library for all that it can tell, and a short step
        feels that.
        """
        before = [library.num_threads for library in self._blas]
        for library in self._blas:
            library.set_num_threads(1)
        try:
            yield
        finally:
            for library, n_threads in zip(self._blas, before, strict=True):
                library.set_num_threads(n_threads)

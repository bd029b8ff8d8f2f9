"""A mini-batch in shards, one a thread: the one pool of this project.

The compiled loops and BLAS both release the interpreter lock, so a thread takes a shard through the whole network.
BLAS runs on one thread meanwhile: two pools on the same cores fight for them.

`Workers.map` calls any function in threads; `Workers.together` calls a compiled loop, and does so with less delay.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

from tsslbp_ref import checks
from tsslbp_ref.engine.fast_together import CALL, Place, alone, dismiss, new_flags

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
        self._start()

    def _start(self) -> None:
        """Make the pool; its threads start when they are first needed."""
        self._process = os.getpid()
        self._one_call = threading.Lock()
        self._pool = ThreadPoolExecutor(self.n_threads - 1) if self.n_threads > 1 else None
        self._flags, self._call = new_flags(self.n_threads), 0
        self._followers = [] if self._pool is None else [_Follower(self._pool) for _ in range(1, self.n_threads)]

    def _own_threads(self) -> None:
        """Threads do not come along where a process is forked, and what is handed to them there would never be done."""
        if os.getpid() != self._process:
            self._start()

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
        self._own_threads()
        with self.one_blas_thread():
            if self._pool is None:
                return [function(item) for item in items]
            if self._one_call.acquire(blocking=False):  # who watches for a call of `together` is needed here
                dismiss(self._flags, self._call)
                self._one_call.release()
            items = list(items)
            futures = [self._pool.submit(function, item) for item in items[1:]]
            try:
                results = [function(item) for item in items[:1]]
            finally:
                for future in futures:
                    future.exception()  # waits, also after an error: nobody writes on into arrays that the caller has
            return results + [future.result() for future in futures]

    def together(self, loop: Callable[..., bool], arguments: Sequence[tuple[Any, ...]]) -> None:
        """Call a compiled loop with several tuples of arguments at the same time, each in a thread.

        BLAS is left as it is: a loop that calls it is to be called within `one_blas_thread`.

        Parameters
        ----------
        loop : callable
            Takes a `fast_together.Place` before its arguments, begins with `fast_together.begin` and returns what
            `fast_together.end` returns.
        arguments : sequence of tuple
            At most as many as there are threads. The calling thread takes the first.

        Raises
        ------
        ValueError
            If there are more.
        """
        self._own_threads()
        if len(arguments) == 1:
            loop(alone(), *arguments[0])
        elif len(arguments) > self.n_threads:
            raise ValueError(f"arguments must be for {self.n_threads} threads at most, got {len(arguments)}")
        else:
            with self._one_call:
                self._call_together(loop, arguments)

    def _call_together(self, loop: Callable[..., bool], arguments: Sequence[tuple[Any, ...]]) -> None:
        self._call += CALL
        n_threads, all_ended = len(arguments), False
        followers = self._followers[: n_threads - 1]
        for thread, (follower, own) in enumerate(zip(followers, arguments[1:], strict=True), start=1):
            follower.post(loop, (Place(self._flags, thread, n_threads, self._call), *own))
        try:
            all_ended = loop(Place(self._flags, 0, n_threads, self._call), *arguments[0])
        finally:
            if not all_ended:
                dismiss(self._flags, self._call)
                for follower in followers:
                    follower.join()

    @contextmanager
    def one_blas_thread(self) -> Iterator[None]:
        """Limit BLAS to one thread until the end of the block, and to what it had after it.

        `ThreadpoolController.limit` does the same, but asks every library for all that it can tell, and a short step
        feels that.
        """
        to_limit = [(library, n) for library in self._blas if (n := library.num_threads) != 1]
        for library, _ in to_limit:
            library.set_num_threads(1)
        try:
            yield
        finally:
            for library, n_threads in to_limit:
                library.set_num_threads(n_threads)


class _Follower:
    """A thread's part in `Workers.together`: it takes what is posted, and leaves when nothing more comes."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._posted: tuple[Callable[..., bool], tuple[Any, ...]] | None = None
        self._watches = False
        self._following: Future[None] = Future()

    def post(self, loop: Callable[..., bool], arguments: tuple[Any, ...]) -> None:
        """Hand over a call, to the thread that watches for it or to one that is woken."""
        with self._lock:
            self._posted = (loop, arguments)
            if not self._watches:
                self._watches = True
                self._following = self._pool.submit(self._follow)

    def join(self) -> None:
        """Wait until the thread has left, and raise what it raised."""
        self._following.result()

    def _follow(self) -> None:
        try:
            while posted := self._take():
                loop, arguments = posted
                loop(*arguments)
        except BaseException:
            with self._lock:
                self._watches = False
            raise

    def _take(self) -> tuple[Callable[..., bool], tuple[Any, ...]] | None:
        """Take what has been posted; a thread that finds nothing has left."""
        with self._lock:
            posted, self._posted = self._posted, None
            self._watches = posted is not None
            return posted

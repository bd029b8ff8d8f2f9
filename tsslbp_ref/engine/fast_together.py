"""Compiled loops that several threads begin and end together, without the interpreter lock.

A thread that comes back to Python waits for the lock, and one that sleeps takes tens of microseconds to wake; on a step
of some milliseconds both are felt. So a call's arguments are laid out beforehand for every thread
(`workers.Workers.together`). The calling thread lets the others go from within its own compiled loop, when it has given
up the lock. The others, at the end of theirs, say that they are done, and watch for a while for the next call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref.jit import compiled, give_way, pause, read_flag, set_flag

PAUSES_A_YIELD = 64  # 1 to 3 us on x86, after which another thread may have the core
YIELDS_A_WAIT = 1 << 10  # 1 to 3 ms where no thread wants the core; a wait that lasts longer goes on asleep
FLAG_STRIDE = 8  # a thread's flags are a cache line, so that threads do not fetch one another's
CALL = 2  # from one call's number to the next; the number between them says that the first is over


class Place(NamedTuple):
    """A thread's place in a call.

    Parameters
    ----------
    flags : (n_threads FLAG_STRIDE,) array of int64
        A line a thread. Of another than the calling thread it holds the last call that the thread has ended, and then,
        stage by stage, the last in which it came to `meet`. The calling thread's holds the call that has begun, and
        one number more when it is over; and then, for every stage, twice the call, and one more if all met.
    thread : int
        0 for the calling thread.
    n_threads : int
        Of this call.
    call : int
        Its number, a multiple of `CALL`; they grow.
    """

    flags: npt.NDArray[np.int64]
    thread: int
    n_threads: int
    call: int


def new_flags(n_threads: int) -> npt.NDArray[np.int64]:
    """Flags of threads that have not been called yet."""
    return np.zeros(n_threads * FLAG_STRIDE, np.int64)


def alone() -> Place:
    """The place of a thread that has no others beside it."""
    return Place(new_flags(1), 0, 1, CALL)


def dismiss(flags: npt.NDArray[np.int64], call: int) -> None:
    """Say that a call is over: nobody waits for the calling thread, or watches for its next call, any more."""
    flags[0] = call + 1


@compiled
def part(n: int, thread: int, n_threads: int) -> slice:
    """A thread's part of n things in a row."""
    return slice(n * thread // n_threads, n * (thread + 1) // n_threads)


@compiled
def begin(place: Place) -> None:
    """First in a loop: let the other threads go."""
    if place.thread == 0:
        set_flag(place.flags, 0, place.call)


@compiled
def meet(place: Place, stage: int) -> bool:
    """Wait for one another; True for every thread, or False for every thread where one is late.

    The calling thread gives up where another is late, and so never waits for one that may not come; the others wait for
    it, who lets them go on, here or by `dismiss`, whatever happens to it.

    Parameters
    ----------
    place : Place
    stage : int
        1 for the first time that the threads meet in a call, 2 for the second, and so on, up to FLAG_STRIDE - 1.
    """
    flags, call = place.flags, place.call
    if place.thread == 0:
        all_here = _wait_for_others(place, stage)
        set_flag(flags, stage, 2 * call + all_here)
        return all_here
    set_flag(flags, place.thread * FLAG_STRIDE + stage, call)
    while not wait_for(flags, stage, 2 * call) and read_flag(flags, 0) <= call:
        pass
    return read_flag(flags, stage) == 2 * call + 1


@compiled
def end(place: Place) -> bool:
    """Last in a loop: wait for the other threads, or say that this one has ended and watch for the next call.

    Returns whether all have ended.
    """
    if place.thread == 0:
        return _wait_for_others(place, 0)
    set_flag(place.flags, place.thread * FLAG_STRIDE, place.call)
    wait_for(place.flags, 0, place.call + 1)
    return True


@compiled
def _wait_for_others(place: Place, stage: int) -> bool:
    all_here = True
    for thread in range(1, place.n_threads):
        all_here = all_here and wait_for(place.flags, thread * FLAG_STRIDE + stage, place.call)
    return all_here


@compiled
def wait_for(flags: npt.NDArray[Any], i: int, call: int) -> bool:
    """Return True when a flag has reached a call, and False after a while."""
    for _ in range(YIELDS_A_WAIT):
        for _ in range(PAUSES_A_YIELD):
            if read_flag(flags, i) >= call:
                return True
            pause()
        give_way()
    return False

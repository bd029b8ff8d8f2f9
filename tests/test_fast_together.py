"""Loops that several threads begin and end together: who takes part, who waits, errors, late threads, forks."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from tsslbp_ref.engine import workers as workers_module
from tsslbp_ref.engine.fast_together import CALL, FLAG_STRIDE, Place, alone, begin, end, meet
from tsslbp_ref.engine.workers import Workers

CHILD_S = 60
LATE_S = 0.1  # some hundred times as long as a thread takes to wake


def noted(notes: dict[int, tuple[int, bool]], before: Callable[[int], None] = lambda thread: None) -> Callable:
    """A loop that notes, by its place, in which thread it ran and whether all met."""

    def loop(place: Place, factor: int) -> bool:
        begin(place)
        before(place.thread)
        notes[place.thread] = (factor * threading.get_ident(), meet(place, 1))
        return end(place)

    return loop


def agreed(notes: dict[int, tuple[int, bool]]) -> bool:
    """Whether all met, about which they must agree."""
    (met,) = {met for _, met in notes.values()}
    return met


def works(workers: Workers) -> bool:
    """Whether two threads take part in a call, and meet in one of some."""
    by_call = [{} for _ in range(50)]
    for notes in by_call:
        workers.together(noted(notes), [(1,), (1,)])
    return all(len(notes) == 2 for notes in by_call) and any(agreed(notes) for notes in by_call)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_every_tuple_of_arguments_has_a_thread(n_threads):
    workers, by_call = Workers(n_threads), []
    for _ in range(20):
        notes = {}
        workers.together(noted(notes), [(1,)] * n_threads)
        by_call.append(notes)
    for notes in by_call:
        threads = [notes[k][0] for k in range(n_threads)]
        assert threads[0] == threading.get_ident()
        assert not agreed(notes) or len(set(threads)) == n_threads
    assert n_threads > 2 or any(agreed(notes) for notes in by_call)  # on a busy machine some come late


def test_arguments_go_to_their_places():
    notes = {}
    Workers(3).together(noted(notes), [(0,), (1,)])
    assert notes[0][0] == 0
    assert notes[1][0] not in (0, threading.get_ident())


def test_more_arguments_than_threads_are_an_error():
    with pytest.raises(ValueError, match="arguments must be for 2 threads at most, got 3"):
        Workers(2).together(noted({}), [(1,)] * 3)


def test_a_late_thread(monkeypatch):
    """The calling thread does not wait long for another in the middle; nobody goes on then, and at last it waits."""
    given_up = threading.Event()
    right = workers_module.dismiss
    monkeypatch.setattr(workers_module, "dismiss", lambda *arguments: (right(*arguments), given_up.set()))
    notes, workers = {}, Workers(2)
    workers.together(noted(notes, lambda thread: given_up.wait() if thread == 1 else None), [(1,), (1,)])
    assert len(notes) == 2
    assert agreed(notes) is False
    assert works(workers)


def test_the_others_wait_for_the_calling_thread():
    notes, workers = {}, Workers(2)

    def come_last(thread: int) -> None:
        deadline = time.monotonic() + CHILD_S
        while thread == 0 and workers._flags[FLAG_STRIDE + 1] < workers._call and time.monotonic() < deadline:
            time.sleep(LATE_S)

    workers.together(noted(notes, come_last), [(1,), (1,)])
    assert agreed(notes)
    assert works(workers)


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_waits_for_the_others_and_harms_no_call_after(failing):
    workers, notes = Workers(2), {}

    def fail(thread: int) -> None:
        time.sleep(0.0 if thread == failing else LATE_S)
        if thread == failing:
            raise ArithmeticError(f"thread {thread}")

    with pytest.raises(ArithmeticError, match=f"thread {failing}"):
        workers.together(noted(notes, fail), [(1,), (1,)])
    assert notes[1 - failing][1] is False
    assert works(workers)


def test_a_loop_that_does_not_begin_leaves_nobody_waiting():
    def broken(place: Place, factor: int) -> bool:
        if place.thread == 0:
            raise TypeError("no such argument")
        return noted({})(place, factor)

    workers = Workers(2)
    with pytest.raises(TypeError, match="no such argument"):
        workers.together(broken, [(1,), (1,)])
    assert works(workers)


def test_calls_of_several_threads_take_turns():
    workers, notes = Workers(2), [{} for _ in range(4)]

    def call(own: dict) -> None:
        for _ in range(30):
            workers.together(noted(own), [(1,), (1,)])

    threads = [threading.Thread(target=call, args=(own,)) for own in notes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(own) == 2 for own in notes)


def test_map_dismisses_who_watches_for_the_next_call():
    workers = Workers(2)
    for _ in range(10):
        workers.together(noted({}), [(1,), (1,)])
        assert workers.map(lambda item: item + 1, range(3)) == [1, 2, 3]
        assert workers._flags[0] == workers._call + 1


def test_alone_meets_itself():
    place = alone()
    begin(place)
    assert meet(place, 1)
    assert meet(place, 2)
    assert end(place)
    np.testing.assert_array_equal(place.flags[:4], [CALL, 2 * CALL + 1, 2 * CALL + 1, 0])


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    workers = Workers(2)
    workers.together(noted({}), [(1,), (1,)])
    workers.map(str, range(2))
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_S)  # without threads it would wait for ever, and the test with it
        os._exit(0 if works(workers) and workers.map(str, range(2)) == ["0", "1"] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

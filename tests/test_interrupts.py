"""Ctrl-C within a training step: weights, averages and their count are of one step, or the optimiser says otherwise."""

from __future__ import annotations

import dis
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import tsslbp_ref as tr
from tsslbp_ref import exact
from tsslbp_ref.engine import threads
from tsslbp_ref.engine.blas import Lock, one_blas_thread
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.training.exact_training import Adam

PACKAGE = tr.__file__.rpartition("/")[0]
N_STEPS = 4
N_INTERRUPTS = int(os.environ.get("TSSLBP_INTERRUPTS", "150"))  # thousands by hand


INTERRUPTIBLE = ("CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME", "JUMP_BACKWARD")  # signals are seen behind these


def interrupted_at(point: int, function: Callable[[], Any], within: tuple[str, ...] = (PACKAGE,)) -> bool:
    """Call a function, with Ctrl-C at the n-th moment at which this package may have one; say whether there is one.

    `within` has the beginnings of the paths of the files that may have it.
    """
    count = itertools.count()
    last: dict[FrameType, str] = {}  # instruction of each frame

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(within):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            before, last[frame] = last.get(frame, ""), dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if before in INTERRUPTIBLE and next(count) == point:
                raise KeyboardInterrupt
        return trace

    sys._getframe().f_trace_opcodes = True  # of any frame: else the first trace of Python 3.12 has no opcodes
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
        last.clear()  # frames keep what they hold, and here each other
    return False


class Training:
    """A network and its optimiser, and their state after each of a few steps that nobody disturbs."""

    def __init__(self, n_threads: int) -> None:
        self.network = tr.Network.from_spec("6", (4,), 3, 5, n_threads=n_threads, weight_scale=2.0)
        self.optimiser = AdamW(self.network.weights, 1e-2)
        self.x, self.y = np.random.default_rng(0).random((4, 4)), [0, 1, 2, 0]
        self.states = [self._state()]
        for _ in range(N_STEPS):
            self.step()
            self.states.append(self._state())

    def step(self) -> None:
        self.network.training_step(self.x, self.y, optimiser=self.optimiser)

    def _arrays(self) -> list[np.ndarray]:
        return [*self.optimiser.weights, *self.optimiser.means, *self.optimiser.squares]

    def _state(self) -> list[np.ndarray]:
        return [array.copy() for array in self._arrays()]

    def restore(self, n: int) -> None:
        """Set the state after n steps."""
        for array, held in zip(self._arrays(), self.states[n], strict=True):
            array[...] = held
        self.optimiser.n_steps, self.optimiser.updating = n, False

    @property
    def sound(self) -> bool:
        """Whether all is of the step that is counted."""
        held = self.states[self.optimiser.n_steps]
        return all(np.array_equal(array, one) for array, one in zip(self._arrays(), held, strict=True))


@pytest.fixture(params=[1, 2])
def training(request: pytest.FixtureRequest) -> Iterator[Training]:
    with threadpool_limits(limits=2, user_api="blas"):
        yield Training(request.param)


def test_an_interrupt_at_any_moment_of_an_update(training: Training) -> None:
    """Every one of them in turn; afterwards BLAS has its threads back, once the engine was used again."""
    network, optimiser = training.network, training.optimiser
    training.restore(1)
    gradients = network.loss_and_gradients(training.x, training.y)[1]
    n_unsound = 0
    for point in itertools.count():
        training.restore(1)
        if not interrupted_at(point, lambda: network.engine.update(optimiser, gradients)):
            break
        assert optimiser.n_steps in (1, 2)
        assert training.sound or optimiser.updating, f"moment {point}: {optimiser.n_steps} steps"
        n_unsound += not training.sound
        with one_blas_thread():
            pass
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {2}
    assert point > 20
    assert 0 < n_unsound < point / 2
    assert training.sound
    assert optimiser.n_steps == 2


def test_an_interrupt_at_any_moment_leaves_a_lock_free() -> None:
    lock = Lock()

    def take() -> None:
        with lock:
            pass

    with ThreadPoolExecutor(1) as other:
        for point in itertools.count():
            interrupted = interrupted_at(point, take)
            assert other.submit(lock.acquire, False).result()
            other.submit(lock.release).result()
            if not interrupted:
                break
    assert point > 0


# Python drops what is raised in a callback of its garbage collector or of a weak reference, and warns of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_at_random_moments_of_training(training: Training) -> None:
    """By the clock, as a user's are; from whole step to whole step, and on from where they left off."""
    rng = np.random.default_rng(7)

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    found = 0
    try:
        while found < N_INTERRUPTS:
            training.restore(0)
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 3e-3))
                for _ in range(N_STEPS):
                    training.step()
                signal.setitimer(signal.ITIMER_REAL, 0.0)
            except KeyboardInterrupt:
                found += 1
            assert training.sound or training.optimiser.updating
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_an_interrupted_update_in_continuous_time_is_not_counted() -> None:
    start, gradient = np.ones((2, 3)), np.full((2, 3), 0.5)
    whole = Adam([start.copy()])
    whole.step([gradient], 0.1)
    for point in itertools.count():
        optimiser = Adam([start.copy()])
        if not interrupted_at(point, lambda o=optimiser: o.step([gradient], 0.1)):
            break
        expected = start if optimiser.n_steps == 0 else whole.weights[0]
        assert optimiser.updating or np.array_equal(optimiser.weights[0], expected)
    assert point > 2
    assert np.array_equal(optimiser.weights[0], whole.weights[0])
    assert (optimiser.n_steps, optimiser.updating) == (1, False)


def test_an_interrupt_at_any_moment_of_a_batch_in_continuous_time() -> None:
    """Among its threads, Python's own code included: no lock stays held that this call, or the next one, waits for."""
    batch = np.random.default_rng(3).uniform(1.0, 15.0, (6, 2, 1))  # of two pieces

    def predicted() -> list[int]:
        return exact.predict([[[30.0, 3.0], [3.0, 30.0]]], batch, 10.0, 5.0, 1.0, 40.0, n_threads=2).tolist()

    def too_long(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError("a lock is held")

    whole, before = predicted(), signal.signal(signal.SIGALRM, too_long)
    try:
        for point in itertools.count():
            signal.alarm(60)
            if not interrupted_at(point, predicted, (threads.__file__, threading.__file__)):
                break
            assert predicted() == whole
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert point > 20

"""How a run learns that it is to stop: signals, and whatever else its caller asks."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


def asked_to_stop(noted: list[int], stop: Callable[[], int]) -> bool:
    """Whether a signal was noted; what `stop` says counts as one."""
    signum = stop()
    if signum and not noted:
        noted.append(signum)
    return bool(noted)


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of dying of them; a second SIGINT kills as ever."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # the main thread alone gets signals
        yield noted
        return

    def note(signum: int, frame: FrameType | None) -> None:
        noted.append(signum)
        signal.signal(signum, signal.SIG_DFL)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

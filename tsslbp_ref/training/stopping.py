"""How a run learns that it is to stop: signals, and whatever else its caller asks."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
ALWAYS_HEARD = (signal.SIGINT, signal.SIGTERM)
AT_ONCE_S = 1.0


def asked_to_stop(noted: list[int], stop: Callable[[], int]) -> bool:
    """Whether a signal was noted; what `stop` says counts as one."""
    signum = stop()
    if signum and not noted:
        noted.append(signum)
    return bool(noted)


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM and SIGHUP in a list instead of dying of them; under nohup, SIGHUP stays ignored.

    A second SIGINT kills as ever, unless it follows at once: some programs send each signal to a process and then to
    its group.
    """
    noted: list[int] = []
    first_at = 0.0
    if threading.current_thread() is not threading.main_thread():  # the main thread alone gets signals
        yield noted
        return

    def note(signum: int, frame: FrameType | None) -> None:
        nonlocal first_at
        if signum == signal.SIGINT and signum in noted and time.monotonic() > first_at + AT_ONCE_S:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
        first_at = first_at or time.monotonic()
        noted.append(signum)

    heard = [s for s in STOPPING if s in ALWAYS_HEARD or signal.getsignal(s) is not signal.SIG_IGN]
    before = {signum: signal.signal(signum, note) for signum in heard}
    try:
        yield noted
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

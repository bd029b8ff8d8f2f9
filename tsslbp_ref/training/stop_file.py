"""How runs in other processes, or on other machines, learn that they are to stop: from a file beside the run folders.

The process that started the runs, the client, writes the file, touches it every second, and writes the number of a
signal into it to stop the runs as if by that signal. Runs that see no sign of the client for half a minute stop, too:
it was killed outright, or its machine is gone. A run goes by its own clock and by whether the file has changed, so the
clocks of two machines need not agree.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

from tsslbp_ref.files import write_atomically

TOUCH_EVERY_S = 1.0
CLIENT_SILENT_S = 30.0  # a network file system may show a touch some seconds late
# What a run is stopped by when the process that started it has gone; Windows has no such signal.
CLIENT_GONE = getattr(signal, "SIGHUP", signal.SIGTERM)
PARENT_GONE = threading.Event()  # in a process of a pool: nobody waits for its results any more


class StopFile:
    """The client's side; a context whose end removes the file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f".stop-{secrets.token_hex(4)}"
        self._signum = 0
        self._due = 0.0

    def __enter__(self) -> StopFile:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._write()
        return self

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)

    def stop(self, signum: int) -> None:
        """Stop all runs as if by a signal; the first call counts."""
        if not self._signum:
            self._signum = signum
            try:
                self._write()
            except OSError:  # such as a full disk: without the file, the runs stop after the silence
                self.path.unlink(missing_ok=True)

    def touch(self) -> None:
        """Show that the client lives; to be called often."""
        if time.monotonic() >= self._due:
            with suppress(OSError):
                os.utime(self.path)
            self._due = time.monotonic() + TOUCH_EVERY_S

    def _write(self) -> None:
        write_atomically(self.path, str(self._signum).encode())


class StopWatch:
    """A run's side: call it to learn the number of the signal that the run is to stop by, or 0."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._alive_at = time.monotonic()
        self._signum = 0

    def __call__(self) -> int:
        """Look at the file; after every mini-batch is not too often, since it is read only where it has changed."""
        try:
            state = os.stat(self._path)
            found = state.st_ino, state.st_mtime_ns
            if found != self._seen:
                self._signum = int(self._path.read_bytes())
                self._seen, self._alive_at = found, time.monotonic()
        except (OSError, ValueError):  # it is gone, or the network's file system is in trouble
            pass
        silent = time.monotonic() > self._alive_at + CLIENT_SILENT_S
        return int(CLIENT_GONE) if silent and not self._signum else self._signum

"""Progress on standard error: a bar on a terminal; in a file or a pipe a plain line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tqdm import tqdm

LINE_EVERY_S = 30.0

Show = Callable[..., None]


@contextmanager
def progress(total: int, title: str, unit: str, *, initial: int = 0, show: bool = True) -> Iterator[Show]:
    """Yield what to call with the number of units that are done, and with texts to show beside it, by name.

    Parameters
    ----------
    total : int
        Units in all.
    title, unit : str
    initial : int
        Units that were done before.
    show : bool
        Without it nothing is shown, and tqdm is left alone: even for a disabled bar it takes a lock that forked
        processes share, and one that is killed while it holds the lock would stop the others for ever.
    """
    if not show or sys.stderr is None:
        yield lambda done, **texts: None
    elif sys.stderr.isatty():
        with tqdm(total=total, initial=initial, desc=title, unit=unit, leave=False) as bar:

            def draw(done: int, **texts: str) -> None:
                bar.set_postfix(texts, refresh=False)
                bar.update(done - bar.n)

            yield draw
    else:
        yield _lines(total, title, unit)


def _lines(total: int, title: str, unit: str) -> Show:
    """What prints a plain line, the first after half a minute, then one every half minute."""
    due = time.monotonic() + LINE_EVERY_S

    def tell(done: int, **texts: str) -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due = time.monotonic() + LINE_EVERY_S
        beside = "".join(f", {name} {text}" for name, text in texts.items())
        with suppress(OSError):  # a full disk or a reader that has gone must not end a run
            print(f"{title}: {done} of {total} {unit}s{beside}", file=sys.stderr, flush=True)

    return tell

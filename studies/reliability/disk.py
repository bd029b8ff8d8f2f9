"""Power that fails: what a disk may have lost of a folder when the machine goes out.

POSIX promises no more than this: what was in a file at its last fsync is there, and so are the names that the folder
had at its own last fsync. Of all that came later any part may be there or not. `watched` notes in a process what was
made durable; when it was killed, `lose` takes away, at random, what was not.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

CHANCE = 0.5  # that the power takes what it may take
SPARED = ".spared"  # ends the name of what a rename took the place of, in a folder beside


def watched(log: Path, kill_at: int | None, kill: Callable[[], None]) -> None:
    """Make this process note what it makes durable, and call `kill` before its `kill_at`-th call to the disk, from 0.

    Calls are those of os.open, os.fsync and os.replace. The notes are lines of JSON in `log`.
    """
    left = [-1 if kill_at is None else kill_at]
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    fsync, replace, open_ = os.fsync, os.replace, os.open

    def noting(call: Callable[..., Any], note: Callable[..., list[Any]]) -> Callable[..., Any]:
        def noted(*arguments: Any, **options: Any) -> Any:
            if left[0] == 0:
                kill()
            left[0] -= 1
            before = note(*arguments) if call is replace else None
            result = call(*arguments, **options)
            entry = before or note(*arguments)
            os.write(handle, (json.dumps(entry) + "\n").encode())
            return result

        return noted

    def synced(descriptor: int) -> list[Any]:
        found, path = os.fstat(descriptor), Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        return ["folder", os.listdir(path)] if stat.S_ISDIR(found.st_mode) else ["file", path.name, found.st_size]

    def replaced(source: Any, target: Any) -> list[Any]:
        spared = log.with_name(f"{Path(target).name}{SPARED}")
        spared.unlink(missing_ok=True)
        if os.path.exists(target):
            os.link(target, spared)
        return ["replaced", Path(source).name, Path(target).name]

    os.fsync, os.replace = noting(fsync, synced), noting(replace, replaced)
    os.open = noting(open_, lambda *_: ["opened"])  # type: ignore[assignment]


def lose(folder: Path, log: Path, before: Mapping[str, int], rng: np.random.Generator) -> int:
    """Take from a folder what the power may have taken, and return how many files that changed.

    Parameters
    ----------
    folder : Path
    log : Path
        Of `watched`; the last line may be cut short.
    before : mapping of str to int
        Name and size of what was in the folder before the process: all of it is durable.
    rng : Generator
    """
    durable, names, renamed = dict(before), set(before), set[str]()  # renamed: since the folder's last fsync
    for line in log.read_text().splitlines() if log.exists() else []:
        kind, *rest = json.loads(line)
        if kind == "file":
            durable[rest[0]] = rest[1]
        elif kind == "folder":
            names, renamed = set(rest[0]), set()
        elif kind == "replaced":
            durable[rest[1]] = durable.pop(rest[0], 0)
            renamed.add(rest[1])
    undone = {name for name in sorted(renamed) if rng.random() < CHANCE}
    for name in undone:
        _put_back(folder / name, log)
    return len(undone) + _cut([path for path in folder.iterdir() if path.name not in undone], durable, names, rng)


def _put_back(target: Path, log: Path) -> None:
    """Undo a rename: what it replaced is there again, or nothing is."""
    spared = log.with_name(f"{target.name}{SPARED}")
    target.unlink()
    if spared.exists():
        os.rename(spared, target)


def _cut(paths: list[Path], durable: Mapping[str, int], names: set[str], rng: np.random.Generator) -> int:
    """Cut every file to any length from its durable one on; one whose name is not durable may be gone."""
    changed = 0
    for path in sorted(paths):
        size = path.stat().st_size
        kept = min(durable.get(path.name, 0), size)
        if path.name not in names and rng.random() < CHANCE:
            path.unlink()
        elif kept < size:
            os.truncate(path, int(rng.integers(kept, size + 1)))
        else:
            continue
        changed += 1
    return changed

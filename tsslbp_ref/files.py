"""Files that are written whole or not at all, and files that are read only if they are regular and of bounded size."""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from tsslbp_ref.checks import shown

try:
    import fcntl
except ImportError:  # Windows has no advisory locks
    fcntl = None  # type: ignore[assignment]

MOST_PATH = 4096  # characters; no system takes longer paths
PART = ".part"  # ends the name of a file that is still being written
KINDS = {  # of what is no regular file
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
STANDARD_OUTPUTS = (1, 2)
NOT_BLOCKING = getattr(os, "O_NONBLOCK", 0)  # Windows has none


class CheckpointError(ValueError):
    """A checkpoint, or another file of a run, that cannot be used; the message names the file and says why."""


def as_path(name: str, value: str | os.PathLike[str]) -> Path:
    """Return ``value`` as a path, with ``~`` as the home folder; `name` is how the caller names it in an error."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name} must be a path, got {shown(value)}")
    text = os.fspath(value)
    if "\0" in text or len(text) > MOST_PATH:
        limits = f"of at most {MOST_PATH} characters, none of them null"
        raise ValueError(f"{name} must be a path {limits}, got {shown(text)} ({len(text)} characters)")
    return Path(os.path.expanduser(text))


# ---------------------------------------------------------------------------------------------------------------------
# Writing
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends without an error: a neighbour, fsync, then rename.

    A symbolic link is followed: the file that it names is replaced, or made, and the link stays. A file that is
    replaced hands on its permissions. A named pipe or a device is written straight, since nothing can take its place.

    Raises
    ------
    OSError
        If the disk is full, the folder cannot be written, `path` is a folder, a pipe that nobody reads or the regular
        file that standard output goes to; the message names the file. What was at `path` is untouched, and nothing
        half-written stays.
    """
    try:
        found = _found(path)
        if found is not None and not stat.S_ISREG(found.st_mode):
            with _straight(path) as file:
                yield file
            return
        _refuse_standard_output(found)
        with _replacing(Path(os.path.realpath(path)), found) as file:
            yield file
    except OSError as error:
        raise OSError(error.errno or errno.EIO, f"cannot write {path}: {error.strerror or error}") from error


def _found(path: Path) -> os.stat_result | None:
    """What is at a path, links followed; None if there is nothing."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _straight(path: Path) -> BinaryIO:
    """Open a pipe or a device; a pipe that nobody reads is an error, not a wait."""
    try:
        handle = os.open(path, os.O_WRONLY | NOT_BLOCKING | getattr(os, "O_NOCTTY", 0))
    except OSError as error:
        raise OSError(error.errno, "nobody reads it" if error.errno == errno.ENXIO else error.strerror) from error
    os.set_blocking(handle, True)
    return open(handle, "wb")


def _refuse_standard_output(found: os.stat_result | None) -> None:
    """Raise if the file is open as standard output or error: its replacement would lose what is printed there."""
    for handle in STANDARD_OUTPUTS if found is not None else ():
        try:
            same = os.path.samestat(found, os.fstat(handle))  # type: ignore[arg-type]
        except OSError:  # closed
            continue
        if same:
            raise FileExistsError(errno.EEXIST, "standard output or error goes to this file")


@contextmanager
def _replacing(target: Path, found: os.stat_result | None) -> Iterator[BinaryIO]:
    """Open a neighbour of a regular file, or of one that is to be made, and rename it at the end."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
    try:
        # open, unlike tempfile, gives the file the permissions that the user's umask asks for.
        with open(part, "xb") as file:
            if found is not None and found.st_mode != os.fstat(file.fileno()).st_mode:
                os.chmod(part, stat.S_IMODE(found.st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
        _fsync_folder(target.parent)
    except BaseException:
        with suppress(OSError):  # the disk's own trouble must not hide what went wrong first
            part.unlink()
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Errors are those of `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)


def remove_parts(path: Path) -> None:
    """Remove what a process that was killed outright while it wrote `path` has left beside it."""
    target = Path(os.path.realpath(path))
    for part in target.parent.glob(f".{target.name}.*{PART}"):
        part.unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    """Make a rename itself durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing in a folder meanwhile; the system frees the lock if this process dies.

    Raises
    ------
    BlockingIOError
        If another holds the lock.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, f"{folder} is in use by another process") from error
        except OSError:  # some network file systems have no locks; a run there goes without
            pass
        yield
    finally:
        os.close(handle)


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def regular_file(path: Path, most_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file, which may be reached by a link, to read it.

    Raises
    ------
    CheckpointError
        If there is a folder, a pipe or a device at `path`, which might never end, or more than `most_bytes`.
    OSError
        If there is nothing, or the file cannot be read; the message names the file.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise CheckpointError(f"{path} must be a regular file, but it is {KINDS.get(stat.S_IFMT(mode), mode)}")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > most_bytes:
                raise CheckpointError(f"{path} must have {most_bytes} bytes at most, but it has {size}")
            yield file
    except OSError as error:
        raise OSError(error.errno, f"cannot read {path}: {error.strerror}") from error


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file; errors are those of `regular_file`."""
    with regular_file(path, most_bytes) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def parse_json(text: str | bytes) -> Any:
    """`json.loads`, for which what Python cannot take is a ValueError as every other bad text is.

    That is brackets nested too deeply, and a key that an object has twice, of which Python would take the last.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"it has the key {shown(key)} twice")
        found[key] = value
    return found

"""Checkpoints that survive anything: written whole or not at all, read without pickle, checked before use.

A checkpoint is one .npz file: named arrays, a JSON text, and the sha256 of both.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

try:
    import fcntl
except ImportError:  # Windows has no advisory locks
    fcntl = None  # type: ignore[assignment]

Array = npt.NDArray[Any]

_META = "meta"
_DIGEST = "sha256"
_PART = ".part"  # ends the name of a file that is still being written
# What zipfile and numpy raise on damaged bytes; a test flips every byte of a checkpoint to find them.
_UNREADABLE = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    KeyError,
    IndexError,
    RuntimeError,  # an "encrypted" member; NotImplementedError, an unknown compression, is one, too
    SyntaxError,  # an array's header that is no Python literal
    MemoryError,  # an array's header that promises more than there is
    OverflowError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


class CheckpointError(ValueError):
    """A checkpoint, or another file of a run, that cannot be used; the message names the file and says why."""


def parse_json(text: str | bytes) -> Any:
    """`json.loads`, for which brackets nested too deeply for Python are a ValueError as every other bad text is."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


# ---------------------------------------------------------------------------------------------------------------------
# Files that are written whole or not at all
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that replaces `path` when the block ends without an error: a neighbour, fsync, then rename.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written, with the file's name; what was at `path` is untouched, and
        nothing half-written stays.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_PART}")
    try:
        # open, unlike tempfile, gives the file the permissions that the user's umask asks for.
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _fsync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # the disk's own trouble must not hide what went wrong first
            part.unlink()
        raise OSError(error.errno or errno.EIO, f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Errors are those of `atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)


def remove_parts(path: Path) -> None:
    """Remove what a process that was killed outright while it wrote `path` has left beside it."""
    for part in path.parent.glob(f".{path.name}.*{_PART}"):
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
# Checkpoints
# ---------------------------------------------------------------------------------------------------------------------


def _digest(arrays: Mapping[str, Array], meta: str) -> str:
    sha = hashlib.sha256(meta.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha.update(f"{name} {array.dtype.str} {array.shape}".encode())
        sha.update(array.tobytes())
    return sha.hexdigest()


def save(path: Path, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Save named arrays and a JSON-able dictionary, atomically.

    Raises
    ------
    OSError
        If the file cannot be written; an older checkpoint at `path` survives.
    """
    text = json.dumps(meta, sort_keys=True)
    extra = {_META: np.array(text), _DIGEST: np.array(_digest(arrays, text))}
    with atomic_file(path) as file:
        np.savez(file, **dict(arrays), **extra)  # type: ignore[arg-type]


def load(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Load what `save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is truncated, was changed after it was written, or is no checkpoint.
    OSError
        If the file must not be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    arrays = _read_arrays(path)
    if _META not in arrays or _DIGEST not in arrays:
        raise CheckpointError(f"{path} is no checkpoint of this project: it holds {sorted(arrays)}")
    text, digest = str(arrays.pop(_META)), str(arrays.pop(_DIGEST))
    if _digest(arrays, text) != digest:
        raise CheckpointError(f"{path} was changed after it was written: its sha256 does not fit its content")
    try:
        meta = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{path} is no checkpoint of this project: its meta text is no JSON ({error})") from error
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path} is no checkpoint of this project: its meta text is {type(meta).__name__}")
    return arrays, meta


def _read_arrays(path: Path) -> dict[str, Array]:
    """All arrays of an .npz file, none of them pickled."""
    try:
        opened = path.open("rb")  # given a path, np.load leaves the file open when it fails
    except OSError as error:  # says nothing of what is in it
        raise OSError(error.errno, f"cannot read {path}: {error.strerror}") from error
    try:
        with opened as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise CheckpointError(f"{path} is no checkpoint: it is no .npz archive")
            return {name: archive[name] for name in archive.files}
    except CheckpointError:
        raise
    except _UNREADABLE as error:
        raise CheckpointError(f"{path} is truncated or no checkpoint: {' '.join(str(error).split())}") from error

"""Checkpoints that survive anything: written whole or not at all, read without pickle, checked before use.

A checkpoint is one .npz file: named arrays, a JSON text, and the sha256 of both.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_META = "meta"
_DIGEST = "sha256"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and says why."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: to a neighbour, fsync, then rename.

    Raises
    ------
    OSError
        If the disk is full or the folder cannot be written; what was at `path` is untouched.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


def _fsync_folder(folder: Path) -> None:
    """Make a rename itself durable, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
    with tempfile.SpooledTemporaryFile() as buffer:
        np.savez(buffer, **dict(arrays), **extra)  # type: ignore[arg-type]
        buffer.seek(0)
        write_atomically(path, buffer.read())


def load(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Load what `save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is truncated, was changed after it was written, or is no checkpoint.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError, NotImplementedError) as error:
        raise CheckpointError(f"{path} is truncated or no checkpoint: {error}") from error
    if _META not in arrays or _DIGEST not in arrays:
        raise CheckpointError(f"{path} is no checkpoint of this project: it holds {sorted(arrays)}")
    text, digest = str(arrays.pop(_META)), str(arrays.pop(_DIGEST))
    if _digest(arrays, text) != digest:
        raise CheckpointError(f"{path} was changed after it was written: its sha256 does not fit its content")
    return arrays, json.loads(text)

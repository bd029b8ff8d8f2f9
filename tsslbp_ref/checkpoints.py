"""Checkpoints that survive anything: written whole or not at all, read without pickle, checked before use.

A checkpoint is one .npz file without compression: named arrays, a JSON text, and the sha256 of both.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tsslbp_ref.checks import shown
from tsslbp_ref.files import CheckpointError, atomic_file, parse_json, regular_file

Array = npt.NDArray[Any]

_META = "meta"
_DIGEST = "sha256"
_MEMBER = ".npy"  # ends the name of an array in the archive
MOST_BYTES = 2**32  # of a checkpoint whose network is not known
MOST_META_BYTES = 2**22  # of the JSON text
# The start of an array in the archive: NumPy's mark and version 1.0, the length of the header, the header. Its numbers
# are floats, integers, booleans, complex ones or text; Python objects (O), which would be pickled, are none of them.
_ARRAY = re.compile(
    rb"\x93NUMPY\x01\x00(?P<length>..)"
    rb"\{'descr': '(?P<dtype>[<>|=][fiubcU][0-9]{1,9})', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,12}, )*(?:[0-9]{1,12},?)?)\), \} *\n",
    re.DOTALL,
)


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

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder, "state.npz"), {"W": np.ones(2)}, {"epoch": 3})
    ...     arrays, meta = load(Path(folder, "state.npz"))
    >>> arrays, meta
    ({'W': array([1., 1.])}, {'epoch': 3})
    """
    text = json.dumps(meta, sort_keys=True)
    extra = {_META: np.array(text), _DIGEST: np.array(_digest(arrays, text))}
    with atomic_file(path) as file:
        np.savez(file, **dict(arrays), **extra)  # type: ignore[arg-type]


def load(path: Path, most_bytes: int = MOST_BYTES) -> tuple[dict[str, Array], dict[str, Any]]:
    """Load what `save` wrote.

    Parameters
    ----------
    path : Path
    most_bytes : int
        A larger file is refused before it is read. No more memory is taken than about twice the file's size.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is truncated, was changed after it was written, is too large, or is no checkpoint.
    OSError
        If the file must not be read.
    """
    with _opened(path, most_bytes) as file, _archive(file, path) as archive:
        arrays = {member.filename.removesuffix(_MEMBER): _array(archive, member) for member in archive.infolist()}
    texts = {name for name, array in arrays.items() if array.dtype.kind == "U" and array.ndim == 0}
    if not {_META, _DIGEST} <= texts:
        raise CheckpointError(f"{path} is no checkpoint of this project: it holds {shown(sorted(arrays))}")
    try:
        text, digest = str(arrays.pop(_META)), str(arrays.pop(_DIGEST))
        changed = _digest(arrays, text) != digest
    except ValueError:  # characters that there are not
        changed = True
    if changed:
        raise CheckpointError(f"{path} was changed after it was written: its sha256 does not fit its content")
    return arrays, _parsed(text, path)


def load_meta(path: Path) -> dict[str, Any]:
    """Load the dictionary of a checkpoint and none of its arrays, to know what they should be; no sha256 is compared.

    Raises
    ------
    FileNotFoundError, CheckpointError, OSError
        As `load` does.
    """
    with _opened(path, MOST_BYTES) as file, _archive(file, path) as archive:
        member = archive.NameToInfo.get(_META + _MEMBER)
        meta = _array(archive, member) if member is not None and member.file_size <= MOST_META_BYTES else None
    if meta is None or meta.dtype.kind != "U" or meta.ndim:
        raise CheckpointError(f"{path} is no checkpoint of this project: it has no meta text")
    return _parsed(str(meta), path)


def _parsed(text: str, path: Path) -> dict[str, Any]:
    """The dictionary of the JSON text."""
    try:
        meta = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{path} is no checkpoint of this project: its meta text is no JSON ({error})") from error
    if not isinstance(meta, dict):
        raise CheckpointError(f"{path} is no checkpoint of this project: its meta text is {type(meta).__name__}")
    return meta


@contextmanager
def _opened(path: Path, most_bytes: int) -> Iterator[BinaryIO]:
    """Open a checkpoint; that there is none is said so."""
    try:
        with regular_file(path, most_bytes) as file:
            yield file
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no checkpoint at {path}") from error


@contextmanager
def _archive(file: BinaryIO, path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an .npz file that is sound as a whole; what goes wrong while it is read is a CheckpointError."""
    try:
        with zipfile.ZipFile(file) as archive:
            _refuse_unsound(archive.infolist(), os.fstat(file.fileno()).st_size)
            yield archive
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make zipfile raise nearly anything, and nothing else happens here
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path} is truncated or no checkpoint: {reason}") from error


def _refuse_unsound(members: list[zipfile.ZipInfo], n_bytes: int) -> None:
    """Raise if the archive holds more than its own bytes, which compressed arrays could by far, or a name twice."""
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("its arrays are compressed")
    if sum(member.file_size for member in members) > n_bytes:
        raise ValueError("its arrays are longer than the file")
    if len({member.filename for member in members}) < len(members):
        raise ValueError("it has two arrays of one name")


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """One array of the archive, whose bytes fit their checksum before anything is made of them."""
    content = archive.read(member)
    header = _ARRAY.match(content) if member.filename.endswith(_MEMBER) else None
    if header is None or header.end() - header.end("length") != int.from_bytes(header["length"], "little"):
        raise ValueError(f"{shown(member.filename)} is no array of numbers or text")
    dtype = np.dtype(header["dtype"].decode())
    shape = tuple(int(n) for n in header["shape"].replace(b",", b" ").split())
    data = bytearray(memoryview(content)[header.end() :])
    if len(data) != dtype.itemsize * math.prod(shape):
        raise ValueError(f"{shown(member.filename)} holds {len(data)} bytes, which is not {dtype} {shape}")
    return np.ndarray(shape, dtype, data, order="F" if header["fortran"] == b"True" else "C")

"""CIFAR-10, binary and python version, from the tar.gz or from the extracted folder.

Binary version: records of 3073 bytes, one label 0 .. 9, then 32 x 32 pixels of the red, the green and the blue plane,
row by row. Python version: each file is a pickled dictionary with "data", an (n, 3072) uint8 array whose rows are
ordered as in the binary version, and "labels", a list. Source: the description on the CIFAR-10 data set's page.

Safety. A pickle can name any function of any module and have it called while it is read. `_BatchUnpickler` admits only
the few names with which numpy pickles an array, and answers them with the harmless stand-ins of this file, which keep
the raw bytes and call nothing; every other name is an error. Members of a tar file are read in memory; nothing is
extracted, and an archive with a member whose path would climb out of a folder is refused altogether.
"""

from __future__ import annotations

import gzip
import io
import pickle
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.datasets.errors import DataError, MissingSplitError

N_CLASSES = 10
SHAPE = (3, 32, 32)  # channels, rows, columns of a picture
PIXELS = 3 * 32 * 32
CHUNK = 1 << 20  # bytes
RECORD_SIZE = 1 + PIXELS  # bytes of a record of the binary version: label, then pixels
SPLITS = ("train", "test")
VERSIONS = ("binary", "python")
SUBFOLDERS = {"binary": "cifar-10-batches-bin", "python": "cifar-10-batches-py"}
TARBALLS = {"binary": "cifar-10-binary.tar.gz", "python": "cifar-10-python.tar.gz"}
BATCH_NAMES = {  # any number of training batches is accepted; the original has five
    ("binary", "train"): re.compile(r"data_batch_(\d+)\.bin"),
    ("binary", "test"): re.compile(r"test_batch()\.bin"),
    ("python", "train"): re.compile(r"data_batch_(\d+)"),
    ("python", "test"): re.compile(r"test_batch()"),
}

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def read_split(path: str | Path, split: str) -> Batch:
    """Return (images (n, 3, 32, 32), labels (n,)) of a split.

    Parameters
    ----------
    path : str or Path
        A tar.gz of either version, or a folder that holds the batch files, their subfolder ``cifar-10-batches-bin`` or
        ``-py``, or the tar.gz. The binary version is preferred where both are there.
    split : {"train", "test"}
        ``train`` reads every data_batch_*, in the order of their numbers.

    Raises
    ------
    FileNotFoundError
        If `path` does not exist or holds nothing of CIFAR-10.
    MissingSplitError
        If CIFAR-10 is there, but not this split.
    DataError
        If a file or the archive is damaged, or the archive is unsafe.
    PermissionError
        If the folder or a file may not be read.
    """
    path = Path(path)
    checks.one_of("split", split, SPLITS)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    source = _find_source(path)
    files = _tar_contents(source, split) if source.is_file() else _folder_contents(source, split)
    for version in VERSIONS:
        names = _ordered(files, version, split)
        if names:
            read = _read_binary_batch if version == "binary" else _read_python_batch
            batches = [read(files[name], f"{source}/{name}") for name in names]
            return np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])
    wanted = "data_batch_*" if split == "train" else "test_batch"
    raise MissingSplitError(f"{source}: the {split} split is missing, found no {wanted}.bin and no {wanted}")


def _find_source(path: Path) -> Path:
    """Return the folder with the batch files or the tar.gz that `path` is or holds."""
    if path.is_file() or any(_is_batch(entry.name, split) for entry in path.iterdir() for split in SPLITS):
        return path
    for version in VERSIONS:
        for candidate in (path / SUBFOLDERS[version], path / TARBALLS[version]):
            if candidate.exists():
                return candidate
    wanted = ", ".join((*SUBFOLDERS.values(), *TARBALLS.values()))
    raise FileNotFoundError(f"{path}: no CIFAR-10 in this folder (looked for data_batch_*, test_batch*, {wanted})")


def _is_batch(name: str, split: str) -> bool:
    return any(BATCH_NAMES[version, split].fullmatch(name) for version in VERSIONS)


def _ordered(names: Iterable[str], version: str, split: str) -> list[str]:
    """Return the batch files of a version and split by their number, so that batch 10 comes after batch 9."""
    matches = [match for name in names if (match := BATCH_NAMES[version, split].fullmatch(name))]
    return [match[0] for match in sorted(matches, key=lambda match: (int(match[1] or 0), match[0]))]


def _folder_contents(folder: Path, split: str) -> dict[str, bytes]:
    """Return name and bytes of each batch file of a split."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if _is_batch(path.name, split)}


def _tar_contents(path: Path, split: str) -> dict[str, bytes]:
    """Return name and bytes of each batch file of a split in a tar.gz; every member's path is checked first.

    A tar ends before its gzip stream does, whose last bytes are checksum and length of the content. They are compared
    when the end is reached, so everything is read.
    """
    try:
        with gzip.open(path, "rb") as unpacked, tarfile.open(fileobj=unpacked, mode="r:") as archive:
            contents = _member_contents(archive, path, split)
            while unpacked.read(CHUNK):
                pass
    except PermissionError:
        raise
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: not a valid tar.gz file, or truncated ({_one_line(error)})") from error
    return contents


def _member_contents(archive: tarfile.TarFile, path: Path, split: str) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    for member in archive:
        name = _safe_name(member, path)
        if not _is_batch(name, split):
            continue
        stream = archive.extractfile(member) if member.isfile() else None
        if stream is None:
            raise DataError(f"{path}: member {member.name!r} is no regular file")
        if name in contents:
            raise DataError(f"{path}: more than one member is called {name!r}")
        contents[name] = stream.read()
    return contents


def _safe_name(member: tarfile.TarInfo, path: Path) -> str:
    """Return the last part of a member's path; refuse an archive whose paths or links leave its folder."""
    targets = [member.name] + ([member.linkname] if member.issym() or member.islnk() else [])
    for target in targets:
        pure = PurePosixPath(target.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or re.match(r"[A-Za-z]:", target):
            raise DataError(f"{path}: refused, the member path {target!r} climbs out of the archive")
    return PurePosixPath(member.name).name


def _read_binary_batch(content: bytes, source: str) -> Batch:
    """Return the pictures and labels of one file of the binary version."""
    if not content or len(content) % RECORD_SIZE:
        found = f"{len(content)} bytes" if content else "an empty file"
        raise DataError(f"{source}: the size must be a multiple of the record size {RECORD_SIZE}, got {found}")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_SIZE)
    return records[:, 1:].reshape(-1, *SHAPE), _checked_labels(records[:, 0], source)


def _checked_labels(values: npt.NDArray[Any], source: str) -> npt.NDArray[np.int64]:
    wrong = np.flatnonzero((values < 0) | (values >= N_CLASSES))
    if wrong.size:
        raise DataError(
            f"{source}: labels must lie in 0 .. {N_CLASSES - 1}, got {values[wrong[0]]} in record {wrong[0]}"
        )
    return values.astype(np.int64)


class _PickledType:
    """Stands in for ``numpy.ndarray`` and ``numpy.dtype``: it keeps what the pickle says and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _pickled_array(*arguments: Any) -> _PickledType:
    """Stand in for numpy's ``_reconstruct`` and ``_frombuffer``: an array whose state is kept as it was written."""
    return _PickledType(*arguments)


def _latin_bytes(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, with which Python 3 writes bytes in the old pickle protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"the text encoding {encoding!r} is not allowed")
    return text.encode("latin-1")


class _BatchUnpickler(pickle.Unpickler):
    """Read a batch file; admit the names of a pickled numpy array and nothing else."""

    STAND_INS: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = {
        ("numpy", "ndarray"): _PickledType,
        ("numpy", "dtype"): _PickledType,
        ("numpy.core.multiarray", "_reconstruct"): _pickled_array,
        ("numpy._core.multiarray", "_reconstruct"): _pickled_array,
        ("numpy.core.numeric", "_frombuffer"): _pickled_array,
        ("numpy._core.numeric", "_frombuffer"): _pickled_array,
        ("_codecs", "encode"): _latin_bytes,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        """Return the stand-in of an admitted name; called by pickle for every name that a file mentions."""
        try:
            return self.STAND_INS[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"the name {module_name}.{global_name} is not allowed") from None


def _read_python_batch(content: bytes, source: str) -> Batch:
    """Return the pictures and labels of one file of the python version."""
    try:
        # The original files were written by Python 2; "bytes" keeps their strings, which hold the pixels, as they are.
        batch = _BatchUnpickler(io.BytesIO(content), encoding="bytes").load()
        entries = {key.decode() if isinstance(key, bytes) else key: value for key, value in dict(batch).items()}
        pixels = _pixel_bytes(entries["data"])
        labels = np.array(entries["labels"])
        if labels.dtype.kind != "i" or labels.ndim != 1:
            raise ValueError("'labels' is no list of integers")
    except Exception as error:  # whatever a damaged pickle provokes (it can be any type) is corrupt content
        reason = f"no entry {error}" if isinstance(error, KeyError) else _one_line(error)
        raise DataError(f"{source}: not a CIFAR-10 python batch ({reason})") from error
    if len(pixels) != PIXELS * len(labels) or not len(labels):
        raise DataError(
            f"{source}: {len(labels)} labels need {PIXELS * len(labels)} bytes of pixels, got {len(pixels)}"
        )
    return np.frombuffer(pixels, np.uint8).reshape(-1, *SHAPE), _checked_labels(labels, source)


def _pixel_bytes(value: Any) -> bytes:
    """Return the bytes of a pickled uint8 array of n pictures in C order."""
    if not isinstance(value, _PickledType):
        raise ValueError("'data' is no array")
    if value.state is not None:  # written with _reconstruct: version, shape, dtype, Fortran order, bytes
        _, shape, dtype, fortran_order, pixels = value.state
    else:  # written with _frombuffer: bytes, dtype, shape, order
        pixels, dtype, shape, order = value.arguments
        fortran_order = order != "C"
    code = dtype.arguments[0]
    if code not in (b"u1", "u1") or fortran_order or len(shape) != 2 or shape[1] != PIXELS:
        raise ValueError(f"'data' must be a (n, {PIXELS}) uint8 array in C order, got {code!r} with shape {shape}")
    return bytes(pixels)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__

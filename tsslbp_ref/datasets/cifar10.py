"""CIFAR-10, binary and python version, from the tar.gz or from the extracted folder.

Binary version: records of 3073 bytes, one label 0 .. 9, then 32 x 32 pixels of the red, the green and the blue plane,
row by row. Python version: each file is a pickled dictionary with "data", an (n, 3072) uint8 array whose rows are
ordered as in the binary version, and "labels", a list. Source: the description on the CIFAR-10 data set's page.

Safety. Pickles are read by `tsslbp_ref.datasets.pickled`, which carries out none of their calls. Members of a tar file
are read in memory; nothing is extracted, no more is unpacked than CIFAR-10 has, and an archive with a member whose path
would climb out of a folder is refused altogether.
"""

from __future__ import annotations

import itertools
import re
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.datasets import files, pickled
from tsslbp_ref.datasets.errors import DataError, MissingSplitError

N_CLASSES = 10
SHAPE = (3, 32, 32)  # channels, rows, columns of an image
PIXELS = 3 * 32 * 32
BYTES_PER_IMAGE = 4096  # at most: 3073, and what a python batch or a tar file adds
MOST_BYTES = 50_000 * BYTES_PER_IMAGE  # of a split's files together; CIFAR-10 has 50,000 images for training
MOST_UNPACKED = 60_000 * BYTES_PER_IMAGE  # of an archive, with 10,000 images for testing
MOST_MEMBERS = 1000  # of an archive; the original ones have nine
N_BATCHES = {"train": 5, "test": 1}
RECORD_SIZE = 1 + PIXELS  # bytes of a record of the binary version: label, then pixels
SPLITS = ("train", "test")
VERSIONS = ("binary", "python")
SUBFOLDERS = {"binary": "cifar-10-batches-bin", "python": "cifar-10-batches-py"}
TARBALLS = {"binary": "cifar-10-binary.tar.gz", "python": "cifar-10-python.tar.gz"}
BATCH_NAMES = {  # any number of training batches is accepted; the original has five
    ("binary", "train"): re.compile(r"data_batch_(\d{1,9})\.bin"),
    ("binary", "test"): re.compile(r"test_batch()\.bin"),
    ("python", "train"): re.compile(r"data_batch_(\d{1,9})"),
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
    path = files.as_path("path", path)
    checks.one_of("split", split, SPLITS)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    sources = _sources(path)
    whole = any(source.is_file() for source in sources)
    return files.first_whole(sources, lambda source: _read_source(source, split, whole=whole))[1]


def _read_source(source: Path, split: str, *, whole: bool) -> Batch:
    """Return a split from a folder or an archive; with `whole`, a folder must have all batches of CIFAR-10."""
    contents = _folder_contents(source, split) if source.is_dir() else _tar_contents(source, split)
    for version in VERSIONS:
        names = _ordered(contents, version, split)
        if whole and source.is_dir() and 0 < len(names) < N_BATCHES[split]:
            raise DataError(f"{source}: {len(names)} of the {N_BATCHES[split]} {split} batches are there")
        if names:
            read = _read_binary_batch if version == "binary" else _read_python_batch
            batches = [read(contents[name], f"{source}/{name}") for name in names]
            return np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])
    wanted = "data_batch_*" if split == "train" else "test_batch"
    raise MissingSplitError(f"{source}: the {split} split is missing, found no {wanted}.bin and no {wanted}")


def _sources(path: Path) -> list[Path]:
    """Return the folders with batch files and the archives that `path` is or holds, the binary version first.

    An archive beside an extracted folder counts too: extracting may have been interrupted.
    """
    if not path.is_dir():
        return [path]
    holds_batches = any(_is_batch(entry.name, split) for entry in path.iterdir() for split in SPLITS)
    sources = [path] if holds_batches else []
    parent = path.parent if path.name in SUBFOLDERS.values() else path
    for version in VERSIONS:
        folder = path / SUBFOLDERS[version]
        archives = [entry for entry in sorted(parent.iterdir()) if entry.name.lower() == TARBALLS[version]]
        sources += [entry for entry in (folder, *archives) if entry.exists()]
    if not sources:
        wanted = ", ".join((*SUBFOLDERS.values(), *TARBALLS.values()))
        raise FileNotFoundError(f"{path}: no CIFAR-10 in this folder (looked for data_batch_*, test_batch*, {wanted})")
    return sources


def _is_batch(name: str, split: str) -> bool:
    return any(BATCH_NAMES[version, split].fullmatch(name) for version in VERSIONS)


def _ordered(names: Iterable[str], version: str, split: str) -> list[str]:
    """Return the batch files of a version and split by their number, so that batch 10 comes after batch 9."""
    matches = [match for name in names if (match := BATCH_NAMES[version, split].fullmatch(name))]
    return [match[0] for match in sorted(matches, key=lambda match: (int(match[1] or 0), match[0]))]


def _folder_contents(folder: Path, split: str) -> dict[str, bytes]:
    """Return name and bytes of each batch file of a split."""
    contents: dict[str, bytes] = {}
    left = MOST_BYTES
    for path in sorted(folder.iterdir()):
        if _is_batch(path.name, split):
            contents[path.name] = files.read_bounded(path, left)
            left -= len(contents[path.name])
    return contents


def _tar_contents(path: Path, split: str) -> dict[str, bytes]:
    """Return name and bytes of each batch file of a split in a tar.gz; every member's path is checked first.

    A tar ends before its gzip stream does, whose last bytes are checksum and length of the content. They are compared
    when the end is reached, so everything is read; after the tar there are zeros only.
    """
    with files.opened(path) as stream:
        unpacked = files.Bounded(stream, MOST_UNPACKED, path)
        try:
            with tarfile.open(fileobj=cast(BinaryIO, unpacked), mode="r|", bufsize=tarfile.BLOCKSIZE) as archive:
                contents = _member_contents(archive, path, split)
            # tarfile takes a damaged header for the end; read block by block, that is the last one it has read.
            if any(chunk.strip(b"\0") for chunk in itertools.chain([unpacked.last], unpacked.chunks())):
                raise DataError(f"{path}: not a valid tar.gz file, a header in it is damaged")
        except Exception as error:  # whatever a damaged archive provokes (it can be any type), but not the system's
            if isinstance(error, DataError) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise DataError(f"{path}: not a valid tar.gz file, or truncated ({files.reason(error)})") from error
    return contents


def _member_contents(archive: tarfile.TarFile, path: Path, split: str) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    left = MOST_BYTES
    for number, member in enumerate(archive):
        name = _safe_name(member, path)
        if number >= MOST_MEMBERS:
            raise DataError(f"{path}: more than {MOST_MEMBERS} members")
        if not _is_batch(name, split):
            continue
        stream = archive.extractfile(member) if member.isfile() else None
        if stream is None:
            raise DataError(f"{path}: member {checks.shown(member.name)} is no regular file")
        if name in contents:
            raise DataError(f"{path}: more than one member is called {checks.shown(name)}")
        left -= member.size  # what a sparse member promises takes memory, but nothing of the archive
        if left < 0:
            raise DataError(f"{path}: more than {MOST_BYTES} bytes of the {split} split, which CIFAR-10 does not have")
        contents[name] = stream.read()
    return contents


def _safe_name(member: tarfile.TarInfo, path: Path) -> str:
    """Return the last part of a member's path; refuse an archive whose paths or links leave its folder."""
    targets = [member.name] + ([member.linkname] if member.issym() or member.islnk() else [])
    for target in targets:
        pure = PurePosixPath(target.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or re.match(r"[A-Za-z]:", target):
            raise DataError(f"{path}: refused, the member path {checks.shown(target)} climbs out of the archive")
    return PurePosixPath(member.name).name


def _read_binary_batch(content: bytes, source: str) -> Batch:
    """Return the images and labels of one file of the binary version."""
    if not content or len(content) % RECORD_SIZE:
        raise DataError(f"{source}: the size must be a multiple of {RECORD_SIZE} bytes, got {len(content)} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD_SIZE)
    return records[:, 1:].reshape(-1, *SHAPE), _checked_labels(records[:, 0], source)


def _checked_labels(values: npt.NDArray[Any], source: str) -> npt.NDArray[np.int64]:
    wrong = np.flatnonzero((values < 0) | (values >= N_CLASSES))
    if wrong.size:
        raise DataError(
            f"{source}: labels must lie in 0 .. {N_CLASSES - 1}, got {values[wrong[0]]} in record {wrong[0]}"
        )
    return values.astype(np.int64)


def _read_python_batch(content: bytes, source: str) -> Batch:
    """Return the images and labels of one file of the python version."""
    try:
        entries = pickled.read_dictionary(content)
        pixels = _pixel_bytes(entries["data"])
        labels = entries["labels"]
        if not isinstance(labels, list) or not all(type(label) is int for label in labels):
            raise ValueError("'labels' is no list of integers")
    except Exception as error:  # whatever a damaged pickle provokes (it can be any type) is corrupt content
        reason = f"no entry {error}" if isinstance(error, KeyError) else files.reason(error)
        raise DataError(f"{source}: not a CIFAR-10 python batch ({reason})") from error
    if len(pixels) != PIXELS * len(labels) or not labels:
        raise DataError(
            f"{source}: {len(labels)} labels need {PIXELS * len(labels)} bytes of pixels, got {len(pixels)}"
        )
    return np.frombuffer(pixels, np.uint8).reshape(-1, *SHAPE), _checked_labels(np.array(labels, np.int64), source)


def _pixel_bytes(array: Any) -> bytes:
    """Return the bytes of a pickled uint8 array of n images in C order."""
    if not isinstance(array, pickled.Call):
        raise ValueError("'data' is no array")
    if array.state is not None:  # written with _reconstruct: version, shape, dtype, Fortran order, bytes
        _, shape, dtype, fortran_order, pixels = array.state
    else:  # written with _frombuffer: bytes, dtype, shape, order
        pixels, dtype, shape, order = array.arguments
        fortran_order = order != "C"
    is_uint8 = isinstance(dtype, pickled.Call) and dtype.arguments[0] in (b"u1", "u1")
    if not is_uint8 or fortran_order or len(shape) != 2 or shape[1] != PIXELS or not isinstance(pixels, bytes):
        raise ValueError(f"'data' must be a (n, {PIXELS}) uint8 array in C order")
    return pixels

"""The IDX format of MNIST and Fashion-MNIST: a header of big-endian counts, then the bytes.

The header is: two zero bytes, one byte for the type of the values (8 = unsigned byte, the only one in these data sets),
one byte for the number of axes, then one unsigned 32-bit big-endian size per axis. The values follow in C order.
Source: the description of the format on the MNIST data set's page.
"""

from __future__ import annotations

import math
import re
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.datasets import files
from tsslbp_ref.datasets.errors import DataError, MissingSplitError

UNSIGNED_BYTE = 8  # the IDX code of the value type uint8
MAGIC_SIZE = 4  # bytes: two zeros, value type, number of axes
N_CLASSES = 10
SIDE = 28  # pixels, MNIST and Fashion-MNIST
MOST_SAMPLES = 60_000  # of a file: MNIST and Fashion-MNIST have 60,000 for training and 10,000 for testing
MOST_BYTES = MAGIC_SIZE + 4 * 3 + MOST_SAMPLES * SIDE * SIDE  # of an unpacked file

SPLIT_FILES = {  # split -> (images, labels); the names are those of the original distribution
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_images(path: str | Path) -> npt.NDArray[np.uint8]:
    """Return the images of an IDX file as (n, 1, 28, 28), n at most 60,000.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If the file is not such an IDX file, its counts do not agree with the number of its bytes, or a .gz file is
        damaged. No more is read or unpacked than the counts in the header promise.
    """
    return _read(files.as_path("path", path), (SIDE, SIDE))[:, np.newaxis]


def read_labels(path: str | Path) -> npt.NDArray[np.int64]:
    """Return the labels of an IDX file as (n,), each 0 .. 9; see `read_images` for the errors."""
    labels = _read(files.as_path("path", path), ())
    wrong = np.flatnonzero(labels >= N_CLASSES)
    if wrong.size:
        raise DataError(f"{path}: labels must lie in 0 .. {N_CLASSES - 1}, got {labels[wrong[0]]} at index {wrong[0]}")
    return labels.astype(np.int64)


def labels_content(labels: npt.NDArray[np.int64]) -> bytes:
    """Return the bytes of the unpacked IDX file that holds the labels."""
    return struct.pack(">2I", UNSIGNED_BYTE << 8 | 1, len(labels)) + labels.astype(np.uint8).tobytes()


def _read(path: Path, sample_shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the values of an IDX file, (n, *sample_shape), read-only."""
    header_size = MAGIC_SIZE + 4 * (1 + len(sample_shape))
    with files.opened(path) as stream:
        shape = _shape_in(stream.read(header_size), sample_shape, path)
        expected = math.prod(shape)
        content = stream.read(expected + 1)  # a gzip stream compares its checksum where it ends
    if len(content) != expected:
        kind, found = ("truncated", len(content)) if len(content) < expected else ("too long", "more")
        counts = " x ".join(str(size) for size in shape)
        raise DataError(f"{path}: {kind} IDX file, the header says {counts} = {expected} bytes, got {found}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def _shape_in(header: bytes, sample_shape: tuple[int, ...], path: Path) -> list[int]:
    """Return the counts of an IDX header, n and those of a sample."""
    n_axes = 1 + len(sample_shape)
    header_size = MAGIC_SIZE + 4 * n_axes
    if len(header) < header_size:
        raise DataError(f"{path}: truncated IDX file, {len(header)} bytes where the header alone has {header_size}")
    magic, *shape = struct.unpack(f">{1 + n_axes}I", header)
    expected = UNSIGNED_BYTE << 8 | n_axes
    if magic != expected:
        raise DataError(f"{path}: wrong IDX magic number, expected 0x{expected:08x}, got 0x{magic:08x}")
    if tuple(shape[1:]) != sample_shape:
        raise DataError(f"{path}: images must have {SIDE} x {SIDE} pixels, got {shape[1]} x {shape[2]}")
    if not 1 <= shape[0] <= MOST_SAMPLES:
        raise DataError(f"{path}: the number of samples must be 1 to {MOST_SAMPLES}, the header says {shape[0]}")
    return shape


def candidates(folder: str | Path, name: str) -> list[Path]:
    """Return the files in a folder that have a name of the original distribution, unpacked ones first.

    The name may have a dot instead of the dash before "idx", and end with .gz or .GZ; the file may lie in a folder
    of such a name.
    """
    pattern = re.compile(name.replace("-idx", "[-.]idx") + r"(\.gz)?", re.IGNORECASE)
    entries = [entry for entry in sorted(Path(folder).iterdir()) if pattern.fullmatch(entry.name)]
    for entry in [entry for entry in entries if entry.is_dir()]:
        entries += [inner for inner in sorted(entry.iterdir()) if pattern.fullmatch(inner.name)]
    return sorted((entry for entry in entries if not entry.is_dir()), key=lambda path: path.suffix.lower() == ".gz")


def read_split(folder: str | Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return (images (n, 1, 28, 28), labels (n,)) of a split; images and labels must be equally many.

    Of a plain file and a packed one of the same name the plain one is read. If it is damaged and the packed one is not
    (unpacking may have been interrupted), the packed one is read, and a warning says so.

    Raises
    ------
    MissingSplitError
        If one of the two files is not in the folder.
    DataError
        If a file is damaged, or images and labels are not equally many.
    """
    names = SPLIT_FILES[checks.one_of("split", split, SPLIT_FILES)]
    folder = files.as_path("folder", folder)
    found = [candidates(folder, name) for name in names]
    for name, paths in zip(names, found, strict=True):
        if not paths:
            raise MissingSplitError(f"{folder}: the {split} split is incomplete, {name}[.gz] is missing")
    images_path, images = files.first_whole(found[0], read_images)
    labels_path, labels = files.first_whole(found[1], read_labels)
    if len(images) != len(labels):
        raise DataError(f"{images_path}: {len(images)} images, but {labels_path} holds {len(labels)} labels")
    return images, labels

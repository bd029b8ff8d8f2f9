"""The IDX format of MNIST and Fashion-MNIST: a header of big-endian counts, then the bytes.

The header is: two zero bytes, one byte for the type of the values (8 = unsigned byte, the only one in these data sets),
one byte for the number of axes, then one unsigned 32-bit big-endian size per axis. The values follow in C order.
Source: the description of the format on the MNIST data set's page.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.datasets.errors import DataError, MissingSplitError

UNSIGNED_BYTE = 8  # the IDX code of the value type uint8
MAGIC_SIZE = 4  # bytes: two zeros, value type, number of axes
IMAGE_AXES = 3  # (picture, row, column)
LABEL_AXES = 1
N_CLASSES = 10
SIDE = 28  # pixels, MNIST and Fashion-MNIST
GZIP_SUFFIX = ".gz"

SPLIT_FILES = {  # split -> (images, labels); the names are those of the original distribution
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def read_content(path: str | Path) -> bytes:
    """Return the bytes of a file, unpacked if its name ends with .gz.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    DataError
        If the file is empty, or a .gz file is no gzip file, is cut short or is damaged.
    """
    path = Path(path)
    if path.suffix != GZIP_SUFFIX:
        content = path.read_bytes()
    else:
        try:
            with gzip.open(path, "rb") as stream:
                content = stream.read()
        except EOFError as error:
            raise DataError(f"{path}: truncated gzip file (the compressed stream ends early)") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: not a valid gzip file ({error})") from error
    if not content:
        raise DataError(f"{path}: the file is empty")
    return content


def parse_idx(content: bytes, source: str | Path, n_axes: int) -> npt.NDArray[np.uint8]:
    """Return the array that the bytes of an unpacked IDX file describe.

    Parameters
    ----------
    content : bytes
        Header and values.
    source : str or Path
        The file's name for the error messages.
    n_axes : int
        The number of axes that the file must have: 3 for pictures, 1 for labels.

    Returns
    -------
    ndarray of uint8
        A read-only view of `content`.

    Raises
    ------
    DataError
        If the magic number is another, or the counts in the header do not agree with the number of bytes.
    """
    header_size = MAGIC_SIZE + 4 * n_axes
    expected_magic = UNSIGNED_BYTE << 8 | n_axes
    if len(content) < header_size:
        raise DataError(f"{source}: truncated IDX file, {len(content)} bytes where the header alone has {header_size}")
    magic, *shape = struct.unpack(f">{1 + n_axes}I", content[:header_size])
    if magic != expected_magic:
        raise DataError(f"{source}: wrong IDX magic number, expected 0x{expected_magic:08x}, got 0x{magic:08x}")
    expected, found = math.prod(shape), len(content) - header_size
    if found != expected:
        kind = "truncated" if found < expected else "too long"
        counts = " x ".join(str(size) for size in shape)
        raise DataError(f"{source}: {kind} IDX file, the header says {counts} = {expected} bytes, got {found}")
    return np.frombuffer(content, np.uint8, offset=header_size).reshape(shape)


def read_images(path: str | Path) -> npt.NDArray[np.uint8]:
    """Return the pictures of an IDX file as (n, 1, 28, 28); see `parse_idx` for the errors."""
    images = parse_idx(read_content(path), path, IMAGE_AXES)
    if images.shape[0] == 0:
        raise DataError(f"{path}: the file holds no pictures")
    if images.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{path}: pictures must have {SIDE} x {SIDE} pixels, got {images.shape[1]} x {images.shape[2]}")
    return images[:, np.newaxis]


def read_labels(path: str | Path) -> npt.NDArray[np.int64]:
    """Return the labels of an IDX file as (n,), each 0 .. 9; see `parse_idx` for the errors."""
    labels = parse_idx(read_content(path), path, LABEL_AXES)
    wrong = np.flatnonzero(labels >= N_CLASSES)
    if wrong.size:
        raise DataError(f"{path}: labels must lie in 0 .. {N_CLASSES - 1}, got {labels[wrong[0]]} at index {wrong[0]}")
    return labels.astype(np.int64)


def split_paths(folder: str | Path, split: str) -> tuple[Path, Path]:
    """Return the paths of the images and the labels of a split, plain or .gz (the plain file is preferred).

    Raises
    ------
    MissingSplitError
        If one of the two files is not in the folder.
    """
    images, labels = SPLIT_FILES[checks.one_of("split", split, SPLIT_FILES)]
    return _plain_or_packed(Path(folder), images, split), _plain_or_packed(Path(folder), labels, split)


def _plain_or_packed(folder: Path, name: str, split: str) -> Path:
    for candidate in (folder / name, folder / (name + GZIP_SUFFIX)):
        if candidate.is_file():
            return candidate
    raise MissingSplitError(f"{folder}: the {split} split is incomplete, {name}[{GZIP_SUFFIX}] is missing")


def read_split(folder: str | Path, split: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return (images (n, 1, 28, 28), labels (n,)) of a split; images and labels must be equally many."""
    images_path, labels_path = split_paths(folder, split)
    images, labels = read_images(images_path), read_labels(labels_path)
    if len(images) != len(labels):
        raise DataError(f"{images_path}: {len(images)} pictures, but {labels_path} holds {len(labels)} labels")
    return images, labels

"""The files of the data sets: how they are named, and how they are read within bounds.

Only regular files are read, since a named pipe would wait for ever. No more is read or unpacked than the caller's
bound, since 2 MB of gzip can hold 2 GiB.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from tsslbp_ref import checks
from tsslbp_ref.datasets.errors import DataError
from tsslbp_ref.files import MOST_PATH as MOST_PATH
from tsslbp_ref.files import as_path as as_path

GZIP_MAGIC = b"\x1f\x8b"
ZIP_MAGIC = b"PK\x03\x04"
GZIP_SUFFIXES = (".gz", ".tgz")
CHUNK = 1 << 16  # bytes
MOST_REASON = 200  # characters of another library's error that a message repeats

Result = TypeVar("Result")


def is_folder(path: Path) -> bool:
    """Say whether a folder is there; one that may not be read is an error, while glob would find it empty.

    Raises
    ------
    OSError
        If there is a folder, or something on the way to it, that cannot be read.
    """
    try:
        with os.scandir(os.path.join(path, os.curdir)):  # the dot asks for the permission to reach the entries too
            return True
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no name that a file can have
        return False
    except OSError as error:
        raise OSError(error.errno, f"cannot read the folder {path}: {error.strerror}") from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file for reading, unpacked if its name ends with .gz or .tgz, in small or capital letters.

    Raises
    ------
    OSError
        If there is no such file or it may not be read.
    DataError
        If it is no regular file, is empty, is packed where its name says it is not (or the reverse), or if the gzip
        stream turns out to be cut short or damaged inside the ``with`` block.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataError(f"{path}: no regular file")
    with open(path, "rb") as raw:
        first = raw.read(len(ZIP_MAGIC))
        raw.seek(0)
        packed = path.suffix.lower() in GZIP_SUFFIXES
        _check_magic(first, path, packed=packed)
        try:
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        except EOFError as error:
            raise DataError(f"{path}: truncated gzip file (the compressed stream ends early)") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{path}: not a valid gzip file ({reason(error)})") from error


def _check_magic(first: bytes, path: Path, *, packed: bool) -> None:
    """Raise `DataError` if a file's first bytes contradict its name; no format of the data sets begins like a zip."""
    if not first:
        raise DataError(f"{path}: the file is empty")
    is_gzip = first.startswith(GZIP_MAGIC)
    if packed and not is_gzip:
        raise DataError(f"{path}: not a valid gzip file (it begins with {first!r}; if unpacked, it needs another name)")
    if is_gzip and not packed:
        raise DataError(f"{path}: this is a gzip file: unpack it, or add .gz to its name")
    if first == ZIP_MAGIC:
        raise DataError(f"{path}: this is a zip file: unpack it")


class Bounded:
    """A binary stream of which no more than `most` bytes may be read; more is a `DataError`.

    `last` is what was read last.
    """

    def __init__(self, stream: BinaryIO, most: int, source: str | Path) -> None:
        self._stream, self._left, self.last = stream, most, b""
        self._message = f"{source}: more than {most} bytes, which is more than the data set has"

    def read(self, size: int) -> bytes:
        """Return at most `size` further bytes."""
        self.last = self._stream.read(size)
        self._left -= len(self.last)
        if self._left < 0:
            raise DataError(self._message)
        return self.last

    def chunks(self) -> Iterator[bytes]:
        """Yield what is left in pieces."""
        while content := self.read(CHUNK):
            yield content


def read_bounded(path: Path, most: int) -> bytes:
    """Return the bytes of a file that has at most `most` of them; see `opened` for the errors."""
    with opened(path) as stream:
        return b"".join(Bounded(stream, most, path).chunks())


def first_whole(paths: Sequence[Path], read: Callable[[Path], Result]) -> tuple[Path, Result]:
    """Return the first path that is whole and what `read` makes of it; a warning names each damaged one before it.

    Raises
    ------
    DataError
        That of the first path, if none is whole.
    """
    damaged: list[DataError] = []
    for path in paths:
        try:
            result = read(path)
        except DataError as error:
            damaged.append(error)
            continue
        for passed_over in damaged:
            checks.warn(f"{passed_over}; {path} is read in its place")
        return path, result
    raise damaged[0]


def reason(error: BaseException) -> str:
    """Return an error's message in one line of at most 200 characters, or its type where it has none."""
    return (" ".join(str(error).split()) or type(error).__name__)[:MOST_REASON]

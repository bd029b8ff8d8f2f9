"""A user's own arrays: an .npz file that holds X, y, X_test and y_test, or an .npy file each."""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.checks import shown
from tsslbp_ref.datasets.errors import DataError
from tsslbp_ref.files import as_path

ARCHIVE = "file"
NAMES = ("X", "y", "X_test", "y_test")
MOST_UNPACKED = 1032  # times as many bytes as are packed: what deflate, the compression of .npz files, has at most
MOST_HEADER_BYTES = 2**14  # of an array; NumPy itself takes 10,000 characters at most
_MEMBER = ".npy"  # ends the name of an array in an archive


def load_arrays(paths: Mapping[str, str | Path]) -> dict[str, npt.NDArray[Any]]:
    """Read the arrays, without pickle.

    Parameters
    ----------
    paths : mapping
        The .npz file under "file", or an .npy file under each of X, y, X_test and y_test.

    Returns
    -------
    dict
        The four arrays by name.

    Raises
    ------
    DataError
        If a file is none of NumPy's, is damaged, holds Python objects, or lacks an array; the message names it. Or if
        paths names too few.
    TypeError
        If paths is no mapping, or holds something else than paths.
    OSError
        If a file is not there or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/own.npz", X=np.ones((6, 4)), y=np.zeros(6), X_test=np.ones((2, 4)), y_test=np.zeros(2))
    ...     arrays = load_arrays({"file": f"{folder}/own.npz"})
    >>> {name: array.shape for name, array in arrays.items()}
    {'X': (6, 4), 'y': (6,), 'X_test': (2, 4), 'y_test': (2,)}
    """
    checks.instance_of("paths", paths, Mapping)  # type: ignore[type-abstract]
    wanted = (ARCHIVE,) if ARCHIVE in paths else NAMES
    missing = [name for name in wanted if name not in paths]
    if missing:
        raise DataError(f"paths must name {ARCHIVE}, or all of {', '.join(NAMES)}; {missing[0]} is missing")
    given = {name: as_path(name, paths[name]) for name in wanted}
    if ARCHIVE not in given:
        return {name: _array(path) for name, path in given.items()}
    path = given[ARCHIVE]
    found = _read(path)
    missing = [name for name in NAMES if not isinstance(found, dict) or name not in found]
    if missing:
        held = shown(sorted(found)) if isinstance(found, dict) else "one array alone"
        raise DataError(f"{path} must hold the arrays {', '.join(NAMES)}; {missing[0]} is missing, it holds {held}")
    return {name: found[name] for name in NAMES}


def _array(path: Path) -> npt.NDArray[Any]:
    found = _read(path)
    if isinstance(found, dict):
        raise DataError(f"{path} must be one array, an .npy file, but it holds {shown(sorted(found))}")
    return found


def _read(path: Path) -> Any:
    """The array of an .npy file, or a dictionary of those of an .npz file."""
    if not path.is_file():  # a pipe would never end
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with path.open("rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    members = {member.filename.removesuffix(_MEMBER): member for member in archive.infolist()}
                    return {name: _member(archive, member, n_bytes) for name, member in members.items()}
            file.seek(0)
            return _whole_array(file, n_bytes)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # damaged bytes make zipfile and NumPy raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is no array file of NumPy's, or is damaged: {reason}") from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, n_bytes: int) -> npt.NDArray[Any]:
    """An array of an archive, which may be compressed."""
    with archive.open(member) as file:
        return _whole_array(file, min(member.file_size, MOST_UNPACKED * min(member.compress_size, n_bytes)))


def _whole_array(file: IO[bytes], n_bytes: int) -> npt.NDArray[Any]:
    """The array of an open file of so many bytes; one that promises more is refused before memory is taken for it."""
    npy, head = np.lib.format, io.BytesIO(file.read(MOST_HEADER_BYTES))
    read_header = npy.read_array_header_1_0 if npy.read_magic(head) == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(head)
    promised = math.prod(shape) * dtype.itemsize
    if promised > n_bytes:
        raise ValueError(f"its header promises {promised} bytes, of which there are {n_bytes} at most")
    file.seek(0)
    return npy.read_array(file, allow_pickle=False)

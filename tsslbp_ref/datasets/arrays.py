"""A user's own arrays: an .npz file that holds X, y, X_test and y_test, or an .npy file each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.checks import shown
from tsslbp_ref.datasets.errors import DataError

ARCHIVE = "file"
NAMES = ("X", "y", "X_test", "y_test")


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
        If a file is none of NumPy's, is damaged, holds Python objects, or lacks an array; the message names it.
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
    if ARCHIVE not in paths:
        return {name: _array(Path(paths[name])) for name in NAMES}
    path = Path(paths[ARCHIVE])
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
            found = np.load(file, allow_pickle=False)
            return found if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except (MemoryError, OSError):
        raise
    except Exception as error:  # damaged bytes make zipfile and NumPy raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is no array file of NumPy's, or is damaged: {reason}") from error

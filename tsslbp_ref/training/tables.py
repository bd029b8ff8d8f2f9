"""The tables of measurements that the tutorials read: in a clone, or installed with the package."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from tsslbp_ref.checks import one_of

CLONE = Path(__file__).resolve().parents[2]
FOLDERS = ("results", "figures/out")  # of a clone; what setup.cfg names of them is installed in INSTALLED
INSTALLED = "share/tsslbp_ref"


def recorded_table(name: str) -> Path:
    """Path of a table that was measured or drawn for this project and comes with it.

    Parameters
    ----------
    name : str
        Of the file: in a clone any of results/ and of figures/out/, elsewhere those that the tutorials read.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If there is no such table (the error lists those that are there).

    Notes
    -----
    results/README.md says of each table which command made it.

    Examples
    --------
    >>> import numpy as np
    >>> import tsslbp_ref as tr
    >>> table = np.genfromtxt(tr.recorded_table("raster-seeds.csv"), delimiter=",", names=True, dtype=None)
    >>> float(table["wrong_places"][table["rule"] == "released"].mean())
    15.1
    """
    tables = {path.name: path for path in _of_clone() or _installed()}
    return tables[one_of("table", name, tables)]


def _of_clone() -> list[Path]:
    return [path for folder in FOLDERS for path in (CLONE / folder).glob("*.*") if path.suffix in (".csv", ".json")]


def _installed() -> list[Path]:
    try:
        files = metadata.files("tsslbp-ref") or []
    except metadata.PackageNotFoundError:
        return []
    return [Path(str(file.locate())).resolve() for file in files if INSTALLED in file.as_posix()]

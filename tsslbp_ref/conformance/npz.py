"""The two files: cases that are written out, and another code's arrays that are read in."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tsslbp_ref.conformance.cases import Array, cases
from tsslbp_ref.conformance.comparison import ArraysError, compare_arrays
from tsslbp_ref.conformance.guide import description, readme
from tsslbp_ref.conformance.layouts import checked_layout, to_layout
from tsslbp_ref.conformance.report import Report
from tsslbp_ref.files import atomic_file, read_regular

FORMAT, VERSION = "tsslbp_ref conformance cases", 1
UNREADABLE = (ValueError, EOFError, OSError, zipfile.BadZipFile, RuntimeError, MemoryError, zlib.error)
MOST_BYTES = 1 << 28  # of a file of results; the cases' own arrays take 4 MB


def export(path: str | Path, states: str | Iterable[str] | None = None, *, layout: str = "TBN") -> list[str]:
    """Write the inputs of all cases of the states into an npz file and return the cases' names.

    The file says what it holds: ``README`` is a text, ``cases`` a JSON text with each array's meaning, axes, shape
    and unit, and the names of the arrays to write back.

    Parameters
    ----------
    path : str or Path
    states : str or iterable of str, optional
        "released", "june-2020", "september-2020", "november-2020"; all if not given.
    layout : {"TBN", "BNT", "BCHWT"}
        Of what runs over time.

    Raises
    ------
    ValueError, TypeError
        If a state or the layout is unknown.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     names = export(f"{folder}/cases.npz", "june-2020")
    ...     I = np.load(f"{folder}/cases.npz")["june-2020/layer0/I"]
    >>> names[0], I.shape
    ('june-2020/layer0', (5, 5, 7))
    """
    layout, chosen = checked_layout(layout), cases(states)
    arrays: dict[str, Array] = {"README": np.array(readme(layout))}
    described = {case.name: description(case, layout) for case in chosen}
    head = {"format": FORMAT, "version": VERSION, "layout": layout, "cases": described}
    arrays["cases"] = np.array(json.dumps(head, indent=1))
    for case in chosen:
        for q in case.inputs():
            values = q.values if q.sample is None else to_layout(q.values, q.sample, layout)
            arrays[f"{case.name}/{q.name}"] = values
    with atomic_file(Path(path)) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    return list(described)


def compare_file(path: str | Path, *, layout: str = "TBN", tolerance: float | None = None) -> Report:
    """Compare the arrays of an npz file.

    Parameters
    ----------
    path : path
        Its arrays are named as "released/layer0/delta".
    layout, tolerance
        As for `compare`.

    Returns
    -------
    Report

    Raises
    ------
    ArraysError
        If arrays are missing, misshapen, unknown or unreadable; `problems` has a line for each.
    ValueError, TypeError, OSError
        If an argument is not of its kind, or the file cannot be read or is no npz file.

    Examples
    --------
    >>> import tempfile
    >>> case = cases("released")[0]
    >>> halved = {f"{case.name}/{quantity.name}": quantity.values / 2 for quantity in case.expected()}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/mine.npz", **halved)
    ...     report = compare_file(f"{folder}/mine.npz")
    >>> report.first.name, report.first.place
    ('released/layer0/u', 't 0, sample 0, neuron 0, no spike there: yours -0.0548342, ours -0.109668')
    """
    return compare_arrays(_read(Path(path)), layout=layout, tolerance=tolerance)


def _read(path: Path) -> dict[str, Array]:
    """All arrays of an npz file; no pickles, and no more bytes than `MOST_BYTES` when unpacked."""
    data = io.BytesIO(read_regular(path, MOST_BYTES))
    problems: list[str] = []
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(data) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise ValueError(f"{path} must have {MOST_BYTES} bytes at most when it is unpacked")
            for name in archive.namelist():
                try:
                    with archive.open(name) as member:
                        arrays[name.removesuffix(".npy")] = np.lib.format.read_array(member, allow_pickle=False)
                except UNREADABLE as error:
                    problems.append(f"{name.removesuffix('.npy')} cannot be read: {error}")
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} must be an npz file, as numpy.savez writes it: {error}") from error
    if problems:
        raise ArraysError(problems)
    return arrays

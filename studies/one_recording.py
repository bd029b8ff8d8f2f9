"""The events of one N-MNIST recording as a small table, so that a figure can show them where the data set is not.

``python -m studies.one_recording DATA/n-mnist/Test/5/60054.bin --out results`` writes n-mnist-recording.csv: x, y,
t (us), p of every event as the recording has them. The data set is by G. Orchard, A. Jayawant, G. K. Cohen and
N. Thakor, licence CC BY-SA 4.0; so is the table.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.datasets import read_events
from tsslbp_ref.datasets.nmnist import EVENT_DTYPE
from tsslbp_ref.files import write_atomically

TABLE = "n-mnist-recording.csv"
COLUMNS = tuple(EVENT_DTYPE.names or ())


def write_table(events: npt.NDArray[Any], path: Path) -> None:
    """Write events, one a line.

    Raises
    ------
    OSError
        If the file cannot be written; what was there stays.
    """
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *events[list(COLUMNS)].tolist()])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


def read_table(path: Path) -> npt.NDArray[Any]:
    """Read what `write_table` wrote, as a structured array.

    Raises
    ------
    ValueError
        If the file is another table.
    """
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    if tuple(header) != COLUMNS:
        raise ValueError(f"{path} holds other columns than {', '.join(COLUMNS)}")
    return np.array([tuple(int(cell) for cell in row) for row in rows], dtype=EVENT_DTYPE)


USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.one_recording", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("recording", type=Path, metavar="FILE.bin", help="a recording of N-MNIST")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the table")
    options = parser.parse_args(arguments)
    try:
        write_table(read_events(options.recording), options.out / TABLE)
    except (ValueError, TypeError, OSError) as error:
        print(f"python -m studies.one_recording: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

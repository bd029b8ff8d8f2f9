"""The files of a run's folder: their names, and how they are read."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tsslbp_ref.training.checkpoints import CheckpointError, parse_json

CONFIG, METRICS, LAST, BEST = "config.json", "metrics.jsonl", "checkpoint-last.npz", "checkpoint-best.npz"
METRIC_NAMES = ("epoch", "train_loss", "train_accuracy", "test_accuracy", "seconds", "samples_per_second")
LARGEST_COUNT = 2**53  # up to here floats are exact, and nothing that counts in a run comes near


def refuse_occupied(folder: Path, *, resume: bool) -> None:
    """Raise FileExistsError if a folder holds any file of a run and `resume` is not asked for.

    A file in the folder's place, or on the way to it, is a NotADirectoryError.
    """
    for place in (folder, *folder.parents):
        if place.is_file():
            raise NotADirectoryError(f"a run needs a folder, but {place} is a file")
    held = [name for name in (CONFIG, METRICS, LAST, BEST) if (folder / name).exists()]
    if held and not resume:
        raise FileExistsError(f"{folder} holds a run already ({held[0]}): --resume goes on, or choose another folder")


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder, from config.json.

    Raises
    ------
    CheckpointError
        If the file is no JSON object; the message names it.
    """
    path = folder / CONFIG
    try:
        found = parse_json(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(found).__name__}")
    return found


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line cut short by a kill is left out.

    Raises
    ------
    CheckpointError
        If another line is not an epoch's metrics; the message names the file and the line.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    rows = []
    content = path.read_bytes()
    lines = content.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            if number == len(lines) and not content.endswith(b"\n"):
                break
            raise CheckpointError(f"{path}, line {number} is no JSON: {error}") from error
        if not isinstance(row, dict) or not all(is_finite_number(row.get(name)) for name in METRIC_NAMES):
            raise CheckpointError(f"{path}, line {number} must hold the finite numbers {', '.join(METRIC_NAMES)}")
        rows.append(row)
    return rows


def is_finite_number(value: Any) -> bool:
    """Whether a JSON value is a number that a float can hold: not NaN, not infinite, not true or false."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= LARGEST_COUNT
    return isinstance(value, float) and math.isfinite(value)


def is_count(value: Any) -> bool:
    """Whether a JSON value is an integer from 0 on."""
    return isinstance(value, int) and is_finite_number(value) and value >= 0

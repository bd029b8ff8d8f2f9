"""The files of a run's folder: their names, and how they are read.

Each must be a regular file, or a link to one, of bounded size: a pipe, a device or an endless file in its place is one
line of error.
"""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tsslbp_ref.checks import shown
from tsslbp_ref.files import CheckpointError, parse_json, read_regular
from tsslbp_ref.model.parameters import GradientRule
from tsslbp_ref.model.saved import BEST

CONFIG, METRICS, LAST = "config.json", "metrics.jsonl", "checkpoint-last.npz"
RUN_FILES = (CONFIG, METRICS, LAST, BEST)
TEST = "test_accuracy"
METRIC_NAMES = ("epoch", "train_loss", "train_accuracy", TEST, "seconds", "samples_per_second")
VALIDATION = "validation_accuracy"  # a metric, too, of a run that has held out samples
SHARES = ("train_accuracy", TEST)
DURATIONS = ("seconds", "samples_per_second")
LARGEST_COUNT = 2**53  # up to here floats are exact, and nothing that counts in a run comes near
MOST_CONFIG_BYTES = 2**20
MOST_METRICS_BYTES = 2**24  # about 80,000 epochs


def refuse_occupied(folder: Path, *, resume: bool) -> None:
    """Raise FileExistsError if a folder holds any file of a run and `resume` is not asked for.

    A file in the folder's place, or on the way to it, is a NotADirectoryError.
    """
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise NotADirectoryError(f"a run needs a folder, but {place} is a file")
    held = [name for name in RUN_FILES if is_there(folder / name)]
    if held and not resume:
        raise FileExistsError(f"{folder} holds a run already ({held[0]}): --resume goes on, or choose another folder")


def is_there(path: Path) -> bool:
    """Whether there is anything at a path, be it a link to nothing."""
    return os.path.lexists(path)


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder, from config.json.

    Raises
    ------
    CheckpointError
        If the file is no JSON object, or no regular file of up to 1 MiB; the message names it.
    OSError
        If the file is not there or cannot be read.
    """
    path = folder / CONFIG
    content = read_regular(path, MOST_CONFIG_BYTES)
    try:
        found = parse_json(content)
    except ValueError as error:
        raise CheckpointError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(found).__name__}")
    return found


def with_rule_defaults(rule: dict[str, Any]) -> dict[str, Any]:
    """The rule of a config, with the default of each field that it lacks: earlier versions had fewer fields.

    >>> with_rule_defaults({"inter": "literal", "warmup": "True"})["silent"]
    'leak'
    """
    return {name: str(value) for name, value in asdict(GradientRule()).items()} | rule


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last line cut short by a kill is left out.

    Raises
    ------
    CheckpointError
        If another line is not an epoch's metrics: finite numbers, the accuracies from 0 to 1, the epochs counting up
        from 1; or if the file is no regular one of up to 16 MiB. The message names the file and the line.
    OSError
        If the file cannot be read.
    """
    path = folder / METRICS
    if not is_there(path):
        return []
    rows: list[dict[str, Any]] = []
    content = read_regular(path, MOST_METRICS_BYTES)
    lines = content.splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            if number == len(lines) and not content.endswith(b"\n"):
                break
            raise CheckpointError(f"{path}, line {number} is no JSON: {error}") from error
        wrong = _wrong_metric(row, number, held_out=isinstance(row, dict) and VALIDATION in (rows or [row])[0])
        if wrong is not None:
            raise CheckpointError(f"{path}, line {number} {wrong}")
        rows.append(row)
    return rows


def _wrong_metric(row: Any, number: int, *, held_out: bool) -> str | None:
    """What is wrong with the metrics of an epoch; None if nothing is."""
    held = (VALIDATION,) if held_out else ()
    if not isinstance(row, dict) or not all(is_finite_number(row.get(name)) for name in METRIC_NAMES + held):
        return f"must hold the finite numbers {', '.join(METRIC_NAMES + held)}"
    if row["epoch"] != number:
        return f"must be of epoch {number}, got {row['epoch']}"
    for name in SHARES + held:
        if not 0 <= row[name] <= 1:
            return f"must have its {name} from 0 to 1, got {shown(row[name])}"
    for name in DURATIONS:
        if row[name] < 0:
            return f"must have its {name} from 0 on, got {shown(row[name])}"
    return None


def is_finite_number(value: Any) -> bool:
    """Whether a JSON value is a number that a float can hold: not NaN, not infinite, not true or false."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= LARGEST_COUNT
    return isinstance(value, float) and math.isfinite(value)


def is_count(value: Any) -> bool:
    """Whether a JSON value is an integer from 0 on."""
    return isinstance(value, int) and is_finite_number(value) and value >= 0

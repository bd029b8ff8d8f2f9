"""One file of what was measured, a part a command: results/reliability.json."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.against import commit
from benchmarks.race import ROOT
from tsslbp_ref.engine.threads import available_cores
from tsslbp_ref.files import parse_json, write_atomically

RESULTS = Path("results/reliability.json")
PACKAGES = ("numpy", "scipy", "numba")


def note(part: str, numbers: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Write the numbers of a part, with the command that was given, machine and commit; the other parts stay.

    Raises
    ------
    ValueError, OSError
        If the file there is no JSON object, or cannot be written.
    """
    found = _parts(path)
    found[part] = {"command": _command(), "machine": _machine(), "commit": commit(ROOT), **numbers}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(found, indent=1, sort_keys=True) + "\n").encode())


def noted(part: str, path: Path = RESULTS) -> dict[str, Any]:
    """What a part's last `note` has written; nothing where there is none."""
    return dict(_parts(path).get(part, {}))


def _parts(path: Path) -> dict[str, Any]:
    found = parse_json(path.read_bytes()) if path.exists() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(found).__name__}")
    return found


def _command() -> str:
    return shlex.join(["python", "-m", "studies.reliability", *sys.argv[1:]])


def _machine() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"system": platform.platform(), "cores": available_cores(), "python": platform.python_version(), **versions}

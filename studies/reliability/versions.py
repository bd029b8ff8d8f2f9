"""Run the tests with the oldest packages that setup.cfg allows, and with the newest that the index has.

Each in a virtual environment and a copy of the sources of its own, so that nothing compiled is shared. `--python` may
be given again, for other interpreters that are installed.
"""

from __future__ import annotations

import argparse
import configparser
import json
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.reliability import record

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = ("data", "test")
LINTERS = ("ruff", "mypy")  # pinned for their opinions, and no part of the tests
SETS = ("lowest", "newest")
TESTS = ("-m", "not long", "-p", "no:cacheprovider")
COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed)")
SHOWN = ("numpy", "scipy", "numba", "matplotlib", "hypothesis", "pytest")


def requirements(of: str, config: Path = ROOT / "setup.cfg") -> list[str]:
    """What setup.cfg asks for, for pip: each at its lowest version, or as it stands.

    Raises
    ------
    ValueError
        If `of` is neither "lowest" nor "newest", or a requirement has no lowest version.

    Examples
    --------
    >>> [line for line in requirements("lowest") if line.startswith("numba")]
    ['numba==0.61']
    """
    if of not in SETS:
        raise ValueError(f"of must be one of {', '.join(SETS)}, got {of!r}")
    parsed = configparser.ConfigParser()
    parsed.read(config)
    texts = [parsed["options"]["install_requires"], *(parsed["options.extras_require"][name] for name in EXTRAS)]
    lines = dict.fromkeys(line.strip() for text in texts for line in text.splitlines() if line.strip())
    wanted = [line for line in lines if not line.startswith(LINTERS)]
    for line in wanted:
        if "==" not in line and ">=" not in line:
            raise ValueError(f"{config}: {line} has no lowest version")
    return [line.replace(">=", "==") for line in wanted] if of == "lowest" else wanted


def make(folder: Path, of: str, python: str) -> Path:
    """Make the environment and the copy of the sources; return the environment's interpreter."""
    if python == sys.executable:
        venv.create(folder / "venv", with_pip=True)
    else:
        subprocess.run([python, "-m", "venv", folder / "venv"], check=True)
    interpreter = folder / "venv" / "bin" / "python"
    pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "setuptools>=68", "wheel"], check=True)
    subprocess.run([*pip, "--upgrade", "--upgrade-strategy", "eager", *requirements(of)], check=True)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "--null", "-T", "-", "-cf", folder / "sources.tar"], cwd=ROOT, input=listed, check=True)
    (folder / "sources").mkdir()
    subprocess.run(["tar", "-xf", folder / "sources.tar"], cwd=folder / "sources", check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--editable", "."], cwd=folder / "sources", check=True)
    return interpreter


def tested(folder: Path, interpreter: Path, processes: int, selected: Sequence[str]) -> dict[str, Any]:
    """Run the tests; return their counts, the versions, and the last lines if a test failed."""
    names = json.dumps(SHOWN)
    code = f"import importlib.metadata as m, json, platform; print(json.dumps({{n: m.version(n) for n in {names}}} | "
    code += "{'python': platform.python_version()}))"
    versions = json.loads(subprocess.run([interpreter, "-c", code], check=True, capture_output=True).stdout)
    started = time.monotonic()
    spread = ["-n", str(processes), "--dist", "loadfile"] if processes > 1 else []
    run = subprocess.run(
        [interpreter, "-m", "pytest", *TESTS, *spread, *selected],
        cwd=folder / "sources",
        capture_output=True,
        text=True,
    )
    lines = run.stdout.splitlines()
    counts = {kind: int(number) for number, kind in COUNTS.findall(lines[-1] if lines else "")}
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    minutes = round((time.monotonic() - started) / 60, 1)
    return {"versions": versions, "status": run.returncode, **counts, "minutes": minutes, "failed_tests": failed}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--set", action="append", choices=SETS, help="may be given again (default both)")
    parser.add_argument("--python", action="append", help="an interpreter; may be given again (default this one)")
    parser.add_argument("--processes", type=int, default=2, help="of pytest (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="keep the environments here, and use them if they are there")
    parser.add_argument("--out", type=Path, default=record.RESULTS)
    parser.add_argument("--resume", action="store_true", help="keep the other environments' runs that are noted")
    parser.add_argument("tests", nargs="*", help="files of tests (default all)")


def main(options: argparse.Namespace) -> int:
    """Run, note, and return 1 if a test failed."""
    found = record.noted("versions", options.out).get("runs", {}) if options.resume else {}
    with tempfile.TemporaryDirectory(prefix="versions-") as temporary:
        for python in options.python or [sys.executable]:
            for of in options.set or SETS:
                folder = (options.folder or Path(temporary)).resolve() / f"{of}-{Path(python).name}"
                interpreter = folder / "venv" / "bin" / "python"
                if not (folder / "sources").exists():
                    folder.mkdir(parents=True, exist_ok=True)
                    interpreter = make(folder, of, python)
                found[f"{of}, {Path(python).name}"] = tested(folder, interpreter, options.processes, options.tests)
                record.note("versions", {"tests": options.tests or "all", "runs": found}, options.out)
    print(json.dumps(found, indent=1))
    return int(any(run["status"] for run in found.values()))

"""Give the package hostile files, command lines and arrays: each ends well, or in one of the documented errors.

Those are ValueError, TypeError and OSError with one line of text; the command line makes a line on standard error and
an exit status of them. Anything else is a finding: another exception, a warning of NumPy's, more than five seconds of
CPU time, more than 1 GiB of memory, code that a file brought, a result that is wrong, or Python's own words about a
value that nobody has looked at. What is taken is read a second time in another way (`second_readings`), and a result is
wrong if the two differ. Input n of a kind is a function of the seed, the kind and n, with arrays also of the versions
of Hypothesis and of this code: `--kind KIND --number N` tries one again and shows how it ends.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from studies.reliability import record
from studies.reliability.hostile_calls import CALLS, DRAWN, drawn, load_loops
from studies.reliability.hostile_files import FILES, Attempt, Maker
from studies.reliability.surroundings import apart
from studies.trained_runs import read_rows, write_rows
from tsslbp_ref import checks

MAKERS: dict[str, Maker] = {**FILES, **CALLS}
KINDS = (*MAKERS, *DRAWN)
DEFAULT_OUT = Path("results/reliability-inputs.csv")
HEADER = ("kind", "first", "inputs", "taken", "refused", "findings", "longest_cpu_s", "numbers_of_findings")
BLOCK = 250  # inputs of a row, all in one process
DOCUMENTED = (ValueError, TypeError, OSError)
ACCIDENTS = re.compile(  # what Python and NumPy say of a value that nobody has looked at
    "to unpack|broadcast|object is not|unsupported operand|index out|setting an array|cannot reshape|ufunc|no attribute"
    "|positional argument|unexpected keyword|could not convert|not supported between|cannot be interpreted"
)
LONGEST_S, MOST_BYTES = 5.0, 2**30
TAKEN, REFUSED = "taken", "refused"


class TooLongError(BaseException):
    """More than `LONGEST_S` seconds of CPU time."""


@contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """Raise `TooLongError` after so many seconds of CPU time."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def limit_memory(more_bytes: int = MOST_BYTES) -> None:
    """Let this process have so much more memory than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def ended(attempt: Callable[[], Any]) -> tuple[str, str]:
    """How an attempt ends: "taken", "refused" or "finding", and a line on it."""
    try:
        with limited_time(LONGEST_S), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            warnings.simplefilter("error", DeprecationWarning)
            attempt()
    except DOCUMENTED as error:
        text = str(error)
        ours = type(error) not in (ValueError, TypeError) or "must" in text or not ACCIDENTS.search(text)
        sound = text.strip() and len(text.splitlines()) == 1 and ours
        return (REFUSED, text) if sound else ("finding", f"{type(error).__name__}, not a line of ours: {text!r}")
    except BaseException as error:
        return "finding", f"{type(error).__name__}: {error}"
    return TAKEN, ""


def generator(seed: int, kind: str, number: int) -> np.random.Generator:
    """What draws an input."""
    return np.random.default_rng([seed, KINDS.index(kind), number])


def attempts(seed: int, kind: str, first: int, n: int) -> Iterator[Attempt]:
    """The inputs from `first` on; each must be tried before the next is made."""
    if kind in DRAWN:
        yield from drawn(DRAWN[kind], int(generator(seed, kind, first).integers(2**63)), n)
        return
    for number in range(first, first + n):
        with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
            yield MAKERS[kind](generator(seed, kind, number), Path(folder))


def tried(attempt: Attempt) -> tuple[str, str, float]:
    """Try one input: how it ended, a line, CPU seconds."""
    started = time.process_time()
    return *ended(attempt), time.process_time() - started


def block(seed: int, kind: str, first: int, n: int) -> dict[str, Any]:
    """Try the inputs from `first` on, in a process of its own; one row of the table."""

    def work() -> list[tuple[str, str, float]]:
        no_data()
        limit_memory()
        return [tried(attempt) for attempt in attempts(seed, kind, first, n)]

    found, _ = apart(work)
    if found is None:
        raise RuntimeError(f"{kind}, inputs {first} to {first + n - 1}: the process died")
    findings = {first + i: text for i, (end, text, _) in enumerate(found) if end == "finding"}
    for number, text in findings.items():
        print(f"{kind} {number}: {text}", file=sys.stderr, flush=True)
    ends = [end for end, _, _ in found]
    return {
        "kind": kind, "first": first, "inputs": n, "taken": ends.count(TAKEN), "refused": ends.count(REFUSED),
        "findings": len(findings), "longest_cpu_s": f"{max(cpu_s for _, _, cpu_s in found):.3f}",
        "numbers_of_findings": " ".join(map(str, findings)),
    }  # fmt: skip


def no_data() -> None:
    """Let no data set be found, and nothing be downloaded."""
    os.environ |= {"TSSLBP_DATA": "/nonexistent", "TSSLBP_CACHE": "/nonexistent"}
    os.environ |= {f"TSSLBP_BASE_URL_{name}": "http://127.0.0.1:9/" for name in ("MNIST", "FASHION_MNIST", "CIFAR_10")}


def measure(out: Path, *, inputs: int, seed: int, resume: bool) -> list[dict[str, str]]:
    """Write the table until it has so many inputs, all kinds alike, and return it."""
    rows = read_rows(out, HEADER) if resume and out.exists() else []
    first = 0
    load_loops()
    while sum(int(row["inputs"]) for row in rows) < inputs:
        for kind in KINDS:
            if not any(row["kind"] == kind and int(row["first"]) == first for row in rows):
                found = block(seed, kind, first, BLOCK)
                rows.append({name: str(value) for name, value in found.items()})
                write_rows(out, HEADER, rows)
            if sum(int(row["inputs"]) for row in rows) >= inputs:
                break
        first += BLOCK
    return rows


def summary(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Totals, and those of each kind."""
    counts = ("inputs", "taken", "refused", "findings")

    def totals(chosen: list[dict[str, str]]) -> dict[str, Any]:
        longest = max(float(row["longest_cpu_s"]) for row in chosen)
        return {name: sum(int(row[name]) for row in chosen) for name in counts} | {"longest_cpu_s": longest}

    by = {kind: totals(mine) for kind in KINDS if (mine := [row for row in rows if row["kind"] == kind])}
    return totals(rows) | {"by_kind": by}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--inputs", type=int, default=50_000, help="default %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--resume", action="store_true", help="go on with the rows that are there")
    parser.add_argument("--kind", choices=KINDS, help="with --number: try one input and show how it ends")
    parser.add_argument("--number", type=int)


def main(options: argparse.Namespace) -> int:
    """Measure, note, and return 1 if there is a finding."""
    if options.kind is not None:
        return _show(options.seed, options.kind, options.number)
    inputs = checks.positive_integer("inputs", options.inputs)
    found = summary(measure(options.out, inputs=inputs, seed=options.seed, resume=options.resume))
    record.note("inputs", {"seed": options.seed, **found}, options.out.with_name(record.RESULTS.name))
    print(json.dumps(found, indent=1))
    return int(bool(found["findings"]))


def _show(seed: int, kind: str, number: int) -> int:
    """Try one input without a net."""
    no_data()
    load_loops()
    first, n = (number - number % BLOCK, BLOCK) if kind in DRAWN else (number, 1)
    inputs = attempts(seed, kind, first, n)  # its folder is there as long as this is
    attempt = next(itertools.islice(inputs, number - first, None))
    limit_memory()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            attempt()
    except Exception:
        traceback.print_exc()
        return 1
    return 0

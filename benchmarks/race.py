"""The race: contenders in processes of their own, a few steps each in turn, so that a busy moment hits all alike."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.contenders import OURS, PRODUCTS, Contender
from benchmarks.workloads import Workload

ROOT = Path(__file__).parents[1]
MILLISECONDS = 1e3
MIB = 2**20


@dataclass(frozen=True)
class Result:
    """What one contender took for one workload.

    Median of all steps in ms; memory in bytes, of the whole process and on top of what it held before its first step.
    """

    workload: str
    contender: str
    median_ms: float
    fastest_ms: float
    n_steps_timed: int
    first_step_s: float
    peak_bytes: int
    extra_bytes: int


class Racer:
    """A contender's process, idle until it is asked for steps.

    Parameters
    ----------
    workload : Workload
    contender : Contender
    options : str
        More arguments of `benchmarks.worker`.

    Raises
    ------
    RuntimeError
        If the process ends without an answer; the message is the last line that it wrote.
    """

    def __init__(self, workload: Workload, contender: Contender, *options: str) -> None:
        self.workload, self.contender = workload, contender
        command = [sys.executable, "-m", "benchmarks.worker", workload.name, contender.name, *options]
        environment = os.environ | {"OMP_NUM_THREADS": str(contender.threads), "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
            cwd=ROOT,
        )  # fmt: skip
        self._seconds: list[float] = []
        answer = self._read()
        self._first: float = answer["first_step_s"]
        self.package = Path(answer["package"]).parent

    def steps(self, n_steps: int) -> list[float]:
        """Make steps, keep their times and return them."""
        assert self._process.stdin is not None
        print(n_steps, file=self._process.stdin, flush=True)
        seconds: list[float] = self._read()["seconds"]
        self._seconds += seconds
        return seconds

    def result(self) -> Result:
        """End the process and sum up."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        memory = self._read()
        self._process.wait()
        return Result(
            self.workload.name,
            self.contender.name,
            MILLISECONDS * statistics.median(self._seconds),
            MILLISECONDS * min(self._seconds),
            len(self._seconds),
            self._first,
            memory["peak_bytes"],
            memory["extra_bytes"],
        )

    def stop(self) -> None:
        """End the process, whatever it does."""
        with self._process:
            self._process.kill()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        errors = self._process.stderr.read().strip().splitlines()
        raise RuntimeError(f"{self.contender.name} on {self.workload.name}: {errors[-1] if errors else 'no answer'}")


def race(workload: Workload, contenders: Iterable[Contender], *, rounds: int, steps: int) -> list[Result]:
    """Run a workload: `rounds` times through all contenders, `steps` steps each.

    A contender that fails is named on standard error and left out.
    """
    racers = []
    for contender in contenders:
        if workload.n_steps > contender.longest:
            continue
        try:
            racers.append(Racer(workload, contender))
        except RuntimeError as error:
            print(f"left out: {error}", file=sys.stderr)
    for _ in tqdm(range(rounds), desc=workload.name, unit="round", leave=False, disable=None):
        for racer in racers:
            racer.steps(steps)
    return [racer.result() for racer in racers]


def as_text(results: list[Result]) -> str:
    """A table by workload: median, and how many times as long as ours."""
    lines = []
    for workload in dict.fromkeys(result.workload for result in results):
        rows = [result for result in results if result.workload == workload]
        ours = next((row.median_ms for row in rows if row.contender == OURS), None)
        lines.append(workload)
        for row in sorted(rows, key=lambda row: row.median_ms):
            ratio = "" if ours is None else f"{row.median_ms / ours:6.2f} x ours"
            memory = f"{row.peak_bytes / MIB:6.0f} MiB, {row.extra_bytes / MIB:6.0f} of them in the steps"
            lines.append(f"  {row.contender:<26}{row.median_ms:9.2f} ms  {ratio}  {memory}")
    return "\n".join(lines)


def summary(results: list[Result]) -> list[dict[str, Any]]:
    """By workload: our median against the products, the fastest peer, and one thread of ours.

    An undisturbed gain is what two threads gain in the fastest step of each: where others use the cores too, a median
    holds their part.
    """
    rows = []
    for workload in dict.fromkeys(result.workload for result in results):
        median = {result.contender: result.median_ms for result in results if result.workload == workload}
        peers = {name: ms for name, ms in median.items() if not name.startswith((OURS, PRODUCTS))}
        row: dict[str, Any] = {"workload": workload, "ours_ms": median[OURS]}
        row["over_products"] = median[OURS] / median[PRODUCTS]
        row["two_threads_gain"] = median[f"{OURS}, 1 thread"] / median[OURS]
        least = {result.contender: result.fastest_ms for result in results if result.workload == workload}
        row["undisturbed_gain"] = least[f"{OURS}, 1 thread"] / least[OURS]
        if f"{PRODUCTS}, 1 thread" in median:
            row["products_gain"] = median[f"{PRODUCTS}, 1 thread"] / median[PRODUCTS]
            row["undisturbed_products_gain"] = least[f"{PRODUCTS}, 1 thread"] / least[PRODUCTS]
        if peers:
            fastest = min(peers, key=lambda name: peers[name])
            row |= {"fastest_peer": fastest, "faster_than_it": peers[fastest] / median[OURS]}
        rows.append(row)
    return rows


def as_markdown(rows: list[dict[str, Any]]) -> list[str]:
    """The lines of a table: a row a workload of `summary` that has a peer."""
    head = "| workload | ours, ms | times the products | fastest peer raced | its time over ours |"
    return [
        f"{head} gain of two threads | undisturbed |",
        "|---" * 7 + "|",
        *(
            f"| {row['workload']} | {row['ours_ms']:.1f} | {row['over_products']:.2f} | {row['fastest_peer']} "
            f"| {row['faster_than_it']:.2f} | {row['two_threads_gain']:.2f} | {row['undisturbed_gain']:.2f} |"
            for row in rows
            if "fastest_peer" in row
        ),
    ]


def as_json(results: list[Result], machine: dict[str, Any]) -> str:
    """Everything, for results/."""
    content = {"machine": machine, "summary": summary(results), "results": [asdict(result) for result in results]}
    return json.dumps(content, indent=1) + "\n"

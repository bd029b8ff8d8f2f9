"""`python -m benchmarks.ablation [TRICK ...] [--json FILE]`: what each of the engine's tricks brings, switching it off.

Our training step with a trick and without it, paired (`benchmarks.paired`), on the workloads where it may pay. A trick
stays if it makes one of them faster, in per cent of its time with the trick, by its lines divided by `LINES_A_PERCENT`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks import machine
from benchmarks.against import commit
from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.paired import SECONDS, compare
from benchmarks.race import ROOT, Racer
from benchmarks.tricks import TRICKS, Trick
from benchmarks.workloads import WORKLOADS, Workload
from tsslbp_ref import checks

LINES_A_PERCENT = 20
PERCENT = 100.0


@dataclass(frozen=True)
class Gain:
    """What a trick brings on a workload: per cent more time without it, median of the rounds and its 95 % interval."""

    trick: str
    workload: str
    gain: float
    low: float
    high: float
    n_rounds: int
    with_ms: float
    without_ms: float
    n_lines: int

    @property
    def asked(self) -> float:
        """Per cent that the trick has to bring."""
        return self.n_lines / LINES_A_PERCENT


def started(workload: Workload, *tricks: str) -> Racer:
    """Start our step without some tricks."""
    return Racer(workload, CONTENDERS[OURS], *(("--without", ",".join(tricks)) if tricks else ()))


def measure(trick: Trick, workload: Workload, *, seconds: float = SECONDS) -> Gain:
    """Pair a workload without a trick with the same with it; those that it is `beside` are off in both."""
    without, with_it = (partial(started, workload, *tricks) for tricks in ((*trick.beside, trick.name), trick.beside))
    ratio = compare(f"{workload.name} without {trick.name}", without, with_it, seconds=seconds)
    percent = [PERCENT * (value - 1.0) for value in (ratio.median, ratio.low, ratio.high)]
    return Gain(
        trick.name, workload.name, *percent, ratio.n_rounds, ratio.second_ms, ratio.first_ms, trick.n_lines
    )  # fmt: skip


def kept(gains: Sequence[Gain]) -> dict[str, bool]:
    """By trick, whether one of its workloads pays for its lines."""
    return {
        name: any(gain.gain >= gain.asked for gain in gains if gain.trick == name)
        for name in dict.fromkeys(gain.trick for gain in gains)
    }


def as_markdown(gains: Sequence[Gain]) -> list[str]:
    """The lines of a table: a row a trick and workload."""
    stays = kept(gains)
    rows = [
        f"| {g.trick} | {g.workload} | {g.gain:.1f} | {g.low:.1f} to {g.high:.1f} | {g.n_lines} | {g.asked:.1f} "
        f"| {'yes' if stays[g.trick] else 'no'} |"
        for g in gains
    ]
    return ["| trick | workload | gain, % | 95 % interval | lines | asked, % | stays |", "|---" * 7 + "|", *rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description="What each trick brings.")
    parser.add_argument("tricks", nargs="*", metavar="TRICK", help=f"of {', '.join(TRICKS)}; all by default")
    parser.add_argument("--workloads", metavar="NAMES", help="with commas (default: those where a trick may pay)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of rounds, each (default: %(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    options = parser.parse_args(arguments)
    try:
        tricks = [TRICKS[checks.one_of("trick", name, TRICKS)] for name in options.tricks or TRICKS]
        only = options.workloads and [checks.one_of("workload", w, WORKLOADS) for w in options.workloads.split(",")]
        seconds = checks.real_number("seconds", options.seconds, above=0.0)
        about = machine.describe() | {"commit": commit(ROOT)}
        print("\n".join(f"{key}: {value}" for key, value in about.items()))
        gains = []
        for trick in tricks:
            for name in only or trick.workloads:
                gains.append(measure(trick, WORKLOADS[name], seconds=seconds))
                print(as_markdown(gains[-1:])[-1], flush=True)
        print("\n".join(["", *as_markdown(gains)]))
        if options.json is not None:
            content = {"machine": about, "gains": [asdict(gain) for gain in gains]}
            options.json.write_text(json.dumps(content, indent=1) + "\n")
    except (ValueError, OSError, RuntimeError) as error:
        print(f"benchmarks.ablation: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

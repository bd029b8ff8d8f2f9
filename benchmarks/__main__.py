"""`python -m benchmarks [WORKLOAD ...] [--quick] [--json FILE]`: the race of W1 to W4."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.contenders import CONTENDERS
from benchmarks.race import as_json, as_markdown, as_text, race, summary
from benchmarks.workloads import RACED, WORKLOADS
from tsslbp_ref import checks

QUICK_ROUNDS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the race and print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="The race of W1 to W4.")
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"of {', '.join(WORKLOADS)}; {RACED[0]} to {RACED[-1]} by default",
    )
    parser.add_argument("--quick", action="store_true", help="few rounds, nothing compiled by torch")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options = parser.parse_args(arguments)
    try:
        names = [checks.one_of("workload", name, WORKLOADS) for name in options.workloads or RACED]
        installed = [c for c in CONTENDERS.values() if c.installed and not (options.quick and "compiled" in c.name)]
        missing = sorted({c.needs for c in CONTENDERS.values() if not c.installed})
        about = machine.describe()
        print("\n".join(f"{key}: {value}" for key, value in about.items()))
        if missing:
            print(f"not installed, so not in the race: {', '.join(missing)}")
        results = []
        for name in names:
            workload = WORKLOADS[name]
            rounds = QUICK_ROUNDS if options.quick else workload.rounds
            results += race(workload, installed, rounds=rounds, steps=workload.steps_a_round)
        print("\n".join([as_text(results), "", *as_markdown(summary(results))]))
        if options.json is not None:
            options.json.write_text(as_json(results, about))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.against OLD_TREE [--workloads W1,W2,W3-T300,W4]`: the code of this checkout against another's.

Both make our training step (`contenders.ours` of this checkout), each in processes of its own with its own
`tsslbp_ref`, interleaved in one run (`benchmarks.paired`). A ratio below 1 says that this checkout is faster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks import machine
from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.paired import SECONDS, Ratio, compare
from benchmarks.race import ROOT, Racer
from benchmarks.workloads import WORKLOADS, Workload
from tsslbp_ref import checks

COMPARED = ("W1", "W2", "W3-T300", "W4")


def started(workload: Workload, tree: Path) -> Racer:
    """Start our step with the package of a checkout.

    Raises
    ------
    RuntimeError
        If the process fails, or took its package from elsewhere.
    """
    racer = Racer(workload, CONTENDERS[OURS], "--tree", str(tree))
    if not racer.package.is_relative_to(tree):
        racer.stop()
        raise RuntimeError(f"{tree} holds no package tsslbp_ref: that of {racer.package} was loaded")
    return racer


def commit(tree: Path) -> str:
    """The commit of a checkout; "" where git knows none."""
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def as_text(ratios: Sequence[Ratio]) -> str:
    """A line a workload."""
    return "\n".join(
        f"{r.workload:<9} new / old {r.median:.3f}  95 % interval {r.low:.3f} to {r.high:.3f}  "
        f"({r.n_rounds} rounds; {r.first_ms:.2f} ms and {r.second_ms:.2f} ms)"
        for r in ratios
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.against", description="New code against old, paired.")
    parser.add_argument("tree", type=Path, metavar="OLD_TREE", help="another checkout")
    parser.add_argument(
        "--workloads", default=",".join(COMPARED), metavar="NAMES", help="with commas (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of rounds, a workload (default: %(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    options = parser.parse_args(arguments)
    try:
        names = [checks.one_of("workload", name, WORKLOADS) for name in options.workloads.split(",")]
        seconds = checks.real_number("seconds", options.seconds, above=0.0)
        tree = options.tree.resolve(strict=True)
        about = machine.describe() | {"new": commit(ROOT), "old": commit(tree)}
        print("\n".join(f"{key}: {value}" for key, value in about.items()))
        ratios = []
        for name in names:
            new, old = (partial(started, WORKLOADS[name], checkout) for checkout in (ROOT, tree))
            ratios.append(compare(name, new, old, seconds=seconds))
            print(as_text(ratios[-1:]), flush=True)
        if options.json is not None:
            content = {"machine": about, "ratios": [asdict(ratio) for ratio in ratios]}
            options.json.write_text(json.dumps(content, indent=1) + "\n")
    except (ValueError, OSError, RuntimeError) as error:
        print(f"benchmarks.against: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One contender on one workload in a process of its own: `python -m benchmarks.worker WORKLOAD CONTENDER`.

Reads a number of steps a line from standard input, makes that many, and answers with a JSON list of seconds. The first
answer, unasked, says how long the first step took; the last, after the input ends, how much memory the process took.
"""

from __future__ import annotations

import json
import resource
import sys
import time

from benchmarks.contenders import CONTENDERS
from benchmarks.workloads import WORKLOADS

WARM_UP_STEPS = 3
KIB = 1024


def seconds_of(step: object, n_steps: int) -> list[float]:
    """Wall-clock seconds of each of `n_steps` calls."""
    times = []
    for _ in range(n_steps):
        start = time.perf_counter()
        step()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return times


def main(arguments: list[str]) -> None:
    """Answer until standard input ends."""
    workload, contender = WORKLOADS[arguments[0]], CONTENDERS[arguments[1]]
    started = time.perf_counter()
    step = contender.training_step(workload)
    step()
    _answer({"first_step_s": time.perf_counter() - started})
    seconds_of(step, WARM_UP_STEPS)
    for line in sys.stdin:
        _answer({"seconds": seconds_of(step, int(line))})
    _answer({"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIB})


def _answer(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

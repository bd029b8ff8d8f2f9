"""One contender on one workload in a process of its own: `python -m benchmarks.worker WORKLOAD CONTENDER`.

Reads a number of steps a line from standard input, makes that many, and answers with a JSON list of seconds. The first
answer, unasked, says how long the first step took and which package made it. The last, after the input ends, says how
much memory the process took, and how much of it came on top of what it held before the first step: program, inputs,
weights and optimiser.

Before the timed steps of a turn comes a pause, in which the idle threads of the contender before go to sleep (BLAS and
OpenMP let them spin for a while, on a core that this one needs), and then steps that are not timed, until threads and
caches are where they are in training: after a pause the scheduler takes tens of ms to spread threads over the cores. A
step of more than `LONG_STEP_S` seconds does not feel them, and needs none.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.workloads import WORKLOADS, Workload

WARM_UP_STEPS = 2
WARM_UP_S = 0.15
LONG_STEP_S = 1.0
SETTLE_S = 0.2  # OpenBLAS lets an idle thread spin for some tens of ms
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes; getrusage(2) counts in kibibytes but on macOS


def seconds_of(step: object, n_steps: int) -> list[float]:
    """Wall-clock seconds of each of `n_steps` calls."""
    times = []
    for _ in range(n_steps):
        start = time.perf_counter()
        step()  # type: ignore[operator]
        times.append(time.perf_counter() - start)
    return times


def resident_bytes() -> int:
    """Memory that this process holds now; where the system does not say, the most that it has held."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT
    return pages * resource.getpagesize()


def warm_up(step: object) -> None:
    """Make at least `WARM_UP_STEPS` steps, for at least `WARM_UP_S` seconds."""
    end = time.perf_counter() + WARM_UP_S
    seconds_of(step, WARM_UP_STEPS)
    while time.perf_counter() < end:
        seconds_of(step, 1)


def main(arguments: list[str]) -> None:
    """Answer until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker")
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("--tree", metavar="DIR", help="the checkout to take tsslbp_ref from (default: this one)")
    parser.add_argument("--without", metavar="TRICKS", help="of `benchmarks.tricks`, with commas: switched off")
    options = parser.parse_args(arguments)
    workload, contender = WORKLOADS[options.workload], CONTENDERS[options.contender]
    if options.tree is not None:
        sys.path.insert(0, options.tree)  # benchmarks is that of this checkout: it is loaded
    with ExitStack() as stack:
        for trick in options.without.split(",") if options.without else ():
            from benchmarks.tricks import TRICKS  # which loads the engine

            stack.enter_context(TRICKS[trick].off())
        answer_in_turns(workload, contender)


def answer_in_turns(workload: Workload, contender: Contender) -> None:
    """Make the first step, and then those that standard input asks for."""
    started = time.perf_counter()
    step = contender.training_step(workload)
    held = resident_bytes()
    step()
    _answer({"first_step_s": time.perf_counter() - started, "package": sys.modules["tsslbp_ref"].__file__})
    last_s = seconds_of(step, 1)[0]
    for line in sys.stdin:
        time.sleep(SETTLE_S)
        if last_s < LONG_STEP_S:
            warm_up(step)
        seconds = seconds_of(step, int(line))
        last_s = seconds[-1]
        _answer({"seconds": seconds})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT
    _answer({"peak_bytes": peak, "extra_bytes": peak - held})


def _answer(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""`python -m benchmarks.profile [WORKLOAD ...] [--steps N] [--json FILE]`: where the time of a training step goes.

The functions that do the work are wrapped in a stopwatch while the step runs, on one thread, so that the parts add up
to the step. What a step does in one call to several layers is taken apart for it. A stopwatch costs less than
a microsecond a call; a step makes some tens of calls.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import machine
from benchmarks.contenders import OURS, Contender
from benchmarks.contenders.ours import training_step
from benchmarks.workloads import WORKLOADS, Workload
from tsslbp_ref import checks
from tsslbp_ref.engine import fast_events, fast_layers, fast_static, fast_words
from tsslbp_ref.engine.fast_fourier import Convolution
from tsslbp_ref.engine.layer_runs import SINGLE
from tsslbp_ref.model import losses, network, sweeps
from tsslbp_ref.model.layers import Dense, Layer
from tsslbp_ref.model.optim import AdamW

PROFILED = ("W1", "W2", "W3-T300")
STEPS, WARM_UP_STEPS = 40, 5
MILLISECONDS = 1e3
REST = "Python, checks and all else"
PARTS: dict[str, list[tuple[Any, str]]] = {
    "products of dense layers": [(Dense, name) for name in ("forward", "adjoint", "weight_gradient")],
    "words of spike trains": [(fast_words, name) for name in ("find_words", "weighted_input", "weight_gradient")],
    "convolution": [
        *((fast_layers, f"conv_{name}") for name in ("forward", "adjoint", "weight_gradient")),
        *((Convolution, name) for name in ("forward", "backward")),
    ],
    "pooling": [(fast_layers, f"pool_{name}") for name in ("forward", "adjoint")],
    "finding the events": [(fast_events, "find_events")],
    "sums over events": [(fast_events, name) for name in ("weighted_input", "weight_gradient")],
    "membrane, spikes, PSC": [(sweeps, "lif_forward_in_place"), (fast_static, "lif_forward_static")],
    "chain rule": [(sweeps, "tsslbp_backward_in_place"), (fast_static, "tsslbp_backward_static")],
    "loss": [(losses, "shard_value_and_gradient")],
    "AdamW": [(AdamW, "step")],
}


@dataclass(frozen=True)
class Part:
    """Mean time of one part of a workload's step in ms, its share of the step, and its calls a step."""

    workload: str
    part: str
    ms: float
    share: float
    calls: float


def layer_by_layer(layers: Sequence[Layer], *, static: bool) -> list[tuple[range, str]]:
    """`layer_runs.joined` for those who want to time every layer by itself."""
    return [(range(i, i + 1), SINGLE) for i in range(len(layers))]


class Stopwatch:
    """Adds up the seconds and the calls of what it watches."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.clear()

    def clear(self) -> None:
        """Start from zero."""
        self.seconds.update(dict.fromkeys(PARTS, 0.0))
        self.calls.update(dict.fromkeys(PARTS, 0))

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its calls count for a part."""

        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **named)
            self.seconds[part] += time.perf_counter() - start
            self.calls[part] += 1
            return result

        return call

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch all functions of `PARTS` inside a with block."""
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(network, "joined", layer_by_layer))
            stack.enter_context(mock.patch.object(network, "may_go_whole", return_value=False))
            for part, functions in PARTS.items():
                for owner, name in functions:
                    stack.enter_context(mock.patch.object(owner, name, self.timed(part, getattr(owner, name))))
            yield


def profile(workload: Workload, steps: int) -> list[Part]:
    """Take one-thread steps under a stopwatch; the last part is what no stopwatch saw."""
    step = training_step(workload, Contender(f"{OURS}, 1 thread", "ours", threads=1))
    stopwatch = Stopwatch()
    with stopwatch.watching():
        for _ in range(WARM_UP_STEPS):  # in which loops are loaded that only layers taken apart need
            step()
        stopwatch.clear()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        total = time.perf_counter() - start
    seconds = stopwatch.seconds | {REST: total - sum(stopwatch.seconds.values())}
    calls = stopwatch.calls | {REST: 0}
    return [
        Part(workload.name, part, MILLISECONDS * seconds[part] / steps, seconds[part] / total, calls[part] / steps)
        for part in seconds
        if calls[part] or part == REST
    ]


def as_text(parts: Sequence[Part]) -> str:
    """A table by workload, the longest part first."""
    lines = []
    for workload in dict.fromkeys(part.workload for part in parts):
        own = [part for part in parts if part.workload == workload]
        lines.append(f"{workload}: {sum(part.ms for part in own):.2f} ms a step, one thread")
        for part in sorted(own, key=lambda part: -part.ms):
            lines.append(f"  {part.part:<30}{part.ms:8.2f} ms {part.share:7.1%}  {part.calls:4.0f} calls")
    return "\n".join(lines)


def as_markdown(parts: Sequence[Part]) -> list[str]:
    """The lines of a table: a row a part, a column a workload, shares in percent."""
    workloads = list(dict.fromkeys(part.workload for part in parts))
    share = {(part.part, part.workload): part.share for part in parts}
    lines = ["| share of a step, % | " + " | ".join(workloads) + " |", "|---" * (1 + len(workloads)) + "|"]
    for name in (*PARTS, REST):
        cells = [f"{100 * share[name, w]:.0f}" if (name, w) in share else "" for w in workloads]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description="Where a step's time goes.")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help="a workload (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options = parser.parse_args(arguments)
    try:
        steps = checks.positive_integer("steps", options.steps)
        names = [checks.one_of("workload", name, WORKLOADS) for name in options.workloads or PROFILED]
        parts = [part for name in names for part in profile(WORKLOADS[name], steps)]
        print(as_text(parts))
        if options.json is not None:
            content = {"machine": machine.describe(), "parts": [asdict(part) for part in parts]}
            options.json.write_text(json.dumps(content, indent=1) + "\n")
    except (ValueError, OSError) as error:
        print(f"benchmarks.profile: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

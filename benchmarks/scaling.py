"""How the cost of a training step grows: `python -m benchmarks.scaling [--quick] [--json FILE]`.

One process, one thread (but where threads vary), the contenders of a study a step each in turn, medians. Studies:

- steps, width, batch, threads: a step of W3 (2312-400-10, 2 % random spikes) with one of its numbers varied.
- density: the first layer alone, from spikes to I and dL/dW, by a list of events and by the plain product;
  `inputs.SPARSE_DENSITY` has to lie below the density where the two cross.
- patterns: a hidden layer alone, by spike patterns and by the plain product, over the share of neurons that fire;
  `spike_patterns.SHARE_A_STEP`, times the steps a pattern, has to lie below the share where the two cross.
- literal: the loops of `reference` beside the compiled `sweeps`, forward and backward of one layer of neurons.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks import machine
from benchmarks.contenders import Contender
from benchmarks.contenders.ours import training_step
from benchmarks.switches import EVENTS, PATTERNS, PLAIN, SEED, crossing, hidden_products, input_products
from benchmarks.workloads import Workload, events
from tsslbp_ref import checks
from tsslbp_ref.model import reference, sweeps
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

MILLISECONDS = 1e3
STEP, LITERAL, FAST = "training step", "literal loops", "compiled sweeps"
SHORT_CUTS = {"density": EVENTS, "patterns": PATTERNS}  # by study, against the plain product
VARIED = {"steps": "n_steps", "width": "width", "batch": "batch"}

Call = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """Median of the calls of one contender at one value of what a study varies, in ms of wall-clock time.

    `setting` tells apart runs of a study that differ in more: the layer's width.
    """

    study: str
    value: float
    setting: str
    contender: str
    median_ms: float
    fastest_ms: float
    n_timed: int


@dataclass(frozen=True)
class Plan:
    """The values of every study.

    Parameters
    ----------
    rounds : int
        Times that each call is timed; one more before is not.
    base : dict
        Of W3: n_steps, batch and width where they are not varied.
    steps, width, batch, threads : sequence of int
    density : sequence of float
    density_widths : sequence of int
        Of the first layer in the density study.
    patterns : sequence of float
        Shares of the neurons that fire.
    pattern_layers : sequence of (int, int)
        Steps and width of the hidden layer in the patterns study.
    literal_steps : sequence of int
    literal_shape : (int, int)
        Batch and neurons of the literal study.
    """

    rounds: int
    base: dict[str, int]
    steps: Sequence[int]
    width: Sequence[int]
    batch: Sequence[int]
    threads: Sequence[int]
    density: Sequence[float]
    density_widths: Sequence[int]
    patterns: Sequence[float]
    pattern_layers: Sequence[tuple[int, int]]
    literal_steps: Sequence[int]
    literal_shape: tuple[int, int]


FULL = Plan(
    rounds=15,
    base={"n_steps": 30, "batch": 50, "width": 400},
    steps=(5, 10, 20, 50, 100, 200, 300),
    width=(50, 100, 200, 400, 800, 1600),
    batch=(5, 10, 25, 50, 100, 200),
    threads=(1, 2),
    density=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5),
    density_widths=(100, 400, 1600),
    patterns=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    pattern_layers=((5, 400), (5, 800), (5, 1600), (6, 800), (11, 800)),
    literal_steps=(5, 10, 20, 40, 80),
    literal_shape=(2, 20),
)
QUICK = Plan(
    rounds=2,
    base={"n_steps": 2, "batch": 2, "width": 6},
    steps=(2, 3),
    width=(4, 6),
    batch=(1, 2),
    threads=(1, 2),
    density=(0.01, 0.9),
    density_widths=(4,),
    patterns=(0.1, 0.9),
    pattern_layers=((2, 4),),
    literal_steps=(2, 3),
    literal_shape=(1, 2),
)

# ---------------------------------------------------------------------------------------------------------------------
# Measuring
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Timed:
    """A call, and where its time belongs."""

    study: str
    value: float
    setting: str
    contender: str
    call: Call


def measure(calls: Sequence[Timed], rounds: int) -> list[Row]:
    """Time the calls in turn, `rounds` times after one round that is not timed."""
    seconds: list[list[float]] = [[] for _ in calls]
    for round_number in tqdm(range(rounds + 1), desc=calls[0].study, unit="round", leave=False, disable=None):
        for timed, times in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            timed.call()
            if round_number > 0:
                times.append(time.perf_counter() - start)
    return [
        Row(
            c.study, c.value, c.setting, c.contender, MILLISECONDS * statistics.median(s), MILLISECONDS * min(s), len(s)
        )
        for c, s in zip(calls, seconds, strict=True)
    ]


def run(plan: Plan) -> list[Row]:
    """All studies, one after the other."""
    rows = []
    with threadpool_limits(1, user_api="blas"):
        for study in VARIED:
            rows += measure(list(_step_calls(plan, study)), plan.rounds)
        rows += measure(list(_thread_calls(plan)), plan.rounds)
        for width in plan.density_widths:
            rows += measure(list(_density_calls(plan, width)), plan.rounds)
        for n_steps, width in plan.pattern_layers:
            rows += measure(list(_pattern_calls(plan, n_steps, width)), plan.rounds)
        rows += measure(list(_literal_calls(plan)), plan.rounds)
    return rows


def _step(workload: Workload, threads: int = 1) -> Call:
    return training_step(workload, Contender(f"{threads} threads", "ours", threads=threads))


def _step_calls(plan: Plan, study: str) -> Iterator[Timed]:
    for value in getattr(plan, study):
        yield Timed(study, value, "", STEP, _step(events(**(plan.base | {VARIED[study]: value}))))


def _thread_calls(plan: Plan) -> Iterator[Timed]:
    for n_steps in (min(plan.steps), max(plan.steps)):
        workload = events(**(plan.base | {"n_steps": n_steps}))
        for threads in plan.threads:
            yield Timed("threads", threads, f"T {n_steps}", STEP, _step(workload, threads))


def _density_calls(plan: Plan, width: int) -> Iterator[Timed]:
    for density in plan.density:
        workload = events(**(plan.base | {"width": width}), density=density)
        for contender in (EVENTS, PLAIN):
            yield Timed("density", density, f"width {width}", contender, input_products(workload, width, contender))


def _pattern_calls(plan: Plan, n_steps: int, width: int) -> Iterator[Timed]:
    for share in plan.patterns:
        for contender in (PATTERNS, PLAIN):
            call = hidden_products(width, share, n_steps, plan.base["batch"], contender)
            yield Timed("patterns", share, f"T {n_steps}, width {width}", contender, call)


def _literal_calls(plan: Plan) -> Iterator[Timed]:
    neuron, rule = NeuronParameters(), GradientRule()
    for n_steps in plan.literal_steps:
        shape = (n_steps, *plan.literal_shape)
        rng = np.random.default_rng(SEED)
        I, g = rng.normal(0.4, 0.7, shape), rng.normal(size=shape)

        def both_ways(module: Any, I: Any = I, g: Any = g) -> None:
            module.tsslbp_backward(g, module.lif_forward(I, neuron), neuron, rule)

        for contender, module in ((LITERAL, reference), (FAST, sweeps)):
            yield Timed("literal", n_steps, "", contender, lambda call=both_ways, module=module: call(module))


# ---------------------------------------------------------------------------------------------------------------------
# What it says
# ---------------------------------------------------------------------------------------------------------------------


def crossings(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """By study and layer width: the density, or share, at which short cut and plain product take the same time."""
    found: dict[str, dict[str, float]] = {}
    for study, short_cut in SHORT_CUTS.items():
        own = [row for row in rows if row.study == study]
        found[study] = {}
        for setting in dict.fromkeys(row.setting for row in own):
            times = {(row.contender, row.value): row.median_ms for row in own if row.setting == setting}
            shares = sorted({share for _, share in times})
            by_share = ([times[contender, share] for share in shares] for contender in (short_cut, PLAIN))
            found[study][setting] = crossing(shares, *by_share)
    return found


def as_text(rows: Sequence[Row]) -> str:
    """A line a row, and the crossings."""
    lines = [
        f"{row.study:<9}{row.value:<8g}{row.setting:<18}{row.contender:<18}{row.median_ms:10.3f} ms" for row in rows
    ]
    for study, by_setting in crossings(rows).items():
        lines += [f"crossing, {study}, {setting}: {share:.1%}" for setting, share in by_setting.items()]
    return "\n".join(lines)


def as_json(rows: Sequence[Row], about: dict[str, Any]) -> str:
    """Everything, for results/."""
    content = {"machine": about, "crossings": crossings(rows), "rows": [asdict(row) for row in rows]}
    return json.dumps(content, indent=1) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the studies and print them; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"steps timed of each kind (default: {FULL.rounds})")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    try:
        if options.rounds is not None:
            plan = Plan(**(vars(plan) | {"rounds": checks.positive_integer("rounds", options.rounds)}))
        about = machine.describe()
        print("\n".join(f"{key}: {value}" for key, value in about.items()))
        rows = run(plan)
        print(as_text(rows))
        if options.json is not None:
            options.json.write_text(as_json(rows, about))
    except (ValueError, OSError) as error:
        print(f"benchmarks.scaling: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a step of finite length along each rule's gradient does to the loss, and along the exact and the smoothed one.

``python -m studies.finite_steps --networks 200 --out results/finite-steps.csv`` writes two tables:

- OUT: a row a network, step dt, start, rule and length: decrease of both losses in per cent, cosine with the exact and
  with the smoothed gradient;
- OUT with "-summary": means over networks with bootstrap 95 % intervals, also of what a rule has above the released
  one, network by network.

The networks are those of `gradient_alignment`. A start is the random network, or the same network near its goal. A
step is w' = w - l |w| g / |g| with all weights in one vector. Nothing is tuned: each rule has its named constants. A
run that is stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from studies.gradient_alignment import CONFIDENCE, RESAMPLES, SEED_OF_BOOTSTRAP, beside
from studies.random_networks import RandomNetwork, discrete_run, near_goal, random_network
from studies.trained_runs import read_rows, write_rows
from tsslbp_ref import checks, exact
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.parameters import named_rules

Array = npt.NDArray[np.float64]
Losses = Callable[[Array], Array]
Row = dict[str, str]

LENGTHS = (0.01, 0.03, 0.1, 0.3)  # of a step, relative to the norm of the weights
STEPS = (1.0, 0.1)  # ms
STARTS = ("random", "near")
WORST = -100.0  # per cent: a step that more than doubles the loss counts as doubling it
PERCENT = 100.0
EXACT, SMOOTHED, RANDOM, BASELINE, ALL = "exact", "smoothed", "random direction", "released", "all"
RULES = (*named_rules(), EXACT, SMOOTHED, RANDOM)
LOSSES = ("discrete", "exact")
DIRECTION_STREAM = 2  # of random numbers; `near_goal` has 1, and the networks and moves have seeds alone
FIRST_SEED = 1000  # of the moves: above those of the networks
AT_ONCE = 25  # moved weights a forward pass: their arrays stay in the caches
WRITTEN_EVERY = 10  # networks
DIGITS = 4  # significant, of every number in the tables
KEY = ("network", "dt", "start", "rule", "length")
COLUMNS = (*KEY, *(f"decrease_{loss}" for loss in LOSSES), "cosine_exact", "cosine_smoothed")
SUMMARY = ("quantity", "rule", "dt", "start", "length", "n", "value", "low", "high")
USAGE_ERROR, INTERRUPTED = 2, 130


class Job(NamedTuple):
    """One network at one step dt, from both starts."""

    network: int
    dt: float
    moves: int


# ---------------------------------------------------------------------------------------------------------------------
# A step
# ---------------------------------------------------------------------------------------------------------------------


def stepped(w: Array, gradient: Array, length: float) -> Array:
    """w' = w - l |w| g / |g|; a gradient of zero makes no step."""
    size = float(np.linalg.norm(gradient))
    return w - length * float(np.linalg.norm(w)) / size * gradient if size > 0.0 else w


def decrease(before: float, after: float) -> float:
    """-100 (L(w') - L(w)) / L(w), in per cent; a step that more than doubles the loss counts as -100."""
    return max(PERCENT * (before - after) / before, WORST)


def cosine(x: Array, y: Array) -> float:
    """cos = <x, y> / (|x| |y|), and 0 where one of them is zero and points nowhere."""
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(np.vdot(x, y)) / size if size > 0.0 else 0.0


def random_direction(number: int, size: int) -> Array:
    """Normal; from other random numbers than the move of `near_goal`, or it would be the way back."""
    return np.random.default_rng((number, DIRECTION_STREAM)).normal(size=size)


def in_layers(flat: Array, like: Sequence[Array]) -> list[Array]:
    """Vectors (..., n) as the weights (..., out, in) of each layer."""
    parts = np.split(flat, np.cumsum([W.size for W in like])[:-1], axis=-1)
    return [part.reshape(*flat.shape[:-1], *W.shape) for part, W in zip(parts, like, strict=True)]


def in_one(arrays: Iterable[Array]) -> Array:
    """The arrays of all layers as one vector."""
    return np.concatenate([array.ravel() for array in arrays])


def discrete_losses(network: RandomNetwork, dt: float) -> Losses:
    """Van Rossum losses of the network in steps of dt with weights (K, n), K networks at once    (F1 - F6, L1).

    Weights and loss are in the continuous network's units; the forward pass is that of the package, with K as batch.
    """
    equal = exact.discrete_equivalent(
        network.weights, network.input_spikes, network.desired_spikes, *network.constants, dt
    )
    x, target = (sweeps.psc_filter(raster, equal.neuron) for raster in (equal.input_raster, equal.target_raster))

    def losses(flat: Array) -> Array:
        a = x[None]  # (K, T, n)
        for W in in_layers(flat / network.tau_m, network.weights):
            I = np.ascontiguousarray((a @ W.transpose(0, 2, 1)).swapaxes(0, 1))  # (T, K, N)
            a = sweeps.lif_forward_in_place(I, equal.neuron, np.empty_like(I)).a.swapaxes(0, 1)
        return equal.loss_factor * 0.5 * np.sum((a - target) ** 2, axis=(1, 2))

    return losses


def smoothed(losses: Losses, w: Array, length: float, n_moves: int, seed: int) -> Array:
    """`gradcheck.smoothed_gradient`, with the same moves, of many losses at once."""
    sigma = length * float(np.linalg.norm(w)) / math.sqrt(w.size)
    moves = sigma * np.random.default_rng(seed).normal(size=(n_moves, w.size))
    chunks = np.array_split(moves, -(-n_moves // AT_ONCE))
    rises = np.concatenate([losses(w + chunk) - losses(w - chunk) for chunk in chunks])
    return rises @ moves / (2.0 * sigma**2 * n_moves)


def exact_losses(network: RandomNetwork) -> Losses:
    """The loss of the network in continuous time, as a function of weights (K, n), one after the other."""

    def loss(flat: Array) -> float:
        weights = in_layers(flat, network.weights)
        run = exact.simulate(
            weights, network.input_spikes, *network.constants, network.desired_spikes, with_gradients=False
        )
        return run.loss

    return lambda stack: np.array([loss(flat) for flat in stack])


# ---------------------------------------------------------------------------------------------------------------------
# One network
# ---------------------------------------------------------------------------------------------------------------------


def measure(job: Job) -> list[Row]:
    """All rows of one network at one dt, from both starts."""
    with threadpool_limits(limits=1):
        network = random_network(job.network)
        starts = {"random": network, "near": near_goal(network, job.network)}
        rows = []
        for start, at in starts.items():
            key = {"network": job.network, "dt": job.dt, "start": start}
            rows += [_texts(key | values) for values in _steps(at, job)]
        return rows


def _steps(network: RandomNetwork, job: Job) -> Iterator[dict[str, Any]]:
    """What a step of each length along each gradient does; nothing where the discrete loss is 0 already."""
    losses = dict(zip(LOSSES, (discrete_losses(network, job.dt), exact_losses(network)), strict=True))
    w, true = in_one(network.weights), in_one(network.exact.gradients)
    before = {name: loss(w[None])[0] for name, loss in losses.items()}
    if min(before.values()) <= 0.0:
        return
    gradients = {
        name: in_one(discrete_run(network, job.dt, rule).gradients) for name, rule in named_rules().items()
    } | {EXACT: true, RANDOM: random_direction(job.network, w.size)}
    for length in LENGTHS:
        halves = [  # of two independent sets of moves: their cosine is the estimate's own noise
            smoothed(losses["discrete"], w, length, job.moves // 2, seed)
            for seed in (FIRST_SEED + 2 * job.network, FIRST_SEED + 2 * job.network + 1)
        ]
        all_moves = (halves[0] + halves[1]) / 2.0
        directions = gradients | {SMOOTHED: all_moves}
        after = np.array([stepped(w, gradient, length) for gradient in directions.values()])
        losses_after = {key: loss(after) for key, loss in losses.items()}
        for number, (name, gradient) in enumerate(directions.items()):
            with_smoothed = halves if name == SMOOTHED else (gradient, all_moves)
            yield {
                "rule": name,
                "length": length,
                **{f"decrease_{key}": _rounded(decrease(before[key], of[number])) for key, of in losses_after.items()},
                "cosine_exact": cosine(gradient, true),
                "cosine_smoothed": cosine(*with_smoothed),
            }


def _rounded(percent: float) -> float:
    """Without what rounding leaves of a loss that did not change."""
    return round(percent, 9)


def _texts(values: dict[str, Any]) -> Row:
    return {k: f"{v:.{DIGITS}g}" if isinstance(v, float) else str(v) for k, v in values.items()}


def run_study(
    n_networks: int, out: Path, *, moves: int, steps: Sequence[float] = STEPS, workers: int = 1, quiet: bool = False
) -> None:
    """Measure what OUT lacks, the coarsest dt first, and write the summary.

    Parameters
    ----------
    n_networks : int
    out : Path
        The table; the summary lies beside it.
    moves : int
        Pairs of moves of a smoothed gradient. A table that was begun with others must not be gone on with.
    steps : sequence of float
        dt, in ms.
    workers : int
        Processes.
    quiet : bool
        Whether to show no progress.

    Raises
    ------
    ValueError, TypeError
        If a number is not positive or a file that is there is not such a table.
    OSError
        If a table cannot be written.
    """
    checks.positive_integer("networks", n_networks)
    checks.positive_integer("workers", workers)
    checks.positive_integer("moves", moves, minimum=4)
    rows = read_rows(out, COLUMNS) if out.exists() else []
    done = {(row["network"], row["dt"]) for row in rows}
    jobs = [Job(k, float(dt), moves) for dt in steps for k in range(n_networks)]
    jobs = [job for job in jobs if (str(job.network), f"{job.dt:g}") not in done]
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn")) if workers > 1 else nullcontext()
    with pool as executor:
        measured = map(measure, jobs) if executor is None else executor.map(measure, jobs)
        progress = tqdm(measured, total=len(jobs), desc="networks", disable=quiet or None)
        for number, found in enumerate(progress, start=1):
            rows += found
            if number % WRITTEN_EVERY == 0 or number == len(jobs):
                write_rows(out, COLUMNS, rows)
    write_rows(beside(out, "summary"), SUMMARY, summary(rows))


# ---------------------------------------------------------------------------------------------------------------------
# Summary
# ---------------------------------------------------------------------------------------------------------------------


def summary(rows: Sequence[Row]) -> list[Row]:
    """Mean over networks with its bootstrap interval, by quantity, rule, dt, start and length, or all lengths' mean.

    Decrease and cosines, the share of steps in which a loss falls, and the decrease above that of the released rule
    for the same network and length.
    """
    found = []
    for quantity, of in _quantities(rows).items():
        groups: dict[tuple[str, ...], dict[str, list[float]]] = {}
        for row, value in zip(rows, of, strict=True):
            for length in (row["length"], ALL):
                by_network = groups.setdefault((row["rule"], row["dt"], row["start"], length), {})
                by_network.setdefault(row["network"], []).append(value)
        for group, by_network in groups.items():
            values = np.array([np.mean(of_network) for of_network in by_network.values()])
            numbers = (len(values), *mean_and_interval(values))
            found.append(_texts(dict(zip(SUMMARY, (quantity, *group, *numbers), strict=True))))
    return found


def mean_and_interval(values: Array) -> tuple[float, float, float]:
    """The mean over networks and its 95 % interval by the percentile bootstrap, always from the same resamples."""
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(_resamples(len(values)) @ values, (tail, 100.0 - tail))
    return float(values.mean()), float(low), float(high)


@lru_cache
def _resamples(n: int) -> Array:
    """The weight of each of n networks in each resample, (RESAMPLES, n)."""
    return np.random.default_rng(SEED_OF_BOOTSTRAP).multinomial(n, np.full(n, 1.0 / n), RESAMPLES) / n


def _quantities(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Every quantity of every row."""
    found = {name: [float(row[name]) for row in rows] for name in ("cosine_exact", "cosine_smoothed")}
    keys = [tuple(row[name] for name in ("network", "dt", "start", "length")) for row in rows]
    for loss in LOSSES:
        values = [float(row[f"decrease_{loss}"]) for row in rows]
        released = {key: value for key, row, value in zip(keys, rows, values, strict=True) if row["rule"] == BASELINE}
        found[f"decrease_{loss}"] = values
        found[f"falls_{loss}"] = [float(value > 0.0) for value in values]
        found[f"decrease_{loss}_above_released"] = [
            value - released[key] for key, value in zip(keys, values, strict=True)
        ]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 2 with one line that says what is wrong, or 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m studies.finite_steps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=200, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument(
        "--moves", type=int, default=1000, metavar="M", help="pairs of moves of a smoothed gradient (%(default)s)"
    )
    parser.add_argument("--dt", type=float, nargs="+", default=STEPS, metavar="MS", help="(default: 1 and 0.1)")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="table to write, or to go on with")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    try:
        run_study(
            options.networks,
            options.out,
            moves=options.moves,
            steps=options.dt,
            workers=options.workers,
            quiet=options.quiet,
        )
    except (ValueError, OSError) as error:
        print(f"python -m studies.finite_steps: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Two ways to make the same training step, paired: how many times as long the one takes as the other.

Each way runs in a process of its own. In a round both make some steps, now the one first and now the other, and the
medians of the two give one ratio: whatever slows the machine for seconds slows both. Processes are started anew some
times, since where a process's arrays lie in memory is a part of its speed. The result is the median of the ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from tqdm import tqdm

from benchmarks.race import MILLISECONDS, Racer

SECONDS = 120.0  # of rounds, a workload
FEWEST_ROUNDS = 2  # a pair of processes: each way goes first once
PROCESSES = 3  # pairs of processes, one after the other
TURN_S = 0.3  # of timed steps of the slower way
CONFIDENCE, RESAMPLES, SEED = 0.95, 9999, 0

Starter = Callable[[], Racer]


@dataclass(frozen=True)
class Ratio:
    """Time of the first way over that of the second: median of the rounds and its 95 % interval.

    The times are medians over the rounds, in ms.
    """

    workload: str
    median: float
    low: float
    high: float
    n_rounds: int
    first_ms: float
    second_ms: float


def compare(workload: str, first: Starter, second: Starter, *, seconds: float = SECONDS) -> Ratio:
    """Run two ways in turn.

    Parameters
    ----------
    workload : str
    first, second : callable
        Start the process of a way.
    seconds : float
        Time that the rounds take; two rounds a pair of processes are made in any case.

    Returns
    -------
    Ratio

    Raises
    ------
    RuntimeError
        If a process fails.
    """
    rounds: list[tuple[float, float]] = []
    with tqdm(total=PROCESSES, desc=workload, unit="pair", leave=False) as bar:
        for _ in range(PROCESSES):
            rounds += _rounds_of_a_pair(first, second, seconds / PROCESSES)
            bar.update()
    ratios = [one / other for one, other in rounds]
    ms = [MILLISECONDS * statistics.median(times) for times in zip(*rounds, strict=True)]
    return Ratio(workload, statistics.median(ratios), *median_interval(ratios), len(ratios), *ms)


def _rounds_of_a_pair(first: Starter, second: Starter, seconds: float) -> list[tuple[float, float]]:
    """Median step of each way, round by round."""
    racers = [first()]
    try:
        racers.append(second())
        slower = max(statistics.median(racer.steps(2)) for racer in racers)
        n_steps = max(1, round(TURN_S / slower))
        rounds: list[tuple[float, float]] = []
        end = time.perf_counter() + seconds
        while len(rounds) < FEWEST_ROUNDS or len(rounds) % 2 or time.perf_counter() < end:
            order = (0, 1) if len(rounds) % 2 == 0 else (1, 0)
            medians = {way: statistics.median(racers[way].steps(n_steps)) for way in order}
            rounds.append((medians[0], medians[1]))
        return rounds
    finally:
        for racer in racers:
            racer.stop()


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median, by the percentile bootstrap; always from the same resamples."""
    if np.ptp(values) == 0.0:  # nothing to resample
        return values[0], values[0]
    interval = stats.bootstrap(
        (values,), np.median, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)

"""A plan of the made Fashion-MNIST, and what its seeds reach, that the tests of seeds and of clusters share."""

import dataclasses
import time

from made_data import without_time

from tsslbp_ref import checkpoints
from tsslbp_ref.training import seeds
from tsslbp_ref.training.plan import Plan
from tsslbp_ref.training.runs import BEST, LAST, read_metrics

NAME = "fashion-mnist-400-400"


def plan_of(data, folder):
    """Two epochs, with runs below a folder."""
    return Plan(NAME, epochs=2, runs=folder / "runs", data=data, threads=1)


def bits(folder):
    """All that a run has reached: the arrays and counters of its checkpoints, its metrics."""
    found = [without_time(read_metrics(folder))]
    for name in (BEST, LAST):
        arrays, meta = checkpoints.load(folder / name)
        found += [{k: v.tobytes() for k, v in arrays.items()}, meta["progress"], meta["optimiser_steps"]]
    return found


def until(condition, seconds=100.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def alone(plan, seed, folder):
    """The same seed, run alone in this process."""
    single = dataclasses.replace(plan, runs=folder, stop_file=None)
    assert seeds.train(single, [seed]) == 0
    return bits(single.folder(seed))

"""Runs of the made blobs, trained to their end, that the tests of runs and of their folders share."""

import os

from made_data import blob_run, state_of, without_time

from tsslbp_ref import checkpoints
from tsslbp_ref.training.runs import BEST, CONFIG, LAST, METRICS, read_metrics

EPOCHS = 3
FILES = [BEST, LAST, CONFIG, METRICS]


def finished(folder, epochs=EPOCHS, resume=True):
    """Run to the end; return all that must be the same however often the run was stopped."""
    run = blob_run(folder, epochs=epochs, resume=resume)
    for _ in run.run():
        pass
    return outcome(folder, run)


def outcome(folder, run):
    best, _ = checkpoints.load(folder / BEST)
    assert sorted(os.listdir(folder)) == sorted(FILES)
    return state_of(run.trainer), without_time(read_metrics(folder)), {k: v.tobytes() for k, v in best.items()}


def content(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}

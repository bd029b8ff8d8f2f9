"""Runs and their folders: a stopped run goes on bit for bit, whatever stopped it; errors are one line, nothing lost."""

import errno
import itertools
import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from made_data import BLOBS, BlobTask, blob_network, blob_run, train_in
from made_runs import EPOCHS, content, finished, outcome

from tsslbp_ref import checkpoints
from tsslbp_ref.datasets import DataError
from tsslbp_ref.engine.blas import product_libraries
from tsslbp_ref.model import optim
from tsslbp_ref.training import stopping
from tsslbp_ref.training.runs import BEST, CONFIG, LAST, InterruptedRunError, Run, read_metrics


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("unbroken") / "run", resume=False)


# ---------------------------------------------------------------------------------------------------------------------
# Stopped and resumed
# ---------------------------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_four_files(tmp_path, unbroken):
    run = blob_run(tmp_path / "run")
    rows = list(run.run())
    assert outcome(tmp_path / "run", run) == unbroken
    assert rows == run.metrics()
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    accuracies = [row["test_accuracy"] for row in rows]
    _, meta = checkpoints.load(tmp_path / "run" / BEST)
    assert meta["progress"]["epoch"] == accuracies.index(max(accuracies)) + 1 < EPOCHS  # the first of two equal ones
    assert json.loads((tmp_path / "run" / CONFIG).read_text())["settings"]["seed"] == BLOBS.seed


@pytest.fixture
def hangup_heard():
    """Under nohup, tests would begin with SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup_heard")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("batch", [1, 5, 6, 9, 11])
def test_a_signal_at_any_batch_saves_and_the_resumed_run_is_as_if_never_stopped(tmp_path, unbroken, signum, batch):
    run = blob_run(tmp_path / "run")
    plain = run.trainer.task.train_batch

    def train_batch(indices, rng):
        if len(run.trainer.task.batches_drawn) == batch - 1:
            os.kill(os.getpid(), signum)
        return plain(indices, rng)

    run.trainer.task.train_batch = train_batch
    before = signal.getsignal(signum)
    with pytest.raises(InterruptedRunError, match=f"stopped by {signum.name}; the state is saved in .*run") as stop:
        list(run.run())
    assert stop.value.signum == signum
    assert signal.getsignal(signum) == before
    assert run.trainer.optimiser.n_steps == batch
    assert finished(tmp_path / "run") == unbroken


def test_a_stop_from_outside_saves_too_also_in_a_thread(tmp_path, unbroken):
    stops = []

    def train():
        try:
            list(blob_run(tmp_path / "run").run(lambda: signal.SIGTERM if len(stops) == 0 else 0))
        except InterruptedRunError as stop:
            stops.append(stop.signum)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert stops == [signal.SIGTERM]
    assert finished(tmp_path / "run") == unbroken


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_sent_twice_at_once_saves_as_one_does(tmp_path, signum):
    """As by GNU timeout, which sends it to the process and to the process's group."""
    run = blob_run(tmp_path / "run")
    plain = run.trainer.task.train_batch

    def train_batch(indices, rng):
        os.kill(os.getpid(), signum)
        os.kill(os.getpid(), signum)
        return plain(indices, rng)

    run.trainer.task.train_batch = train_batch
    with pytest.raises(InterruptedRunError, match=f"stopped by {signum.name}"):
        list(run.run())


def test_a_second_ctrl_c_kills_as_ever(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    killed_by = []
    monkeypatch.setattr(stopping.signal, "raise_signal", killed_by.append)
    with stopping.signals_noted() as noted:
        for now[0] in (100.0, 100.5, 102.0):
            os.kill(os.getpid(), signal.SIGINT)
            assert killed_by == ([] if now[0] < 102.0 else [signal.SIGINT])
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert noted[:2] == [signal.SIGINT, signal.SIGINT]


def test_under_nohup_a_closed_terminal_is_not_heard():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.signals_noted() as noted:
            os.kill(os.getpid(), signal.SIGHUP)
        assert noted == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_signal_after_the_last_epoch_is_no_interruption(tmp_path):
    for metrics in blob_run(tmp_path / "run").run():
        if metrics["epoch"] == EPOCHS:
            os.kill(os.getpid(), signal.SIGINT)


def test_checkpoints_within_an_epoch_change_nothing(tmp_path, unbroken, monkeypatch):
    saved = []
    plain = checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda path, *rest: (saved.append(path.name), plain(path, *rest)))
    run = blob_run(tmp_path / "run")
    list(run.run(save_every_s=0.0))
    assert saved.count(LAST) == 5 * EPOCHS  # after each of 5 batches but the last, and after the test
    assert outcome(tmp_path / "run", run) == unbroken


class DamagedAt(BlobTask):
    """Blobs that cannot be read at one moment: before that batch of training, or of the test, from 0."""

    def __init__(self, *, train: int | None = None, test: int | None = None) -> None:
        super().__init__()
        self.train, self.test = train, test

    def train_batch(self, indices, rng):
        if len(self.batches_drawn) == self.train:
            raise DataError("x.bin: damaged")
        return super().train_batch(indices, rng)

    def test_batches(self):
        for number, batch in enumerate(super().test_batches()):
            if number == self.test:
                raise DataError("x.bin: damaged")
            yield batch


@pytest.mark.parametrize("place", [{"train": 0}, {"train": 3}, {"train": 7}, {"test": 0}, {"test": 2}])
def test_data_that_cannot_be_read_costs_no_batch_that_was_trained(tmp_path, unbroken, place):
    task = DamagedAt(**place)
    run = Run(tmp_path / "run", blob_network(), task, BLOBS)
    with pytest.raises(ValueError, match=r"x\.bin: damaged"):
        list(run.run())
    _, meta = checkpoints.load(tmp_path / "run" / LAST)
    assert meta["optimiser_steps"] == place.get("train", 5)
    resumed = blob_run(tmp_path / "run", resume=True)
    for _ in resumed.run():
        pass
    assert len(resumed.trainer.task.batches_drawn) == 5 * EPOCHS - meta["optimiser_steps"]
    assert outcome(tmp_path / "run", resumed) == unbroken


def test_an_error_within_an_update_saves_nothing_of_it(tmp_path, unbroken, monkeypatch):
    finished(tmp_path / "run", epochs=1)
    run = blob_run(tmp_path / "run", resume=True)
    sweeps = []

    def broken(W, *rest):
        sweeps.append(W)
        W[...] = 0.0
        raise MemoryError("no memory left")

    monkeypatch.setattr(optim, "adamw_sweep", broken)
    before = content(tmp_path / "run")
    with pytest.raises(MemoryError, match="no memory left"):
        list(run.run())
    monkeypatch.undo()
    assert len(sweeps) == 1
    assert content(tmp_path / "run") == before
    assert finished(tmp_path / "run") == unbroken


def test_a_full_disk_does_not_hide_the_damaged_data(tmp_path, monkeypatch):
    run = Run(tmp_path / "run", blob_network(), DamagedAt(train=2), BLOBS)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match=r"epoch 1, batch 3: x\.bin: damaged"):
        list(run.run())


@pytest.fixture
def children(monkeypatch):
    """Make processes quickly: one server loads the package and its compiled loops, its children are forks of it."""
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["made_warm"])
    return context


def test_kill_at_any_call_to_the_disk(tmp_path, children):
    epochs = 2
    unbroken = finished(tmp_path / "unbroken", epochs)
    for point in itertools.count():
        folder = tmp_path / str(point)
        child = children.Process(target=train_in, args=(folder, epochs, point))
        child.start()
        child.join(300)
        if (folder / LAST).exists():
            checkpoints.load(folder / LAST)  # never a broken one
        assert finished(folder, epochs) == unbroken
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
    assert point >= 6 + epochs * 5  # two locks, the config, and for every epoch its metrics and its checkpoint


def test_kill_at_random_moments_again_and_again(tmp_path, children):
    rng = np.random.default_rng(5)
    epochs, reached = 60, []
    while len(reached) < 6:
        child = children.Process(target=train_in, args=(tmp_path / "run", epochs))
        child.start()
        n_before = len(read_metrics(tmp_path / "run"))
        while child.is_alive() and len(read_metrics(tmp_path / "run")) <= n_before:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.05))
        child.kill()
        child.join(300)
        reached.append(len(read_metrics(tmp_path / "run")))
    assert reached[0] < epochs
    assert finished(tmp_path / "run", epochs) == finished(tmp_path / "whole", epochs)


def test_more_epochs_may_be_asked_for_later(tmp_path, unbroken):
    finished(tmp_path / "run", epochs=1)
    assert finished(tmp_path / "run") == unbroken
    assert finished(tmp_path / "run") == unbroken  # there is nothing left to do


def test_a_run_is_finished_when_it_has_all_its_epochs(tmp_path):
    run = blob_run(tmp_path / "run", epochs=1)
    assert not run.finished
    list(run.run())
    assert run.finished
    assert blob_run(tmp_path / "run", epochs=1, resume=True).finished
    assert not blob_run(tmp_path / "run", epochs=2, resume=True).finished


def test_a_run_of_the_first_format_goes_on(tmp_path, unbroken):
    finished(tmp_path / "run", epochs=1)
    for name in (LAST, BEST):
        arrays, meta = checkpoints.load(tmp_path / "run" / name)
        config = meta["config"]
        del meta["progress"]["seconds"], config["factors"], config["task"], config["blas"]
        del config["rule"]["warmup_rate"], config["rule"]["silent"]
        checkpoints.save(tmp_path / "run" / name, arrays, meta)
    (tmp_path / "run" / CONFIG).write_text(json.dumps(config))
    assert finished(tmp_path / "run") == unbroken


def test_a_run_notes_the_libraries_of_its_products_and_goes_on_with_others(tmp_path, unbroken):
    finished(tmp_path / "run", epochs=1)
    config = json.loads((tmp_path / "run" / CONFIG).read_text())
    noted = [library._asdict() for library in product_libraries()]
    assert config["blas"] == noted
    (tmp_path / "run" / CONFIG).write_text(json.dumps(config | {"blas": []}))
    assert finished(tmp_path / "run") == unbroken
    assert json.loads((tmp_path / "run" / CONFIG).read_text())["blas"] == noted

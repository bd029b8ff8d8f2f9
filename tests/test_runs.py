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
from made_data import BLOBS, BlobTask, blob_network, blob_run, state_of, train_in, without_time

from tsslbp_ref import GradientRule, checkpoints, runs
from tsslbp_ref.checkpoints import CheckpointError
from tsslbp_ref.runs import BEST, CONFIG, LAST, METRICS, InterruptedRunError, Run, read_metrics

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


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("unbroken") / "run", resume=False)


def content(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


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


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
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


def test_a_run_of_the_first_format_goes_on(tmp_path, unbroken):
    finished(tmp_path / "run", epochs=1)
    arrays, meta = checkpoints.load(tmp_path / "run" / LAST)
    del meta["progress"]["seconds"], meta["config"]["factors"], meta["config"]["task"]
    checkpoints.save(tmp_path / "run" / LAST, arrays, meta)
    (tmp_path / "run" / CONFIG).write_text(json.dumps(meta["config"]))
    assert finished(tmp_path / "run") == unbroken


# ---------------------------------------------------------------------------------------------------------------------
# Folders that cannot be used
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_epoch(tmp_path):
    finished(tmp_path / "run", epochs=1)
    return tmp_path / "run"


def refused(folder, error_type, message, **changes):
    """Resuming is refused in one line, and the folder stays as it is."""
    before = content(folder)
    settings = {"network": blob_network(), "task": BlobTask(), "settings": BLOBS, "resume": True} | changes
    with pytest.raises(error_type, match=message) as error:
        Run(folder, **settings)
    assert "\n" not in str(error.value)
    assert content(folder) == before


@pytest.mark.parametrize("kept", FILES)
def test_a_folder_that_holds_any_file_of_a_run_is_not_trained_in_without_resume(one_epoch, kept):
    for name in FILES:
        if name != kept:
            (one_epoch / name).unlink()
    refused(one_epoch, FileExistsError, f"run holds a run already .{kept}.: --resume goes on", resume=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": blob_network(spec="3C3-P2-11")}, "is of another run: its layers is"),
        ({"network": blob_network(rule=GradientRule(intra=False))}, "its rule.intra is True, here it is False"),
        ({"network": blob_network(n_threads=2)}, "its n_threads is 1, here it is 2"),
        ({"network": blob_network(dropout=0.3)}, "its factors is"),
        ({"network": blob_network(pool_gain=1.0)}, "its factors is"),
        ({"network": blob_network(dtype="float64")}, "its dtype is float32, here it is float64"),
        ({"task": BlobTask(n_train=40)}, "its task.n_train is 36, here it is 40"),
        ({"settings": runs.TrainingSettings(3, 8, 2e-2)}, "its settings.learning_rate is 0.01, here it is 0.02"),
    ],
)
@pytest.mark.parametrize("without_config", [False, True])
def test_a_checkpoint_of_another_run_is_refused(one_epoch, changes, message, without_config):
    if without_config:  # the checkpoint holds the settings, too
        (one_epoch / CONFIG).unlink()
    refused(one_epoch, CheckpointError, message, **changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"title": "x', r"config\.json is no JSON"), ("[]", "must hold a JSON object"), ("{}", "its neuron is None")],
)
def test_a_config_that_cannot_be_read_is_refused(one_epoch, text, message):
    (one_epoch / CONFIG).write_text(text)
    refused(one_epoch, CheckpointError, message)


def test_a_truncated_checkpoint_is_refused(one_epoch):
    (one_epoch / LAST).write_bytes((one_epoch / LAST).read_bytes()[:-50])
    refused(one_epoch, CheckpointError, f"{LAST} is truncated or no checkpoint")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda arrays, meta: arrays.pop("weight1"), "is of another network: it has"),
        (lambda arrays, meta: arrays.update(mean0=np.zeros(())), "is of another network: it has"),
        (lambda arrays, meta: arrays.pop("square2"), "is of another network: it has"),
        (lambda arrays, meta: meta.pop("optimiser_steps"), "lacks the counters of a run"),
        (lambda arrays, meta: meta["progress"].update(depth=1), "lacks the counters of a run"),
        (lambda arrays, meta: meta.update(progress=7), "lacks the counters of a run"),
        (lambda arrays, meta: meta.pop("config"), "holds no settings of a run, but NoneType"),
    ],
)
def test_a_checkpoint_with_a_right_digest_but_wrong_content_is_refused(one_epoch, damage, message):
    arrays, meta = checkpoints.load(one_epoch / LAST)
    damage(arrays, meta)
    checkpoints.save(one_epoch / LAST, arrays, meta)
    refused(one_epoch, CheckpointError, message)


def test_a_metrics_file_cut_short_by_a_kill_does_not_stop_a_resume(tmp_path, unbroken):
    finished(tmp_path / "run", epochs=2)
    with (tmp_path / "run" / METRICS).open("a") as file:
        file.write('{"epoch": 3, "train_lo')
    assert len(read_metrics(tmp_path / "run")) == 2
    assert finished(tmp_path / "run") == unbroken


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not hold the 1 epochs of checkpoint-last.npz"),
        ("oops\n{}\n", "line 1 is no JSON"),
        ("\xff\xfe\n{}\n", "line 1 is no JSON"),
        ("{}\n", "line 1 must hold the numbers epoch, train_loss"),
        ("3\n", "line 1 must hold the numbers"),
    ],
)
def test_a_metrics_file_that_lacks_epochs_is_refused(one_epoch, text, message):
    (one_epoch / METRICS).write_text(text, encoding="latin-1")
    refused(one_epoch, CheckpointError, message)


def test_epochs_without_their_checkpoint_are_not_trained_over(tmp_path):
    finished(tmp_path / "run", epochs=2)
    (tmp_path / "run" / LAST).unlink()
    refused(tmp_path / "run", CheckpointError, "holds 2 epochs, but checkpoint-last.npz has 0")


def test_a_folder_in_which_another_trains_is_refused(tmp_path):
    epochs = blob_run(tmp_path / "run").run()
    next(epochs)
    refused(tmp_path / "run", BlockingIOError, "run is in use by another process")
    epochs.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file/run"):
        blob_run(tmp_path / "file" / "run")


@pytest.mark.parametrize("full_from", [0, 1, 3, 5])
def test_a_full_disk_during_an_epochs_end_loses_nothing_that_was_saved(tmp_path, unbroken, monkeypatch, full_from):
    finished(tmp_path / "run", epochs=1)
    run = blob_run(tmp_path / "run", resume=True)
    calls = []
    plain = os.fsync

    def fsync(handle):
        calls.append(handle)
        if len(calls) > full_from:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"cannot write .*run/.*: No space left on device"):
        list(run.run())
    monkeypatch.undo()
    checkpoints.load(tmp_path / "run" / LAST)
    assert finished(tmp_path / "run") == unbroken


def test_metrics_that_json_cannot_hold_are_refused(tmp_path):
    run = blob_run(tmp_path / "run")
    run.trainer.run_epoch = lambda _: {"epoch": 1, "train_loss": float("nan"), "test_accuracy": 0.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        list(run.run())
    assert read_metrics(tmp_path / "run") == []

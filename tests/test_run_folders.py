"""Folders of runs that cannot be used: each is refused in one line that names the file, and stays as it is."""

import dataclasses
import errno
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from made_data import BLOBS, BlobTask, blob_network, blob_run
from made_runs import FILES, content, finished

from tsslbp_ref import GradientRule, checkpoints
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.training import run_config, runs
from tsslbp_ref.training.runs import BEST, CONFIG, LAST, METRICS, InterruptedRunError, Run, read_metrics


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("unbroken") / "run", resume=False)


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


NO_FILES = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "loop": lambda path: path.symlink_to(path),
    "nothing": lambda path: path.symlink_to("void"),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: (path.touch(), os.truncate(path, 10**12)),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_of_a_run_is_named_at_once_and_stays(one_epoch, name, kind):
    path = one_epoch / name
    path.unlink()
    NO_FILES[kind](path)
    before = path.lstat()
    with pytest.raises((CheckpointError, OSError), match=rf"{path} must |cannot read {path}: |no checkpoint at {path}"):
        blob_run(one_epoch, resume=True)
    with pytest.raises(FileExistsError, match="run holds a run already"):
        blob_run(one_epoch)
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)


def test_a_folder_whose_only_file_is_a_link_to_nothing_is_occupied(tmp_path):
    (tmp_path / CONFIG).symlink_to("void")
    with pytest.raises(FileExistsError, match="holds a run already"):
        blob_run(tmp_path)


def test_a_runs_files_may_be_links(tmp_path, unbroken):
    finished(tmp_path / "run", epochs=1)
    (tmp_path / "disk").mkdir()
    for name in FILES:
        (tmp_path / "run" / name).rename(tmp_path / "disk" / name)
        (tmp_path / "run" / name).symlink_to(tmp_path / "disk" / name)
    assert finished(tmp_path / "run") == unbroken
    assert all((tmp_path / "run" / name).is_symlink() for name in FILES)
    assert sorted(os.listdir(tmp_path / "disk")) == sorted(FILES)


@pytest.mark.parametrize("kept", FILES)
def test_a_folder_that_holds_any_file_of_a_run_is_not_trained_in_without_resume(one_epoch, kept):
    for name in FILES:
        if name != kept:
            (one_epoch / name).unlink()
    refused(one_epoch, FileExistsError, f"run holds a run already .{kept}.: --resume goes on", resume=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"network": blob_network(spec="3C3-P2-11")},
            r"its layers\[3\] is 'Dense \(3, 3, 3\) -> \(10,\)', here it is 'Dense",
        ),
        ({"network": blob_network(rule=GradientRule(intra=False))}, "its rule.intra is 'True', here it is 'False'"),
        ({"network": blob_network(n_threads=2)}, "its n_threads is 1, here it is 2"),
        ({"network": blob_network(dropout=0.3)}, r"its factors\[\d\] is 'dropout 0.2 .*here it is 'dropout 0.3"),
        ({"network": blob_network(pool_gain=1.0)}, r"its factors\[\d\] is 'pool gain .*here it is 'pool gain 1.0'"),
        ({"network": blob_network(dtype="float64")}, "its dtype is 'float32', here it is 'float64'"),
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
    [
        ('{"title": "x', r"config\.json is no JSON"),
        ("[" * 200_000, r"config\.json is no JSON: its brackets are nested too deeply"),
        ('{"neuron": ' + "[" * 400 + "]" * 400 + "}", r"config\.json is of another run: its neuron is "),
        ("[]", "must hold a JSON object"),
        ("{}", "its neuron is None"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused(one_epoch, text, message):
    (one_epoch / CONFIG).write_text(text)
    refused(one_epoch, CheckpointError, message)


def test_a_truncated_checkpoint_is_refused(one_epoch):
    (one_epoch / LAST).write_bytes((one_epoch / LAST).read_bytes()[:-50])
    refused(one_epoch, CheckpointError, f"{LAST} is truncated or no checkpoint")


def cast(name, dtype):
    return lambda arrays, meta: arrays.update({name: arrays[name].astype(dtype)})


def counter(name, value):
    return lambda arrays, meta: meta["progress"].update({name: value})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda arrays, meta: arrays.pop("weight1"), "another network: its 'weight1' is missing, here it is float32 "),
        (lambda arrays, meta: arrays.update(mean0=np.zeros(())), r"its 'mean0' is float64 \(\), here it is float32 "),
        (lambda arrays, meta: arrays.pop("square2"), "its 'square2' is missing, here it is float32 "),
        (lambda arrays, meta: meta.pop("optimiser_steps"), "lacks the counters of a run"),
        (lambda arrays, meta: meta["progress"].update(depth=1), "lacks the counters of a run"),
        (lambda arrays, meta: meta.update(progress=7), "lacks the counters of a run"),
        (cast("weight0", "complex64"), "is of another network: its 'weight0' is complex64 "),
        (cast("weight1", "float64"), "is of another network: its 'weight1' is float64 "),
        (cast("weight0", "U32"), "is of another network: its 'weight0' is str1024 "),
        (cast("mean1", "int32"), "is of another network: its 'mean1' is int32 "),
        (cast("square0", "bool"), "is of another network: its 'square0' is bool "),
        (lambda arrays, meta: arrays["weight1"].fill(np.nan), "holds numbers that are not finite, in weight1"),
        (lambda arrays, meta: arrays["mean0"].fill(np.inf), "holds numbers that are not finite, in mean0"),
        (counter("epoch", "x"), "holds no counters of a run: its epoch is 'x'"),
        (counter("epoch", 10**400), "holds no counters of a run: its epoch is 1000"),
        (counter("epoch", 10**12), "does not hold the 1000000000000 epochs"),
        (counter("batch", 1.5), "holds no counters of a run: its batch is 1.5"),
        (counter("seen", -8), "holds no counters of a run: its seen is -8"),
        (counter("seen", 37), "holds no counters of a run: it has seen 37 samples of 36"),
        (counter("correct", True), "holds no counters of a run: its correct is True"),
        (counter("loss", float("nan")), "holds no counters of a run: its loss is nan"),
        (counter("seconds", None), "holds no counters of a run: its seconds is None"),
        (counter("best_accuracy", "z" * 10**6), "holds no counters of a run: its best_accuracy is 'zzz"),
        (lambda arrays, meta: meta.update(optimiser_steps="5"), "no counters of a run: its optimiser_steps is '5'"),
        (lambda arrays, meta: meta.update(optimiser_steps=-1), "no counters of a run: its optimiser_steps is -1"),
        (lambda arrays, meta: meta.pop("config"), "holds no settings of a run, but NoneType"),
    ],
)
@pytest.mark.parametrize("name", [LAST, BEST])
@pytest.mark.filterwarnings("error")
def test_a_checkpoint_with_a_right_digest_but_wrong_content_is_refused(one_epoch, name, damage, message):
    arrays, meta = checkpoints.load(one_epoch / name)
    damage(arrays, meta)
    checkpoints.save(one_epoch / name, arrays, meta)
    if name == BEST and message.startswith("does not hold"):  # which epoch was the best one is its own affair
        assert blob_run(one_epoch, resume=True).trainer.progress.epoch == 1
        return
    file = METRICS if message.startswith("does not hold") else name
    refused(one_epoch, CheckpointError, f"{file}.*{message}")


def test_a_checkpoint_that_is_no_json_for_python_is_refused(one_epoch, monkeypatch):
    arrays, _ = checkpoints.load(one_epoch / LAST)
    monkeypatch.setattr(json, "dumps", lambda *_, **__: "[" * 200_000)
    checkpoints.save(one_epoch / LAST, arrays, {})
    monkeypatch.undo()
    refused(one_epoch, CheckpointError, f"{LAST} .*its brackets are nested too deeply")


def test_a_checkpoint_from_a_machine_of_the_other_byte_order_goes_on(tmp_path, unbroken):
    finished(tmp_path / "run", epochs=1)
    for name in (LAST, BEST):
        arrays, meta = checkpoints.load(tmp_path / "run" / name)
        swapped = {key: array.astype(array.dtype.newbyteorder()) for key, array in arrays.items()}
        checkpoints.save(tmp_path / "run" / name, swapped, meta)
    _, rows, _ = finished(tmp_path / "run")
    assert rows == unbroken[1]


def test_a_truncated_checkpoint_of_the_best_epoch_is_refused(one_epoch):
    (one_epoch / BEST).write_bytes((one_epoch / BEST).read_bytes()[:-50])
    refused(one_epoch, CheckpointError, f"{BEST} is truncated or no checkpoint")


def test_a_missing_checkpoint_of_the_best_epoch_is_told_with_what_to_do(one_epoch):
    (one_epoch / BEST).unlink()
    message = f"{BEST} is missing, and with it the weights of the best epoch: put it back, or copy {LAST} to it"
    refused(one_epoch, CheckpointError, message)
    (one_epoch / BEST).write_bytes((one_epoch / LAST).read_bytes())
    assert blob_run(one_epoch, resume=True).trainer.progress.epoch == 1


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
        ("{}\n", "line 1 must hold the finite numbers epoch, train_loss"),
        ("3\n", "line 1 must hold the finite numbers"),
    ],
)
def test_a_metrics_file_that_lacks_epochs_is_refused(one_epoch, text, message):
    (one_epoch / METRICS).write_text(text, encoding="latin-1")
    refused(one_epoch, CheckpointError, message)


def test_epochs_without_their_checkpoint_are_not_trained_over(tmp_path):
    finished(tmp_path / "run", epochs=2)
    (tmp_path / "run" / LAST).unlink()
    refused(tmp_path / "run", CheckpointError, "checkpoint-last.npz is missing, but metrics.jsonl has 2 epochs")


def test_a_best_checkpoint_alone_is_not_written_over(tmp_path):
    finished(tmp_path / "run", epochs=2)
    for name in (LAST, METRICS):
        (tmp_path / "run" / name).unlink()
    refused(tmp_path / "run", CheckpointError, "checkpoint-last.npz is missing, but metrics.jsonl has 0 epochs and")


def test_a_kill_at_the_end_of_the_first_epoch_begins_anew(tmp_path, unbroken):
    finished(tmp_path / "run", epochs=1)
    (tmp_path / "run" / LAST).unlink()  # its metrics and its best checkpoint are written before
    for _ in range(2):
        blob_run(tmp_path / "run", resume=True)  # and killed again before it has written a checkpoint
    assert finished(tmp_path / "run", epochs=2)[0] == finished(tmp_path / "other", epochs=2)[0]


def test_a_checkpoint_that_must_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    finished(tmp_path / "run", epochs=1)
    plain = Path.open

    def open_unless_last(path, *args, **keywords):
        if path.name == LAST:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path, *args, **keywords)

    before = content(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", open_unless_last)
        with pytest.raises(PermissionError, match=r"cannot read \S+-last.npz: Permission"):
            blob_run(tmp_path / "run", resume=True)
    assert content(tmp_path / "run") == before


def test_other_data_of_the_same_size_is_refused(tmp_path):
    finished(tmp_path / "run", epochs=1)
    config = json.loads((tmp_path / "run" / CONFIG).read_text())
    assert "data_sha256" not in config["task"]  # the blobs do not say
    task = blob_run(tmp_path / "other").trainer.task
    task.data_sha256 = "1f"
    assert run_config.noted_of(task) == {**config["task"], "data_sha256": "1f"}
    wanted = {**config, "task": {**config["task"], "data_sha256": "1f"}}
    run_config.check_same_run(wanted, config, tmp_path / CONFIG)  # an older run, which has not noted it
    found = {**config, "task": {**config["task"], "data_sha256": "2e"}}
    with pytest.raises(CheckpointError, match=r"is of another run: its task.data_sha256 is '2e', here it is '1f'"):
        run_config.check_same_run(wanted, found, tmp_path / CONFIG)


@pytest.mark.parametrize(
    ("part", "more", "rule", "message"),
    [
        ("rule", {}, GradientRule(warmup="layer", warmup_rate=0.2), "rule.warmup_rate is '0.1', here it is '0.2'"),
        ("rule", {"noise": "0.1"}, GradientRule(), "rule.noise is '0.1', here it is absent"),
        ("settings", {"momentum": 0.9}, GradientRule(), "settings.momentum is 0.9, here it is absent"),
    ],
)
def test_what_another_version_noted_or_did_not_note_is_no_reason_to_go_on_with_other_numbers(part, more, rule, message):
    """A field that is missing has its default; one that is unknown here would change nothing here, but did there."""
    config = run_config.config_of(blob_network(rule=rule), BlobTask(), BLOBS, "")
    found = json.loads(json.dumps(config))
    del found["rule"]["warmup_rate"]
    found[part].update(more)
    with pytest.raises(CheckpointError, match=rf"^config is of another run: its {message}$"):
        run_config.check_same_run(config, found, "config")


def test_fewer_epochs_than_are_done_are_refused(tmp_path):
    finished(tmp_path / "run", epochs=3)
    message = "run has finished 3 epochs already: --epochs must be at least 3, got 2"
    refused(tmp_path / "run", ValueError, message, settings=dataclasses.replace(BLOBS, epochs=2))


def test_fewer_epochs_than_are_begun_are_refused(tmp_path):
    asked = []
    with pytest.raises(InterruptedRunError):
        list(blob_run(tmp_path / "run").run(lambda: asked.append(0) or signal.SIGTERM * (len(asked) == 10)))
    message = "run is in epoch 2 already: --epochs must be at least 2, got 1"
    refused(tmp_path / "run", ValueError, message, settings=dataclasses.replace(BLOBS, epochs=1))
    assert len(finished(tmp_path / "run", epochs=2)[1]) == 2


def test_a_folder_in_which_another_trains_is_refused(tmp_path):
    epochs = blob_run(tmp_path / "run").run()
    next(epochs)
    refused(tmp_path / "run", BlockingIOError, "run is in use by another process")
    epochs.close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/run"):
        with pytest.raises(NotADirectoryError, match=r"a run needs a folder, but \S+file is a file"):
            blob_run(tmp_path / folder)


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

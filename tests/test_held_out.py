"""Training samples that are held out: never trained on, the same in all runs; they choose the best epoch."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from made_data import BLOBS, BlobTask, blob_network, run_cli, state_of, without_time, write_fashion

from tsslbp_ref import checkpoints, cli
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.training import Trainer, epoch_line, results
from tsslbp_ref.training.experiments import experiment
from tsslbp_ref.training.run_files import METRIC_NAMES, VALIDATION
from tsslbp_ref.training.runs import BEST, CONFIG, METRICS, InterruptedRunError, Run, read_metrics
from tsslbp_ref.training.tasks import HeldOut, ImageTask, task_of

NAME = "fashion-mnist-400-400"
N_HELD = 12


class Blobs(BlobTask):
    test_batch = 8

    def train_samples(self, indices):
        y = indices % 4
        return self.pictures(y), y


def held_out_run(folder, *, resume=False, epochs=3):
    task = HeldOut(Blobs(), N_HELD)
    return Run(folder, blob_network(), task, dataclasses.replace(BLOBS, epochs=epochs), resume=resume)


def test_samples_that_are_held_out_are_never_trained_on():
    task = HeldOut(Blobs(), N_HELD)
    Trainer(blob_network(), task, BLOBS).run_epoch()
    trained = list(itertools.chain(*task.task.batches_drawn))
    assert len(trained) == len(set(trained)) == task.n_train == 24
    assert set(trained) | set(task.held.tolist()) == set(range(36))
    (x, y), (_, rest) = task.validation_batches()
    assert (len(y), len(rest)) == (8, 4)
    np.testing.assert_array_equal(x, task.task.pictures(task.held[:8] % 4))


def test_the_seed_chooses_which_are_held_out():
    held = [HeldOut(Blobs(), N_HELD, seed).held.tolist() for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


@pytest.mark.parametrize(
    ("n", "error", "message"),
    [
        (0, ValueError, "held-out must be at least 1, got 0"),
        (1.5, TypeError, "held-out must be an integer, got 1.5"),
        (36, ValueError, "held-out must be less than the 36 training samples, got 36"),
    ],
)
def test_none_and_all_cannot_be_held_out(n, error, message):
    with pytest.raises(error, match=message):
        HeldOut(Blobs(), n)


def test_an_epochs_metrics_have_the_accuracy_on_the_held_out_samples():
    trainer = Trainer(blob_network(), HeldOut(Blobs(), N_HELD), BLOBS)
    metrics = trainer.run_epoch()
    found = [trainer.network.predict(x) == y for x, y in trainer.task.validation_batches()]
    assert metrics["validation_accuracy"] == np.concatenate(found).mean()
    assert metrics["test_accuracy"] == trainer.test_accuracy()
    assert f"held-out {metrics['validation_accuracy']:.2%}" in epoch_line(metrics)


def test_the_best_checkpoint_is_that_of_the_epoch_which_the_held_out_samples_choose(tmp_path, monkeypatch):
    run = held_out_run(tmp_path / "run")
    shares = iter([0.9, 0.1, 0.5, 0.4, 0.6, 0.3])  # test, held-out of three epochs: the second is chosen
    monkeypatch.setattr(run.trainer, "_share", lambda *_: next(shares))
    rows = list(run.run())
    _, meta = checkpoints.load(tmp_path / "run" / BEST)
    assert meta["progress"]["epoch"] == 2
    assert meta["progress"]["best_accuracy"] == 0.4
    assert results.chosen_epoch(rows)["test_accuracy"] == 0.5


@pytest.mark.parametrize("batch", [2, 3, 4])
def test_a_resumed_run_is_as_if_never_stopped(tmp_path, batch):
    unbroken = held_out_run(tmp_path / "unbroken", epochs=2)
    rows = list(unbroken.run())
    asked = iter(range(1, 100))
    with pytest.raises(InterruptedRunError):
        list(held_out_run(tmp_path / "run", epochs=2).run(lambda: 15 if next(asked) == batch else 0))
    resumed = held_out_run(tmp_path / "run", epochs=2, resume=True)
    list(resumed.run())
    assert state_of(resumed.trainer) == state_of(unbroken.trainer)
    assert without_time(resumed.metrics()) == without_time(rows)


def test_a_run_is_not_resumed_with_other_samples_held_out(tmp_path):
    list(held_out_run(tmp_path / "run", epochs=1).run())
    with pytest.raises(CheckpointError, match=r"its task\.validation_seed is 0, here it is 1"):
        Run(tmp_path / "run", blob_network(), HeldOut(Blobs(), N_HELD, 1), BLOBS, resume=True)
    with pytest.raises(CheckpointError, match=r"its task\.n_train is 24, here it is 36"):
        Run(tmp_path / "run", blob_network(), Blobs(), BLOBS, resume=True)


def test_metrics_without_the_accuracy_that_they_should_have_are_named(tmp_path):
    row = dict.fromkeys(METRIC_NAMES, 1)
    rows = [row | {VALIDATION: 0.5}, row | {"epoch": 2}]
    (tmp_path / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(CheckpointError, match=r"line 2 must hold the finite numbers .*, validation_accuracy"):
        read_metrics(tmp_path)
    (tmp_path / METRICS).write_text(json.dumps(row | {VALIDATION: 2}) + "\n")
    with pytest.raises(CheckpointError, match=r"line 1 must have its validation_accuracy from 0 to 1, got 2"):
        read_metrics(tmp_path)


# ---------------------------------------------------------------------------------------------------------------------
# The paper's experiments
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    data, folder = write_fashion(tmp_path_factory.mktemp("data")), tmp_path_factory.mktemp("runs")
    common = ["train", NAME, "--epochs", "2", "--threads", "1", "--quiet", "--data", str(data), "--runs", str(folder)]
    for options in (["--held-out", "50"], ["--held-out", "50", "--seed", "1"], []):
        assert cli.main([*common, *options]) == 0
    return data, folder


def test_the_command_holds_the_same_pictures_out_under_every_seed(runs):
    folders = [runs[1] / NAME / "released-held-out-50" / f"seed{seed}" for seed in (0, 1)]
    one, other = (json.loads((folder / CONFIG).read_text())["task"] for folder in folders)
    assert one == other
    assert (one["n_train"], one["n_validation"], one["validation_seed"], one["n_test"]) == (150, 50, 0, 60)
    for folder in folders:
        assert [0 <= row["validation_accuracy"] <= 1 for row in read_metrics(folder)] == [True, True]


def test_the_table_has_three_accuracies_and_the_csv_a_column_more(runs):
    held, whole = sorted(results.collect(runs[1]), key=lambda summary: summary.part)
    assert (held.part, whole.part) == ((150, 60), (200, 60))
    rows = [read_metrics(runs[1] / NAME / "released-held-out-50" / f"seed{seed}") for seed in (0, 1)]
    best = [max(run, key=lambda row: row["validation_accuracy"])["test_accuracy"] for run in rows]
    assert held.chosen == pytest.approx([100 * accuracy for accuracy in best])
    assert whole.chosen == []
    head, first, second = results.as_text([held, whole]).splitlines()
    at = slice(head.index("held-out choice"), head.index("paper"))
    assert first[at].split()[1] == "+-"
    assert second[at].strip() == "-"
    results.write_csv(runs[1], runs[1] / "all.csv")
    header, *lines = (runs[1] / "all.csv").read_text().splitlines()
    assert header.endswith(",samples_per_second,validation_accuracy")
    assert sorted(line.endswith(",") for line in lines) == [False] * 4 + [True] * 2


def test_pictures_that_are_held_out_are_not_augmented(runs, monkeypatch):
    monkeypatch.setattr("tsslbp_ref.datasets.augment_crop_flip", lambda images, rng: images[:, :, ::-1])
    plain, augmented = (ImageTask("fashion-mnist", augment=augment, data_dir=runs[0]) for augment in (False, True))
    (x, y), (wanted, labels) = (next(HeldOut(task, 5).validation_batches()) for task in (augmented, plain))
    np.testing.assert_array_equal(x, wanted)
    np.testing.assert_array_equal(y, labels)
    trained, _ = augmented.train_batch(np.arange(2), np.random.default_rng(0))
    assert not np.array_equal(trained, plain.train_samples(np.arange(2))[0])


def test_a_share_that_leaves_nothing_is_one_line(runs, tmp_path):
    common = ["--no-download", "--data", runs[0]]
    status, _, err = run_cli(tmp_path, "train", NAME, "--held-out", 200, *common)
    assert (status, err) == (2, "tsslbp-ref: error: held-out must be less than the 200 training samples, got 200\n")
    status, _, err = run_cli(tmp_path, "train", "yin-yang", "--held-out", 200)
    assert status == 2
    assert "yin-yang has no --held-out" in err
    with pytest.raises(ValueError, match="held-out must be less than"):
        task_of(experiment(NAME), runs[0], download=False, held_out=200)

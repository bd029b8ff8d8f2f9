"""Training on a part of the images: which ones are used, what is changed, and the run folder that it leaves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_data import BlobTask, write_fashion

from studies import subset_training
from studies.subset_training import Subset
from studies.trained_runs import load_run
from tsslbp_ref.training.experiments import EXPERIMENTS, experiment
from tsslbp_ref.training.run_files import read_metrics

NAME = "fashion-mnist-400-400"
N_TEST = 40  # of the made data


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made images, and a small network with dropout instead of the experiment's."""
    monkeypatch.setitem(EXPERIMENTS, NAME, replace(experiment(NAME), spec="12", dropout=0.2))
    folder = tmp_path / "data"
    write_fashion(folder, 60, N_TEST)
    return folder


def command(data: Path, folder: Path, *more: str) -> list[str]:
    parts = f"{NAME} --images 50 --test 30 --batch 10 --epochs 2 --seed 3 --data {data} --folder {folder}"
    return [*parts.split(), *more]


@pytest.mark.parametrize("n_test", [1, 8, 9, 20])
def test_a_subset_is_the_first_samples(n_test: int) -> None:
    task = BlobTask(n_train=36, n_test=20)
    subset = Subset(task, 12, n_test)
    whole_x, whole_y = (np.concatenate(parts) for parts in zip(*task.test_batches(), strict=True))
    x, y = (np.concatenate(parts) for parts in zip(*subset.test_batches(), strict=True))
    np.testing.assert_array_equal(x, whole_x[:n_test])
    np.testing.assert_array_equal(y, whole_y[:n_test])
    indices = np.array([3, 1, 11])
    drawn = [t.train_batch(indices, np.random.default_rng(0)) for t in (subset, task)]
    np.testing.assert_array_equal(drawn[0][0], drawn[1][0])


@pytest.mark.parametrize(
    ("n_train", "n_test", "message"),
    [
        (37, 5, "n_train must be at most 36, got 37"),
        (5, 21, "n_test must be at most 20, got 21"),
        (0, 5, "n_train must be at least 1, got 0"),
    ],
)
def test_a_subset_is_not_larger_than_the_task(n_train: int, n_test: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Subset(BlobTask(n_train=36, n_test=20), n_train, n_test)


def test_it_leaves_a_run_that_other_studies_read(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert subset_training.main(command(data, folder, "--learning-rate", "1e-2", "--plain")) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    config = json.loads((folder / "config.json").read_text())
    assert config["task"] == {"n_train": 50, "n_test": 30}
    assert (config["settings"]["batch_size"], config["settings"]["learning_rate"]) == (10, 1e-2)
    assert not any("Dropout" in layer for layer in config["layers"])
    run = load_run(folder)
    assert (run.row.name, run.seed) == (NAME, 3)
    assert subset_training.main(command(data, folder, "--learning-rate", "1e-2", "--plain")) == 2
    assert "--resume goes on" in capsys.readouterr().err


def test_what_the_command_line_does_not_change_is_the_experiments(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert subset_training.main(command(data, folder)) == 0
    config = json.loads((folder / "config.json").read_text())
    row = experiment(NAME)
    assert config["settings"]["learning_rate"] == row.learning_rate
    assert config["settings"]["loss"] == row.loss
    assert any("Dropout" in layer for layer in config["layers"])


def test_images_held_out_are_of_those_to_train_on(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert subset_training.main(command(data, folder, "--held-out", "20", "--plain")) == 0
    task = json.loads((folder / "config.json").read_text())["task"]
    assert (task["n_train"], task["n_validation"], task["n_test"]) == (30, 20, 30)
    accuracies = [metrics["validation_accuracy"] for metrics in read_metrics(folder)]
    assert all(0.0 <= accuracy <= 1.0 and (20 * accuracy) % 1 == pytest.approx(0.0) for accuracy in accuracies)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--held-out", "50"], "held-out must be less than the 50 training samples, got 50"),
        (["--test", "41"], "n_test must be at most 40, got 41"),
        (["--batch", "-1"], "batch_size must be at least 1, got -1"),
        (["--batch", "0"], "batch_size must be at least 1, got 0"),
        (["--learning-rate", "0"], "learning_rate must be greater than 0, got 0"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_one_line_says_what_is_wrong(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert subset_training.main(command(data, tmp_path / "run", *more)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_events_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert subset_training.main(["n-mnist-12c5-64c5-t30", "--folder", str(tmp_path / "run")]) == 2
    assert "must be one of static images" in capsys.readouterr().err

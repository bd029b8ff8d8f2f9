"""Training with the exact gradient: the task learns, a stopped run goes on bit for bit, bad plans are one line."""

from __future__ import annotations

import json
import math
import re
import signal

import numpy as np
import pytest

from tsslbp_ref import checkpoints, cli
from tsslbp_ref.datasets.yin_yang import YinYang
from tsslbp_ref.training import exact_training
from tsslbp_ref.training.exact_training import (
    Adam,
    ExactNetwork,
    ExactSettings,
    ExactTrainer,
    YinYangTask,
    clipped,
    cosine_rate,
)
from tsslbp_ref.training.run_files import BEST, CONFIG, LAST, read_metrics
from tsslbp_ref.training.runs import InterruptedRunError, Run

SMALL = ExactSettings(epochs=2, batch_size=20, n_hidden=12, seed=3)
N_TRAIN, N_TEST = 90, 40  # the last batch of an epoch is a short one


@pytest.fixture(scope="module")
def whole_task():
    return YinYangTask()


@pytest.fixture
def task(whole_task):
    """Some of the points."""
    small = object.__new__(YinYangTask)
    small.train = YinYang(*(array[:N_TRAIN] for array in whole_task.train))
    small.test = YinYang(*(array[:N_TEST] for array in whole_task.test))
    return small


def run_in(folder, task, *, resume=False, **changes):
    settings = ExactSettings(**{**vars(SMALL), **changes})
    return Run(folder, ExactNetwork(settings, 1), task, settings, title="yin-yang", resume=resume)


def state(run):
    arrays = [*run.trainer.network.weights, *run.trainer.optimiser.means, *run.trainer.optimiser.squares]
    return [array.tobytes() for array in arrays], run.trainer.optimiser.n_steps


def test_two_epochs_of_the_task_reach_four_points_in_five(whole_task):
    settings = ExactSettings(epochs=2)
    trainer = ExactTrainer(ExactNetwork(settings), whole_task, settings)
    first, second = trainer.run_epoch(), trainer.run_epoch()
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert second["train_loss"] < first["train_loss"]
    assert second["test_accuracy"] > 0.8


# ---------------------------------------------------------------- stopped and resumed


@pytest.mark.parametrize("batch", [1, 5, 8])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, task, batch):
    unbroken = run_in(tmp_path / "unbroken", task)
    rows = list(unbroken.run())
    stopped = run_in(tmp_path / "stopped", task)
    asked = iter(range(1, 100))
    with pytest.raises(InterruptedRunError):
        list(stopped.run(lambda: signal.SIGTERM if next(asked) == batch else 0))
    assert stopped.trainer.optimiser.n_steps == batch
    resumed = run_in(tmp_path / "stopped", task, resume=True)
    list(resumed.run())
    assert state(resumed) == state(unbroken)
    untimed = [{k: v for k, v in row.items() if "second" not in k} for row in read_metrics(tmp_path / "stopped")]
    assert untimed == [{k: v for k, v in row.items() if "second" not in k} for row in rows]
    for name in (BEST, LAST):
        one, other = (checkpoints.load(tmp_path / folder / name, 2**24)[0] for folder in ("unbroken", "stopped"))
        assert all(np.array_equal(one[key], other[key]) for key in one)


def test_a_run_is_resumed_with_its_own_settings_only(tmp_path, task):
    list(run_in(tmp_path, task).run())
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["settings"]["silent_output"] == SMALL.silent_output
    with pytest.raises(ValueError, match=r"settings.silent_output is 10.0, here it is 3.0"):
        run_in(tmp_path, task, resume=True, silent_output=3.0)
    # The learning rate falls to 0 at the last epoch, so a run with more epochs is another run from its first update on.
    with pytest.raises(ValueError, match="learning rate to 0 in 2 epochs"):
        run_in(tmp_path, task, resume=True, epochs=3)


def test_a_gradient_that_is_not_finite_ends_the_run_in_one_line(tmp_path, task, monkeypatch):
    run = run_in(tmp_path, task)
    monkeypatch.setattr(exact_training, "clipped", lambda gradients, largest: clipped([np.array([np.inf])], largest))
    with pytest.raises(ValueError, match="epoch 1, batch 1: the gradients are not finite"):
        list(run.run())


# ---------------------------------------------------------------- the update


def test_clipping_keeps_the_direction_of_all_gradients_together():
    gradients = [np.array([[3.0, 0.0]]), np.array([[0.0], [4.0]])]
    short = clipped(gradients, 0.5)
    np.testing.assert_allclose(math.sqrt(sum(np.sum(g**2) for g in short)), 0.5)
    np.testing.assert_allclose(short[0] * 10.0, gradients[0])
    assert all(one is other for one, other in zip(clipped(gradients, 5.0), gradients, strict=True))


def test_the_learning_rate_falls_by_a_cosine():
    np.testing.assert_allclose(
        [cosine_rate(0.4, k, 4) for k in (0, 1, 2, 4)], [0.4, 0.2 + 0.2 / math.sqrt(2), 0.2, 0.0]
    )


def test_adam_is_the_literal_one():
    rng = np.random.default_rng(0)
    W = rng.normal(size=(3, 2))
    expected, m, v = W.copy(), np.zeros((3, 2)), np.zeros((3, 2))
    adam = Adam([W])
    for n in range(1, 5):
        g, rate = rng.normal(size=(3, 2)), 0.1 / n
        adam.step([g], rate)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected -= rate * (m / (1.0 - 0.9**n)) / (np.sqrt(v / (1.0 - 0.999**n)) + 1e-8)
    np.testing.assert_allclose(W, expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be"),
        ({"clip": 0.0}, "clip must be"),
        ({"alpha": -1.0}, "alpha must be"),
        ({"loss": "count"}, "unknown loss 'count'"),
        ({"seed": -1}, "seed must be"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        ExactSettings(**changes)


# ---------------------------------------------------------------- the command line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mnist-15c5-40c5-300", "--rule", "exact"), "--rule exact trains yin-yang only: .* convolutions"),
        (("yin-yang", "--rule", "released"), "yin-yang is trained with --rule exact only, got 'released'"),
        (("yin-yang", "--loss", "count"), "unknown loss 'count'; known: 'first-spike'"),
        (("yin", "--rule", "exact"), "unknown experiment 'yin'; known: .*'yin-yang'"),
    ],
)
def test_what_cannot_be_run_is_one_line(tmp_path, capsys, arguments, message):
    assert cli.main(["train", *arguments, "--runs", str(tmp_path / "runs")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
    assert re.search(message, err)


def test_the_command_trains_and_the_results_have_a_line(tmp_path, capsys, monkeypatch, task):
    monkeypatch.setattr("tsslbp_ref.training.seeds.YinYangTask", lambda: task)
    assert cli.main(["train", "yin-yang", "--epochs", "1", "--quiet", "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("yin-yang exact seed 0  epoch   1  loss ")
    assert cli.main(["results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["yin-yang", "exact"]

"""The cost of a training step: input of the right kind and density, counts that are true, and the command line."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_data import write_fashion

from studies import one_recording, step_cost
from tsslbp_ref.datasets import bin_events
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.training.experiments import EXPERIMENTS, Experiment, experiment
from tsslbp_ref.training.tasks import task_of

RECORDING = Path(step_cost.__file__).parents[1] / "results" / one_recording.TABLE
DENSE, EVENTS = "fashion-mnist-400-400", "n-mnist-12c5-64c5-t30"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """A row of the table with a network that takes milliseconds, known by its name to the command line too."""
    row = replace(experiment(DENSE), spec="5", batch_size=7)
    monkeypatch.setitem(EXPERIMENTS, DENSE, row)
    return row


def test_random_pictures_have_the_shape_of_the_data() -> None:
    x, y = step_cost.random_batch(experiment(DENSE), 200, np.random.default_rng(0))
    assert (x.shape, x.dtype) == ((200, 1, 28, 28), np.float32)
    assert abs(x.mean()) < 0.02
    assert abs(x.std() - 1) < 0.02
    assert set(y) == set(range(10))


def test_random_events_are_as_rare_as_those_of_a_recording() -> None:
    row = experiment(EVENTS)
    x, _ = step_cost.random_batch(row, 4, np.random.default_rng(0))
    recorded = bin_events(one_recording.read_table(RECORDING), row.n_steps, row.bin_width_us)
    assert x.shape == (30, 4, 2, 34, 34)
    assert set(np.unique(x)) == {0.0, 1.0}
    assert x.mean() == pytest.approx(recorded.mean(), rel=0.05)


def test_a_step_is_a_pass_and_an_update_of_a_whole_batch(small: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    batches, updates = [], []
    original_pass, original_step = Network.training_step, AdamW.step

    def counted_pass(self: Network, x: Any, y: Any, *arguments: Any, **named: Any) -> Any:
        batches.append((len(y), named["rng"] is not None))
        return original_pass(self, x, y, *arguments, **named)

    def counted_step(self: AdamW, gradients: Any) -> None:
        updates.append(len(gradients))
        original_step(self, gradients)

    monkeypatch.setattr(Network, "training_step", counted_pass)
    monkeypatch.setattr(AdamW, "step", counted_step)
    cost = step_cost.measure(small, n_steps=3)
    assert batches == [(1, True), (7, True), (7, True), (7, True)]
    assert updates == [2] * 4
    assert cost.batch_size == 7


def test_times_are_a_mean_of_the_timed_steps_alone(small: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((10.0, 16.0))
    processor = iter((1.0, 4.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(time, "process_time", lambda: next(processor))
    cost = step_cost.measure(small, n_steps=3)
    assert (cost.wall_seconds, cost.cpu_seconds) == (2.0, 1.0)


def test_peak_memory_is_in_bytes(small: Experiment) -> None:
    # Python, NumPy and Numba alone are above the lower end: a wrong unit is off by 1024.
    assert 50 * 2**20 < step_cost.measure(small).peak_bytes < 50 * 2**30


@pytest.mark.usefixtures("small")
def test_command_line_prints_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert step_cost.main([DENSE, "--steps", "2"]) == 0
    line = capsys.readouterr().out
    assert re.fullmatch(
        rf"{DENSE}: batch 7, \S+ CPU s and \S+ s a step, peak \S+ GiB; all 100 epochs: \S+ days of one core\n", line
    )


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["no-such-row"], "no-such-row"), ([DENSE, "--steps", "0"], "n_steps"), ([DENSE, "--threads", "0"], "n_threads")],
)
def test_bad_arguments_are_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert step_cost.main(arguments) == step_cost.USAGE_ERROR
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1


def test_a_real_batch_is_the_first_of_the_training_data(small: Experiment, tmp_path: Path) -> None:
    write_fashion(tmp_path, 30, 10)
    task = task_of(small, tmp_path, download=False)
    x, y = step_cost.first_batch(task, small.batch_size, np.random.default_rng(0))
    expected_x, expected_y = task.train_batch(np.arange(7), np.random.default_rng(0))
    np.testing.assert_array_equal(x, expected_x)
    np.testing.assert_array_equal(y, expected_y)
    assert step_cost.measure(small, task=task).batch_size == 7


def test_full_run_is_all_epochs_of_the_whole_data_set() -> None:
    row = experiment("cifar-10-96c3-256c3-384c3-384c3-256c3-1024-1024")
    cost = step_cost.StepCost(row.batch_size, cpu_seconds=8.64, wall_seconds=0.0, peak_bytes=0)
    assert step_cost.full_run_days(row, cost) == pytest.approx(150 * 1000 * 8.64 / 86_400)


@pytest.mark.usefixtures("small")
def test_numbers_are_kept_beside_those_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_fashion(tmp_path, 30, 10)
    table = tmp_path / "cost.json"
    table.write_text('{"another": {"batch": 1}}')
    assert step_cost.main([DENSE, "--real", "--data", str(tmp_path), "--json", str(table)]) == 0
    kept = json.loads(table.read_text())
    assert kept["another"] == {"batch": 1}
    assert (kept[DENSE]["input"], kept[DENSE]["batch"]) == ("real", 7)
    table.write_text("[]")
    capsys.readouterr()
    assert step_cost.main([DENSE, "--json", str(table)]) == step_cost.USAGE_ERROR
    assert "must hold a JSON object" in capsys.readouterr().err
    assert table.read_text() == "[]"

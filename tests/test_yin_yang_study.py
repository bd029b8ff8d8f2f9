"""The tables of Yin-Yang runs: what is read from run folders is what is written, and what is committed is whole."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from figures import fig32_yin_yang as fig32
from studies import yin_yang as study
from tsslbp_ref import checkpoints, exact
from tsslbp_ref.datasets import yin_yang
from tsslbp_ref.training.exact_training import ExactSettings
from tsslbp_ref.training.run_files import CONFIG, LAST, METRICS


def made_run(folder, seed, accuracies, epochs=2):
    folder.mkdir(parents=True)
    names = ("epoch", "train_loss", "train_accuracy", "test_accuracy", "seconds", "samples_per_second")
    rows = [dict.fromkeys(names, 1.0) | {"epoch": k, "test_accuracy": a} for k, a in enumerate(accuracies, start=1)]
    (folder / CONFIG).write_text(json.dumps({"settings": {"seed": seed, "epochs": epochs}}))
    (folder / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    checkpoints.save(folder / LAST, {"weight0": np.full((2, 2), 0.1 + seed), "weight1": np.ones((1, 2))}, {})


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_hold_the_finished_runs(tmp_path, capsys):
    made_run(tmp_path / "runs" / "seed10", 10, [0.5, 0.96])
    made_run(tmp_path / "runs" / "seed9", 9, [0.6, 0.98])
    made_run(tmp_path / "runs" / "seed8", 8, [0.6])  # not finished
    assert study.main([str(tmp_path / "runs"), "--out", str(tmp_path)]) == 0
    # Student's t of one degree of freedom, 12.706, times the standard error 1.
    assert capsys.readouterr().out == "2 seeds: mean 97.00 +- 12.71 %, least 96.00 %\n"
    rows = read(tmp_path / study.CURVES)
    assert [(row["seed"], row["epoch"], row["test_accuracy"]) for row in rows] == [
        ("9", "1", "0.6"), ("9", "2", "0.98"), ("10", "1", "0.5"), ("10", "2", "0.96"),
    ]  # fmt: skip
    weights = read(tmp_path / study.WEIGHTS)
    assert [float(row["weight"]) for row in weights] == [9.1] * 4 + [1.0] * 2


def test_without_a_finished_run_there_is_an_error(tmp_path):
    made_run(tmp_path / "seed0", 0, [0.5])
    with pytest.raises(FileNotFoundError, match="no finished run"):
        study.main([str(tmp_path), "--out", str(tmp_path)])


def test_the_committed_weights_reach_what_the_committed_table_says():
    rows = read(fig32.measured.RESULTS / study.CURVES)
    seeds = {int(row["seed"]) for row in rows}
    assert len(seeds) == 10
    last = {
        int(row["seed"]): float(row["test_accuracy"]) for row in rows if int(row["epoch"]) == ExactSettings().epochs
    }
    assert set(last) == seeds
    test = yin_yang.load_yin_yang("test")
    found = exact.predict(fig32.trained_weights(), yin_yang.spike_times(test.points), *fig32.constants())
    assert np.mean(found == test.labels) == pytest.approx(last[min(seeds)])

"""The embedded task from several seeds: the study runs, counts what it says, and its committed table is complete."""

import csv
from pathlib import Path

import numpy as np
import pytest

import tsslbp_ref as tr
from studies import raster_seeds as study

COMMITTED = Path(study.__file__).parents[1] / "results" / "raster-seeds.csv"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_is_what_training_by_hand_gives(tmp_path):
    out = tmp_path / "rows.csv"
    assert study.main(["--seeds", "1", "--updates", "2", "--out", str(out)]) == 0
    rows = read(out)
    assert [row["rule"] for row in rows] == list(study.RULES)
    task = tr.raster.raster_task(seed=0, rule=tr.rule_by_name("surrogate"), dtype="float64")
    history = tr.raster.learn(task, 2)
    assert float(rows[2]["final_loss"]) == pytest.approx(history[-1], rel=1e-5)
    fired = np.argwhere(tr.raster.output_spikes(task) == 1).tolist()
    wanted = np.argwhere(task.desired[:, 0] == 1).tolist()
    wrong = [place for place in fired if place not in wanted] + [place for place in wanted if place not in fired]
    assert int(rows[2]["wrong_places"]) == len(wrong) > 0


def test_committed_table_is_complete():
    rows = read(COMMITTED)
    assert tuple(rows[0]) == study.COLUMNS
    expected = [(rule, str(seed)) for rule in study.RULES for seed in range(study.N_SEEDS)]
    assert [(row["rule"], row["seed"]) for row in rows] == expected
    assert {row["updates"] for row in rows} == {str(study.N_UPDATES)}


@pytest.mark.parametrize(("option", "value"), [("--seeds", "0"), ("--updates", "-1")])
def test_a_bad_number_is_one_line(tmp_path, capsys, option, value):
    assert study.main([option, value, "--out", str(tmp_path / "x.csv")]) == 2
    error = capsys.readouterr().err
    assert f"{option[2:]} must be at least 1, got {value}" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x.csv").exists()

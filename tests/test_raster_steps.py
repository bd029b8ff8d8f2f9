"""The embedded task by the length of its raster: the study runs, and counts what it says."""

import csv
from pathlib import Path

import numpy as np
import pytest

import tsslbp_ref as tr
from studies import raster_steps as study

COMMITTED = Path(study.__file__).parents[1] / "results" / "raster-steps.csv"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_raster_is_cut_and_begins_again():
    once = tr.raster.desired_raster()
    np.testing.assert_array_equal(study.desired_of(10), once[:10])
    np.testing.assert_array_equal(study.desired_of(76), np.concatenate([once, once]))


def test_runs_and_summary_are_those_made_by_hand(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "LENGTHS", (5, 40))
    out = tmp_path / "rows.csv"
    assert study.main(["--seeds", "2", "--updates", "3", "--out", str(out)]) == 0
    rows = read(out)
    assert [(row["steps"], row["rule"]) for row in rows[::2]] == [
        (T, rule) for T in ("5", "40") for rule in study.RULES
    ]
    task = tr.raster.raster_task(1, desired=study.desired_of(40), rule=tr.GradientRule(intra="leak"), dtype="float64")
    history = tr.raster.learn(task, 3)
    (mine,) = [row for row in rows if (row["steps"], row["rule"], row["seed"]) == ("40", "leak-alone", "1")]
    assert float(mine["final_loss"]) == pytest.approx(history[-1], rel=1e-5)
    assert (mine["wrong_places"], mine["places"]) == (str(tr.raster.n_wrong(task)), "280")
    means = {(row["steps"], row["quantity"]): float(row["mean"]) for row in read(tmp_path / "rows-summary.csv")}
    shares = {rule: [100 * int(r["wrong_places"]) / 280 for r in rows[8:] if r["rule"] == rule] for rule in study.RULES}
    assert means["40", "leak-alone"] == pytest.approx(np.mean(shares["leak-alone"]), rel=1e-4)
    difference = np.mean(shares["released"]) - np.mean(shares["no-intra"])
    assert means["40", "released minus no-intra"] == pytest.approx(difference, rel=1e-4, abs=1e-9)
    assert ("40", "no-intra minus no-intra") not in means


def test_committed_table_is_complete_and_has_the_committed_summary():
    rows = read(COMMITTED)
    grid = [(str(T), rule, str(seed)) for T in study.LENGTHS for rule in study.RULES for seed in range(study.N_SEEDS)]
    assert [(row["steps"], row["rule"], row["seed"]) for row in rows] == grid
    assert {row["updates"] for row in rows} == {str(study.N_UPDATES)}
    assert study.summary(rows) == read(COMMITTED.with_name("raster-steps-summary.csv"))


def test_a_bad_number_is_one_line(tmp_path, capsys):
    assert study.main(["--seeds", "1", "--out", str(tmp_path / "x.csv")]) == 2
    assert capsys.readouterr().err == "python -m studies.raster_steps: seeds must be at least 2, got 1\n"
    assert not list(tmp_path.iterdir())

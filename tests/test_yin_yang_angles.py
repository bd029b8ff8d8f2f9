"""The races on Yin-Yang along the way: the loss alone, the cosine with what is noisy, the tables, and the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from studies import yin_yang_angles as study
from studies import yin_yang_races as races
from studies.gradient_alignment import beside
from studies.trained_runs import read_rows
from studies.yin_yang_contenders import PEAK, RACES, VAN_ROSSUM, loss_alone, loss_and_gradient
from tsslbp_ref.datasets import yin_yang

ROOT = Path(study.__file__).parents[1]
RESULTS = ROOT / "results"


@pytest.mark.parametrize("race", RACES)
@pytest.mark.parametrize("name", [races.EXACT, races.RELEASED])
def test_the_loss_alone_is_the_loss_beside_the_gradient(race, name):
    points, labels = (array[:6] for array in yin_yang.load_yin_yang("train"))
    weights = [W + 8.0 for W in races.initial_weights(race, 0)]  # so that outputs fire
    runner = races.contender(name)
    expected = loss_and_gradient(runner, race, weights, points, labels)
    assert race == PEAK or expected.passed.counts.any()
    assert loss_alone(runner, race, weights, points, labels) == pytest.approx(expected.loss, rel=1e-12)


def test_the_cosine_with_noisy_halves_is_that_without_noise():
    rng = np.random.default_rng(0)
    true = rng.normal(size=2000)
    g = true + 2.0 * rng.normal(size=2000)
    one, other = (true + 3.0 * rng.normal(size=2000) for _ in range(2))
    expected = study.cosine(g, true)
    assert study.cosine(g, one + other) < 0.6 * expected
    assert study.cosine_with_noisy(g, one, other) == pytest.approx(expected, abs=0.08)
    assert study.cosine_with_noisy(g, true, true) == pytest.approx(expected)
    assert np.isnan(study.cosine_with_noisy(g, true, -true))


def test_a_race_is_trained_again_and_summed(tmp_path, monkeypatch):
    monkeypatch.setattr(races, "points_of", lambda split: yin_yang.make_yin_yang(20, seed=len(split)))
    monkeypatch.setattr(study, "points_of", races.points_of)
    cells = [races.Cell(PEAK, name, 0.0, 0.1, 0, "test") for name in (races.EXACT, races.RELEASED)]
    table, out = tmp_path / "races.csv", tmp_path / "angles.csv"
    raced = [row for cell in cells for row in races.train(cell, 2)]
    races.write_rows(table, races.COLUMNS, raced)
    assert study.main([str(table), "--out", str(out), "--seeds", "1", "--pairs", "3"]) == 0
    rows = read_rows(out, study.COLUMNS)
    assert [(row["contender"], row["epoch"]) for row in rows] == [(c, e) for c in ("exact", "released") for e in "12"]
    # The weights are those of the race: so is the cosine with the exact gradient.
    for row, of_race in zip(rows[2:], raced[2:], strict=True):
        assert float(row["cosine_exact"]) == pytest.approx(float(of_race["cosine"]), rel=1e-3)
    found = {(r["contender"], r["epoch"], r["quantity"]): r for r in read_rows(beside(out, "summary"), study.SUMMARY)}
    assert float(found["exact", "2", "accuracy"]["mean"]) == pytest.approx(100.0 * float(raced[1]["accuracy"]))
    assert found["released", "1", "cpu_seconds"]["n"] == "1"
    assert study.main([str(table), "--out", str(out), "--seeds", "1"]) == 0
    assert read_rows(out, study.COLUMNS) == rows  # nothing was left to measure
    assert study.main([str(table), "--out", str(tmp_path / "last.csv"), "--pairs", "3", "--at", "-1"]) == 0
    assert {row["epoch"] for row in read_rows(tmp_path / "last.csv", study.COLUMNS)} == {"2"}


def test_bad_input_is_one_line(tmp_path, capsys):
    assert study.main([str(tmp_path / "none.csv"), "--out", str(tmp_path / "out.csv")]) == study.USAGE_ERROR
    assert capsys.readouterr().err.count("\n") == 1


def test_the_committed_summary_is_that_of_the_tables_and_the_page_prints_it():
    measured = read_rows(RESULTS / "yin-yang-angles.csv", study.COLUMNS)
    summed = read_rows(RESULTS / "yin-yang-angles-summary.csv", study.SUMMARY)
    assert study.summary(read_rows(RESULTS / "yin-yang-races.csv", study.RACE_COLUMNS), measured) == summed
    assert {row["contender"] for row in measured} == set(races.NAMES)
    page = (ROOT / "studies" / "README.md").read_text()
    assert all(study.as_markdown(summed, race) in page for race in (PEAK, VAN_ROSSUM))

"""Training by state: run folders become a table, and its summary has the textbook's differences and intervals."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from studies import states_training as study
from tsslbp_ref import named_rules
from tsslbp_ref.training.experiments import EXPERIMENTS, experiment
from tsslbp_ref.training.run_files import CONFIG, METRIC_NAMES, METRICS

NAME = "fashion-mnist-400-400"
OLD, NEW = "september-2020", "released"
RESULTS = Path(study.__file__).parents[1] / "results"
OTHER_CURVES = RESULTS / "learning-curves-mnist-15c5-40c5-300.csv"
# Test accuracies of two epochs, by (rule, settings) and seed.
MADE: Mapping[tuple[str, str], Sequence[tuple[float, ...]]] = {
    (OLD, OLD): [(0.89, 0.88), (0.90, 0.91), (0.92, 0.90)],
    (OLD, NEW): [(0.87, 0.88), (0.88, 0.86), (0.86, 0.85)],
    (NEW, OLD): [(0.80, 0.85), (0.86, 0.84), (0.85, 0.87)],
    (NEW, NEW): [(0.82, 0.81), (0.83, 0.84), (0.80, 0.86)],
}


def made_runs() -> list[study.Run]:
    return [
        study.Run(NAME, *group, f"seed{seed}", tuple(100 * value for value in accuracies))
        for group, seeds in MADE.items()
        for seed, accuracies in enumerate(seeds)
    ]


def made_folder(folder: Path, rule: str, state: str, accuracies: Sequence[float], held_out: Sequence[float]) -> None:
    """A run folder with the settings of a state and a made course of training."""
    row = experiment(NAME, state)
    config = {"title": NAME, "rule": {}, "state": state, "settings": {"loss": row.loss, "seed": 0}}
    config["task"] = {"n_validation": 500 if held_out else 0}
    config["rule"] = {key: str(value) for key, value in vars(named_rules()[rule]).items()}
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(config))
    lines = []
    for epoch, accuracy in enumerate(accuracies, start=1):
        metrics = dict.fromkeys(METRIC_NAMES, 0.5) | {"epoch": epoch, "test_accuracy": accuracy}
        if held_out:
            metrics["validation_accuracy"] = held_out[epoch - 1]
        lines.append(json.dumps(metrics) + "\n")
    (folder / METRICS).write_text("".join(lines))


def value_of(rows: list[dict[str, str]], quantity: str, measure: str = "best") -> list[float]:
    (row,) = [row for row in rows if (row["quantity"], row["measure"]) == (quantity, measure)]
    return [float(row[key]) for key in ("mean", "low", "high")]


def test_a_run_has_three_measures() -> None:
    run = study.Run(NAME, OLD, OLD, "seed0", (88.0, 90.0, 89.0), (0.5, 0.6, 0.7))
    assert [run.measure(name) for name in study.MEASURES] == [90.0, 89.0, 89.0]
    assert np.isnan(study.Run(NAME, OLD, OLD, "seed0", (88.0,)).measure("chosen"))
    with pytest.raises(ValueError, match=r"measure 'final'.*'best', 'last', 'chosen'"):
        run.measure("final")


def test_run_folders_become_a_table_which_later_runs_extend(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    made_folder(tmp_path / "a" / "x" / "seed0", OLD, OLD, (0.8, 0.9), ())
    made_folder(tmp_path / "b" / "x" / "seed0", NEW, OLD, (0.7, 0.75), ())
    made_folder(tmp_path / "b" / "y" / "seed0", NEW, OLD, (0.6, 0.65), (0.6, 0.5))
    for folder in ("a", "b"):
        arguments = [str(tmp_path / folder), "--out", str(out), "--curves", str(OTHER_CURVES), "--epochs", "2"]
        assert study.main(arguments) == 0
    runs = {(run.rule, run.name): run for run in study.read_runs(out, OTHER_CURVES) if run.experiment == NAME}
    assert set(runs) == {(OLD, "seed0"), (NEW, "seed0"), (NEW, "seed0-held-out-500")}
    assert {run.settings for run in runs.values()} == {OLD}
    assert runs[OLD, "seed0"].test == pytest.approx((80.0, 90.0))
    assert runs[OLD, "seed0"].validation == ()
    assert runs[NEW, "seed0-held-out-500"].measure("chosen") == pytest.approx(60.0)
    with (tmp_path / "out-summary.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["experiment"] == NAME]
    assert [row["quantity"] for row in rows if row["measure"] == "chosen"] == [f"{NEW} at {OLD}, pictures held out"]
    (difference,) = [r for r in rows if (r["quantity"], r["measure"]) == (next(iter(study.FACTORS)), "best")]
    assert float(difference["mean"]) == pytest.approx(15.0)
    assert (difference["n"], difference["low"]) == ("1", "")  # a single pair has no interval


def test_shorter_runs_are_left_out_and_longer_ones_cut() -> None:
    runs = [study.Run(NAME, OLD, OLD, f"seed{n}", (88.0, 90.0, 89.0)[:n]) for n in (1, 2, 3)]
    assert [run.name for run in study.cut(runs)] == ["seed3"]
    assert [run.test for run in study.cut(runs, 2)] == [(88.0, 90.0)] * 2
    with pytest.raises(ValueError, match="epochs must be at least 1, got 0"):
        study.cut(runs, 0)


def test_rule_and_settings_are_taken_apart_seed_by_seed() -> None:
    rows = study.summary(made_runs())
    best = {group: 100 * np.array(seeds).max(axis=1) for group, seeds in MADE.items()}
    both, rule, settings, neither = best[OLD, OLD], best[OLD, NEW], best[NEW, OLD], best[NEW, NEW]
    wanted = {
        "September's rule, at September's settings": both - settings,
        "September's rule, at the released settings": rule - neither,
        "September's rule, mean": (both + rule - settings - neither) / 2,
        "September's settings, by September's rule": both - rule,
        "September's settings, by the released rule": settings - neither,
        "September's settings, mean": (both + settings - rule - neither) / 2,
        "interaction": both - rule - settings + neither,
        f"{NEW} at {NEW} minus {OLD} at {OLD}": neither - both,
    }
    for quantity, of_seed in wanted.items():
        interval = stats.ttest_1samp(of_seed, 0.0).confidence_interval(0.95)
        found = value_of(rows, quantity)
        assert found == pytest.approx([of_seed.mean(), interval.low, interval.high], rel=1e-5, abs=1e-5), quantity


def test_rules_are_set_beside_the_released_one_where_pictures_were_held_out() -> None:
    accuracies = {"released": ((80.0, 81.0), (82.0, 80.0)), "surrogate": ((83.0, 84.0), (82.0, 85.0))}
    runs = [
        study.Run(NAME, rule, NEW, f"seed{seed}", test, (0.2, 0.1))
        for rule, seeds in accuracies.items()
        for seed, test in enumerate(seeds)
    ]
    rows = study.summary(runs)
    name = f"surrogate at {NEW}, pictures held out minus {NEW} at {NEW}, pictures held out"
    found = {row["measure"]: float(row["mean"]) for row in rows if row["quantity"] == name}
    assert found == pytest.approx({"best": 3.0, "last": 4.0, "chosen": 1.5})


def test_early_stopping_would_have_ended_no_run_of_september() -> None:
    """The patience of `utils.py` at 6e40449: 50 epochs that are all below the best."""
    state = study.group_of(study.SEPTEMBER, study.SEPTEMBER)
    runs = [
        run
        for run in study.read_runs(RESULTS / "states-training.csv", OTHER_CURVES)
        if (run.experiment, run.group) == (NAME, state)
    ]
    assert [len(run.test) for run in runs] == [100] * 5
    for run in runs:
        below = longest = 0
        for epoch, accuracy in enumerate(run.test):
            below = below + 1 if accuracy < max(run.test[: epoch + 1]) else 0
            longest = max(longest, below)
        assert 10 < longest < 50


def test_pairs_are_the_seeds_that_both_have() -> None:
    runs = [run for run in made_runs() if (run.rule, run.name) != (NEW, "seed1")]
    rows = study.summary(runs)
    both, settings = (100 * np.array(MADE[group])[[0, 2]].max(axis=1) for group in ((OLD, OLD), (NEW, OLD)))
    assert value_of(rows, "September's rule, at September's settings")[0] == pytest.approx((both - settings).mean())


def test_the_papers_runs_are_no_pairs() -> None:
    rows = study.summary(made_runs())
    best = 100 * np.array(MADE[OLD, OLD]).max(axis=1)
    paper = EXPERIMENTS[NAME].paper
    found = value_of(rows, f"{OLD} at {OLD} minus the paper")
    assert found[0] == pytest.approx(best.mean() - paper.mean, rel=1e-5)
    # Welch's test rejects a difference at 5 % just where its interval leaves it out.
    for edge in found[1:]:
        test = stats.ttest_ind_from_stats(
            best.mean() - edge, best.std(ddof=1), 3, paper.mean, paper.std, study.PAPER_SEEDS, equal_var=False
        )
        assert test.pvalue == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize("arguments", [["nothing-there"], []])
def test_bad_input_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    out = tmp_path / "other.csv"
    out.write_text("a,b\n1,2\n")
    assert study.main([*(str(tmp_path / name) for name in arguments), "--out", str(out)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert out.read_text() == "a,b\n1,2\n"


def test_committed_summary_is_that_of_the_committed_table() -> None:
    curves = Path(study.__file__).parents[1] / study.CURVES
    table = curves.with_name("states-training.csv")
    with table.with_name("states-training-summary.csv").open(newline="") as file:
        committed = list(csv.DictReader(file))
    runs = study.read_runs(table, curves)
    epochs = dict.fromkeys(int(row["epochs"]) for row in committed)
    assert [row for n in epochs for row in study.summary(study.cut(runs, n))] == committed

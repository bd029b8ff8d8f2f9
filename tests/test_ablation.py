"""The ablation: runs are read whole, pairs are formed by seed, and the statistics are the textbook's."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from figures import fig27_ablation as figure
from figures import fig30_target_trains as targets
from figures import measured
from studies import ablation
from tsslbp_ref.training.runs import METRIC_NAMES

HEADER = ("experiment", "rule", "run", *METRIC_NAMES)
EXPERIMENT = "fashion-mnist-400-400"
Made = Mapping[str, Sequence[tuple[float, ...]]]
# Test accuracies by rule and seed, epoch by epoch.
MADE: Made = {
    "no-intra": [(0.10, 0.875), (0.85, 0.886), (0.87, 0.884)],
    "released": [(0.88, 0.870), (0.87, 0.890), (0.88, 0.885)],
    "literal": [(0.10, 0.100), (0.10, 0.100), (0.10, 0.100)],
}


def write_table(path: Path, made: Made = MADE, changed: dict[str, str] | None = None) -> Path:
    """Write a table of epochs; `changed` replaces cells of the first row."""
    rows = []
    for rule, seeds in made.items():
        for seed, accuracies in enumerate(seeds):
            for epoch, accuracy in enumerate(accuracies, start=1):
                row = dict.fromkeys(HEADER, "1.0") | {"experiment": EXPERIMENT, "rule": rule, "run": f"seed{seed}"}
                rows.append(row | {"epoch": str(epoch), "test_accuracy": str(accuracy)})
    rows[0] |= changed or {}
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, HEADER)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "ablation.csv")


def row_of(rows: list[dict[str, str]], rule: str, measure: str) -> dict[str, str]:
    (row,) = [row for row in rows if (row["rule"], row["measure"]) == (rule, measure)]
    return row


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


def test_a_run_has_its_best_and_its_final_epoch_in_percent(table: Path) -> None:
    (run,) = [run for run in ablation.read_runs(table) if (run.rule, run.name) == ("released", "seed0")]
    assert (run.experiment, run.accuracy) == (EXPERIMENT, pytest.approx((88.0, 87.0)))
    assert run.measure("best") == pytest.approx(88.0)
    assert run.measure("final") == pytest.approx(87.0)
    with pytest.raises(ValueError, match=r"measure 'last'.*'best', 'final'"):
        run.measure("last")


def test_shorter_runs_are_under_way_and_left_out(tmp_path: Path) -> None:
    made = {**MADE, "surrogate": [(0.88, 0.89), (0.88,)]}
    runs = ablation.read_runs(write_table(tmp_path / "a.csv", made))
    finished = ablation.finished_runs(runs)
    assert [run.name for run in runs if run.rule == "surrogate"] == ["seed0", "seed1"]
    assert [run.name for run in finished if run.rule == "surrogate"] == ["seed0"]
    assert len(finished) == len(runs) - 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epoch": "2"}, f"epochs of {EXPERIMENT}/no-intra/seed0 must be 1, 2, ..., got 2, 2"),
        ({"test_accuracy": "88.0"}, f"test_accuracy of {EXPERIMENT}/no-intra/seed0 must be between 0 and 1"),
        ({"test_accuracy": "nan"}, "must be between 0 and 1"),
        ({"test_accuracy": "high"}, "could not convert string to float: 'high'"),
    ],
)
def test_a_wrong_table_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, str], message: str
) -> None:
    out = tmp_path / "out.csv"
    assert ablation.main(["--csv", str(write_table(tmp_path / "a.csv", changed=changed)), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "holds other columns than experiment, rule, run, epoch"), (",".join(HEADER), "holds no epoch")],
)
def test_another_or_an_empty_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        ablation.read_runs(path)


def test_a_missing_table_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablation.main(["--csv", str(tmp_path / "none.csv"), "--out", str(tmp_path / "out.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------------------------
# Statistics
# ---------------------------------------------------------------------------------------------------------------------


def test_interval_of_a_mean_by_hand() -> None:
    """1, 2, 3, 4, 5: standard deviation sqrt(2.5), quantile of Student's t at .975 with 4 degrees of freedom 2.7764."""
    found = ablation.mean_over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764451 * math.sqrt(2.5) / math.sqrt(5.0)
    assert found == pytest.approx((5, 3.0, math.sqrt(2.5), 3.0 - half, 3.0 + half))


def test_paired_difference_by_hand() -> None:
    """Differences 1, 2, 3: t = 2 / (1 / sqrt 3), and with 2 degrees of freedom p = 1 - t / sqrt(2 + t^2)."""
    found = ablation.paired_difference([11.0, 22.0, 33.0], [10.0, 20.0, 30.0])
    t = 2.0 * math.sqrt(3.0)
    half = 4.3026527 / math.sqrt(3.0)
    assert found == pytest.approx((3, 2.0, 2.0 - half, 2.0 + half, t, 1.0 - t / math.sqrt(2.0 + t**2)))


def test_what_the_seeds_share_does_not_widen_the_interval() -> None:
    own, shared = np.array([0.1, -0.2, 0.15, 0.0, -0.05]), np.array([5.0, -3.0, 2.0, -8.0, 4.0])
    assert ablation.paired_difference(own + shared + 1.0, shared)[1:] == pytest.approx(
        ablation.paired_difference(own + 1.0, np.zeros(5))[1:]
    )


def test_intervals_hold_what_they_promise() -> None:
    """Of many made ablations of five seeds, 95 % of the intervals hold the true difference."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        seeds = rng.normal(0.0, 1.0, 5)
        found = ablation.paired_difference(seeds + 0.3 + rng.normal(0.0, 0.2, 5), seeds + rng.normal(0.0, 0.2, 5))
        hits += found.low < 0.3 < found.high
    assert hits / 1000 == pytest.approx(0.95, abs=0.02)


def test_too_little_for_a_test_gives_none() -> None:
    one = ablation.paired_difference([3.0], [1.0])
    assert one[:2] == (1, 2.0)
    assert all(math.isnan(value) for value in one[2:])
    same = ablation.paired_difference([3.0, 4.0, 5.0], [1.0, 2.0, 3.0])
    assert same[:4] == (3, 2.0, 2.0, 2.0)
    assert math.isnan(same.t)
    assert math.isnan(same.p_value)
    assert ablation.mean_over_seeds([7.0])[:2] == (1, 7.0)
    with pytest.raises(ValueError, match="values"):
        ablation.paired_difference([1.0, 2.0], [1.0])


# ---------------------------------------------------------------------------------------------------------------------
# The summary
# ---------------------------------------------------------------------------------------------------------------------


def test_summary_pairs_by_seed_and_not_by_place(tmp_path: Path) -> None:
    """The released rule has the seeds 0, 1, 2; a rule that has only seed 2 is compared with that one."""
    runs = ablation.read_runs(write_table(tmp_path / "a.csv"))
    kept = [run for run in runs if run.rule == "released" or run.name == "seed2"]
    row = row_of(ablation.summary(kept), "no-intra", "final")
    assert (row["n"], row["pairs"], row["difference"], row["p_value"]) == ("1", "1", "-0.1", "")


def test_command_writes_the_table_and_prints_it(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "summary.csv"
    assert ablation.main(["--csv", str(table), "--out", str(out)]) == 0
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["rule"], row["measure"]) for row in rows[:2]] == [("released", "best"), ("released", "final")]
    assert len(rows) == 6
    assert row_of(rows, "released", "best")["difference"] == ""
    no_intra = row_of(rows, "no-intra", "best")
    expected = ablation.paired_difference([87.5, 88.6, 88.4], [88.0, 89.0, 88.5])
    names = ("pairs", "difference", "difference_low", "difference_high", "t", "p_value")
    assert [float(no_intra[name]) for name in names] == pytest.approx(list(expected), rel=1e-4)
    assert (no_intra["epochs"], no_intra["n"]) == ("2", "3")
    assert float(no_intra["mean"]) == pytest.approx((87.5 + 88.6 + 88.4) / 3, rel=1e-5)
    assert float(row_of(rows, "literal", "best")["std"]) == 0.0
    printed = capsys.readouterr().out
    assert "| no-intra | best | 3 | 88.17 ± 0.59 | -0.33 (-0.85 to +0.18) | 0.11 |" in printed


def test_command_names_what_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_table(tmp_path / "a.csv", {**MADE, "surrogate": [(0.5,)]})
    assert ablation.main(["--csv", str(path), "--out", str(tmp_path / "out.csv")]) == 0
    output = capsys.readouterr()
    assert output.err == f"left out, not finished: {EXPERIMENT}/surrogate/seed0 (1 epochs)\n"
    assert "surrogate" not in output.out


def test_figure_draws_every_seed_and_its_means(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure, "TABLE", table)
    path = figure.plot(tmp_path)
    with path.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = {(row["rule"], row["what"]): float(row["accuracy"]) for row in rows if row["measure"] == "best"}
    assert len(best) == 3 * (3 + 3)
    assert best["no-intra", "seed1"] == pytest.approx(88.6)
    assert best["released", "mean"] == pytest.approx(88.5)
    assert best["released", "low"] < 88.0 < 89.0 < best["released", "high"]
    assert path.stat().st_size > 10_000


def test_fig30_the_printed_target_is_better_in_every_seed() -> None:
    curves = targets.measure()
    released, printed = (curves[name] for name in (targets.RELEASED, targets.PRINTED))
    assert released.shape == printed.shape == (5, 100)
    assert (printed.max(axis=1) > released.max(axis=1)).all()
    assert (printed[:, -1] > released[:, -1]).all()
    assert released.max(axis=1).mean() < 89.75 < printed.max(axis=1).mean()


def test_fig30_compares_the_same_seeds_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for (table, rule), run in zip(targets.TABLES.values(), ("seed0", "seed1"), strict=True):
        with (tmp_path / table).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow((*ablation.KEY, *METRIC_NAMES))
            writer.writerow((targets.EXPERIMENT, rule, run, 1, 1.0, 0.5, 0.5, 4.0, 250.0))
    monkeypatch.setattr(measured, "RESULTS", tmp_path)
    with pytest.raises(ValueError, match="both tables must have the same seeds"):
        targets.measure()

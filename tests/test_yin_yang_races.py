"""The races on Yin-Yang: losses and gradients belong together, and what is settled races and is summed."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from studies import yin_yang_contenders as contenders
from studies import yin_yang_races as study
from studies.gradient_alignment import cosine_and_norm_ratio
from studies.trained_runs import read_rows
from studies.yin_yang_contenders import PEAK, RACES, VAN_ROSSUM, Contender, Silence, loss_and_gradient
from tsslbp_ref import exact, rule_by_name
from tsslbp_ref.datasets import yin_yang

ROOT = Path(study.__file__).parents[1]
SILENCE = Silence(output=0.1, hidden=0.01)
EXACT = Contender("exact")
N_TINY = 8  # hidden neurons


@pytest.fixture
def batch():
    return tuple(array[:6] for array in yin_yang.load_yin_yang("train"))


@pytest.fixture
def weights():
    """The first hidden neuron is silent, and so is the first output; the second output fires."""
    rng = np.random.default_rng(1)
    hidden, outputs = rng.normal(10.0, 5.0, (N_TINY, 5)), rng.normal(20.0, 10.0, (3, N_TINY))
    hidden[0], outputs[0] = 1.0, 0.5
    return [hidden, outputs]


def flat(gradients):
    return np.concatenate([of_layer.ravel() for of_layer in gradients])


@pytest.mark.parametrize("race", RACES)
def test_the_exact_gradient_is_the_derivative_of_the_exact_loss(race, weights, batch):
    found = loss_and_gradient(EXACT, race, weights, *batch, SILENCE)
    rng = np.random.default_rng(2)
    moves = [rng.normal(size=W.shape) for W in weights]
    h = 1e-5
    values = [
        loss_and_gradient(EXACT, race, [W + k * h * m for W, m in zip(weights, moves, strict=True)], *batch, SILENCE)
        for k in (-2, -1, 1, 2)
    ]
    before2, before, after, after2 = (value.loss for value in values)
    slope = (8.0 * (after - before) - (after2 - before2)) / (12.0 * h)
    assert float(flat(found.weights) @ flat(moves)) == pytest.approx(slope, rel=1e-6)


def test_the_peak_race_is_that_of_the_package(weights, batch):
    points, labels = batch
    found = loss_and_gradient(EXACT, PEAK, weights, points, labels, SILENCE)
    package = exact.loss_and_gradients(
        weights, yin_yang.spike_times(points), labels, contenders.TAU_M, contenders.TAU_S,
        [contenders.THRESHOLD, None], contenders.DURATION, loss=exact.Peak(), silent_hidden=SILENCE.hidden,
    )  # fmt: skip
    assert package.silent_hidden[0].any()
    assert found.loss == pytest.approx(package.loss)
    assert flat(found.weights) == pytest.approx(flat(package.gradients))
    assert np.array_equal(found.passed.predictions(PEAK)[0], package.predictions)


@pytest.mark.parametrize("race", RACES)
def test_the_consistent_rule_becomes_the_exact_gradient(race, weights, batch):
    batch = batch[0][2:4], np.array([2, 0])  # far from grazing; the second true output is silent
    wanted = loss_and_gradient(EXACT, race, weights, *batch, SILENCE)
    fine = Contender("consistent", rule_by_name("consistent"), dt=0.005, dtype="float64")
    found = loss_and_gradient(fine, race, weights, *batch, SILENCE)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-2)
    assert flat(found.weights) == pytest.approx(flat(wanted.weights), abs=0.02 * np.abs(flat(wanted.weights)).max())


def test_a_readout_on_the_grid_has_the_derivative_of_its_peak():
    rng = np.random.default_rng(3)
    I, theta_m = rng.normal(0.1, 0.5, (12, 2, 3)), 0.2
    by_peak = rng.normal(size=(2, 3))
    I[:, 0, 0] = -1.0  # never above rest
    u = contenders.readout_membrane(I, theta_m)
    delta = contenders.peak_delta(u, by_peak, theta_m)
    move, h = rng.normal(size=I.shape), 1e-7

    def value(x):
        return float(np.sum(by_peak * np.maximum(contenders.readout_membrane(x, theta_m).max(axis=0), 0.0)))

    slope = (value(I + h * move) - value(I - h * move)) / (2.0 * h)
    assert float(np.sum(delta * move)) == pytest.approx(slope, rel=1e-6)
    assert not delta[:, 0, 0].any()


def test_only_rules_without_a_surrogate_have_terms_against_silence(weights, batch):
    for name in study.NAMES:
        if name == study.FINE:
            continue
        runner = study.contender(name, 1.0)
        changed = [
            loss_and_gradient(runner, VAN_ROSSUM, weights, *batch, silence).loss for silence in (Silence(), SILENCE)
        ]
        assert (changed[0] != changed[1]) == runner.against_silence
        assert runner.against_silence == (name not in (study.RELEASED, "no-intra", "surrogate", study.BOTH))


@pytest.mark.parametrize("race", RACES)
@pytest.mark.parametrize("state", study.STATES)
def test_the_states_of_2020_are_the_surrogate_here_but_for_their_hop(state, race, batch):
    """No layer fires often enough to leave their warm-up, so they race without it."""
    weights = study.initial_weights(race, 0)
    found, surrogate = (
        loss_and_gradient(Contender(name, rule_by_name(name), against_silence=False), race, weights, *batch)
        for name in (state, "surrogate")
    )
    assert cosine_and_norm_ratio(flat(found.weights), flat(surrogate.weights)) == pytest.approx((1.0, 1.0), abs=0.02)


def test_predictions_by_first_spike_and_by_count():
    first = np.array([[3.0, 2.0, np.inf], [np.inf] * 3, [1.0, 2.0, 3.0]])
    counts = np.array([[2, 1, 0], [0, 0, 0], [1, 2, 2]])
    passed = contenders.Passed(np.array([[0.1, 0.2, 0.3]] * 3), first, counts, counts)
    by_first, by_count = passed.predictions(VAN_ROSSUM)
    assert by_first.tolist() == [1, contenders.SILENT, 0]
    assert by_count.tolist() == [0, contenders.SILENT, 1]
    assert passed.predictions(PEAK)[0].tolist() == [2, 2, 2]


def arguments(out: Path) -> list[str]:
    names = [study.EXACT, study.RELEASED]
    return [
        "--out",
        str(out),
        "--contenders",
        *names,
        "--seeds",
        "2",
        "--epochs",
        "1",
        "--settling-epochs",
        "1",
        "--points",
        "50",
    ]


def test_what_is_settled_races_and_is_summed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "RATES", {PEAK: (0.01, 0.1)})
    monkeypatch.setattr(study, "SETTLING_SEEDS", (100, 101))
    monkeypatch.setattr(study, "points_of", lambda split: yin_yang.make_yin_yang(50, seed=len(split)))
    out = tmp_path / "races.csv"
    assert study.main([*arguments(out), "--races", PEAK]) == 0
    rows = read_rows(out, study.COLUMNS)
    settling = [row for row in rows if row["split"] == "validation"]
    assert len(settling) == 2 * 2 * 2  # contenders, rates, seeds
    racing = [row for row in rows if row["split"] == "test"]
    assert {(row["contender"], row["seed"]) for row in racing} == {
        (name, seed) for name in (study.EXACT, study.RELEASED) for seed in "01"
    }
    for row in racing:
        of_rate: dict[str, list[float]] = {}
        for settled in settling:
            if settled["contender"] == row["contender"]:
                of_rate.setdefault(settled["learning_rate"], []).append(float(settled["accuracy"]))
        assert np.mean(of_rate[row["learning_rate"]]) == max(map(np.mean, of_rate.values()))
    capsys.readouterr()
    assert study.main([*arguments(out), "--races", PEAK]) == 0
    assert capsys.readouterr().out == ""  # nothing was left to train
    assert read_rows(out, study.COLUMNS) == rows
    accuracy = {
        name: np.array([100.0 * float(row["accuracy"]) for row in racing if row["contender"] == name])
        for name in (study.EXACT, study.RELEASED)
    }
    with (tmp_path / "races-summary.csv").open(newline="") as file:
        found = {(row["contender"], row["against"]): row for row in csv.DictReader(file)}
    row = found[study.EXACT, study.RELEASED]
    assert float(row["mean"]) == pytest.approx(accuracy[study.EXACT].mean(), rel=1e-5)
    difference = accuracy[study.EXACT] - accuracy[study.RELEASED]
    interval = stats.ttest_1samp(difference, 0.0).confidence_interval(0.95)
    assert [float(row[key]) for key in ("difference", "difference_low", "difference_high")] == pytest.approx(
        [difference.mean(), interval.low, interval.high], rel=1e-4
    )


def test_bad_input_is_one_line(tmp_path, capsys):
    out = tmp_path / "other.csv"
    out.write_text("a,b\n1,2\n")
    assert study.main(arguments(out)) == study.USAGE_ERROR
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(ValueError, match="nothing"):
        study.contender("nothing")
    with pytest.raises(ValueError, match="race"):
        loss_and_gradient(EXACT, "sprint", [], np.zeros((1, 2)), np.zeros(1, dtype=int))


def test_the_committed_table_has_every_rate_from_the_same_seeds():
    rows = read_rows(ROOT / "results" / "yin-yang-races.csv", study.COLUMNS)
    settling = {cell for cell in study.cells_of(rows) if cell.split == "validation"}
    assert settling == {cell for race in RACES for cell in study.settling_cells(race, study.NAMES)}
    racing = {cell for cell in study.cells_of(rows) if cell.split == "test"}
    assert racing == {cell for race in RACES for cell in study.racing_cells(rows, race, study.NAMES, 10)}
    with (ROOT / "results" / "yin-yang-races-settling.csv").open(newline="") as file:
        settled = list(csv.DictReader(file))
    assert study.settling_summary(rows) == settled
    of = {(row["contender"], row["race"], row["learning_rate"]): row for row in settled}
    seeds = {
        name: np.array(
            [
                100.0 * float(row["accuracy"])
                for row in sorted(rows, key=lambda row: row["seed"])
                if (row["contender"], row["race"], row["learning_rate"], row["split"])
                == (name, PEAK, "0.1", "validation")
            ]
        )
        for name in (study.EXACT, study.RELEASED)
    }
    interval = stats.ttest_1samp(seeds[study.EXACT] - seeds[study.RELEASED], 0.0).confidence_interval(0.95)
    assert float(of[study.EXACT, PEAK, "0.1"]["difference_low"]) == pytest.approx(interval.low, rel=1e-4)


def test_the_committed_summary_is_that_of_the_committed_table():
    table = ROOT / "results" / "yin-yang-races.csv"
    rows = read_rows(table, study.COLUMNS)
    with table.with_name("yin-yang-races-summary.csv").open(newline="") as file:
        assert study.summary(rows) == list(csv.DictReader(file))
    assert not {row["seed"] for row in rows if row["split"] == "test"} & set(map(str, study.SETTLING_SEEDS))
    best, next_one = (
        {row["seed"]: 100.0 * float(row["accuracy"]) for row in rows
         if (row["race"], row["contender"], row["split"], row["epoch"]) == (VAN_ROSSUM, name, "test", "10")}
        for name in ("surrogate", study.RELEASED)
    )  # fmt: skip
    ahead = [best[seed] - next_one[seed] for seed in best]
    interval = stats.ttest_1samp(ahead, 0.0).confidence_interval(0.95)
    said = f"by {np.mean(ahead):.1f} ({interval.low:.1f} to {interval.high:.1f})"
    assert said in (ROOT / "studies" / "README.md").read_text()


BASELINES = (study.SURROGATE, study.RELEASED, study.EXACT)
ROWS = {  # of the tables of both races in studies/README.md
    "surrogate": "surrogate",
    "exact gradient": study.EXACT,
    "no intra-neuron term": "no-intra",
    "consistent": "consistent",
    "released": study.RELEASED,
    "consistent, .1 ms": study.FINE,
    "timing + surrogate": study.BOTH,
    "November 2020, no warm-up": "november-2020-no-warmup",
    "September 2020, no warm-up": "september-2020-no-warmup",
}


@pytest.mark.parametrize("race", RACES)
def test_the_table_of_the_studies_is_that_of_the_summary(race):
    with (ROOT / "results" / "yin-yang-races-summary.csv").open(newline="") as file:
        of = {(row["contender"], row["reading"], row["against"]): row for row in csv.DictReader(file)}
    heading = '**Race "peak"' if race == PEAK else '**Race "van Rossum"'
    text = (ROOT / "studies" / "README.md").read_text().partition(heading)[2].partition("|\n\n")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:2] == "| "]
    assert {cells[0] for cells in lines[1:]} == set(ROWS)
    places = {name: lines[0].index(name) for name in ("accuracy", *(f"minus {one}" for one in BASELINES))}
    reading = PEAK if race == PEAK else "first spike"
    for cells in lines[1:]:
        name = ROWS[cells[0]]
        assert float(cells[places["accuracy"]]) == pytest.approx(float(of[name, reading, "exact"]["mean"]), abs=0.0501)
        for against in BASELINES:
            if name != against:
                row = of[name, reading, against]
                expected = [float(row[key]) for key in ("difference", "difference_low", "difference_high")]
                found = [float(x) for x in re.findall(r"-?\d*\.\d+", cells[places[f"minus {against}"]])]
                assert found == pytest.approx(expected, abs=0.0501), (name, against)


@pytest.mark.parametrize(
    ("race", "heading"), [(PEAK, "peak, learning rate"), (VAN_ROSSUM, "van Rossum by first spike")]
)
def test_the_tables_of_what_settled_are_those_of_the_settling(race, heading):
    with (ROOT / "results" / "yin-yang-races-settling.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["race"] == race]
    of = {(row["contender"], float(row["kappa"]), float(row["learning_rate"])): row for row in rows}
    text = (ROOT / "studies" / "README.md").read_text().partition(f"| {heading}")[2].partition("\n\n")[0]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    rates, seen = [float(cell) for cell in lines[0][1:] if cell], set()
    for label, *cells in lines[2:]:
        name, _, kappa = label.partition(", kappa ")
        for rate, cell in zip(rates, cells, strict=True):
            key = (ROWS[name], float(kappa or 0.0), rate)
            columns = ("mean", "difference", "difference_low", "difference_high")[: 1 if name == "released" else 4]
            found = [float(x) for x in re.findall(r"-?\d*\.?\d+", cell)]
            assert found == pytest.approx([float(of[key][one]) for one in columns], abs=0.0501), key
            seen.add(key)
    assert seen == set(of)

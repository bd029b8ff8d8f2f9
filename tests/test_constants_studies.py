"""The studies of the constants: their derivatives beside differences, their tables, and what they refuse."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from made_data import write_fashion

from studies import constants_alignment, learned_constants
from studies.gradient_alignment import beside, cosine_and_norm_ratio
from studies.random_networks import DURATION, THRESHOLD, random_network
from tsslbp_ref import cli, exact
from tsslbp_ref.model.parameters import rule_by_name

SEED = 2  # of a small network of two layers
RATE = "0.01"
LEARNED = f"released-constants-{RATE}"


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------------------------------------------------------
# Alignment
# ---------------------------------------------------------------------------------------------------------------------


def test_the_exact_derivative_at_fixed_W_d_is_a_difference_in_which_W_moves_too():
    network = random_network(SEED)

    def loss(share):
        weights = [W * (1.0 + share) for W in network.weights]
        tau_m = network.tau_m * (1.0 + share)
        arguments = (network.tau_s, THRESHOLD, DURATION, network.desired_spikes)
        return exact.simulate(weights, network.input_spikes, tau_m, *arguments).loss

    h = 1e-5
    difference = (8.0 * (loss(h) - loss(-h)) - (loss(2 * h) - loss(-2 * h))) / (12.0 * h * network.tau_m)
    found = constants_alignment.exact_derivatives(network)["tau_m, W_d fixed"]
    assert sum(layer.sum() for layer in found) == pytest.approx(difference, rel=1e-6)


def test_the_consistent_rule_has_the_exact_derivatives_in_fine_steps():
    network = random_network(SEED)
    expected = constants_alignment.exact_derivatives(network)
    claimed = constants_alignment.claimed_derivatives(network, 0.005, rule_by_name("consistent"))
    for name in constants_alignment.DERIVATIVES:
        pair = [np.concatenate([np.ravel(layer) for layer in of[name]]) for of in (claimed, expected)]
        cosine, ratio = cosine_and_norm_ratio(*pair)
        assert cosine > 0.999, name
        assert ratio == pytest.approx(1.0, abs=0.05), name


def test_the_tables(tmp_path):
    out = tmp_path / "alignment.csv"
    constants_alignment.run_study(2, out, steps=(1.0,))
    rows, summary = read(out), read(beside(out, "summary"))
    names, rules = constants_alignment.DERIVATIVES, constants_alignment.RULES
    assert len(rows) == 2 * len(names) * len(rules)
    assert {row["layers"] for row in rows} <= {"2", "3"}
    cosines = [float(row["cosine"]) for row in rows if (row["rule"], row["derivative"]) == ("released", "tau_s")]
    found = {(row["rule"], row["derivative"], row["measure"]): row for row in summary}
    assert float(found["released", "tau_s", "cosine"]["value"]) == pytest.approx(np.mean(cosines), rel=1e-4)
    assert float(found["released", "W", "cosine_above_W"]["value"]) == 0.0
    assert len(constants_alignment.as_markdown(summary).splitlines()) == 2 + len(rules)


@pytest.mark.parametrize("study", [constants_alignment, learned_constants], ids=["alignment", "learned"])
def test_what_is_wrong_is_one_line(study, tmp_path, capsys):
    first = ["--networks", "0"] if study is constants_alignment else [str(tmp_path)]
    assert study.main([*first, "--out", str(tmp_path / "out.csv")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"python -m {study.__name__}: ")
    assert err.count("\n") == 1


# ---------------------------------------------------------------------------------------------------------------------
# Learned constants
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    data, folder = write_fashion(tmp_path_factory.mktemp("data")), tmp_path_factory.mktemp("runs")
    common = ["train", learned_constants.EXPERIMENT, "--threads", "1", "--quiet", "--data", str(data), "--epochs", "2"]
    for seed in ("0", "1"):
        for options in ([], ["--learn-constants", RATE]):
            assert cli.main([*common, "--runs", str(folder), "--seed", seed, *options]) == 0
    return data, folder


def test_runs_become_tables(runs, tmp_path):
    data, folder = runs
    out = tmp_path / "learned.csv"
    assert learned_constants.main([str(folder), "--data", str(data), "--out", str(out)]) == 0
    rows = read(out)
    assert [(row["rule"], row["run"], row["epoch"]) for row in rows] == [
        (rule, f"seed{seed}", str(epoch)) for rule in (LEARNED, "released") for seed in (0, 1) for epoch in (1, 2)
    ]
    for row in rows:
        assert (float(row["tau_m_1"]) == 5.0) is (row["rule"] == "released")
        assert bool(row["spikes_3"]) is (row["epoch"] == "2")
    summary = {row["measure"]: row for row in read(beside(out, "summary"))}
    last = [
        [float(r["test_accuracy"]) for r in rows if (r["rule"], r["epoch"]) == (k, "2")] for k in (LEARNED, "released")
    ]
    difference = 100.0 * (np.mean(last[0]) - np.mean(last[1]))
    assert float(summary["last accuracy (%)"]["difference"]) == pytest.approx(difference, abs=1e-4)
    assert summary["tau_m_1"]["difference"] == ""
    assert "chosen accuracy (%)" not in summary
    held_out = [row | {"validation_accuracy": "0.9" if row["epoch"] == "1" else "0.1"} for row in rows]
    (chosen,) = (row for row in learned_constants.summary(held_out) if row["measure"].startswith("chosen"))
    firsts = [float(row["test_accuracy"]) for row in rows if (row["rule"], row["epoch"]) == ("released", "1")]
    assert float(chosen["fixed"]) == pytest.approx(100.0 * np.mean(firsts), rel=1e-5)
    assert summary["hidden spikes a picture"]["fixed"] != ""


@pytest.mark.parametrize("name", ["learned-constants", "learned-constants-held-out"])
def test_the_committed_summary_is_that_of_its_table(name):
    table = Path(learned_constants.__file__).parents[1] / "results" / f"{name}.csv"
    found = [{key: str(value) for key, value in row.items()} for row in learned_constants.summary(read(table))]
    assert found == read(beside(table, "summary"))


@pytest.mark.parametrize(("rule", "lacking"), [(LEARNED, "fixed"), ("released", "learned")])
def test_both_kinds_of_runs_are_needed(rule, lacking, runs, tmp_path):
    data, folder = runs
    only = tmp_path / learned_constants.EXPERIMENT
    only.mkdir()
    (only / rule).symlink_to(folder / learned_constants.EXPERIMENT / rule)
    with pytest.raises(ValueError, match=f"must hold runs with {lacking} constants"):
        learned_constants.measure(tmp_path, data)

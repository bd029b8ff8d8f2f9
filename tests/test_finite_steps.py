"""The study of finite steps: one step by hand, both losses, starts, two tiny networks whole, and its summary."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from figures import fig38_finite_steps as fig38
from figures import measured
from studies import finite_steps as study
from studies.gradient_alignment import beside, bootstrap_interval
from studies.random_networks import discrete_run, near_goal, random_network
from studies.trained_runs import read_rows
from tsslbp_ref.gradcheck import smoothed_gradient
from tsslbp_ref.model.parameters import rule_by_name

ROOT = Path(__file__).resolve().parents[1]
MOVES = 6
ROWS = {  # of the table in studies/README.md
    "smoothed gradient": study.SMOOTHED, "no intra-neuron term": "no-intra", "September 2020": "september-2020",
    "June 2020": "june-2020", "surrogate": "surrogate", "timing plus surrogate, kappa 1": "timing-plus-surrogate",
    "released": "released", "no warm-up": "no-warmup", "November 2020": "november-2020",
    "exact gradient": study.EXACT, "consistent": "consistent", "random direction": study.RANDOM,
    "literal sign": "literal",
}  # fmt: skip


@pytest.fixture(scope="module")
def networks():
    """One of one layer and one of three."""
    by_depth = {}
    for seed in range(12):
        network = random_network(seed)
        by_depth.setdefault(len(network.weights), network)
    return by_depth[1], by_depth[3]


# ---------------------------------------------------------------------------------------------------------------------
# A step
# ---------------------------------------------------------------------------------------------------------------------


def test_a_step_by_hand():
    """L = w1^2 + w2^2 at (3, 4): a step of a tenth of |w| = 5 along the gradient leaves .9 w, so 81 % of L."""
    w = np.array([3.0, 4.0])
    after = study.stepped(w, 2.0 * w, 0.1)
    np.testing.assert_allclose(after, [2.7, 3.6])
    assert study.decrease(w @ w, after @ after) == pytest.approx(19.0)
    across = study.stepped(w, np.array([0.04, -0.03]), 0.1)
    np.testing.assert_allclose(across, [2.6, 4.3])
    assert study.decrease(w @ w, across @ across) == pytest.approx(-1.0)
    assert np.array_equal(study.stepped(w, np.zeros(2), 0.1), w)


def test_a_step_that_more_than_doubles_the_loss_counts_as_doubling_it():
    assert [study.decrease(2.0, after) for after in (0.0, 2.0, 3.0, 4.0, 5.0, math.inf)] == [100, 0, -50] + 3 * [-100]


def test_a_vector_of_zeros_points_nowhere():
    x = np.array([3.0, 4.0])
    assert study.cosine(x, np.array([1.0, 0.0])) == pytest.approx(0.6)
    assert study.cosine(x, np.zeros(2)) == study.cosine(np.zeros(2), x) == 0.0


def test_one_vector_is_all_layers(networks):
    for network in networks:
        w = study.in_one(network.weights)
        assert w.shape == (sum(W.size for W in network.weights),)
        for found, W in zip(study.in_layers(w, network.weights), network.weights, strict=True):
            assert np.array_equal(found, W)


@pytest.mark.parametrize("dt", [1.0, 0.1])
def test_losses_are_those_of_the_package(networks, dt):
    for network in networks:
        for moved in (network.weights, [1.1 * W for W in network.weights]):
            w, there = study.in_one(moved), replace(network, weights=moved)
            expected = discrete_run(there, dt, rule_by_name("released")).loss
            found = study.discrete_losses(network, dt)(np.stack([w, 0.0 * w, w]))
            assert found[[0, 2]] == pytest.approx(expected, rel=1e-12)
            assert found[1] != pytest.approx(expected, rel=0.01)
        assert study.exact_losses(network)(study.in_one(network.weights)[None]).tolist() == [network.exact.loss]


def test_the_smoothed_gradient_is_the_package_s(networks, monkeypatch):
    monkeypatch.setattr(study, "AT_ONCE", 4)
    for network in networks:
        losses, w = study.discrete_losses(network, 1.0), study.in_one(network.weights)
        found = study.smoothed(losses, w, 0.1, 10, seed=3)
        expected = smoothed_gradient(lambda v, of=losses: of(v[None])[0], w, 0.1, 10, seed=3).gradient
        assert np.any(expected)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


# ---------------------------------------------------------------------------------------------------------------------
# Near the goal
# ---------------------------------------------------------------------------------------------------------------------


def test_near_the_goal_the_network_wants_what_it_did(networks):
    for network in networks:
        found = near_goal(network, 3)
        assert found.desired_spikes == network.exact.spike_times[-1]
        assert study.exact_losses(found)(study.in_one(network.weights)[None])[0] == pytest.approx(0.0, abs=1e-12)
        assert found.exact.loss > 0.0
        assert any(np.any(gradient) for gradient in found.exact.gradients)
        again = near_goal(network, 3)
        assert all(np.array_equal(a, b) for a, b in zip(found.weights, again.weights, strict=True))


def test_the_random_direction_is_not_the_way_back():
    for seed in range(4):
        network = random_network(seed)
        move = study.in_one(near_goal(network, seed).weights) - study.in_one(network.weights)
        assert abs(study.cosine(study.random_direction(seed, move.size), move)) < 3.5 / np.sqrt(move.size)


def test_how_near_it_is():
    network = random_network(0)
    w = study.in_one(network.weights)
    moves = [study.in_one(near_goal(network, seed).weights) - w for seed in range(30)]
    assert np.sqrt(np.mean(np.square(moves)) * w.size) == pytest.approx(0.15 * np.linalg.norm(w), rel=0.15)
    with pytest.raises(ValueError, match="distance must be greater than 0"):
        near_goal(network, 0, 0.0)


# ---------------------------------------------------------------------------------------------------------------------
# The study
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Two networks at dt = 1, by few moves."""
    out = tmp_path_factory.mktemp("study") / "finite-steps.csv"
    assert study.main(["--networks", "2", "--moves", str(MOVES), "--dt", "1", "--out", str(out), "--quiet"]) == 0
    return out


def test_a_row_a_network_start_rule_and_length(table):
    rows = read_rows(table, study.COLUMNS)
    keys = [tuple(row[name] for name in study.KEY) for row in rows]
    lengths = [f"{length:g}" for length in study.LENGTHS]
    assert set(keys) == {
        (k, "1", start, rule, length)
        for k in "01" for start in study.STARTS for rule in study.RULES for length in lengths
    }  # fmt: skip
    assert len(keys) == len(set(keys))
    assert {row["cosine_exact"] for row in rows if row["rule"] == "exact"} == {"1"}
    assert min(float(row["decrease_discrete"]) for row in rows) >= study.WORST


def test_a_row_is_the_step_that_it_says(table):
    """Recomputed from the package: network 1, near its goal, along the released rule, a tenth of |w|."""
    network = near_goal(random_network(1), 1)
    w, g = study.in_one(network.weights), study.in_one(discrete_run(network, 1.0, rule_by_name("released")).gradients)
    moved = study.in_layers(w - 0.1 * np.linalg.norm(w) * g / np.linalg.norm(g), network.weights)
    run = discrete_run(network, 1.0, rule_by_name("released"))
    after = discrete_run(replace(network, weights=moved), 1.0, rule_by_name("released")).loss
    (row,) = [
        row for row in read_rows(table, study.COLUMNS)
        if [row[name] for name in study.KEY] == ["1", "1", "near", "released", "0.1"]
    ]  # fmt: skip
    expected = max(100.0 * (1.0 - after / run.loss), -100.0)
    assert float(row["decrease_discrete"]) == pytest.approx(expected, rel=1e-3, abs=1e-3)
    true = study.in_one(network.exact.gradients)
    cosine = g @ true / np.linalg.norm(g) / np.linalg.norm(true)
    assert float(row["cosine_exact"]) == pytest.approx(cosine, rel=1e-3)


def test_it_goes_on_where_it_was(table, tmp_path):
    out = tmp_path / "parts.csv"
    for n in ("1", "2"):
        assert study.main(["--networks", n, "--moves", str(MOVES), "--dt", "1", "--out", str(out), "--quiet"]) == 0
    for path in (out, beside(out, "summary")):
        assert path.read_bytes() == (table.parent / path.name.replace("parts", "finite-steps")).read_bytes()


def test_the_summary_by_hand():
    def row(network, rule, length, discrete, exact):
        return dict(
            zip(study.COLUMNS, (network, "1", "near", rule, length, discrete, exact, "0.5", "0.25"), strict=True)
        )

    rows = [
        row("0", "released", "0.1", "10", "-100"), row("0", "released", "0.3", "20", "4"),
        row("0", "surrogate", "0.1", "12", "6"), row("0", "surrogate", "0.3", "-4", "8"),
        row("1", "released", "0.1", "2", "3"), row("1", "released", "0.3", "0", "4"),
        row("1", "surrogate", "0.1", "8", "5"), row("1", "surrogate", "0.3", "6", "7"),
    ]  # fmt: skip
    found = {(s["quantity"], s["rule"], s["length"]): (s["n"], float(s["value"])) for s in study.summary(rows)}
    assert found["decrease_discrete", "released", "0.1"] == ("2", 6.0)
    assert found["decrease_discrete", "surrogate", "all"] == ("2", 5.5)
    assert found["decrease_discrete_above_released", "surrogate", "0.1"] == ("2", 4.0)
    assert found["decrease_discrete_above_released", "surrogate", "all"] == ("2", -2.5)
    assert found["decrease_exact_above_released", "surrogate", "0.1"] == ("2", 54.0)
    assert found["falls_discrete", "released", "0.3"] == ("2", 0.5)
    assert found["falls_exact", "released", "all"] == ("2", 0.75)
    assert found["cosine_smoothed", "surrogate", "all"] == ("2", 0.25)


def test_the_interval_is_that_of_the_other_study():
    values = np.random.default_rng(0).normal(5.0, 2.0, 200)
    found, expected = study.mean_and_interval(values), bootstrap_interval(values, "mean")
    assert found[0] == expected[0]
    np.testing.assert_allclose(found, expected, atol=0.02)
    np.testing.assert_allclose(study.mean_and_interval(np.full(3, 7.0)), 7.0)


def test_the_committed_summary_is_that_of_the_table():
    """One rule, start and step: the mean of its rows, and what the pages say of it."""
    rows = read_rows(measured.RESULTS / "finite-steps.csv", study.COLUMNS)
    chosen, fine = (
        [r for r in rows if (r["rule"], r["dt"], r["start"], r["length"]) == ("exact", dt, "random", "0.1")]
        for dt in ("1", "0.1")
    )
    assert len(chosen) == len(fine) == 200
    found = fig38.read_summary("decrease_discrete")["exact", "0.1"]
    assert float(found["value"]) == pytest.approx(np.mean([float(r["decrease_discrete"]) for r in chosen]), rel=1e-3)
    above = fig38.read_summary("decrease_discrete_above_released")
    assert float(above["exact", "all"]["high"]) < 0.0 < float(above["no-intra", "all"]["low"])


def recorded(quantity, rule, length="all"):
    """Value and interval in the committed summary, dt = 1, random start."""
    row = fig38.read_summary(quantity)[rule, length]
    return [float(row[key]) for key in ("value", "low", "high")]


def test_the_table_of_the_studies_is_that_of_the_summary():
    text = (ROOT / "studies" / "README.md").read_text().partition("## What a step does")[2].partition("\n## ")[0]
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")][1:]
    found = {cells[0].strip(): [float(x) for x in re.findall(r"-?\d*\.?\d+", "|".join(cells[1:]))] for cells in lines}
    assert set(found) == set(ROWS)
    for label, rule in ROWS.items():
        expected = recorded("decrease_discrete", rule)[:1]
        if rule != study.BASELINE:
            expected += recorded("decrease_discrete_above_released", rule)
            expected += recorded("decrease_exact_above_released", rule)
        at = "0.1" if rule == study.SMOOTHED else "all"
        cosines = [recorded("cosine_exact", rule, at)[0]]
        if rule != study.SMOOTHED:
            cosines += recorded("cosine_smoothed", rule, "0.1")[:1]
        assert found[label][: len(expected)] == pytest.approx(expected, abs=0.0501), label
        assert found[label][len(expected) :] == pytest.approx(cosines, abs=0.00501), label


def test_the_pages_say_what_a_step_does():
    readme = (ROOT / "README.md").read_text()
    for rule in (study.EXACT, "released"):
        assert f"{recorded('decrease_discrete', rule)[0]:.1f}" in readme
    assert "less by {:.1f} (95 % interval {:.1f} to {:.1f})".format(
        *(-recorded("decrease_discrete_above_released", study.EXACT)[k] for k in (0, 2, 1))
    ) in readme  # fmt: skip
    page = " ".join((ROOT / "docs/derivations/exact-gradient.md").read_text().split())
    short, long = (
        [f"{recorded('decrease_exact', rule, at)[0]:.1f}" for rule in (study.EXACT, "released")]
        for at in ("0.01", "all")
    )
    assert f"by {short[0]} %, one along the released rule, whose mean cosine with it is .33, by {short[1]};" in page
    assert f"a step of 1 to 30 % by {long[0]} and {long[1]}" in page


def test_what_it_refuses(tmp_path, capsys):
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    for arguments, message in (
        (["--networks", "0", "--out", str(tmp_path / "x.csv")], "networks must be"),
        (["--networks", "1", "--moves", "1", "--out", str(tmp_path / "x.csv")], "moves must be"),
        (["--networks", "1", "--out", str(other)], "other.csv holds other columns"),
    ):
        assert study.main([*arguments, "--quiet"]) == study.USAGE_ERROR
        assert message in capsys.readouterr().err

"""The studies: the same rows on every run, whole tables on the disk, a run that goes on, and curves that are true."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest

from studies import gradient_alignment as study
from studies import isolated_pair, loss_along_weight
from studies.random_networks import discrete_run, random_network
from tsslbp_ref.model import reference
from tsslbp_ref.model.parameters import NeuronParameters, rule_by_name

RESULTS = Path(study.__file__).parents[1] / "results"
SUMMARY = RESULTS / "gradient-alignment-summary.csv"
COARSE_STEPS = (1.0, 0.5)
ANOTHER_MACHINE = 1e-4  # how far the committed numbers may be from this machine's


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def run(n_networks: int, out: Path) -> tuple[bytes, ...]:
    """Run the study on coarse steps and return the content of its three tables."""
    study.run_study(n_networks, out, COARSE_STEPS)
    return tuple(path.read_bytes() for path in (out, study.beside(out, "spikes"), study.beside(out, "summary")))


# ---------------------------------------------------------------------------------------------------------------------
# Random networks
# ---------------------------------------------------------------------------------------------------------------------


def test_a_seed_is_a_network() -> None:
    first, again, other = random_network(3), random_network(3), random_network(4)
    assert all(np.array_equal(a, b) for a, b in zip(first.weights, again.weights, strict=True))
    assert first.exact.loss == again.exact.loss != other.exact.loss


@pytest.mark.parametrize("seed", range(12))
def test_every_layer_of_a_network_has_a_gradient(seed: int) -> None:
    network = random_network(seed)
    assert 1 <= len(network.weights) <= 3
    assert all(np.any(gradient) for gradient in network.exact.gradients)


@pytest.mark.parametrize("seed", [-1, 1.5, "3", True])
def test_seed_must_be_a_natural_number(seed: object) -> None:
    with pytest.raises((ValueError, TypeError), match="seed"):
        random_network(seed)  # type: ignore[arg-type]


def test_grazing_networks_are_drawn_anew_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = study.random_network.__globals__["_draw"], []

    def grazes_twice(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) <= 2:
            raise ValueError("neuron 0 of layer 0 grazes the threshold at 1 ms")
        return real(*arguments)

    monkeypatch.setattr("studies.random_networks._draw", grazes_twice)
    assert random_network(0).grazing_redraws == 2


def test_other_errors_of_the_simulator_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflows(*_: object) -> object:
        raise ValueError("a membrane of layer 0 overflowed")

    monkeypatch.setattr("studies.random_networks._draw", overflows)
    with pytest.raises(ValueError, match="overflowed"):
        random_network(0)


def test_discrete_gradients_are_those_of_the_literal_loops() -> None:
    """One layer: scaled sum of delta a^T, delta from the reference's double sum."""
    network = next(n for n in map(random_network, range(100)) if len(n.weights) == 1)
    dt, rule = 1.0, rule_by_name("released")
    found = discrete_run(network, dt, rule)
    neuron = NeuronParameters(network.tau_m / dt, network.tau_s / dt)
    steps = [[int(t // dt) for t in train] for train in network.input_spikes]
    raster = np.stack([np.bincount(train, minlength=40) for train in steps], axis=1).astype(float)
    a = reference.psc_filter(raster, neuron)
    trace = reference.lif_forward((a @ network.weights[0].T / network.tau_m)[:, None], neuron)
    delta = reference.tsslbp_backward(found.flows[0].g, trace, neuron, rule)[:, 0]
    np.testing.assert_allclose(found.gradients[0], delta.T @ a / (dt * network.tau_m), rtol=1e-10, atol=1e-14)


# ---------------------------------------------------------------------------------------------------------------------
# Gradient alignment
# ---------------------------------------------------------------------------------------------------------------------


def test_cosine_and_norm_ratio() -> None:
    assert study.cosine_and_norm_ratio(np.array([3.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(
        (np.sqrt(0.5), 3.0 / np.sqrt(2.0))
    )
    assert study.cosine_and_norm_ratio(np.zeros(2), np.ones(2)) == (0.0, 0.0)


def test_bootstrap_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 400)
    value, low, high = study.bootstrap_interval(values, "mean")
    half = 1.96 * values.std() / np.sqrt(400)
    assert value == values.mean()
    assert (value - low, high - value) == pytest.approx((half, half), rel=0.1)
    assert study.bootstrap_interval(values, "median")[0] == np.median(values)
    assert study.bootstrap_interval(np.ones(5), "mean") == (1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"statistic.*'mean', 'median'"):
        study.bootstrap_interval(values, "mode")


def test_every_rule_stands_with_and_without_clip() -> None:
    clips: dict[str, list[str]] = {}
    for name, clip in study.rules_and_clips():
        clips.setdefault(name, []).append(clip)
    assert clips.pop("surrogate") == ["none"]
    for state in study.STATES:
        assert clips.pop(state) == ["10"]
        assert clips.pop(f"{state}-no-warmup") == ["10", "none"]
    assert len(clips) == 6
    assert all(of == ["8", "none"] for of in clips.values())


def test_a_stopped_study_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    whole = run(3, tmp_path / "whole" / "alignment.csv")
    parts = tmp_path / "parts.csv"
    run(1, parts)
    spikes = study.beside(parts, "spikes")
    spikes.write_text(spikes.read_text() + "1,3,1,1,5,5,1,0.5,0.1,9,0,0\n")  # stopped between the two tables
    assert run(3, parts) == whole
    assert run(3, parts) == whole
    assert sorted(path.name for path in tmp_path.glob("*.csv*")) == [
        "parts-spikes.csv",
        "parts-summary.csv",
        "parts.csv",
    ]


def test_a_finished_network_survives_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = study.measure_network

    def interrupted(number: int, steps: tuple[float, ...]) -> object:
        if number == 1:
            raise KeyboardInterrupt
        return real(number, COARSE_STEPS)

    monkeypatch.setattr(study, "measure_network", interrupted)
    out = tmp_path / "alignment.csv"
    assert study.main(["--networks", "3", "--out", str(out), "--quiet"]) == 130
    assert {row["network"] for row in read(out)} == {"0"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--networks", "0"], "networks must be at least 1, got 0"), ([], "holds other columns than network, layers")],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    out = tmp_path / "other.csv"
    out.write_text("a,b\n1,2\n")
    assert study.main([*arguments, "--out", str(out), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert out.read_text() == "a,b\n1,2\n"


def test_spike_counts_of_a_fine_step_are_the_exact_ones() -> None:
    _, rows = study.measure_network(1, (0.02,))
    assert [row["counts_agree"] for row in rows] == ["1"] * 3
    assert all(row["exact_spikes"] == row["discrete_spikes"] for row in rows)
    assert all(float(row["clipped_share"]) == 1.0 for row in rows)


def test_committed_rows_can_be_computed_again() -> None:
    alignment, spikes = study.measure_network(2, COARSE_STEPS)
    for rows, name in ((alignment, "gradient-alignment.csv"), (spikes, "gradient-alignment-spikes.csv")):
        committed = [row for row in read(RESULTS / name) if row["network"] == "2" and float(row["dt"]) in COARSE_STEPS]
        assert len(committed) == len(rows)
        for row, known in zip(rows, committed, strict=True):
            numbers = [key for key in row if key not in ("layer", "rule", "clip")]
            assert {key: row[key] for key in row if key not in numbers} == {
                k: known[k] for k in row if k not in numbers
            }
            here, there = ([float(r[key]) for key in numbers] for r in (row, known))
            np.testing.assert_allclose(here, there, rtol=ANOTHER_MACHINE, atol=ANOTHER_MACHINE)


def test_committed_study_is_complete_and_its_summary_fits() -> None:
    rows = read(RESULTS / "gradient-alignment.csv")
    cells = {(row["network"], row["dt"], row["rule"], row["clip"]) for row in rows if row["layer"] == study.TOTAL}
    n_networks = len({row["network"] for row in rows})
    assert n_networks >= 200
    assert len(cells) == n_networks * len(study.STEPS) * len(study.rules_and_clips())
    for known in read(RESULTS / "gradient-alignment-summary.csv"):
        if (known["quantity"], known["networks"], known["layer"]) == ("cosine", "all", study.TOTAL):
            of = [known[key] for key in ("rule", "clip", "dt", "layer")]
            values = [float(row["cosine"]) for row in rows if [row[k] for k in ("rule", "clip", "dt", "layer")] == of]
            assert float(known["value"]) == pytest.approx(np.mean(values), rel=1e-4, abs=1e-5)
            assert float(known["low"]) < float(known["value"]) < float(known["high"])


def test_committed_differences_are_paired() -> None:
    """The interval of November minus June, network by network, is narrower than that of either."""
    keys = ("quantity", "rule", "dt", "layer", "clip")
    known = {tuple(row[key] for key in keys): row for row in read(SUMMARY) if row["networks"] == "all"}
    paired = known["cosine_above_june-2020", "november-2020", "1", study.TOTAL, "10"]
    means = [known["cosine", rule, "1", study.TOTAL, "10"] for rule in ("november-2020", "june-2020")]
    assert float(paired["value"]) == pytest.approx(float(means[0]["value"]) - float(means[1]["value"]), abs=2e-5)
    width = [float(row["high"]) - float(row["low"]) for row in (paired, *means)]
    assert width[0] < 0.5 * min(width[1:])


# ---------------------------------------------------------------------------------------------------------------------
# The isolated pair
# ---------------------------------------------------------------------------------------------------------------------


def test_exact_pair_is_the_known_curve() -> None:
    """L = (1 - exp(-|D| / tau_s)) / (2 tau_s) far from both ends."""
    differences = np.array([-9.0, -2.5, 0.5, 7.0])
    loss, derivative = isolated_pair.exact_curve(differences)
    decay = np.exp(-np.abs(differences) / isolated_pair.TAU_S)
    np.testing.assert_allclose(loss, (1.0 - decay) / (2.0 * isolated_pair.TAU_S), rtol=1e-9)
    np.testing.assert_allclose(derivative, np.sign(differences) * decay / (2.0 * isolated_pair.TAU_S**2), rtol=1e-9)


@pytest.mark.parametrize("difference", [-6.0, -1.0, 2.0, 12.0])
def test_centred_jump_converges_to_the_exact_derivative(difference: float) -> None:
    exact = isolated_pair.exact_curve([difference])[1][0]
    errors = [abs(isolated_pair.claimed_derivative(difference, dt, "consistent") / exact - 1.0) for dt in (0.1, 0.05)]
    assert errors[1] < 0.02
    assert 1.6 < errors[0] / errors[1] < 2.4


def test_released_and_literal_claim_the_same_sign_on_both_sides() -> None:
    for difference in (-6.0, -1.0, 1.0, 6.0):
        released = isolated_pair.claimed_derivative(difference, 1.0, "released")
        literal = isolated_pair.claimed_derivative(difference, 1.0, "literal")
        assert released < 0.0 < literal
        assert released == pytest.approx(-literal)


def test_pair_knows_only_rules_with_a_firing_time() -> None:
    with pytest.raises(ValueError, match=r"rule 'surrogate'.*'released', 'literal', 'consistent'"):
        isolated_pair.claimed_derivative(1.0, 1.0, "surrogate")


# ---------------------------------------------------------------------------------------------------------------------
# The loss along a weight
# ---------------------------------------------------------------------------------------------------------------------


def test_exact_loss_is_smooth_between_jumps() -> None:
    """Within a piece the slope is the difference quotient of the loss; at its ends the spike counts change."""
    pieces = loss_along_weight.exact_loss(60)
    assert len(pieces) > 3
    for piece in pieces:
        middle = 0.5 * (piece.weights[0] + piece.weights[-1])
        h = 1e-5
        losses = [loss_along_weight.network_with(middle + step).exact.loss for step in (-h, h)]
        slope = loss_along_weight.network_with(middle).exact.gradients[0][5, 7]
        assert (losses[1] - losses[0]) / (2 * h) == pytest.approx(slope, rel=1e-4, abs=1e-7)
    for before, after in itertools.pairwise(pieces):
        assert 0.0 < after.weights[0] - before.weights[-1] <= loss_along_weight.JUMP_WIDTH
    assert max(abs(b.loss[0] - a.loss[-1]) for a, b in itertools.pairwise(pieces)) > 0.01


def test_discrete_loss_is_a_staircase() -> None:
    _, loss = loss_along_weight.discrete_loss(1.0, 200)
    assert len(np.unique(loss)) < 25


def test_consistent_slope_is_near_the_exact_one_and_the_released_is_not() -> None:
    weights = [0.8, 2.0, 2.4, 4.4]
    exact = [loss_along_weight.network_with(weight).exact.gradients[0][5, 7] for weight in weights]
    consistent, released = (
        loss_along_weight.claimed_slopes(weights, 0.02, rule_by_name(name)) for name in ("consistent", "released")
    )
    np.testing.assert_allclose(consistent, exact, rtol=0.15)
    assert np.all(np.abs(released - exact) > np.abs(exact))

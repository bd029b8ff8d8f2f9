"""Experiments at the settings of a state of the authors' code: its numbers, its runs, and how they are told apart."""

import json

import numpy as np
import pytest
from made_data import run_cli, write_fashion

from tsslbp_ref import Network, NeuronParameters, rule_by_name
from tsslbp_ref.training import results
from tsslbp_ref.training.experiments import EXPERIMENTS, STATES, experiment
from tsslbp_ref.training.runs import CONFIG

NAME = "fashion-mnist-400-400"
MNIST, FASHION_CNN = "mnist-15c5-40c5-300", "fashion-mnist-32c5-64c5-1024"
CIFAR = "cifar-10-96c3-256c3-384c3-384c3-256c3-1024-1024"
ONCE, TWICE = "kernel-01011-once", "kernel-01111-twice"


# tau_m, tau_s, loss, batch, learning rate, epochs: the authors' Networks/*.yaml at d0a06b7, 6e40449 and f9ab4b4
@pytest.mark.parametrize(
    ("name", "june_and_september", "november"),
    [
        (MNIST, (5, 2, ONCE, 100, 2e-4, 100), (5, 2, TWICE, 100, 5e-4, 200)),
        ("n-mnist-12c5-64c5-t30", (8, 4, "count", 50, 5e-4, 100), (8, 4, "count", 50, 5e-4, 100)),
        (NAME, (5, 2, ONCE, 100, 2e-4, 100), (5, 2, TWICE, 100, 2e-4, 100)),
        (FASHION_CNN, (4, 2, "count", 50, 5e-4, 100), (4, 2, "count", 50, 5e-4, 100)),
        (CIFAR, (5, 2, ONCE, 50, 2e-4, 150), (5, 2, TWICE, 50, 2e-4, 150)),
    ],
)
def test_settings_of_2020_are_those_of_the_authors_files(name, june_and_september, november):
    for state, wanted in (("june-2020", june_and_september), ("september-2020", june_and_september),
                          ("november-2020", november)):  # fmt: skip
        row = experiment(name, state)
        found = (row.neuron.tau_m, row.neuron.tau_s, row.loss, row.batch_size, row.learning_rate, row.epochs)
        assert found == wanted
        assert row.conv_init == ("uniform" if state == "november-2020" else "he-normal")


def test_the_released_state_is_the_table_itself():
    assert all(experiment(name) == row for name, row in EXPERIMENTS.items())


@pytest.mark.parametrize("state", STATES)
def test_a_network_has_the_states_rule_and_constants(state):
    row = experiment(MNIST, state)
    network = row.network(0)
    assert network.rule == rule_by_name(state)
    assert network.neuron == NeuronParameters(5.0, 3.0 if state == "released" else 2.0)
    assert row.network(0, rule=rule_by_name("literal")).rule == rule_by_name("literal")


def test_convolutions_start_uniform_or_normal_with_the_papers_standard_deviations():
    uniform, normal = (
        Network.from_spec("200C3", (4, 5, 5), 10, 5, conv_init=form).weights[0] for form in ("uniform", "he-normal")
    )
    bound = 1 / 6  # 1 / sqrt(fan_in) of fan_in 4 x 3 x 3
    assert np.abs(uniform).max() <= bound
    assert uniform.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
    assert normal.std() == pytest.approx(np.sqrt(2) * bound, rel=0.02)
    assert np.abs(normal).max() > 3 * np.sqrt(2) * bound
    with pytest.raises(ValueError, match="unknown conv_init 'cubic'; known: 'uniform', 'he-normal'"):
        Network.from_spec("2C3", (4, 5, 5), 10, 5, conv_init="cubic")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each state, and of one state's rule at the settings of another, a few updates long."""
    from tsslbp_ref import cli

    data, folder = write_fashion(tmp_path_factory.mktemp("data")), tmp_path_factory.mktemp("runs")
    common = ["--epochs", "4", "--threads", "1", "--quiet", "--data", str(data), "--runs", str(folder)]
    for options in (
        *(["--state", state] for state in STATES),
        ["--rule", "september-2020"],
        ["--state", "september-2020", "--rule", "released", "--loss", "kernel"],
    ):
        assert cli.main(["train", NAME, *options, *common]) == 0
    return data, folder


VARIANTS = {
    "june-2020-at-june-2020": ("june-2020", "june-2020", ONCE, 2e-4),
    "september-2020-at-september-2020": ("september-2020", "september-2020", ONCE, 2e-4),
    "november-2020-at-november-2020": ("november-2020", "november-2020", TWICE, 2e-4),
    "released": ("released", "released", "kernel", 5e-4),
    "september-2020": ("released", "september-2020", "kernel", 5e-4),
    "released-kernel-at-september-2020": ("september-2020", "released", "kernel", 2e-4),
}


def test_every_run_has_its_folder_and_notes_its_state_rule_and_loss(runs):
    assert sorted(path.name for path in (runs[1] / NAME).iterdir()) == sorted(VARIANTS)
    for variant, (state, rule, loss, learning_rate) in VARIANTS.items():
        config = json.loads((runs[1] / NAME / variant / "seed0" / CONFIG).read_text())
        assert (config["state"], config["settings"]["loss"]) == (state, loss)
        assert config["rule"]["intra"] == str(rule_by_name(rule).intra)
        assert config["settings"]["learning_rate"] == learning_rate


def test_every_state_learns_the_made_bars(runs):
    for summary in results.collect(runs[1]):
        assert summary.best[0] > 20.0  # percent of ten classes, after 8 updates


def test_the_table_tells_the_states_apart(runs):
    assert [summary.variant for summary in results.collect(runs[1])] == sorted(VARIANTS)


def test_a_run_is_not_resumed_at_another_state(runs, tmp_path):
    data, folder = runs
    moved = tmp_path / NAME / "june-2020-at-june-2020"
    moved.mkdir(parents=True)
    (folder / NAME / "september-2020-at-september-2020" / "seed0").rename(moved / "seed0")
    arguments = ["--state", "june-2020", "--resume", "--epochs", 5, "--data", data, "--runs", tmp_path, "--quiet"]
    status, _, err = run_cli(tmp_path, "train", NAME, *arguments)
    (moved / "seed0").rename(folder / NAME / "september-2020-at-september-2020" / "seed0")
    assert status == 2
    assert err.endswith("is of another run: its state is 'september-2020', here it is 'june-2020'\n")


def test_a_run_that_notes_no_state_is_a_released_one(runs):
    path = runs[1] / NAME / "released" / "seed0" / CONFIG
    config = json.loads(path.read_text())
    assert results.variant_of({k: v for k, v in config.items() if k != "state"}, path.parent) == "released"
    with pytest.raises(TypeError, match=r"state must be one of june-2020, .*, got 'may-2020'"):
        results.variant_of(config | {"state": "may-2020"}, path.parent)

"""Time constants learned with the weights: which, by what gradient, resumed bit for bit, and off by default."""

import dataclasses
import json
import math

import numpy as np
import pytest
from made_data import BLOBS, BlobTask, blob_network, state_of, without_time, write_fashion

import tsslbp_ref as tr
from tsslbp_ref import checkpoints, cli
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.model import constants
from tsslbp_ref.training import Trainer, TrainingSettings, results
from tsslbp_ref.training.learned_constants import LearnedConstants
from tsslbp_ref.training.plan import Plan
from tsslbp_ref.training.run_files import BEST, CONFIG, LAST, read_metrics
from tsslbp_ref.training.runs import InterruptedRunError, Run

RATE = 0.05
NAME = "fashion-mnist-400-400"
BY_LAYER = [tr.NeuronParameters(5.0, 3.0), tr.NeuronParameters(4.0, 2.0, 0.9), tr.NeuronParameters(6.0, 4.0)]


def settings(**changes):
    return dataclasses.replace(BLOBS, constants_learning_rate=RATE, **changes)


def constants_run(folder, *, resume=False, epochs=3, rate=RATE):
    changed = dataclasses.replace(settings(epochs=epochs), constants_learning_rate=rate)
    return Run(folder, blob_network(), BlobTask(), changed, resume=resume)


def outcome(run):
    own = run.trainer.learned.optimiser
    bits = [array.tobytes() for array in (*own.weights, *own.means, *own.squares)]
    arrays, meta = checkpoints.load(run.folder / BEST)
    del meta["progress"]["seconds"]
    best = {name: array.tobytes() for name, array in arrays.items()}
    return state_of(run.trainer), bits, own.n_steps, without_time(read_metrics(run.folder)), best, meta["network"]


# ---------------------------------------------------------------------------------------------------------------------
# What is learned
# ---------------------------------------------------------------------------------------------------------------------


def test_the_gradient_is_the_rules_of_the_hidden_layers_at_fixed_W_d():
    net = blob_network(neuron=BY_LAYER, dtype="float64", dropout=0.0)
    x, y = BlobTask().train_batch(np.arange(8), np.random.default_rng(0))
    found = LearnedConstants(net, RATE).gradient(net.gradient_flow(x, y))
    summed = [layer.summed() for layer in constants.gradients(net, x, y).layers[:-1]]
    expected = [
        [(neuron.tau_m - 1.0) * by["tau_m_fixed_W_d"] for neuron, by in zip(BY_LAYER, summed, strict=False)],
        [(neuron.tau_s - 1.0) * by["tau_s"] for neuron, by in zip(BY_LAYER, summed, strict=False)],
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.all(found != 0.0)


def test_a_step_of_adam_moves_rho_by_the_rate_against_the_gradient():
    net = blob_network(neuron=BY_LAYER, dropout=0.0)
    learned = LearnedConstants(net, RATE)
    flows = net.gradient_flow(*BlobTask().train_batch(np.arange(8), np.random.default_rng(0)))
    gradient = learned.gradient(flows)
    learned.step(flows)
    for neuron, before, signs in zip(net.neurons, BY_LAYER[:-1], np.sign(gradient).T, strict=False):
        assert neuron.tau_m == pytest.approx(1.0 + (before.tau_m - 1.0) * math.exp(-RATE * signs[0]), rel=1e-4)
        assert neuron.tau_s == pytest.approx(1.0 + (before.tau_s - 1.0) * math.exp(-RATE * signs[1]), rel=1e-4)
        assert neuron.threshold == before.threshold
    assert net.neurons[-1] == BY_LAYER[-1]
    assert net.input_tau_s == BY_LAYER[0].tau_s


def test_an_epoch_says_where_the_constants_are():
    trainer = Trainer(blob_network(), BlobTask(), settings())
    metrics = trainer.run_epoch()
    assert metrics["tau_m"] == [neuron.tau_m for neuron in trainer.network.neurons[:-1]]
    assert metrics["tau_s"] == [neuron.tau_s for neuron in trainer.network.neurons[:-1]]
    assert all(value not in (3.0, 5.0) and value > 1.0 for value in (*metrics["tau_m"], *metrics["tau_s"]))


def test_weights_are_trained_as_without_where_the_constants_hardly_move():
    plain, other = Trainer(blob_network(), BlobTask(), BLOBS), Trainer(blob_network(), BlobTask(), settings())
    other.learned.optimiser.learning_rate = 1e-12
    for trainer in (plain, other):
        trainer.run_epoch()
    for W, wanted in zip(other.network.weights, plain.network.weights, strict=True):
        np.testing.assert_allclose(W, wanted, atol=1e-4)  # the two ways round differently


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run = constants_run(tmp_path_factory.mktemp("constants") / "run")
    list(run.run())
    return run, outcome(run)


@pytest.mark.parametrize("batch", [1, 6, 9])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, unbroken, batch):
    asked = iter(range(1, 100))
    with pytest.raises(InterruptedRunError):
        list(constants_run(tmp_path / "run").run(lambda: 15 if next(asked) == batch else 0))
    resumed = constants_run(tmp_path / "run", resume=True)
    list(resumed.run())
    assert outcome(resumed) == unbroken[1]


def test_a_finished_run_goes_on_with_more_epochs(tmp_path, unbroken):
    list(constants_run(tmp_path / "run", epochs=1).run())
    resumed = constants_run(tmp_path / "run", resume=True)
    list(resumed.run())
    assert outcome(resumed) == unbroken[1]


def test_a_checkpoint_holds_the_network_with_its_learned_constants(unbroken):
    run, _ = unbroken
    loaded = tr.Network.load(run.folder / LAST)
    assert loaded.neurons == run.trainer.network.neurons
    assert loaded.input_tau_s == 3.0
    rows = read_metrics(run.folder)
    best = max(rows, key=lambda row: row["test_accuracy"])
    assert [neuron.tau_m for neuron in tr.Network.load(run.folder).neurons[:-1]] == best["tau_m"]


def test_without_the_option_nothing_is_noted(tmp_path):
    run = Run(tmp_path / "run", blob_network(), BlobTask(), dataclasses.replace(BLOBS, epochs=1))
    (metrics,) = run.run()
    arrays, meta = checkpoints.load(tmp_path / "run" / LAST)
    assert sorted(arrays) == sorted(f"{kind}{i}" for kind in ("weight", "mean", "square") for i in range(3))
    assert "constants_learning_rate" not in json.dumps(meta)
    assert "tau_m" not in metrics


@pytest.mark.parametrize(("first", "then"), [(RATE, 0.0), (0.0, RATE), (RATE, 2 * RATE)])
def test_a_run_is_not_resumed_with_another_rate(tmp_path, first, then):
    list(constants_run(tmp_path / "run", epochs=1, rate=first).run())
    with pytest.raises(CheckpointError, match=r"settings\.constants_learning_rate is"):
        constants_run(tmp_path / "run", resume=True, rate=then)


# ---------------------------------------------------------------------------------------------------------------------
# Command line and files
# ---------------------------------------------------------------------------------------------------------------------


def test_the_command_learns_constants_and_its_config_learns_them_again(tmp_path):
    data = write_fashion(tmp_path)
    common = ["--threads", "1", "--quiet", "--data", str(data), "--runs"]
    train = ["train", NAME, "--epochs", "1", "--learn-constants", "5e-4", *common, str(tmp_path / "one")]
    assert cli.main(train) == 0
    folder = tmp_path / "one" / NAME / "released-constants-0.0005" / "seed0"
    (row,) = read_metrics(folder)
    assert len(row["tau_m"]) == len(row["tau_s"]) == 2
    assert cli.main(["train", str(folder / CONFIG), *common, str(tmp_path / "other")]) == 0
    again = tmp_path / "other" / folder.relative_to(tmp_path / "one")
    assert (again / CONFIG).read_text() == (folder / CONFIG).read_text()
    assert read_metrics(again)[0]["tau_m"] == row["tau_m"]
    (summary,) = results.collect(tmp_path / "one")
    assert summary.variant == "released-constants-0.0005"
    off = [*common, str(tmp_path / "off"), "--learn-constants", "0"]
    assert cli.main(["train", str(folder / CONFIG), *off]) == 0
    assert "tau_m" not in read_metrics(tmp_path / "off" / NAME / "released" / "seed0")[0]


# ---------------------------------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [-1e-3, math.nan, math.inf, "5e-4", None])
def test_a_bad_rate(rate):
    with pytest.raises((ValueError, TypeError), match="constants_learning_rate must be"):
        TrainingSettings(constants_learning_rate=rate)


@pytest.mark.parametrize("rate", ["-0.1", "nan", "inf"])
def test_a_bad_rate_on_the_command_line_is_one_line(rate, capsys):
    assert cli.main(["train", NAME, f"--learn-constants={rate}"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("tsslbp-ref: error: constants_learning_rate must be ")
    assert err.count("\n") == 1


def test_a_constant_of_one_step_has_no_rho():
    net = blob_network(neuron=[tr.NeuronParameters(5.0, 1.0), *BY_LAYER[1:]])
    with pytest.raises(ValueError, match="tau_s of layer 1 must be above 1 to be learned, got 1"):
        Trainer(net, BlobTask(), settings())


def test_a_network_without_hidden_layers_has_none_to_learn():
    net = tr.Network.from_spec("", (4,), n_classes=3, n_steps=5)
    with pytest.raises(ValueError, match="hidden layers only, and the network has none"):
        LearnedConstants(net, RATE)


def test_another_kind_of_network_has_none_to_learn():
    with pytest.raises(TypeError, match="network must be"):
        LearnedConstants([1.0], RATE)


def test_continuous_time_learns_weights_alone():
    with pytest.raises(ValueError, match="yin-yang has no --learn-constants"):
        Plan("yin-yang", "exact", constants_learning_rate=5e-4).check_rule()


def test_a_constant_that_leaves_the_finite_numbers_names_the_batch():
    trainer = Trainer(blob_network(), BlobTask(), settings())
    trainer.learned.optimiser.learning_rate = 1e4
    with pytest.raises(ValueError, match=r"epoch 1, batch 1: tau_. must be finite"):
        trainer.run_epoch()
    assert not trainer.between_batches

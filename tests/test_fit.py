"""Own data: `tr.fit` and `net.score` on arrays, and on anything that becomes one; what is wrong is said in a line."""

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.training import TrainingSettings, fitting
from tsslbp_ref.training.runs import Run
from tsslbp_ref.training.tasks import ArrayTask, HeldOut

N_CLASSES, T = 3, 5
SETTINGS = {"epochs": 3, "batch_size": 10, "learning_rate": 0.02, "progress": False}


def network(seed=0, **settings):
    return tr.Network.from_spec("12", (6,), N_CLASSES, T, seed=seed, weight_scale=2.0, n_threads=1, **settings)


def samples(n=60, seed=0):
    """Noise, and a bright pair of inputs that is the class's."""
    y = np.arange(n) % N_CLASSES
    X = np.random.default_rng(seed).uniform(0.0, 0.4, (n, 6))
    X[np.arange(n), 2 * y] += 1.0
    X[np.arange(n), 2 * y + 1] += 1.0
    return X, y


X, Y = samples()
X_TEST, Y_TEST = samples(30, seed=1)


def weights(net):
    return [W.tobytes() for W in net.weights]


def times_left_out(history):
    return [{k: v for k, v in row.items() if "second" not in k} for row in history]


def test_three_lines_learn_and_the_history_has_every_epoch():
    net = network()
    history = tr.fit(net, X, Y, X_test=X_TEST, y_test=Y_TEST, **SETTINGS | {"epochs": 8})
    assert [row["epoch"] for row in history] == list(range(1, 9))
    assert history[-1]["test_accuracy"] == net.score(X_TEST, Y_TEST) > 0.95
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_it_is_the_same_training_as_a_trainers():
    net, other = network(), network()
    history = tr.fit(net, X, Y, X_test=X_TEST, y_test=Y_TEST, **SETTINGS, seed=4)
    task = ArrayTask(X, Y, X_TEST, Y_TEST, input_shape=(6,), n_classes=N_CLASSES, n_steps=T)
    trainer = tr.training.Trainer(other, task, tr.training.TrainingSettings(3, 10, 0.02, seed=4))
    assert times_left_out(history) == times_left_out([trainer.run_epoch() for _ in range(3)])
    assert weights(net) == weights(other)


def test_the_seed_alone_decides():
    found = []
    for seed in (1, 1, 2):
        net = network()
        tr.fit(net, X, Y, **SETTINGS, seed=seed)
        found.append(weights(net))
    assert found[0] == found[1] != found[2]


class Tensor:
    """As a PyTorch tensor on the CPU or a table of pandas: nothing but `__array__`."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


@pytest.mark.parametrize(
    "form", [Tensor, np.ndarray.tolist, np.asfortranarray, lambda a: a.astype(a.dtype.str.replace("<", ">"))]
)
def test_whatever_becomes_an_array_is_one(form):
    plain, other = network(), network()
    history = tr.fit(plain, X, Y, X_test=X_TEST, y_test=Y_TEST, **SETTINGS)
    assert times_left_out(tr.fit(other, form(X), form(Y), X_test=form(X_TEST), y_test=form(Y_TEST), **SETTINGS)) == (
        times_left_out(history)
    )
    assert weights(plain) == weights(other)
    assert other.score(form(X), form(Y)) == plain.score(X, Y)


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32])
def test_spike_trains_have_their_steps_first(dtype):
    trains = (np.random.default_rng(3).random((T, *X.shape)) < X / 2).astype(dtype)
    net = network()
    history = tr.fit(net, trains, Y, X_test=trains[:, :20], y_test=Y[:20], **SETTINGS | {"epochs": 8}, validation=0.2)
    assert history[-1].keys() >= {"validation_accuracy", "test_accuracy"}
    assert net.score(trains, Y) == np.mean(net.predict(trains) == Y) > 0.5
    task = ArrayTask(trains, Y, input_shape=(6,), n_classes=N_CLASSES, n_steps=T)
    x, y = task.train_samples(np.array([4, 1]))
    np.testing.assert_array_equal(x, trains[:, [4, 1]])
    assert y.tolist() == [1, 1]


def test_a_score_is_that_of_all_samples_however_many(monkeypatch):
    monkeypatch.setattr(tr.network, "SCORED_AT_ONCE", 7)
    net = network()
    assert net.score(X, Y) == np.mean(net.predict(X) == Y)
    trains = np.stack([X] * T)
    assert net.score(trains[:, :1], net.predict(trains[:, :1])) == 1.0
    assert net.score(trains, net.predict(trains)) == 1.0


# ---------------------------------------------------------------------------------------------------------------------
# Held-out samples, and a callback
# ---------------------------------------------------------------------------------------------------------------------


def test_with_validation_the_network_ends_with_its_best_epoch(monkeypatch):
    shares, seen = iter([0.2, 0.7, 0.7, 0.1]), []
    monkeypatch.setattr(fitting.Trainer, "_share", lambda *_: next(shares))
    net = network()
    tr.fit(net, X, Y, **SETTINGS | {"epochs": 4}, validation=0.1, callback=lambda metrics: seen.append(weights(net)))
    assert weights(net) == seen[1]
    assert len({tuple(epoch) for epoch in seen}) == 4


def test_without_validation_it_ends_with_the_last_epoch():
    net, seen = network(), []
    tr.fit(net, X, Y, **SETTINGS, callback=lambda metrics: seen.append(weights(net)))
    assert weights(net) == seen[-1] != seen[0]


def test_constants_are_learned_and_those_of_the_chosen_epoch_stay(monkeypatch):
    after_epochs, run_epoch = [], tr.training.Trainer.run_epoch

    def noted(trainer):
        metrics = run_epoch(trainer)
        after_epochs.append(trainer.network.neurons)
        return metrics | {"validation_accuracy": [0.5, 0.9, 0.7][metrics["epoch"] - 1]}

    monkeypatch.setattr(tr.training.Trainer, "run_epoch", noted)
    net = network()
    history = tr.fit(net, X, Y, **SETTINGS, validation=0.2, constants_learning_rate=0.05)
    assert len(set(after_epochs)) == 3
    assert net.neurons == after_epochs[1]
    assert net.neurons[0].tau_m == history[1]["tau_m"][0] != 5.0
    assert net.neurons[-1] == tr.NeuronParameters(), "the last layer's are not learned"


def test_a_share_is_held_out_by_the_seed(monkeypatch):
    held = []
    monkeypatch.setattr(fitting, "HeldOut", lambda *args: (task := HeldOut(*args), held.append(task.held.tolist()))[0])
    for seed in (0, 0, 1):
        tr.fit(network(), X, Y, **SETTINGS | {"epochs": 1}, validation=0.25, seed=seed)
    assert held[0] == held[1] != held[2]
    assert len(held[0]) == 15


@pytest.mark.parametrize("answer", [True, np.True_])
def test_a_callback_that_returns_true_stops(answer):
    seen = []
    history = tr.fit(
        network(), X, Y, **SETTINGS, callback=lambda metrics: seen.append(metrics) or (len(seen) == 2 and answer)
    )
    assert len(history) == 2
    assert seen == history


def test_progress_is_a_line_an_epoch_on_standard_error(capsys):
    tr.fit(network(), X, Y, **SETTINGS | {"epochs": 1, "progress": True}, validation=0.1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("epoch   1  loss ")
    assert "train" in err
    assert "held-out" in err
    assert "test" not in err


# ---------------------------------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------------------------------

NAN = X.copy()
NAN[3, 2] = np.nan


class Grad:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"X": X.astype(str)}, TypeError, "X must hold real numbers, got dtype <U"),
        ({"X": X + 1j}, TypeError, "X must hold real numbers, got dtype complex128"),
        ({"X": [[1, 2], [3]]}, ValueError, "X must be a rectangular array of numbers: "),
        ({"X": Grad()}, TypeError, "X must be an array, which this Grad does not become: Can't call numpy"),
        ({"X": NAN}, ValueError, r"X must be finite, got nan at index \[3, 2\]"),
        ({"X": X[:, :5]}, ValueError, r"X must have shape \(B, 6\) or \(5, B, 6\), got \(60, 5\)"),
        ({"X": np.stack([X] * 4)}, ValueError, "X must have T = 5 steps, got 4"),
        ({"X": X[:0], "y": Y[:0]}, ValueError, r"X must not be empty, got shape \(0, 6\)"),
        ({"y": Y[:-1]}, ValueError, r"y must have shape \(60,\) to match the batch, got \(59,\)"),
        ({"y": np.eye(3)[Y]}, ValueError, r"y must be class labels \(60,\), got shape \(60, 3\): .*y\.argmax"),
        ({"y": np.eye(3, dtype=int)[Y]}, ValueError, r"one-hot rows become labels by y\.argmax\(axis=1\)"),
        ({"y": Y.astype(float)}, TypeError, r"y must hold integer class labels, got dtype float64: .*y\.astype\(int\)"),
        ({"y": Y + 1}, ValueError, r"y must lie in 0 \.\. 2, got 3"),
        ({"y": Y == 1}, TypeError, "y must hold integer class labels, got dtype bool"),
        ({"X_test": X_TEST}, ValueError, "X_test is given without y_test"),
        ({"y_test": Y_TEST}, ValueError, "y_test is given without X_test"),
        ({"X_test": X_TEST, "y_test": Y_TEST[1:]}, ValueError, r"y_test must have shape \(30,\) to match the batch"),
        ({"X_test": X_TEST[:, 1:], "y_test": Y_TEST}, ValueError, r"X_test must have shape \(B, 6\)"),
        ({"validation": 1.0}, ValueError, "validation must leave some of 60 samples to train on"),
        ({"validation": 0.001}, ValueError, "hold some out, got 0.001"),
        ({"validation": 0.999}, ValueError, "hold some out, got 0.999"),
        ({"validation": -0.1}, ValueError, "validation must be at least 0, got -0.1"),
        ({"validation": (X, Y)}, TypeError, "validation must be a real number, got "),
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"loss": "spike-train"}, ValueError, "loss 'spike-train' has desired trains and no labels"),
        ({"loss_settings": 3}, TypeError, "loss_settings must be a LossSettings, got int"),
        ({"callback": 3}, TypeError, "callback must be callable, got 3"),
        ({"net": "784-10"}, TypeError, "net must be a Network, got str"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_what_is_wrong_is_said_in_a_line(changes, error, message):
    arguments = {"net": network(), "X": X, "y": Y} | SETTINGS | changes
    before = weights(network())
    with pytest.raises(error, match=message) as raised:
        tr.fit(**arguments)
    assert "\n" not in str(raised.value)
    if "net" not in changes:
        assert weights(arguments["net"]) == before


def test_a_score_says_what_is_wrong_too():
    with pytest.raises(ValueError, match=r"y\.argmax\(axis=1\)"):
        network().score(X, np.eye(3)[Y])
    with pytest.raises(ValueError, match=r"y must have shape \(60,\) to match the batch, got \(59,\)"):
        network().score(X, Y[1:])


def test_arrays_tell_other_arrays(tmp_path):
    def digest(*arrays):
        return ArrayTask(*arrays, input_shape=(6,), n_classes=N_CLASSES, n_steps=T).data_sha256

    other = X.copy()
    other[0, 0] += 0.5
    assert digest(X, Y) == digest(X.copy(), Y.tolist())
    assert len({digest(X, Y), digest(other, Y), digest(X, Y[::-1]), digest(X, Y, X_TEST, Y_TEST)}) == 4


def test_a_run_on_disk_needs_a_test_set(tmp_path):
    task = ArrayTask(X, Y, input_shape=(6,), n_classes=N_CLASSES, n_steps=T)
    with pytest.raises(ValueError, match=r"task must have a test set, .*: give X_test and y_test"):
        Run(tmp_path / "run", network(), task, TrainingSettings())
    assert not (tmp_path / "run").exists()

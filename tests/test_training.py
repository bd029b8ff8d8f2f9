"""The training loop: the same seed gives the same bits, a stop at any batch changes nothing, errors say where."""

import errno
import functools
import re
import sys

import numpy as np
import pytest
from made_data import BlobTask, blob_network, blob_trainer, state_of, without_time
from threadpoolctl import threadpool_info, threadpool_limits

from tsslbp_ref import LossSettings, Network
from tsslbp_ref.model import losses
from tsslbp_ref.training import LABEL_LOSSES, Trainer, TrainingSettings, epoch_line, progress

N_BATCHES = 5  # of an epoch of the blobs: 36 pictures, 8 a batch


def trained(trainer, epochs=2):
    return [trainer.run_epoch() for _ in range(epochs)]


def test_the_same_seed_gives_the_same_bits():
    one, other = blob_trainer(3), blob_trainer(3)
    assert without_time(trained(one)) == without_time(trained(other))
    assert state_of(one) == state_of(other)


def test_another_seed_gives_other_bits():
    one, other = blob_trainer(3), blob_trainer(4)
    trained(one, 1)
    trained(other, 1)
    assert state_of(one) != state_of(other)


def test_two_threads_give_the_same_bits_each_time_and_agree_with_one_to_rounding():
    one, two, again = (blob_trainer(3, n_threads=n) for n in (1, 2, 2))
    for trainer in (one, two, again):
        trained(trainer, 1)
    assert state_of(two) == state_of(again)
    for W, V in zip(one.network.weights, two.network.weights, strict=True):
        np.testing.assert_allclose(W, V, rtol=1e-4, atol=1e-5)


def test_blas_keeps_to_one_thread_for_the_optimisers_sums_too():
    # Where BLAS shares a sum between threads, its last bits depend on their number; that depends on the machine.
    trainer = blob_trainer()
    plain_step, counts = trainer.optimiser.step, []

    def watched_step(gradients, **options):
        counts.extend(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")
        return plain_step(gradients, **options)

    trainer.optimiser.step = watched_step
    with threadpool_limits(2, user_api="blas"):
        trainer.run_epoch()
        after = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    assert set(counts) == {1}
    assert 2 in after


def test_an_epoch_shows_every_sample_once_in_an_order_of_its_own():
    trainer = blob_trainer()
    trained(trainer)
    drawn = trainer.task.batches_drawn
    assert [len(batch) for batch in drawn] == [8, 8, 8, 8, 4] * 2
    first, second = ([i for batch in drawn[k : k + N_BATCHES] for i in batch] for k in (0, N_BATCHES))
    assert sorted(first) == sorted(second) == list(range(36))
    assert first != second


@pytest.mark.parametrize("stop_at", range(1, N_BATCHES + 4))
def test_a_stop_after_any_batch_of_training_or_test_changes_nothing(stop_at):
    whole, stopped = blob_trainer(), blob_trainer()
    asked = []

    def should_stop():
        asked.append(1)
        return len(asked) == stop_at

    assert stopped.run_epoch(should_stop) is None
    assert stopped.progress.seen == min(8 * stop_at, 36)
    rows = [stopped.run_epoch(), stopped.run_epoch()]
    assert without_time(rows) == without_time(trained(whole))
    assert state_of(stopped) == state_of(whole)
    assert stopped.progress == whole.progress


def test_seconds_are_those_of_both_sides_of_a_stop(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    trainer = blob_trainer()
    assert trainer.run_epoch(lambda: trainer.progress.batch == 2) is None
    metrics = trainer.run_epoch()
    assert metrics["seconds"] == N_BATCHES  # a clock that ticks once a look: 1 s a batch
    assert metrics["samples_per_second"] == round(36 / N_BATCHES, 1)


@pytest.mark.parametrize("loss", LABEL_LOSSES)
def test_train_loss_is_the_mean_over_samples_also_with_a_last_batch_that_is_smaller(loss):
    settings = TrainingSettings(
        epochs=1, batch_size=8, learning_rate=1e-12, loss=loss, loss_settings=LossSettings(3, 1)
    )
    task = BlobTask()
    task.train_batch = lambda indices, rng: (task.pictures(indices % 4), indices % 4)
    trainer = Trainer(blob_network(dropout=0.0), task, settings)
    metrics = trainer.run_epoch()
    y = np.arange(36) % 4
    network = blob_network(dropout=0.0)
    a = network.forward(task.pictures(y))
    value, _ = losses.value_and_gradient(loss, a, y, network.neuron, LossSettings(3, 1))
    expected = value if loss == "softmax" else value / 36
    assert expected > 0
    assert metrics["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert metrics["train_accuracy"] == np.mean(network.predict(task.pictures(y)) == y)


def test_the_network_learns_and_the_best_epoch_is_kept():
    trainer = blob_trainer(learning_rate=3e-2)
    rows = trained(trainer, 20)
    assert rows[-1]["test_accuracy"] >= 0.9
    assert trainer.progress.best_accuracy == max(row["test_accuracy"] for row in rows)
    assert trainer.test_accuracy() == rows[-1]["test_accuracy"]


def test_the_bar_has_loss_accuracy_and_rate_and_starts_where_the_epoch_stands(capsys, monkeypatch):
    monkeypatch.setattr(progress.tqdm, "monitor_interval", 0)  # no thread that outlives the test
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    trainer = blob_trainer()
    trainer.show_progress = True
    monkeypatch.setattr(progress, "tqdm", functools.partial(progress.tqdm, mininterval=0.0))
    assert trainer.run_epoch(lambda: trainer.progress.batch == 2) is None
    capsys.readouterr()
    trainer.run_epoch()
    err = capsys.readouterr().err
    assert "epoch 1/3:  44%" in err  # 16 of 36
    assert re.search(r"24/36 \[.*sample/s, loss=\d+\.\d{4}, acc=0\.\d{4}\]\r", err)


def test_without_a_terminal_there_is_a_plain_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "tqdm", None)
    now = iter(range(0, 1000, 12))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    trainer = blob_trainer()
    trainer.show_progress = True
    trainer.run_epoch()
    lines = capsys.readouterr().err.splitlines()
    # The clock is asked at the start, after each batch and at a line: batch 3 is at 36 s, batch 5 at 72 s, due is 78 s.
    assert [line.split(",")[0] for line in lines] == ["epoch 1/3: 24 of 36 samples"]
    assert re.fullmatch(r"epoch 1/3: 24 of 36 samples, loss \d+\.\d{4}, acc 0\.\d{4}", lines[0])


def test_a_line_of_progress_that_cannot_be_written_ends_no_run(monkeypatch):
    class Full:
        isatty = staticmethod(lambda: False)

        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(sys, "stderr", Full())
    trainer = blob_trainer()
    trainer.show_progress = True
    assert trainer.run_epoch()["epoch"] == 1


def test_a_quiet_trainer_never_touches_tqdm(monkeypatch):
    monkeypatch.setattr(progress, "tqdm", None)  # its lock outlives a killed fork
    assert blob_trainer().run_epoch()["epoch"] == 1


def test_an_epoch_as_a_line():
    metrics = blob_trainer().run_epoch()
    line = epoch_line(metrics | {"train_loss": 0.25, "test_accuracy": 0.5, "seconds": 2.0, "samples_per_second": 18.0})
    assert line.startswith("epoch   1  loss 0.2500  train ")
    assert line.endswith("%  test 50.00%  2.0 s (18 samples/s)")
    assert "loss nan" in epoch_line(metrics | {"train_loss": float("nan")})


# ---------------------------------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size must be an integer, got 2.5"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite, got nan"),
        ({"loss": "kernal"}, "unknown loss 'kernal'; known: 'kernel', 'kernel-paper', 'count', 'softmax'"),
        ({"loss": "spike-train"}, "loss 'spike-train' has desired trains and no labels"),
        ({"loss_settings": (4, 1)}, "loss_settings must be a LossSettings, got tuple"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises((ValueError, TypeError)) as error:
        TrainingSettings(**settings)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda x, y: (x * np.nan, y), "x must be finite, got nan at index [0, 0, 0, 0]"),
        (lambda x, y: (x, y + 3), "y must lie in 0 .. 3, got "),
        (lambda x, y: (x[:, :, 1:], y), "x must have shape (B, 1, 6, 6)"),
        (lambda x, y: (x[None, :0], y), "x must have T = 5 steps, got 1"),
    ],
    ids=["nan", "label", "shape", "T"],
)
def test_a_bad_batch_is_named_and_the_weights_stay(damage, message):
    trainer = blob_trainer()
    plain = trainer.task.train_batch
    trainer.task.train_batch = lambda indices, rng: damage(*plain(indices, rng))
    before = state_of(trainer)
    with pytest.raises(ValueError, match=r"^epoch 1, batch 1: ") as error:
        trainer.run_epoch()
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert state_of(trainer) == before


def test_gradients_that_are_not_finite_stop_the_run_with_the_batch():
    trainer = blob_trainer()
    plain = trainer.network.training_step

    def exploding(*arguments, optimiser, **options):
        value, gradients, *rest = plain(*arguments, **options)
        optimiser.step([gradients[0] * np.inf, *gradients[1:]])
        return value, gradients, *rest

    trainer.network.training_step = exploding
    with pytest.raises(ValueError, match=r"epoch 1, batch 1: gradients must be finite, got a norm of (nan|inf)"):
        trainer.run_epoch()


def test_no_time_steps_is_refused():
    with pytest.raises(ValueError, match="n_steps must be at least 1, got 0"):
        Network.from_spec("3", (4,), 2, 0)

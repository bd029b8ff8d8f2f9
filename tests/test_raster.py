"""The embedded task: a word as spike trains, learned without any data."""

import numpy as np
import pytest

from tsslbp_ref import GradientRule
from tsslbp_ref.training import raster

N_UPDATES = 1500  # half of the demo's, which test_cli_processes.py runs in full


@pytest.fixture(scope="module")
def learned():
    task = raster.raster_task()
    return task, raster.learn(task, N_UPDATES)


def test_the_loss_falls_by_ninety_percent_or_more(learned):
    _, history = learned
    assert len(history) == N_UPDATES + 1
    assert history[-1] <= 0.1 * history[0]


def test_the_learned_raster_is_the_word_but_for_a_few_marks(learned):
    task, _ = learned
    assert raster.n_wrong(task) == np.sum(raster.output_spikes(task) != task.desired[:, 0])
    assert raster.n_wrong(task) <= 0.25 * task.desired.sum()


def test_the_reported_spikes_are_the_membranes_threshold_crossings(learned):
    task, _ = learned
    output = task.network.gradient_flow(task.inputs, task.desired, loss="spike-train")[-1]
    np.testing.assert_array_equal(raster.output_spikes(task), output.trace.s[:, 0])


def test_the_last_loss_is_that_of_the_trained_network(learned):
    task, history = learned
    value, _ = task.network.loss_and_gradients(task.inputs, task.desired, loss="spike-train")
    assert history[-1] == pytest.approx(value, rel=1e-6)


def test_the_picture_is_drawn_upright():
    desired = raster.desired_raster()
    assert raster.as_text(desired).splitlines() == [row for row in raster.PICTURE if "#" in row]
    assert desired[:, -1].sum() == 5 + 4 + 4 + 1  # the top row: the bar of T, the two S and the tip of L


def test_the_same_seed_makes_the_same_task_and_another_another():
    one, other, third = raster.raster_task(1), raster.raster_task(1), raster.raster_task(2)
    np.testing.assert_array_equal(one.inputs, other.inputs)
    assert raster.learn(one, 5) == raster.learn(other, 5)
    assert not np.array_equal(one.inputs, third.inputs)


def test_the_callback_hears_of_every_update_and_the_rule_counts():
    heard = []
    history = raster.learn(raster.raster_task(), 3, report=lambda update, loss: heard.append((update, loss)))
    assert heard == list(enumerate(history[:3]))
    literal = raster.learn(raster.raster_task(rule=GradientRule(inter="literal")), 3)
    assert literal[0] == history[0]
    assert literal[1] != history[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"n_inputs": 0}, "n_inputs must be at least 1, got 0"),
        ({"n_hidden": 1.5}, "n_hidden must be an integer, got 1.5"),
        ({"rate": float("nan")}, "rate must be finite, got nan"),
        ({"rate": 1.5}, "rate must be at most 1, got 1.5"),
        ({"dtype": "int8"}, "dtype must be one of float32, float64, got int8"),
        ({"desired": [1, 0]}, "desired must be (T, n_out): steps, output neurons; got shape (2,)"),
        ({"desired": [[[1]]]}, "desired must be (T, n_out): steps, output neurons; got shape (1, 1, 1)"),
        ({"desired": [[0.5]]}, "desired must hold 0 and 1 only: a spike or none"),
        ({"desired": [[float("nan")]]}, "desired must be finite, got nan at index [0, 0]"),
        ({"desired": [["a"]]}, "desired must hold real numbers, got dtype <U1"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises((ValueError, TypeError)) as error:
        raster.raster_task(**arguments)
    assert str(error.value) == message


def test_a_raster_of_ones_own_is_learned():
    own = np.eye(6)
    task = raster.raster_task(desired=own)
    assert task.desired.shape == (6, 1, 6)
    assert (task.network.n_steps, task.network.n_classes) == (6, 6)
    raster.learn(task, 400)
    assert raster.n_wrong(task) <= 3


def test_no_updates_are_refused():
    with pytest.raises(ValueError, match="n_updates must be at least 1, got 0"):
        raster.learn(raster.raster_task(), 0)

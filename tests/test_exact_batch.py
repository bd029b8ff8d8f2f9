"""Batches in continuous time: the mean over samples, terms against silence, threads, predictions, bad input."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from tsslbp_ref import exact
from tsslbp_ref.exact import batch as batches
from tsslbp_ref.gradcheck import exact_checks

N_SAMPLES = 13  # more than two pieces, and no multiple of one
FIRST, PEAK = exact.FirstSpike(None, 2.0, 10.0, 0.05), exact.Peak()
CONSTANTS = {"tau_m": 10.0, "tau_s": 4.0, "threshold": 1.0, "duration": 30.0}


@pytest.fixture
def made():
    """Weights of two layers, a batch of single spikes, and labels."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(18.0, 8.0, (7, 4)), rng.normal(7.0, 4.0, (3, 7))]
    return weights, rng.uniform(1.0, 15.0, (N_SAMPLES, 4, 1)), rng.integers(0, 3, N_SAMPLES)


def mean_of_samples(weights, batch, labels, loss, **changes):
    """Mean loss and gradients by `simulate`, one sample at a time."""
    total, gradients = 0.0, [np.zeros_like(w) for w in weights]
    for sample, label in zip(batch, labels, strict=True):
        own = exact.Peak(int(label)) if isinstance(loss, exact.Peak) else exact.FirstSpike(int(label), 2.0, 10.0, 0.05)
        result = exact.simulate(weights, sample, **(CONSTANTS | changes), loss=own)
        total += result.loss / len(labels)
        for gradient, one in zip(gradients, result.gradients, strict=True):
            gradient += one / len(labels)
    return total, gradients


def four_point(function, x, step):
    """df/dx at x by central differences of fourth order."""
    f = {k: function(x + k * step) for k in (-2, -1, 1, 2)}
    return (8.0 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12.0 * step)


@pytest.mark.parametrize(("loss", "threshold"), [(FIRST, 1.0), (PEAK, [1.0, None])], ids=["first spike", "peak"])
def test_a_batch_is_the_mean_of_its_samples(made, loss, threshold):
    weights, batch, labels = made
    result = exact.loss_and_gradients(*made, **(CONSTANTS | {"threshold": threshold}), loss=loss)
    expected, gradients = mean_of_samples(weights, batch, labels, loss, threshold=threshold)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-13)
    for found, wanted in zip(result.gradients, gradients, strict=True):
        assert exact_checks.array_error(found, wanted) < 1e-12


def test_an_array_with_spikes_close_together_is_the_same_batch_as_a_list_of_trains(made):
    weights, batch, labels = made
    pairs = np.concatenate([batch - 0.9, batch - 0.6], axis=2)
    assert pairs.min() < 1.0
    one, other = (
        exact.loss_and_gradients(weights, given, labels, **CONSTANTS, loss=FIRST)
        for given in (pairs, [list(sample) for sample in pairs])
    )
    assert one.loss == other.loss
    for found, wanted in zip(one.gradients, other.gradients, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_trains_of_several_lengths_and_delays(made):
    weights, _, labels = made
    rng = np.random.default_rng(5)
    batch = [[np.sort(rng.uniform(0.0, 15.0, rng.integers(0, 4))) for _ in range(4)] for _ in range(N_SAMPLES)]
    delays = [rng.uniform(0.0, 3.0, w.shape) for w in weights]
    result = exact.loss_and_gradients(weights, batch, labels, **CONSTANTS, delays=delays, loss=FIRST)
    expected, gradients = mean_of_samples(weights, batch, labels, FIRST, delays=delays)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-13)
    assert exact_checks.array_error(result.gradients[0], gradients[0]) < 1e-12


def test_the_number_of_threads_changes_no_bit(made):
    one, three = (exact.loss_and_gradients(*made, **CONSTANTS, loss=FIRST, n_threads=n) for n in (1, 3))
    assert one.loss == three.loss
    for found, wanted in zip(one.gradients, three.gradients, strict=True):
        np.testing.assert_array_equal(found, wanted)


# ---------------------------------------------------------------- against silence


def silenced(weights):
    """The weights with hidden neuron 2 and output 1 too weak to fire."""
    hidden, output = (w.copy() for w in weights)
    hidden[2], output[1] = [4.0, 3.0, 2.0, 1.0], 0.05 * np.abs(output[1])
    return [hidden, output]


def test_a_silent_labelled_output_has_its_distance_from_the_threshold_for_a_loss(made):
    weights, batch, labels = silenced(made[0]), made[1], np.ones(N_SAMPLES, dtype=int)
    result = exact.loss_and_gradients(weights, batch, labels, **CONSTANTS, loss=FIRST, silent_output=3.0)
    heights = [exact.simulate(weights, sample, **CONSTANTS).highest_membrane[1][1] for sample in batch]
    assert result.n_silent_outputs == N_SAMPLES
    np.testing.assert_allclose(result.loss, 3.0 * np.mean(1.0 - np.array(heights)), rtol=1e-13)
    # The other outputs have no derivative; those of the labelled one and of the layer below are exact.
    np.testing.assert_array_equal(result.gradients[1][[0, 2]], 0.0)

    def loss_at(layer, index, value):
        moved = [w.copy() for w in weights]
        moved[layer][index] = value
        found = exact.loss_and_gradients(moved, batch, labels, **CONSTANTS, loss=FIRST, silent_output=3.0)
        return found.loss

    for layer, index in ((0, (4, 1)), (1, (1, 4))):
        difference = four_point(lambda value, at=(layer, index): loss_at(*at, value), weights[layer][index], 1e-3)
        assert abs(difference) > 1e-6
        np.testing.assert_allclose(result.gradients[layer][index], difference, rtol=1e-6)


@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_labelled_output_that_fires_keeps_its_loss(made, label):
    weights, batch, _ = made
    fires = [len(exact.simulate(weights, sample, **CONSTANTS).spike_times[1][label]) > 0 for sample in batch]
    arguments = weights, batch[fires], np.full(sum(fires), label)
    plain, held = (
        exact.loss_and_gradients(*arguments, **CONSTANTS, loss=FIRST, silent_output=beta) for beta in (None, 3.0)
    )
    assert sum(fires) > 0
    assert plain.loss == held.loss


def test_a_hidden_neuron_silent_in_the_whole_batch_has_a_term(made):
    weights, batch, labels = silenced(made[0]), made[1], made[2]
    plain, held = (
        exact.loss_and_gradients(weights, batch, labels, **CONSTANTS, loss=FIRST, silent_hidden=g) for g in (0.0, 0.5)
    )
    assert [np.flatnonzero(mask).tolist() for mask in plain.silent_hidden] == [[2]]
    heights = [exact.simulate(weights, sample, **CONSTANTS).highest_membrane[0][2] for sample in batch]
    np.testing.assert_allclose(held.loss - plain.loss, 0.5 * np.mean(1.0 - np.array(heights)), rtol=1e-10)
    changed = held.gradients[0] - plain.gradients[0]
    np.testing.assert_array_equal(np.delete(changed, 2, axis=0), 0.0)

    def loss_at(value):
        moved = [w.copy() for w in weights]
        moved[0][2, 1] = value
        return exact.loss_and_gradients(moved, batch, labels, **CONSTANTS, loss=FIRST, silent_hidden=0.5).loss

    np.testing.assert_allclose(held.gradients[0][2, 1], four_point(loss_at, weights[0][2, 1], 1e-3), rtol=1e-7)


def test_a_neuron_that_fires_in_one_sample_is_not_silent(made):
    weights, batch, labels = silenced(made[0]), np.zeros_like(made[1]), made[2]
    batch[:, :] = [[1.0], [8.0], [15.0], [22.0]]  # one after the other
    batch[6] = 5.0  # all inputs at once
    weights[0][2] = 5.0
    counts = [len(exact.simulate(weights, sample, **CONSTANTS).spike_times[0][2]) for sample in batch]
    assert np.flatnonzero(counts).tolist() == [6]
    assert not exact.loss_and_gradients(weights, batch, labels, **CONSTANTS, loss=FIRST).silent_hidden[0][2]


def test_a_grazing_spike_is_kept():
    weight = math.e * 5.0  # its peak, at tau_m = tau_s = 5, is the threshold
    for _ in range(100):
        weight = np.nextafter(weight, np.inf)
        if len(exact.simulate([[[weight]]], [[1.0]], 5.0, 5.0, 1.0, 30.0).spike_times[0][0]):
            break
    constants = CONSTANTS | {"tau_m": 5.0, "tau_s": 5.0}
    result = exact.loss_and_gradients([[[weight]]], [[[1.0]]], [0], **constants, loss=FIRST)
    assert np.isfinite(result.gradients[0]).all()
    assert result.gradients[0][0, 0] < -1e3
    assert result.n_silent_outputs == 0
    assert result.n_hidden_spikes == 0


# ---------------------------------------------------------------- predictions


def test_predictions_are_the_first_output_to_fire(made):
    weights, batch, labels = silenced(made[0]), made[1].copy(), made[2]
    batch[3] = 29.9  # too late for any spike
    result = exact.loss_and_gradients(weights, batch, labels, **CONSTANTS, loss=FIRST)
    expected = []
    for sample in batch:
        first = [
            times[0] if times.size else math.inf
            for times in exact.simulate(weights, sample, **CONSTANTS).spike_times[1]
        ]
        expected.append(int(np.argmin(first)) if min(first) < math.inf else -1)
    assert expected[3] == -1
    assert len(set(expected)) > 2
    assert result.predictions.tolist() == expected
    assert exact.predict(weights, batch, **CONSTANTS).tolist() == expected


def test_predictions_of_a_readout_are_the_highest_membrane(made):
    weights, batch, _ = made
    constants = CONSTANTS | {"threshold": [1.0, None]}
    expected = [exact.simulate(weights, s, **constants).highest_membrane[1].argmax() for s in batch]
    assert exact.predict(weights, batch, **constants).tolist() == expected


def test_the_example_in_the_docstring_is_true():
    outcome = doctest.testmod(batches)
    assert outcome.attempted > 0
    assert outcome.failed == 0


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"labels": [0, 3]}, ValueError, r"labels must lie in 0 \.\. 2, got 3"),
        ({"labels": [0]}, ValueError, "labels must have shape"),
        ({"labels": [0.0, 1.0]}, TypeError, "labels must hold integer class labels"),
        ({"batch": np.zeros((2, 3, 1))}, ValueError, r"batch must be \(samples, 4, spikes\) .*got \(2, 3, 1\)"),
        ({"batch": np.full((2, 4, 1), 31.0)}, ValueError, r"batch must lie in \[0, duration\] = \[0, 30\], got 31"),
        ({"batch": np.array([[[-1.0, 5.0]] * 4] * 2)}, ValueError, "batch must lie in .*got -1"),
        ({"batch": np.array([[[0.5, 31.0]] * 4] * 2)}, ValueError, "batch must lie in .*got 31"),
        ({"batch": np.full((2, 4, 1), -1.0)}, ValueError, "batch must lie in .*got -1"),
        ({"batch": np.full((2, 4, 1), math.nan)}, ValueError, "batch must be finite"),
        ({"batch": np.array([[[2.0, 1.0]] * 4] * 2)}, ValueError, "batch must hold sorted spike times"),
        ({"batch": []}, ValueError, "batch must hold at least one sample"),
        ({"batch": [[[1.0]] * 4, [[1.0]] * 3]}, ValueError, r"batch\[1\] must hold 4 spike trains"),
        ({"batch": 3.0}, TypeError, "batch must be a sequence"),
        ({"loss": PEAK}, ValueError, "Peak needs a readout that never fires"),
        ({"loss": FIRST, "threshold": [1.0, None]}, ValueError, "FirstSpike needs outputs that fire"),
        ({"loss": PEAK, "threshold": [1.0, None], "silent_output": 1.0}, ValueError, "silent_output is for outputs"),
        ({"loss": exact.VanRossum([[1.0]] * 3, 3.0)}, TypeError, "loss must be a FirstSpike or a Peak, got VanRossum"),
        ({"silent_output": -1.0}, ValueError, "silent_output must be at least 0"),
        ({"silent_hidden": -1.0}, ValueError, "silent_hidden must be at least 0"),
        ({"n_threads": 0}, ValueError, "n_threads must be at least 1"),
        ({"n_threads": 10**6}, ValueError, "n_threads must be at most"),
        ({"loss": exact.FirstSpike(None, 2.0, 1e-3, 0.05)}, ValueError, "tau1 must be at least duration/700"),
        ({"max_events": 2}, ValueError, "the network fires more than max_events = 2 spikes, reached in layer 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_batches(made, changes, error, message):
    arguments = {"weights": made[0], "batch": made[1][:2], "labels": made[2][:2], **CONSTANTS, "loss": FIRST}
    with pytest.raises(error, match=message):
        exact.loss_and_gradients(**(arguments | changes))

"""A training step in one compiled call a shard: the numbers of the way layer by layer, its bits, its errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.engine import fast_dense, fast_step, fast_words
from tsslbp_ref.engine import workers as workers_module
from tsslbp_ref.engine.whole_steps import may_go_whole
from tsslbp_ref.model import network as network_module
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout
from tsslbp_ref.model.optim import AdamW

NEURON = tr.NeuronParameters(5.0, 3.0)
T, N_CLASSES, SHAPE = 6, 4, (2, 3, 3)
LOSSES = ("kernel", "kernel-paper", "spike-train")
TRIES = 50  # until no thread is late: on a busy machine some are


def network(n_threads: int = 2, spec: str = "20-7", **settings) -> tr.Network:
    settings = {"dtype": "float64", "weight_scale": 4.0, "seed": 1} | settings
    return tr.Network.from_spec(spec, SHAPE, N_CLASSES, T, NEURON, n_threads=n_threads, **settings)


def with_optimiser(n_threads: int = 2, **settings) -> tuple[tr.Network, AdamW]:
    net = network(n_threads, **settings)
    return net, AdamW(net.weights, workers=net.workers)


def batch(size: int, loss: str = "kernel") -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    x = rng.random((size, *SHAPE))
    y = rng.integers(0, N_CLASSES, size)
    return x, (rng.random((T, size, N_CLASSES)) < 0.4).astype(float) if loss == "spike-train" else y


@pytest.fixture
def calls(monkeypatch) -> list:
    """The number of shards of every step that goes whole."""
    seen = []
    right = network_module.WholeStep.run

    def run(step, shards, *arguments):
        seen.append(len(shards))
        return right(step, shards, *arguments)

    monkeypatch.setattr(network_module.WholeStep, "run", run)
    return seen


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("fewest", [1, 1000])
def test_the_numbers_are_those_of_layer_by_layer(loss, n_threads, fewest, monkeypatch, calls):
    """By words and by products: in the first hidden layer few neurons fire, in the second most."""
    monkeypatch.setattr(fast_words, "FEWEST_NEURONS", fewest)
    net, (x, y) = network(n_threads), batch(7, loss)
    u = [flow.trace.u for flow in net.gradient_flow(x, y, loss)]
    followed = [fast_dense._words_to_follow(u_below, 1.0, fast_words.word_length(T), True)[0].size > 0 for u_below in u]
    assert followed[:2] == [True, False]
    value, gradients, a = net.training_step(x, y, loss)
    assert calls == [n_threads]
    expected, expected_gradients, expected_a, _ = net.training_pass(x, y, loss)
    assert calls == [n_threads]
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(a, expected_a, rtol=1e-12)
    for gradient, wanted, W in zip(gradients, expected_gradients, net.weights, strict=True):
        assert gradient.shape == W.shape
        assert np.abs(wanted).max() > 0.0
        np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("spec", ["1", "1-2", "2-1"])
@pytest.mark.parametrize("n_inputs", [1, 2])
@pytest.mark.parametrize("size", [1, 3, 4])
def test_fewer_neurons_inputs_or_samples_than_threads(spec, n_inputs, size, calls):
    x, y = np.random.default_rng(0).random((size, n_inputs)) + 0.5, np.arange(size) % 2
    net = tr.Network.from_spec(spec, (n_inputs,), 2, T, NEURON, dtype="float64", weight_scale=5.0, n_threads=3, seed=2)
    value, gradients, a = net.training_step(x, y)
    assert calls == [min(size, 3)]
    expected, expected_gradients, expected_a, _ = net.training_pass(x, y)
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(a, expected_a, rtol=1e-12)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-12)


def test_the_same_bits_again_also_after_another_batch(calls):
    net = network(dtype="float32")
    x, y = batch(9)
    value, gradients = net.loss_and_gradients(x, y)
    net.loss_and_gradients(x[:4], y[:4])
    again, gradients_again = net.loss_and_gradients(x, y)
    assert calls == [2, 2, 2]
    assert again == value
    for gradient, same in zip(gradients, gradients_again, strict=True):
        np.testing.assert_array_equal(gradient, same)


def test_gradients_and_output_are_the_callers_own(calls):
    net, (x, y) = network(), batch(6)
    _, gradients, a = net.training_step(x, y)
    kept = [array.copy() for array in (*gradients, a)]
    net.weights = [2.0 * W for W in net.weights]
    net.training_step(x[::-1].copy(), y)
    assert calls == [2, 2]
    for array, same in zip((*gradients, a), kept, strict=True):
        np.testing.assert_array_equal(array, same)


def test_a_thread_that_comes_late_changes_nothing(calls, monkeypatch):
    net, (x, y) = network(), batch(8)
    value, gradients = net.loss_and_gradients(x, y)
    gathered = []
    right = fast_step.gather
    monkeypatch.setattr(fast_step, "gather", lambda *arguments: (gathered.append(arguments[1:]), right(*arguments)))
    net.workers.map(str, range(2))  # nobody watches for a call any more
    given_up = threading.Event()
    right_dismiss = workers_module.dismiss
    monkeypatch.setattr(workers_module, "dismiss", lambda *arguments: (right_dismiss(*arguments), given_up.set()))
    net.workers._pool.submit(given_up.wait)
    late, gradients_late = net.loss_and_gradients(x, y)
    assert gathered == [(0, 2), (1, 2)]
    assert calls == [2, 2]
    assert late == value
    for gradient, same in zip(gradients, gradients_late, strict=True):
        np.testing.assert_array_equal(gradient, same)


@pytest.fixture
def own_steps(monkeypatch) -> list:
    """The optimisers that step by themselves, every time that they do."""
    seen = []
    right = AdamW.step
    monkeypatch.setattr(
        AdamW, "step", lambda optimiser, gradients: (seen.append(optimiser), right(optimiser, gradients))
    )
    return seen


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_with_an_optimiser_the_weights_are_those_of_its_own_steps(loss, n_threads, dtype, calls, own_steps):
    """Whoever updates them: where a thread comes late it is the optimiser itself, and another try is allowed."""

    def all_within_the_call() -> bool:
        updating = check_three_steps(loss, n_threads, dtype)
        return updating not in own_steps

    tries = 1 if n_threads == 1 else TRIES
    assert any(all_within_the_call() for _ in range(tries))
    assert set(calls) == {n_threads}


def check_three_steps(loss: str, n_threads: int, dtype: str) -> AdamW:
    """Of a network whose optimiser steps by itself, and of one whose optimiser need not; returns the latter."""
    (one, stepping), (other, updating) = (with_optimiser(n_threads, dtype=dtype) for _ in range(2))
    x, y = batch(7, loss)
    before = [W.copy() for W in one.weights]
    for _ in range(3):
        value, gradients = one.loss_and_gradients(x, y, loss)
        stepping.step(gradients)
        same, same_gradients, _ = other.training_step(x, y, loss, optimiser=updating)
    tight = 8 * float(np.finfo(dtype).eps)
    assert same == pytest.approx(value, rel=tight)
    assert updating.n_steps == stepping.n_steps == 3
    for array, wanted in zip(same_gradients, gradients, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=tight, atol=tight * np.abs(wanted).max())
    for W, wanted, start in zip(other.weights, one.weights, before, strict=True):
        np.testing.assert_allclose(W, wanted, rtol=tight, atol=tight)
        assert np.abs(W - start).max() > 1e-4
    return updating


def test_an_optimiser_of_other_arrays_or_of_weights_by_rows_steps_by_itself(calls):
    net, optimiser = with_optimiser()
    x, y = batch(5)
    _, gradients = net.loss_and_gradients(x, y)
    expected = [W.copy() for W in net.weights]
    AdamW(expected).step(gradients)
    copies = [W.copy() for W in net.weights]
    of_copies = AdamW(copies)
    net.training_step(x, y, optimiser=of_copies)
    assert of_copies.n_steps == 1
    for W, wanted in zip(copies, expected, strict=True):
        np.testing.assert_allclose(W, wanted, rtol=1e-14)
    optimiser.weights[:] = [np.ascontiguousarray(W) for W in net.weights]
    assert net.weights[0] is optimiser.weights[0]
    net.training_step(x, y, optimiser=optimiser)
    assert (calls, optimiser.n_steps) == ([2] * 3, 1)
    for W, wanted in zip(net.weights, expected, strict=True):
        np.testing.assert_allclose(W, wanted, rtol=1e-13)


def test_an_optimiser_of_a_network_that_has_other_ways(calls):
    one, other = network(spec="5C2-6"), network(spec="5C2-6")
    x, y = batch(5)
    optimiser = AdamW(one.weights)
    _, gradients, _ = one.training_step(x, y, optimiser=optimiser)
    _, expected = other.loss_and_gradients(x, y)
    AdamW(other.weights).step(expected)
    assert (calls, optimiser.n_steps) == ([], 1)
    for array, wanted in zip((*gradients, *one.weights), (*expected, *other.weights), strict=True):
        np.testing.assert_array_equal(array, wanted)


def test_a_thread_that_comes_late_leaves_the_update_to_the_optimiser(own_steps, monkeypatch):
    (one, stepping), (other, updating) = with_optimiser(), with_optimiser()
    x, y = batch(8)
    stepping.step(one.loss_and_gradients(x, y)[1])
    other.workers.map(str, range(2))  # nobody watches for a call any more
    given_up = threading.Event()
    right_dismiss = workers_module.dismiss
    monkeypatch.setattr(workers_module, "dismiss", lambda *arguments: (right_dismiss(*arguments), given_up.set()))
    other.workers._pool.submit(given_up.wait)
    other.training_step(x, y, optimiser=updating)
    assert (own_steps, updating.n_steps) == ([stepping, updating], 1)
    for W, wanted in zip(other.weights, one.weights, strict=True):
        np.testing.assert_allclose(W, wanted, rtol=1e-14)


@pytest.mark.parametrize(
    ("x_scale", "W_1", "message"),
    [
        (1e25, 0.1, "gradients must be finite, got a norm of inf"),
        (1.0, 3e38, "the membranes of layer 1 are not finite"),
    ],
)
def test_what_is_not_finite_leaves_the_weights_as_they_are(x_scale, W_1, message, calls):
    net, optimiser = with_optimiser(dtype="float32")
    x, y = batch(4)
    net.training_step(x, y, optimiser=optimiser)
    net.weights[1][...] = W_1
    kept = [array.copy() for array in (*net.weights, *optimiser.means, *optimiser.squares)]
    with np.errstate(over="ignore"), pytest.raises(ValueError, match=message):
        net.training_step(x_scale * x, y, optimiser=optimiser)
    assert (calls, optimiser.n_steps) == ([2, 2], 1)
    for array, same in zip((*net.weights, *optimiser.means, *optimiser.squares), kept, strict=True):
        np.testing.assert_array_equal(array, same)


def test_one_shard_that_is_not_finite_is_enough(calls):
    """All that this shard has left from the step before is 0, so that the gradients look as if they were finite."""
    net, optimiser = with_optimiser(dtype="float32", rule=tr.GradientRule(warmup=False))
    x, y = batch(4)
    silence = np.zeros_like(x)
    net.training_step(silence, y, optimiser=optimiser)
    kept = [W.copy() for W in net.weights]
    silence[2:] = 3e38
    with pytest.raises(ValueError, match="the membranes of layer 0 are not finite"):
        net.training_step(silence, y, optimiser=optimiser)
    assert (calls, optimiser.n_steps) == ([2, 2], 1)
    for W, same in zip(net.weights, kept, strict=True):
        np.testing.assert_array_equal(W, same)


def test_an_optimiser_of_another_kind_is_named():
    net, (x, y) = network(), batch(4)
    with pytest.raises(TypeError, match="optimiser must be"):
        net.training_step(x, y, optimiser="AdamW")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_an_input_that_is_not_finite_is_named(value, calls):
    net, (x, y) = network(dtype="float32"), batch(4)
    x[3, 1, 2, 0] = value
    in_float32 = " in float32" if np.isfinite(value) else ""
    with pytest.raises(ValueError, match=rf"x must be finite{in_float32}, got .* at index \[3, 1, 2, 0\]"):
        net.loss_and_gradients(x, y)
    assert calls == [2]


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(layer, value, calls):
    net, (x, y) = network(), batch(4)
    net.weights[layer][2, 3] = value
    with pytest.raises(ValueError, match=rf"weights\[{layer}\] must be finite"):
        net.loss_and_gradients(x, y)
    assert calls == [2]


def test_weights_that_are_too_large_are_an_error(calls):
    net, (x, y) = network(dtype="float32"), batch(4)
    net.weights[1][...] = 3e38
    with pytest.raises(ValueError, match="the membranes of layer 1 are not finite: weights or input are too large"):
        net.loss_and_gradients(x, y)
    assert calls == [2]


def test_weights_by_rows_by_columns_and_read_only(calls):
    net, (x, y) = network(), batch(5)
    value, gradients = net.loss_and_gradients(x, y)
    for lay_out in (np.ascontiguousarray, np.asfortranarray):
        net.weights = [lay_out(W) for W in net.weights]
        for W in net.weights:
            W.flags.writeable = False
        again, gradients_again = net.loss_and_gradients(x, y)
        assert again == pytest.approx(value, rel=1e-14)
        for gradient, same in zip(gradients, gradients_again, strict=True):
            np.testing.assert_allclose(gradient, same, rtol=1e-12, atol=1e-14)
    assert calls == [2, 2, 2]


def test_what_has_other_ways_takes_them(calls, monkeypatch):
    net, (x, y) = network(), batch(4)
    value, _ = net.loss_and_gradients(x.tolist(), y)
    assert calls == []
    assert net.loss_and_gradients(x, y)[0] == pytest.approx(value, rel=1e-12)
    assert calls == [2]
    net.loss_and_gradients(x, y, "count")
    net.loss_and_gradients(np.repeat(x[None], T, axis=0), y)
    network(spec="5C2-6").loss_and_gradients(x, y)
    monkeypatch.setattr(network_module, "SHARD_BYTES", 1)
    net.loss_and_gradients(x, y)
    assert calls == [2]
    with pytest.raises(ValueError, match="x must not be empty"):
        net.loss_and_gradients(x[:0], y[:0])


def test_which_layers_may_go_whole():
    dense = [Dense((6,), 5), Dense((5,), 5), Dense((5,), 3)]

    class Other(Dense):
        """Another map, for all that is known."""

    assert may_go_whole(dense, "kernel")
    assert may_go_whole(dense[:2], "spike-train")
    assert not may_go_whole(dense, "softmax")
    assert not may_go_whole(dense[:1], "kernel")
    assert not may_go_whole([dense[0], Dropout((5,), 0.5), dense[1]], "kernel")
    assert not may_go_whole([dense[0], Other((5,), 5)], "kernel")
    assert not may_go_whole([Conv2d((1, 4, 4), 2, 3, 0), Dense((2, 2, 2), 3)], "kernel")

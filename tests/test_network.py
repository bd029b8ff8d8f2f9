"""The network: shapes, prediction, shards, sparse and dense ways, dropout, gradients in the weights' order."""

import dataclasses

import numpy as np
import pytest
from conftest import relative_error
from tsslbp_ref.engine.buffers import KeptArrays, Shelf
from tsslbp_ref.engine.workers import Workers

import tsslbp_ref as tr
from tsslbp_ref.engine import signals
from tsslbp_ref.model import network as network_module
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, SumPool2d
from tsslbp_ref.model.network import Network

NEURON = tr.NeuronParameters(tau_m=8.0, tau_s=4.0)


def spikes(rng, density, shape=(12, 6, 2, 5, 5)):
    return (rng.random(shape) < density).astype(np.uint8)


def network(spec="20-15", shape=(2, 5, 5), n_steps=12, **keywords):
    settings = {"dtype": "float64", "weight_scale": 3.0, "seed": 1} | keywords
    return Network.from_spec(spec, shape, 4, n_steps, NEURON, **settings)


def test_shapes_all_the_way():
    net = network("3C3-P2-7", shape=(2, 6, 6), padding=1, n_steps=5)
    kinds = [(type(layer), layer.output_shape) for layer in net.layers]
    assert kinds == [(Conv2d, (3, 6, 6)), (SumPool2d, (3, 3, 3)), (Dense, (7,)), (Dense, (4,))]
    assert [W.shape for W in net.weights] == [(3, 2, 3, 3), (7, 27), (4, 7)]
    a = net.forward(np.random.default_rng(0).normal(size=(3, 2, 6, 6)))
    assert a.shape == (5, 3, 4)
    assert net.predict(np.zeros((3, 2, 6, 6))).shape == (3,)


def test_prediction_is_the_largest_summed_psc():
    net = network()
    x = spikes(np.random.default_rng(0), 0.4)
    assert np.array_equal(net.predict(x), net.forward(x).sum(axis=0).argmax(axis=1))


def test_sparse_and_dense_feeds_give_the_same(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = spikes(rng, 0.05), rng.integers(0, 4, 6)
    net = network(n_threads=1)
    assert isinstance(net._input_signal(net._plan(x), x), signals.SparseSpikeSignal)
    loss, gradients = net.loss_and_gradients(x, y)
    monkeypatch.setattr(signals, "SPARSE_DENSITY", 0.0)
    assert isinstance(net._input_signal(net._plan(x), x), signals.PSCSignal)
    dense_loss, dense_gradients = net.loss_and_gradients(x, y)
    assert loss == pytest.approx(dense_loss, rel=1e-12)
    for one, other in zip(gradients, dense_gradients, strict=True):
        assert relative_error(one, other) < 1e-12


def test_sparse_spikes_may_be_pooled_first(monkeypatch):
    rng = np.random.default_rng(2)
    x = spikes(rng, 0.05, (12, 3, 2, 4, 4))
    net = network("P2-9", shape=(2, 4, 4))
    pooled_spikes = SumPool2d((2, 4, 4), 2).forward(tr.psc_filter(x, NEURON), None)
    assert relative_error(net._input_signal(net._plan(x), x).through(net.layers[0], None).a, pooled_spikes) < 1e-12


@pytest.mark.parametrize("n_threads", [2, 3, 8])
def test_shards_change_only_the_order_of_sums(n_threads):
    rng = np.random.default_rng(3)
    x, y = spikes(rng, 0.3), rng.integers(0, 4, 6)
    loss, gradients = network(n_threads=1).loss_and_gradients(x, y, loss="softmax")
    other_loss, others = network(n_threads=n_threads).loss_and_gradients(x, y, loss="softmax")
    assert loss == pytest.approx(other_loss, rel=1e-12)
    for one, other in zip(gradients, others, strict=True):
        assert relative_error(other, one) < 1e-12


def test_the_same_thread_count_gives_the_same_bits():
    rng = np.random.default_rng(4)
    x, y = spikes(rng, 0.3), rng.integers(0, 4, 6)
    runs = [network(n_threads=2, dtype="float32").loss_and_gradients(x, y) for _ in range(2)]
    assert runs[0][0] == runs[1][0]
    for one, other in zip(runs[0][1], runs[1][1], strict=True):
        assert np.array_equal(one, other)


def test_dropout_draws_one_mask_for_all_steps_and_threads():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(6, 2, 5, 5)), rng.integers(0, 4, 6)
    dropped = [network(dropout=0.5, n_threads=n).loss_and_gradients(x, y, rng=np.random.default_rng(9)) for n in (1, 3)]
    assert dropped[0][0] == pytest.approx(dropped[1][0], rel=1e-12)
    whole, _ = network(dropout=0.5).loss_and_gradients(x, y)
    plain, _ = network(dropout=0.0).loss_and_gradients(x, y)
    assert whole == plain != dropped[0][0]


def test_dropout_masks():
    rng = np.random.default_rng(6)
    unit = Dropout((4, 10, 10), 0.2).draw_mask(50, rng, "float64")
    assert set(np.unique(unit)) == {0.0, 1.25}
    assert np.mean(unit == 0.0) == pytest.approx(0.2, abs=0.01)
    row = Dropout((4, 10, 10), 0.2, "row").draw_mask(50, rng, "float64")
    assert row.shape == (50, 4, 10, 1)
    assert np.mean(row == 0.0) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("name", "value"),
    [("neuron", tr.NeuronParameters(tau_m=5.0, tau_s=3.0)), ("rule", tr.GradientRule(inter="literal")), ("n_steps", 9)],
)
def test_what_is_worked_out_once_follows_a_change(name, value):
    rng = np.random.default_rng(3)
    x, y = 4.0 * rng.random((3, 2, 5, 5)), [0, 1, 2]
    changed, fresh = network(n_threads=1), network(n_threads=1)
    _, before = changed.loss_and_gradients(x, y)
    for net in (changed, fresh):
        setattr(net, name, value)
    for found, expected, old in zip(
        *(net.loss_and_gradients(x, y)[1] for net in (changed, fresh)), before, strict=True
    ):
        np.testing.assert_array_equal(found, expected)
        assert not np.array_equal(found, old)


def test_weights_are_assignable_one_by_one():
    net = network()
    x = spikes(np.random.default_rng(7), 0.4)
    before = net.forward(x)
    net.weights[-1] = np.zeros_like(net.weights[-1])
    assert before.any()
    assert not net.forward(x).any()


def test_initial_weights_follow_the_released_code():
    net = network("40C5-300", shape=(3, 12, 12), weight_scale=(5.0, 2.0), seed=3)
    conv, dense = net.weights[0], net.weights[1]
    bound = 5.0 / np.sqrt(3 * 25)
    assert np.abs(conv).max() <= bound
    assert conv.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert dense.std() == pytest.approx(2.0 * np.sqrt(2.0 / dense.shape[1]), rel=0.02)


def test_gradient_flow_joins_the_shards():
    rng = np.random.default_rng(8)
    x, y = spikes(rng, 0.3), rng.integers(0, 4, 6)
    alone, shared = network(n_threads=1).gradient_flow(x, y), network(n_threads=3).gradient_flow(x, y)
    assert [flow.delta.shape for flow in alone] == [(12, 6, 20), (12, 6, 15), (12, 6, 4)]
    for one, other in zip(alone, shared, strict=True):
        assert relative_error(other.delta, one.delta) < 1e-12
        assert np.array_equal(other.trace.s, one.trace.s)


def test_a_small_network_learns():
    """Gradient steps lower the loss: the sign of every gradient is right on the whole."""
    rng = np.random.default_rng(9)
    x, y = spikes(rng, 0.3), rng.integers(0, 4, 6)
    net = network()
    optimiser = tr.optim.AdamW(net.weights, learning_rate=5e-3)
    losses = []
    for _ in range(60):
        loss, gradients = net.loss_and_gradients(x, y)
        optimiser.step(gradients)
        losses.append(loss)
    assert losses[-1] < 0.3 * losses[0]


def test_memory_is_kept_from_step_to_step_and_never_handed_out():
    rng = np.random.default_rng(10)
    net = network(n_threads=1)
    x, y = spikes(rng, 0.3), rng.integers(0, 4, 6)
    _, gradients, a = net.training_step(x, y)
    copies = [a.copy(), *(gradient.copy() for gradient in gradients)]
    net.training_step(spikes(rng, 0.6), y)
    for array, copy in zip([a, *gradients], copies, strict=True):
        assert np.array_equal(array, copy)
    _, again, a_again = net.training_step(x, y)
    for array, copy in zip([a_again, *again], copies, strict=True):
        assert np.array_equal(array, copy)


def test_kept_arrays_are_the_same_memory_until_more_is_asked_for():
    kept = KeptArrays()
    first = kept.take("u", (3, 4), np.float32)
    assert np.shares_memory(first, kept.take("u", (2, 3), np.float32))
    assert not np.shares_memory(first, kept.take("a", (3, 4), np.float32))
    assert not np.shares_memory(first, kept.take("u", (4, 4), np.float32))
    assert kept.take("u", (4, 4), np.float64).dtype == np.float64


def test_a_borrowed_array_is_not_lent_twice():
    shelf = Shelf()
    with shelf.borrow() as one, shelf.borrow() as other:
        assert one is not other
    with shelf.borrow() as again:
        assert again in (one, other)


@pytest.mark.parametrize("loss", ["kernel", "count", "softmax"])
def test_a_batch_too_large_for_its_memory_is_taken_in_turns(loss, monkeypatch):
    rng = np.random.default_rng(11)
    x, y = spikes(rng, 0.3), rng.integers(0, 4, 6)
    value, gradients, _, flows = network(n_threads=2).training_pass(x, y, loss)
    monkeypatch.setattr(network_module, "SHARD_BYTES", 1)
    turns = network(n_threads=2)
    small_value, small_gradients, _, small_flows = turns.training_pass(x, y, loss)
    assert (len(flows), len(small_flows)) == (2, 6)
    assert small_value == pytest.approx(value, rel=1e-12)
    for one, other in zip(small_gradients, gradients, strict=True):
        assert relative_error(one, other) < 1e-12
    assert np.array_equal(turns.forward(x), network(n_threads=2).forward(x))


@pytest.mark.parametrize(("n_threads", "largest", "lengths"), [(1, None, [7]), (2, 2, [1, 2, 2, 2]), (3, 9, [2, 2, 3])])
def test_shards_are_as_many_for_every_thread(n_threads, largest, lengths):
    shards = Workers(n_threads).shards(7, largest)
    assert [shard.stop - shard.start for shard in shards] == lengths
    assert (shards[0].start, shards[-1].stop) == (0, 7)


@dataclasses.dataclass(frozen=True)
class _Halved(Dense):
    """A map of its own: I = W x / 2."""

    def forward(self, x, parameter, out=None):
        return super().forward(x, 0.5 * parameter, out)

    def adjoint(self, y, parameter, out=None):
        return super().adjoint(y, 0.5 * parameter, out)

    def weight_gradient(self, delta, x):
        return 0.5 * super().weight_gradient(delta, x)


def test_a_layer_derived_from_dense_keeps_its_own_map():
    rng = np.random.default_rng(13)
    weights = [rng.normal(size=shape) for shape in ((6, 7), (5, 6), (3, 5))]
    halved = [weights[0], 0.5 * weights[1], weights[2]]
    results = []
    for middle, W in ((_Halved((6,), 5), weights), (Dense((6,), 5), halved)):
        maps = [Dense((7,), 6), middle, Dense((5,), 3)]
        net = Network(maps, W, n_steps=6, neuron=NEURON, rule=tr.GradientRule(), dtype="float64", n_threads=1)
        results.append(net.loss_and_gradients(2.0 * np.ones((2, 7)), [0, 2]))
    (loss, gradients), (plain_loss, plain_gradients) = results
    assert loss == plain_loss
    assert gradients[1].any()
    for k, factor in enumerate((1.0, 0.5, 1.0)):
        np.testing.assert_allclose(gradients[k], factor * plain_gradients[k], rtol=1e-12)


def test_weights_that_are_not_finite_are_named():
    net = network(n_threads=1)
    net.weights[1][0] = np.nan
    with pytest.raises(ValueError, match=r"weights\[1\] must be finite, got nan"):
        net.forward(spikes(np.random.default_rng(12), 0.4))
    net.weights[1][0] = 1e308
    with (
        np.errstate(over="ignore"),
        pytest.raises(ValueError, match="membranes of layer 1 are not finite: weights or input are too large"),
    ):
        net.forward(np.full((6, 2, 5, 5), 1e10))

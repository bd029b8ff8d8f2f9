"""The network: shapes, prediction, dropout, constants by layer, networks as values, optimisers of other arrays."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from conftest import relative_error

import tsslbp_ref as tr
from tsslbp_ref.engine import FastEngine
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, SumPool2d
from tsslbp_ref.model.network import Network, PlainEngine
from tsslbp_ref.model.optim import AdamW

NEURON = tr.NeuronParameters(tau_m=8.0, tau_s=4.0)
X, Y = (np.random.default_rng(0).random((12, 6, 2, 5, 5)) < 0.3).astype(np.uint8), np.arange(6) % 4


def network(spec="20-15", shape=(2, 5, 5), n_steps=12, **keywords):
    settings = {"dtype": "float64", "weight_scale": 3.0, "seed": 1, "neuron": NEURON} | keywords
    return Network.from_spec(spec, shape, 4, n_steps, **settings)


def bits(net):
    loss, gradients, a = net.training_step(X, Y)
    return [np.float64(loss).tobytes(), *(array.tobytes() for array in [*gradients, a])]


# ---------------------------------------------------------------------------------------------------------------------
# What a network is made of
# ---------------------------------------------------------------------------------------------------------------------


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
    assert np.array_equal(net.predict(X), net.forward(X).sum(axis=0).argmax(axis=1))


def test_initial_weights_follow_the_released_code():
    net = network("40C5-300", shape=(3, 12, 12), weight_scale=(5.0, 2.0), seed=3)
    conv, dense = net.weights[0], net.weights[1]
    bound = 5.0 / np.sqrt(3 * 25)
    assert np.abs(conv).max() <= bound
    assert conv.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert dense.std() == pytest.approx(2.0 * np.sqrt(2.0 / dense.shape[1]), rel=0.02)


def test_dropout_masks():
    rng = np.random.default_rng(6)
    unit = Dropout((4, 10, 10), 0.2).draw_mask(50, rng, "float64")
    assert set(np.unique(unit)) == {0.0, 1.25}
    assert np.mean(unit == 0.0) == pytest.approx(0.2, abs=0.01)
    row = Dropout((4, 10, 10), 0.2, "row").draw_mask(50, rng, "float64")
    assert row.shape == (50, 4, 10, 1)
    assert np.mean(row == 0.0) == pytest.approx(0.2, abs=0.03)


def test_nothing_is_dropped_without_a_generator():
    whole, _ = network(dropout=0.5).loss_and_gradients(X, Y)
    dropped, _ = network(dropout=0.5).loss_and_gradients(X, Y, rng=np.random.default_rng(9))
    assert whole == network().loss_and_gradients(X, Y)[0] != dropped


# ---------------------------------------------------------------------------------------------------------------------
# Constants by layer
# ---------------------------------------------------------------------------------------------------------------------

BY_LAYER = [tr.NeuronParameters(8.0, 4.0), tr.NeuronParameters(5.0, 3.0, 0.8), tr.NeuronParameters(6.0, 2.0, 1.2)]


def test_one_neuron_for_all_layers_is_the_same_as_one_a_layer():
    assert network(neuron=[NEURON] * 3).neurons == network().neurons == (NEURON,) * 3
    assert bits(network(neuron=[NEURON] * 3)) == bits(network()) == bits(network(input_tau_s=4.0))
    assert network().input_tau_s == 4.0
    assert network(neuron=BY_LAYER[::-1]).input_tau_s == 2.0


@pytest.mark.parametrize("engine", [None, PlainEngine()], ids=["fast", "plain"])
def test_each_layer_has_its_own_constants(engine):
    """tau_m, tau_s and V of a layer, and the input's tau_s, each where it belongs: trace by trace."""
    net = network(neuron=BY_LAYER, input_tau_s=2.5, engine=engine)
    a = tr.psc_filter(X, tr.NeuronParameters(tau_s=2.5)).reshape(12, 6, -1)
    for W, neuron, flow in zip(net.weights, BY_LAYER, net.gradient_flow(X, Y), strict=True):
        trace = tr.lif_forward(a @ W.T, neuron)
        assert trace.s.any()
        assert relative_error(flow.trace.u, trace.u) < 1e-12
        a = trace.a
    assert relative_error(net.forward(X), a) < 1e-12


@pytest.mark.parametrize("engine", [None, PlainEngine()], ids=["fast", "plain"])
@pytest.mark.parametrize("name", ["neuron", "rule", "n_steps", "input_tau_s"])
def test_what_is_worked_out_once_follows_a_change(name, engine):
    value = {"neuron": BY_LAYER, "rule": tr.GradientRule(inter="literal"), "n_steps": 9, "input_tau_s": 2.0}[name]
    x, y = 4.0 * np.random.default_rng(3).random((3, 2, 5, 5)), [0, 1, 2]
    changed, fresh = (network(n_threads=1, engine=engine) for _ in range(2))
    before = changed.loss_and_gradients(x, y)[1]
    for net in (changed, fresh):
        setattr(net, name, value)
    pairs = zip(*(net.loss_and_gradients(x, y)[1] for net in (changed, fresh)), before, strict=True)
    for found, expected, old in pairs:
        np.testing.assert_array_equal(found, expected)
        assert not np.array_equal(found, old)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neuron": BY_LAYER[:2]}, "neuron must have one entry a layer of neurons, 3, got 2"),
        ({"neuron": []}, "neuron must have one entry a layer of neurons, 3, got 0"),
        ({"neuron": [NEURON, 5.0, NEURON]}, r"neuron\[1\] must be a NeuronParameters, got float"),
        ({"neuron": "5-3-1"}, "neuron must be a NeuronParameters, or a sequence of one a layer of neurons, got str"),
        ({"input_tau_s": 0.5}, "input_tau_s must be at least 1, got 0.5"),
        ({"input_tau_s": np.nan}, "input_tau_s must be finite, got nan"),
        ({"input_tau_s": "3"}, "input_tau_s must be a real number, got '3'"),
    ],
)
def test_constants_that_do_not_fit(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        network(**settings)
    net = network()
    with pytest.raises((ValueError, TypeError), match=message):
        setattr(net, *next(iter(settings.items())))


# ---------------------------------------------------------------------------------------------------------------------
# Networks are values
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "used"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("engine", [None, PlainEngine()], ids=["fast", "plain"])
def test_a_copy_gives_the_same_bits(copied, used, engine):
    net = network("3C3-P2-7", neuron=BY_LAYER, n_threads=2, engine=engine)
    wanted = bits(network("3C3-P2-7", neuron=BY_LAYER, n_threads=2, engine=engine))
    if used:
        bits(net)
    other = copied(net)
    assert type(other.engine) is type(net.engine)
    assert engine is not None or other.engine is not net.engine
    assert other.n_threads == 2
    assert bits(other) == bits(net) == wanted


def test_a_deep_copy_has_weights_of_its_own():
    net = network()
    other, wanted = copy.deepcopy(net), bits(net)
    other.weights[0][...] = 0.0
    assert bits(net) == wanted != bits(other)


def test_a_network_and_its_optimiser_are_pickled_together():
    net = network(n_threads=2)
    optimiser = AdamW(net.weights, 1e-2)
    net.training_step(X, Y, optimiser=optimiser)
    other, its_optimiser = pickle.loads(pickle.dumps((net, optimiser)))
    for one, own in ((net, optimiser), (other, its_optimiser)):
        one.training_step(X, Y, optimiser=own)
    for W, same in zip(net.weights, other.weights, strict=True):
        assert np.array_equal(W, same)


def test_a_spawned_process_takes_a_network_and_makes_a_step():
    """As joblib and dask do it: networks that were used or not go there, and the same bits come back."""
    nets = [network(n_threads=2), network("3C3-P2-7", n_threads=1)]
    wanted = [nets[0].training_step(X, Y), copy.deepcopy(nets[1]).training_step(X, Y)]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = [pool.submit(Network.training_step, net, X, Y).result(timeout=120) for net in nets]
    for one, other in zip(found, wanted, strict=True):
        assert one.loss == other.loss
        for array, same in zip([*one.gradients, one.output], [*other.gradients, other.output], strict=True):
            assert np.array_equal(array, same)


# ---------------------------------------------------------------------------------------------------------------------
# Weights and their optimiser
# ---------------------------------------------------------------------------------------------------------------------


def test_weights_are_assignable_one_by_one():
    net = network()
    before = net.forward(X)
    net.weights[-1] = np.zeros_like(net.weights[-1])
    assert before.any()
    assert not net.forward(X).any()


@pytest.mark.parametrize("layout", ["by rows", "by columns", "read-only", "foreign", "strided", "masked", "matrix"])
def test_weights_of_any_layout_give_the_same(layout):
    net = network()
    loss, gradients = net.loss_and_gradients(X, Y)
    change = {
        "by rows": np.ascontiguousarray,
        "by columns": np.asfortranarray,
        "read-only": lambda W: np.broadcast_to(W, W.shape),
        "foreign": lambda W: W.astype(">f8"),
        "strided": lambda W: np.repeat(W, 2, axis=1)[:, ::2],
        "masked": np.ma.masked_array,
        "matrix": lambda W: W.view(np.matrix),
    }[layout]
    net.weights = [change(W) for W in net.weights]
    found = net.loss_and_gradients(X, Y)
    assert found[0] == pytest.approx(loss, rel=1e-12)
    for one, other in zip(found[1], gradients, strict=True):
        assert type(one) is np.ndarray
        assert relative_error(one, other) < 1e-12


@pytest.mark.parametrize(
    "others",
    [
        lambda net: network().weights,
        lambda net: [W.copy() for W in net.weights],
        lambda net: [W.astype("float32") for W in net.weights],
        lambda net: net.weights[:2],
        lambda net: net.weights[::-1],
        lambda net: [W[:] for W in net.weights],
    ],
    ids=["another network", "copies", "float32", "fewer", "another order", "views"],
)
def test_an_optimiser_of_other_arrays(others):
    net = network()
    optimiser, before = AdamW(others(net)), [W.copy() for W in net.weights]
    with pytest.raises(
        ValueError, match=r"optimiser must hold this network's weights, got other arrays: AdamW\(net\.w"
    ):
        net.training_step(X, Y, optimiser=optimiser)
    assert optimiser.n_steps == 0
    assert all(np.array_equal(W, same) for W, same in zip(net.weights, before, strict=True))
    with pytest.raises(TypeError, match="optimiser must be a AdamW, got str"):
        net.training_step(X, Y, optimiser="adamw")


def test_weights_replaced_behind_the_optimiser():
    net = network()
    optimiser = AdamW(net.weights)
    net.training_step(X, Y, optimiser=optimiser)
    net.weights = [2.0 * W for W in net.weights]
    with pytest.raises(ValueError, match="optimiser must hold this network's weights"):
        net.training_step(X, Y, optimiser=optimiser)


@pytest.mark.parametrize("engine", [None, PlainEngine()], ids=["fast", "plain"])
def test_a_small_network_learns(engine):
    """Gradient steps lower the loss: the sign of every gradient is right on the whole."""
    net = network(engine=engine)
    optimiser = AdamW(net.weights, learning_rate=5e-3)
    losses = [net.training_step(X, Y, optimiser=optimiser).loss for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]


def test_a_copy_keeps_the_engine_that_was_given():
    copied = copy.deepcopy(network(engine=FastEngine(1)))
    assert copied.engine.threads.n_threads == 1
    assert isinstance(pickle.loads(pickle.dumps(network(engine=PlainEngine()))).engine, PlainEngine)


def test_another_number_of_threads_makes_another_engine():
    net = network(n_threads=1)
    assert net.engine.threads.n_threads == 1
    net.n_threads = 2
    assert net.engine.threads.n_threads == 2


@pytest.mark.parametrize("engine", ["plain", PlainEngine, 3])
def test_what_is_no_engine_is_named(engine):
    with pytest.raises(TypeError, match="engine must be an engine such as PlainEngine"):
        network(engine=engine)


def test_a_rule_by_name_is_refused_at_once():
    with pytest.raises(TypeError, match="rule must be a GradientRule, got str"):
        network().rule = "released"

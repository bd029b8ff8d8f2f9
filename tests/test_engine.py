"""The fast engine gives the plain loops' numbers on any number of threads; the check table has the literal loops."""

from __future__ import annotations

import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import relative_error
from threadpoolctl import threadpool_limits

import tsslbp_ref as tr
from tsslbp_ref import engine
from tsslbp_ref.engine import batch, convolution, dense, inputs
from tsslbp_ref.engine.pooled import neurons_and_pool
from tsslbp_ref.model import reference_layers
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, SumPool2d
from tsslbp_ref.model.network import Network, PlainEngine
from tsslbp_ref.model.parameters import named_rules

NEURON = tr.NeuronParameters(5.0, 3.0)
TOLERANCE = 1e-12
SHAPE, N_CLASSES = (2, 9, 9), 3  # odd feature maps: their last row and column fill no block


def network(spec, n_steps=7, **settings):
    options = {"dtype": "float64", "weight_scale": 8.0, "seed": 2, "neuron": NEURON} | settings
    return Network.from_spec(spec, SHAPE, N_CLASSES, n_steps, **options)


def fed(kind, n_steps=7, size=5, seed=1):
    """Static images, or spike trains as rare as events are or not."""
    rng = np.random.default_rng(seed)
    if kind == "static":
        return rng.random((size, *SHAPE))
    return (rng.random((n_steps, size, *SHAPE)) < {"spikes": 0.3, "sparse": 0.05}[kind]).astype(np.uint8)


def numbers(net, x, loss="kernel", seed=None):
    """All arrays of a training step, and the output of a test pass."""
    y = np.arange(net.batch_size(x)) % N_CLASSES
    if loss == "spike-train":
        y = np.random.default_rng(3).random((net.n_steps, len(y), N_CLASSES)) < 0.3
    rng = None if seed is None else np.random.default_rng(seed)
    value, gradients, a = net.training_step(x, y, loss, rng=rng)
    return [np.array(value), *gradients, a, net.forward(x)]


def check_equal(found, wanted, tolerance=TOLERANCE):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1.0, np.abs(other).max()))


# ---------------------------------------------------------------------------------------------------------------------
# The same numbers
# ---------------------------------------------------------------------------------------------------------------------


CASES = [
    # spec, input, n_steps, batch, threads, bytes of a shard, loss
    ("3C3-P2-4", "static", 1, 5, 2, None, "kernel"),
    ("3C3-P2-4", "spikes", 7, 5, 3, 1, "softmax"),
    ("P2-3C2-P2-4", "static", 7, 1, 2, None, "count"),
    ("P2-3C2-P2-4", "sparse", 7, 5, 2, 1, "kernel"),
    ("2C3-P3-3C2", "static", 2, 5, 1, 1, "kernel-paper"),
    ("2C2-P2-P2-5-4", "static", 30, 5, 2, None, "spike-train"),
    ("12C3-P3-6C2-8", "static", 7, 40, 2, None, "kernel"),  # tiles, and several feature maps at once
    ("6-5", "static", 1, 5, 2, None, "kernel"),
    ("6-5", "sparse", 30, 5, 3, 1, "spike-train"),
    ("6-5", "static", 30, 7, 3, 1, "softmax"),
    ("6-5-5", "static", 2, 1, 1, None, "kernel"),  # the longest chain
    ("6-5-5-4", "static", 7, 5, 2, 1, "kernel"),  # too long for one
    ("6-5-5-4-4-4", "sparse", 30, 5, 2, None, "count"),
    ("500-450", "static", 12, 40, 2, None, "kernel"),  # spike patterns, in blocks of samples
]


@pytest.mark.filterwarnings("ignore:loss 'kernel' teaches nothing")  # in one step
@pytest.mark.parametrize(("spec", "kind", "n_steps", "size", "n_threads", "shard_bytes", "loss"), CASES)
def test_larger_networks_agree_with_the_plain_loops(
    spec, kind, n_steps, size, n_threads, shard_bytes, loss, monkeypatch
):
    if shard_bytes is not None:
        monkeypatch.setattr(engine, "SHARD_BYTES", shard_bytes)
    x = fed(kind, n_steps, size)
    wanted = numbers(network(spec, n_steps, engine=PlainEngine()), x, loss)
    assert n_steps < 3 or all(dW.any() for dW in wanted[1:-2])
    check_equal(numbers(network(spec, n_steps, n_threads=n_threads), x, loss), wanted)


def test_the_cases_take_every_way_through_the_engine():
    def layers(number):
        return network(CASES[number][0]).layers

    assert [engine.is_chain(layers(number)) for number in (7, 10, 11)] == [True, True, False]
    assert len(layers(10)) == dense.MOST_LAYERS
    assert not engine.is_chain([Dense((2,), 2)])
    net = network("3C3-P2-4", n_threads=1)
    net.training_step(fed("static"), np.arange(5) % 3)
    kept = net.engine._buffers._free[0]._flat
    assert (1, "a") in kept  # pooled PSCs, and no membranes below them
    assert not {(0, "u"), (0, "a"), (1, "g")} & set(kept)


class Halved(Dense):
    """A map of its own: I = W x / 2."""

    def forward(self, x, parameter):
        return super().forward(x, 0.5 * parameter)

    def adjoint(self, y, parameter):
        return super().adjoint(y, 0.5 * parameter)

    def weight_gradient(self, delta, x):
        return 0.5 * super().weight_gradient(delta, x)


class Mirrored(SumPool2d):
    """A map of its own: the pooled image from right to left."""

    def forward(self, x, parameter):
        return super().forward(x, parameter)[..., ::-1]

    def adjoint(self, y, parameter):
        return super().adjoint(y[..., ::-1], parameter)


@pytest.mark.parametrize("kind", ["static", "sparse"])
@pytest.mark.parametrize(
    "layers",
    [
        [Dense(SHAPE, 6), Halved((6,), 5), Dense((5,), 3)],
        [Halved(SHAPE, 6), Dense((6,), 3)],
        [Conv2d(SHAPE, 3, 2, 0), Mirrored((3, 8, 8), 2), Dense((3, 4, 4), 3)],
        [Mirrored(SHAPE, 2), Conv2d((2, 4, 4), 3, 2, 0), SumPool2d((3, 3, 3), 3), Dense((3, 1, 1), 3)],
        [Dropout(SHAPE, 0.5), Conv2d(SHAPE, 2, 2, 1), Dropout((2, 10, 10), 0.5, "row"), Dense((2, 10, 10), 3)],
        [Conv2d(SHAPE, 2, 3, 0), Conv2d((2, 7, 7), 3, 4, 0)],
    ],
    ids=["halved", "halved-first", "mirrored", "mirrored-first", "dropout", "convolution-last"],
)
def test_layers_that_no_spec_names(layers, kind):
    rng = np.random.default_rng(5)
    weights = [rng.normal(0.1, 1.0, layer.weight_shape) for layer in layers if layer.weight_shape is not None]
    x, results = fed(kind), []
    for one in (PlainEngine(), None):
        net = Network(
            layers, weights, n_steps=7, neuron=NEURON, rule=tr.GradientRule(), dtype="float64", n_threads=2, engine=one
        )
        results.append(numbers(net, x, seed=4))
    assert all(dW.any() for dW in results[0][1:-2])
    assert results[0][-1].shape == (7, 5, math.prod(layers[-1].output_shape))
    check_equal(*results)


# ---------------------------------------------------------------------------------------------------------------------
# Silence: steps and images that are passed over
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer", [Dense((2, 5, 6), 4), Conv2d((2, 5, 6), 3, 3, 0), Conv2d((2, 5, 6), 3, 3, 1)], ids=str
)
@pytest.mark.parametrize(
    ("silent", "first"),
    [
        ([[0, 0, 0]] * 4, 0),
        ([[1, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 1]], 2),
        ([[1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1]], 0),
        ([[1, 1, 1]] * 4, 3),
    ],
    ids=["none", "at the start", "scattered", "all"],
)
def test_silence_changes_nothing(layer, silent, first):
    rng = np.random.default_rng(1)
    a = rng.random((4, 3, *layer.input_shape))
    a[np.asarray(silent, bool)] = 0.0
    W, delta = rng.normal(size=layer.weight_shape), rng.normal(size=(4, 3, *layer.output_shape))
    fed, I = inputs.PSCInput(a), np.full(delta.shape, np.nan)
    assert fed.first == first
    fed.weighted_input(layer, W, I)
    if isinstance(layer, Dense):
        wanted, wanted_dW = a.reshape(4, 3, -1) @ W.T, np.einsum("tbo,tbi->oi", delta, a.reshape(4, 3, -1))
    else:
        images, deltas = a.reshape(12, *layer.input_shape), delta.reshape(12, *layer.output_shape)
        wanted = reference_layers.conv2d_forward(images, W, layer.padding).reshape(I.shape)
        wanted_dW = reference_layers.conv2d_weight_gradient(deltas, images, layer.padding)
    check_equal([I, fed.weight_gradient(layer, delta)], [wanted, wanted_dW])


def test_active_images_are_those_with_a_number_and_the_last():
    images = np.zeros((5, 2, 3, 3))
    images[1, 1, 2, 2] = images[3, 0, 0, 0] = 1.0
    assert convolution.active_images(images).tolist() == [1, 3, 4]


# ---------------------------------------------------------------------------------------------------------------------
# The same bits
# ---------------------------------------------------------------------------------------------------------------------

BITS = [("500-400", "static"), ("4C3-P2-20", "static"), ("30-20", "sparse"), ("4C3-P2-20", "spikes")]


def bits(net, x):
    return [array.tobytes() for array in numbers(net, x)]


@pytest.mark.parametrize(("spec", "kind"), BITS)
def test_the_same_thread_count_gives_the_same_bits(spec, kind, monkeypatch):
    """In a fresh network, in memory that another batch was in, and where BLAS had two threads."""
    x, n_threads = fed(kind, size=24), 2
    wanted = bits(network(spec, dtype="float32", n_threads=n_threads), x)
    net = network(spec, dtype="float32", n_threads=n_threads)
    numbers(net, fed(kind, size=31, seed=8))
    with threadpool_limits(limits=2, user_api="blas"):
        assert bits(net, x) == wanted
    monkeypatch.setattr(engine, "SHARD_BYTES", 1 << 18)
    assert bits(net, x) == bits(network(spec, dtype="float32", n_threads=n_threads), x)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(("spec", "kind"), BITS)
def test_passes_at_one_time_give_the_same_bits(spec, kind, n_threads):
    net, batches = network(spec, dtype="float32", n_threads=n_threads), [fed(kind, size=24, seed=n) for n in range(4)]
    wanted = [bits(net, x) for x in batches]
    with threadpool_limits(limits=2, user_api="blas"), ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert list(pool.map(lambda x: bits(net, x), batches)) == wanted


def test_results_are_never_overwritten():
    net, y = network("6-5", n_threads=1), np.arange(5) % 3
    result = net.training_step(fed("spikes"), y)
    arrays = [result.output, *result.gradients]
    copies = [array.copy() for array in arrays]
    net.training_step(fed("static"), y)
    for array, copy in zip(arrays, copies, strict=True):
        assert np.array_equal(array, copy)


@pytest.mark.parametrize("spec", ["6-5", "3C3-P2-4"])
def test_a_forked_process_computes_the_same(spec):
    net, x = network(spec, n_threads=2), fed("static")
    wanted = bits(net, x)
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # threads of the parent's would be waited for without end
        os._exit(0 if bits(net, x) == wanted else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---------------------------------------------------------------------------------------------------------------------
# Rules that ask for firing rates
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, rule in named_rules().items() if rule.needs_firing_rate])
@pytest.mark.parametrize(
    ("spec", "kind", "dropout"), [("8-6", "static", 0.0), ("8-6", "static", 0.4), ("3C3-P2-6", "spikes", 0.4)]
)
def test_firing_rates_are_those_of_the_whole_batch(name, spec, kind, dropout):
    """Half of the batch is nearly dark, so that a shard's firing rate says something else than the batch's."""
    x = fed(kind, size=6)
    (x if kind == "static" else np.moveaxis(x, 0, 1))[3:] = 0
    settings = {"rule": named_rules()[name], "dropout": dropout}
    plain = network(spec, engine=PlainEngine(), **settings)
    rates = [flow.trace.s.mean(axis=(0, 2)) for flow in plain.gradient_flow(x, [0] * 6)]
    assert any(rate.mean() > 0.1 >= rate[3:].mean() for rate in rates)
    wanted = numbers(plain, x, seed=4)
    for n_threads in (1, 2, 3):
        check_equal(numbers(network(spec, n_threads=n_threads, **settings), x, seed=4), wanted)


@pytest.mark.parametrize(("name", "n_passes"), [("released", 1), ("june-2020", 2), ("november-2020", 2)])
@pytest.mark.parametrize(("spec", "way"), [("8-6", dense.DenseChain), ("3C3-P2-6", batch.LayerByLayer)])
def test_a_counting_pass_is_made_only_where_the_rule_asks_for_it(name, n_passes, spec, way, monkeypatch):
    forward, made = way.forward, []
    monkeypatch.setattr(way, "forward", lambda self, *arguments: made.append(1) or forward(self, *arguments))
    net = network(spec, n_threads=1, rule=named_rules()[name])
    net.training_step(fed("static"), np.arange(5) % 3, "count")
    assert len(made) == n_passes


# ---------------------------------------------------------------------------------------------------------------------
# Numbers that are not finite
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("one", [None, PlainEngine()], ids=["fast", "plain"])
@pytest.mark.parametrize("spec", ["6", "6-5-5-4-4", "2C3-P2"])
def test_a_membrane_that_overflows_names_its_place(spec, one):
    net = network(spec, 3, dtype="float32", n_threads=2, engine=one)  # so that no other step has it
    net.weights[0][...] = 0.0
    net.weights[0][1].flat[0] = -1.0
    x = np.zeros((4, *SHAPE))
    x[2, 0, 0, 0] = 3e38  # u = -3e38 (1/3, 5/9 + 4/5 1/3, ...)
    neuron = 49 if spec == "2C3-P2" else 1
    message = (
        "the membranes of layer 0 are not finite, weights or input are too large: "
        f"-inf at step 2, sample 2, neuron {neuron}$"
    )
    with pytest.raises(ValueError, match=message):
        net.forward(x)
    for loss in ("kernel", "softmax"):
        with pytest.raises(ValueError, match=message):
            net.training_step(x, [0] * 4, loss)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("one", [None, PlainEngine()], ids=["fast", "plain"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(("spec", "kind"), [("6-5", "static"), ("6-5", "sparse"), ("3C3-P2-5", "static")])
def test_a_weight_that_is_not_finite_is_named_where_nothing_touches_it(spec, kind, bad, one):
    """No event, no spike of the layer below, no light."""
    for index in (0, 1):
        net = network(spec, n_threads=1, engine=one, weight_scale=1e-3)
        x = fed(kind)
        x[..., 0] = 0
        assert not net.forward(x).any()
        place = (1,) + (0,) * (net.weights[index].ndim - 1)
        net.weights[index][place] = bad
        message = rf"weights\[{index}\] must be finite, got {bad} at index \[{', '.join(map(str, place))}\]"
        with pytest.raises(ValueError, match=message):
            net.forward(x)
        with pytest.raises(ValueError, match=message):
            net.training_step(x, np.arange(5) % 3)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("shape", [(3, 7, 9), (2, 6, 6), (1, 3, 40)])
def test_pooling_by_pairs_and_by_any_size(size, shape):
    layer, rng = SumPool2d(shape, size, 1.1), np.random.default_rng(2)
    x, y = rng.normal(size=(4, *layer.input_shape)), rng.normal(size=(4, *layer.output_shape))
    pooled, back = np.full(y.shape, np.nan), np.full(x.shape, np.nan)
    batch.maps.forward(layer, x, None, pooled)
    batch.maps.adjoint(layer, y, None, back)
    assert relative_error(pooled, reference_layers.sum_pool2d_forward(x, size, 1.1)) < TOLERANCE
    assert relative_error(back, reference_layers.sum_pool2d_adjoint(y, size, 1.1, shape[1:])) < TOLERANCE


@pytest.mark.parametrize("padding", [0, 1])
def test_a_last_tile_that_is_not_full(padding, monkeypatch):
    monkeypatch.setattr(convolution, "_tile", lambda layer: 4)
    layer, rng = Conv2d((2, 5, 6), 3, 3, padding), np.random.default_rng(6)
    x, W, delta = (rng.normal(size=size) for size in ((10, 2, 5, 6), layer.weight_shape, (10, *layer.output_shape)))
    I, g = np.full(delta.shape, np.nan), np.full(x.shape, np.nan)
    convolution.forward(layer, x, W, I)
    convolution.adjoint(layer, delta, W, g)
    found = [I, g, convolution.weight_gradient(layer, delta, x)]
    wanted = [
        reference_layers.conv2d_forward(x, W, padding),
        reference_layers.conv2d_adjoint(delta, W, padding, (5, 6)),
        reference_layers.conv2d_weight_gradient(delta, x, padding),
    ]
    check_equal(found, wanted)


def test_pooling_sees_a_membrane_that_overflows_in_the_last_step():
    Wx, gain = np.full((1, 2, 2), -3e38, np.float32), np.ones(2, np.float32)
    neuron, a = (np.float32(value) for value in (0.2, 0.3, 1.0)), np.empty((2, 1, 1, 1), np.float32)
    with np.errstate(over="ignore"):
        assert not neurons_and_pool(Wx, gain, *neuron, 2, np.float32(1.0), a)

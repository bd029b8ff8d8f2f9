"""Spike trains read as words give the plain product's numbers, whatever fires, and are left where they do not pay."""

import numpy as np
import pytest
from conftest import relative_error
from hypothesis import given, settings
from hypothesis import strategies as st
from tsslbp_ref.engine.fast_words import find_words, weight_gradient, weighted_input, word_length

import tsslbp_ref as tr
from tsslbp_ref.engine import fast_dense, fast_words, layer_runs, signals
from tsslbp_ref.model.layers import Conv2d, Dense
from tsslbp_ref.model.trace import Trace

NEURON = tr.NeuronParameters(5.0, 3.0)
N_OUT = 7
TOLERANCE = 1e-12


def trace_of(s):
    """A trace whose membranes are above the threshold where s is 1."""
    s = np.asarray(s, dtype="float64")
    return Trace(2.0 * s, tr.fast.psc_filter(s, NEURON), NEURON.threshold)


def firing(shape, density=0.3, seed=0):
    return np.random.default_rng(seed).random(shape) < density


def check_products(s, n_out=N_OUT):
    """Both products against the plain ones."""
    rng = np.random.default_rng(1)
    trace = trace_of(s)
    W, delta = rng.normal(size=(n_out, s.shape[2])), rng.normal(size=(*s.shape[:2], n_out))
    words = find_words(trace)
    I, dW = np.einsum("oi,tbi->tbo", W, trace.a), np.einsum("tbo,tbi->oi", delta, trace.a)
    found = weighted_input(words, W, NEURON)
    np.testing.assert_allclose(found, I, rtol=0, atol=TOLERANCE * max(1.0, np.abs(I).max()))
    found = weight_gradient(words, delta, NEURON)
    np.testing.assert_allclose(found, dW, rtol=0, atol=TOLERANCE * max(1.0, np.abs(dW).max()))


def wide_network(**settings):
    """Three layers of neurons, the second of them wide enough to follow words."""
    arguments = {"dtype": "float64", "weight_scale": 1.5, "n_threads": 1, "seed": 2} | settings
    return tr.Network.from_spec(f"30-{fast_words.FEWEST_NEURONS}", (1, 4, 4), 3, 10, NEURON, **arguments)


def pictures(n=5):
    return np.random.default_rng(2).random((n, 1, 4, 4)), np.arange(n) % 3


# ---------------------------------------------------------------------------------------------------------------------
# Words
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_steps", "steps"), [(1, 1), (4, 4), (5, 5), (6, 3), (7, 4), (10, 5), (11, 4), (300, 5)])
def test_pieces_are_of_one_length_and_few(n_steps, steps):
    assert word_length(n_steps) == steps


@pytest.mark.parametrize("n_steps", [1, 2, 5, 6, 7, 13])
def test_every_neuron_is_listed_by_its_word(n_steps):
    s = firing((n_steps, 3, 21))
    words = find_words(trace_of(s))
    k = word_length(n_steps)
    pieces = -(-n_steps // k)
    assert words.shape == (pieces, 3 << k, 21)
    spelled = np.zeros((pieces, 3, 1 << k, 21))
    for piece in range(pieces):
        bits = s[piece * k : (piece + 1) * k]
        word = np.einsum("t,tbi->bi", 1 << np.arange(len(bits)), bits)
        for b, i in np.argwhere(word > 0):
            spelled[piece, b, word[b, i], i] = 1.0
    assert np.array_equal(words.dense().reshape(spelled.shape), spelled)


def test_the_threshold_itself_is_silent():
    u = np.full((4, 2, 3), NEURON.threshold)
    assert len(find_words(Trace(u, np.zeros_like(u), NEURON.threshold))) == 0


# ---------------------------------------------------------------------------------------------------------------------
# Products
# ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 30)),
    n_out=st.integers(1, 9),
    density=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_over_words(shape, n_out, density, seed):
    check_products(firing(shape, density, seed), n_out)


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 80])
def test_blocks_of_samples_do_not_show(batch):
    assert fast_words.SAMPLES_A_BLOCK == 32
    check_products(firing((7, batch, 11)))


def test_nobody_fires():
    check_products(np.zeros((6, 3, 9), bool))


def test_float32_in_float32():
    s, rng = firing((9, 6, 40)), np.random.default_rng(4)
    wide = trace_of(s)
    trace = Trace(wide.u.astype("float32"), wide.a.astype("float32"), wide.threshold)
    W, delta = rng.normal(size=(N_OUT, 40)).astype("float32"), rng.normal(size=(9, 6, N_OUT)).astype("float32")
    words = find_words(trace)
    wanted = np.einsum("oi,tbi->tbo", W, wide.a), np.einsum("tbo,tbi->oi", delta, wide.a)
    for found, expected in zip(
        (weighted_input(words, W, NEURON), weight_gradient(words, delta, NEURON)), wanted, strict=True
    ):
        assert found.dtype == np.float32
        assert relative_error(found, expected) < 1e-5


def test_bad_arguments_are_named():
    words, W = find_words(trace_of(firing((7, 4, 6)))), np.zeros((3, 6))
    with pytest.raises(ValueError, match=r"W must have shape \(5, 6\)"):
        weighted_input(words, np.zeros((5, 7)), NEURON)
    with pytest.raises(ValueError, match="W must be float64 as the events' values, got float32"):
        weighted_input(words, W.astype("float32"), NEURON)
    with pytest.raises(ValueError, match=r"out must have shape \(7, 4, 3\)"):
        weighted_input(words, W, NEURON, np.zeros((7, 3, 3)))
    with pytest.raises(ValueError, match=r"delta must have shape \(7, 4, 3\)"):
        weight_gradient(words, np.zeros((7, 5, 3)), NEURON)
    with pytest.raises(ValueError, match=r"delta must have shape \(7, 4, 3\)"):
        weight_gradient(words, np.zeros((8, 4, 3)), NEURON)
    with pytest.raises(ValueError, match=r"trace.u must have shape \(T, B, n\), got \(3, 4\)"):
        find_words(Trace(np.zeros((3, 4)), np.zeros((3, 4)), 1.0))
    with pytest.raises(TypeError, match="trace must be"):
        find_words(np.zeros((3, 4, 2)))
    with pytest.raises(ValueError, match="n_steps must be at least 1"):
        word_length(0)
    with pytest.raises(ValueError, match="delta must be float64"):
        weight_gradient(words, np.zeros((7, 4, 3), "float32"), NEURON)


# ---------------------------------------------------------------------------------------------------------------------
# In a network
# ---------------------------------------------------------------------------------------------------------------------


def test_a_network_gives_the_same_with_words_and_with_products(monkeypatch):
    x, y = pictures()
    flows = wide_network().gradient_flow(x, y)
    words, u = find_words(flows[0].trace), flows[0].trace.u
    assert len(words) > 0
    assert fast_words.few_spell(words.inputs, u, word_length(len(u)))
    by_words = wide_network().loss_and_gradients(x, y)
    monkeypatch.setattr(layer_runs, "may_follow_words", lambda layer: False)
    by_products = wide_network().loss_and_gradients(x, y)
    assert relative_error(by_words[0], by_products[0]) < TOLERANCE
    for found, expected in zip(by_words[1], by_products[1], strict=True):
        assert relative_error(found, expected) < TOLERANCE
        assert np.abs(expected).max() > 0


def test_the_same_bits_twice():
    x, y = pictures(50)
    once, twice = (wide_network(dtype="float32", n_threads=2).loss_and_gradients(x, y)[1] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))


def test_weights_by_rows_and_by_columns_give_the_same():
    x, y = pictures()
    net = wide_network()
    assert all(W.flags.f_contiguous for W in net.weights)
    expected = net.loss_and_gradients(x, y)
    net.weights = [np.ascontiguousarray(W) for W in net.weights]
    found = net.loss_and_gradients(x, y)
    assert found[0] == expected[0]
    assert all(relative_error(a, b) < TOLERANCE for a, b in zip(found[1], expected[1], strict=True))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_of_a_silent_neuron_that_is_not_finite_shows(bad):
    x, _ = pictures()
    net = wide_network()
    net.weights[0][4] = -1.0  # so that neuron 4 is silent
    net.weights[1][5, 4] = bad
    with pytest.raises(ValueError, match=r"weights\[1\] must be finite"):
        net.forward(x)


def test_where_nearly_all_fire_the_plain_product_is_taken():
    T, B, n = 5, 4, 10
    k = word_length(T)
    assert 0.4 < fast_words.SHARE_A_STEP * k < 0.5
    for share, followed in ((0.4, True), (0.5, False)):
        u = np.zeros((T, B, n))
        u[0, :, : round(share * n)] = 2.0
        inputs = find_words(Trace(u, u, NEURON.threshold)).inputs
        assert fast_words.few_spell(inputs, u, k) == followed
        assert fast_dense._is_followed(fast_dense._words_to_follow(u, NEURON.threshold, k, True)) == followed
        assert not fast_dense._is_followed(fast_dense._words_to_follow(u, NEURON.threshold, k, False))


def test_only_fully_connected_layers_of_some_size_follow_words():
    size = fast_words.FEWEST_NEURONS

    class Other(Dense):
        """Another map, for all that is known."""

    assert signals.may_follow_words(Dense((6,), size))
    assert not signals.may_follow_words(Dense((6,), size - 1))
    assert not signals.may_follow_words(Conv2d((1, 6, 6), size, 3, 0))
    assert not signals.may_follow_words(Other((6,), size))


def test_a_weight_that_is_not_finite_shows_in_the_input_of_a_single_layer():
    s = firing((5, 3, 20), 0.1)
    s[:, :, 4] = False
    trace = trace_of(s)
    signal, layer = signals.NeuronSignal(trace.a, trace, NEURON), Dense((20,), fast_words.FEWEST_NEURONS)
    assert signal._follows_words(layer)
    W = np.ones(layer.weight_shape)
    W[7, 4] = np.nan
    assert np.isnan(signal.weighted_input(layer, W)[..., 7]).all()


@pytest.mark.parametrize("masked", [True, False])
def test_words_behind_dropout(masked, monkeypatch):
    """A mask scales and silences PSCs, and no word is left to follow; in a test pass nothing is masked."""
    net = wide_network(dropout=0.5)
    x, y = pictures()

    def run():
        if masked:
            return net.loss_and_gradients(x, y, rng=np.random.default_rng(0))[1][1]
        return net.forward(x)

    found = run()
    used = []
    right = layer_runs.DenseRun.of
    monkeypatch.setattr(layer_runs.DenseRun, "of", lambda *args: used.append(right(*args)) or used[-1])
    assert np.array_equal(run(), found)
    assert any(r.by_words[0] for r in used) == (not masked)
    monkeypatch.setattr(layer_runs, "may_follow_words", lambda layer: False)
    assert relative_error(run(), found) < TOLERANCE


def test_read_only_weights():
    x, y = pictures()
    net = wide_network()
    expected = net.loss_and_gradients(x, y)[0]
    net.weights[1].flags.writeable = False
    assert net.loss_and_gradients(x, y)[0] == expected

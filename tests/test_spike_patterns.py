"""Products by spike patterns give the plain product's numbers, whatever fires, and are left where they do not pay."""

import numpy as np
import pytest
from conftest import relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

import tsslbp_ref as tr
from tsslbp_ref.engine import dense
from tsslbp_ref.engine.spike_patterns import (
    FEWEST_NEURONS,
    SAMPLES_A_BLOCK,
    SHARE_A_STEP,
    pattern_length,
    patterns_of,
    weight_gradient_sweep,
    weighted_input_sweep,
)

NEURON = tr.NeuronParameters(5.0, 3.0)
N_OUT = 7
TOLERANCE = 1e-12


def firing(shape, density=0.3, seed=0):
    return np.random.default_rng(seed).random(shape) < density


def membranes(s, dtype="float64"):
    """Membranes above the threshold where s is 1, and at the threshold itself, where no neuron fires, elsewhere."""
    return np.where(s, 2.0, 1.0).astype(dtype) * NEURON.threshold


def check_products(s, n_out=N_OUT, dtype="float64", tolerance=TOLERANCE):
    """Both products against the plain ones, in float64."""
    rng, k = np.random.default_rng(1), pattern_length(len(s))
    W, delta = rng.normal(size=(n_out, s.shape[2])), rng.normal(size=(*s.shape[:2], n_out))
    patterns, theta_s = patterns_of(membranes(s, dtype), NEURON.threshold, k), np.dtype(dtype).type(NEURON.theta_s)
    I, dW_transposed = np.empty(delta.shape, dtype), np.empty(W.T.shape, dtype)
    weighted_input_sweep(*patterns, np.ascontiguousarray(W.T.astype(dtype)), theta_s, k, I)
    weight_gradient_sweep(*patterns, delta.astype(dtype), theta_s, k, dW_transposed)
    a = tr.psc_filter(s, NEURON)
    for found, wanted in ((I, np.einsum("oi,tbi->tbo", W, a)), (dW_transposed.T, np.einsum("tbo,tbi->oi", delta, a))):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * max(1.0, np.abs(wanted).max()))


@pytest.mark.parametrize(("n_steps", "k"), [(1, 1), (4, 4), (5, 5), (6, 3), (7, 4), (10, 5), (11, 4), (300, 5)])
def test_segments_are_of_one_length_and_few(n_steps, k):
    assert pattern_length(n_steps) == k


@pytest.mark.parametrize("n_steps", [1, 2, 5, 6, 7, 13])
def test_every_neuron_is_listed_by_its_pattern(n_steps):
    s, k = firing((n_steps, 3, 21)), pattern_length(n_steps)
    starts, inputs, values = patterns_of(membranes(s), NEURON.threshold, k)
    wanted, row = [], 0
    for first in range(0, n_steps, k):
        for b in range(3):
            pattern = [sum(1 << j for j, fired in enumerate(s[first : first + k, b, i]) if fired) for i in range(21)]
            for p in range(1 << k):
                own = [i for i in range(21) if pattern[i] == p > 0]
                assert inputs[starts[row] : starts[row + 1]].tolist() == own
                wanted += own
                row += 1
    assert inputs.tolist() == wanted != []
    assert len(starts) == row + 1
    assert (values == 1.0).all()


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 40), st.integers(1, 30)),
    n_out=st.integers(1, 9),
    density=st.floats(0.0, 1.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_over_patterns(shape, n_out, density, seed):
    check_products(firing(shape, density, seed), n_out)


@pytest.mark.parametrize("batch", [1, 31, 32, 33, 80])
def test_blocks_of_samples_do_not_show(batch):
    assert SAMPLES_A_BLOCK == 32
    check_products(firing((7, batch, 11)))


def test_float32_in_float32():
    check_products(firing((9, 6, 40)), dtype="float32", tolerance=1e-5)


def wide_network(**settings):
    """Three layers of neurons, the second of them wide enough to follow patterns."""
    arguments = {"dtype": "float64", "weight_scale": 1.5, "n_threads": 1, "seed": 2} | settings
    return tr.Network.from_spec(f"30-{FEWEST_NEURONS}", (1, 4, 4), 3, 10, NEURON, **arguments)


def followed_layers(net, x):
    """Whether the spike patterns of what feeds each layer behind the first are followed."""
    chain = dense.DenseChain(net)
    u = [flow.trace.u for flow in net.gradient_flow(x, np.zeros(len(x), int))]
    lists = [
        dense._patterns_to_follow(u[i], net.neurons[i].threshold, chain.k, bool(chain.follow[i + 1])) for i in (0, 1)
    ]
    return [len(patterns[0]) > 0 for patterns in lists]


@pytest.mark.parametrize("weight_scale", [1.5, 6.0])
def test_a_wide_layer_follows_patterns_where_few_fire(weight_scale):
    """Where most neurons fire the plain product is taken; the numbers are the plain engine's either way."""
    x, y = np.random.default_rng(2).random((5, 1, 4, 4)), np.arange(5) % 3
    net = wide_network(weight_scale=weight_scale)
    assert followed_layers(net, x) == [weight_scale == 1.5, False]
    plain = wide_network(weight_scale=weight_scale, engine=tr.network.PlainEngine())
    for found, wanted in zip(net.loss_and_gradients(x, y)[1], plain.loss_and_gradients(x, y)[1], strict=True):
        assert np.abs(wanted).max() > 0
        assert relative_error(found, wanted) < TOLERANCE


@pytest.mark.parametrize(("share", "followed"), [(0.4, True), (0.5, False)])
def test_where_nearly_all_fire_the_plain_product_is_taken(share, followed):
    k = pattern_length(5)
    assert 0.4 < SHARE_A_STEP * k < 0.5
    u = np.zeros((5, 4, 10))
    u[0, :, : round(share * 10)] = 2.0
    assert (len(dense._patterns_to_follow(u, NEURON.threshold, k, True)[0]) > 0) == followed
    assert len(dense._patterns_to_follow(u, NEURON.threshold, k, False)[0]) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_of_a_silent_neuron_that_is_not_finite_shows(bad):
    net = wide_network()
    net.weights[0][4] = -1.0  # so that neuron 4 is silent
    net.weights[1][5, 4] = bad
    with pytest.raises(ValueError, match=rf"weights\[1\] must be finite, got {bad} at index \[5, 4\]"):
        net.forward(np.random.default_rng(2).random((5, 1, 4, 4)))

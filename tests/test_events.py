"""The event path gives the plain product's numbers, whatever the spike trains hold, and the same bits every time."""

import numpy as np
import pytest
from conftest import relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

from tsslbp_ref.engine import events as engine_events
from tsslbp_ref.engine.events import find_events, first_needed_step, weight_gradient, weighted_input
from tsslbp_ref.engine.inputs import SPARSE_DENSITY, EventInput, PSCInput, spike_input
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.layers import Dense, SumPool2d
from tsslbp_ref.model.parameters import NeuronParameters

NEURON = NeuronParameters(8.0, 4.0)
TOLERANCE = 1e-12
N_OUT = 7


def trains(shape, density=0.1, *, seed=0, values=(1,), dtype="uint8"):
    """Random spike trains of a density, whose entries that are not 0 are drawn from `values`."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < density, rng.choice(values, shape), 0).astype(dtype)


def plain_products(s, W, delta, neuron=NEURON):
    """I[t] = W a[t] and sum_t delta[t] a[t]^T with the PSC of every input made, in float64."""
    a = sweeps.psc_filter(s.astype(np.float64), neuron)
    return np.einsum("oi,tbi->tbo", W, a), np.einsum("tbo,tbi->oi", delta, a)


def check_products(s, n_out=N_OUT, neuron=NEURON):
    """Both products over events against the plain ones; delta's samples do not follow one another in memory."""
    rng, (T, B, n) = np.random.default_rng(1), s.shape
    W, delta = rng.normal(size=(n_out, n)), rng.normal(size=(T, 2 * B, n_out))[:, ::2]
    I, dW = plain_products(s, W, delta, neuron)
    events = find_events(s, "float64")
    np.testing.assert_allclose(weighted_input(events, W, neuron), I, rtol=0, atol=TOLERANCE * max(1.0, np.abs(I).max()))
    bound = TOLERANCE * max(1.0, np.abs(dW).max())
    np.testing.assert_allclose(weight_gradient(events, delta, neuron), dW, rtol=0, atol=bound)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 64, 83])
@pytest.mark.parametrize("density", [0.0, 0.05, 0.5, 1.0])
def test_the_list_holds_every_event_in_order(n, density):
    s = trains((4, 3, n), density)
    events = find_events(s, "float32")
    assert len(events) == len(events.values) == np.count_nonzero(s)
    assert np.array_equal(events.starts, np.append(0, np.cumsum(np.count_nonzero(s.reshape(12, n), axis=1))))
    assert np.array_equal(events.inputs, np.nonzero(s)[2])
    assert events.values.dtype == np.float32
    assert np.array_equal(events.dense(), s)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [("bool", (1,)), ("uint8", (1, 2, 255)), (">i2", (1, -3)), (">f4", (1.0, 0.5)), ("float64", (-2.5, 1e-9))],
)
def test_values_of_any_dtype_and_byte_order(dtype, values):
    s = trains((3, 4, 21), 0.2, values=values, dtype=dtype)
    assert np.array_equal(find_events(s, "float64").dense(), s.astype(np.float64))
    assert len(find_events(-np.zeros((2, 2, 9)), "float64")) == 0


def test_arrays_of_any_strides():
    s = trains((6, 8, 40))
    for view in (s[:, 2:5], s[::-1], s[::2, 1::3], s[:, :, ::2], s.transpose(2, 0, 1), np.asfortranarray(s)):
        assert not view.flags.c_contiguous
        assert np.array_equal(find_events(view, "float32").dense(), view)


def test_the_search_ends_when_there_are_too_many():
    s = trains((5, 4, 30), 0.3)
    count = np.count_nonzero(s)
    assert len(find_events(s, "float32", at_most=count)) == count
    assert find_events(s, "float32", at_most=count - 1) is None
    assert find_events(s, "float32", at_most=0) is None
    assert len(find_events(np.zeros((5, 4, 30)), "float32", at_most=0)) == 0


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"s must be \(T, B, n\): steps, batch, inputs; got shape \(3, 4\)"):
        find_events(np.zeros((3, 4)), "float32")
    with pytest.raises(TypeError, match="s must hold real numbers"):
        find_events(np.zeros((3, 4, 2), dtype=complex), "float32")
    with pytest.raises(ValueError, match="at_most must be at least 0"):
        find_events(np.zeros((3, 4, 2)), "float32", at_most=-1)
    with pytest.raises(ValueError, match="dtype must be one of float32, float64"):
        find_events(np.zeros((3, 4, 2)), "int8")
    events = find_events(np.ones((3, 4, 2)), "float32")
    with pytest.raises(ValueError, match=r"W must have shape \(5, 2\)"):
        weighted_input(events, np.zeros((5, 3), np.float32), NEURON)
    with pytest.raises(ValueError, match="W must be float32 as the events' values, got float64"):
        weighted_input(events, np.zeros((5, 2)), NEURON)
    with pytest.raises(ValueError, match=r"delta must have shape \(3, 4, 5\)"):
        weight_gradient(events, np.zeros((3, 3, 5), np.float32), NEURON)
    with pytest.raises(ValueError, match="delta must be float32"):
        weight_gradient(events, np.zeros((3, 4, 5)), NEURON)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 40)),
    n_out=st.integers(1, 9),
    density=st.floats(0.0, 1.0),
    values=st.sampled_from([(1,), (1, 2), (0.5, -3.0)]),
    neuron=st.builds(NeuronParameters, tau_s=st.floats(1.0, 20.0)),
    rows_a_block=st.integers(1, 20),
    seed=st.integers(0, 2**32 - 1),
)
def test_products_over_events(shape, n_out, density, values, neuron, rows_a_block, seed):
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(engine_events, "ROWS_A_BLOCK", rows_a_block)
        check_products(trains(shape, density, seed=seed, values=values, dtype="float64"), n_out, neuron)


@pytest.mark.parametrize("batch", [1, 2, 50, 600])
def test_blocks_of_steps_do_not_show(batch):
    """Several steps a block, a last block that is not full, and more samples than a block has rows."""
    assert engine_events.ROWS_A_BLOCK < 600
    check_products(trains((23, batch, 11), 0.1))


def test_the_weighted_input_is_written_where_it_is_wanted():
    events, W = find_events(trains((4, 3, 20)), "float64"), np.random.default_rng(5).normal(size=(N_OUT, 20))
    out = np.full((4, 3, N_OUT), np.nan)
    assert weighted_input(events, W, NEURON, out) is out
    assert np.array_equal(out, weighted_input(events, W, NEURON))
    with pytest.raises(ValueError, match=r"out must have shape \(4, 3, 7\)"):
        weighted_input(events, W, NEURON, out[1:])
    with pytest.raises(ValueError, match="out must be float64"):
        weighted_input(events, W, NEURON, out.astype("float32"))


def test_float32_in_float32():
    s, rng = trains((20, 6, 50)), np.random.default_rng(4)
    W, delta = rng.normal(size=(N_OUT, 50)).astype("float32"), rng.normal(size=(20, 6, N_OUT)).astype("float32")
    events = find_events(s, "float32")
    I, dW = plain_products(s, W.astype("float64"), delta.astype("float64"))
    for found, wanted in ((weighted_input(events, W, NEURON), I), (weight_gradient(events, delta, NEURON), dW)):
        assert found.dtype == np.float32
        assert relative_error(found, wanted) < 1e-5


def test_the_choice_between_events_and_plain_product():
    few = int(SPARSE_DENSITY * 1000)
    s = np.zeros((10, 2, 50), np.uint8)
    s.reshape(-1)[:few] = 1
    assert isinstance(spike_input(s, NEURON, "float32", Dense((50,), 3)), EventInput)
    assert isinstance(spike_input(s.reshape(10, 2, 2, 5, 5), NEURON, "float32", SumPool2d((2, 5, 5), 2)), PSCInput)
    s.reshape(-1)[few] = 1
    assert isinstance(spike_input(s, NEURON, "float32", Dense((50,), 3)), PSCInput)


def test_the_first_step_whose_product_is_needed():
    a = np.zeros((5, 2, 3))
    assert first_needed_step(a) == 4
    a[3, 1, 2] = 1e-300
    assert first_needed_step(a) == 3
    a[0, 0, 0] = -1.0
    assert first_needed_step(a) == 0

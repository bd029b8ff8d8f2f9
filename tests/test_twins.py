"""The literal loops and the compiled sweeps give the same numbers, whatever the shapes and constants."""

import numpy as np
import pytest
from conftest import relative_error
from hypothesis import given, settings
from hypothesis import strategies as st

import tsslbp_ref as tr
from tsslbp_ref import jit
from tsslbp_ref.model import reference, sweeps
from tsslbp_ref.model.parameters import INTER_RULES, INTRA_RULES, SILENT_STEPS, WARMUPS, GradientRule, NeuronParameters

TOLERANCE = 1e-12

neurons = st.builds(
    NeuronParameters, tau_m=st.floats(1.0, 30.0), tau_s=st.floats(1.0, 20.0), threshold=st.floats(0.1, 3.0)
)
rules = st.builds(
    GradientRule,
    inter=st.sampled_from(INTER_RULES),
    intra=st.sampled_from(INTRA_RULES),
    warmup=st.sampled_from(WARMUPS),
    warmup_rate=st.sampled_from([0.0, 0.25, 1.0]),
    silent=st.sampled_from(SILENT_STEPS),
    inverse_rise_clip=st.sampled_from([2.0, 8.0, 1e6]),
    surrogate_width=st.floats(0.05, 1.0),
    warmup_gate=st.floats(0.0, 1.0),
)
shapes = st.tuples(st.integers(1, 14), st.integers(1, 3), st.integers(1, 6))


@settings(max_examples=100, deadline=None)
@given(neuron=neurons, rule=rules, shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_forward_and_backward(neuron, rule, shape, seed):
    rng = np.random.default_rng(seed)
    I = rng.normal(0.5 * neuron.threshold, 0.8 * neuron.threshold, shape)
    g = rng.normal(size=shape)
    literal, swept = reference.lif_forward(I, neuron), sweeps.lif_forward(I, neuron)
    assert np.array_equal(literal.s, swept.s)
    np.testing.assert_allclose(swept.u, literal.u, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(swept.a, literal.a, rtol=TOLERANCE, atol=TOLERANCE)
    slow = reference.tsslbp_backward(g, literal, neuron, rule)
    quick = sweeps.tsslbp_backward(g, literal, neuron, rule)
    np.testing.assert_allclose(quick, slow, rtol=0, atol=TOLERANCE * max(1.0, np.abs(slow).max()))


@settings(max_examples=30, deadline=None)
@given(neuron=neurons, shape=shapes, seed=st.integers(0, 2**32 - 1))
def test_the_filter_and_its_adjoint(neuron, shape, seed):
    rng = np.random.default_rng(seed)
    s, g = rng.normal(size=shape), rng.normal(size=shape)
    a = sweeps.psc_filter(s, neuron)
    np.testing.assert_allclose(a, reference.psc_filter(s, neuron), rtol=0, atol=TOLERANCE * np.abs(s).max())
    assert np.vdot(a, g) == pytest.approx(np.vdot(s, sweeps.psc_filter_adjoint(g, neuron)), rel=1e-10, abs=1e-10)


def test_blocks_of_neurons_do_not_show():
    """More neurons than one block of the sweep holds, and not a multiple of it."""
    rng = np.random.default_rng(3)
    neuron, rule = NeuronParameters(), GradientRule()
    n_neurons = 2 * sweeps.LARGEST_BLOCK + 7
    I, g = rng.normal(0.4, 0.6, (4, 1, n_neurons)), rng.normal(size=(4, 1, n_neurons))
    whole = sweeps.tsslbp_backward(g, sweeps.lif_forward(I, neuron), neuron, rule)
    one_by_one = np.concatenate(
        [
            sweeps.tsslbp_backward(g[:, :, i : i + 1], sweeps.lif_forward(I[:, :, i : i + 1], neuron), neuron, rule)
            for i in range(n_neurons)
        ],
        axis=2,
    )
    assert np.array_equal(whole, one_by_one)


def test_the_dependency_matrix_gives_the_double_sum():
    rng = np.random.default_rng(5)
    neuron, rule = NeuronParameters(), GradientRule()
    trace = tr.lif_forward(rng.normal(0.5, 0.7, (9, 2, 3)), neuron)
    phi = tr.reference.dependency_matrix(trace, neuron, rule)
    g = rng.normal(size=(9, 2, 3))
    assert phi.shape == (9, 9, 2, 3)
    assert relative_error(np.einsum("kmbi,kbi->mbi", phi, g), tr.tsslbp_backward(g, trace, neuron, rule)) < TOLERANCE


def test_no_psc_depends_on_a_later_membrane():
    """phi is 0 above the diagonal, t_k before t_m, under every causal rule."""
    rng = np.random.default_rng(6)
    neuron = NeuronParameters()
    trace = tr.lif_forward(rng.normal(0.5, 0.7, (8, 1, 4)), neuron)
    assert trace.s.sum() > 8
    rules = [GradientRule(inter=inter) for inter in ("released", "literal", "onset", "surrogate")]
    for rule in (*rules, GradientRule(intra="one-hop")):
        phi = tr.reference.dependency_matrix(trace, neuron, rule)
        k, m = np.triu_indices(8, 1)
        assert not phi[k, m].any()


def test_the_vectorised_exponential():
    x = -np.linspace(0.0, 16.0, 2001)
    found = np.array([jit.exponential(value) for value in x])
    np.testing.assert_allclose(found, np.exp(x), rtol=1e-13)
    short = np.array([jit.exponential_single(value) for value in x])
    np.testing.assert_allclose(short, np.exp(x), rtol=1e-7)
    for dtype, tolerance in ((np.float64, 1e-13), (np.float32, 2e-5)):  # 64 roundings of float32
        result = np.empty(len(x), dtype)
        _exponentials(x.astype(dtype), result)
        np.testing.assert_allclose(result, np.exp(x.astype(dtype)), rtol=tolerance)


@jit.compiled
def _exponentials(x, result):
    for i in range(len(x)):
        result[i] = jit.exponential(x[i])


@pytest.mark.parametrize("clip", [16.0, 100.0, 300.0, 1e4])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_surrogate_with_long_tails(clip, precision):
    """Where the series for exp ends, nothing is left of the surrogate."""
    neuron, rule = NeuronParameters(), GradientRule(surrogate_width=1e-3, surrogate_argument_clip=clip)
    u = np.linspace(0.2, 1.0, 200, dtype=precision).reshape(1, 1, -1)
    trace = tr.Trace(u, np.zeros_like(u), neuron.threshold)
    g = np.ones_like(u)
    found = sweeps.tsslbp_backward(g, trace, neuron, rule)
    assert relative_error(found, reference.tsslbp_backward(g, trace, neuron, rule)) < 1e-5


def test_float32_agrees_to_its_precision():
    rng = np.random.default_rng(8)
    neuron, rule = NeuronParameters(), GradientRule()
    I, g = rng.normal(0.5, 0.7, (5, 4, 30)), rng.normal(size=(5, 4, 30))
    double = sweeps.lif_forward(I, neuron)
    away = np.abs(double.u - neuron.threshold).min()
    assert away > 1e-5  # no spike may flip on the last bit of float32
    single = sweeps.lif_forward(I.astype(np.float32), neuron)
    assert single.u.dtype == single.a.dtype == np.float32
    assert np.array_equal(single.s, double.s)
    delta = sweeps.tsslbp_backward(g.astype(np.float32), single, neuron, rule)
    assert delta.dtype == np.float32
    assert relative_error(delta, sweeps.tsslbp_backward(g, double, neuron, rule)) < 1e-5


def test_single_precision_stays_near_double():
    rng = np.random.default_rng(9)
    I, g = rng.normal(0.6, 0.8, (12, 4, 300)), rng.normal(size=(12, 4, 300))
    double, single = (
        sweeps.lif_forward(I, NeuronParameters()),
        sweeps.lif_forward(I.astype("float32"), NeuronParameters()),
    )
    same = (double.s == single.s).all(axis=0)
    assert same.mean() > 0.99
    delta = sweeps.tsslbp_backward(g, double, NeuronParameters(), GradientRule())
    rounded = sweeps.tsslbp_backward(g.astype("float32"), single, NeuronParameters(), GradientRule())
    assert rounded.dtype == np.float32
    difference = np.abs(rounded - delta).max(axis=0)[same]
    assert np.quantile(difference, 0.99) < 1e-4 * np.abs(delta).max()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transpose_A", [False, True])
@pytest.mark.parametrize("transpose_B", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(("n", "inner", "m"), [(1, 4, 5), (3, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)])
def test_products_of_matrices_with_strides(dtype, transpose_A, transpose_B, accumulate, n, inner, m):
    rng = np.random.default_rng(12)
    shapes = ((inner, n) if transpose_A else (n, inner), (m, inner) if transpose_B else (inner, m), (n, m))
    A, B, C = (rng.integers(-8, 9, (rows, columns + 3)).astype(dtype)[:, 1 : columns + 1] for rows, columns in shapes)
    A, B = A.T if transpose_A else A, B.T if transpose_B else B
    expected = C + A @ B if accumulate else A @ B
    _call_gemm(A, B, C, accumulate)
    assert np.array_equal(C, expected)


@jit.compiled
def _call_gemm(A, B, C, accumulate):
    jit.gemm(A, B, C, accumulate)


def test_the_loss_of_a_network_is_a_plain_number_with_and_without_compilation():
    net = tr.Network.from_spec("5", (4,), n_classes=2, n_steps=5)
    loss, _ = net.loss_and_gradients(np.ones((2, 4)), [0, 1])
    assert type(loss) is float  # NumPy's float32 would not go into JSON

"""The continuous-time simulator and its gradient against high-precision cases, differences, quadrature and a grid."""

from __future__ import annotations

import doctest
import itertools
import math
import time

import numpy as np
import pytest

from tsslbp_ref import exact, jit
from tsslbp_ref.exact import discrete, kernels, simulation
from tsslbp_ref.gradcheck import exact_checks
from tsslbp_ref.gradcheck.exact_checks import difference_gradients, gradient_error, random_network, smooth_network

CASES = exact_checks.cases()
GOLDEN_TIME_TOLERANCE = 1e-10
GOLDEN_RELATIVE_TOLERANCE = 1e-9
DIFFERENCE_TOLERANCE = 1e-8
SINGLE = ([[[11.0]]], [[1.0, 4.0]], 10.0, 3.0, 1.0, 30.0, [[5.0]])
NAMES = ("weights", "input_spikes", "tau_m", "tau_s", "threshold", "duration", "desired_spikes")


def single(**changes):
    """Simulate one neuron with one input, some arguments replaced."""
    arguments = dict(zip(NAMES, SINGLE, strict=True)) | changes
    return exact.simulate(**arguments)


# ---------------------------------------------------------------- cases of 45 digits


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_high_precision_cases(case):
    result = exact_checks.simulate_case(case)
    expected = case["exact"]
    for layer, expected_layer in zip(result.spike_times, expected["spikes"], strict=True):
        for times, expected_times in zip(layer, expected_layer, strict=True):
            np.testing.assert_allclose(times, expected_times, rtol=0.0, atol=GOLDEN_TIME_TOLERANCE)
    np.testing.assert_allclose(result.loss, expected["loss"], rtol=GOLDEN_RELATIVE_TOLERANCE)
    for gradient, expected_gradient in zip(result.gradients, expected["grad"], strict=True):
        np.testing.assert_allclose(gradient, expected_gradient, rtol=GOLDEN_RELATIVE_TOLERANCE)
    slope = case["verification"]["min_threshold_slope_per_ms"]
    np.testing.assert_allclose(result.smallest_crossing_slope, slope, rtol=1e-9)


# ---------------------------------------------------------------- gradient against differences


@pytest.mark.parametrize(("tau_m", "tau_s"), [(10.0, 4.0), (6.0, 6.0), (4.0, 9.0), (6.0, 6.0 * (1 + 1e-9))])
@pytest.mark.parametrize("sizes", [(4, 2), (4, 4, 2), (4, 4, 3, 2)], ids=str)
def test_gradient_equals_central_differences(sizes, tau_m, tau_s):
    network = smooth_network(sizes, tau_m, tau_s)
    result = exact.simulate(*network)
    assert gradient_error(result.gradients, difference_gradients(network)) < DIFFERENCE_TOLERANCE


def wrong_ratio(P_u, dL_dt, slope, threshold, tau_m):
    return (1.0 - threshold / (tau_m * slope)) * P_u - dL_dt / slope


def without_the_one(P_u, dL_dt, slope, threshold, tau_m):
    return threshold / (tau_m * slope) * P_u - dL_dt / slope


def wrong_time_sign(P_u, dL_dt, slope, threshold, tau_m):
    return (1.0 + threshold / (tau_m * slope)) * P_u + dL_dt / slope


@pytest.mark.parametrize("wrong", [wrong_ratio, without_the_one, wrong_time_sign])
def test_differences_reject_a_wrong_jump(monkeypatch, wrong):
    network = smooth_network((4, 4, 2), 10.0, 4.0)
    expected = difference_gradients(network)
    python_loop = getattr(kernels.layer_adjoint, "py_func", kernels.layer_adjoint)
    monkeypatch.setattr(kernels, "layer_adjoint", python_loop)
    # The uncompiled loop agrees as long as nothing is wrong, so what is rejected below is the jump.
    assert gradient_error(exact.simulate(*network).gradients, expected) < DIFFERENCE_TOLERANCE
    monkeypatch.setattr(kernels, "adjoint_before_spike", wrong)
    assert gradient_error(exact.simulate(*network).gradients, expected) > 1e4 * DIFFERENCE_TOLERANCE


def test_time_derivatives_equal_central_differences():
    times, desired, step = [[3.0, 9.0, 20.0], [5.0]], [[4.0, 19.0], []], 1e-3
    derivatives = exact.van_rossum_time_derivatives(times, desired, 4.0, 30.0)
    for neuron, train in enumerate(times):
        for spike in range(len(train)):
            loss = {}
            for k in (-2, -1, 1, 2):
                changed = [list(t) for t in times]
                changed[neuron][spike] += k * step
                loss[k] = exact.van_rossum_loss(changed, desired, 4.0, 30.0)
            difference = (8.0 * (loss[1] - loss[-1]) - (loss[2] - loss[-2])) / (12.0 * step)
            assert abs(derivatives[neuron][spike] - difference) < 1e-11


# ---------------------------------------------------------------- loss


def test_loss_equals_quadrature():
    network = random_network(3, (5, 4, 3), 8.0, 3.0)
    result = exact.simulate(*network)
    tau_s, duration, desired = network[3], network[5], network[6]
    nodes, node_weights = np.polynomial.legendre.leggauss(12)
    total = 0.0
    for times, wanted in zip(result.spike_times[-1], desired, strict=True):
        edges = np.unique(np.concatenate([np.linspace(0.0, duration, 201), times, wanted]))
        for start, stop in itertools.pairwise(edges):
            t = 0.5 * (start + stop) + 0.5 * (stop - start) * nodes
            e = sum(np.where(t > f, np.exp(-(t - f) / tau_s) / tau_s, 0.0) for f in times)
            e -= sum(np.where(t > f, np.exp(-(t - f) / tau_s) / tau_s, 0.0) for f in wanted)
            total += 0.25 * (stop - start) * np.sum(node_weights * e**2)
    np.testing.assert_allclose(result.loss, total, rtol=1e-12)
    np.testing.assert_allclose(
        exact.van_rossum_loss(result.spike_times[-1], desired, tau_s, duration), result.loss, rtol=1e-15
    )


@pytest.mark.parametrize("tau_s", [0.5, 3.0])
def test_isolated_pair_has_its_textbook_loss(tau_s):
    difference = 1.7
    loss = exact.van_rossum_loss([[5.0]], [[5.0 + difference]], tau_s, 500.0)
    np.testing.assert_allclose(loss, (1.0 - math.exp(-difference / tau_s)) / (2.0 * tau_s), rtol=1e-13)


def test_the_loss_in_another_unit_of_time():
    loss = exact.van_rossum_loss([[5.0]], [[6.0]], 3.0, 9.0)
    assert exact.van_rossum_loss([[0.5]], [[0.6]], 0.3, 0.9) == pytest.approx(10.0 * loss, rel=1e-13)


# ---------------------------------------------------------------- conventions


def test_coincident_spikes_of_one_neuron_add():
    twice = single(input_spikes=[[1.0, 1.0, 4.0]])
    heavy = single(weights=[[[11.0, 11.0]]], input_spikes=[[1.0, 4.0], [1.0]])
    np.testing.assert_array_equal(twice.spike_times[0][0], heavy.spike_times[0][0])
    assert twice.loss == heavy.loss
    np.testing.assert_allclose(twice.gradients[0].sum(), heavy.gradients[0].sum(), rtol=1e-14)


def test_a_perfect_match_has_no_loss_and_no_gradient():
    times = single().spike_times[0]
    result = single(desired_spikes=times)
    assert len(times[0]) > 0
    assert result.loss == 0.0
    assert result.smallest_event_gap == 0.0
    np.testing.assert_array_equal(result.gradients[0], 0.0)


def test_at_a_coincidence_the_derivative_is_the_mean_of_both_sides():
    desired, nudge = [[5.0, 8.0]], 1e-9
    at, before, after = (
        exact.van_rossum_time_derivatives([[5.0 + k * nudge, 9.0]], desired, 3.0, 20.0)[0][0] for k in (0, -1, 1)
    )
    assert abs(after - before) > 0.1
    np.testing.assert_allclose(at, 0.5 * (before + after), rtol=0.0, atol=1e-9)


def test_silent_networks_and_spikes_at_the_ends():
    silent = single(weights=[[[0.0]]], desired_spikes=[[]])
    assert silent.loss == 0.0
    assert silent.smallest_crossing_slope == math.inf
    assert silent.smallest_event_gap == math.inf
    assert silent.smallest_peak_margin == 1.0
    np.testing.assert_array_equal(silent.gradients[0], 0.0)
    assert single(input_spikes=[[]]).spike_times[0][0].size == 0
    ends = single(input_spikes=[[0.0, 1.0, 4.0, 30.0]], desired_spikes=[[0.0, 30.0]])
    without_last = single(input_spikes=[[0.0, 1.0, 4.0]], desired_spikes=[[0.0]])
    np.testing.assert_array_equal(ends.spike_times[0][0], without_last.spike_times[0][0])
    assert ends.loss == without_last.loss
    np.testing.assert_array_equal(ends.gradients[0], without_last.gradients[0])


def test_the_smallest_margin_is_that_of_all_layers():
    alone = single(weights=[[[5.0]]])
    assert 0.0 < alone.smallest_peak_margin < 1.0
    assert single(weights=[[[5.0]], [[1.0]]]).smallest_peak_margin == alone.smallest_peak_margin


def test_a_membrane_still_rising_at_the_end_counts_as_a_peak():
    time_of_spike = float(single().spike_times[0][0][0])
    cut = single(duration=time_of_spike - 1e-6, input_spikes=[[1.0, 4.0]], desired_spikes=[[]])
    assert cut.spike_times[0][0].size == 0
    assert 0.0 < cut.smallest_peak_margin < 1e-6


def test_the_docstring_examples_are_true():
    for module in (simulation, discrete):
        outcome = doctest.testmod(module)
        assert outcome.attempted > 0
        assert outcome.failed == 0


# ---------------------------------------------------------------- the discrete network


def test_discrete_equivalent_counts_spikes_per_step():
    discrete = exact.discrete_equivalent(
        [[[11.0, 2.0]]], [[0.0, 1.2, 1.4, 29.9, 30.0], []], [[5.0]], 10.0, 4.0, 1.0, 30.0, 0.5
    )
    assert discrete.input_raster.shape == (60, 2)
    assert {int(step): discrete.input_raster[step, 0] for step in np.flatnonzero(discrete.input_raster[:, 0])} == {
        0: 1.0,
        2: 2.0,
        59: 1.0,
    }
    assert discrete.input_raster[:, 1].sum() == 0.0
    assert np.flatnonzero(discrete.target_raster[:, 0]).tolist() == [10]
    assert (discrete.neuron.tau_m, discrete.neuron.tau_s, discrete.neuron.threshold) == (20.0, 8.0, 1.0)
    np.testing.assert_allclose(discrete.weights[0], [[1.1, 0.2]])
    assert discrete.loss_factor == 2.0
    assert discrete.gradient_factor == 1.0 / (0.5 * 10.0)


@pytest.mark.parametrize("dt", [0.01, 0.05, 0.1, 0.2, 0.3, 0.7])
def test_a_spike_on_the_grid_is_in_its_own_step(dt):
    """Although 0.3 / 0.1 is 2.9999999999999996; a time just before a grid point stays in the step before."""
    steps = np.arange(300)
    for times, wanted in ((np.round(steps * dt, 10), steps), (np.round(steps[1:] * dt, 10) - 1e-6, steps[:-1])):
        made = exact.discrete_equivalent([[[1.0]]], [times], [times], 10.0, 3.0, 1.0, 300 * dt, dt)
        for raster in (made.input_raster, made.target_raster):
            assert raster.max() == 1.0
            assert np.array_equal(np.flatnonzero(raster[:, 0]), wanted)


@pytest.mark.parametrize(("dt", "message"), [(5.0, "dt must be at most"), (0.7, "whole number of steps"), (0.0, "dt")])
def test_discrete_equivalent_refuses_a_bad_step(dt, message):
    with pytest.raises(ValueError, match=message):
        exact.discrete_equivalent(SINGLE[0], SINGLE[1], SINGLE[6], *SINGLE[2:6], dt)


def test_discrete_loss_tends_to_the_exact_loss():
    network = smooth_network((4, 4, 2), 10.0, 4.0)
    result = exact.simulate(*network)
    weights, inputs, tau_m, tau_s, threshold, duration, desired = network
    errors = []
    for dt in (0.04, 0.02, 0.01, 0.005):
        discrete = exact.discrete_equivalent(weights, inputs, desired, tau_m, tau_s, threshold, duration, dt)
        output = euler_output(discrete, discrete.input_raster)
        difference = output - filtered(discrete.target_raster, discrete.neuron.tau_s)
        errors.append(abs(0.5 * np.sum(difference**2) * discrete.loss_factor - result.loss) / result.loss)
    assert errors[-1] < 0.02
    assert errors[-1] < 0.4 * errors[0]


def filtered(spikes, tau_s):
    """PSC of F6: a[t] = a[t-1] + (s[t] - a[t-1]) / tau_s."""
    a = np.zeros(len(spikes[0]))
    rows = []
    for s in spikes:
        a = a + (s - a) / tau_s
        rows.append(a)
    return np.array(rows)


def euler_output(discrete, spikes):
    """Output PSC of the discrete network, F1 to F6."""
    neuron = discrete.neuron
    for w in discrete.weights:
        weighted_input = filtered(spikes, neuron.tau_s) @ w.T
        v = np.zeros(len(w))
        rows = []
        for I in weighted_input:
            u = (1.0 - 1.0 / neuron.tau_m) * v + I
            rows.append(u > neuron.threshold)
            v = np.where(rows[-1], 0.0, u)
        spikes = np.array(rows, dtype=float)
    return filtered(spikes, neuron.tau_s)


# ---------------------------------------------------------------- speed and compilation


def test_simulate_and_gradient_take_under_a_tenth_of_a_second():
    rng = np.random.default_rng(0)
    weights = [rng.normal(4.0, 4.0, (50, 50)), rng.normal(0.6, 1.0, (10, 50))]
    inputs = [np.sort(rng.uniform(0.0, 100.0, 2)) for _ in range(50)]
    desired = [np.sort(rng.uniform(0.0, 100.0, 5)) for _ in range(10)]
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        result = exact.simulate(weights, inputs, 10.0, 4.0, 1.0, 100.0, desired)
        seconds.append(time.perf_counter() - start)
    assert sum(map(len, result.spike_times[0])) > 500
    if hasattr(kernels.layer_adjoint, "py_func"):  # not when NUMBA_DISABLE_JIT measures coverage
        assert min(seconds) < 0.1


def test_compilation_works_where_no_folder_can_be_written(monkeypatch):
    calls = []

    def refusing(function=None, **options):
        calls.append(options)
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return function if function is not None else lambda compiled_function: compiled_function

    monkeypatch.setattr(jit.numba, "njit", refusing)
    with pytest.raises(RuntimeError):
        refusing(cache=True)
    assert jit.compiled(math.exp) is math.exp
    assert calls[-1]["nogil"]
    assert "cache" not in calls[-1]

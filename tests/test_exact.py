"""The continuous-time simulator and its gradient against high-precision cases, differences, quadrature and a grid."""

from __future__ import annotations

import doctest
import itertools
import math
import time

import numpy as np
import pytest

from tsslbp_ref import exact, jit
from tsslbp_ref.exact import closed_forms, discrete, kernels, simulation
from tsslbp_ref.gradcheck import exact_checks
from tsslbp_ref.gradcheck.exact_checks import difference_gradients, gradient_error, random_network, smooth_network

CASES = exact_checks.cases()
GOLDEN_TIME_TOLERANCE = 1e-10
GOLDEN_RELATIVE_TOLERANCE = 1e-9
DIFFERENCE_TOLERANCE = 1e-8
GRID_TOLERANCE = 1e-5
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


# ---------------------------------------------------------------- spikes against a fine grid


def grid_spikes(weights, trains, tau_m, tau_s, threshold, duration, step):
    """Spikes and highest other local maximum of one neuron on a grid, by the superposition of kernels.

    A reset subtracts threshold exp(-(t - t_f)/tau_m): no state is carried, and t_f is interpolated between grid points.
    """
    t = np.unique(np.concatenate([np.arange(0.0, duration, step), *trains, [duration]]))
    u = np.zeros_like(t)
    for w, train in zip(weights, trains, strict=True):
        for f in train:
            x = t[t >= f] - f
            kernel = x * np.exp(-x / tau_m) if tau_m == tau_s else np.exp(-x / tau_m) - np.exp(-x / tau_s)
            scale = tau_m * tau_s if tau_m == tau_s else tau_m - tau_s
            u[t >= f] += w * kernel / scale
    spikes, start, highest = [], 0, 0.0
    while (above := np.flatnonzero(u[start:] > threshold)).size:
        segment = u[start : start + above[0]]
        highest = max(highest, *inner_maxima(segment))
        start += above[0]
        share = (threshold - u[start - 1]) / (u[start] - u[start - 1])
        spikes.append(t[start - 1] + share * (t[start] - t[start - 1]))
        u[start:] -= threshold * np.exp(-(t[start:] - spikes[-1]) / tau_m)
    highest = max(highest, *inner_maxima(u[start:]), u[-1] if u[-1] > u[-2] else 0.0)
    return np.array(spikes), highest


def inner_maxima(u):
    """Values of the local maxima that are not at an end; 0 stands for none."""
    return [0.0, *u[1:-1][(u[1:-1] > u[:-2]) & (u[1:-1] >= u[2:])]]


@pytest.mark.parametrize(("tau_m", "tau_s"), [(10.0, 3.0), (5.0, 5.0), (3.0, 8.0), (20.0, 0.5)])
def test_every_first_crossing_is_found(tau_m, tau_s):
    rng = np.random.default_rng(11)
    duration, step, n_spikes = 30.0, 2e-4, 0
    for _ in range(8):
        weights = rng.normal(6.0, 20.0, 4)
        trains = [np.sort(rng.uniform(0.0, duration, 5)) for _ in range(4)]
        result = exact.simulate([[weights]], trains, tau_m, tau_s, 1.0, duration, [[]])
        expected, highest = grid_spikes(weights, trains, tau_m, tau_s, 1.0, duration, step)
        times = result.spike_times[0][0]
        assert len(times) == len(expected)
        np.testing.assert_allclose(times, expected, rtol=0.0, atol=GRID_TOLERANCE)
        np.testing.assert_allclose(result.smallest_peak_margin, 1.0 - highest, rtol=0.0, atol=GRID_TOLERANCE)
        n_spikes += len(times)
    assert n_spikes > 20


@pytest.mark.parametrize(("tau_m", "tau_s"), [(10.0, 3.0), (5.0, 5.0), (3.0, 8.0)])
def test_a_peak_barely_above_the_threshold_fires_and_one_barely_below_does_not(tau_m, tau_s):
    # The highest value of the membrane after one input spike of weight 1.
    if tau_m == tau_s:
        top = math.exp(-1.0) / tau_m
    else:
        peak = math.log(tau_m / tau_s) * tau_m * tau_s / (tau_m - tau_s)
        top = (math.exp(-peak / tau_m) - math.exp(-peak / tau_s)) / (tau_m - tau_s)
    arguments = {"tau_m": tau_m, "tau_s": tau_s, "input_spikes": [[1.0]], "duration": 200.0}
    above = single(weights=[[[(1.0 + 1e-12) / top]]], **arguments)
    below = single(weights=[[[(1.0 - 1e-12) / top]]], **arguments)
    assert len(above.spike_times[0][0]) == 1
    assert 0.0 < above.smallest_crossing_slope < 1e-5
    assert np.isfinite(above.gradients[0]).all()
    assert len(below.spike_times[0][0]) == 0
    assert 0.0 < below.smallest_peak_margin < 2e-12


def test_a_grazing_spike_has_no_gradient_but_a_time():
    top = math.exp(-1.0) / 5.0
    weight = 1.0 / top
    arguments = {"tau_m": 5.0, "tau_s": 5.0, "input_spikes": [[1.0]]}
    for _ in range(100):
        weight = np.nextafter(weight, np.inf)
        grazing = single(weights=[[[weight]]], with_gradients=False, **arguments)
        if len(grazing.spike_times[0][0]):
            break
    np.testing.assert_allclose(grazing.spike_times[0][0], [6.0], atol=1e-6)
    with pytest.raises(ValueError, match="neuron 0 of layer 0 grazes the threshold at"):
        single(weights=[[[weight]]], **arguments)


def test_a_membrane_at_the_threshold_fires_if_it_goes_on_to_rise():
    def wait(end, u, I):
        u_end, I_end = closed_forms.membrane(end, u, I, 10.0, 3.0), I * math.exp(-end / 3.0)
        return closed_forms.first_crossing(end, u, I, u_end, I_end, 10.0, 3.0, 1.0, 0.0)[0]

    assert wait(1.0, 1.0, 1.5) == 0.0
    assert wait(1.0, 1.0, 1.0) == closed_forms.NO_CROSSING
    assert wait(1.0, 1.0, 0.5) == closed_forms.NO_CROSSING
    assert wait(0.0, 1.0, 1.5) == closed_forms.NO_CROSSING


def test_a_peak_that_touches_the_threshold_is_no_spike():
    end, u, I, tau_m, tau_s = 30.0, 0.0, 4.0, 10.0, 3.0
    top, _ = closed_forms.membrane_and_slope(closed_forms.peak_time(u, I, tau_m, tau_s), u, I, tau_m, tau_s)
    at_end = closed_forms.membrane(end, u, I, tau_m, tau_s), I * math.exp(-end / tau_s)

    def wait(threshold):
        return closed_forms.first_crossing(end, u, I, *at_end, tau_m, tau_s, threshold, 0.0)[0]

    assert wait(top) == closed_forms.NO_CROSSING
    assert wait(np.nextafter(top, 0.0)) > 0.0


def test_a_spike_behind_the_peak_does_not_move_it():
    weights = [[[1.5, -1.0], [0.5, 0.0]]]
    result = exact.simulate(weights, [[1.0], [6.0]], 2.0, 1.0, [None], 9.0, loss=exact.Peak(0))
    assert result.gradients_by["input_times"][1] == 0.0
    assert result.gradients[0][0, 0] < 0.0 == result.gradients[0][0, 1]


def test_an_arrival_that_stops_the_rise_to_the_last_bit_is_the_peak():
    """There I falls from above u to u itself."""
    tau_m, tau_s, w = 2.0, 1.0, 1.5
    decay_m, decay_s, mean = closed_forms.decays(1.0, tau_m, tau_s)
    u, I = w / tau_m * max(decay_m, decay_s) * mean, w * decay_s
    assert u < I < 2.0 * u  # so that I - u and I - (I - u) are exact
    results = [
        exact.simulate([[[w, u - I - more], [0.5, 0.0]]], [[1.0], [2.0]], tau_m, tau_s, [None], 9.0, loss=exact.Peak(0))
        for more in (0.0, 1e-9)
    ]
    found, wanted = ([*r.gradients_by["input_times"], r.gradients_by["tau_m"]] for r in results)
    np.testing.assert_allclose(np.hstack(found), np.hstack(wanted), rtol=1e-6)
    assert results[0].loss == pytest.approx(results[1].loss, rel=1e-12)


@pytest.mark.parametrize("unit", [1e-30, 1e-6, 1e6, 1e30])
def test_a_crossing_is_as_precise_in_any_unit_of_time(unit):
    wanted = closed_forms.root_on_rise(4.0, 0.1, 4.0, 10.0, 3.0, 0.9)
    found = closed_forms.root_on_rise(4.0 * unit, 0.1, 4.0, 10.0 * unit, 3.0 * unit, 0.9)
    assert found == pytest.approx(wanted * unit, rel=1e-14, abs=0.0)


@pytest.mark.parametrize("difference", [-0.9e-8, 0.9e-8])
def test_the_peak_at_nearly_equal_constants_keeps_all_digits(difference):
    tau_m = 3.0 * (1.0 + difference)
    x = -(tau_m - 3.0) / tau_m
    assert abs(x) < closed_forms.LINEAR_BELOW
    assert closed_forms.peak_time(0.0, 1.0, tau_m, 3.0) == pytest.approx(3.0 * math.log1p(x) / x, rel=1e-14, abs=0.0)


@pytest.mark.parametrize("tau_s", [10.0, 10.0 * (1 + 1e-15), 10.0 * (1 - 1e-12), 10.0 * (1 + 1e-7), 9.0, 1e-3, 1e4])
def test_overlap_of_exponentials_equals_quadrature(tau_s):
    tau_m, t = 10.0, 7.0
    nodes, node_weights = np.polynomial.legendre.leggauss(20)
    edges = np.concatenate([[0.0], np.geomspace(1e-5, t, 60)])
    total = 0.0
    for start, stop in itertools.pairwise(edges):
        x = 0.5 * (start + stop) + 0.5 * (stop - start) * nodes
        total += 0.5 * (stop - start) * np.sum(node_weights * np.exp(-(t - x) / tau_m - x / tau_s))
    np.testing.assert_allclose(closed_forms.exponential_overlap(t, tau_m, tau_s), total, rtol=1e-13)


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

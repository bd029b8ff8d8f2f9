"""Spikes in continuous time: every crossing is found, and is precise, also at the ends of what floats can tell."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from test_exact import single

from tsslbp_ref import exact
from tsslbp_ref.exact import closed_forms

GRID_TOLERANCE = 1e-5


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
    reached = closed_forms.first_crossing(1.0, 0.9, 2.0, 1.0, 1.4, 10.0, 3.0, 1.0, 0.0)[0]  # at the end
    assert reached == closed_forms.NO_CROSSING, "the next interval says whether it goes on"


@pytest.mark.parametrize(("tau_m", "tau_s"), [(10.0, 3.0), (3.0, 10.0), (4.0, 4.0)])
def test_the_membrane_alone_is_that_beside_its_slope(tau_m, tau_s):
    for t in (0.0, 0.7, 12.0):
        found, _ = closed_forms.membrane_and_slope(t, 0.4, 2.5, tau_m, tau_s)
        assert closed_forms.membrane(t, 0.4, 2.5, tau_m, tau_s) == pytest.approx(found, rel=1e-14)


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

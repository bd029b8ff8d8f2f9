"""Gradients by every constant in continuous time: golden numbers, identities, differences, forms and conventions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tsslbp_ref import exact
from tsslbp_ref.exact import closed_forms, kernels
from tsslbp_ref.gradcheck import exact_checks
from tsslbp_ref.gradcheck.exact_checks import array_error, simulate_constants, smooth_network

GOLDEN_TOLERANCE = 1e-10
CASES = exact_checks.constants_cases()
RUNS = [
    pytest.param(run, id=f"{run.case['name']}, {type(loss).__name__}")
    for run, loss in zip(
        exact_checks.constants_runs(),
        (loss for case in CASES for loss in exact_checks.case_losses(case).values()),
        strict=True,
    )
]
TWO_LAYERS = {
    "weights": [[[27.0, 9.0], [12.0, 24.0], [18.0, 18.0]], [[15.0, 12.0, 9.0], [6.0, 12.0, 18.0]]],
    "input_spikes": [[1.0, 4.0, 9.0], [2.5, 7.0]],
    "tau_m": 10.0,
    "tau_s": 4.0,
    "threshold": 1.0,
    "duration": 30.0,
}


def two_layers(**changes):
    """Simulate a network of two layers, some arguments replaced."""
    return exact.simulate(**(TWO_LAYERS | {"loss": exact.FirstSpike(0, 2.0, 10.0, 0.05)} | changes))


# ---------------------------------------------------------------- golden numbers


@pytest.mark.parametrize("run", RUNS)
def test_golden_derivatives(run):
    case, golden, result = run.case, run.golden, run.result
    assert exact_checks.trains_error(result.spike_times, case["spikes"]) < GOLDEN_TOLERANCE
    np.testing.assert_allclose(result.loss, golden["value"], rtol=GOLDEN_TOLERANCE)
    by, expected = result.gradients_by, golden["gradients"]
    pairs = list(zip(result.gradients, expected["weights"], strict=True))
    for name in ("tau_m", "threshold", "delays", "input_times"):
        pairs += zip(by[name], expected[name], strict=True)
    pairs.append((by["tau_s"], expected["tau_s"]))
    assert ("tau_loss" in by) == ("loss_tau" in expected)
    if "tau_loss" in by:
        pairs.append((by["tau_loss"], expected["loss_tau"]))
    for found, wanted in pairs:
        assert array_error(found, wanted) < GOLDEN_TOLERANCE
    if "heights" in golden:
        np.testing.assert_allclose(result.highest_membrane[-1], golden["heights"], rtol=GOLDEN_TOLERANCE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_shares_a_constant_has_the_sum(case):
    name, loss = next(iter(exact_checks.case_losses(case).items()))
    expected = case["losses"][name]["gradients"]
    by_layer = {key: [entry and entry[0] for entry in case[key]] for key in ("tau_m", "threshold")}
    entries = [entry for key in by_layer for entry in case[key] if entry is not None]
    if all(len(set(entry)) == 1 for entry in entries):
        by = simulate_constants(case, loss, **by_layer).gradients_by
        for key in by_layer:
            for found, wanted in zip(by[key], expected[f"{key}_layer"], strict=True):
                assert array_error(found, wanted) < GOLDEN_TOLERANCE
        if None not in by_layer["threshold"]:
            assert by["threshold"].shape == by["tau_m"].shape == (len(case["tau_m"]),)
    if len({tau for layer in case["tau_m"] for tau in layer}) == 1 and len(set(case["tau_s"])) == 1:
        by = simulate_constants(case, loss, tau_m=case["tau_m"][0][0], tau_s=case["tau_s"][0]).gradients_by
        for key in ("tau_m", "tau_s"):
            assert isinstance(by[key], float)
            np.testing.assert_allclose(
                by[key], np.sum(expected["tau_s" if key == "tau_s" else "tau_m_layer"]), rtol=1e-9
            )


def test_without_delays_their_derivative_is_that_at_delay_zero():
    with_zeros = two_layers(delays=[np.zeros((3, 2)), np.zeros((2, 3))])
    without = two_layers()
    assert without.loss == with_zeros.loss
    for found, wanted in zip(without.gradients_by["delays"], with_zeros.gradients_by["delays"], strict=True):
        assert np.any(wanted)
        np.testing.assert_array_equal(found, wanted)


# ---------------------------------------------------------------- identities, and jumps planted wrong


def without_slope(P_u, dL_dt, slope, threshold, tau_m):
    return (1.0 + threshold / tau_m) * P_u - dL_dt / slope


def test_the_identities_reject_a_wrong_jump(monkeypatch):
    errors = (exact_checks.shift_error, exact_checks.stretch_error)
    case = CASES[8]
    monkeypatch.setattr(kernels, "layer_adjoint", getattr(kernels.layer_adjoint, "py_func", kernels.layer_adjoint))

    def imbalance():
        loss = exact_checks.case_losses(case)["first-spike"]
        run = exact_checks.ConstantsRun(case, case["losses"]["first-spike"], simulate_constants(case, loss))
        return [error(run) for error in errors]

    assert max(imbalance()) < 1e-12
    monkeypatch.setattr(kernels, "adjoint_before_spike", without_slope)
    assert min(imbalance()) > 1e-3


# ---------------------------------------------------------------- tau_m passing tau_s


def test_nothing_jumps_where_tau_m_passes_tau_s():
    tau, step = 6.0, 1e-7
    network = smooth_network((4, 4, 2), tau, tau)
    near = [network._replace(tau_m=tau * (1.0 + k * step)) for k in (-2, -1, 0, 1, 2)]
    runs = [exact.simulate(*arguments, tau_loss=tau) for arguments in near]
    for name in ("tau_m", "tau_s", "threshold"):
        values = np.array([run.gradients_by[name] for run in runs])
        # The third differences of a smooth function are of order step^3; what is left is rounding.
        assert 0.0 < np.ptp(values) < 1e-4 * np.abs(values).max()
        assert np.abs(np.diff(values, 3)).max() < 1e-12 * np.abs(values).max()


def test_the_gradient_at_equal_time_constants_is_that_of_differences():
    loss = exact.VanRossum([[8.0], [12.0]], 3.0)
    for name in ("tau_m", "tau_s"):
        arguments = {"tau_m": 6.0, "tau_s": 6.0, "loss": loss}
        step = 1e-4
        values = {k: two_layers(**(arguments | {name: 6.0 + k * step})).loss for k in (-2, -1, 1, 2)}
        difference = (8.0 * (values[1] - values[-1]) - (values[2] - values[-2])) / (12.0 * step)
        np.testing.assert_allclose(two_layers(**arguments).gradients_by[name], difference, rtol=1e-8)


@pytest.mark.parametrize("y", [0.0, 1e-300, 1e-12, 9.9e-9, 1.01e-8, 1e-3, 0.4999999, 0.5, 0.7, 3.0, 40.0, 1e4])
def test_moments_of_a_decay_equal_quadrature(y):
    nodes, node_weights = np.polynomial.legendre.leggauss(30)
    edges = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 40)])
    zeroth = first = 0.0
    for start, stop in itertools.pairwise(edges):
        x = 0.5 * (start + stop) + 0.5 * (stop - start) * nodes
        integrand = 0.5 * (stop - start) * node_weights * np.exp(-y * x)
        zeroth, first = zeroth + integrand.sum(), first + (integrand * x).sum()
    np.testing.assert_allclose(closed_forms.mean_decay(y), zeroth, rtol=1e-13)
    np.testing.assert_allclose(closed_forms.decay_moment(y), first, rtol=1e-13)


@pytest.mark.parametrize(
    ("tau_m", "tau_s"), [(10.0, 3.0), (3.0, 10.0), (5.0, 5.0), (5.0, 5.0 * (1 + 1e-9)), (20.0, 0.01)]
)
def test_overlap_moments_are_the_derivatives_of_the_overlap(tau_m, tau_s):
    t, h = 7.0, 1e-4
    overlap = closed_forms.exponential_overlap
    K, K_m, K_s = closed_forms.overlap_moments(t, tau_m, tau_s, *closed_forms.decays(t, tau_m, tau_s))
    np.testing.assert_allclose(K, overlap(t, tau_m, tau_s), rtol=1e-15)

    def difference(function, at):
        f = {k: function(at * (1.0 + k * h)) for k in (-2, -1, 1, 2)}
        return (8.0 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12.0 * h * at)

    np.testing.assert_allclose(K_m / tau_m**2, difference(lambda tau: overlap(t, tau, tau_s), tau_m), rtol=1e-9)
    np.testing.assert_allclose(K_s / tau_s**2, difference(lambda tau: overlap(t, tau_m, tau), tau_s), rtol=1e-9)


# ---------------------------------------------------------------- delays


def test_an_axonal_delay_is_a_late_input():
    delayed = two_layers(delays=[[[0.5, 2.0]] * 3, np.zeros((2, 3))])
    late = two_layers(input_spikes=[[1.5, 4.5, 9.5], [4.5, 9.0]])
    assert delayed.loss == late.loss
    for found, wanted in zip(delayed.gradients, late.gradients, strict=True):
        np.testing.assert_array_equal(found, wanted)
    for neuron in range(2):
        by_delay = delayed.gradients_by["delays"][0][:, neuron].sum()
        np.testing.assert_allclose(by_delay, late.gradients_by["input_times"][neuron].sum(), rtol=1e-12)


@pytest.mark.parametrize("delay", [27.0, 50.0])
def test_what_arrives_at_the_end_or_later_has_no_effect(delay):
    weights = [[[27.0, 9.0]]]
    cut = exact.simulate(weights, [[1.0, 4.0], [3.0]], 10.0, 4.0, 1.0, 30.0, [[8.0]], delays=[[[0.0, delay]]])
    without = exact.simulate(weights, [[1.0, 4.0], []], 10.0, 4.0, 1.0, 30.0, [[8.0]])
    assert cut.loss == without.loss
    np.testing.assert_array_equal(cut.gradients[0], without.gradients[0])
    assert cut.gradients_by["delays"][0][0, 1] == 0.0
    np.testing.assert_array_equal(cut.gradients_by["input_times"][1], [0.0])


def test_the_event_gap_is_that_of_arrivals():
    spike = float(exact.simulate([[[30.0]]], [[1.0]], 10.0, 3.0, 1.0, 30.0).spike_times[0][0][0])
    weights, inputs = [[[30.0, 1.0]]], [[1.0], [2.0]]
    near = exact.simulate(weights, inputs, 10.0, 3.0, 1.0, 30.0, delays=[[[0.0, spike - 2.0 + 1e-3]]])
    far = exact.simulate(weights, inputs, 10.0, 3.0, 1.0, 30.0, delays=[[[0.0, spike - 2.0 + 1.0]]])
    np.testing.assert_allclose(near.smallest_event_gap, 1e-3, rtol=1e-6)
    np.testing.assert_allclose(far.smallest_event_gap, 1.0, rtol=1e-6)
    # With a delay of its own each neuron is compared with its own arrivals.
    two = exact.simulate(
        [[[30.0, 1.0], [0.0, 0.0]]], inputs, 10.0, 3.0, 1.0, 30.0, delays=[[[0.0, 20.0], [0.0, spike - 2.0]]]
    )
    assert two.smallest_event_gap > 1e-2


# ---------------------------------------------------------------- peaks


def readout(**changes):
    """A readout of two neurons that never fires."""
    arguments = TWO_LAYERS | {"weights": [[[9.0, 3.0], [4.0, 8.0]]], "threshold": [None], "loss": exact.Peak(1)}
    return exact.simulate(**(arguments | changes))


def test_a_membrane_that_never_leaves_rest_has_no_derivative():
    result = readout(weights=[[[9.0, 3.0], [-4.0, -8.0]]])
    assert result.highest_membrane[0][1] == 0.0
    np.testing.assert_array_equal(result.gradients[0][1], 0.0)
    assert np.all(result.gradients[0][0] > 0.0)


@pytest.mark.parametrize("duration", [2.0, 30.0])
def test_a_peak_at_the_end_and_one_inside_equal_differences(duration):
    inputs = [[0.5, 1.0], [1.2]]
    arguments = {"input_spikes": inputs, "duration": duration}
    result = readout(**arguments)
    step = 1e-4
    for name in ("tau_m", "tau_s"):
        f = {k: readout(**arguments, **{name: TWO_LAYERS[name] + k * step}).loss for k in (-2, -1, 1, 2)}
        difference = (8.0 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12.0 * step)
        np.testing.assert_allclose(result.gradients_by[name], difference, rtol=1e-8)
    f = {k: readout(**(arguments | {"input_spikes": [[0.5, 1.0 + k * step], [1.2]]})).loss for k in (-2, -1, 1, 2)}
    difference = (8.0 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12.0 * step)
    np.testing.assert_allclose(result.gradients_by["input_times"][0][1], difference, rtol=1e-8)


def test_a_peak_at_an_inhibitory_arrival_moves_with_it():
    arguments = {"weights": [[[9.0, 3.0], [8.0, -30.0]]], "input_spikes": [[1.0], [3.0]]}
    result = readout(**arguments)
    step = 1e-4
    f = {k: readout(**(arguments | {"input_spikes": [[1.0], [3.0 + k * step]]})).loss for k in (-2, -1, 1, 2)}
    difference = (8.0 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12.0 * step)
    assert abs(difference) > 1e-3
    np.testing.assert_allclose(result.gradients_by["input_times"][1][0], difference, rtol=1e-8)


def test_a_readout_has_no_margin_and_no_derivative_by_its_threshold():
    result = two_layers(threshold=[1.0, None], loss=exact.Peak(0))
    assert all(train.size == 0 for train in result.spike_times[1])
    assert isinstance(result.gradients_by["threshold"][0], float)
    assert result.gradients_by["threshold"][1] is None
    assert math.isfinite(result.smallest_peak_margin)
    assert readout().smallest_peak_margin == math.inf
    assert readout().gradients_by["threshold"] == [None]


# ---------------------------------------------------------------- losses and what is asked for


def test_spikes_only():
    result = two_layers(loss=None)
    assert math.isnan(result.loss)
    assert result.gradients == []
    assert result.gradients_by == {}
    assert sum(map(len, result.spike_times[1])) > 0


def test_desired_spikes_are_short_for_the_van_rossum_loss():
    desired = [[8.0], [12.0]]
    by_loss = two_layers(loss=exact.VanRossum(desired, 3.0))
    short = two_layers(loss=None, desired_spikes=desired, tau_loss=3.0)
    assert short.loss == by_loss.loss
    np.testing.assert_array_equal(short.gradients[0], by_loss.gradients[0])
    assert short.gradients_by["tau_loss"] == by_loss.gradients_by["tau_loss"]
    last = two_layers(loss=None, desired_spikes=desired, tau_s=[5.0, 3.5])
    assert last.loss == two_layers(loss=exact.VanRossum(desired, 3.5), tau_s=[5.0, 3.5]).loss


def test_a_silent_output_counts_as_fired_at_the_end():
    weights = [TWO_LAYERS["weights"][0], [[15.0, 12.0, 9.0], [0.01, 0.0, 0.0]]]
    result = two_layers(weights=weights, loss=exact.FirstSpike(1, 2.0, 10.0, 0.05))
    assert result.spike_times[1][1].size == 0
    t = float(result.spike_times[1][0][0])
    expected = math.log(1.0 + math.exp((30.0 - t) / 2.0)) + 0.05 * math.expm1(3.0)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-13)
    np.testing.assert_array_equal(result.gradients[1][1], 0.0)
    assert np.all(result.gradients[1][0] != 0.0)


def test_a_network_that_is_silent_throughout_has_zero_derivatives():
    result = two_layers(weights=[np.zeros((3, 2)), np.zeros((2, 3))])
    assert math.isfinite(result.loss)
    for name in ("tau_m", "tau_s", "threshold"):
        assert result.gradients_by[name] == 0.0
    assert [train.size for train in result.gradients_by["output_times"]] == [0, 0]


def test_a_loss_far_from_its_label_is_finite():
    loss = two_layers(loss=exact.FirstSpike(0, 1e-3, 10.0, 0.0))
    assert math.isfinite(loss.loss)
    assert np.all(np.isfinite(loss.gradients[0]))


# ---------------------------------------------------------------- which tau_s is whose


def test_tau_s_by_the_layer_that_emits():
    np.testing.assert_array_equal(exact.emitted_tau_s([3.0, 5.0, 6.0], 4.0), [3.0, 5.0, 6.0, 4.0])
    # The second tau_s is of the PSC that layer 0 emits: layer 0 itself does not feel it, layer 1 does.
    slow, quick = two_layers(tau_s=[4.0, 4.0]), two_layers(tau_s=[4.0, 2.0])
    np.testing.assert_array_equal(slow.spike_times[0][0], quick.spike_times[0][0])
    assert slow.spike_times[1][0][0] != quick.spike_times[1][0][0]
    with pytest.raises(ValueError, match="tau_s must be greater than 0, got -1"):
        exact.emitted_tau_s([3.0, -1.0], 4.0)
    with pytest.raises(ValueError, match="tau_s must be greater than 0, got 0"):
        exact.emitted_tau_s([3.0, 0.0], 4.0)
    with pytest.raises(ValueError, match="tau_loss must be greater than 0"):
        exact.emitted_tau_s([3.0], 0.0)

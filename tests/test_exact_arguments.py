"""What `tsslbp_ref.exact.simulate` refuses: malformed arguments, and networks that fire without end."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tsslbp_ref import exact
from tsslbp_ref.exact import arguments, sweeps

VALID = {
    "weights": [[[11.0]]],
    "input_spikes": [[1.0, 4.0]],
    "tau_m": 10.0,
    "tau_s": 3.0,
    "threshold": 1.0,
    "duration": 30.0,
    "desired_spikes": [[5.0]],
}


FIRST = exact.FirstSpike(0, 2.0, 10.0, 0.0)


def single(**changes):
    """Simulate one neuron with one input, some arguments replaced."""
    return exact.simulate(**(VALID | changes))


def test_a_spike_at_the_very_beginning_and_at_the_very_end_is_taken():
    """One at 0 is the same spike, earlier; one at the end reaches nobody."""
    (early,) = single(input_spikes=[[0.0, 3.0]], duration=29.0).spike_times[0]
    (late,) = single(input_spikes=[[1.0, 4.0]], duration=30.0).spike_times[0]
    assert len(early) == len(late) > 0
    np.testing.assert_allclose(np.asarray(early) + 1.0, late, rtol=1e-12)
    assert np.array_equal(single(input_spikes=[[1.0, 4.0, 30.0]]).spike_times[0][0], late)


@pytest.mark.parametrize(
    ("duration", "dt", "n_steps"), [(100.1, 1e-3, 100_100), (100.1, 0.1, 1001), (0.3, 0.1, 3), (0.5, 0.5, 1)]
)
def test_a_long_run_in_small_steps_is_a_whole_number_of_them(duration, dt, n_steps):
    """Although their quotient need not be one: 100.1 / .001 is 100099.99999999999, .3 / .1 is 2.9999999999999996."""
    given = [[[11.0]]], [[0.05]], [[0.1]], 10.0, 3.0, 1.0, duration, dt
    assert len(exact.discrete_equivalent(*given).input_raster) == n_steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_spikes": [[1.0, 3.0, 2.0, 4.0, 3.5]]}, r"input_spikes\[0\] must be sorted, got 2 after a later time"),
        ({"input_spikes": [[4.0, 1.0]]}, r"input_spikes\[0\] must be sorted, got 1 after"),
        ({"input_spikes": [[-1.0, 4.0]]}, r"input_spikes\[0\] must lie in \[0, duration\].*got -1"),
        ({"input_spikes": [[1.0, 30.5]]}, r"input_spikes\[0\] must lie in \[0, duration\].*got 30.5"),
        ({"input_spikes": [[1.0, math.nan]]}, r"input_spikes\[0\] must be finite"),
        ({"input_spikes": [[1.0, math.inf]]}, r"input_spikes\[0\] must be finite"),
        ({"input_spikes": [[[1.0], [2.0]]]}, r"input_spikes\[0\] must have 1 axes"),
        ({"input_spikes": [[1.0], [2.0]]}, "input_spikes must hold 1 spike trains"),
        ({"input_spikes": [1.0]}, r"input_spikes\[0\] must have 1 axes"),
        ({"desired_spikes": [[9.0, 5.0]]}, r"desired_spikes\[0\] must be sorted"),
        ({"desired_spikes": []}, "desired_spikes must hold 1 spike trains"),
        ({"desired_spikes": [[31.0]]}, r"desired_spikes\[0\] must lie in"),
        ({"weights": []}, "weights must hold at least one layer"),
        ({"weights": [[[math.nan]]]}, r"weights\[0\] must be finite"),
        ({"weights": [[1.0]]}, r"weights\[0\] must have 2 axes"),
        ({"weights": [[[1.0]], [[1.0, 2.0]]]}, r"weights\[1\] must have 1 columns to match weights\[0\]"),
        ({"weights": [np.zeros((0, 1))]}, r"weights\[0\] must not be empty"),
        ({"weights": [[[1e308]]], "tau_s": 0.1}, "a membrane of layer 0 overflowed"),
        ({"weights": [[[1e307]]], "tau_m": 0.01}, "a membrane of layer 0 overflowed"),
        ({"tau_m": 0.0}, "tau_m must be greater than 0"),
        ({"tau_s": -1.0}, "tau_s must be greater than 0"),
        ({"tau_m": math.nan}, "tau_m must be finite"),
        ({"threshold": 0.0}, "threshold must be greater than 0"),
        ({"duration": -1.0}, "duration must be greater than 0"),
        ({"duration": math.inf}, "duration must be finite"),
        ({"max_events": 0}, "max_events must be at least 1"),
        ({"tau_m": [10.0, 10.0]}, "tau_m must be a number or hold one entry a layer, 1, got 2"),
        ({"tau_m": [[10.0, 10.0]]}, r"tau_m\[0\] must hold one number a neuron, 1, got 2"),
        ({"tau_m": [-2.0]}, r"tau_m\[0\] must be greater than 0, got -2"),
        ({"tau_m": [[0.0]]}, r"tau_m\[0\] must be greater than 0, got 0"),
        ({"threshold": [[math.nan]]}, r"threshold\[0\] must be finite"),
        ({"threshold": [None]}, "desired_spikes needs outputs that fire"),
        ({"tau_s": [[3.0]]}, "tau_s must be a number or one number a layer of weights, not one a neuron"),
        ({"tau_s": np.full((1, 1), 3.0)}, "more than one peak between events"),
        ({"tau_s": [3.0, [3.0]]}, "more than one peak between events"),
        ({"tau_s": [3.0, 3.0]}, "tau_s must be a number or hold one a layer of weights, 1, got 2"),
        ({"tau_s": [0.0]}, r"tau_s\[0\] must be greater than 0"),
        ({"delays": []}, "delays must hold one array a layer of weights, 1, got 0"),
        ({"delays": [[[-0.5]]]}, r"delays\[0\] must be at least 0, got -0.5"),
        ({"delays": [[[2.0, -0.5]]], "weights": [[[1.0, 1.0]]]}, r"delays\[0\] must be at least 0, got -0.5"),
        ({"delays": [[[0.5, 1.0]]]}, r"delays\[0\] must have the shape of weights\[0\], \(1, 1\), got \(1, 2\)"),
        ({"delays": [[[math.inf]]]}, r"delays\[0\] must be finite"),
        ({"tau_loss": 0.0}, "tau_loss must be greater than 0"),
        ({"tau_loss": 3.0, "desired_spikes": None}, "tau_loss belongs to desired_spikes"),
        ({"loss": exact.Peak(0)}, "desired_spikes .with tau_loss. or loss, not both"),
        ({"loss": exact.Peak(0), "desired_spikes": None}, "Peak needs a readout that never fires"),
        ({"loss": FIRST, "desired_spikes": None, "threshold": [None]}, "FirstSpike needs outputs that fire"),
        ({"loss": exact.FirstSpike(1, 2.0, 10.0, 0.0), "desired_spikes": None}, "label must be one of the 1 outputs"),
        ({"loss": exact.Peak(None), "desired_spikes": None, "threshold": [None]}, "label must be one of .* got None"),
        ({"loss": exact.FirstSpike(0, 2.0, 1e-3, 0.05), "desired_spikes": None}, "tau1 must be at least duration/700"),
        ({"loss": exact.Peak(3), "desired_spikes": None, "threshold": [None]}, "label must be one of .* got 3"),
        ({"loss": exact.VanRossum([], 3.0), "desired_spikes": None}, "desired must hold 1 spike trains"),
        ({"loss": exact.VanRossum([[31.0]], 3.0), "desired_spikes": None}, r"desired\[0\] must lie in"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_values(changes, message):
    with pytest.raises(ValueError, match=message):
        single(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": 3.0}, "weights must be a sequence"),
        ({"input_spikes": 3.0}, "input_spikes must be a sequence"),
        ({"input_spikes": [["a"]]}, r"input_spikes\[0\] must hold real numbers"),
        ({"tau_m": "ten"}, "tau_m must be a real number"),
        ({"max_events": 1.5}, "max_events must be an integer"),
        ({"threshold": None}, "threshold must be a real number, got None"),
        ({"tau_m": [None]}, r"tau_m\[0\] must be a real number, got None"),
        ({"tau_m": [["a"]]}, r"tau_m\[0\] must hold real numbers"),
        ({"loss": "peak", "desired_spikes": None}, "loss must be a VanRossum, FirstSpike or Peak, got str"),
        ({"delays": 1.0}, "delays must be a sequence"),
        ({"tau_m": {1: 10.0}}, r"tau_m must be a sequence, got \{1: 10.0\}"),
        ({"threshold": {1.0}}, r"threshold must be a sequence, got \{1.0\}"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_types(changes, message):
    with pytest.raises(TypeError, match=message):
        single(**changes)


def test_what_can_be_gone_through_once_is_taken_where_a_sequence_is():
    expected = single().loss
    assert single(desired_spikes=(train for train in [[5.0]])).loss == expected
    loss = exact.VanRossum(map(list, [[5.0]]), VALID["tau_s"])
    assert [single(desired_spikes=None, loss=loss).loss for _ in range(2)] == [expected, expected]


@pytest.mark.parametrize("weights", [[[[11.0], [15.0]]], [[[0.1], [0.1]]]], ids=["both fire", "silent"])
def test_a_first_spike_that_may_be_late_costs_nothing_however_late(weights):
    """tau1 has no meaning then: exp(T/tau1) is infinite here, and 0 times that no number."""
    given = weights, [[975.0, 978.0]], 10.0, 3.0, 1.0, 1000.0
    found, other = (exact.simulate(*given, loss=exact.FirstSpike(1, 2.0, tau1, 0.0)) for tau1 in (1.0, 1e6))
    assert math.isfinite(found.loss)
    assert found.loss == other.loss
    np.testing.assert_array_equal(found.gradients[0], other.gradients[0])


def test_the_number_of_spikes_is_bounded():
    with pytest.raises(ValueError, match="more than max_events = 100000 spikes, reached in layer 0"):
        single(weights=[[[1e12]]])
    counts = len(single(weights=[[[500.0]]]).spike_times[0][0])
    assert len(single(weights=[[[500.0]]], max_events=10**30).spike_times[0][0]) == counts
    assert len(single(weights=[[[500.0]]], max_events=counts).spike_times[0][0]) == counts
    with pytest.raises(ValueError, match=f"more than max_events = {counts - 1}"):
        single(weights=[[[500.0]]], max_events=counts - 1)
    # The bound is shared: each layer alone stays below it.
    layers = [[[500.0]], [[5.0]]]
    assert 1 < len(single(weights=layers).spike_times[1][0]) < counts
    with pytest.raises(ValueError, match="reached in layer 1"):
        single(weights=layers, max_events=counts + 1)


def test_a_threshold_near_zero_is_named_where_the_spikes_have_no_bound():
    with pytest.raises(ValueError, match=r"least threshold 1e-09\).* without bound as V goes to 0"):
        single(threshold=1e-9)
    with pytest.raises(ValueError, match=r"least threshold 1e-09\)"):
        single(weights=[[[11.0], [11.0]]], threshold=[[1.0, 1e-9]], desired_spikes=[[5.0], [5.0]])


def test_the_least_slope_that_is_no_rounding_error_grows_with_the_threshold_and_falls_with_tau_m():
    model = arguments.checked_model([[[1.0], [1.0]]], [[4.0, 8.0]], 3.0, [[2.0, 1.0]], 30.0, None)
    np.testing.assert_allclose(sweeps.smallest_slope(model, 0), np.sqrt(2.0**-52) * np.array([0.5, 0.125]), rtol=1e-15)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: exact.Peak(-1), ValueError, "label must be at least 0, got -1"),
        (lambda: exact.Peak(0.5), TypeError, "label must be an integer"),
        (lambda: exact.FirstSpike(0, 0.0, 10.0, 0.1), ValueError, "tau0 must be greater than 0"),
        (lambda: exact.FirstSpike(0, 2.0, -1.0, 0.1), ValueError, "tau1 must be greater than 0"),
        (lambda: exact.FirstSpike(0, 2.0, 10.0, -0.1), ValueError, "alpha must be at least 0"),
        (lambda: exact.VanRossum([[1.0]], 0.0), ValueError, "tau must be greater than 0"),
    ],
)
def test_bad_losses(make, error, message):
    with pytest.raises(error, match=message):
        make()

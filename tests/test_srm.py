"""The neuron as kernels: closed forms, continuous time, the released code's network, and what wrong arguments say."""

import doctest
import math

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref import srm
from tsslbp_ref.model import reference

NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)


@pytest.mark.parametrize(("tau_m", "tau_s"), [(5.0, 3.0), (3.0, 5.0), (1.0, 4.0)])
def test_response_kernel_is_the_difference_of_two_powers(tau_m, tau_s):
    """The geometric sum, written out for constants that differ."""
    theta_m, theta_s = 1.0 / tau_m, 1.0 / tau_s
    lags = np.arange(1, 12)
    powers = (1.0 - theta_s) ** (lags + 1) - (1.0 - theta_m) ** (lags + 1)
    found = [srm.response_kernel(int(lag), theta_m, theta_s) for lag in lags]
    assert np.allclose(found, theta_s * powers / (theta_m - theta_s), rtol=1e-13)
    assert srm.response_kernel(-1, theta_m, theta_s) == 0.0


def test_response_kernel_of_equal_constants():
    """(lag + 1) theta (1 - theta)^lag: the limit of the difference of powers."""
    expected = [(lag + 1) * 0.25 * 0.75**lag for lag in range(8)]
    assert np.allclose([srm.response_kernel(lag, 0.25, 0.25) for lag in range(8)], expected, rtol=1e-14)


def test_response_kernel_in_fine_steps_is_that_of_continuous_time():
    """(exp(-t/tau_m) - exp(-t/tau_s))/(tau_m - tau_s), the membrane that one spike leaves, to first order in dt."""
    t, tau_m, tau_s = 4.0, 5.0, 3.0
    continuous = tau_m * (math.exp(-t / tau_m) - math.exp(-t / tau_s)) / (tau_m - tau_s)  # weights hold R/tau_m
    errors = [
        abs(srm.response_kernel(round(t * parts), 1 / (tau_m * parts), 1 / (tau_s * parts)) / continuous - 1)
        for parts in (50, 100)
    ]
    assert errors[0] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.02)


def test_the_released_codes_network_in_kernels(golden):
    """12-9-8-4 of the released code (ffaac71), layer by layer: each layer reads the spikes of the one below."""
    s = np.repeat(golden["dense_x"].reshape(1, 3, 12), 5, axis=0)
    for layer in range(3):
        trace = srm.forward(s, golden[f"dense_W{layer}"], NEURON)
        s = trace.s
    assert s.any()
    assert np.abs(trace.a - golden["dense_a"]).max() < 1e-12


@pytest.mark.parametrize("neuron", [NEURON, tr.NeuronParameters(12.5, 1.0, 0.7), tr.NeuronParameters(1.0, 4.0, 0.3)])
def test_eta_and_membrane_of_many_neurons(neuron):
    rng = np.random.default_rng(3)
    s, W = (rng.random((30, 2, 6)) < 0.4) * 1.0, rng.normal(0.3, 0.4, (5, 6))
    I = reference.psc_filter(s, neuron) @ W.T
    trace, kernels = reference.lif_forward(I, neuron), srm.forward(s, W, neuron)
    assert trace.s.sum() > 30
    assert np.array_equal(kernels.s, trace.s)
    assert np.abs(kernels.u - trace.u).max() < 1e-13
    never = reference.lif_forward(I, tr.NeuronParameters(neuron.tau_m, neuron.tau_s, 1e9)).u
    assert np.abs(never + srm.eta(trace, neuron) - trace.u * (1.0 - trace.s)).max() < 1e-13


def test_a_silent_neuron_has_no_eta():
    trace = reference.lif_forward(np.full((6, 1, 1), 0.1), NEURON)
    assert not srm.eta(trace, NEURON).any()


@pytest.mark.parametrize(
    ("s", "W", "neuron", "error", "message"),
    [
        (
            np.ones((4, 3)),
            np.ones((2, 3)),
            NEURON,
            ValueError,
            r"s must be \(T, B, n\): steps, batch, inputs; got 2 axes",
        ),
        (np.ones((4, 1, 3)), np.ones(3), NEURON, ValueError, r"W must be \(N, n\)"),
        (np.ones((4, 1, 3)), np.ones((2, 4)), NEURON, ValueError, r"W must have shape \(2, 3\) to match s"),
        (np.full((4, 1, 3), np.nan), np.ones((2, 3)), NEURON, ValueError, "s must be finite"),
        (np.ones((4, 1, 3)), np.full((2, 3), 1e308), NEURON, ValueError, "too large"),
        (np.ones((4, 1, 3)), np.ones((2, 3)), None, TypeError, "neuron must be a NeuronParameters"),
    ],
)
def test_wrong_arguments_of_forward(s, W, neuron, error, message):
    with pytest.raises(error, match=message):
        srm.forward(s, W, neuron)


def test_eta_of_another_neurons_trace():
    trace = reference.lif_forward(np.ones((3, 1, 1)), NEURON)
    with pytest.raises(ValueError, match=r"trace\.threshold must be neuron\.threshold = 2\.0"):
        srm.eta(trace, tr.NeuronParameters(threshold=2.0))
    with pytest.raises(TypeError, match="trace must be a Trace"):
        srm.eta(np.ones((3, 1, 1)), NEURON)


def test_examples():
    outcome = doctest.testmod(srm)
    assert outcome.attempted > 0
    assert outcome.failed == 0

"""The states of the authors' code in 2020 as rules: the switch, silent steps, halves of the chain, planted errors."""

import math

import numpy as np
import pytest
from planted import Plant
from wrong_versions import coefficients_with

import tsslbp_ref as tr
from tsslbp_ref import gradcheck
from tsslbp_ref.model import reference, sweeps
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

NEURON = NeuronParameters(5.0, 2.0)
STATES = ("june-2020", "september-2020", "november-2020")
HOPPING = STATES[1:]


def backward(rule, firing_rate=None, twin=sweeps):
    """Delta of a layer that fires in a fifth of all neurons and steps."""
    rng = np.random.default_rng(2)
    trace = sweeps.lif_forward(rng.normal(0.35, 0.6, (12, 3, 8)), NEURON)
    assert 0.1 < trace.firing_rate < 0.3
    return twin.tsslbp_backward(rng.normal(size=trace.u.shape), trace, NEURON, rule, firing_rate=firing_rate)


# ---------------------------------------------------------------------------------------------------------------------
# The switch
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", STATES)
def test_the_rate_itself_is_on_the_surrogates_side(state):
    rule = tr.rule_by_name(state)
    gates = [rule.coefficients(NEURON, rate).warmup_gate for rate in (0.0, 0.1, math.nextafter(0.1, 1.0), 1.0)]
    assert gates == [math.inf, math.inf, -math.inf, -math.inf]


@pytest.mark.parametrize("twin", [sweeps, reference], ids=["fast", "reference"])
@pytest.mark.parametrize("state", STATES)
def test_a_given_rate_goes_before_the_traces_own(state, twin):
    rule = tr.rule_by_name(state)
    assert np.array_equal(backward(rule, twin=twin), backward(rule, 0.2, twin))
    assert np.abs(backward(rule, 0.1, twin) - backward(rule, 0.2, twin)).max() > 0.1


def test_rules_that_need_a_rate():
    assert {name for name, rule in tr.named_rules().items() if rule.needs_firing_rate} == set(STATES)
    assert not GradientRule(inter="surrogate", warmup="layer").needs_firing_rate


def test_at_the_surrogates_side_june_is_the_surrogate():
    assert np.array_equal(backward(tr.rule_by_name("june-2020"), 0.1), backward(tr.rule_by_name("surrogate")))


# ---------------------------------------------------------------------------------------------------------------------
# Silent steps, and the two halves of the chain
# ---------------------------------------------------------------------------------------------------------------------


def test_without_a_leak_silent_steps_have_nothing_and_spikes_what_they_had():
    rng = np.random.default_rng(4)
    trace = sweeps.lif_forward(rng.normal(0.35, 0.6, (12, 3, 8)), NEURON)
    g, fired = rng.normal(size=trace.u.shape), trace.s == 1.0
    for intra in (True, False, "consistent", "one-hop", "leak"):
        with_leak, without = (
            sweeps.tsslbp_backward(g, trace, NEURON, GradientRule(intra=intra, warmup=False, silent=silent))
            for silent in ("leak", "none")
        )
        assert np.array_equal(without, np.where(fired, with_leak, 0.0))
        assert (np.abs(with_leak[~fired]).max() > 0.01) == (intra is not False)


def test_the_two_halves_of_the_chain():
    whole, no_chain = GradientRule(warmup=False), GradientRule(intra=False, warmup=False)
    leak, reset = (GradientRule(intra=intra, warmup=False) for intra in ("leak", "reset"))
    assert np.array_equal(backward(reset), backward(GradientRule(intra=True, warmup=False, silent="none")))
    assert np.array_equal(
        backward(GradientRule(intra="leak", warmup=False, silent="none")), backward(no_chain)
    )  # nothing is left of it
    deltas = [backward(rule) for rule in (whole, no_chain, leak, reset)]
    assert all(np.abs(x - y).max() > 0.01 for n, x in enumerate(deltas) for y in deltas[:n])


# ---------------------------------------------------------------------------------------------------------------------
# Planted errors
# ---------------------------------------------------------------------------------------------------------------------


def rows(states, *patterns):
    """The rows of some states, by patterns with the state's name left out."""
    return tuple(pattern.format(state) for state in states for pattern in patterns)


CHAIN_SIDE = ("phi-{}", "tangent-{}-dense-3-static", "golden-{}-layer[012]", "golden-{}-dense*", "golden-{}-cnn")
WRONG = {
    "no hop": ({"hop_by_u": 0.0}, rows(HOPPING, *CHAIN_SIDE, "golden-{}-quiet")),
    "hop without theta_m": ({"hop_by_u": 1.0}, rows(HOPPING, *CHAIN_SIDE, "golden-{}-quiet")),
    "silent steps leak": ({"silent": 1.0}, rows(HOPPING, *CHAIN_SIDE)),
    "no onset": ({"inter_before": 0.0}, rows(["november-2020"], *CHAIN_SIDE)),
    "never the surrogate": ({"warmup_gate": -math.inf}, rows(STATES, "tangent-{}-dense-3-quiet", "golden-{}-layer3")),
    "always the surrogate": ({"warmup_gate": math.inf}, rows(STATES, *CHAIN_SIDE)),
    "clip of today": ({"inverse_rise_clip": 8.0}, rows(STATES, "phi-{}", "tangent-{}-conv-spikes")),
}


@pytest.mark.parametrize("error", WRONG)
def test_the_check_table_rejects(error, monkeypatch, report):
    changes, rejected_by = WRONG[error]
    assert report.passed
    Plant(error, GradientRule, "coefficients", coefficients_with(**changes), rejected_by).into(monkeypatch)
    assert [row.name for row in gradcheck.run(rejected_by).rows if row.passed] == []

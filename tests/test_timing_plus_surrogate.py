"""Timing plus surrogate: `surrogate_weight` adds kappa G ds/du to the rule's own delta, literal, compiled, engine."""

import math

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref import checkpoints
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.model import reference, sweeps
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters
from tsslbp_ref.training.descriptions import describe, read, read_file, rule_label, rule_table, to_toml
from tsslbp_ref.training.experiments import experiment
from tsslbp_ref.training.run_files import with_rule_defaults

NEURON = NeuronParameters(5.0, 2.0)
BASES = {
    "released": {},
    "no-intra": {"intra": False},
    "literal": {"inter": "literal"},
    "consistent": {"inter": "consistent", "intra": "consistent", "inverse_rise_clip": math.inf},
    "june-2020": {"intra": False, "warmup": "layer", "silent": "none"},
    "november-2020": {"intra": "one-hop", "inter": "onset", "warmup": "layer", "silent": "none"},
    "reset": {"intra": "reset"},
}


def layer(seed=2):
    """Trace and dL/da of a layer that fires in a fifth of all neurons and steps."""
    rng = np.random.default_rng(seed)
    trace = sweeps.lif_forward(rng.normal(0.35, 0.6, (12, 3, 8)), NEURON)
    return rng.normal(size=trace.u.shape), trace


def backward(twin=sweeps, **fields):
    g, trace = layer()
    return twin.tsslbp_backward(g, trace, NEURON, GradientRule(**fields))


# ---------------------------------------------------------------------------------------------------------------------
# The sum
# ---------------------------------------------------------------------------------------------------------------------


def test_by_hand():
    """T = 2, one neuron: silent at u = 0.9, then a spike at u = 1.5; every number worked out."""
    neuron = NeuronParameters(tau_m=2.0, tau_s=2.0)
    trace = sweeps.lif_forward(np.array([0.9, 1.05])[:, None, None], neuron)
    assert trace.u.ravel().tolist() == [0.9, 1.5]
    G = [0.5 * 1.0 + 0.25 * 4.0, 0.5 * 4.0]
    slopes = [math.exp(-0.5) / (1 + math.exp(-0.5)) ** 2 / 0.2, math.exp(-2.5) / (1 + math.exp(-2.5)) ** 2 / 0.2]
    timing = G[1] / (1.5 - 0.9)  # at the spike; half of it leaks back to the silent step
    expected = [0.5 * timing + 3.0 * G[0] * slopes[0], timing + 3.0 * G[1] * slopes[1]]
    g = np.array([1.0, 4.0])[:, None, None]
    for twin in (sweeps, reference):
        found = twin.tsslbp_backward(g, trace, neuron, GradientRule(surrogate_weight=3.0))
        np.testing.assert_allclose(found.ravel(), expected, rtol=1e-13)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("kappa", [0.3, 10.0])
def test_literal_and_compiled_are_the_rule_without_warmup_plus_the_surrogate(base, kappa):
    fields = BASES[base]
    literal, fast = (backward(twin, **fields, surrogate_weight=kappa) for twin in (reference, sweeps))
    np.testing.assert_allclose(fast, literal, rtol=0, atol=1e-12 * np.abs(literal).max())
    if fields.get("intra") != "one-hop":  # whose hops are in G, too
        parts = backward(**fields | {"warmup": False}) + kappa * backward(inter="surrogate")
        np.testing.assert_allclose(fast, parts, rtol=0, atol=1e-12 * np.abs(parts).max())


def test_phi_of_the_sum_is_the_sum_of_phis():
    _, trace = layer()
    whole, timing, surrogate = (
        reference.dependency_matrix(trace, NEURON, rule)
        for rule in (GradientRule(surrogate_weight=0.7), GradientRule(warmup=False), GradientRule(inter="surrogate"))
    )
    np.testing.assert_allclose(whole, timing + 0.7 * surrogate, rtol=1e-12, atol=1e-14)


def test_the_warmup_has_no_effect_and_asks_for_no_firing_rate():
    deltas = [backward(warmup=warmup, surrogate_weight=1.0) for warmup in (True, "layer", False)]
    assert all(np.array_equal(delta, deltas[0]) for delta in deltas)
    assert not GradientRule(warmup="layer", surrogate_weight=1.0).needs_firing_rate
    alone = [backward(inter="surrogate", surrogate_weight=kappa) for kappa in (0.0, 2.0)]
    assert np.array_equal(*alone)


def test_the_named_rule():
    rule = tr.rule_by_name("timing-plus-surrogate")
    assert (rule.surrogate_weight, rule.inter, rule.intra) == (1.0, "released", True)
    assert GradientRule().surrogate_weight == 0.0


@pytest.mark.parametrize("weight", [-1.0, math.inf, math.nan, "1", True])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises((ValueError, TypeError), match="surrogate_weight must be"):
        GradientRule(surrogate_weight=weight)


# ---------------------------------------------------------------------------------------------------------------------
# The engine
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "n_in", "feed"), [
    ("8-6", (12,), "static"), ("8-6", (12,), "spikes"), ("2-400", (6,), "static"),
    ("3C3-P2-6", (2, 6, 6), "static"), ("3C3-P2-2C2", (2, 6, 6), "spikes"), ("6", (300,), "sparse"),
])  # fmt: skip
def test_engine_and_plain_loops_agree_on_any_number_of_threads(spec, n_in, feed):
    rng, rule = np.random.default_rng(3), GradientRule(surrogate_weight=0.5)
    density = {"spikes": 0.4, "sparse": 0.02}.get(feed)
    x = rng.random((5, *n_in)) if density is None else (rng.random((7, 5, *n_in)) < density) * 1.0
    settings = {"rule": rule, "dtype": "float64", "weight_scale": 3.0}
    y = np.arange(5) % 3
    plain = tr.Network.from_spec(spec, n_in, 3, 7, engine=tr.network.PlainEngine(), **settings)
    wanted = plain.loss_and_gradients(x, y)[1]
    assert all(np.any(dW) for dW in wanted)
    for n_threads in (1, 2, 3):
        net = tr.Network.from_spec(spec, n_in, 3, 7, n_threads=n_threads, **settings)
        for found, expected in zip(net.loss_and_gradients(x, y)[1], wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def test_a_saved_network_keeps_its_weight_and_older_files_have_none(tmp_path):
    for name in ("timing-plus-surrogate", "released"):
        net = tr.Network.from_spec("4", (3,), 2, 5, rule=tr.rule_by_name(name), n_threads=1)
        net.save(tmp_path / name)
        assert tr.Network.load(tmp_path / name).rule == net.rule
    arrays, meta = checkpoints.load(tmp_path / "released")
    del meta["network"]["rule"]["surrogate_weight"]
    checkpoints.save(tmp_path / "old", arrays, meta)
    assert tr.Network.load(tmp_path / "old").rule == GradientRule()
    del meta["network"]["rule"]["silent"]
    checkpoints.save(tmp_path / "bad", arrays, meta)
    with pytest.raises(CheckpointError, match="rule must have the keys"):
        tr.Network.load(tmp_path / "bad")


def test_a_config_and_a_table_of_toml(tmp_path):
    assert with_rule_defaults({"inter": "literal"})["surrogate_weight"] == "0.0"
    rule = GradientRule(surrogate_weight=0.3)
    table = rule_table(rule)
    assert rule_label(table) == "released-surrogate_weight-0.3"
    tables = describe(experiment("fashion-mnist-400-400"), rule)
    (tmp_path / "own.toml").write_text(to_toml(tables))
    assert read_file(tmp_path / "own.toml").rule == rule
    named = {"name": "timing-plus-surrogate", "surrogate_weight": 0.3}
    assert read(tables | {"rule": named}, tmp_path).rule == GradientRule(warmup=False, surrogate_weight=0.3)

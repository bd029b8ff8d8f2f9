"""Conformance: another code's arrays against the authors' numbers; planted errors are named."""

import functools
import json
import math

import numpy as np
import pytest
from another_code import compared, fits, layer, network, pools

import tsslbp_ref as tr
from tsslbp_ref import conformance

# ---------------------------------------------------------------------------------------------------------------------
# What agrees
# ---------------------------------------------------------------------------------------------------------------------


def test_another_code_agrees():
    report = compared()
    assert report.agrees
    assert report.first is None
    assert len(report.results) == 6 * 4
    assert "24 of 24 arrays agree" in report.table()
    assert "june-2020" not in report.table(), "it was not asked for"
    assert "released/dense20" in report.absent


def test_ours_agrees_in_every_state_from_the_input_on():
    """The cases' own arrays come from golden numbers where there are any, so ours is compared with the authors'."""

    def ours(case, inputs):
        if case.kind == "network":
            return network(case, inputs, lambda net: None)
        if case.kind == "loss":
            value, g = tr.losses.value_and_gradient(case.loss, inputs["a"], inputs["y"], case.neuron)
            return {"loss": value, "g": g}
        trace = tr.lif_forward(inputs["I"], case.neuron)
        return {"a": trace.a, "delta": tr.tsslbp_backward(inputs["g"], trace, case.neuron, case.rule)}

    report = conformance.compare(ours, tolerance=1e-12)
    assert report.agrees
    assert report.absent == []
    assert {case.name for case in conformance.cases()} == {result.case for result in report.results}


def test_single_precision_has_a_bound_of_its_own():
    def single(case, inputs):
        if case.key != "layer0":
            return None
        return {name: array.astype(np.float32) for name, array in layer(**inputs).items()}

    report = conformance.compare(single, "released")
    assert report.agrees
    assert {result.tolerance for result in report.results} == {1e-4}
    assert 0.0 < max(result.error for result in report.results) < 1e-6
    assert not conformance.compare(single, "released", tolerance=1e-10).agrees


# ---------------------------------------------------------------------------------------------------------------------
# Planted errors
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("errors", "symbol", "name"),
    [
        ({"clip": math.inf}, "delta", "released without the clip of 1/du"),
        ({"clip": 10.0}, "delta", "released with 1/du clipped at 10"),
        ({"gate": 1.0}, "delta", "released with the warm-up where a < theta_s"),
        ({"gate": 0.0}, "delta", "no-warmup"),
        ({"width": 0.25}, "delta", "released with a surrogate of width 0.25"),
        ({"handed_on": True}, "delta", "released with the chain handing on the warm-up's value"),
        ({"fires": np.greater_equal}, "s", "a spike where u >= V"),
        ({"late": True}, "a", "a PSC one step late: s[t-1] instead of s[t]"),
        ({"subtract": True}, "u", "a reset that subtracts V"),
        ({"share": lambda tau: 1 - np.exp(-1 / tau)}, "a", "both decays as exp(-1/tau)"),
        ({"scaled": True}, "u", "an input of theta_m I instead of I"),
    ],
)
def test_a_planted_error_is_named(errors, symbol, name):
    report = compared(**errors)
    assert not report.agrees
    assert report.first.symbol == symbol
    assert fits(report, symbol)[0] == name
    assert name in report.table()


def test_a_spike_at_the_threshold_is_seen_where_it_is():
    report = compared(fires=np.greater_equal)
    assert report.first.name == "released/ties/s"
    assert report.first.place.endswith(", no spike there but in yours (u is at V): yours 1, ours 0")
    t, b, i = (int(part.split()[-1]) for part in report.first.place.split(", ")[:3])
    case = next(case for case in conformance.cases("released") if case.key == "ties")
    u = {q.name: q.values for q in case.expected()}["u"]
    assert u[t, b, i] == case.neuron.threshold
    assert not (u[:t] == case.neuron.threshold).any()


def test_a_wrong_forward_pass_is_told_apart_from_a_wrong_rule():
    """A late PSC moves the warm-up's gate; from its own membranes and PSCs delta is right, or another rule's."""
    own = "{}, from your own u and a"
    assert own.format("released") in fits(compared(late=True), "delta")
    assert fits(compared(late=True, clip=math.inf), "delta") == [own.format("released without the clip of 1/du")]


@pytest.mark.parametrize("rule", ["september-2020", "june-2020", "no-intra"])
def test_a_rule_for_another_is_named(rule):
    def other(case, inputs):
        if case.kind == "network":
            return network(case, inputs, lambda net: setattr(net, "rule", tr.rule_by_name(rule)))
        if case.kind != "layer":
            return None
        trace = tr.lif_forward(inputs["I"], case.neuron)
        return {"a": trace.a, "delta": tr.tsslbp_backward(inputs["g"], trace, case.neuron, tr.rule_by_name(rule))}

    report = conformance.compare(other, "released")
    assert fits(report, "delta") == [rule]
    assert fits(report, "dW") == [rule]
    assert {result.symbol for result in report.results if not result.agrees} == {"delta", "dW"}


@pytest.mark.parametrize(
    ("change", "first", "name"),
    [
        (lambda net: "kernel-paper", "loss", "the loss kernel-paper"),
        (lambda net: setattr(net, "input_tau_s", 1.0), "a", "an input without the PSC's filter"),
        (pools(1.0), "dW", "a pool without the factor 1.1"),
        (pools(0.25), "a", "a pool that takes the mean"),
    ],
)
def test_a_wrong_loss_input_or_pool_is_named(change, first, name):
    report = conformance.compare(functools.partial(network, change=change), "november-2020")
    assert report.first.symbol == first
    assert fits(report, first) == [name]
    assert name in fits(report, "dW")


def test_what_departs_first_follows_the_order_of_computing():
    """A gradient that is wrong in the last layer is wrong below, too; the last layer's is the first to depart."""

    def wrong(case, inputs):
        if case.key != "cnn":
            return None
        arrays = {q.name: q.values.copy() for q in case.expected()}
        for name in ("delta3", "dW3", "g2", "delta2", "dW2", "dW0"):
            arrays[name] *= 2.0
        arrays["delta2"] = arrays["delta2"] / 2.0
        return arrays

    report = conformance.compare(wrong, "released")
    departing = sorted((result for result in report.results if not result.agrees), key=lambda result: result.order)
    departing = [result.name.rpartition("/")[2] for result in departing]
    assert departing == ["delta3", "dW3", "g2", "dW2", "dW0"]
    assert report.first.layer == 3
    assert report.first.place.startswith("t 4, sample 0, neuron ")
    assert "ours times 2" in fits(report, "delta")


def test_on_the_way_back_a_later_step_departs_first():
    """delta[4] of a layer is computed before g[2] matters."""

    def wrong(case, inputs):
        if case.key != "dense":
            return None
        arrays = {q.name: q.values.copy() for q in case.expected()}
        arrays["g1"][2] += 1.0
        arrays["delta1"][4] += 1.0
        return arrays

    report = conformance.compare(wrong, "released")
    assert report.first.name == "released/dense/delta1"
    assert report.first.step == 4


def test_a_neuron_behind_a_convolution_is_named_by_channel_row_and_column():
    def wrong(case, inputs):
        if case.key != "cnn":
            return None
        arrays = {q.name: q.values.copy() for q in case.expected()}
        arrays["u0"][3, 1, 2 * 64 + 5 * 8 + 7] += 0.5
        return arrays

    report = conformance.compare(wrong, "released")
    assert report.first.place.startswith("t 3, sample 1, neuron 175 = (2, 5, 7), ")


def test_numbers_that_are_none_depart():
    def wrong(case, inputs):
        if case.key != "layer1":
            return None
        arrays = layer(**inputs)
        arrays["delta"][7, 1, 2] = np.nan
        return arrays

    report = conformance.compare(wrong, "released")
    assert report.first.place.startswith("t 7, sample 1, neuron 2, ")
    assert report.first.error == math.inf
    assert json.loads(json.dumps(report.to_json()))["arrays"][3]["error"] is None

"""The check table itself: all green, complete, selectable; its finite differences; and that no row checks nothing."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import json
import math
import re
from typing import Any

import numpy as np
import pytest
from scipy import signal

import tsslbp_ref as tr
from tsslbp_ref import engine, gradcheck, named_rules
from tsslbp_ref.engine import spike_patterns
from tsslbp_ref.engine.dense import DenseChain
from tsslbp_ref.gradcheck import finite_differences, network_checks, sweep_checks, tangent_checks
from tsslbp_ref.gradcheck.report import KIND_OF_NAMES, KINDS, Report, Row
from tsslbp_ref.gradcheck.tangent import FrozenNeurons
from tsslbp_ref.model import reference_layers, sweeps
from tsslbp_ref.model.parameters import INTER_RULES, INTRA_RULES, SILENT_STEPS, WARMUPS, GradientRule
from tsslbp_ref.model.trace import Trace

# ---------------------------------------------------------------------------------------------------------------------
# The table
# ---------------------------------------------------------------------------------------------------------------------


def test_all_rows_pass(report: Report) -> None:
    assert report.passed, "\n" + report.table()


def test_table_holds_every_kind_of_row(report: Report) -> None:
    names = [row.name for row in report.rows]
    assert len(set(names)) == len(names)
    assert names == [check.name for check in gradcheck.registry()]
    for loss in ("kernel", "kernel-paper", "count", "softmax"):
        assert f"loss-{loss}" in names
    for rule in named_rules():
        assert f"phi-{rule}" in names
        assert {f"sweep-backward-{rule}-float32", f"sweep-backward-{rule}-float64"} <= set(names)
        assert any(name.startswith(f"tangent-{rule}-") for name in names)
    for rule in ("released", *tangent_checks.STATES):
        assert {f"golden-{rule}-layer0", f"golden-{rule}-dense", f"golden-{rule}-cnn"} <= set(names)


def test_errors_are_as_small_as_promised(report: Report) -> None:
    for row in report.rows:
        bound = 1e-10 if row.name.startswith(("tangent-", "phi-")) else 1e-8
        if not row.name.endswith("float32"):
            assert row.tolerance <= bound, row.name


@pytest.mark.parametrize("check", gradcheck.registry(), ids=lambda check: check.name)
def test_where_names_something_that_exists(check: gradcheck.Check) -> None:
    """A public name of the package, or one of the engine's modules."""
    for place in re.split(r", | \* ", check.where):
        first, *names = place.split(".")
        found: Any = getattr(tr if first in dir(tr) else engine, first)
        for name in names:
            found = getattr(found, name)
        assert callable(found)


def test_text_table_is_grouped_aligned_and_narrow(report: Report) -> None:
    *groups, last = report.table().split("\n\n")
    assert last == f"{len(report.rows)} of {len(report.rows)} passed"
    kinds = []
    for group in groups:
        kind, heading, rule, *lines = group.split("\n")
        kinds.append(kind.split(":")[0])
        assert len(lines) == sum(row.kind == kinds[-1] for row in report.rows)
        for title in ("error", "bound", "pass", "equation"):
            column = heading.index(title)
            assert {line[column - 2 : column] for line in (heading, *lines)} == {"  "}
        assert rule[heading.index("pass") :] == "----"
        assert {line[heading.index("pass") :].split()[0] for line in lines} == {"yes"}
    assert kinds == list(KINDS)
    assert max(map(len, report.table().split("\n"))) <= 100


def test_kinds_say_what_is_compared(report: Report) -> None:
    kinds = {row.name: row.kind for row in report.rows}
    assert kinds["term-warmup"] == kinds["loss-softmax"] == kinds["exact-differences-tau-equal"] == "derivative"
    assert kinds["term-psc-kernel"] == kinds["number-clip"] == kinds["exact-identity-scale"] == "identity"
    assert kinds["tangent-released-dense-3-static"] == kinds["adjoint-conv"] == "transposition"
    assert kinds["golden-released-ties"] == kinds["sweep-forward"] == kinds["network-dense-static"] == "agreement"
    assert kinds["engine-network-dense-static"] == kinds["engine-pooled"] == "engine"


def test_every_pattern_of_a_kind_fits_some_row(report: Report) -> None:
    names = [row.name for row in report.rows]
    for pattern, kind in KIND_OF_NAMES:
        assert kind in KINDS
        assert fnmatch.filter(names, pattern), pattern


def test_engine_rows_are_run_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    for family in gradcheck.FAMILIES:
        quick = [dataclasses.replace(check, measure=lambda: 0.0) for check in family.all_checks()]
        monkeypatch.setattr(family, "all_checks", lambda quick=quick: quick)
    for names, with_engine in ((None, False), (None, True), ("engine-pool", False)):
        ran.append([row.name for row in gradcheck.run(names, engine=with_engine).rows])
    assert not [name for name in ran[0] if name.startswith("engine-")]
    assert len(ran[1]) == len(gradcheck.registry())
    assert ran[2] == ["engine-pool"]


def test_json_rows(report: Report) -> None:
    rows = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert len(rows) == len(report.rows)
    assert {tuple(row) for row in rows} == {
        ("name", "kind", "equation", "where", "max_rel_error", "tolerance", "passed")
    }
    assert all(row["passed"] is True and 0.0 <= row["max_rel_error"] <= row["tolerance"] for row in rows)


def test_row_with_a_large_or_undefined_error_does_not_pass() -> None:
    good, large, undefined = (Row("n", "e", "w", error, 1e-8) for error in (1e-9, 1e-7, math.nan))
    assert good.passed
    assert not large.passed
    assert not undefined.passed
    assert not Report([good, undefined]).passed
    assert not Report([]).passed
    assert Report([undefined]).to_json()[0]["max_rel_error"] is None
    assert "NO" in Report([good, large]).table().split("\n")[-3]
    assert Report([good, large]).table().endswith("\n1 of 2 passed")


def test_names_select_rows_in_the_order_of_the_table() -> None:
    names = [row.name for row in tr.gradcheck.run(["term-warmup", "loss-*"]).rows]
    assert names[0] == "term-warmup"
    assert names[1:] == [check.name for check in gradcheck.registry() if check.name.startswith("loss-")]
    assert [row.name for row in gradcheck.run("term-membrane-by-leak").rows] == ["term-membrane-by-leak"]


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["term-warmup", "term-warmdown"], ValueError, r"^unknown check 'term-warmdown'; .*did you mean 'term-warmup'"),
        ("no-such-*", ValueError, r"^unknown check 'no-such-\*'; known: .{1,400}, \.\.\. \([0-9]+ in all\)$"),
        ([], ValueError, "names must hold at least one name"),
        ([3], TypeError, "names must hold strings, got 3"),
    ],
)
def test_bad_names(names: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gradcheck.run(names)


# ---------------------------------------------------------------------------------------------------------------------
# Finite differences
# ---------------------------------------------------------------------------------------------------------------------


def test_derivative_of_a_known_function() -> None:
    x = np.linspace(-2.0, 2.0, 9)
    found = finite_differences.derivative(np.sin, x)
    assert finite_differences.relative_error(found, np.cos(x)) < 1e-11


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_richardson_levels_difference_polynomials_exactly(levels: int) -> None:
    exact = np.polynomial.Polynomial([0.3, 2.0, *([1.5] * (2 * levels - 1))])  # degree 2 levels, slope 2 at 0
    assert abs(finite_differences.central_difference(exact, 1.0, levels) - 2.0) < 1e-13
    too_high = exact + np.polynomial.Polynomial([0.0] * (2 * levels + 1) + [1.0])
    assert abs(finite_differences.central_difference(too_high, 1.0, levels) - 2.0) > 1e-3


def test_relative_error_rejects_a_thousandth() -> None:
    assert finite_differences.relative_error([2.0, 0.0], [2.0, 0.0]) == 0.0
    assert finite_differences.relative_error([2.001, 0.0], [2.0, 0.0]) == pytest.approx(5e-4)
    assert math.isnan(finite_differences.relative_error([math.nan, 0.0], [2.0, 0.0]))


def test_relative_error_refuses_to_check_nothing() -> None:
    with pytest.raises(ValueError, match="expected must not be all zeros"):
        finite_differences.relative_error([0.0], [0.0])
    with pytest.raises(ValueError, match=r"found must have shape \(2,\) to match expected, got \(1,\)"):
        finite_differences.relative_error([0.0], [1.0, 1.0])


def test_largest_does_not_hide_an_undefined_error() -> None:
    assert math.isnan(finite_differences.largest([1e-16, math.nan, 1e-15]))


# ---------------------------------------------------------------------------------------------------------------------
# The runs that the rows look at
# ---------------------------------------------------------------------------------------------------------------------


def slow_rises(trace: Trace, clip: float = 8.0) -> int:
    """Spikes whose 1/rise is clipped."""
    s = trace.s
    v_before = np.concatenate([np.zeros_like(s[:1]), (trace.u * (1.0 - s))[:-1]])
    return int(((s == 1.0) & (trace.u - v_before < 1.0 / clip)).sum())


def assert_diverse(trace: Trace, gate: float) -> None:
    """Spikes, spikes with a successor, silence, and PSCs on both sides of the gate."""
    s = trace.s
    assert 0.05 < s.mean() < 0.7
    assert (s.sum(axis=0) >= 2).any()
    assert 0.0 < (trace.a < gate).mean() < 1.0


@pytest.mark.parametrize("name", tangent_checks.cases())
def test_tangent_cases_are_diverse(name: str) -> None:
    case = tangent_checks.cases()[name]
    rng = np.random.default_rng(case.seed) if case.dropout else None
    _, gradients, _, flows = case.network().training_pass(case.input(), case.labels(), case.loss, rng=rng)
    for flow, gradient in zip(flows, gradients, strict=True):
        assert_diverse(flow.trace, tangent_checks.NEURON.theta_s / 4.0)
        assert np.abs(gradient).max() > 1e-3
    if "conv" in name:
        assert sum(slow_rises(flow.trace) for flow in flows) > 0


@pytest.mark.parametrize("state", tangent_checks.STATES)
def test_a_quiet_network_has_layers_on_both_sides_of_the_switch(state: str) -> None:
    case = tangent_checks.cases()[f"tangent-{state}-dense-3-quiet"]
    flows = case.network().gradient_flow(case.input(), case.labels())
    rates = [flow.trace.firing_rate for flow in flows]
    assert min(rates) < 0.1 < max(rates)


CHOICES = itertools.product(INTER_RULES, INTRA_RULES, WARMUPS, SILENT_STEPS, (0.1, 0.9))


@pytest.mark.parametrize("choice", [c for c in CHOICES if c[2] == "layer" or c[4] == 0.1], ids=str)
def test_phi_of_every_rule_is_that_of_its_tangent_layer(choice: tuple[Any, ...]) -> None:
    inter, intra, warmup, silent, rate = choice
    rule = GradientRule(inter, intra, warmup, silent=silent, warmup_rate=rate, inverse_rise_clip=10.0)
    assert tangent_checks.dependency_error(rule) < 1e-13


def test_literal_loops_are_tried_on_clipped_rises() -> None:
    trace = sweeps.lif_forward(tangent_checks.phi_weighted_input(), tangent_checks.NEURON)
    assert_diverse(trace, tangent_checks.NEURON.theta_s / 4.0)
    assert slow_rises(trace) > 0
    for neuron in sweep_checks.NEURONS:
        trace = sweeps.lif_forward(sweep_checks.sweep_weighted_input(), neuron)
        assert_diverse(trace, neuron.theta_s / 4.0)
        assert slow_rises(trace) > 0


def test_spike_patterns_are_followed_where_they_are_checked() -> None:
    tangent = tangent_checks.cases()["tangent-released-dense-3-patterns"]
    wide = network_checks.network("static", **network_checks.NETWORKS["dense-wide"])
    for network, x, y in ((tangent.network(), tangent.input(), tangent.labels()), (*wide, np.arange(len(wide[1])))):
        assert list(DenseChain(network).follow) == [False, True, False]  # the wide layer's own input is followed
        fed = network.gradient_flow(x, y)[0].trace
        k = spike_patterns.pattern_length(network.n_steps)
        patterns = spike_patterns.patterns_of(fed.u, fed.threshold, k)
        assert len(patterns[0]) > 0
        assert spike_patterns.few_fire(patterns[1], fed.u, k)


@pytest.mark.parametrize(("rule", "reach"), [("released", 0), ("consistent", 1)])
def test_only_the_consistent_tangent_looks_ahead_and_by_one_step(rule: str, reach: int) -> None:
    I = tangent_checks.phi_weighted_input()
    neuron = tangent_checks.NEURON
    trace = sweeps.lif_forward(I, neuron)
    frozen = FrozenNeurons.of(trace, neuron, named_rules()[rule])
    np.testing.assert_allclose(frozen.psc(I), trace.a, rtol=0.0, atol=1e-15)
    moved_step = 6
    assert trace.s[moved_step].any()
    moved = I.copy()
    moved[moved_step] += 0.5
    answers = np.flatnonzero(np.abs(frozen.psc(moved) - trace.a).max(axis=(1, 2)) > 1e-12)
    assert answers[0] == moved_step - reach


def test_case_with_static_input_shows_the_picture_at_every_step() -> None:
    case = tangent_checks.cases()["tangent-released-dense-1-static"]
    gain = 1.0 - (2.0 / 3.0) ** np.arange(1, case.n_steps + 1)  # tau_s = 3
    np.testing.assert_allclose(case.input_psc(), np.multiply.outer(gain, case.input()), rtol=1e-14)


# ---------------------------------------------------------------------------------------------------------------------
# Convolution, literally
# ---------------------------------------------------------------------------------------------------------------------


def test_literal_convolution_by_hand() -> None:
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    W = np.array([[[[1.0, 10.0], [100.0, 1000.0]]]])
    np.testing.assert_array_equal(reference_layers.conv2d_forward(x, W, 0)[0, 0], [[4310.0, 5421.0], [7643.0, 8754.0]])
    padded = reference_layers.conv2d_forward(x, W, 1)[0, 0]
    assert padded.shape == (4, 4)
    assert padded[0].tolist() == [0.0, 1000.0 * 1 + 100.0 * 0, 1000.0 * 2 + 100.0 * 1, 100.0 * 2]


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_literal_convolution_against_scipy(padding: int) -> None:
    rng = np.random.default_rng(71)
    x, W = rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(4, 3, 3, 3))
    wide = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    expected = [[sum(map(signal.correlate2d, a, w, ["valid"] * 3)) for w in W] for a in wide]
    found = reference_layers.conv2d_forward(x, W, padding)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-13)
    delta = rng.normal(size=found.shape)
    product = np.vdot(found, delta)
    assert np.vdot(x, reference_layers.conv2d_adjoint(delta, W, padding, (5, 6))) == pytest.approx(product, rel=1e-12)
    assert np.vdot(W, reference_layers.conv2d_weight_gradient(delta, x, padding)) == pytest.approx(product, rel=1e-12)


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reference_layers.conv2d_forward(zeros(2, 3, 5), zeros(1, 3, 2, 2), 0), "x must have 4 axes"),
        (lambda: reference_layers.conv2d_forward(zeros(1, 2, 5, 5), zeros(1, 3, 2, 2), 0), "x must have 3 channels"),
        (lambda: reference_layers.conv2d_forward(zeros(1, 3, 5, 5), zeros(1, 3, 2, 1), 0), "square filters"),
        (lambda: reference_layers.conv2d_forward(zeros(1, 3, 5, 5), zeros(1, 3, 2, 2), -1), "padding must be at least"),
        (lambda: reference_layers.conv2d_forward(zeros(1, 3, 3, 3), zeros(1, 3, 4, 4), 0), "W must have filters"),
        (lambda: reference_layers.conv2d_forward(np.full((1, 1, 3, 3), np.nan), zeros(1, 1, 2, 2), 0), "x must be fin"),
        (lambda: reference_layers.conv2d_adjoint(zeros(1, 2, 4, 4), zeros(2, 3, 2, 2), 0, (5, 6)), r"shape \(4, 5\)"),
        (lambda: reference_layers.conv2d_adjoint(zeros(1, 1, 4, 4), zeros(2, 3, 2, 2), 0, (5, 5)), "2 channels"),
        (lambda: reference_layers.conv2d_weight_gradient(zeros(2, 2, 4, 4), zeros(1, 3, 5, 5), 0), "x must have shape"),
        (
            lambda: reference_layers.conv2d_weight_gradient(zeros(1, 2, 4, 5), zeros(1, 3, 5, 5), 0),
            "delta must have sh",
        ),
        (lambda: reference_layers.conv2d_weight_gradient(zeros(1, 2, 9, 9), zeros(1, 3, 5, 5), 0), "delta must fit x"),
    ],
)
def test_literal_convolution_refuses_what_does_not_fit(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

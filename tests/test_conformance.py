"""Conformance: another code's arrays against the authors' numbers; planted errors are named, bad arrays are refused.

`layer` is such another code: the released rule for one layer, in plain NumPy and with places for errors.
"""

import dataclasses
import functools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref import cli, conformance
from tsslbp_ref.conformance.layouts import LAYOUTS, from_layout, to_layout


def layer(I, g, tau_m, tau_s, V, **errors):
    """u, s, a, delta of one layer (T, B, N) by the released rule; the keywords plant errors."""
    given = {"clip": 8.0, "gate": 0.25, "fires": np.greater, "share": np.reciprocal}
    clip, gate, fires, share = ((given | errors)[name] for name in given)
    late, subtract, scaled = (name in errors for name in ("late", "subtract", "scaled"))
    theta_m, theta_s, T = share(float(tau_m)), share(float(tau_s)), len(I)
    I = theta_m * I if scaled else I
    u, s, a, rise = (np.zeros_like(I) for _ in range(4))
    v, psc = np.zeros_like(I[0]), np.zeros_like(I[0])
    for t in range(T):
        u[t] = (1 - theta_m) * v + I[t]
        rise[t] = u[t] - v
        s[t] = fires(u[t], V)
        a[t] = psc = (1 - theta_s) * psc + theta_s * (s[t] if not late else s[t - 1] if t else 0)
        v = u[t] - V * s[t] if subtract else u[t] * (1 - s[t])
    delta = np.zeros_like(u)
    G, back = np.zeros_like(I[0]), np.zeros_like(I[0])  # back: the next spike's delta, leaked
    for t in reversed(range(T)):
        G = theta_s * g[t] + (1 - theta_s) * G
        with np.errstate(divide="ignore"):
            psi = np.minimum(1 / rise[t], clip)
        chain = np.where(s[t] == 1, psi * (G + theta_m * u[t] * back), (1 - theta_m) * back)
        back = np.where(s[t] == 1, chain, (1 - theta_m) * back)
        e = np.exp(-np.clip((u[t] - V) / 0.2, -8, 8))
        delta[t] = np.where(a[t] < gate * theta_s, G * e / (1 + e) ** 2 / 0.2, chain)
    return {"u": u, "s": s, "a": a, "delta": delta}


def layers_only(case, inputs, **errors):
    return layer(**inputs, **errors) if case.kind == "layer" else None


def compared(*states, **errors):
    return conformance.compare(functools.partial(layers_only, **errors), states or "released")


def fits(report, symbol):
    """What a symbol's arrays are, if not ours."""
    found = [explanation.fits for explanation in report.explanations if explanation.symbol == symbol]
    assert len(found) == 1
    return found[0]


def network(case, inputs, change):
    """A network's required arrays, by ours with one thing changed."""
    if case.kind != "network":
        return None
    net, loss = case.network(), case.loss
    loss = change(net) or loss
    value, gradients, a, _ = net.training_pass(case.golden("x"), inputs["y"], loss)
    return {"loss": value, f"a{len(gradients) - 1}": a} | {f"dW{i}": dW for i, dW in enumerate(gradients)}


def pools(gain):
    """A change of a network: its pools have another factor."""

    def change(net):
        pool = tr.layers.SumPool2d
        net.layers = [dataclasses.replace(one, gain=gain) if isinstance(one, pool) else one for one in net.layers]

    return change


# ---------------------------------------------------------------------------------------------------------------------
# What agrees
# ---------------------------------------------------------------------------------------------------------------------


def test_another_code_agrees():
    report = compared()
    assert report.agrees
    assert report.first is None
    assert len(report.results) == 6 * 4
    assert "24 of 24 arrays agree" in report.table()
    assert "all of june-2020" in report.table()


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


# ---------------------------------------------------------------------------------------------------------------------
# Layouts
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sample", [(6,), (3, 1, 2)])
def test_a_layout_and_back(layout, sample):
    array = np.random.default_rng(1).normal(size=(5, 4, 6))
    there = to_layout(array, sample, layout)
    assert there.ndim == (5 if layout == "BCHWT" else 3)
    assert (from_layout("u", there, array.shape, sample, layout) == array).all()
    if layout == "BCHWT" and len(sample) == 3:
        assert there[1, 2, 0, 1, 3] == array[3, 1, 2 * 2 + 1]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_two_files(layout, tmp_path, capsys):
    """A script of a user's own, which knows what the file says and no more, in each layout."""
    cases, mine = tmp_path / "cases.npz", tmp_path / "mine.npz"
    assert cli.main(["conformance", "export", str(cases), "--layout", layout, "--state", "released"]) == 0
    assert "README" in capsys.readouterr().out
    given = np.load(cases, allow_pickle=False)
    head = json.loads(str(given["cases"]))
    assert f"compare mine.npz{'' if layout == 'TBN' else f' --layout {layout}'}" in str(given["README"])
    arrays = {}
    for name, case in head["cases"].items():
        if case["kind"] != "layer":
            continue
        inputs = {key: given[f"{name}/{key}"] for key in case["inputs"]}
        for key in ("I", "g"):
            assert inputs[key].shape == tuple(case["inputs"][key]["shape"])
            time_first = inputs[key] if layout == "TBN" else np.moveaxis(inputs[key], -1, 0)
            inputs[key] = time_first.reshape(*time_first.shape[:2], -1)
        for key, array in layer(**inputs).items():
            last = array if layout == "TBN" else np.moveaxis(array, 0, -1)
            arrays[f"{name}/{key}"] = last.reshape((case["write"] | case["may"])[key]["shape"])
    np.savez(mine, **arrays)
    assert cli.main(["conformance", "compare", str(mine), "--layout", layout]) == 0
    assert capsys.readouterr().out.endswith("24 of 24 arrays agree\n")


def test_an_exported_network_says_all_that_its_code_needs(tmp_path):
    conformance.export(tmp_path / "cases.npz", layout="BCHWT")
    given = np.load(tmp_path / "cases.npz", allow_pickle=False)
    cases = json.loads(str(given["cases"]))["cases"]
    assert list(cases) == [case.name for case in conformance.cases()]
    for name, case in cases.items():
        assert {f"{name}/{key}" for key in case["inputs"]} <= set(given.files)
        assert not {f"{name}/{key}" for key in case["write"]} & set(given.files)
    cnn = cases["june-2020/cnn"]
    assert [one["kind"] for one in cnn["layers"]] == ["convolution", "sum pooling", "convolution", "dense", "dense"]
    assert cnn["layers"][0] == {
        "kind": "convolution", "in": [2, 8, 8], "out": [3, 8, 8], "kernel": 3, "padding": 1, "stride": 1
    }  # fmt: skip
    assert given["june-2020/cnn/x"].shape == (5, 2, 8, 8, 5)
    assert set(cnn["write"]) == {"a3", "loss", "dW0", "dW1", "dW2", "dW3"}
    assert cnn["may"]["delta1"] == {
        "meaning": "dL/du, equally dL/dI", "shape": [5, 4, 2, 2, 5], "axes": "(B, C, H, W, T)",
        "picture": [4, 2, 2], "unit": "1/membrane",
    }  # fmt: skip


def test_a_wrong_layout_is_named_by_its_shape_or_by_its_values(tmp_path, capsys):
    by_name = {case.name: case for case in conformance.cases()}
    arrays = layer(**{q.name: q.values for q in by_name["released/layer0"].inputs()})
    turned = {f"released/layer0/{name}": np.moveaxis(array, 0, -1) for name, array in arrays.items()}
    np.savez(tmp_path / "mine.npz", **turned)
    assert cli.main(["conformance", "compare", str(tmp_path / "mine.npz")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == (
        "tsslbp-ref: error: released/layer0/u must be (T, B, N): steps, batch, neurons = (5, 3, 7), "
        "got (3, 7, 5), the order BNT: --layout BNT reads it"
    )
    assert err.count("\n") == 4
    assert cli.main(["conformance", "compare", str(tmp_path / "mine.npz"), "--layout", "BNT"]) == 0

    square = by_name["june-2020/layer0"]  # T = B = 5
    turned = {f"{square.name}/{q.name}": q.values.swapaxes(0, 1) for q in square.expected()}
    report = conformance.compare_arrays(turned)
    assert [fits(report, symbol)[0] for symbol in ("u", "s", "a", "delta")] == [
        "ours with its axes in the order BTN"
    ] * 4


# ---------------------------------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------------------------------


def right_arrays():
    case = conformance.cases("released")[0]
    return {f"{case.name}/{name}": array for name, array in layer(**{q.name: q.values for q in case.inputs()}).items()}


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        (
            {"released/layer0/delta": None},
            ["released/layer0/delta is missing: there are other arrays of released/layer0"],
        ),
        (
            {"released/layer0/a": np.zeros((5, 3, 7, 1, 1))},
            ["released/layer0/a must be (T, B, N): steps, batch, neurons; got 5 axes, shape (5, 3, 7, 1, 1)"],
        ),
        (
            {"released/layer0/a": np.zeros((5, 3, 8))},
            ["released/layer0/a must be (T, B, N): steps, batch, neurons = (5, 3, 7), got (5, 3, 8)"],
        ),
        (
            {"released/layer0/detla": 1.0},
            ["there is no array released/layer0/detla (did you mean released/layer0/delta?)"],
        ),
        ({"released/layer0/u": np.full((5, 3, 7), "x")}, ["released/layer0/u must hold real numbers, got dtype <U1"]),
        (
            {"released/loss-count/loss": [1.0, 2.0], "released/layer0/delta": None},
            [
                "released/layer0/delta is missing: there are other arrays of released/layer0",
                "released/loss-count/loss must be one number, got shape (2,)",
                "released/loss-count/g is missing: there are other arrays of released/loss-count",
            ],
        ),
    ],
)
def test_arrays_that_are_missing_or_misshapen(changes, problems, tmp_path, capsys):
    arrays = {name: array for name, array in (right_arrays() | changes).items() if array is not None}
    with pytest.raises(conformance.ArraysError) as error:
        conformance.compare_arrays(arrays)
    assert error.value.problems == problems
    assert str(error.value) == problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")
    np.savez(tmp_path / "mine.npz", **arrays)
    assert cli.main(["conformance", "compare", str(tmp_path / "mine.npz")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"tsslbp-ref: error: {problem}" for problem in problems]


def refused(capsys, *arguments):
    assert cli.main(["conformance", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_files_that_are_no_results(tmp_path, capsys):
    assert "cannot read" in refused(capsys, "compare", tmp_path / "nothing.npz")
    assert "must be a regular file" in refused(capsys, "compare", tmp_path)
    (tmp_path / "text.npz").write_text("a, delta")
    assert "must be an npz file, as numpy.savez writes it" in refused(capsys, "compare", tmp_path / "text.npz")
    np.savez(tmp_path / "right.npz", **right_arrays())
    whole = (tmp_path / "right.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(whole[: len(whole) // 2])
    assert "must be an npz file" in refused(capsys, "compare", tmp_path / "short.npz")
    place = whole.index(b"NUMPY")
    (tmp_path / "damaged.npz").write_bytes(whole[: place + 200] + b"?" + whole[place + 201 :])
    assert "released/layer0/u cannot be read: " in refused(capsys, "compare", tmp_path / "damaged.npz")
    np.savez(tmp_path / "pickled.npz", **{"released/layer0/a": np.array([{}])})
    assert "released/layer0/a cannot be read: " in refused(capsys, "compare", tmp_path / "pickled.npz")
    np.savez(tmp_path / "empty.npz", README=np.array("mine"))
    assert "there is no array to compare" in refused(capsys, "compare", tmp_path / "empty.npz")
    assert "cannot write" in refused(capsys, "export", tmp_path / "no" / "cases.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "x.npz", "--layout", "NTB"], "unknown layout 'NTB'; known: 'TBN', 'BNT', 'BCHWT'"),
        (["export", "x.npz", "--state", "june"], "unknown state 'june'; known: 'released', "),
        (["compare", "x.npz", "--tolerance", "0"], "tolerance must be greater than 0, got 0"),
        (["compare"], "the following arguments are required: mine.npz"),
        ([], "the following arguments are required: export|compare"),
    ],
)
def test_wrong_arguments(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", **right_arrays())
    assert message in refused(capsys, *arguments)


def test_wrong_arguments_in_python():
    with pytest.raises(TypeError, match="implementation must be callable, got 3"):
        conformance.compare(3)
    with pytest.raises(ValueError, match="states must name at least one state"):
        conformance.compare(layers_only, [])
    with pytest.raises(TypeError, match="what the implementation returns must be a Mapping, got list"):
        conformance.compare(lambda case, inputs: [1.0], "released")


def test_status_and_json_of_what_departs(tmp_path, capsys):
    arrays = right_arrays()
    arrays["released/layer0/delta"] = -arrays["released/layer0/delta"]
    np.savez(tmp_path / "mine.npz", **arrays)
    assert cli.main(["conformance", "compare", str(tmp_path / "mine.npz"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["agrees"], found["first"]) == (False, "released/layer0/delta")
    assert found["explanations"][0]["fits"] == ["ours times -1"]


def test_the_page_prints_what_it_shows(capsys):
    text = (Path(__file__).parents[1] / "docs" / "conformance.md").read_text()
    code, shown = (re.search(rf"```{kind}\n(.*?)```", text, re.DOTALL).group(1) for kind in ("python", "text"))
    exec(code, {})
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("released") or "agree" in line]
    assert "\n".join(found[:-1]) + "\n" == shown
    assert found[-1] == "15 of 18 arrays agree"
    assert len(conformance.cases("released")) == 15
    assert len(conformance.cases()) == 39

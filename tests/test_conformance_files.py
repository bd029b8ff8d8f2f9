"""The files of conformance: exported cases, arrays in other layouts, and arrays and files that are refused."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from another_code import fits, layer, layers_only

from tsslbp_ref import cli, conformance
from tsslbp_ref.conformance.layouts import LAYOUTS, from_layout, to_layout

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
        "image": [4, 2, 2], "unit": "1/membrane",
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
    left_out = "all of released, 7 of 8 cases of june-2020, all of september-2020, all of november-2020"
    assert f"not compared, no array of them: {left_out}" in report.summary()
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
    assert capsys.readouterr().out == shown
    assert len(conformance.cases("released")) == 15
    assert len(conformance.cases()) == 39

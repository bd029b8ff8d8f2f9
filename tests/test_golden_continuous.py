"""The golden numbers of continuous time: small networks made again, and a changed number found."""

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tools.golden import continuous, membranes

ROUNDING = 2.0**-53  # of a number to double, over the number
NETWORKS = (
    ("cases", "1x1 single neuron"),
    ("constants", "1 layer, tau_m = tau_s"),
    ("constants", "2 layers, readout without spikes"),
)


def network(file, name):
    return next(case for case in continuous.networks(file) if case["name"] == name)


def compared(case):
    with membranes.arithmetic(continuous.DIGITS):
        return {(loss, quantity): found for loss, quantity, found in continuous.compared(case)}


@pytest.mark.parametrize(("file", "name"), NETWORKS)
def test_every_number_of_a_network_is_made_again(file, name):
    case = network(file, name)
    found = compared(case)
    assert max(found.values()) <= ROUNDING
    for loss, golden in case["losses"].items():
        numbers = {"value", "times", "heights", "at_arrival"} & set(golden)
        assert {quantity for of, quantity in found if of == loss} == numbers | set(golden["gradients"])


def changed(values):
    """Nested lists with their first number changed."""
    return [changed(values[0]), *values[1:]] if isinstance(values, list) else values + 1e-9


@pytest.mark.parametrize(("file", "name"), NETWORKS)
def test_a_changed_number_is_found(file, name):
    case = network(file, name)
    case["spikes"] = changed(case["spikes"])
    for golden in case["losses"].values():
        golden["gradients"] = {key: changed(values) for key, values in golden["gradients"].items()}
        golden |= {key: changed(golden[key]) for key in ("value", "times", "heights", "at_arrival") if key in golden}
    assert min(compared(case).values()) > continuous.TOLERANCE


def test_the_command_says_what_differs(capsys, tmp_path, monkeypatch):
    assert continuous.main(["cases"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("largest difference 1.0e-16, 60 digits")
    text = (continuous.FOLDER / "exact_cases.json").read_text()
    stored = json.loads(text)
    stored["cases"][0]["exact"]["loss"] *= 1 + 2e-13
    del stored["cases"][1:]
    (tmp_path / "exact_cases.json").write_text(json.dumps(stored))
    monkeypatch.setattr(continuous, "FOLDER", tmp_path)
    assert continuous.main(["cases"]) == 1
    assert "value           2.0e-13" in capsys.readouterr().out
    assert continuous.main(["cases", "--digits", "39"]) == 2
    assert capsys.readouterr() == ("", "tools.golden.continuous: error: --digits must be at least 40\n")


def test_arrays_of_another_form_differ():
    one, two = Decimal(1), Decimal(2)
    assert continuous.difference([[one, two]], [[1.0, 2.0]]) == 0.0
    assert continuous.difference([[one, two]], [[1.0, 4.0]]) == 0.5
    assert continuous.difference([[one], []], [[0.0], []]) == 1.0
    for stored in ([[1.0]], [[1.0, 2.0], []], [[1.0, None]]):
        assert continuous.difference([[one, two]], stored) == float("inf")
    assert continuous.difference([[[one, two], []]], [[[1.0], [2.0]]]) == float("inf")
    assert continuous.difference([None], [[1.0]]) == float("inf")


def test_nothing_of_the_package_is_imported():
    code = "import sys, tools.golden.continuous as c; print({'tsslbp_ref', 'numpy'} & set(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(continuous.__file__).parents[2]
    )
    assert run.stdout == "set()\n", run.stderr


@pytest.mark.parametrize(("weight", "end"), [(1, 3), (-1, 40), (None, 40)], ids=["rising", "negative", "no input"])
def test_a_readout_without_a_peak_within_the_run_is_refused(weight, end):
    arrivals = () if weight is None else ((Decimal(1), Decimal(weight), Decimal(3)),)
    with pytest.raises(ValueError, match="a readout must have its peak within the run"):
        membranes.searched(membranes.Neuron(arrivals, Decimal(10), None, Decimal(end)))

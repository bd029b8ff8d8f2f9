"""The examples in docstrings: each runs and prints what it says, and what a user calls has one."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import sys

import pytest

import tsslbp_ref as tr

MAIN = "tsslbp_ref.__main__"  # to import it is to run the command line
MODULES = [module.name for module in pkgutil.walk_packages(tr.__path__, "tsslbp_ref.") if module.name != MAIN]
# What a user calls, by module: all that it defines or lists as its own, less what its own loops call.
CALLED = {
    "tsslbp_ref.model.layers": {"Layer", "WeightedLayer"},
    "tsslbp_ref.model.losses": {"checked_target", "target_psc", "released_psc", "paper_psc"},
    "tsslbp_ref.model.optim": {"StepConstants", "adamw_sweep", "gradient_norm"},
    "tsslbp_ref.model.parameters": {"ConstantGradients", "RuleCoefficients"},
    "tsslbp_ref.model.reference": set(),
    "tsslbp_ref.model.reference_layers": set(),
    "tsslbp_ref.model.reference_losses": {"van_rossum", "count", "softmax", "desired_trains"},
    "tsslbp_ref.model.reference_network": set(),
    "tsslbp_ref.model.spec": set(),
    "tsslbp_ref.model.srm": set(),
    "tsslbp_ref.model.terms": set(),
    "tsslbp_ref.datasets": {"DataError", "DownloadError", "MissingSplitError", "ImageSet"},
    "tsslbp_ref.datasets.yin_yang": {"YinYang"},
    "tsslbp_ref.exact": {"BatchResult", "DiscreteEquivalent", "ExactResult"},  # what functions return
    "tsslbp_ref.gradcheck": {"Check", "Report", "Row", "SmoothedGradient"},
    "tsslbp_ref.conformance": {"ArrayResult", "ArraysError", "Case", "Explanation", "Report"},  # made by functions
    "tsslbp_ref.interop": {"as_array"},
    "tsslbp_ref.plots": set(),
}
RECORDS = {"LayerFlow"}  # of `Network.gradient_flow`


@pytest.mark.parametrize("name", ["tsslbp_ref", *MODULES])
def test_examples_of_docstrings(name, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")  # a panel's figure opens no window
    assert doctest.testmod(importlib.import_module(name)).failed == 0
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def has_example(value):
    return ">>>" in (inspect.getdoc(value) or "")


@pytest.mark.parametrize("name", CALLED)
def test_what_a_user_calls_has_an_example(name):
    module = importlib.import_module(name)
    public = getattr(module, "__all__", None) or [
        key for key, value in vars(module).items() if getattr(value, "__module__", None) == name and key[0] != "_"
    ]
    called = {key: getattr(module, key) for key in public if callable(getattr(module, key))}
    assert CALLED[name] <= set(called)
    assert [key for key, value in called.items() if key not in CALLED[name] and not has_example(value)] == []


def test_public_functions_and_classes_and_what_a_network_does_have_examples():
    values = {name: getattr(tr, name) for name in tr.__all__}
    called = {name: value for name, value in values.items() if callable(value) and name not in RECORDS}
    for name, value in vars(tr.Network).items():
        if name[0] != "_" and (inspect.isfunction(value) or isinstance(value, classmethod)):
            called[f"Network.{name}"] = value
    without = [name for name, value in called.items() if not has_example(value)]
    assert without == ["Network.is_static", "Network.batch_size"]  # asked by the engine

"""The examples in docstrings of the model, of the compiler and of conformance: each runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from tsslbp_ref import model

MODULES = [
    *(f"tsslbp_ref.model.{module.name}" for module in pkgutil.iter_modules(model.__path__)),
    *(f"tsslbp_ref.conformance.{name}" for name in ("cases", "comparison", "npz")),
    "tsslbp_ref.interop",
    "tsslbp_ref.jit",
    "tsslbp_ref.training.fitting",
    "tsslbp_ref.training.tables",
]
WITH_EXAMPLES = {
    "cases",
    "comparison",
    "fitting",
    "interop",
    "npz",
    "layers",
    "losses",
    "network",
    "optim",
    "parameters",
    "srm",
    "sweeps",
    "tables",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_docstrings(name):
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.failed == 0
    assert outcome.attempted > 0 or name.rpartition(".")[2] not in WITH_EXAMPLES

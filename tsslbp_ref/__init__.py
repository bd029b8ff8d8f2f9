"""TSSL-BP, the educational reference: every chain-rule term written once, plotted, and checked by finite differences.

The names in reading order: the constants (`NeuronParameters`, `GradientRule`), the equations (`terms`), the literal
loops (`reference`), the same in one sweep (`lif_forward`, `tsslbp_backward`, `psc_filter`), the network (`Network`),
the checks (`gradcheck`), and continuous time (`exact`). Modules load when they are first used, so that importing the
package stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, named_rules, rule_by_name

if TYPE_CHECKING:
    from tsslbp_ref import checkpoints, checks, conformance, datasets, engine, exact, gradcheck, interop, training
    from tsslbp_ref.model import (
        backpropagation,
        constants,
        layers,
        losses,
        network,
        optim,
        parameters,
        reference,
        reference_layers,
        reference_losses,
        reference_network,
        spec,
        srm,
        sweeps,
        terms,
        trace,
    )
    from tsslbp_ref.model import sweeps as fast
    from tsslbp_ref.model.losses import LossSettings
    from tsslbp_ref.model.network import LayerFlow, Network
    from tsslbp_ref.model.sweeps import lif_forward, psc_filter, psc_filter_adjoint, tsslbp_backward
    from tsslbp_ref.model.trace import Trace
    from tsslbp_ref.plots import curves, explore
    from tsslbp_ref.training import experiments, raster, results, runs, seeds, stopping, tasks
    from tsslbp_ref.training.fitting import fit
    from tsslbp_ref.training.tables import recorded_table

__version__ = "0.2.0"

_HOME_OF_NAME = {
    "LayerFlow": "model.network",
    "LossSettings": "model.losses",
    "Network": "model.network",
    "Trace": "model.trace",
    "fit": "training.fitting",
    "lif_forward": "model.sweeps",
    "psc_filter": "model.sweeps",
    "psc_filter_adjoint": "model.sweeps",
    "recorded_table": "training.tables",
    "tsslbp_backward": "model.sweeps",
}
_HOME_OF_MODULE = {
    "backpropagation": "model.backpropagation",
    "checks": "checks",
    "checkpoints": "checkpoints",
    "conformance": "conformance",
    "constants": "model.constants",
    "curves": "plots.curves",
    "datasets": "datasets",
    "engine": "engine",
    "exact": "exact",
    "experiments": "training.experiments",
    "explore": "plots.explore",
    "fast": "model.sweeps",  # its first name
    "gradcheck": "gradcheck",
    "interop": "interop",
    "layers": "model.layers",
    "losses": "model.losses",
    "network": "model.network",
    "optim": "model.optim",
    "parameters": "model.parameters",
    "plots": "plots",
    "raster": "training.raster",
    "reference": "model.reference",
    "reference_layers": "model.reference_layers",
    "reference_losses": "model.reference_losses",
    "reference_network": "model.reference_network",
    "results": "training.results",
    "runs": "training.runs",
    "seeds": "training.seeds",
    "spec": "model.spec",
    "srm": "model.srm",
    "stopping": "training.stopping",
    "sweeps": "model.sweeps",
    "tasks": "training.tasks",
    "terms": "model.terms",
    "trace": "model.trace",
    "training": "training",
}

__all__ = [
    "GradientRule",
    "LayerFlow",
    "LossSettings",
    "Network",
    "NeuronParameters",
    "Trace",
    "backpropagation",
    "checkpoints",
    "checks",
    "conformance",
    "constants",
    "curves",
    "datasets",
    "engine",
    "exact",
    "experiments",
    "explore",
    "fast",
    "fit",
    "gradcheck",
    "interop",
    "layers",
    "lif_forward",
    "losses",
    "named_rules",
    "network",
    "optim",
    "parameters",
    "plots",
    "psc_filter",
    "psc_filter_adjoint",
    "raster",
    "recorded_table",
    "reference",
    "reference_layers",
    "reference_losses",
    "reference_network",
    "results",
    "rule_by_name",
    "runs",
    "seeds",
    "spec",
    "srm",
    "stopping",
    "sweeps",
    "tasks",
    "terms",
    "trace",
    "training",
    "tsslbp_backward",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    if name in _HOME_OF_NAME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME_OF_NAME[name]}"), name)
    if name in _HOME_OF_MODULE:
        return importlib.import_module(f"{__name__}.{_HOME_OF_MODULE[name]}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

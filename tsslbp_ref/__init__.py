"""TSSL-BP, the educational reference: every chain-rule term written once, plotted, and checked by finite differences.

The names in reading order: the constants (`NeuronParameters`, `GradientRule`), the equations (`terms`), the literal
loops (`reference`), the same in one sweep (`lif_forward`, `tsslbp_backward`, `psc_filter`), the network (`Network`),
the checks (`gradcheck`), and continuous time (`exact`). Modules load when they are first used, so that importing the
package stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tsslbp_ref.parameters import GradientRule, NeuronParameters, named_rules, rule_by_name

if TYPE_CHECKING:
    from tsslbp_ref import (
        datasets,
        exact,
        experiments,
        fast,
        gradcheck,
        layers,
        losses,
        optim,
        raster,
        reference,
        terms,
        training,
    )
    from tsslbp_ref.fast import lif_forward, psc_filter, psc_filter_adjoint, tsslbp_backward
    from tsslbp_ref.losses import LossSettings
    from tsslbp_ref.network import LayerFlow, Network
    from tsslbp_ref.trace import Trace

__version__ = "0.1.0"

__all__ = [
    "GradientRule",
    "LayerFlow",
    "LossSettings",
    "Network",
    "NeuronParameters",
    "Trace",
    "datasets",
    "exact",
    "experiments",
    "fast",
    "gradcheck",
    "layers",
    "lif_forward",
    "losses",
    "named_rules",
    "optim",
    "psc_filter",
    "psc_filter_adjoint",
    "raster",
    "reference",
    "rule_by_name",
    "terms",
    "training",
    "tsslbp_backward",
]

_HOME_OF_NAME = {
    "LayerFlow": "network",
    "LossSettings": "losses",
    "Network": "network",
    "Trace": "trace",
    "lif_forward": "fast",
    "psc_filter": "fast",
    "psc_filter_adjoint": "fast",
    "tsslbp_backward": "fast",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for (PEP 562)."""
    if name in _HOME_OF_NAME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME_OF_NAME[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

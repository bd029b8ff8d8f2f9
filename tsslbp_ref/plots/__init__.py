"""Pictures of a network and of its training; only this package and `figures` import matplotlib.

The panels are functions of this package: `tr.plots.raster(trace)`.
"""

from tsslbp_ref.plots.learning import confusion_matrix, filters, learning_curves
from tsslbp_ref.plots.neurons import gradient_flow, membrane, phi, psc, raster, reset_kernels

__all__ = [
    "confusion_matrix",
    "filters",
    "gradient_flow",
    "learning_curves",
    "membrane",
    "phi",
    "psc",
    "raster",
    "reset_kernels",
]

"""What one layer of neurons did: its membrane and its PSC over time; the spikes follow from the membrane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks, terms
from tsslbp_ref.parameters import NeuronParameters


@dataclass(frozen=True)
class Trace:
    """The record of a forward pass through one layer of neurons.

    Parameters
    ----------
    u : (T, B, N) array
        Membrane before the reset.
    a : (T, B, N) array
        PSC, the layer's output.
    threshold : float
        Firing threshold V.

    Notes
    -----
    The spikes and the rise of the membrane are functions of u, so the record keeps u and a only.
    """

    u: npt.NDArray[Any]
    a: npt.NDArray[Any]
    threshold: float

    @property
    def s(self) -> npt.NDArray[Any]:
        """Spike train, s = (u > V), as an array of zeros and ones of u's dtype."""
        spikes = terms.spike(self.u, self.threshold)  # type: ignore[arg-type] # a whole array at once
        return np.asarray(spikes, dtype=self.u.dtype)


def checked_weighted_input(I: npt.ArrayLike, neuron: NeuronParameters) -> npt.NDArray[Any]:
    """Return the weighted input I as a finite (T, B, N) float array."""
    if not isinstance(neuron, NeuronParameters):
        raise TypeError(f"neuron must be a NeuronParameters, got {type(neuron).__name__}")
    return checks.finite_array("I", I, ndim=3)


def checked_psc_gradient(g: npt.ArrayLike, trace: Trace) -> npt.NDArray[Any]:
    """Return g = dL/da as a finite array of the trace's shape and dtype."""
    if not isinstance(trace, Trace):
        raise TypeError(f"trace must be a Trace, as lif_forward returns it, got {type(trace).__name__}")
    array = checks.finite_array("g", g, ndim=3, dtype=trace.u.dtype)
    checks.same_shape("g", array, np.shape(trace.u), "trace.u")
    return array

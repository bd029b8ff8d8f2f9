"""What one layer of neurons did: its membrane and its PSC over time; the spikes follow from the membrane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import terms
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

AXES = "(T, B, N): steps, batch, neurons"


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

    Examples
    --------
    >>> trace = Trace(u=np.array([[[0.5]], [[1.5]]]), a=np.array([[[0.0]], [[0.5]]]), threshold=1.0)
    >>> trace.s.ravel(), trace.firing_rate
    (array([0., 1.]), 0.5)
    """

    u: npt.NDArray[Any]
    a: npt.NDArray[Any]
    threshold: float

    @property
    def s(self) -> npt.NDArray[Any]:
        """Spike train, s = (u > V), as an array of zeros and ones of u's dtype."""
        spikes = terms.spike(self.u, self.threshold)  # type: ignore[arg-type] # a whole array at once
        return np.asarray(spikes, dtype=self.u.dtype)

    @property
    def firing_rate(self) -> float:
        """Mean of s over batch, neurons and steps."""
        return float(np.mean(self.s, dtype=np.float64))


def checked_weighted_input(I: npt.ArrayLike, neuron: NeuronParameters) -> npt.NDArray[Any]:
    """Return the weighted input I as a finite (T, B, N) float array."""
    checks.instance_of("neuron", neuron, NeuronParameters)
    return checks.finite_array("I", I, ndim=3, axes=AXES)


def checked_membranes(trace: Trace) -> Trace:
    """Return the trace of a finite I if no membrane left the finite numbers; one that did never comes back."""
    last = trace.u[-1]
    if not checks.all_finite(last):
        found = last[~np.isfinite(last)][0]
        raise ValueError(f"I is too large: the membranes must be finite, got {found} at the last step")
    return trace


def checked_signal(name: str, signal: npt.ArrayLike, neuron: NeuronParameters) -> npt.NDArray[Any]:
    """Return a signal over time, (T, ...), as a finite float array."""
    checks.instance_of("neuron", neuron, NeuronParameters)
    return np.atleast_1d(checks.finite_array(name, signal))


def checked_trace(trace: Trace, neuron: NeuronParameters, rule: GradientRule) -> Trace:
    """Return the trace, its u and a finite (T, B, N) float arrays of one dtype, if its threshold is the neuron's."""
    checks.instance_of("trace", trace, Trace)
    checks.instance_of("neuron", neuron, NeuronParameters)
    checks.instance_of("rule", rule, GradientRule)
    u = checks.finite_array("trace.u", trace.u, ndim=3, axes=AXES)
    a = checks.finite_array("trace.a", trace.a, ndim=3, dtype=u.dtype, axes=AXES)
    checks.same_shape("trace.a", a, u.shape, "trace.u")
    if checks.real_number("trace.threshold", trace.threshold) != neuron.threshold:
        raise ValueError(
            f"trace.threshold must be neuron.threshold = {neuron.threshold}, got {checks.shown(trace.threshold)}"
        )
    return Trace(u, a, neuron.threshold)


def checked_psc_gradient(g: npt.ArrayLike, trace: Trace, name: str = "g") -> npt.NDArray[Any]:
    """Return g = dL/da, or delta, as a finite array of the checked trace's shape and dtype."""
    array = checks.finite_array(name, g, ndim=3, dtype=trace.u.dtype, axes=AXES)
    checks.same_shape(name, array, trace.u.shape, "trace.u")
    return array

"""The neuron as a sum of kernels, the spike response model (SRM): the spikes of `reference.lif_forward` again.

A leaky filter is linear, so the membrane is what the input spikes leave in it plus what the own spikes take away:

    u[t] = sum_j w_ij (eps_u * s_j)[t] + (nu * s_i)[t]

The recursions F2 - F6 and these sums are the same neuron. The recursion is quick; in the sums one sees what moves when
a spike moves. Nothing else in the package uses them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import reference, terms
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters
from tsslbp_ref.model.trace import Trace, checked_membranes, checked_signal, checked_trace


def response_kernel(lag: int, theta_m: float, theta_s: float) -> float:
    """eps_u[lag] = sum_{j=0}^{lag} (1 - theta_m)^(lag-j) eps[j], and 0 for lag < 0    (C2, F3).

    What one input spike leaves in a membrane that never fires, for a weight of 1: its PSC eps, leaked. Source: the
    paper's "Spiking neuron model", where the membrane integrates the PSC.

    Examples
    --------
    >>> [response_kernel(lag, theta_m=0.5, theta_s=0.5) for lag in range(4)]
    [0.5, 0.5, 0.375, 0.25]
    """
    return sum((terms.leak(lag - j, theta_m) * terms.psc_kernel(j, theta_s) for j in range(lag + 1)), start=0.0)


def eta(trace: Trace, neuron: NeuronParameters) -> npt.NDArray[Any]:
    """eta[t] = (nu * s)[t] = sum_{t_m <= t} nu_m[t - t_m], nu_m[j] = -u[t_m] (1 - theta_m)^j    (C4).

    What a neuron's own spikes have taken out of its membrane: v[t] is the membrane without any reset plus eta[t]. The
    membrane before the reset, u[t], holds the kernels of the spikes before t only.

    Parameters
    ----------
    trace : Trace
        The forward pass, from `reference.lif_forward`.
    neuron : NeuronParameters

    Returns
    -------
    (T, B, N) array
        In the membrane's unit.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, or the trace has another threshold.

    Notes
    -----
    Source: the paper's "Spiking neuron model" and "Intra-neuron backpropagation". Added to the right-hand side of
    tau_m du/dt = -u + ..., the same reset is an impulse of area -tau_m u(t_m).

    Examples
    --------
    >>> neuron = NeuronParameters(tau_m=5.0)
    >>> trace = reference.lif_forward(np.array([1.5, 0.0, 0.0])[:, None, None], neuron)
    >>> eta(trace, neuron)[:, 0, 0].round(3).tolist()
    [-1.5, -1.2, -0.96]
    """
    trace = checked_trace(trace, neuron, GradientRule())
    u, s = trace.u, trace.s
    total = np.zeros_like(u)
    for t_m, b, i in np.argwhere(s == 1.0):
        for t in range(t_m, len(u)):
            total[t, b, i] += terms.reset_kernel(t - t_m, u[t_m, b, i], neuron.theta_m)
    return total


@np.errstate(over="ignore", invalid="ignore")  # a membrane that overflows is an error, at the end
def forward(s: npt.ArrayLike, W: npt.ArrayLike, neuron: NeuronParameters) -> Trace:
    """u[t] = sum_j w_ij (eps_u * s_j)[t] + sum_{t_m < t} nu_m[t - t_m], and a spike where u[t] > V.

    Parameters
    ----------
    s : (T, B, in) array_like
        Spike trains of the layer below, or any other signal.
    W : (out, in) array_like
        Weights.
    neuron : NeuronParameters

    Returns
    -------
    Trace
        With u, s and a, each (T, B, out): those of ``reference.lif_forward(a_prev @ W.T, neuron)``, where a_prev is
        the PSC of s.

    Raises
    ------
    ValueError, TypeError
        If s or W is not a finite array of its shape, or so large that a membrane overflows, or neuron is not of its
        kind.

    Examples
    --------
    >>> trace = forward(np.ones((4, 1, 1)), [[1.0]], NeuronParameters(tau_m=5.0, tau_s=3.0))
    >>> trace.s[:, 0, 0].tolist()
    [0.0, 0.0, 1.0, 0.0]
    """
    s = checked_signal("s", checks.finite_array("s", s, ndim=3, axes="(T, B, n): steps, batch, inputs"), neuron)
    W = checks.finite_array("W", W, ndim=2, axes="(N, n): neurons, inputs")
    checks.same_shape("W", W, (len(W), s.shape[2]), "s")
    weighted = s @ W.T  # sum_j w_ij s_j, since a sum over j and a sum over time may change places
    T, B, N = weighted.shape
    u = np.zeros_like(weighted)
    for t in range(T):
        for t_in in range(t + 1):
            u[t] += response_kernel(t - t_in, neuron.theta_m, neuron.theta_s) * weighted[t_in]
    for b in range(B):
        for i in range(N):
            for t in range(T):
                if terms.spike(u[t, b, i], neuron.threshold) == 1.0:
                    for later in range(t + 1, T):
                        u[later, b, i] += terms.reset_kernel(later - t, u[t, b, i], neuron.theta_m)
    spikes = np.asarray(u > neuron.threshold, dtype=u.dtype)
    return checked_membranes(Trace(u, reference.psc_filter(spikes, neuron), neuron.threshold))

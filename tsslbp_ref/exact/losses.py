"""Losses of the spike times and of the highest membranes of the output layer, in continuous time.

A loss is an object that holds its settings. `value_and_derivatives` returns the loss with its derivatives by every
output spike time and by every highest membrane; the adjoint of ``tsslbp_ref.exact`` carries them on to all else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tsslbp_ref import checks
from tsslbp_ref.exact import loss_kernels
from tsslbp_ref.exact.arguments import SpikeTrains, checked_trains
from tsslbp_ref.exact.kernels import FloatArray

LARGEST_EXPONENT = 700.0  # exp of it is a number


class LossDerivatives(NamedTuple):
    """A loss's value and derivatives.

    value : L.
    by_time : per output neuron, dL/dt_f of its spikes.
    by_peak : (n_out,), dL/d(highest membrane).
    by_tau : dL/dtau of the van Rossum loss; nan for other losses.
    """

    value: float
    by_time: list[FloatArray]
    by_peak: FloatArray
    by_tau: float


@dataclass(frozen=True, eq=False)
class VanRossum:
    r"""L = 1/2 \int_0^T \sum_i (a_i - d_i)^2 dt,  a and d being the PSCs of actual and desired spikes.

    Parameters
    ----------
    desired : sequence of array_like
        Per output neuron, its desired spike times in ms, sorted, in [0, T]. An empty train asks for silence.
    tau : float
        Time constant of both PSCs in ms, positive. It belongs to the loss, not to the network.

    Notes
    -----
    Do not learn tau: the loss of a spike D away from its desired one, (1 - exp(-D/tau))/(2 tau), falls with tau for
    every D. Source: the paper's loss, "Spiking neuron model".

    Examples
    --------
    >>> from tsslbp_ref.exact import simulate
    >>> result = simulate([[[11.0]]], [[1.0, 4.0]], 10.0, 3.0, 1.0, 30.0, loss=VanRossum([[5.0]], tau=3.0))
    >>> round(result.loss, 6)
    0.013973
    """

    desired: SpikeTrains
    tau: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", checks.real_number("tau", self.tau, above=0.0))
        object.__setattr__(self, "desired", checks.listed("desired", self.desired))  # what is used up is read once

    def check(self, n_out: int, duration: float, *, fires: bool) -> None:
        """Raise an error if the loss does not fit a network of `n_out` output neurons."""
        _needs_spikes(self, fires=fires)
        checked_trains("desired", self.desired, duration, n_out)

    def value_and_derivatives(
        self, spike_times: list[FloatArray], highest: FloatArray, duration: float
    ) -> LossDerivatives:
        """Return L, its derivatives by the spike times and by tau; see `loss_kernels.neuron_loss`."""
        desired = checked_trains("desired", self.desired, duration, len(spike_times))
        return van_rossum(spike_times, desired, self.tau, duration)


@dataclass(frozen=True)
class FirstSpike:
    r"""L = -log softmax(-t/tau0)[label] + alpha (exp(t_label/tau1) - 1),  t_i the first spike of output i, or T.

    Parameters
    ----------
    label : int or None
        The output neuron that should fire first; None for `loss_and_gradients`, which has a label for each sample.
    tau0, tau1 : float
        In ms, positive: how sharply the classes are told apart, and how steeply late spikes cost.
    alpha : float
        At least 0: how much it costs that the labelled neuron fires late.

    Notes
    -----
    dL/dt_i = -p_i/tau0 (+ 1/tau0 + (alpha/tau1) exp(t_label/tau1) for i = label), p the softmax, for outputs that fire.
    A silent output has t_i = T, which is fixed: no derivative reaches it. Source: Wunderlich and Pehle (2021).

    Examples
    --------
    >>> from tsslbp_ref.exact import simulate
    >>> weights = [[[11.0], [15.0]]]  # the second output fires first
    >>> losses = [FirstSpike(label, tau0=2.0, tau1=10.0, alpha=0.0) for label in (0, 1)]
    >>> [round(simulate(weights, [[1.0, 4.0]], 10.0, 3.0, 1.0, 30.0, loss=one).loss, 3) for one in losses]
    [0.943, 0.493]
    """

    label: int | None
    tau0: float
    tau1: float
    alpha: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", _checked_label(self.label))
        for name in ("tau0", "tau1"):
            object.__setattr__(self, name, checks.real_number(name, getattr(self, name), above=0.0))
        object.__setattr__(self, "alpha", checks.real_number("alpha", self.alpha, minimum=0.0))

    def check_network(self, duration: float, *, fires: bool) -> None:
        """Raise an error if the loss does not fit a network, whatever the label."""
        _needs_spikes(self, fires=fires)
        if self.alpha > 0.0 and duration / self.tau1 > LARGEST_EXPONENT:
            raise ValueError(
                f"tau1 must be at least duration/{LARGEST_EXPONENT:g}, or exp(T/tau1) overflows, got {self.tau1:g}"
            )

    def check(self, n_out: int, duration: float, *, fires: bool) -> None:
        """Raise an error if the loss does not fit a network of `n_out` output neurons."""
        self.check_network(duration, fires=fires)
        _label_among(self.label, n_out)

    def value_and_derivatives(
        self, spike_times: list[FloatArray], highest: FloatArray, duration: float
    ) -> LossDerivatives:
        """Return L and its derivatives by the first spike times; later spikes have derivative 0."""
        label = _label_among(self.label, len(spike_times))
        first = np.array([times[0] if times.size else duration for times in spike_times])
        value, by_first = loss_kernels.first_spike_loss(first, label, self.tau0, self.tau1, self.alpha)
        by_time = [np.zeros(times.size) for times in spike_times]
        for derivatives, by_own in zip(by_time, by_first, strict=True):
            derivatives[:1] = by_own
        return LossDerivatives(value, by_time, np.zeros(len(spike_times)), math.nan)


@dataclass(frozen=True)
class Peak:
    r"""L = -log softmax(max_t u)[label],  max_t u_i the highest membrane of output i over [0, T].

    The outputs never fire: the last threshold is None.

    Parameters
    ----------
    label : int or None
        The output neuron whose membrane should reach highest; None for `loss_and_gradients`, which has a label for each
        sample.

    Notes
    -----
    dL/d(max u_i) = p_i (- 1 for i = label), p the softmax. A maximum at time 0 is rest and has derivative 0. Source:
    Wunderlich and Pehle (2021), the maximum-over-time loss; the kink where a peak is at an inhibitory arrival is our
    own observation.

    Examples
    --------
    >>> from tsslbp_ref.exact import simulate
    >>> result = simulate([[[5.0], [6.0]]], [[1.0, 4.0]], 10.0, 3.0, [None], 30.0, loss=Peak(label=1))
    >>> round(result.loss, 3), result.highest_membrane[0].round(3)
    (0.637, array([0.576, 0.691]))
    """

    label: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "label", _checked_label(self.label))

    def check_network(self, duration: float, *, fires: bool) -> None:
        """Raise an error if the loss does not fit a network, whatever the label."""
        if fires:
            raise ValueError("Peak needs a readout that never fires: give None as the last layer's threshold")

    def check(self, n_out: int, duration: float, *, fires: bool) -> None:
        """Raise an error if the loss does not fit a network of `n_out` output neurons."""
        self.check_network(duration, fires=fires)
        _label_among(self.label, n_out)

    def value_and_derivatives(
        self, spike_times: list[FloatArray], highest: FloatArray, duration: float
    ) -> LossDerivatives:
        """Return L and its derivatives by the highest membranes."""
        value, by_peak = loss_kernels.cross_entropy(highest, _label_among(self.label, len(highest)))
        return LossDerivatives(value, [np.empty(0) for _ in spike_times], by_peak, math.nan)


Loss = VanRossum | FirstSpike | Peak


def van_rossum(
    spike_times: list[FloatArray], desired: list[FloatArray], tau: float, duration: float
) -> LossDerivatives:
    """Return the van Rossum loss of checked trains and its derivatives by spike times and tau."""
    total, by_tau, by_time = 0.0, 0.0, []
    for actual, wanted in zip(spike_times, desired, strict=True):
        times = np.concatenate([actual, wanted])
        signs = np.repeat([1.0, -1.0], [actual.size, wanted.size])
        order = np.argsort(times, kind="stable")
        loss, in_order, dL_dtau = loss_kernels.neuron_loss(times[order], signs[order], duration, tau)
        total += loss
        by_tau += dL_dtau
        by_time.append(in_order[signs[order] > 0])
    return LossDerivatives(float(total), by_time, np.zeros(len(spike_times)), float(by_tau))


def _needs_spikes(loss: Loss, *, fires: bool) -> None:
    if not fires:
        raise ValueError(f"{type(loss).__name__} needs outputs that fire, and the last threshold is None")


def _checked_label(label: int | None) -> int | None:
    return None if label is None else checks.positive_integer("label", label, minimum=0)


def _label_among(label: int | None, n_out: int) -> int:
    """Return the label of a loss of one sample, one of `n_out` outputs."""
    if label is None or label >= n_out:
        raise ValueError(f"label must be one of the {n_out} outputs, 0 .. {n_out - 1}, got {label}")
    return label

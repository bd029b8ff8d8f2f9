"""The losses of continuous time as compiled functions of spike times and of highest membranes (sections 3 and 7)."""

from __future__ import annotations

import math

import numpy as np

from tsslbp_ref.exact.closed_forms import decay_moment
from tsslbp_ref.exact.kernels import FloatArray, IntegerArray
from tsslbp_ref.jit import compiled


@compiled
def neuron_loss(times: FloatArray, signs: FloatArray, duration: float, tau: float) -> tuple[float, FloatArray, float]:
    """L = 1/2 integral of e^2 over [0, duration], dL/dt of every event, and dL/dtau, for one output neuron.

    e = sum over events of sign exp(-(t - t_event)/tau)/tau after t_event; sign +1 marks a spike, -1 a desired one.
    Between events e decays, so the integral of e^2 is e^2 (tau/2) (1 - exp(-2 t/tau)).
    dL/dt_event = (sign/tau) [P_a/tau - (e- + e+)/2]. Events at the same time are one jump: e- and e+ are the
    values before and after all of it, which makes the derivative the mean of the two one-sided ones.
    dL/dtau = integral of e f,  f = de/dtau, which jumps by -sign/tau^2 and follows f(t) = (f + e t/tau^2) exp(-t/tau).
    """
    n = times.size
    before, after = np.zeros(n), np.zeros(n)
    loss, e, f, dL_dtau = 0.0, 0.0, 0.0, 0.0
    first = 0
    while first < n:
        stop = first
        jump = 0.0
        while stop < n and times[stop] == times[first]:
            jump += signs[stop] / tau
            stop += 1
        before[first:stop] = e
        e += jump
        f -= jump / tau
        after[first:stop] = e
        wait = (times[stop] if stop < n else duration) - times[first]
        squared = -0.5 * tau * math.expm1(-2.0 * wait / tau)  # integral of exp(-2 t/tau)
        loss += 0.5 * e * e * squared
        dL_dtau += e * f * squared + (e * wait / tau) ** 2 * decay_moment(2.0 * wait / tau)
        f = (f + e * wait / tau**2) * math.exp(-wait / tau)
        e *= math.exp(-wait / tau)
        first = stop
    derivatives = np.zeros(n)
    P_a, t = 0.0, duration
    for k in range(n - 1, -1, -1):
        wait = t - times[k]
        # P_a(t) = integral over the rest of exp(-(x-t)/tau) e(x); e decays at the same rate.
        P_a = P_a * math.exp(-wait / tau) - 0.5 * tau * after[k] * math.expm1(-2.0 * wait / tau)
        derivatives[k] = signs[k] / tau * (P_a / tau - 0.5 * (before[k] + after[k]))
        t = times[k]
    return loss, derivatives, dL_dtau


@compiled
def cross_entropy(scores: FloatArray, label: int) -> tuple[float, FloatArray]:
    """L = -log softmax(scores)[label] and dL/dscores = softmax(scores) - one-hot(label),  scores (n_out,)."""
    p = np.exp(scores - scores.max())
    total = p.sum()
    loss = math.log(total) - (scores[label] - scores.max())
    p /= total
    p[label] -= 1.0
    return loss, p


@compiled
def first_spike_loss(times: FloatArray, label: int, tau0: float, tau1: float, alpha: float) -> tuple[float, FloatArray]:
    """L = -log softmax(-t/tau0)[label] + alpha (exp(t_label/tau1) - 1) and dL/dt,  t (n_out,) in ms."""
    loss, by_score = cross_entropy(-times / tau0, label)
    derivatives = -by_score / tau0
    if alpha > 0.0:  # 0 times an exponential that overflows is no number
        derivatives[label] += alpha / tau1 * math.exp(times[label] / tau1)
        loss += alpha * math.expm1(times[label] / tau1)
    return loss, derivatives


@compiled
def first_spike_losses(
    times: FloatArray,
    offsets: IntegerArray,
    highest: FloatArray,
    labels: IntegerArray,
    threshold: FloatArray,
    duration: float,
    tau0: float,
    tau1: float,
    alpha: float,
    silent_weight: float,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the losses (samples,), dL/dt of all output spikes and dL/d(highest membrane) (samples, n_out) of a batch.

    times, offsets: the output spikes as `kernels.layer_spikes` has them; highest: (samples, n_out). With a
    `silent_weight` of beta >= 0 a sample whose labelled output is silent has L = beta (V - highest membrane) instead.
    """
    n_samples, n_out = highest.shape
    losses, dL_dt, dL_dpeak = np.empty(n_samples), np.zeros(times.size), np.zeros((n_samples, n_out))
    first = np.empty(n_out)
    for sample in range(n_samples):
        y, start = labels[sample], offsets[sample]
        if silent_weight >= 0.0 and start[y] == start[y + 1]:
            losses[sample] = silent_weight * (threshold[y] - highest[sample, y])
            dL_dpeak[sample, y] = -silent_weight
            continue
        for i in range(n_out):
            first[i] = times[start[i]] if start[i] < start[i + 1] else duration
        losses[sample], by_first = first_spike_loss(first, y, tau0, tau1, alpha)
        for i in range(n_out):
            if start[i] < start[i + 1]:
                dL_dt[start[i]] = by_first[i]
    return losses, dL_dt, dL_dpeak


@compiled
def peak_losses(highest: FloatArray, labels: IntegerArray) -> tuple[FloatArray, FloatArray]:
    """Return L = -log softmax(highest)[label] (samples,) and dL/dhighest (samples, n_out) of a batch."""
    losses, derivatives = np.empty(len(labels)), np.empty_like(highest)
    for sample in range(len(labels)):
        losses[sample], derivatives[sample] = cross_entropy(highest[sample], labels[sample])
    return losses, derivatives

r"""The frozen-event tangent network: the smooth network whose true gradient TSSL-BP is. Own derivation.

The loss of the spiking network is piecewise constant in the weights in discrete time, so there is nothing to
difference. But freeze one run: its membranes u0, spikes s0, PSCs a0 and weighted inputs I0. Write dI = I~ - I0 for what
a change of the weights adds to the weighted input, psi0 = s0 min(1/du0, 8) for the slopes of the firing times, m0 = 1
where the warm-up stands in (a0 < theta_s/4) and q0 for its slope. Then the smooth network

.. math::
    x[t] &= (1 - m_0[t]) \, dI[t] + c[t-1] \, x[t-1] \\
    c[t] &= (1 - \theta_m)(1 - s_0[t]) + \theta_m u_0[t] \psi_0[t] \\
    \tilde s[t] &= s_0[t] + \psi_0[t] x[t] + m_0[t] q_0[t] \, dI[t] \\
    \tilde a[t] &= (1 - \theta_s) \tilde a[t-1] + \theta_s \tilde s[t]

with :math:`\tilde I = W \tilde a` in the next layer, equals the spiking network at the frozen weights, and its gradient
there is the released rule. For let G[t] = dL/ds~[t] = sum_k eps[k-t] g[k]. The adjoint of x is

.. math:: \lambda[t] = \psi_0[t] G[t] + c[t] \lambda[t+1],

because x[t] enters s~[t] with psi0[t] and x[t+1] with c[t]; and dL/dI[t] = (1 - m0) lambda + m0 q0 G. Line by line that
is the released recursion: lambda[t+1] is the gradient of the next step before the warm-up replaces it.

The other rules change one line each:

- "literal": a later spike has a larger PSC, by +eps/tau_s, and the spike moves by -psi0 x. So
  s~ = s0 - theta_s psi0 x + m0 q0 dI.
- "surrogate": m0 = 1 everywhere.
- with a surrogate_weight kappa: m0 = 0 everywhere, and s~ gains kappa q0 dI.
- no intra-neuron dependency: c = 0.
- warm-up by layer: m0 = 1 everywhere or nowhere.
- "leak": c[t] = (1 - theta_m)(1 - s0[t]). No gradient at silent steps, and "reset": dI[t] enters x only where s0 = 1.
- "onset": psi0 x enters a~, not s~: a later spike has a larger PSC, as in "literal", and lacks its onset's impulse.
  So s~ = s0 - theta_s psi0 x + m0 q0 dI, and a~[t] gains theta_s (1 + theta_s) psi0[t] x[t] beside the filter.
- "one-hop": c[t] = (1 - theta_m)(1 - s0[t]), and the output is not a~ but b~: equal to a~ but at a spike p that has a
  spike j before it, b~[p] = a~[p] + theta_m u0[j] (1 - theta_m)^(p-j-1) (a~[j] - a0[j]). What that is, says
  docs/derivations/september-2020.md.
- "consistent" reset: c[t] = (1 - theta_m)(1 - s0[t]) + I0[t] psi0[t].
- "consistent" inter-neuron dependency: the rule reads lambda[t] = psi0[t] (G[t-1] - G[t+1]) / 2 + c[t] lambda[t+1].
  So x[t] must enter s~[t-1] with +psi0[t]/2 and s~[t+1] with -psi0[t]/2:

  .. math:: \tilde s[t] = s_0[t] + \tfrac12 (\psi_0[t+1] x[t+1] - \psi_0[t-1] x[t-1]).

  In words: a spike that moves earlier gives to the step before and takes from the step after. The network is not causal
  any more, by one step in each layer: a~[t] answers to the input at t+1. That does no harm, as nothing flows back
  from a~ into x of the same layer. A spike at t = 0 reaches the step before the start, s~[-1] = psi0[0] x[0] / 2, which
  no loss reads but which decays into a~[0]: G[-1] = (1 - theta_s) G[0], as in the rule. What a spike at T-1 does to
  step T is read by no loss: G[T] = 0.

Constants that move enter as W does, directly: dI[t] becomes dI[t] + (theta_m - theta_m~) v0[t-1], tau_s~ is that of the
filter of s0, and a threshold that is higher by dV lowers x by dV wherever x is read at a spike (psi0 x, and c x through
the reset), and dI by dV where the warm-up stands in; not where x leaks. Where the warm-up stands in at a spike, dV does
not act a second time.

This proves an implementation right, layers and convolutions and all. It does not say that the rule is the gradient of
the spiking network; for that see `tsslbp_ref.exact`.

Nothing here calls the backward functions of `terms`, `reference` or `sweeps`: the formulas are written a second time,
on purpose, as forward recursions over whole arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from tsslbp_ref.gradcheck.finite_differences import Array
from tsslbp_ref.model import losses
from tsslbp_ref.model.layers import Layer
from tsslbp_ref.model.losses import LossSettings
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters
from tsslbp_ref.model.trace import Trace


def filtered(s: Array, theta_s: Any, before: Any = 0.0) -> Any:
    """a[t] = (1 - theta_s) a[t-1] + theta_s s[t], from a[-1] = before; theta_s a number, or one a neuron."""
    a, previous = np.empty(s.shape, np.result_type(s, theta_s, before)), before
    for t in range(len(s)):
        a[t] = previous = (1.0 - theta_s) * previous + theta_s * s[t]
    return a


@dataclass(frozen=True)
class Moved:
    """What is added to the constants of a layer's neurons: a number, or (N,); complex for a complex step."""

    tau_m: Any = 0.0
    tau_s: Any = 0.0
    threshold: Any = 0.0


UNMOVED = Moved()


@dataclass(frozen=True)
class FrozenNeurons:
    """One layer of neurons, frozen at a run: a smooth map from weighted input to PSC. All arrays are (T, B, N).

    Parameters
    ----------
    s, I, v : array
        The run's spikes, weighted input, and membrane after the reset of the step before.
    psi : array
        Slope of the firing time, s / du, clipped as the rule says.
    c : array
        What x hands on to the next step.
    e : array
        1 where a change of the weighted input enters x.
    m, q : array
        1 where the warm-up stands in, and the surrogate's slope.
    kappa : float
        Weight of the surrogate that is added at every step.
    hop : array
        What a spike's own PSC hands on to the neuron's next spike, s u theta_m; 0 but for "one-hop".
    theta_m, theta_s : float
    inter : str
        As in `GradientRule`.
    """

    s: Array
    I: Array
    v: Array
    psi: Array
    c: Array
    e: Array
    m: Array
    q: Array
    hop: Array
    theta_m: float
    theta_s: float
    inter: str
    kappa: float

    @classmethod
    def of(cls, trace: Trace, neuron: NeuronParameters, rule: GradientRule) -> FrozenNeurons:
        """Freeze the run that a trace records."""
        u, V = trace.u, neuron.threshold
        s = np.where(u > V, 1.0, 0.0)
        v_before = np.concatenate([np.zeros_like(u[:1]), (u * (1.0 - s))[:-1]])
        I = u - (1.0 - 1.0 / neuron.tau_m) * v_before
        du = np.where(s == 1.0, u - v_before, 1.0)
        psi = s * np.minimum(1.0 / du, rule.inverse_rise_clip)
        argument = np.clip((u - V) / rule.surrogate_width, -rule.surrogate_argument_clip, rule.surrogate_argument_clip)
        q = special.expit(argument) * special.expit(-argument) / rule.surrogate_width
        m = _warm(s, trace.a, neuron, rule)
        silent_enter = rule.silent == "leak" and rule.intra != "reset"
        return cls(
            s,
            I,
            v_before,
            psi,
            c=_handed_on(s, u, I, psi, neuron, rule),
            e=(1.0 - m) * (np.ones_like(s) if silent_enter else s),
            m=m,
            q=q,
            hop=s * u / neuron.tau_m * float(rule.intra == "one-hop"),
            theta_m=1.0 / neuron.tau_m,
            theta_s=1.0 / neuron.tau_s,
            inter=rule.inter,
            kappa=0.0 if rule.inter == "surrogate" else rule.surrogate_weight,
        )

    def psc(self, I: Any, moved: Moved = UNMOVED) -> Any:
        """a~ from I~ and constants that have moved, by the equations at the head of this file."""
        dI = I - self.I + (self.theta_m - 1.0 / (1.0 / self.theta_m + moved.tau_m)) * self.v
        dV = (1.0 - self.m) * moved.threshold
        x = (self.e * dI).astype(np.result_type(dI, dV))
        for t in range(1, len(x)):
            x[t] += self.c[t - 1] * (x[t - 1] - self.s[t - 1] * dV[t - 1])
        warm = (self.m + self.kappa) * self.q * (dI - moved.threshold)
        change = self._moved(self.psi * (x - dV)) + filtered(warm, self.theta_s)
        return filtered(self.s, 1.0 / (1.0 / self.theta_s + moved.tau_s)) + change + self._hopped(change)

    def _moved(self, height: Array) -> Any:
        """What the PSC gains where the spikes move by -height."""
        if self.inter == "literal":
            return filtered(-self.theta_s * height, self.theta_s)
        if self.inter == "onset":
            return filtered(-self.theta_s * height, self.theta_s) + self.theta_s * (1.0 + self.theta_s) * height
        if self.inter == "consistent":
            shifted = np.zeros_like(height)
            shifted[:-1] += height[1:] / 2.0
            shifted[1:] -= height[:-1] / 2.0
            return filtered(shifted, self.theta_s, self.theta_s * height[0] / 2.0)
        return filtered(height, self.theta_s)

    def _hopped(self, change: Array) -> Array:
        """What a change of the PSC at each spike adds to the PSC at the next one."""
        found, y = np.zeros_like(change), np.zeros_like(change[0])
        for t in range(len(change)):
            found[t] = self.s[t] * y
            y = self.hop[t] * change[t] + (1.0 - self.s[t]) * (1.0 - self.theta_m) * y
        return found


def _warm(s: Array, a: Array, neuron: NeuronParameters, rule: GradientRule) -> Array:
    """m: 1 where the warm-up stands in."""
    if rule.inter == "surrogate":
        return np.ones_like(a)
    if rule.surrogate_weight > 0.0:
        return np.zeros_like(a)
    if rule.warmup == "layer":
        return np.full_like(a, np.sum(s) / s.size <= rule.warmup_rate)
    return np.where(a < rule.warmup_gate / neuron.tau_s, 1.0, 0.0) * float(rule.warmup)


def _handed_on(s: Array, u: Array, I: Array, psi: Array, neuron: NeuronParameters, rule: GradientRule) -> Array:
    """c: what x hands on to the next step, through the leak of a silent step and through the reset of a spike."""
    if rule.intra is False:
        return np.zeros_like(u)
    through_leak = (1.0 - 1.0 / neuron.tau_m) * (1.0 - s)
    if rule.intra in ("one-hop", "leak"):
        return through_leak
    return through_leak + (I if rule.intra == "consistent" else u / neuron.tau_m) * psi


@dataclass(frozen=True)
class TangentNetwork:
    """The smooth network of a frozen run; its loss is a polynomial of the weights if the loss is quadratic in the PSC.

    Parameters
    ----------
    layers : sequence of Layer
    masks : sequence of array or None
        One a layer: the dropout mask of the run.
    neurons : sequence of FrozenNeurons
        One a layer that has weights.
    input_psc : (T, B, ...) array
        The PSC that the first layer sees.
    y : (B,) array of int
    neuron : NeuronParameters
    loss_name : str
    settings : LossSettings, optional
        Targets of the count loss.
    """

    layers: Sequence[Layer]
    masks: Sequence[Array | None]
    neurons: Sequence[FrozenNeurons]
    input_psc: Array
    y: Array
    neuron: NeuronParameters
    loss_name: str
    settings: LossSettings | None = None

    def loss(self, weights: Sequence[Array]) -> float:
        """The loss with the given weights instead of the frozen ones."""
        a = self.input_psc
        remaining = iter(zip(weights, self.neurons, strict=True))
        for layer, mask in zip(self.layers, self.masks, strict=True):
            if layer.weight_shape is None:
                a = layer.forward(a, mask)
                continue
            W, neurons = next(remaining)
            I = layer.forward(a, W).reshape(neurons.s.shape)
            a = neurons.psc(I).reshape(*I.shape[:2], *layer.output_shape)
        return losses.value_and_gradient(
            self.loss_name, a.reshape(*a.shape[:2], -1), self.y, self.neuron, self.settings
        )[0]

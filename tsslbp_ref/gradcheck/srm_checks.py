"""Rows for what docs/derivations/chain-rule.md claims: the neuron as kernels, one-sided differences, nothing twice.

The rows of `srm` hold the sums of kernels to the recursions F3 - F6. The others hold three steps of the derivation to
numbers: what the literal rule is the difference of, which of three values the reset's derivative has, and that the
chain rule counts no path from a weight to the loss twice.
"""

from __future__ import annotations

import numpy as np

from tsslbp_ref.gradcheck import tangent_checks
from tsslbp_ref.gradcheck.finite_differences import Array, gradient, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.gradcheck.samples import IDENTITY, RISE, over_neurons
from tsslbp_ref.gradcheck.tangent import FrozenNeurons, filtered
from tsslbp_ref.model import reference, srm, terms
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, rule_by_name
from tsslbp_ref.model.trace import Trace

N_STEPS = 14
T_M = 4  # the spike's step, with steps before and after it
RESET_AT_TAU_M_5 = 0.25  # of the kernel's value at the lag; the continuous kernel has 0.2, (1 - theta_m)^t 0.223
TWO_LAYERS = tangent_checks.Case("5", (6,), rule=rule_by_name("no-warmup"), feed="spikes")


def all_checks() -> list[Check]:
    """The rows of this file."""
    return [
        *_neuron_rows(),
        Check(
            "term-psc-in-time-one-sided",
            "theta_s eps[j] = eps[j] - eps[j+1] (PSC of a spike now minus one step earlier, but for lag -1)",
            "terms.psc_by_firing_time",
            IDENTITY,
            over_neurons(_one_sided),
        ),
        Check(
            "term-reset-one-step",
            "d(nu*s)[t_p]/dt_m = 0.25 nu[p-m] at tau_m = 5",
            "terms.reset_by_firing_time * terms.leak",
            IDENTITY,
            _reset_at_tau_m_5,
        ),
        Check(
            "tangent-nothing-twice",
            "sum_t (dL/du total)(du/dW partial) = sum_t (dL/du partial)(du/dW total) = dL/dW (tangent network)",
            "network.Network.loss_and_gradients",
            tangent_checks.TOLERANCE,
            _nothing_twice,
        ),
    ]


def _neuron_rows() -> list[Check]:
    return [
        Check(
            "srm-response-kernel",
            "eps_u[t-m] = u[t] of one input spike of weight 1 (recursions F6, F3, no reset)",
            "srm.response_kernel",
            IDENTITY,
            over_neurons(_response_kernel),
        ),
        Check(
            "srm-eta",
            "(nu * s)[t] = v[t] minus the membrane without reset (recursions F3, F5)",
            "srm.eta",
            IDENTITY,
            over_neurons(_eta),
        ),
        Check(
            "srm-membrane",
            "u = sum_j w_ij eps_u * s_j + nu * s_i: u and a of the recursions F3 - F6",
            "srm.forward",
            IDENTITY,
            over_neurons(_membrane),
        ),
    ]


# ---------------------------------------------------------------------------------------------------------------------
# The neuron as kernels
# ---------------------------------------------------------------------------------------------------------------------


def _response_kernel(neuron: NeuronParameters) -> float:
    """The recursions' answer to one spike, before the spike (0) and after it."""
    u, a, answer = 0.0, 0.0, []
    for t in range(N_STEPS):
        a = terms.psc(a, float(t == T_M), neuron.theta_s)
        u = terms.membrane(u, a, neuron.theta_m)
        answer.append(u)
    found = [srm.response_kernel(t - T_M, neuron.theta_m, neuron.theta_s) for t in range(N_STEPS)]
    return relative_error(found, answer)


def _run(neuron: NeuronParameters) -> tuple[Array, Array, Array, Trace]:
    """Input spikes, weights, weighted input and trace of a layer that fires often."""
    rng = np.random.default_rng(4)
    s = (rng.random((N_STEPS, 2, 5)) < 0.5).astype(np.float64)
    W = rng.normal(0.5, 0.5, size=(4, 5)) * neuron.threshold
    I = reference.psc_filter(s, neuron) @ W.T
    return s, W, I, reference.lif_forward(I, neuron)


def _eta(neuron: NeuronParameters) -> float:
    """The membrane with and without reset, by the same recursion."""
    _, _, I, trace = _run(neuron)
    free = np.zeros_like(I)
    for t in range(N_STEPS):
        free[t] = terms.membrane(free[t - 1] if t > 0 else 0.0, I[t], neuron.theta_m)
    return relative_error(srm.eta(trace, neuron), trace.u * (1.0 - trace.s) - free)


def _membrane(neuron: NeuronParameters) -> float:
    s, W, _, trace = _run(neuron)
    found = srm.forward(s, W, neuron)
    return largest([relative_error(found.u, trace.u), relative_error(found.a, trace.a)])


# ---------------------------------------------------------------------------------------------------------------------
# One-sided differences
# ---------------------------------------------------------------------------------------------------------------------


def _one_sided(neuron: NeuronParameters) -> float:
    """The literal rule, and its missing onset put back at lag -1, against PSCs of a spike now and one step earlier."""
    c = GradientRule(inter="literal").coefficients(neuron)
    eps = [terms.psc_kernel(lag, neuron.theta_s) for lag in range(-T_M - 1, N_STEPS - T_M + 1)]
    weights = (c.inter_before, c.inter_now, c.inter_after)
    neighbours = zip(eps[:-2], eps[1:-1], eps[2:], strict=True)
    found = np.array([terms.psc_by_firing_time(*kernel, *weights) for kernel in neighbours])
    found[T_M - 1] -= neuron.theta_s  # the onset: one step earlier the PSC begins one step earlier
    now, earlier = np.zeros((2, N_STEPS))
    now[T_M], earlier[T_M - 1] = 1.0, 1.0
    return relative_error(found, reference.psc_filter(now, neuron) - reference.psc_filter(earlier, neuron))


def _reset_at_tau_m_5() -> float:
    """The number is written out here: it does not come from the function that is checked."""
    neuron, u = NeuronParameters(tau_m=5.0), 1.4
    c = GradientRule().coefficients(neuron)
    lags = range(1, 8)
    here = terms.reset_by_firing_time(u, RISE, c.reset_by_u, c.reset_by_I)
    found = [here * terms.leak(lag - 1, neuron.theta_m) for lag in lags]
    return relative_error(found, [-RESET_AT_TAU_M_5 * u * 0.8**lag for lag in lags])


# ---------------------------------------------------------------------------------------------------------------------
# Nothing twice
# ---------------------------------------------------------------------------------------------------------------------


def _nothing_twice() -> float:
    """Both orders of the chain rule, layer by layer, against central differences of the tangent network."""
    _, (gradients, _), tangent, network = tangent_checks.frozen(TWO_LAYERS)
    W = network.weights
    errors = []
    for layer, frozen in enumerate(tangent.neurons):

        def loss(moved: Array, layer: int = layer) -> float:
            return tangent.loss([*W[:layer], moved, *W[layer + 1 :]])

        numeric = gradient(loss, W[layer], tangent_checks.WEIGHT_STEP)
        errors.append(relative_error(gradients[layer], numeric))
        errors.append(relative_error(_by_total_membrane(network, frozen, layer), numeric))
    return largest(errors)


def _by_total_membrane(network: Network, frozen: FrozenNeurons, layer: int) -> Array:
    """sum_t psi[t] G[t] x[t], x[t] = a_prev[t] + c[t-1] x[t-1]: dL/du through the own spike, du/dW through time."""
    flows = network.gradient_flow(TWO_LAYERS.input(), TWO_LAYERS.labels(), TWO_LAYERS.loss)
    a_prev = TWO_LAYERS.input_psc() if layer == 0 else flows[layer - 1].trace.a
    G = filtered(flows[layer].g[::-1], frozen.theta_s)[::-1]
    total = np.zeros((*frozen.s.shape[1:], a_prev.shape[2]))  # (B, out, in)
    found = np.zeros(total.shape[1:])
    for t in range(len(G)):
        total = a_prev[t][:, None, :] + (frozen.c[t - 1][:, :, None] * total if t > 0 else 0.0)
        found += np.einsum("bo,boi->oi", frozen.psi[t] * G[t], total)
    return found

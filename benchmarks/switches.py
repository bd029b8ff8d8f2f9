"""Where one way to a layer's products becomes faster than another: calls to time, and where their times cross.

The engine switches by itself: from a list of events to the plain product of an input by the density of its spikes
(`inputs.SPARSE_DENSITY`), and from spike patterns to the plain product of a hidden layer by the share of its neurons
that fire (`spike_patterns.SHARE_A_STEP`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.workloads import Workload
from tsslbp_ref.engine import spike_patterns
from tsslbp_ref.engine.events import find_events
from tsslbp_ref.engine.inputs import EventInput, LayerInput, PSCInput
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.layers import Dense
from tsslbp_ref.model.parameters import NeuronParameters

SEED = 7
EVENTS, PATTERNS, PLAIN = "events", "spike patterns", "plain product"
SPIKES_OF_A_NEURON = 0.35  # share of the steps at which a neuron that fires at all does

Call = Callable[[], object]


def input_products(workload: Workload, width: int, contender: str) -> Call:
    """From spike trains to I and dL/dW, the two ways that `inputs.spike_input` chooses from."""
    s = workload.inputs()[0].reshape(workload.n_steps, workload.batch, -1)
    rng = np.random.default_rng(SEED)
    layer, neuron = Dense((s.shape[2],), width), NeuronParameters(workload.tau_m, workload.tau_s)
    W = rng.normal(size=layer.weight_shape).astype(np.float32)
    delta = rng.normal(size=(*s.shape[:2], width)).astype(np.float32)
    I = np.empty_like(delta)

    def products() -> None:
        fed: LayerInput
        if contender == EVENTS:
            found = find_events(s, np.float32)
            assert found is not None
            fed = EventInput(found, neuron)
        else:
            fed = PSCInput(sweeps.psc_filter(s.astype(np.float32), neuron))
        fed.weighted_input(layer, W, I)
        fed.weight_gradient(layer, delta)

    return products


def hidden_products(n_neurons: int, share: float, n_steps: int, batch: int, contender: str) -> Call:
    """From the spikes of a layer to I and dL/dW of the next, of the same size, in one of two ways.

    Parameters
    ----------
    n_neurons : int
    share : float
        Of the neurons that fire at all.
    n_steps, batch : int
    contender : {"spike patterns", "plain product"}
    """
    rng = np.random.default_rng(SEED)
    fires = rng.random((batch, n_neurons)) < share
    s = fires & (rng.random((n_steps, batch, n_neurons)) < SPIKES_OF_A_NEURON)
    s[0] |= fires & ~s.any(axis=0)
    neuron, layer = NeuronParameters(), Dense((n_neurons,), n_neurons)
    u = (2.0 * neuron.threshold * s).astype(np.float32)
    a = sweeps.psc_filter(s.astype(np.float32), neuron)
    W = np.asfortranarray(rng.normal(size=layer.weight_shape).astype(np.float32))
    delta = rng.normal(size=s.shape).astype(np.float32)
    I, gradient, W_transposed = np.empty_like(delta), np.empty_like(W.T, order="C"), W.T
    theta_s, k = np.float32(neuron.theta_s), spike_patterns.pattern_length(n_steps)

    def by_patterns() -> None:
        for _ in range(2):  # a chain lists them each way
            patterns = spike_patterns.patterns_of(u, np.float32(neuron.threshold), k)
        spike_patterns.weighted_input_sweep(*patterns, W_transposed, theta_s, k, I)
        spike_patterns.weight_gradient_sweep(*patterns, delta, theta_s, k, gradient)

    def plain() -> None:
        fed = PSCInput(a)
        fed.weighted_input(layer, W, I)
        fed.weight_gradient(layer, delta)

    return by_patterns if contender == PATTERNS else plain


def crossing(shares: Sequence[float], times: Sequence[float], plain_times: Sequence[float]) -> float:
    """The share at which the two take the same time.

    log(times / plain) is taken as linear in log(share) between the two shares where it changes sign; the largest share
    measured where the first always wins, 0 where it never does.
    """
    advantage = [math.log(plain / other) for other, plain in zip(times, plain_times, strict=True)]
    if advantage[0] <= 0.0:
        return 0.0
    for k in range(1, len(shares)):
        if advantage[k] <= 0.0:
            part = advantage[k - 1] / (advantage[k - 1] - advantage[k])
            return float(shares[k - 1] * (shares[k] / shares[k - 1]) ** part)
    return shares[-1]

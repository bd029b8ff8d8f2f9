"""Where one way to a layer's products becomes faster than another: calls to time, and where their times cross.

The package switches by itself: from a list of events to the plain product of an input by the density of its spikes
(`signals.SPARSE_DENSITY`), and from words to the plain product of a hidden layer by the share of its neurons that spell
one (`fast_words.SHARE_A_STEP`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.workloads import Workload
from tsslbp_ref.engine import fast_events, fast_words
from tsslbp_ref.engine.signals import PSCSignal, Signal, SparseSpikeSignal
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.layers import Dense
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.model.trace import Trace

SEED = 7
EVENTS, WORDS, PLAIN = "events", "words", "plain product"
SPIKES_OF_A_NEURON = 0.35  # share of the steps at which a neuron that fires at all does

Call = Callable[[], object]


def input_products(workload: Workload, width: int, contender: str) -> Call:
    """From spike trains to I and dL/dW, the two ways that `signals.spike_signal` chooses from."""
    s = workload.inputs()[0].reshape(workload.n_steps, workload.batch, -1)
    rng = np.random.default_rng(SEED)
    layer, neuron = Dense((s.shape[2],), width), NeuronParameters(workload.tau_m, workload.tau_s)
    W = rng.normal(size=layer.weight_shape).astype(np.float32)
    delta = rng.normal(size=(*s.shape[:2], width)).astype(np.float32)

    def products() -> None:
        signal: Signal
        if contender == EVENTS:
            found = fast_events.find_events(s, np.float32)
            assert found is not None
            signal = SparseSpikeSignal(found, neuron)
        else:
            signal = PSCSignal(sweeps.psc_filter(s.astype(np.float32), neuron))
        signal.weighted_input(layer, W)
        signal.weight_gradient(layer, delta)

    return products


def hidden_products(n_neurons: int, share: float, n_steps: int, batch: int, contender: str) -> Call:
    """From the spikes of a layer to I and dL/dW of the next, of the same size, by words or by the plain product.

    Parameters
    ----------
    n_neurons : int
    share : float
        Of the neurons that fire at all.
    n_steps, batch : int
    contender : {"words", "plain product"}
    """
    rng = np.random.default_rng(SEED)
    fires = rng.random((batch, n_neurons)) < share
    s = fires & (rng.random((n_steps, batch, n_neurons)) < SPIKES_OF_A_NEURON)
    s[0] |= fires & ~s.any(axis=0)
    neuron, layer = NeuronParameters(), Dense((n_neurons,), n_neurons)
    u = (2.0 * neuron.threshold * s).astype(np.float32)
    trace = Trace(u, sweeps.psc_filter(s.astype(np.float32), neuron), neuron.threshold)
    W = np.asfortranarray(rng.normal(size=layer.weight_shape).astype(np.float32))
    delta = rng.normal(size=s.shape).astype(np.float32)

    def by_words() -> None:
        fast_words.weighted_input(fast_words.find_words(trace), W, neuron)
        fast_words.weight_gradient(fast_words.find_words(trace), delta, neuron)  # a run lists them each way

    def plain() -> None:
        signal = PSCSignal(trace.a)
        signal.weighted_input(layer, W)
        signal.weight_gradient(layer, delta)

    return by_words if contender == WORDS else plain


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

"""A chain of fully connected layers under a static image: a shard's training step is one compiled call or two.

Same numbers as layer by layer (`batch.LayerByLayer`). A call that returns to Python waits for the interpreter lock, and
on layers of some hundred neurons threads would wait about as long as they work. Without it a step of W1 takes 12.7 %
longer. Spike patterns were off on both sides of that comparison, since only a chain follows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine import spike_patterns
from tsslbp_ref.engine.events import first_needed_step
from tsslbp_ref.engine.inputs import static_gain
from tsslbp_ref.engine.pooled import scale, weighted_sum
from tsslbp_ref.engine.spike_patterns import PatternList
from tsslbp_ref.engine.threads import Buffers
from tsslbp_ref.jit import compiled, compiled_inlined, gemm
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.backpropagation import Masks, MembraneError
from tsslbp_ref.model.layers import Dense, Layer
from tsslbp_ref.model.parameters import NeuronParameters, RuleCoefficients

if TYPE_CHECKING:
    from tsslbp_ref.model.network import Network

Array = npt.NDArray[Any]

MOST_LAYERS = 4  # of a chain: the compiler takes longer with each, and deep networks go layer by layer
ALL_FINITE = -1  # no layer's index: all membranes are finite


def is_chain(layers: Sequence[Layer]) -> bool:
    """Whether layers are a chain: two to `MOST_LAYERS`, all fully connected; a derived class may have another map."""
    return 2 <= len(layers) <= MOST_LAYERS and all(type(layer) is Dense for layer in layers)


@dataclass(frozen=True)
class ChainRecord:
    """What a shard's forward pass leaves: x (B, n), membranes and PSCs (T, B, N) of each layer."""

    x: Array
    us: tuple[Array, ...]
    pscs: tuple[Array, ...]

    @property
    def output(self) -> Array:
        """The last layer's PSC (T, B, n_classes)."""
        return self.pscs[-1]


class DenseChain:
    """The pass of a network whose layers are a chain, under static images.

    Parameters
    ----------
    net : Network
    """

    def __init__(self, net: Network) -> None:
        self.neurons, self.dtype = net.neurons, net.dtype
        self.gain, self.constants = _constants(net.neurons, net.input_tau_s, net.n_steps, net.dtype)
        self.Ws_transposed = tuple(np.require(W.T, requirements=("C", "W")) for W in net.weights)
        self.follow = np.array([len(W) >= spike_patterns.FEWEST_NEURONS for W in net.weights])  # what feeds a layer
        self.k = spike_patterns.pattern_length(net.n_steps)

    def forward(self, x: Array, masks: Masks, buffers: Buffers) -> ChainRecord:
        """Take a shard (B, ...) through all layers    (F1, F3 - F6)."""
        x = np.ascontiguousarray(x).reshape(len(x), -1)
        us, pscs = (self._arrays(name, len(x), buffers) for name in ("u", "a"))
        Wx = buffers.take("Wx", us[0].shape[1:], self.dtype)
        failed = chain_forward(x, self.gain, self.Ws_transposed, self.constants, self.follow, self.k, Wx, us, pscs)
        self._check(failed)
        return ChainRecord(x, us, pscs)

    def backward(self, record: ChainRecord, g: Array, cs: Sequence[RuleCoefficients], buffers: Buffers) -> list[Array]:
        """Return dL/dW of each layer from dL/da of the output    (B1 - B3)."""
        gs = self._arrays("g", len(record.x), buffers)
        gs[-1][...] = g
        summed_delta = buffers.take("summed delta", gs[0].shape[1:], self.dtype)
        dWs = tuple(np.empty_like(W) for W in self.Ws_transposed)
        trace = (record.x, record.us, record.pscs)
        chain = (self.gain, self.Ws_transposed, tuple(cs), self.follow, self.k)
        chain_backward(*trace, *chain, gs, summed_delta, dWs)
        return [dW.T for dW in dWs]

    def van_rossum_step(
        self, x: Array, target: Array, cs: Sequence[RuleCoefficients], buffers: Buffers
    ) -> tuple[float, list[Array], Array]:
        """Loss against a target PSC, dL/dW and output PSC of a shard, in one call."""
        x = np.ascontiguousarray(x).reshape(len(x), -1)
        us, pscs, gs = (self._arrays(name, len(x), buffers) for name in ("u", "a", "g"))
        Wx, summed_delta = (buffers.take(name, us[0].shape[1:], self.dtype) for name in ("Wx", "summed delta"))
        dWs = tuple(np.empty_like(W) for W in self.Ws_transposed)
        chain = (self.gain, self.Ws_transposed, self.constants, tuple(cs), self.follow, self.k)
        failed, loss = chain_step(x, np.ascontiguousarray(target), *chain, Wx, us, pscs, gs, summed_delta, dWs)
        self._check(failed)
        return loss, [dW.T for dW in dWs], pscs[-1]

    def spike_counts(self, record: ChainRecord) -> list[int]:
        """Number of spikes of each layer."""
        return [int(np.count_nonzero(u > neuron.threshold)) for u, neuron in zip(record.us, self.neurons, strict=True)]

    def _check(self, failed: int) -> None:
        """Raise if a layer has membranes that are not finite."""
        if failed != ALL_FINITE:
            raise MembraneError(f"the membranes of layer {failed} are not finite")

    def _arrays(self, name: str, B: int, buffers: Buffers) -> tuple[Array, ...]:
        """One array (T, B, N) a layer."""
        T = len(self.gain)
        return tuple(buffers.take((name, i), (T, B, W.shape[1]), self.dtype) for i, W in enumerate(self.Ws_transposed))


@lru_cache
def _constants(
    neurons: tuple[NeuronParameters, ...], input_tau_s: float, n_steps: int, dtype: np.dtype[Any]
) -> tuple[Array, tuple[tuple[float, float, float], ...]]:
    """c[t], and theta_m, theta_s and V of each layer: worked out once and not in every step."""
    gain = static_gain(n_steps, NeuronParameters(tau_s=input_tau_s), dtype)
    return gain, tuple(sweeps.neuron_constants(neuron, dtype) for neuron in neurons)


@compiled_inlined
def chain_forward(
    x: Array,
    gain: Array,
    Ws_transposed: tuple[Array, ...],
    constants: tuple[tuple[float, float, float], ...],
    follow: npt.NDArray[np.bool_],
    k: int,
    Wx: Array,
    us: tuple[Array, ...],
    pscs: tuple[Array, ...],
) -> int:
    """F1 and F3 - F6 of one layer after the other.

    Parameters
    ----------
    x : (B, n) array
        Contiguous and of one dtype, as all arrays here.
    gain : (T,) array
        c[t] of a static image.
    Ws_transposed : tuple of (n, N) array
    constants : tuple of (theta_m, theta_s, threshold)
        One a layer.
    follow : (n_layers,) array of bool
        Whether spike patterns of what feeds a layer may be followed.
    k : int
        Steps a pattern.
    Wx : (B, N) array
        Of the first layer; written.
    us, pscs : tuple of (T, B, N) array
        Membranes and PSCs of each layer; written.

    Returns
    -------
    int
        Number of the first layer with a membrane that is not finite, else `ALL_FINITE`.
    """
    gemm(x, Ws_transposed[0], Wx)
    for t in range(len(gain)):
        scale(Wx.reshape(-1), gain[t], us[0][t].reshape(-1))
    for layer in range(len(us)):
        if layer > 0:
            theta_s, threshold = constants[layer - 1][1], constants[layer - 1][2]
            W_transposed = Ws_transposed[layer]
            finite = follow[layer] and _all_finite(W_transposed)  # a weight that is not has to show in I
            patterns = _patterns_to_follow(us[layer - 1], threshold, k, finite)
            if len(patterns[0]) > 0:
                spike_patterns.weighted_input_sweep(*patterns, W_transposed, theta_s, k, us[layer])
            else:
                _weighted_input(pscs[layer - 1], W_transposed, us[layer])
        theta_m, theta_s, threshold = constants[layer]
        sweeps.lif_sweep(_flat(us[layer]), theta_m, theta_s, threshold, _flat(pscs[layer]))
        if not _all_finite(us[layer][-1]):
            for u in us[layer][-1].reshape(-1):
                if not np.isfinite(u):
                    return layer
    return ALL_FINITE


@compiled_inlined
def chain_backward(
    x: Array,
    us: tuple[Array, ...],
    pscs: tuple[Array, ...],
    gain: Array,
    Ws_transposed: tuple[Array, ...],
    cs: tuple[RuleCoefficients, ...],
    follow: npt.NDArray[np.bool_],
    k: int,
    gs: tuple[Array, ...],
    summed_delta: Array,
    dWs_transposed: tuple[Array, ...],
) -> None:
    """B2 in time, dL/dW = sum_t delta[t] a_below[t]^T (B1), dL/da below = W^T delta[t] (B3), from the last layer down.

    Parameters
    ----------
    x, us, pscs, gain, Ws_transposed, follow, k
        Of `chain_forward`.
    cs : tuple of RuleCoefficients
        One a layer, in the arrays' dtype.
    gs : tuple of (T, B, N) array
        dL/da of each layer; the last holds it before, all hold delta after.
    summed_delta : (B, N) array
        sum_t c[t] delta[t] of the first layer; written.
    dWs_transposed : tuple of (n, N) array
        Written.
    """
    for layer in range(len(us) - 1, -1, -1):
        delta, dW_transposed = gs[layer], dWs_transposed[layer]
        sweeps.backward_sweep(_flat(delta), _flat(us[layer]), _flat(pscs[layer]), cs[layer])
        if layer == 0:
            weighted_sum(_flat(delta), gain, summed_delta.reshape(-1))
            gemm(x.T, summed_delta, dW_transposed)
            return
        gemm(_rows(delta), Ws_transposed[layer].T, _rows(gs[layer - 1]))
        below, c = pscs[layer - 1], cs[layer - 1]
        patterns = _patterns_to_follow(us[layer - 1], c.threshold, k, follow[layer])
        if len(patterns[0]) > 0:
            spike_patterns.weight_gradient_sweep(*patterns, delta, c.theta_s, k, dW_transposed)
        else:
            first = first_needed_step(below)
            gemm(_rows(below[first:]).T, _rows(delta[first:]), dW_transposed)


@compiled
def chain_step(
    x: Array,
    target: Array,
    gain: Array,
    Ws_transposed: tuple[Array, ...],
    constants: tuple[tuple[float, float, float], ...],
    cs: tuple[RuleCoefficients, ...],
    follow: npt.NDArray[np.bool_],
    k: int,
    Wx: Array,
    us: tuple[Array, ...],
    pscs: tuple[Array, ...],
    gs: tuple[Array, ...],
    summed_delta: Array,
    dWs_transposed: tuple[Array, ...],
) -> tuple[int, float]:
    """`chain_forward`, the van Rossum loss (L1) against a target PSC, and `chain_backward`.

    Returns what `chain_forward` does, and the loss.
    """
    failed = chain_forward(x, gain, Ws_transposed, constants, follow, k, Wx, us, pscs)
    if failed != ALL_FINITE:
        return failed, 0.0
    a, d, error = pscs[-1].reshape(-1), target.reshape(-1), gs[-1].reshape(-1)
    for i in range(len(error)):
        error[i] = a[i] - d[i]
    loss = 0.5 * np.dot(error, error)
    chain_backward(x, us, pscs, gain, Ws_transposed, cs, follow, k, gs, summed_delta, dWs_transposed)
    return failed, loss


@compiled
def _patterns_to_follow(u_below: Array, threshold: float, k: int, may_follow: bool) -> PatternList:
    """Patterns of what feeds a layer; an empty list where they may not be followed or following them does not pay."""
    if may_follow:
        patterns = spike_patterns.patterns_of(u_below, threshold, k)
        if spike_patterns.few_fire(patterns[1], u_below, k):
            return patterns
    return np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, u_below.dtype)


@compiled
def _weighted_input(below: Array, W_transposed: Array, I: Array) -> None:
    """W a[t] from the first step at which anything fired."""
    first = first_needed_step(below)
    I[:first] = 0.0
    gemm(_rows(below[first:]), W_transposed, _rows(I[first:]))


@compiled
def _all_finite(W: Array) -> bool:
    """Whether the sum of squares is finite: False for huge numbers too."""
    flat = W.reshape(-1)
    return bool(np.isfinite(np.dot(flat, flat)))


@compiled
def _flat(array: Array) -> Array:
    """View a (T, B, N) array as (T, B N)."""
    return array.reshape(len(array), -1)


@compiled
def _rows(array: Array) -> Array:
    """View a (T, B, N) array as (T B, N)."""
    return array.reshape(-1, array.shape[-1])

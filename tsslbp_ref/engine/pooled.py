"""Neurons under a static image and the pooling behind them, a few feature maps at a time: u and a are never whole.

With I[t] = c[t] W x all that a neuron does follows from its W x. So forward keeps only W x and the pooled PSC, and
backward makes u and a once more, which takes less long than to fetch them. Without it a step of W2 takes 11.2 % longer.
Compiled by Numba.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine import maps
from tsslbp_ref.engine.convolution import pool_adjoint, pool_forward
from tsslbp_ref.engine.inputs import StaticInput
from tsslbp_ref.jit import compiled
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.layers import SumPool2d, WeightedLayer
from tsslbp_ref.model.parameters import NeuronParameters, RuleCoefficients

Array = npt.NDArray[Any]

NEURONS_AT_ONCE = 2048  # before a pooling: long rows, and T steps of them still in the second-level cache


@dataclass(frozen=True)
class PooledNeurons:
    """The first layer of neurons, fed by a static image, and the pooling of their PSCs.

    Parameters
    ----------
    layer : WeightedLayer
    pool : SumPool2d
    fed : StaticInput
    Wx : (B, C, H, W) array
    """

    layer: WeightedLayer
    pool: SumPool2d
    fed: StaticInput
    Wx: Array

    def forward(self, neuron: NeuronParameters, pooled: Array) -> bool:
        """Membrane, spikes, PSC and pooling    (F3 - F6) into (T, B, C, H', W'); whether the membranes are finite."""
        constants = sweeps.neuron_constants(neuron, self.Wx.dtype)
        gain = self.Wx.dtype.type(self.pool.gain)
        return bool(
            neurons_and_pool(self._feature_maps, self.fed.gain, *constants, self.pool.size, gain, self._blocks(pooled))
        )

    def backward(self, g: Array, c: RuleCoefficients) -> Array:
        """dL/dW    (B1, B2) from dL/da of the pooled PSC."""
        summed_delta = np.empty_like(self._feature_maps)
        gain = self.Wx.dtype.type(self.pool.gain)
        pool_and_chain_rule(self._blocks(g), self.fed.gain, self._feature_maps, c, self.pool.size, gain, summed_delta)
        return maps.weight_gradient(self.layer, summed_delta.reshape(self.Wx.shape), self.fed.x)

    @property
    def _feature_maps(self) -> Array:
        """W x as (M, H, W): some feature maps, one below the other, count as one."""
        _, height, width = self.pool.input_shape
        return self.Wx.reshape(-1, self._n_at_once * height, width)

    def _blocks(self, pooled: Array) -> Array:
        """A pooled PSC, or its gradient, as (T, M, H // size, W // size)."""
        _, height, width = self.pool.output_shape
        return pooled.reshape(len(self.fed.gain), -1, self._n_at_once * height, width)

    @property
    def _n_at_once(self) -> int:
        """Feature maps at a time: a divisor of their number, 1 if a block would lie across two of them."""
        channels, height, width = self.pool.input_shape
        if height % self.pool.size:
            return 1
        most = max(1, NEURONS_AT_ONCE // (height * width))
        return max(n for n in range(1, channels + 1) if channels % n == 0 and n <= most)


@compiled
def neurons_and_pool(
    Wx: Array,
    gain: Array,
    theta_m: float,
    theta_s: float,
    threshold: float,
    size: int,
    pool_gain: float,
    pooled: Array,
) -> bool:
    """Write the pooled PSCs (T, M, H // size, W // size) of W x (M, H, W); return whether the membranes are finite."""
    T, (M, H, W) = len(gain), Wx.shape
    u, a, zeros = np.empty((2, H * W), Wx.dtype), np.empty((2, H * W), Wx.dtype), np.zeros(H * W, Wx.dtype)
    n_infinite = 0
    for m in range(M):
        for t in range(T):  # rows t % 2 are this step's, the others those of the step before
            before = (u[(t - 1) % 2], a[(t - 1) % 2]) if t > 0 else (zeros, zeros)
            scale(Wx[m].reshape(-1), gain[t], u[t % 2])
            sweeps.lif_step(*before, theta_m, theta_s, threshold, u[t % 2], a[t % 2])
            pool_forward(a[t % 2].reshape(1, H, W), size, pool_gain, pooled[t, m : m + 1])
        last = u[(T - 1) % 2]
        for i in range(len(last)):
            n_infinite += last[i] - last[i] != 0.0  # of infinity and NaN the difference is NaN
    return n_infinite == 0


@compiled
def pool_and_chain_rule(
    g: Array, gain: Array, Wx: Array, c: RuleCoefficients, size: int, pool_gain: float, summed_delta: Array
) -> None:
    """Write sum_t c[t] delta[t] (M, H, W), all that dL/dW asks for, from dL/da of the pooled PSC    (B2)."""
    T, (M, H, W) = len(gain), Wx.shape
    u, a, zeros = np.empty((T, H * W), Wx.dtype), np.empty((T, H * W), Wx.dtype), np.zeros(H * W, Wx.dtype)
    delta, G = np.empty((T, H * W), Wx.dtype), np.zeros((T + 2, H * W), Wx.dtype)
    spread = np.zeros((T, H * W), Wx.dtype)  # stays 0 where rows and columns fill no block
    whole = slice(0, H * W)
    for m in range(M):
        for t in range(T):
            before = (u[t - 1], a[t - 1]) if t > 0 else (zeros, zeros)
            scale(Wx[m].reshape(-1), gain[t], u[t])
            sweeps.lif_step(*before, c.theta_m, c.theta_s, c.threshold, u[t], a[t])
            pool_adjoint(g[t, m : m + 1], size, pool_gain, spread[t].reshape(1, H, W))
        sweeps.backward_block(spread, u, a, whole, c, G, zeros, delta)
        weighted_sum(delta, gain, summed_delta[m].reshape(-1))


@compiled
def scale(row: Array, factor: float, scaled: Array) -> None:
    """Write factor times a row."""
    for i in range(len(row)):
        scaled[i] = factor * row[i]


@compiled
def weighted_sum(delta: Array, gain: Array, summed_delta: Array) -> None:
    """Write sum_t c[t] delta[t] of flat delta (T, M)."""
    scale(delta[0], gain[0], summed_delta)
    for t in range(1, len(delta)):
        row = delta[t]
        for i in range(len(row)):
            summed_delta[i] += gain[t] * row[i]

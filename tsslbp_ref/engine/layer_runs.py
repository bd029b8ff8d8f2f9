"""Layers that are passed together, in one call forward and one back, and where a network has them.

- A run of fully connected layers behind neurons: `DenseRun`.
- The neurons under a static picture and the pooling behind them: `PooledNeurons`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine import fast_dense, fast_pooled, fast_words
from tsslbp_ref.engine.signals import NeuronSignal, PSCSignal, StaticSignal, may_follow_words
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.layers import Dense, Layer, SumPool2d, WeightedLayer
from tsslbp_ref.model.parameters import NeuronParameters, RuleCoefficients
from tsslbp_ref.model.trace import Trace

Array = npt.NDArray[Any]

SINGLE, DENSE, POOLED = "single", "dense", "pooled"  # what is passed together
NEURONS_AT_ONCE = 2048  # before a pooling: long rows, and T steps of them still in the second-level cache


def joined(layers: Sequence[Layer], *, static: bool) -> list[tuple[range, str]]:
    """Cut the layers into what is passed together: "dense", "pooled", or a layer by itself, "single".

    The first layer of neurons is never part of a dense run: an input has its own ways (`signals.StaticSignal`,
    `signals.SparseSpikeSignal`). Nor is a class derived from `Dense`, which may have another map.

    Parameters
    ----------
    layers : sequence of Layer
    static : bool
        Whether the input is a picture that does not change.
    """
    cut: list[tuple[range, str]] = []
    behind_neurons = False
    for i, layer in enumerate(layers):
        start, kind = i, SINGLE
        if behind_neurons and type(layer) is Dense:
            kind = DENSE
            if cut[-1][1] == DENSE:
                start = cut.pop()[0].start
        elif behind_neurons and static and type(layer) is SumPool2d and _only_neurons(layers[:i]):
            kind, start = POOLED, cut.pop()[0].start
        cut.append((range(start, i + 1), kind))
        behind_neurons = behind_neurons or layer.weight_shape is not None
    return cut


def _only_neurons(layers: Sequence[Layer]) -> bool:
    """Whether only the last of the layers has weights, and so neurons."""
    return layers[-1].weight_shape is not None and all(layer.weight_shape is None for layer in layers[:-1])


@dataclass(frozen=True)
class DenseRun:
    """What feeds a run and what its layers do, as the compiled loops take it.

    Parameters
    ----------
    us, pscs : tuple of (T, B, N) array
        Membranes and PSCs, the first those of what feeds the run; where that is no layer of neurons but a pooled or
        masked PSC, the PSC stands for the membranes, and nothing reads it.
    Ws_transposed : tuple of (n, N) array
    by_words : tuple of bool
        Whether a layer follows the words of what feeds it.
    """

    us: tuple[Array, ...]
    pscs: tuple[Array, ...]
    Ws_transposed: tuple[Array, ...]
    by_words: tuple[bool, ...]

    @classmethod
    def of(
        cls, layers: Sequence[Layer], Ws: Sequence[Array], signal: PSCSignal, u_and_a: Sequence[Sequence[Array]]
    ) -> DenseRun:
        """Lay out a run; u and a of its layers, (T, B, N) arrays, are written by `forward`."""
        a = np.ascontiguousarray(signal.a).reshape(*signal.a.shape[:2], -1)
        spelled = isinstance(signal, NeuronSignal)
        us, pscs = zip((cast(NeuronSignal, signal).trace.u if spelled else a, a), *u_and_a, strict=True)
        by_words = (may_follow_words(layers[0]) and spelled, *(may_follow_words(layer) for layer in layers[1:]))
        return cls(us, pscs, tuple(np.require(W.T, requirements=("C", "W")) for W in Ws), by_words)

    @property
    def _word_length(self) -> int:
        return fast_words.word_length(len(self.pscs[0]))

    def forward(self, neuron: NeuronParameters) -> list[Trace]:
        """Weighted input, membrane, spikes and PSC of one layer after the other    (F1, F3 - F6)."""
        constants = sweeps.neuron_constants(neuron, self.pscs[0].dtype)
        fast_dense.run_neurons(self.us, self.pscs, self.Ws_transposed, self.by_words, self._word_length, *constants)
        return [Trace(u, a, neuron.threshold) for u, a in zip(self.us[1:], self.pscs[1:], strict=True)]

    def backward(self, gs: Sequence[Array], c: RuleCoefficients) -> list[Array]:
        """dL/dW of each layer    (B1, B2, B3).

        Parameters
        ----------
        gs : sequence of (T, B, N) array
            dL/da of what feeds the run and of its layers. The last comes filled; all are overwritten, the first with
            what goes on below.
        c : RuleCoefficients
            In g's dtype.
        """
        dWs_transposed = tuple(np.empty_like(W) for W in self.Ws_transposed)
        forward = (self.us, self.pscs, self.Ws_transposed, self.by_words, self._word_length)
        fast_dense.run_chain_rule(tuple(gs), *forward, c, dWs_transposed)
        return [dW.T for dW in dWs_transposed]


@dataclass(frozen=True)
class PooledNeurons:
    """The first layer of neurons, fed by a static picture, and the pooling of their PSCs.

    Parameters
    ----------
    layer : WeightedLayer
    pool : SumPool2d
    signal : StaticSignal
    drive : (B, ...) array
        W x.
    """

    layer: WeightedLayer
    pool: SumPool2d
    signal: StaticSignal
    drive: Array

    def forward(self, neuron: NeuronParameters, pooled: Array) -> bool:
        """Membrane, spikes, PSC and pooling    (F3 - F6); returns whether the membranes are finite."""
        drive, gain = self._maps, self.signal.gain
        constants = sweeps.neuron_constants(neuron, drive.dtype)
        size, pool_gain = self.pool.size, drive.dtype.type(self.pool.gain)
        return fast_pooled.neurons_and_pool(drive, gain, *constants, size, pool_gain, self._blocks(pooled))

    def backward(self, g: Array, c: RuleCoefficients) -> Array:
        """dL/dW from dL/da of the pooled PSC    (B1, B2)."""
        drive, gain = self._maps, self.signal.gain
        maps = self._blocks(np.ascontiguousarray(g))
        total = np.empty_like(drive)
        size, pool_gain = self.pool.size, drive.dtype.type(self.pool.gain)
        fast_pooled.pool_and_chain_rule(maps, gain, drive, c, size, pool_gain, total)
        return self.layer.weight_gradient(total.reshape(self.drive.shape), self.signal.x)

    @property
    def _maps(self) -> Array:
        """The drive as (M, H, W); some maps, one below the other, as one."""
        _, height, width = self.pool.input_shape
        return self.drive.reshape(-1, self._together * height, width)

    def _blocks(self, pooled: Array) -> Array:
        """A pooled PSC, or its gradient, as (T, M, H // size, W // size), in step with the drive."""
        _, height, width = self.pool.output_shape
        return pooled.reshape(len(self.signal.gain), -1, self._together * height, width)

    @property
    def _together(self) -> int:
        """Maps that are passed at once: a divisor of their number, if no block would lie across two of them."""
        channels, height, width = self.pool.input_shape
        if height % self.pool.size:
            return 1
        most = max(1, NEURONS_AT_ONCE // (height * width))
        return max(n for n in range(1, channels + 1) if channels % n == 0 and n <= most)

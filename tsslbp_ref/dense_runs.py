"""Fully connected layers that follow one another behind neurons: a run, which one call takes forward and one back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import fast, fast_dense, fast_words
from tsslbp_ref.layers import Dense, Layer
from tsslbp_ref.parameters import NeuronParameters, RuleCoefficients
from tsslbp_ref.signals import NeuronSignal, PSCSignal, may_follow_words
from tsslbp_ref.trace import Trace

Array = npt.NDArray[Any]


def joined(layers: Sequence[Layer]) -> list[tuple[range, bool]]:
    """Cut the layers into what is passed at once: the layers of a run, True, or a layer by itself, False.

    The first layer of neurons is never part of a run: an input has its own ways (`signals.StaticSignal`,
    `signals.SparseSpikeSignal`). Nor is a class derived from `Dense`, which may have another map.
    """
    cut: list[tuple[range, bool]] = []
    behind_neurons = False
    for i, layer in enumerate(layers):
        in_run = behind_neurons and type(layer) is Dense
        goes_on = in_run and cut[-1][1]
        start = cut.pop()[0].start if goes_on else i
        cut.append((range(start, i + 1), in_run))
        behind_neurons = behind_neurons or layer.weight_shape is not None
    return cut


@dataclass(frozen=True)
class DenseRun:
    """What feeds a run and what its layers do, as the compiled loops take it.

    Parameters
    ----------
    us, pscs : tuple of (T, B, N) array
        Membranes and PSCs, the first those of what feeds the run.
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
        spelled = isinstance(signal, NeuronSignal)  # else there are no membranes, and nothing reads what stands there
        us, pscs = zip((cast(NeuronSignal, signal).trace.u if spelled else a, a), *u_and_a, strict=True)
        by_words = (may_follow_words(layers[0]) and spelled, *(may_follow_words(layer) for layer in layers[1:]))
        return cls(us, pscs, tuple(np.ascontiguousarray(W.T) for W in Ws), by_words)

    def __len__(self) -> int:
        """Number of layers."""
        return len(self.Ws_transposed)

    @property
    def _word_length(self) -> int:
        return fast_words.word_length(len(self.pscs[0]))

    def forward(self, neuron: NeuronParameters) -> list[Trace]:
        """Weighted input, membrane, spikes and PSC of one layer after the other    (F1, F3 - F6)."""
        constants = fast.neuron_constants(neuron, self.pscs[0].dtype)
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

"""The same numbers in less time: nothing here is TSSL-BP, which is in `model`.

`FastEngine` is the one door. A mini-batch goes in shards, one a thread (`threads`), each through the layers one after
the other (`batch`) or, where all are fully connected under a static image, in a compiled call or two (`dense`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine.batch import LayerByLayer
from tsslbp_ref.engine.dense import DenseChain, is_chain
from tsslbp_ref.engine.threads import BufferPool, Buffers, Threads, one_blas_thread
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.backpropagation import Masks, StepResult
from tsslbp_ref.model.losses import Loss
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, RuleCoefficients

if TYPE_CHECKING:
    from tsslbp_ref.model.network import Network

__all__ = ["FastEngine"]

Array = npt.NDArray[Any]

ARRAYS_A_LAYER = 3  # membrane, PSC and gradient
SHARD_BYTES = 1 << 28  # of one shard's arrays: long runs stay in memory, short ones are not cut


class FastEngine:
    """Shards of a mini-batch on several threads, with compiled loops; the same thread count gives the same bits.

    Parameters
    ----------
    n_threads : int, optional
        All cores if not given.

    Raises
    ------
    ValueError, TypeError
        If n_threads is not a positive integer.
    """

    def __init__(self, n_threads: int | None = None) -> None:
        self.threads = Threads(n_threads)
        self._buffers = BufferPool()

    def __reduce__(self) -> tuple[type[FastEngine], tuple[int]]:
        """A copy has as many threads, and buffers of its own."""
        return FastEngine, (self.threads.n_threads,)

    def output(self, net: Network, x: Array) -> Array:
        """Return the output PSC (T, B, n_classes) of a test pass."""
        a = np.empty((net.n_steps, net.batch_size(x), net.n_classes), net.dtype)
        no_masks: Masks = [None] * len(net.layers)
        passing = _pass(net, x)

        def pass_shards(shards: list[slice], buffers: Buffers) -> None:
            for shard in shards:
                a[:, shard] = passing.forward(_part(net, x, shard), no_masks, buffers).output

        self._in_shards(net, x, pass_shards)
        return a

    def gradients(self, net: Network, x: Array, target: Array, loss: Loss, masks: Masks) -> StepResult:
        """Return loss, gradients and output PSC of a mini-batch."""
        a = np.empty((net.n_steps, net.batch_size(x), net.n_classes), net.dtype)
        passing, cs = _pass(net, x), self._coefficients(net, x, masks)

        def pass_shard(shard: slice, buffers: Buffers) -> tuple[float, list[Array]]:
            if isinstance(passing, DenseChain) and loss.is_van_rossum:
                value, gradients, a[:, shard] = passing.van_rossum_step(x[shard], target[:, shard], cs, buffers)
                return value, gradients
            record = passing.forward(_part(net, x, shard), _masks_of(masks, shard), buffers)
            a[:, shard] = record.output
            value, g = loss.value_and_gradient(record.output, target, shard)
            return value, passing.backward(record, g, cs, buffers)  # type: ignore[arg-type] # of its own kind

        results = self._in_shards(
            net, x, lambda shards, buffers: _summed(pass_shard(shard, buffers) for shard in shards)
        )
        return StepResult(*_summed(results), a)

    def update(self, optimiser: AdamW, gradients: Sequence[Array]) -> None:
        """Let the optimiser make its step."""
        with one_blas_thread():  # the norm's last bits depend on the number of threads
            optimiser.step(gradients)

    def _in_shards(self, net: Network, x: Array, work: Callable[[list[slice], Buffers], Any]) -> list[Any]:
        """Call `work` in every thread with its shards: every n-th, so that the same count adds up the same sums."""
        sample_numbers = math.prod(net.input_shape) + sum(math.prod(layer.output_shape) for layer in net.layers)
        sample_bytes = ARRAYS_A_LAYER * sample_numbers * net.n_steps * net.dtype.itemsize
        shards = self.threads.shards(net.batch_size(x), max(1, SHARD_BYTES // sample_bytes))

        def run(thread: int) -> Any:
            with self._buffers.borrow() as buffers:
                return work(shards[thread :: self.threads.n_threads], buffers)

        return self.threads.map(run, range(min(self.threads.n_threads, len(shards))))

    def _coefficients(self, net: Network, x: Array, masks: Masks) -> Sequence[RuleCoefficients]:
        """The rule's numbers for each layer of neurons; firing rates, if the rule asks for them, by a counting pass."""
        if not net.rule.needs_firing_rate:
            return _rule_coefficients(net.neurons, net.rule, net.dtype)
        passing = _pass(net, x)

        def count(shards: list[slice], buffers: Buffers) -> npt.NDArray[np.int64]:
            forward = (passing.forward(_part(net, x, s), _masks_of(masks, s), buffers) for s in shards)
            return np.sum([passing.spike_counts(record) for record in forward], axis=0)  # type: ignore[arg-type]

        counts = np.sum(self._in_shards(net, x, count), axis=0)
        sizes = [math.prod(layer.output_shape) for layer in net.layers if layer.weight_shape is not None]
        n_trials = net.n_steps * net.batch_size(x)
        return [
            sweeps.coefficients(neuron, net.rule, net.dtype, n / (n_trials * size))
            for neuron, n, size in zip(net.neurons, counts, sizes, strict=True)
        ]


def _pass(net: Network, x: Array) -> DenseChain | LayerByLayer:
    """How the shards of an input go through the network."""
    return DenseChain(net) if net.is_static(x) and is_chain(net.layers) else LayerByLayer(net)


@lru_cache
def _rule_coefficients(
    neurons: tuple[NeuronParameters, ...], rule: GradientRule, dtype: np.dtype[Any]
) -> tuple[RuleCoefficients, ...]:
    """The rule's numbers for each layer of neurons, worked out once and not in every step."""
    return tuple(sweeps.coefficients(neuron, rule, dtype) for neuron in neurons)


def _part(net: Network, x: Array, shard: slice) -> Array:
    return x[shard] if net.is_static(x) else x[:, shard]


def _masks_of(masks: Masks, shard: slice) -> Masks:
    return [None if mask is None else mask[shard] for mask in masks]


def _summed(parts: Iterable[tuple[float, list[Array]]]) -> tuple[float, list[Array]]:
    """Add up losses and gradients, in order; the first gradients are added to."""
    value = 0.0
    totals: list[Array] = []
    for part_value, gradients in parts:
        value += float(part_value)  # NumPy's own float32 where loops are not compiled
        for total, gradient in zip(totals, gradients, strict=False):
            total += gradient
        totals = totals or gradients
    return value, totals

"""A training step of fully connected layers under static pictures, in one compiled call a shard (`fast_step`).

With an optimiser the weights are updated in the same call: the threads are awake, and what they have just written is
still near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine import fast_step, fast_words
from tsslbp_ref.engine.buffers import KeptArrays, Shelf
from tsslbp_ref.engine.fast_optim import StepConstants, Update
from tsslbp_ref.engine.fast_step import (
    ALL_FINITE,
    GATHERED,
    LOSS,
    N_REPORTED,
    NOT_FINITE,
    UPDATED,
    Fed,
    NeuronAndRule,
    Shared,
    Written,
)
from tsslbp_ref.engine.passes import MembraneError, Plan
from tsslbp_ref.engine.signals import may_follow_words
from tsslbp_ref.engine.workers import Workers
from tsslbp_ref.model import losses, sweeps
from tsslbp_ref.model.layers import Dense, Layer
from tsslbp_ref.model.optim import AdamW

Array = npt.NDArray[Any]


def may_go_whole(layers: Sequence[Layer], loss: str) -> bool:
    """Whether a shard's step under static pictures can be one call.

    Its layers, two or more, are fully connected, without dropout, and its loss is the van Rossum loss.
    """
    fully_connected = len(layers) > 1 and all(type(layer) is Dense for layer in layers)
    return fully_connected and loss in (*losses.DESIRED_PSCS, "spike-train")


@dataclass(frozen=True)
class WholeStep:
    """Forward, loss, and the chain rule back of a mini-batch, its shards at the same time.

    Parameters
    ----------
    plan : Plan
        Of layers that `may_go_whole`.
    x : (B, ...) array
        Static pictures.
    target : (T, B, n_classes) array
        From `passes.Constants.target_psc`.
    a : (T, B, n_classes) array
        The output PSC; written.
    optimiser : AdamW, optional
        Updates the weights, within the call where they are the plan's own arrays, column by column in memory.
    """

    plan: Plan
    x: Array
    target: Array
    a: Array
    optimiser: AdamW | None = None

    def run(self, shards: Sequence[slice], workers: Workers, shelf: Shelf) -> tuple[float, list[Array]]:
        """Loss and gradients; the weights are updated if there is an optimiser.

        Parameters
        ----------
        shards : sequence of slice
            One a thread at most.
        workers : Workers
        shelf : Shelf
            Lends the arrays that are written.

        Raises
        ------
        MembraneError
            If a membrane is not finite.
        ValueError
            From the optimiser.
        """
        plan, x = self.plan, np.ascontiguousarray(self.x).reshape(len(self.x), -1)
        dWs_transposed = tuple(np.empty(W.shape[::-1], plan.dtype) for W in plan.weights)
        gradients = [dW_transposed.T for dW_transposed in dWs_transposed]
        with shelf.borrow() as kept:
            of_one_size = (plan.layers, len(plan.gain), plan.dtype, tuple(shards))
            room = kept.laid_out(of_one_size, lambda kept: _Room.of(plan, shards, kept))
            reports = room.reports
            shared = Shared(x, room.first_samples, room.drive, room.total, room.parts, dWs_transposed, reports)
            updated = self._call(shards, workers, room, shared, self._update(gradients, room))
            for shard, written, report in zip(shards, room.written, reports, strict=True):
                if report[NOT_FINITE] != ALL_FINITE:
                    raise MembraneError(int(report[NOT_FINITE]))
                self.a[:, shard] = written.pscs[-1]
            value = sum(reports[:, LOSS].tolist())
        if self.optimiser is not None and not updated:
            self.optimiser.step(gradients)
        return value, gradients

    def _update(self, gradients: list[Array], room: _Room) -> Update:
        """What the optimiser does to the weights, where it can within the call."""
        if self.optimiser is None or not _same_by_columns(self.optimiser.weights, self.plan.weights):
            return room.no_update
        return self.optimiser.update(gradients)

    def _call(self, shards: Sequence[slice], workers: Workers, room: _Room, shared: Shared, update: Update) -> bool:
        """Take all shards there and back; returns whether the weights have been updated."""
        with workers.one_blas_thread():
            workers.together(fast_step.shard_step, self._arguments(shards, room, shared, update))
            if not shared.reports[0, GATHERED]:
                for thread in range(len(shards)):
                    fast_step.gather(shared, thread, len(shards))
        updated = bool(shared.reports[0, UPDATED])
        if self.optimiser is not None and update.wanted and not updated:
            self.optimiser.n_steps -= 1  # `AdamW.update` has counted it
        return updated

    def _arguments(self, shards: Sequence[slice], room: _Room, shared: Shared, update: Update) -> list[tuple[Any, ...]]:
        """Of `fast_step.shard_step`, for every shard."""
        plan = self.plan
        constants = NeuronAndRule(*sweeps.neuron_constants(plan.neuron, plan.dtype), plan.c)
        Ws_transposed = tuple(_by_columns(W) for W in plan.weights)
        of_others = (tuple(part[k] for part in room.parts) for k in range(len(shards) - 1))
        dWs_of_shards = [shared.dWs_transposed[1:], *of_others]
        arguments: list[tuple[Any, ...]] = []
        for shard, written, dWs in zip(shards, room.written, dWs_of_shards, strict=True):
            target = np.ascontiguousarray(self.target[:, shard])
            fed = Fed(plan.gain, target, Ws_transposed, room.by_words, room.word_length)
            arguments.append((constants, fed, written, dWs, shared, update))
        return arguments


@dataclass(frozen=True)
class _Room:
    """What the steps of mini-batches of one size share: arrays to write to, and which layers may follow words.

    Parameters
    ----------
    written : list of Written
        One a shard.
    first_samples, drive, total, parts, reports
        Of `Shared`.
    by_words, word_length
        Of `Fed`.
    no_update : Update
        For steps that leave the weights as they are.
    """

    written: list[Written]
    first_samples: npt.NDArray[np.int64]
    drive: Array
    total: Array
    parts: tuple[Array, ...]
    reports: npt.NDArray[np.float64]
    by_words: tuple[bool, ...]
    word_length: int
    no_update: Update

    @classmethod
    def of(cls, plan: Plan, shards: Sequence[slice], kept: KeptArrays) -> _Room:
        T, dtype, shapes = len(plan.gain), plan.dtype, [W.shape[::-1] for W in plan.weights]
        of_first = (shards[-1].stop, shapes[0][1])
        drive, total = kept.take("drive", of_first, dtype), kept.take("total", of_first, dtype)
        parts = tuple(kept.take(("dW", i), (len(shards) - 1, *shape), dtype) for i, shape in enumerate(shapes[1:]))
        written = []
        for k, shard in enumerate(shards):
            B = shard.stop - shard.start
            us, pscs, gs = (
                tuple(kept.take((k, name, i), (T, B, N), dtype) for i, (_, N) in enumerate(shapes)) for name in "uag"
            )
            own_drive = kept.take((k, "drive"), of_first, dtype)
            written.append(Written(us, pscs, gs, own_drive))
        first_samples = np.array([*(shard.start for shard in shards), shards[-1].stop])
        by_words = tuple(may_follow_words(layer) for layer in plan.layers[1:])
        reports, nothing = np.zeros((len(shards), N_REPORTED)), np.empty(0, dtype)
        constants = StepConstants(*[dtype.type(0.0)] * len(StepConstants._fields))
        no_update = Update(False, ((nothing,) * 4,) * len(shapes), constants, 0.0)
        k = fast_words.word_length(T)
        return cls(written, first_samples, drive, total, parts, reports, by_words, k, no_update)


def _same_by_columns(weights: Sequence[Array], others: Sequence[Array]) -> bool:
    """Whether they are the same arrays, each column by column in memory, as their gradients are."""
    same = len(weights) == len(others) and all(W is other for W, other in zip(weights, others, strict=True))
    return same and all(W.flags.f_contiguous and W.flags.writeable for W in weights)


def _by_columns(W: Array) -> Array:
    """W^T, contiguous: a view of W where that lies column by column, as in fully connected layers it does."""
    return W.T if W.flags.f_contiguous and W.flags.writeable else np.array(W.T, order="C")

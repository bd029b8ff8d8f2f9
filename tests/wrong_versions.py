"""Wrong versions of functions and methods, for `test_planted_errors`: each is made from the right one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tsslbp_ref.model import sweeps

FACTOR = 1.001
Wrong = Callable[[Callable[..., Any]], Callable[..., Any]]


def times(factor: float) -> Wrong:
    """The right result times a factor."""
    return lambda right: lambda *args, **kwargs: factor * right(*args, **kwargs)


def in_place(wrong: Wrong) -> Wrong:
    """A wrong version of a function that overwrites its first argument, from that of one that returns the result."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def returning(array: Any, *args: Any) -> Any:
            result = array.copy()
            right(result, *args)
            return result

        def overwriting(array: Any, *args: Any) -> None:
            array[...] = wrong(returning)(array, *args)

        return overwriting

    return plant


def written_times(factor: float) -> Wrong:
    """A layer's map whose result, wherever it is written, is off by a factor."""

    def wrong(right: Callable[..., Any]) -> Callable[..., Any]:
        def mapped(*args: Any) -> Any:
            result = right(*args)
            result *= factor
            return result

        return mapped

    return wrong


def later_lag(right: Callable[..., Any]) -> Callable[..., Any]:
    """The right function of the next lag: an index shifted by one."""
    return lambda lag, *args: right(lag + 1, *args)


def gradient_times(factor: float) -> Wrong:
    """A loss with the right value and a gradient that is off by a factor."""

    def wrong(right: Callable[..., Any]) -> Callable[..., Any]:
        def loss(*args: Any) -> Any:
            value, gradient = right(*args)
            return value, factor * gradient

        return loss

    return wrong


def value_and_gradient_times(factor: float) -> Wrong:
    """A loss that is off by a factor, gradient and all: no finite difference sees that."""
    return lambda right: lambda *args: tuple(factor * result for result in right(*args))


def count_without_dead_zone(right: Callable[..., Any]) -> Callable[..., Any]:
    """The count loss whose gradient goes on past the target."""

    def count(a: Any, y: Any, neuron: Any, settings: Any) -> Any:
        value, _ = right(a, y, neuron, settings)
        desired = np.full(a.shape[1:], settings.undesired_count)
        desired[np.arange(len(y)), y] = settings.desired_count
        return value, np.broadcast_to((a.sum(axis=0) - desired) / len(a), a.shape).copy()

    return count


def summed_softmax(right: Callable[..., Any]) -> Callable[..., Any]:
    """The softmax loss that averages its value over the batch and not its gradient."""

    def softmax(a: Any, *args: Any) -> Any:
        value, gradient = right(a, *args)
        return value, gradient * a.shape[1]

    return softmax


def rule_with(**changes: Any) -> Wrong:
    """The numbers of another rule than the fast loops are asked for."""
    return lambda right: lambda neuron, rule, *args: right(neuron, dataclasses.replace(rule, **changes), *args)


def coefficients_with(**changes: float) -> Wrong:
    """A rule resolved to wrong numbers, for the literal and the fast loops alike."""
    return lambda right: lambda self, *args: right(self, *args)._replace(**changes)


def rolled(axis: int) -> Wrong:
    """The right array, shifted by one along an axis."""
    return lambda right: lambda *args: np.roll(right(*args), 1, axis=axis)


def delta_shifted(right: Callable[..., Any]) -> Callable[..., Any]:
    """B1 with delta[t+1] in the place of delta[t]."""
    return lambda self, layer, delta: right(self, layer, np.roll(delta, -1, axis=0))


def conv_adjoint_without_padding(right: Callable[..., Any]) -> Callable[..., Any]:
    """A convolution's adjoint that forgets that the picture was padded: all is shifted by the padding."""
    return lambda self, y, W, out=None: np.roll(right(self, y, W), (self.padding, self.padding), axis=(-2, -1))


def kernel_turned(right: Callable[..., Any]) -> Callable[..., Any]:
    """The weight gradient of a true convolution: kernel entries in reverse order."""
    return lambda self, delta, x: right(self, delta, x)[:, :, ::-1, ::-1]


def pool_adjoint_without_gain(right: Callable[..., Any]) -> Callable[..., Any]:
    """The pool's factor forgotten on the way back."""
    return lambda self, y, parameter, out=None: right(self, y, parameter) / self.gain


def channel_last(right: Callable[..., Any]) -> Callable[..., Any]:
    """A product with pictures that are flattened channel last."""

    def forward(self: Any, x: Any, W: Any, out: Any = None) -> Any:
        pictures = len(self.input_shape) == 3
        return right(self, np.moveaxis(x, -3, -1).reshape(x.shape) if pictures else x, W, out)

    return forward


def without_mask(right: Callable[..., Any]) -> Callable[..., Any]:
    """A forward pass that drops nothing."""
    return lambda self, x, mask, out=None: x


def adjoint_without_mask(right: Callable[..., Any]) -> Callable[..., Any]:
    """The dropout mask forgotten on the way back."""
    return lambda self, y, mask, out=None: y


def static_gradient_without_gain(right: Callable[..., Any]) -> Callable[..., Any]:
    """The static short cut with 1 in the place of c[t]."""
    return lambda self, layer, delta: layer.weight_gradient(delta.sum(axis=0), self.x)


def gain_from_step_zero(right: Callable[..., Any]) -> Callable[..., Any]:
    """c[t] with the exponent t in the place of t + 1."""
    return lambda n_steps, neuron, dtype: (1.0 - (1.0 - neuron.theta_s) ** np.arange(n_steps)).astype(dtype)


def weights_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A run of fully connected layers whose weights are 1.001 W."""
    return lambda us, pscs, Ws, *args: right(us, pscs, tuple(FACTOR * W for W in Ws), *args)


def fed_late(right: Callable[..., Any]) -> Callable[..., Any]:
    """A run that is fed what fired a step before."""
    return lambda us, pscs, *args: right((later(us[0]), *us[1:]), (later(pscs[0]), *pscs[1:]), *args)


def later(array: Any) -> Any:
    """What was a step before, in the place of what is."""
    return np.concatenate([np.zeros_like(array[:1]), array[:-1]])


def run_fed_late(right: Callable[..., Any]) -> Callable[..., Any]:
    """The chain rule of a run that was fed what fired a step before."""
    return lambda gs, *args: fed_late(lambda *late: right(gs, *late))(*args)


def psc_gradient_times(factor: float) -> Wrong:
    """The chain rule of a run with another dL/da."""
    return lambda right: lambda gs, *args: right((*gs[:-1], np.multiply(gs[-1], factor, out=gs[-1])), *args)


def dense_gradient_shifted(right: Callable[..., Any]) -> Callable[..., Any]:
    """B1 with delta[t+1] in the place of delta[t] in the first layer of a run."""

    def chain_rule(gs: Any, us: Any, pscs: Any, *args: Any) -> None:
        right(gs, us, pscs, *args)
        args[-1][0][...] = np.einsum("tbo,tbi->io", np.roll(gs[1], -1, axis=0), pscs[0])

    return chain_rule


def backwards(array: Any) -> Any:
    """The last step first."""
    return array[::-1].copy()


def gain_reversed(right: Callable[..., Any]) -> Callable[..., Any]:
    """The static chain rule with c[t] against time."""
    return lambda g, gain, *args: right(g, backwards(gain), *args)


def unfiltered_events(right: Callable[..., Any]) -> Callable[..., Any]:
    """A product over events with tau_s = 1: no filter."""
    return lambda events, array, neuron, *args: right(events, array, dataclasses.replace(neuron, tau_s=1.0), *args)


def events_shifted(right: Callable[..., Any]) -> Callable[..., Any]:
    """The list with every event one input further on."""

    def find_events(*args: Any, **kwargs: Any) -> Any:
        events = right(*args, **kwargs)
        return dataclasses.replace(events, inputs=(events.inputs + 1) % events.shape[2])

    return find_events


def filter_not_reversed(right: Callable[..., Any]) -> Callable[..., Any]:
    """The filter in the place of its adjoint."""
    return lambda g, neuron: sweeps.psc_filter(g, neuron)


def fold_doubled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A fold that adds everything twice."""

    def fold(rows: Any, kernel_size: int, padding: int, pictures: Any) -> None:
        right(rows, kernel_size, padding, pictures)
        pictures *= 2.0

    return fold


def unfold_turned(right: Callable[..., Any]) -> Callable[..., Any]:
    """An unfold with the kernel's columns in reverse order."""

    def unfold(pictures: Any, kernel_size: int, padding: int, rows: Any) -> None:
        right(pictures, kernel_size, padding, rows)
        rows[:] = rows[:, :, ::-1].copy()

    return unfold


def filters_turned(right: Callable[..., Any]) -> Callable[..., Any]:
    """A convolution with its filters (or, for the adjoint, their transpose) in reverse order."""
    return lambda x, filters, *args: right(x, np.ascontiguousarray(filters[::-1, ::-1]), *args)


def without_clip(right: Callable[..., Any]) -> Callable[..., Any]:
    """1/rise without its bound."""
    return lambda rise, clip: right(rise, math.inf)


def wider(right: Callable[..., Any]) -> Callable[..., Any]:
    """The sigmoid with a width that is off by 1 %."""
    return lambda u, threshold, width, *clip: right(u, threshold, 1.01 * width, *clip)


def argument_not_clipped(right: Callable[..., Any]) -> Callable[..., Any]:
    """The sigmoid with its tails."""
    return lambda u, threshold, width, clip, *more: right(u, threshold, width, math.inf, *more)


def spike_not_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """The PSC with s in the place of theta_s s."""
    return lambda a_previous, s, theta_s: (1.0 - theta_s) * a_previous + s


def always_released(right: Callable[..., Any]) -> Callable[..., Any]:
    """The released weights whatever the rule says."""
    return lambda self, neuron: (0.0, -1.0, 0.0)


def wrong_gate(right: Callable[..., Any]) -> Callable[..., Any]:
    """The warm-up below theta_s in the place of theta_s / 4, for every rule."""
    return lambda self, neuron, rate: neuron.theta_s


def input_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A forward sweep that is fed 1.001 I."""
    return lambda I, *args: right(np.multiply(I, FACTOR, out=I), *args)


def first_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is given its first array times 1.001."""
    return lambda first, *args: right(first * FACTOR, *args)


def unfiltered_train(right: Callable[..., Any]) -> Callable[..., Any]:
    """The desired train in the place of its PSC."""
    return lambda train, neuron: train


def result_with(**changes: Callable[[Any], Any]) -> Callable[..., Any]:
    """A simulation whose result has fields changed."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def simulate(*args: Any, **keywords: Any) -> Any:
            result = right(*args, **keywords)
            return dataclasses.replace(
                result, **{name: change(getattr(result, name)) for name, change in changes.items()}
            )

        return simulate

    return plant


def gradients_scaled(gradients: Any) -> Any:
    """The first layer's gradient x 1.001; a simulation without gradients has None."""
    return gradients and [FACTOR * gradients[0], *gradients[1:]]


def scaled(value: float) -> float:
    """A number x 1.001."""
    return FACTOR * value


def entry_scaled(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Derivatives by name, those under one name x 1.001: a number, an array, or a list of arrays and None."""

    def change(gradients_by: dict[str, Any]) -> dict[str, Any]:
        if key not in gradients_by:
            return gradients_by
        right = gradients_by[key]
        wrong = [x if x is None else FACTOR * x for x in right] if isinstance(right, list) else FACTOR * right
        return {**gradients_by, key: wrong}

    return change


def times_shifted(spike_times: Any) -> Any:
    """All spikes 1e-9 ms late."""
    return [[train + 1e-9 for train in layer] for layer in spike_times]


def fed(**wrong: Callable[[Any], Any]) -> Wrong:
    """A whole step of which a shard is fed a wrong version of something."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def step(place: Any, constants: Any, shard: Any, *args: Any) -> Any:
            changed = {name: change(getattr(shard, name)) for name, change in wrong.items()}
            return right(place, constants, shard._replace(**changed), *args)

        return step

    return plant


def second_layer_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A whole step whose second layer has the weights 1.001 W."""
    return fed(Ws_transposed=lambda Ws: (Ws[0], FACTOR * Ws[1], *Ws[2:]))(right)


def total_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A whole step whose first layer's gradient is gathered from 1.001 times the deltas."""
    return lambda *args: (right(*args), args[-2].dWs_transposed[0].__imul__(FACTOR))[0]

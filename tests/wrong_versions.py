"""Wrong versions of functions and methods, for `test_planted_errors`: each is made from the right one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from planted import FACTOR, Wrong

from tsslbp_ref.model import sweeps


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

    def count(a: Any, y: Any, settings: Any) -> Any:
        value, _ = right(a, y, settings)
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


def conv_adjoint_without_padding(right: Callable[..., Any]) -> Callable[..., Any]:
    """A convolution's adjoint that forgets that the picture was padded: all is shifted by the padding."""
    return lambda self, y, W: np.roll(right(self, y, W), (self.padding, self.padding), axis=(-2, -1))


def kernel_turned(right: Callable[..., Any]) -> Callable[..., Any]:
    """The weight gradient of a true convolution: kernel entries in reverse order."""
    return lambda self, delta, x: right(self, delta, x)[:, :, ::-1, ::-1]


def pool_adjoint_without_gain(right: Callable[..., Any]) -> Callable[..., Any]:
    """The pool's factor forgotten on the way back."""
    return lambda self, y, parameter: right(self, y, parameter) / self.gain


def channel_last(right: Callable[..., Any]) -> Callable[..., Any]:
    """A product with images that are flattened channel last."""

    def forward(self: Any, x: Any, W: Any) -> Any:
        images = len(self.input_shape) == 3
        return right(self, np.moveaxis(x, -3, -1).reshape(x.shape) if images else x, W)

    return forward


def without_mask(right: Callable[..., Any]) -> Callable[..., Any]:
    """A forward pass that drops nothing."""
    return lambda self, x, mask: x


def adjoint_without_mask(right: Callable[..., Any]) -> Callable[..., Any]:
    """The dropout mask forgotten on the way back."""
    return lambda self, y, mask: y


def gain_from_step_zero(right: Callable[..., Any]) -> Callable[..., Any]:
    """c[t] with the exponent t instead of t + 1."""
    return lambda n_steps, neuron, dtype: (1.0 - (1.0 - neuron.theta_s) ** np.arange(n_steps)).astype(dtype)


def filter_not_reversed(right: Callable[..., Any]) -> Callable[..., Any]:
    """The filter instead of its adjoint."""
    return lambda g, neuron: sweeps.psc_filter(g, neuron)


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
    """The PSC with s instead of theta_s s."""
    return lambda a_previous, s, theta_s: (1.0 - theta_s) * a_previous + s


def always_released(right: Callable[..., Any]) -> Callable[..., Any]:
    """The released weights whatever the rule says."""
    return lambda self, neuron: (0.0, -1.0, 0.0)


def wrong_gate(right: Callable[..., Any]) -> Callable[..., Any]:
    """The warm-up below theta_s instead of theta_s / 4, for every rule."""
    return lambda self, neuron, rate: neuron.theta_s


def input_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A forward sweep that is fed 1.001 I."""
    return lambda I, *args: right(np.multiply(I, FACTOR, out=I), *args)


def first_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is given its first array times 1.001."""
    return lambda first, *args: right(first * FACTOR, *args)


def unfiltered_train(right: Callable[..., Any]) -> Callable[..., Any]:
    """The desired train instead of its PSC."""
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


def with_default(index: int, value: Any) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """The defaults of a function, one of them another."""
    return lambda right: (*right[:index], value, *right[index + 1 :])


def fires_at_threshold(right: Callable[..., Any]) -> Callable[..., Any]:
    """A spike at V, too."""
    return lambda u, threshold: 1.0 * (u >= threshold)


def late_gradient(right: Callable[..., Any]) -> Callable[..., Any]:
    """A backward pass that reads dL/da of the step before."""
    return lambda g, *args: right(np.roll(g, 1, axis=0), *args)


def softmax_without_shift(right: Callable[..., Any]) -> Callable[..., Any]:
    """The softmax loss whose exponentials overflow."""

    def softmax(a: Any, y: Any, *args: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            p = np.exp(a.sum(axis=0))
            p /= p.sum(axis=1, keepdims=True)
        return -float(np.log(p[np.arange(len(y)), y]).mean()), right(a, y, *args)[1]

    return softmax


def times_value(right: Callable[..., Any]) -> Callable[..., Any]:
    """A loss of twice the value, its gradient right."""

    def loss(*args: Any) -> Any:
        value, gradient = right(*args)
        return 2.0 * value, gradient

    return loss

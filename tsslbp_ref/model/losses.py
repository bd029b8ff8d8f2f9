"""Losses on the output PSC: value and dL/da beside each other.

a is (T, B, n_classes), y the (B,) class labels. "kernel", "count" and "softmax" are the released code's forms;
"kernel-paper" is the kernel loss as the paper defines it. The kernel losses have a second name that says what they are:
the desired train of 5 steps, and how often F6 filters it. "spike-train" takes desired spike trains instead of
labels. Kernel, count and spike-train losses are sums over the batch, softmax is a mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import terms
from tsslbp_ref.model.parameters import NeuronParameters

LONG_TRAIN = 10  # from this many steps on, the released code alternates 0, 1; below it holds 1 (main.py's two cases)

OUTPUT_AXES = "(T, B, n_classes): steps, batch, output neurons"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LossSettings:
    """The constants of the count loss.

    Parameters
    ----------
    desired_count, undesired_count : float
        What sum_t a[t] should reach for the true class, and stay below for the others. The released code's values for
        T = 5 are 4 and 1, for N-MNIST in 30 steps 15 and 3.

    Raises
    ------
    ValueError, TypeError
        If a count is negative or no number.

    Examples
    --------
    >>> LossSettings(desired_count=15.0, undesired_count=3.0)
    LossSettings(desired_count=15.0, undesired_count=3.0)
    """

    desired_count: float = 4.0
    undesired_count: float = 1.0

    def __post_init__(self) -> None:
        checks.set_fields(
            self,
            desired_count=checks.real_number("desired_count", self.desired_count, minimum=0.0),
            undesired_count=checks.real_number("undesired_count", self.undesired_count, minimum=0.0),
        )


RELEASED_SETTINGS = LossSettings()


# ---------------------------------------------------------------------------------------------------------------------
# Desired spike trains
# ---------------------------------------------------------------------------------------------------------------------


def desired_train_released(n_steps: int) -> npt.NDArray[np.float64]:
    """0, 1, 1, 1, ... for short runs and 0, 1, 0, 1, ... from 10 steps on: the true class in the released code.

    Examples
    --------
    >>> desired_train_released(5)
    array([0., 1., 1., 1., 1.])
    """
    steps = np.arange(checks.axis_size("n_steps", n_steps))
    train = steps > 0 if n_steps < LONG_TRAIN else steps % 2 == 1
    return train.astype(np.float64)


def desired_train_paper(n_steps: int) -> npt.NDArray[np.float64]:
    """0, 1, 0, 1, 1 for 5 steps, as the paper prints it; in general 0, 1 repeated, and a spike at the last step.

    Examples
    --------
    >>> desired_train_paper(5)
    array([0., 1., 0., 1., 1.])
    """
    steps = np.arange(checks.axis_size("n_steps", n_steps))
    train = (steps % 2 == 1) | (steps == n_steps - 1)
    return train.astype(np.float64)


def filtered_train(train: npt.ArrayLike, neuron: NeuronParameters) -> Array:
    """d = eps * train, by F6 along the first axis.

    Parameters
    ----------
    train : (T, ...) array_like
    neuron : NeuronParameters
        Its tau_s is the filter's.

    Raises
    ------
    ValueError, TypeError
        If train is not finite, or neuron is none.

    Examples
    --------
    >>> filtered_train(np.array([0.0, 1.0, 0.0]), NeuronParameters(tau_s=2.0))
    array([0.  , 0.5 , 0.25])
    """
    train = checks.finite_array("train", train)
    if train.ndim == 0:
        raise ValueError(f"train must have a first axis, got shape {train.shape}")
    checks.instance_of("neuron", neuron, NeuronParameters)
    d = np.zeros_like(train)
    previous = np.zeros_like(train[0])
    for t in range(len(train)):
        d[t] = previous = terms.psc(previous, train[t], neuron.theta_s)
    return d


# ---------------------------------------------------------------------------------------------------------------------
# Value and gradient
# ---------------------------------------------------------------------------------------------------------------------


def van_rossum(a: npt.ArrayLike, d: npt.ArrayLike) -> tuple[float, Array]:
    """L = sum_t 1/2 ||a[t] - d[t]||^2 and dL/da[t] = a[t] - d[t]    (L1), summed over the batch, for any target.

    Parameters
    ----------
    a, d : (T, B, n_classes) array_like
        Output PSC and target PSC.

    Raises
    ------
    ValueError, TypeError
        If one is not finite, or the shapes differ.

    Examples
    --------
    >>> van_rossum(np.array([0.0, 0.5]), np.array([0.0, 1.0]))
    (0.125, array([ 0. , -0.5]))
    """
    a, d = checks.finite_array("a", a), checks.finite_array("d", d)
    checks.same_shape("d", d, a.shape, "a")
    error = a - d
    return 0.5 * float(np.vdot(error, error)), error


def released_psc(n_steps: int, neuron: NeuronParameters) -> npt.NDArray[np.float64]:
    """d of the true class as released, loss "kernel": the desired train 0, 1, 1, 1, 1, filtered twice by F6.

    Examples
    --------
    >>> released_psc(5, NeuronParameters(tau_s=2.0))
    array([0.    , 0.25  , 0.5   , 0.6875, 0.8125])
    """
    return filtered_train(filtered_train(desired_train_released(n_steps), neuron), neuron)


def paper_psc(n_steps: int, neuron: NeuronParameters) -> npt.NDArray[np.float64]:
    """d of the true class as the paper defines it, loss "kernel-paper": 0, 1, 0, 1, 1, filtered once by F6.

    Examples
    --------
    >>> paper_psc(5, NeuronParameters(tau_s=2.0))
    array([0.    , 0.5   , 0.25  , 0.625 , 0.8125])
    """
    return filtered_train(desired_train_paper(n_steps), neuron)


DESIRED_PSCS: dict[str, Callable[[int, NeuronParameters], npt.NDArray[np.float64]]] = {
    "kernel": released_psc,
    "kernel-paper": paper_psc,
    "kernel-01111-twice": released_psc,
    "kernel-01011-once": paper_psc,
}


@lru_cache
def _desired_psc(name: str, n_steps: int, neuron: NeuronParameters) -> npt.NDArray[np.float64]:
    """The true class's PSC d, worked out once and not in every step; a warning where no class has a spike."""
    d = DESIRED_PSCS[name](n_steps, neuron)
    if not d.any():
        nothing = f"loss {name!r} teaches nothing with n_steps = {n_steps}, where its desired train is 0"
        checks.warn(f"{nothing}: take more steps, or 'kernel-paper'")
    return d


def target_psc(d: Array, y: Array, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """The PSC d (T,) for the true class of every sample, and zeros for the others, in an output's shape and dtype."""
    target = np.zeros(shape, dtype)
    target[:, np.arange(len(y)), y] = d[:, None]
    return target


def count(a: npt.ArrayLike, y: npt.ArrayLike, settings: LossSettings) -> tuple[float, Array]:
    """L = T/2 sum e^2 with e = (sum_t a[t] - desired) / T, and dL/da[t] = e at every t    (L2). Summed over the batch.

    e is 0 where the true class is above and where another class is below its target: enough is enough.

    Parameters
    ----------
    a : (T, B, n_classes) array_like
        Output PSC.
    y : (B,) array_like of int
        Class labels.
    settings : LossSettings

    Raises
    ------
    ValueError, TypeError
        If a is not finite or of other axes, or a label is out of range.

    Examples
    --------
    >>> a = np.full((5, 1, 2), 0.4)  # a sum of 2 for both classes
    >>> value, g = count(a, np.array([1]), LossSettings(4.0, 1.0))
    >>> round(value, 6), g[0].round(6)  # the true class should have 4, the other at most 1
    (0.5, array([[ 0.2, -0.4]]))
    """
    a, y = _checked(a, y)
    checks.instance_of("settings", settings, LossSettings)
    T, B, _ = a.shape
    is_true = np.zeros(a.shape[1:], dtype=bool)
    is_true[np.arange(B), y] = True
    desired = np.where(is_true, settings.desired_count, settings.undesired_count)
    e = (a.sum(axis=0, dtype=np.float64) - desired) / T
    e[(is_true & (e > 0)) | (~is_true & (e < 0))] = 0.0
    return 0.5 * T * float(np.vdot(e, e)), np.broadcast_to(e.astype(a.dtype), a.shape).copy()


def _checked(a: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return an output PSC as floats, and its labels."""
    a = checks.finite_array("a", a, ndim=3, axes=OUTPUT_AXES)
    return a, checks.labels("y", y, batch=a.shape[1], n_classes=a.shape[2])


def softmax(a: npt.ArrayLike, y: npt.ArrayLike) -> tuple[float, Array]:
    """L = -mean_b log softmax(q)[y], q = sum_t a[t], and dL/da[t] = (softmax(q) - onehot(y)) / B at every t    (L3).

    Parameters
    ----------
    a : (T, B, n_classes) array_like
        Output PSC.
    y : (B,) array_like of int
        Class labels.

    Raises
    ------
    ValueError, TypeError
        As `count`.

    Examples
    --------
    >>> value, g = softmax(np.zeros((5, 1, 2)), np.array([1]))
    >>> round(value, 6), g[0]
    (0.693147, array([[ 0.5, -0.5]]))
    """
    a, y = _checked(a, y)
    B = a.shape[1]
    q = a.sum(axis=0, dtype=np.float64)
    q -= q.max(axis=1, keepdims=True)
    log_p = q - np.log(np.exp(q).sum(axis=1, keepdims=True))
    dq = np.exp(log_p)
    dq[np.arange(B), y] -= 1.0
    dq /= B
    value = -float(log_p[np.arange(B), y].mean())
    return value, np.broadcast_to(dq.astype(a.dtype), a.shape).copy()


LOSSES = ("kernel", "kernel-paper", "count", "softmax", "spike-train", "kernel-01111-twice", "kernel-01011-once")


def value_and_gradient(
    name: str, a: npt.ArrayLike, y: npt.ArrayLike, neuron: NeuronParameters, settings: LossSettings | None = None
) -> tuple[float, Array]:
    """Loss and dL/da of the output PSC, by the loss's name.

    Parameters
    ----------
    name : {"kernel", "kernel-paper", "count", "softmax", "spike-train"}
        Or "kernel-01111-twice", "kernel-01011-once": the first two by what their target is.
    a : (T, B, n_classes) array_like
        Output PSC.
    y : (B,) array_like of int
        Class labels; for "spike-train" the desired trains, of a's shape.
    neuron : NeuronParameters
        Its tau_s filters the desired trains.
    settings : LossSettings, optional
        Targets of the count loss.

    Returns
    -------
    value : float
    gradient : (T, B, n_classes) array
        dL/da, in a's dtype.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown (the known ones are listed), a is not finite, a label is out of range, the loss or its
        gradient overflows, or neuron or settings are not of their kind.

    Examples
    --------
    >>> import tsslbp_ref as tr
    >>> value, g = value_and_gradient("softmax", np.zeros((5, 1, 2)), [1], tr.NeuronParameters())
    >>> round(value, 3), g[0]
    (0.693, array([[ 0.5, -0.5]]))
    """
    a = checks.finite_array("a", a, ndim=3, axes=OUTPUT_AXES)
    loss = Loss(name, neuron, RELEASED_SETTINGS if settings is None else settings)
    return loss.value_and_gradient(a, loss.target(y, a.shape, a.dtype))


def checked_target(name: str, y: npt.ArrayLike, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
    """Return what the loss compares an output PSC of the given shape and dtype with; errors as above."""
    checks.one_of("loss", name, LOSSES)
    if name == "spike-train":
        target = checks.finite_array("y", y, dtype=dtype)
        checks.same_shape("y", target, shape, "the output PSC")
        return target
    return checks.labels("y", y, batch=shape[1], n_classes=shape[2])


@dataclass(frozen=True)
class Loss:
    """A loss with all that it needs beside output and target.

    Parameters
    ----------
    name : {"kernel", "kernel-paper", "count", "softmax", "spike-train"}
        Or "kernel-01111-twice", "kernel-01011-once": the first two by what their target is.
    neuron : NeuronParameters
        Of the output layer; its tau_s filters desired trains.
    settings : LossSettings, optional
        Targets of the count loss.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown, or neuron or settings are not of their kind.

    Examples
    --------
    >>> import numpy as np
    >>> from tsslbp_ref import NeuronParameters
    >>> loss = Loss("count", NeuronParameters())
    >>> target = loss.target([1], (5, 1, 2), "float64")
    >>> value, g = loss.value_and_gradient(np.zeros((5, 1, 2)), target)
    >>> round(value, 3), g[0]
    (1.6, array([[ 0. , -0.8]]))
    """

    name: str
    neuron: NeuronParameters
    settings: LossSettings = RELEASED_SETTINGS

    def __post_init__(self) -> None:
        checks.set_fields(self, name=checks.one_of("loss", self.name, LOSSES))
        checks.instance_of("neuron", self.neuron, NeuronParameters)
        checks.instance_of("settings", self.settings, LossSettings)

    @property
    def is_van_rossum(self) -> bool:
        """Whether the loss is L1 against a target PSC."""
        return self.name in (*DESIRED_PSCS, "spike-train")

    def target(self, y: npt.ArrayLike, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        """What an output PSC of the given shape (T, B, n_classes) is compared with.

        Returns
        -------
        array
            The target PSC (T, B, n_classes) of a van Rossum loss; the labels (B,) of the others.

        Raises
        ------
        ValueError, TypeError
            If y does not fit the shape, a label is out of range, or desired trains are so large that they overflow.
        """
        checked = checked_target(self.name, y, shape, dtype)
        if self.name == "spike-train":
            with np.errstate(over="ignore", invalid="ignore"):
                return checks.finite_result("y is too large", "its PSC", filtered_train(checked, self.neuron))
        if self.is_van_rossum:
            return target_psc(_desired_psc(self.name, shape[0], self.neuron), checked, shape, dtype)
        return checked

    def value_and_gradient(self, a: Array, target: Array, shard: slice | None = None) -> tuple[float, Array]:
        """Loss and dL/da of a batch, or a shard's part of them; the parts of all shards add up to the whole.

        Parameters
        ----------
        a : (T, b, n_classes) array
            Output PSC of the batch, or of the shard.
        target : array
            Of the whole batch, from `target`.
        shard : slice, optional
            The samples of the batch that a holds; all if not given.

        Raises
        ------
        ValueError
            If the loss or its gradient is not finite.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            value, g = self._value_and_gradient(a, target, shard)
        if not checks.all_finite(g):
            value = math.inf
        return self.finite(value, a, target), g

    def finite(self, value: float, a: Array, target: Array) -> float:
        """Return the loss of an output PSC if it is finite; else name the largest number that it was made of."""
        if math.isfinite(value):
            return value
        given = {"a": a}
        if self.is_van_rossum:
            given["the desired PSC"] = target
        if self.name == "count":
            given["a desired count"] = np.array([self.settings.desired_count, self.settings.undesired_count])
        name, array = max(given.items(), key=lambda item: np.abs(item[1]).max())
        place = np.unravel_index(np.abs(array).argmax(), array.shape)
        found = f"{array[place]:g} at {checks.at_index(place)}"
        raise ValueError(f"{name} is too large: the loss and its gradient must be finite, got {found}")

    def _value_and_gradient(self, a: Array, target: Array, shard: slice | None) -> tuple[float, Array]:
        shard = slice(None) if shard is None else shard
        if self.is_van_rossum:
            return van_rossum(a, target[:, shard])
        if self.name == "count":
            return count(a, target[shard], self.settings)
        if self.name == "softmax":
            value, g = softmax(a, target[shard])
            share = a.shape[1] / len(target)  # a mean over the batch, where the others are sums
            return value * share, g * a.dtype.type(share)
        raise ValueError(f"loss {self.name!r} is in LOSSES, and Loss does not say how it is computed")

"""The losses on the output PSC by nested loops: value and dL/da, entry by entry. `losses` has the same in arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import reference
from tsslbp_ref.model.losses import DESIRED_PSCS, LONG_TRAIN, OUTPUT_AXES, LossSettings, checked_target
from tsslbp_ref.model.parameters import NeuronParameters

Array = npt.NDArray[Any]


def value_and_gradient(
    name: str, a: npt.ArrayLike, y: npt.ArrayLike, neuron: NeuronParameters, settings: LossSettings
) -> tuple[float, Array]:
    """Loss and dL/da of an output PSC (T, B, n_classes), by the loss's name.

    Parameters
    ----------
    name : {"kernel", "kernel-paper", "count", "softmax", "spike-train"}
        Or "kernel-01111-twice", "kernel-01011-once".
    a : (T, B, n_classes) array_like
    y : (B,) array_like of int
        Class labels; for "spike-train" the desired trains, of a's shape.
    neuron : NeuronParameters
        Of the output layer.
    settings : LossSettings
        Of the count loss.

    Raises
    ------
    ValueError, TypeError
        If the name is unknown, a is not finite or y does not fit it, or neuron or settings are not of their kind.

    Examples
    --------
    >>> from tsslbp_ref.model.losses import RELEASED_SETTINGS
    >>> a = np.full((5, 1, 2), 0.4)
    >>> value, g = value_and_gradient("count", a, np.array([1]), NeuronParameters(), RELEASED_SETTINGS)
    >>> round(value, 6), g[0].round(6)
    (0.5, array([[ 0.2, -0.4]]))
    """
    a = checks.finite_array("a", a, ndim=3, axes=OUTPUT_AXES)
    y = checked_target(name, y, a.shape, a.dtype)
    checks.instance_of("neuron", neuron, NeuronParameters)
    checks.instance_of("settings", settings, LossSettings)
    if name == "count":
        return count(a, y, settings)
    if name == "softmax":
        return softmax(a, y)
    if name != "spike-train" and name not in DESIRED_PSCS:
        raise ValueError(f"loss {name!r} is in LOSSES, and has no nested loops")
    train = y if name == "spike-train" else desired_trains(name, a.shape, y)
    desired = reference.psc_filter(train, neuron)
    if name in ("kernel", "kernel-01111-twice"):
        desired = reference.psc_filter(desired, neuron)
    return van_rossum(a, desired)


def desired_trains(name: str, shape: tuple[int, ...], y: Array) -> Array:
    """The true class's train: 0, 1, 1, 1, 1, from 10 steps on 0, 1, 0, 1, ...; as the paper prints it 0, 1, 0, 1, 1."""
    T, B, _ = shape
    train = np.zeros(shape)
    for b in range(B):
        for t in range(T):
            alternates = t % 2 == 1
            if name in ("kernel-paper", "kernel-01011-once"):
                fires = alternates or t == T - 1
            else:
                fires = t > 0 if T < LONG_TRAIN else alternates
            train[t, b, y[b]] = 1.0 if fires else 0.0
    return train


def van_rossum(a: Array, d: Array) -> tuple[float, Array]:
    """L = sum_t 1/2 (a[t] - d[t])^2 and dL/da[t] = a[t] - d[t]    (L1)."""
    T, B, n = a.shape
    value, g = 0.0, np.zeros(a.shape)
    for t in range(T):
        for b in range(B):
            for i in range(n):
                g[t, b, i] = a[t, b, i] - d[t, b, i]
                value += 0.5 * g[t, b, i] ** 2
    return float(value), g


def count(a: Array, y: Array, settings: LossSettings) -> tuple[float, Array]:
    """L = T/2 sum e^2, dL/da[t] = e = (sum_t a[t] - desired) / T, 0 where there is enough    (L2)."""
    T, B, n = a.shape
    value, g = 0.0, np.zeros(a.shape)
    for b in range(B):
        for i in range(n):
            is_true = y[b] == i
            desired = settings.desired_count if is_true else settings.undesired_count
            e = (sum(a[t, b, i] for t in range(T)) - desired) / T
            if (is_true and e > 0.0) or (not is_true and e < 0.0):
                e = 0.0
            value += 0.5 * T * e**2
            for t in range(T):
                g[t, b, i] = e
    return float(value), g


def softmax(a: Array, y: Array) -> tuple[float, Array]:
    """L = -mean_b log p[y], dL/da[t] = (p - onehot(y)) / B with p = softmax(sum_t a[t])    (L3)."""
    T, B, n = a.shape
    value, g = 0.0, np.zeros(a.shape)
    for b in range(B):
        q = [sum(a[t, b, i] for t in range(T)) for i in range(n)]
        total = sum(math.exp(q[i] - max(q)) for i in range(n))
        for i in range(n):
            p = math.exp(q[i] - max(q)) / total
            if y[b] == i:
                value -= (q[i] - max(q) - math.log(total)) / B
            for t in range(T):
                g[t, b, i] = (p - (1.0 if y[b] == i else 0.0)) / B
    return value, g

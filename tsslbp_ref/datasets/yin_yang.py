"""The Yin-Yang data set: points of a disc in three classes, made by a formula, so nothing is downloaded.

The disc has the radius 1/2 and the centre (1/2, 1/2). It holds two dots of radius 1/10, at (1/4, 1/2) and (3/4, 1/2),
and is cut in two halves as the sign of yin and yang is. Source: Kriener, Goeltz and Petrovici (2022); the formula is
theirs, the code is our own.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]

YIN, YANG, DOT = 0, 1, 2
N_CLASSES = 3
RADIUS, DOT_RADIUS = 0.5, 0.1
LEFT, RIGHT, MIDDLE = 0.25, 0.75, 0.5  # x of the two dots, and the y of both
SPLITS = {"train": (5000, 42), "test": (1000, 43), "validation": (1000, 44)}  # points, seed
FIRST_MS, RANGE_MS, BIAS_MS = 2.0, 30.0, 12.0
DURATION_MS = 60.0


class YinYang(NamedTuple):
    """Points (n, 2) in [0, 1]^2 and classes (n,): 0 and 1 the two halves, 2 the dots."""

    points: FloatArray
    labels: IntegerArray


def class_of(x: npt.ArrayLike, y: npt.ArrayLike) -> IntegerArray:
    """Return the class of points in the disc: 2 in a dot, else 1 in the half that is above on the left, else 0.

    With distances l and r to the left and the right dot's centre, a point is in a dot if l or r is below .1, and
    else in half 1 if r <= .1, or .1 < l <= .25, or y > .5 and r > .25.

    Examples
    --------
    >>> class_of([0.1, 0.5], [0.6, 0.5])
    array([1, 1])
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    to_left, to_right = np.hypot(x - LEFT, y - MIDDLE), np.hypot(x - RIGHT, y - MIDDLE)
    in_dot = (to_left < DOT_RADIUS) | (to_right < DOT_RADIUS)
    near_left = (to_left > DOT_RADIUS) & (to_left <= RADIUS / 2)
    above = (y > MIDDLE) & (to_right > RADIUS / 2)
    in_half = (to_right <= DOT_RADIUS) | near_left | above
    return np.where(in_dot, DOT, np.where(in_half, YANG, YIN))


def make_yin_yang(n: int, seed: int) -> YinYang:
    """Draw `n` points: a class first, each with a chance of 1/3, then points of the disc until one has it.

    Parameters
    ----------
    n : int
    seed : int
        Of `numpy.random.RandomState`, whose numbers are the same in every version of NumPy.

    Examples
    --------
    >>> points, labels = make_yin_yang(5, seed=0)
    >>> points.shape, labels
    ((5, 2), array([0, 2, 2, 1, 1]))
    """
    checks.axis_size("n", n)
    rng = np.random.RandomState(checks.positive_integer("seed", seed, minimum=0))
    points, labels = np.empty((n, 2)), np.empty(n, dtype=np.int64)
    for k in range(n):
        labels[k] = rng.randint(N_CLASSES)
        while True:
            x, y = rng.rand(2)
            if np.hypot(x - RADIUS, y - RADIUS) <= RADIUS and class_of(x, y) == labels[k]:
                break
        points[k] = x, y
    return YinYang(points, labels)


def load_yin_yang(split: str) -> YinYang:
    """Return the "train" (5,000 points, seed 42), "test" (1,000, seed 43) or "validation" (1,000, seed 44) points.

    Examples
    --------
    >>> train = load_yin_yang("train")
    >>> train.points.shape, train.labels[:5]
    ((5000, 2), array([2, 1, 2, 1, 1]))
    """
    return make_yin_yang(*SPLITS[checks.one_of("split", split, SPLITS)])


def spike_times(points: npt.ArrayLike) -> FloatArray:
    """Return the input spikes (n, 5, 1) in ms of points (n, 2): x, y, 1 - x, 1 - y at 2 + 30 v, and a bias at 12.

    Sizes and times are those of the Yin-Yang networks of Wunderlich and Pehle (2021), up to the scale of time.

    Examples
    --------
    >>> spike_times([[0.5, 0.1]])[0, :, 0]
    array([17.,  5., 17., 29., 12.])
    """
    xy = checks.finite_array("points", points, ndim=2, dtype=np.float64)
    if xy.shape[1] != 2 or xy.min() < 0.0 or xy.max() > 1.0:
        raise ValueError(f"points must be (n, 2) with numbers in [0, 1], got shape {xy.shape}")
    bias = np.full((len(xy), 1), BIAS_MS)
    return np.concatenate([FIRST_MS + RANGE_MS * np.concatenate([xy, 1.0 - xy], axis=1), bias], axis=1)[:, :, None]

"""The Yin-Yang points: the formula against a literal one, the splits, the spikes."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest

from tsslbp_ref.datasets import yin_yang


def literal_class(x, y):
    """The formula as it is said: two dots, one half, and the rest."""
    left, right = math.dist((x, y), (0.25, 0.5)), math.dist((x, y), (0.75, 0.5))
    if left < 0.1 or right < 0.1:
        return 2
    if right <= 0.1 or 0.1 < left <= 0.25 or (y > 0.5 and right > 0.25):
        return 1
    return 0


def test_the_classes_are_those_of_the_formula():
    x, y = np.random.default_rng(0).random((2, 2000))
    expected = [literal_class(*point) for point in zip(x, y, strict=True)]
    assert set(expected) == {0, 1, 2}
    assert yin_yang.class_of(x, y).tolist() == expected


def test_half_a_turn_about_the_centre_exchanges_the_halves():
    x, y = np.random.default_rng(1).random((2, 2000))
    inside = np.hypot(x - 0.5, y - 0.5) < 0.5
    classes, turned = (yin_yang.class_of(*xy)[inside] for xy in ((x, y), (1.0 - x, 1.0 - y)))
    np.testing.assert_array_equal(turned, np.where(classes == 2, 2, 1 - classes))


@pytest.mark.parametrize(("split", "n", "seed"), [("train", 5000, 42), ("test", 1000, 43), ("validation", 1000, 44)])
def test_the_splits(split, n, seed):
    points, labels = yin_yang.load_yin_yang(split)
    assert points.shape == (n, 2)
    assert np.all(np.hypot(*(points - 0.5).T) <= 0.5)
    assert labels.tolist() == [literal_class(*point) for point in points]
    assert np.all(np.abs(np.bincount(labels) / n - 1.0 / 3.0) < 0.05)
    again = yin_yang.make_yin_yang(100, seed)
    np.testing.assert_array_equal(again.points, points[:100])


def test_points_become_spikes():
    spikes = yin_yang.spike_times([[0.0, 1.0], [0.25, 0.5]])
    np.testing.assert_allclose(spikes[:, :, 0], [[2.0, 32.0, 32.0, 2.0, 12.0], [9.5, 17.0, 24.5, 17.0, 12.0]])
    assert doctest.testmod(yin_yang).failed == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: yin_yang.load_yin_yang("tests"), ValueError, "unknown split 'tests'"),
        (lambda: yin_yang.make_yin_yang(0, 1), ValueError, "n must be at least 1"),
        (lambda: yin_yang.make_yin_yang(5, -1), ValueError, "seed must be at least 0"),
        (lambda: yin_yang.spike_times([[0.5, 1.2]]), ValueError, r"points must be \(n, 2\) with numbers in \[0, 1\]"),
        (lambda: yin_yang.spike_times([[0.5]]), ValueError, r"points must be \(n, 2\)"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()

"""1,797 handwritten digits of 8x8 pixels, the one data set that comes with the package: for examples.

They are the test part of "Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine
Learning Repository, doi 10.24432/C50P49, licensed CC BY 4.0; repacked here as an .npz file, not otherwise changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

DIGITS = Path(__file__).with_name("digits.npz")


class Digits(NamedTuple):
    """Images X (1797, 8, 8) of integers 0 to 16, and the digits y (1797,) that they show."""

    X: npt.NDArray[np.uint8]
    y: npt.NDArray[np.int64]


def load_digits() -> Digits:
    """Load the digits; they were written by 13 people and are in no order of classes.

    Examples
    --------
    >>> X, y = load_digits()
    >>> X.shape, int(X.max()), y[:5]
    ((1797, 8, 8), 16, array([0, 1, 2, 3, 4]))
    """
    with np.load(DIGITS, allow_pickle=False) as archive:
        arrays: dict[str, npt.NDArray[Any]] = dict(archive)
    return Digits(arrays["X"], arrays["y"].astype(np.int64))

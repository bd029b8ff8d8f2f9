"""The gradient of a loss smoothed over the weights: what a step of finite length can follow where the loss jumps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks

Array = npt.NDArray[np.float64]


class SmoothedGradient(NamedTuple):
    """The estimate of a smoothed gradient and its standard error, entry by entry; of the shapes of the weights."""

    gradient: Any
    standard_error: Any


def smoothed_gradient(
    loss: Callable[[Any], float],
    weights: npt.ArrayLike | Sequence[npt.ArrayLike],
    length: float,
    n_moves: int = 1000,
    seed: int = 0,
) -> SmoothedGradient:
    r"""Estimate the gradient of E[L(w + sigma z)], z normal, by pairs of opposite moves m = sigma z.

    .. math:: \frac{1}{n} \sum_{i=1}^{n} \frac{L(w + m_i) - L(w - m_i)}{2 \sigma^2} \, m_i,
        \qquad \sigma = \ell \, |w| / \sqrt{N}

    A move is as long as a step of length l |w| through all N weights. The loss of a spiking network in discrete time
    is constant but for jumps, and has no gradient that says anything; smoothed, it has one.

    Parameters
    ----------
    loss : callable
        Takes weights as they are given here, a list of arrays or one array, and returns a number.
    weights : array_like or list of array_like
        A list (or tuple) holds one array a layer; anything else is one array.
    length : float
        l, relative to the norm of all weights together; above 0.
    n_moves : int
        Pairs, at least 2. The loss is called twice a pair; the standard error falls with the root of their number.
    seed : int
        Of the moves.

    Returns
    -------
    SmoothedGradient
        Gradient and standard error.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, all weights are 0, or the loss returns no finite number.

    Notes
    -----
    Own choice of the method for this project; the estimator is that of evolution strategies with antithetic pairs.

    Examples
    --------
    >>> import numpy as np
    >>> found = smoothed_gradient(lambda w: float(w @ w), np.array([3.0, 4.0]), length=0.1, n_moves=2000)
    >>> bool(np.abs(found.gradient - [6.0, 8.0]).max() < 1.0)
    True
    """
    layers = [checks.finite_array("weights", w, dtype=np.float64) for w in _as_list(weights)]
    flat = np.concatenate([w.ravel() for w in layers])
    length = checks.real_number("length", length, above=0.0)
    n_moves = checks.positive_integer("n_moves", n_moves, minimum=2)
    rng = np.random.default_rng(checks.positive_integer("seed", seed, minimum=0))
    sigma = length * float(np.linalg.norm(flat)) / math.sqrt(flat.size)
    if sigma == 0.0:
        raise ValueError("weights must not be all zeros: a step's length is relative to them")

    def in_form(vector: Array) -> Any:
        parts = np.split(vector, np.cumsum([w.size for w in layers])[:-1])
        shaped = [part.reshape(w.shape) for part, w in zip(parts, layers, strict=True)]
        return shaped if isinstance(weights, (list, tuple)) else shaped[0]

    estimates = np.empty((n_moves, flat.size))
    for estimate in estimates:
        m = sigma * rng.normal(size=flat.size)
        above, below = (checks.real_number("the loss", loss(in_form(w))) for w in (flat + m, flat - m))
        estimate[:] = (above - below) / (2.0 * sigma**2) * m
    error = estimates.std(axis=0, ddof=1) / math.sqrt(n_moves)
    return SmoothedGradient(in_form(estimates.mean(axis=0)), in_form(error))


def _as_list(weights: Any) -> list[Any]:
    """The arrays, one a layer."""
    found = list(weights) if isinstance(weights, (list, tuple)) else [weights]
    if not found:
        raise ValueError("weights must hold at least one array")
    return found

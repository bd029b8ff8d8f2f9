"""What training does, a panel a function: learning curves, confusions, and the weights as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator

from tsslbp_ref import checks
from tsslbp_ref.plots import palette
from tsslbp_ref.plots.shared import end_of_colours, given_or_new

PERCENT = 100.0
EMPHASIS = 0.5  # exponent of the colour scale of shares: a confusion of 1 % is to be seen beside the diagonal
DARK = 40.0  # percent, from which on the numbers on a colour are white
NUMBER_SIZE = 10.0  # points
SHORT = 30  # epochs; a curve of fewer has its points marked, so that a single epoch is seen, too
PALE_RUN, PALE_RANGE = 0.45, 0.25  # opacity


def learning_curves(
    runs: Sequence[npt.ArrayLike] | npt.ArrayLike,
    ax: Axes | None = None,
    *,
    spread: Literal["runs", "range"] = "runs",
    **line: Any,
) -> Axes:
    """Draw a measure by epoch: its mean over the runs, as far as all have come, and how far they spread.

    Parameters
    ----------
    runs : (epochs,) array or a sequence of them
        A measure, such as the accuracy, at the end of every epoch; one run or several, of any lengths.
    ax : Axes, optional
        Drawn into; a new figure's, if not given.
    spread : {"runs", "range"}
        Each run as a pale line, or the range from the lowest to the highest as a pale band.
    **line
        Properties of matplotlib's Line2D for the mean, such as ``color`` and ``label``.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If a run has no epoch or holds something else than finite numbers.

    Examples
    --------
    >>> import tsslbp_ref as tr
    >>> ax = tr.plots.learning_curves([[80, 90, 94], [70, 86]], label="two seeds")
    >>> [float(mean) for mean in ax.lines[-1].get_ydata()]
    [75.0, 88.0]
    """
    checks.one_of("spread", spread, ("runs", "range"))
    curves = _curves(runs)
    n_common = min(len(curve) for curve in curves)
    common = np.array([curve[:n_common] for curve in curves])
    epochs = np.arange(1, n_common + 1)
    look = {"color": palette.BLUE, "marker": "." if n_common < SHORT else ""} | line
    ax = given_or_new(ax)
    if spread == "range":
        ax.fill_between(
            epochs, common.min(axis=0), common.max(axis=0), color=look["color"], alpha=PALE_RANGE, linewidth=0
        )
    elif len(curves) > 1:
        pale = {"color": look["color"], "linestyle": look.get("linestyle", "-"), "linewidth": 0.8, "alpha": PALE_RUN}
        for curve in curves:
            ax.plot(np.arange(1, len(curve) + 1), curve, **pale)
    ax.plot(epochs, common.mean(axis=0), **look)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=(1, 2, 5, 10), integer=True))
    return ax


def confusion_matrix(counts: npt.ArrayLike, ax: Axes | None = None, *, classes: Sequence[str] | None = None) -> Axes:
    """Draw which class is taken for which, in percent of the true class.

    Parameters
    ----------
    counts : (C, C) array
        Samples by true class (row) and predicted class (column); shares will do, too.
    ax : Axes, optional
        Drawn into; a new figure's, if not given.
    classes : sequence of str, optional
        Names; numbers, if not given.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If the matrix is not square, a count is negative, a class has no sample, or the names do not fit.

    Examples
    --------
    >>> import tsslbp_ref as tr
    >>> ax = tr.plots.confusion_matrix([[9, 1], [0, 4]], classes=("cat", "dog"))
    >>> [text.get_text() for text in ax.texts]
    ['90.0', '10.0', '100.0']
    """
    values = checks.finite_array("counts", counts, ndim=2)
    n = len(values)
    checks.same_shape("counts", values, (n, n), "its first axis")
    if values.min(initial=0.0) < 0.0:
        raise ValueError(f"counts must not be negative, got {values.min()}")
    if empty := np.flatnonzero(values.sum(axis=1) == 0.0).tolist():
        raise ValueError(f"counts must hold samples of every class, got none of {empty}")
    names = [str(name) for name in (range(n) if classes is None else checks.listed("classes", classes))]
    if len(names) != n:
        raise ValueError(f"classes must be {n} names to match counts, got {len(names)}")
    share = PERCENT * values / values.sum(axis=1, keepdims=True)
    ax = given_or_new(ax)
    ax.imshow(share, cmap=palette.SHARE_MAP, norm=PowerNorm(EMPHASIS, 0.0, PERCENT), aspect="auto")
    for (i, j), value in np.ndenumerate(share):
        if value > 0.0:
            colour = "white" if value > DARK else palette.BLACK
            ax.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=NUMBER_SIZE, color=colour)
    ax.set_xticks(range(n), names, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n), names)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    ax.set(xlabel="predicted class", ylabel="true class")
    return ax


def filters(weights: npt.ArrayLike, ax: Axes | None = None, *, limit: float | None = None) -> Axes:
    """Draw weights as images side by side, in colours around 0.

    Parameters
    ----------
    weights : (F, H, W) array
        F images: of a dense layer ``net.weights[0].reshape(-1, H, W)``, of a convolution ``net.weights[0][:, 0]``.
    ax : Axes, optional
        Drawn into; a new figure's, if not given.
    limit : float, optional
        Where the colours end; the largest size of a weight, if not given.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If weights have other axes, there are none, or the limit is not above 0.

    Examples
    --------
    >>> import tsslbp_ref as tr
    >>> net = tr.Network.from_spec("6C5-P2", (1, 28, 28), n_classes=10, n_steps=5, n_threads=1)
    >>> tr.plots.filters(net.weights[0][:, 0]).images[0].get_array().shape  # 2 rows of 3, a pixel between them
    (11, 17)
    """
    W = checks.finite_array("weights", weights, ndim=3)
    n, height, width = W.shape
    n_columns = int(np.ceil(np.sqrt(n)))
    n_rows = -(-n // n_columns)
    mosaic = np.full((n_rows * (height + 1) - 1, n_columns * (width + 1) - 1), np.nan)  # nothing in between
    for number, image in enumerate(W):
        y, x = (height + 1) * (number // n_columns), (width + 1) * (number % n_columns)
        mosaic[y : y + height, x : x + width] = image
    end = end_of_colours(W, limit)
    ax = given_or_new(ax)
    ax.imshow(mosaic, cmap=palette.DIVERGING_MAP, vmin=-end, vmax=end, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def _curves(runs: Sequence[npt.ArrayLike] | npt.ArrayLike) -> list[npt.NDArray[Any]]:
    """Return the runs, a list of (epochs,) arrays; a single one is a list of one."""
    listed = checks.listed("runs", runs)
    several = bool(listed) and np.ndim(listed[0]) > 0
    return [checks.finite_array(f"runs[{i}]", run, ndim=1) for i, run in enumerate(listed if several else [listed])]

"""What the panels share: the axes that they draw into, the scale of colours around 0, and the threshold's line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from tsslbp_ref import checks
from tsslbp_ref.checks import shown
from tsslbp_ref.plots import palette

FORMATS = ("png", "pdf", "svg")
SMALLEST_LIMIT = 1e-12  # of a colour scale around 0, so that zeros alone have one, too


def given_or_new(ax: Axes | None) -> Axes:
    """Return the axes, or those of a new figure; called once the arguments are right, so that no figure is left."""
    if ax is not None:
        return checks.instance_of("ax", ax, Axes)
    from matplotlib import pyplot as plt  # it looks for windows; what draws into a file must not need any

    return plt.figure(layout="constrained").subplots()


def picture_format(option: str, path: Path) -> str:
    """Return the format that a file's name says; one that cannot be written is a ValueError about the option."""
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise ValueError(f"{option} must be a file name that ends in .{' or .'.join(FORMATS)}, got {shown(str(path))}")
    return form


def end_of_colours(values: npt.NDArray[Any], limit: float | None) -> float:
    """Return the limit, or the largest size of a value."""
    largest = max(float(np.abs(values).max(initial=0.0)), SMALLEST_LIMIT)
    return largest if limit is None else checks.real_number("limit", limit, above=0.0)


def threshold_line(ax: Axes, V: float, *, label: str | None = "threshold $V$") -> None:
    """Draw the firing threshold."""
    ax.axhline(V, color=palette.THRESHOLD, linestyle=palette.DASHES, linewidth=1.4, label=label)

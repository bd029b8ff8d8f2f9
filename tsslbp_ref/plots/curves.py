"""`tsslbp-ref results --plot`: learning curves of the runs, one panel an experiment, beside the paper's numbers.

The command line loads this module, and matplotlib with it, when a plot is asked for; it needs no display.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tsslbp_ref.checks import shown
from tsslbp_ref.files import write_atomically
from tsslbp_ref.training.results import Summary, samples

FORMATS = ("png", "pdf", "svg")
PANEL = (6.4, 4.4)  # inches
DPI = 160
N_COLUMNS = 2
# The colours of Okabe and Ito, as in the figures of this project; black is the paper's.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#666666")
STYLES = ("-", ":", "-.")  # of the first seven curves, the next seven, ...; dashes are the paper's
PAPER_COLOUR, PAPER_STYLE = "#000000", (0, (5, 3))
SHORT = 30  # epochs; a curve of fewer has its points marked, so that a single epoch is seen, too
SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 11.0,
    "legend.fontsize": 10.0,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.parse_math": False,  # a name from a run's settings is shown as it is
}


def write_plot(table: Sequence[Summary], path: Path) -> None:
    """Write the learning curves of a table to a file whose name says its format.

    Raises
    ------
    ValueError
        If the name ends in no format that can be written.
    OSError
        If the file cannot be written; what was there stays.
    """
    form = path.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise ValueError(f"--plot must be a file name that ends in .{' or .'.join(FORMATS)}, got {shown(str(path))}")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change the figure
        matplotlib.rcParams.update(SETTINGS)
        content = io.BytesIO()
        draw(table).savefig(content, format=form, dpi=DPI)
    write_atomically(path, content.getvalue())


def draw(table: Sequence[Summary]) -> Figure:
    """Draw a panel for every experiment of a table, a colour for every rule: each seed pale, their mean bold."""
    experiments = sorted({summary.experiment for summary in table})
    names = sorted({_name(summary) for summary in table}, key=lambda name: (name != "released", name))
    n_columns = min(N_COLUMNS, len(experiments))
    n_rows = math.ceil(len(experiments) / n_columns)
    figure = Figure(figsize=(PANEL[0] * n_columns, PANEL[1] * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, experiment in zip(panels, experiments, strict=False):
        group = [summary for summary in table if summary.experiment == experiment]
        for summary in group:
            _draw_curves(axes, summary, names.index(_name(summary)))
        _draw_paper(axes, group[0])
        axes.set(title=experiment, xlabel="epoch", ylabel="test accuracy (%)")
        axes.set_xlim(0.5, max(max(summary.epochs) for summary in group) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10), integer=True, min_n_ticks=1))
        axes.grid(axis="y", linewidth=0.5, alpha=0.4)
        axes.legend(loc="best")
    for axes in panels[len(experiments) :]:
        axes.set_axis_off()
    return figure


def _name(summary: Summary) -> str:
    """The rule, and the part of the data where that is not the whole."""
    return summary.variant if summary.part is None else f"{summary.variant}, {samples(summary.part)} samples"


def _draw_curves(axes: Axes, summary: Summary, index: int) -> None:
    """Draw the accuracy by epoch: of each seed, and the mean over all of them as far as all have come."""
    look: dict[str, Any] = {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": STYLES[index // len(COLOURS) % len(STYLES)],
    }
    n_seeds, n_common = len(summary.curves), min(summary.epochs)
    if n_seeds > 1:
        for curve in summary.curves:
            axes.plot(np.arange(1, len(curve) + 1), curve, linewidth=0.8, alpha=0.45, **look)
    mean = np.mean([curve[:n_common] for curve in summary.curves], axis=0)
    seeds = "1 seed" if n_seeds == 1 else f"mean of {n_seeds} seeds"
    label = f"{_name(summary)}: {seeds}".lstrip("_")  # matplotlib leaves a label that begins so out of the legend
    marker = "." if n_common < SHORT else ""
    axes.plot(np.arange(1, n_common + 1), mean, linewidth=2.0, marker=marker, label=label, **look)


def _draw_paper(axes: Axes, summary: Summary) -> None:
    """Draw the paper's accuracy as a dashed line, if the experiment is the paper's."""
    if summary.paper is None:
        return
    mean, best = summary.paper.mean, summary.paper.best
    value, kind = (best, "best run") if mean is None else (mean, "mean of best epochs")
    label = f"paper, {kind}: {value:.2f} %"
    axes.axhline(value, color=PAPER_COLOUR, linestyle=PAPER_STYLE, linewidth=1.4, label=label)

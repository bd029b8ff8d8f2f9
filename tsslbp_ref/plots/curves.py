"""`tsslbp-ref results --plot`: learning curves of the runs, one panel an experiment, beside the paper's numbers.

The command line loads this module, and matplotlib with it, when a plot is asked for; it needs no display.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tsslbp_ref.files import write_atomically
from tsslbp_ref.plots import palette
from tsslbp_ref.plots.learning import learning_curves
from tsslbp_ref.plots.shared import picture_format
from tsslbp_ref.training.results import Summary, samples

PANEL = (6.4, 4.4)  # inches
DPI = 160
N_COLUMNS = 2
STYLES = ("-", ":", "-.")  # of the first seven curves, the next seven, ...; dashes are the paper's
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
    form = picture_format("--plot", path)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change the figure
        matplotlib.rcParams.update(SETTINGS)
        content = io.BytesIO()
        draw(table).savefig(content, format=form, dpi=DPI)
    write_atomically(path, content.getvalue())


def draw(table: Sequence[Summary]) -> Figure:
    """Draw a panel for every experiment of a table, a colour for every rule: each seed pale, their mean bold."""
    experiments = sorted({summary.experiment for summary in table})
    labels = _labels(table)
    names = sorted(set(labels), key=lambda name: (name != "released", name))
    n_columns = min(N_COLUMNS, len(experiments))
    n_rows = math.ceil(len(experiments) / n_columns)
    figure = Figure(figsize=(PANEL[0] * n_columns, PANEL[1] * n_rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, experiment in zip(panels, experiments, strict=False):
        of_both = zip(table, labels, strict=True)
        group = {label: summary for summary, label in of_both if summary.experiment == experiment}
        for label, summary in group.items():
            _draw_curves(axes, summary, label, names.index(label))
        _draw_paper(axes, next(iter(group.values())))
        axes.set(title=experiment, xlabel="epoch", ylabel="test accuracy (%)")
        axes.set_xlim(0.5, max(max(summary.epochs) for summary in group.values()) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10), integer=True, min_n_ticks=1))
        axes.grid(axis="y", linewidth=0.5, alpha=0.4)
        axes.legend(loc="best")
    for axes in panels[len(experiments) :]:
        axes.set_axis_off()
    return figure


def _labels(table: Sequence[Summary]) -> list[str]:
    """The rule, the part of the data where that is not the whole, and the constants where these do not tell apart."""
    labels = [s.variant if s.part is None else f"{s.variant}, {samples(s.part)} samples" for s in table]
    seen = Counter(zip((s.experiment for s in table), labels, strict=True))
    return [
        f"{label}, {summary.constants}" if seen[summary.experiment, label] > 1 and summary.constants else label
        for summary, label in zip(table, labels, strict=True)
    ]


def _draw_curves(axes: Axes, summary: Summary, name: str, index: int) -> None:
    """Draw the accuracy by epoch: of each seed, and the mean over all of them as far as all have come."""
    look: dict[str, Any] = {
        "color": palette.CYCLE[index % len(palette.CYCLE)],
        "linestyle": STYLES[index // len(palette.CYCLE) % len(STYLES)],
    }
    n_seeds = len(summary.curves)
    seeds = "1 seed" if n_seeds == 1 else f"mean of {n_seeds} seeds"
    label = f"{name}: {seeds}".lstrip("_")  # matplotlib leaves a label that begins so out of the legend
    learning_curves(summary.curves, axes, linewidth=2.0, label=label, **look)


def _draw_paper(axes: Axes, summary: Summary) -> None:
    """Draw the paper's accuracy as a dashed line, if the experiment is the paper's."""
    if summary.paper is None:
        return
    mean, best = summary.paper.mean, summary.paper.best
    value, kind = (best, "best run") if mean is None else (mean, "mean of best epochs")
    label = f"paper, {kind}: {value:.2f} %"
    axes.axhline(value, color=palette.BLACK, linestyle=palette.DASHES, linewidth=1.4, label=label)

"""How every figure looks, and how it reaches the disk: one palette, one set of sizes, the same bytes on every run."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tsslbp_ref.files import atomic_file
from tsslbp_ref.plots.palette import (  # noqa: F401 - the figures say style.BLUE
    BLACK,
    BLUE,
    DASHES,
    DIVERGING_MAP,
    GREEN,
    GREY,
    INPUT,
    MEMBRANE,
    ORANGE,
    PSC,
    PURPLE,
    SKY_BLUE,
    SPIKE,
    THRESHOLD,
    VERMILLION,
)
from tsslbp_ref.plots.shared import threshold_line  # noqa: F401

RULE_COLOURS = {"released": BLUE, "literal": VERMILLION, "consistent": GREEN, "surrogate": ORANGE}
PALE = "#E4E4E4"  # for shaded spans

WIDTH, HEIGHT = 8.0, 4.5  # inches
DPI = 160  # 1280 pixels wide; shown 800 wide, a letter of 10 points is 14 pixels
SMALL, NORMAL, TITLE = 10.0, 11.0, 13.0  # points
SIGNIFICANT_DIGITS = 10  # of the numbers in the CSV

SETTINGS: Any = {  # Any: matplotlib 3.11 has a type for its keys, older versions have none
    "font.family": "DejaVu Sans",  # matplotlib brings it along, so every machine has it
    "font.size": NORMAL,
    "axes.labelsize": NORMAL,
    "axes.titlesize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.0,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@dataclass
class Page:
    """A figure that is being drawn, and the table of its numbers.

    Attributes
    ----------
    figure : Figure
    path : Path
        Where the PNG goes.
    """

    figure: Figure
    path: Path
    header: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Set the plotted numbers: a header and rows of text or real numbers."""
        self.header = list(header)
        self.rows = [[_cell(value) for value in row] for row in rows]


@contextmanager
def page(script: str, out_dir: Path, title: str, *, height: float = HEIGHT) -> Iterator[Page]:
    """Open a figure under this style; when the block ends well, write its PNG and CSV into ``out_dir``.

    Parameters
    ----------
    script : str
        ``__file__`` of the script: the figure takes its name.
    out_dir : Path
        Made if it is not there.
    title : str
        The one idea of the figure, in a line or two.
    height : float
        In inches.

    Raises
    ------
    OSError
        If the folder or the files cannot be written; files that were there stay as they were.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change the figure
        matplotlib.rcParams.update(SETTINGS)
        figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
        FigureCanvasAgg(figure)
        figure.suptitle(title, x=0.012, ha="left", fontsize=TITLE, fontweight="bold", linespacing=1.25)
        sheet = Page(figure, out_dir / f"{Path(script).stem}.png")
        yield sheet
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=DPI, metadata={"Software": None})  # no version, no date
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([sheet.header, *sheet.rows])
    _write({sheet.path.with_suffix(".csv"): text.getvalue().encode(), sheet.path: image.getvalue()})


def _cell(value: object) -> str:
    return f"{float(value):.{SIGNIFICANT_DIGITS}g}" if isinstance(value, Real) else str(value)


def _write(contents: dict[Path, bytes]) -> None:
    """Replace files as a whole, once all are written: a full disk leaves the old figure with the old numbers."""
    with ExitStack() as whole:  # leaves, and so renames, when all are written
        for path, content in contents.items():
            whole.enter_context(atomic_file(path)).write(content)


# ---------------------------------------------------------------------------------------------------------------------
# What several figures draw
# ---------------------------------------------------------------------------------------------------------------------


def spikes(axes: Axes, times: Iterable[float], *, colour: str = SPIKE) -> None:
    """Draw a spike train as one bar a spike, on axes of their own."""
    axes.vlines(list(times), 0.0, 1.0, color=colour, linewidth=2.2)
    axes.set_ylim(0.0, 1.15)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def note(axes: Axes, text: str, at: tuple[float, float], text_at: tuple[float, float], **options: Any) -> None:
    """Write a remark with a thin arrow, both ends in the data's coordinates."""
    arrow = {"arrowstyle": "-|>", "color": GREY, "linewidth": 0.9, "shrinkA": 2, "shrinkB": 3}
    settings: dict[str, Any] = {"fontsize": SMALL, "color": BLACK, "ha": "left", "va": "center", "arrowprops": arrow}
    axes.annotate(text, xy=at, xytext=text_at, **(settings | options))


def panel_label(axes: Axes, text: str) -> None:
    """Title a panel, at its left edge."""
    axes.set_title(text, loc="left", fontsize=NORMAL)

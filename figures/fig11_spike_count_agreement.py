"""How often a network in steps has the continuous network's spike counts, and how many spikes meet the clip."""

from __future__ import annotations

from pathlib import Path

from figures import style
from figures.fig10_gradient_alignment import interval_bars, read_summary, step_axis

TITLE = (
    "Steps of 1 ms: most networks have other spike counts than in continuous\n"
    "time. Fine steps: the counts agree, and every spike is at the clip"
)
KINDS = {
    "1 layer": (style.SKY_BLUE, "o"),
    "2 layers": (style.BLUE, "s"),
    "3 layers": (style.PURPLE, "^"),
    "all": (style.BLACK, "D"),
}


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    agreement = {kind: read_summary("counts_agree", kind) for kind in KINDS}
    clipped = read_summary("clipped_share")
    with style.page(__file__, out_dir, TITLE) as page:
        header = ("quantity", "networks", "dt", "n", "low", "high", "value")
        rows = [row for kind in agreement.values() for row in kind] + clipped
        page.table(header, [[row[key] for key in header] for row in rows])
        left, right = page.figure.subplots(1, 2, sharey=True)
        for kind, (colour, marker) in KINDS.items():
            interval_bars(left, agreement[kind], marker=marker, color=colour, label=kind)
        interval_bars(right, clipped, marker="D", color=style.VERMILLION)
        for ax in (left, right):
            step_axis(ax)
        left.set_ylim(0.0, 1.03)
        left.set_ylabel("share, with 95 % interval")
        left.legend(loc="lower right")
        style.panel_label(left, "networks whose neurons all have\nthe exact number of spikes")
        style.panel_label(right, "spikes with 1/du above the\nreleased clip of 8 (all networks)")
    return page.path

"""One recording of N-MNIST as pictures: ON and OFF events by time bin, as recorded and with the camera's motion out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from figures import measured, style
from studies import one_recording
from tsslbp_ref.datasets import bin_events, remove_saccade_motion
from tsslbp_ref.datasets.nmnist import SACCADE_US, SIDE

TITLE = "The camera moves in three saccades and smears the digit;\nwith the motion taken out, the events line up"
BIN_US = SACCADE_US // 2  # two pictures a saccade
N_BINS = 6
ON_COLOUR, OFF_COLOUR, BOTH_COLOUR = style.ORANGE, style.PURPLE, style.BLACK
KINDS = ListedColormap([style.PALE, OFF_COLOUR, ON_COLOUR, BOTH_COLOUR])
COUNTS = "Greys"
CREDIT = "Recording: N-MNIST by Orchard, Jayawant, Cohen and Thakor (2015), CC BY-SA 4.0"
Y_OFF, Y_ON = 0, 1  # channels of bin_events


def measure() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the committed recording, as recorded and stabilised.

    Each as binned events (bin, channel, y, x), 0 or 1, and as the number of events (y, x) over all time.
    """
    events = one_recording.read_table(measured.RESULTS / one_recording.TABLE)
    kinds = {"as recorded": events, "motion taken out": remove_saccade_motion(events)}
    return {name: (bin_events(each, N_BINS, BIN_US), _events_of_pixels(each)) for name, each in kinds.items()}


def _events_of_pixels(events: np.ndarray) -> np.ndarray:
    counts = np.zeros((SIDE, SIDE), dtype=np.int64)
    np.add.at(counts, (events["y"], events["x"]), 1)
    return counts


def _picture(channels: np.ndarray) -> np.ndarray:
    """0 where a pixel is silent, 1 for OFF, 2 for ON, 3 for both."""
    return channels[Y_OFF] + 2 * channels[Y_ON]


def _bare(ax: style.Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    kinds = measure()
    most = max(counts.max() for _, counts in kinds.values())
    with style.page(__file__, out_dir, TITLE, height=3.9) as page:
        table = [(n, f"bin {k}", p, y, x, 1) for n, (s, _) in kinds.items() for k, p, y, x in np.argwhere(s)]
        table += [(n, "all", "", y, x, c[y, x]) for n, (_, c) in kinds.items() for y, x in np.argwhere(c)]
        page.table(("kind", "time", "on", "y", "x", "events"), table)
        axes = page.figure.subplots(2, N_BINS + 1)
        for row, (name, (spikes, counts)) in zip(axes, kinds.items(), strict=True):
            for ax, channels in zip(row[:-1], spikes, strict=True):
                ax.imshow(_picture(channels), cmap=KINDS, vmin=0, vmax=3, interpolation="nearest")
                _bare(ax)
            image = row[-1].imshow(counts, cmap=COUNTS, vmin=0, vmax=most, interpolation="nearest")
            _bare(row[-1])
            row[0].set_ylabel(name.replace(" ", "\n", 1))
        for number, ax in enumerate(axes[0, :-1]):
            ends = (number * BIN_US / 1000, (number + 1) * BIN_US / 1000)
            ax.set_title("{:.0f}-{:.0f} ms".format(*ends), fontsize=style.SMALL)
        axes[0, -1].set_title("all", fontsize=style.SMALL)
        page.figure.colorbar(image, ax=axes, aspect=24, pad=0.01).set_label('events of a pixel (column "all")')
        _legend(page.figure)
    return page.path


def _legend(figure: style.Figure) -> None:
    colours = {"ON: brighter": ON_COLOUR, "OFF: darker": OFF_COLOUR, "both in one bin": BOTH_COLOUR}
    figure.legend(
        handles=[Patch(color=colour, label=label) for label, colour in colours.items()],
        loc="outside lower left",
        ncols=3,
        title=CREDIT,
        alignment="left",
        title_fontsize=style.SMALL,
    )

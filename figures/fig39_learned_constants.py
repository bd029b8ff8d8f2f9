"""Learned time constants: where tau_m and tau_s of the hidden layers go, and accuracy and spikes beside fixed ones."""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from figures import measured, style

TITLE = "Learned time constants move, one to nearly three times its start:\nno more accuracy, fewer spikes"
TABLE = "learned-constants.csv"
KINDS = {"fixed": style.GREY, "learned": style.BLUE}
# Column, label, colour, dashes by layer.
TAUS = (
    ("tau_m_1", "tau_m, layer 1", style.MEMBRANE, "-"),
    ("tau_m_2", "tau_m, layer 2", style.MEMBRANE, "--"),
    ("tau_s_1", "tau_s, layer 1", style.PSC, "-"),
    ("tau_s_2", "tau_s, layer 2", style.PSC, "--"),
)
SPIKES = ("spikes_1", "spikes_2")  # of the hidden layers, in the last epoch
PERCENT = 100.0

Curves = dict[str, np.ndarray]


def measure() -> dict[str, Curves]:
    """By kind of constants, each column as (runs, epochs); hidden spikes a picture in the last epoch as (runs, 1)."""
    with (measured.RESULTS / TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("test_accuracy", "hidden_spikes", *(name for name, *_ in TAUS))
    found: dict[str, dict[str, dict[str, list[float]]]]
    found = {kind: {name: defaultdict(list) for name in names} for kind in KINDS}
    for row in rows:
        of_kind = found["fixed" if row["rule"] == measured.RULE else "learned"]
        for name in names:
            if name in row:
                of_kind[name][row["run"]].append(float(row[name]))
        if all(row[name] for name in SPIKES):
            of_kind["hidden_spikes"][row["run"]].append(sum(float(row[name]) for name in SPIKES))
    return {kind: {name: np.array(list(runs.values())) for name, runs in of.items()} for kind, of in found.items()}


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    curves = measure()
    with style.page(__file__, out_dir, TITLE, height=4.2) as page:
        page.table(
            ("constants", "quantity", "run", "epoch", "value"),
            (
                (kind, name, run, epoch, value)
                for kind, of in curves.items()
                for name, values in of.items()
                if kind == "learned" or name in ("test_accuracy", "hidden_spikes")
                for run, row in enumerate(values)
                for epoch, value in enumerate(row, start=1 + of["test_accuracy"].shape[1] - len(row))
            ),
        )
        left, middle, right = page.figure.subplots(1, 3, width_ratios=(1.25, 1.25, 0.8))
        for name, label, colour, dashes in TAUS:
            _lines(left, curves["learned"][name], colour, label, dashes)
        left.axhline(curves["fixed"]["tau_m_1"][0, 0], color=style.GREY, linewidth=0.8, linestyle=":")
        left.axhline(curves["fixed"]["tau_s_1"][0, 0], color=style.GREY, linewidth=0.8, linestyle=":")
        left.set_ylabel("time constant (steps)")
        left.set_ylim(bottom=1.0)
        left.legend(loc="best")
        style.panel_label(left, "A  where they go")
        for kind, colour in KINDS.items():
            _lines(middle, PERCENT * curves[kind]["test_accuracy"], colour, f"{kind} constants", "-")
        middle.set_ylabel("test accuracy (%)")
        middle.legend(loc="lower right")
        style.panel_label(middle, "B  accuracy")
        for axes in (left, middle):
            axes.set_xlabel("epoch")
        _pairs(right, [curves[kind]["hidden_spikes"][:, 0] for kind in KINDS])
    return page.path


def _pairs(axes: style.Axes, spikes: list[np.ndarray]) -> None:
    """Hidden spikes a picture by kind of constants, a line a seed."""
    axes.plot(range(len(KINDS)), spikes, color=style.GREY, linewidth=0.8, zorder=1)
    for x, (values, colour) in enumerate(zip(spikes, KINDS.values(), strict=True)):
        axes.scatter([x] * len(values), values, color=colour, zorder=2)
    axes.set_xticks(range(len(KINDS)), KINDS)
    axes.set_xlim(-0.4, len(KINDS) - 0.6)
    axes.set_ylim(0.0, 1.1 * max(map(max, spikes)))
    axes.set_ylabel("hidden spikes a test picture")
    style.panel_label(axes, "C  spikes")


def _lines(axes: style.Axes, runs: np.ndarray, colour: str, label: str, dashes: str) -> None:
    """A thin line a run, and a thick one of their mean."""
    epochs = np.arange(1, runs.shape[1] + 1)
    axes.plot(epochs, runs.T, color=colour, linewidth=0.7, alpha=0.5, linestyle=dashes)
    axes.plot(epochs, runs.mean(axis=0), color=colour, linestyle=dashes, label=label)

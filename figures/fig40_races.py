"""Two races on Yin-Yang: what the exact gradient, and what each rule reaches after as many epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from figures import measured, style
from studies import yin_yang_races as study
from studies.ablation import PERCENT, mean_over_seeds
from studies.trained_runs import read_rows

TITLE = "Against the surrogate alone, timing pays in neither race"
TABLE = "yin-yang-races.csv"
LABELS = {
    study.EXACT: "exact gradient",
    study.FINE: "consistent, dt = 0.1",
    "consistent": "consistent, dt = 1",
    "november-2020-no-warmup": "November 2020,\nno warm-up",
    "september-2020-no-warmup": "September 2020,\nno warm-up",
    study.RELEASED: "released",
    "no-intra": "no intra",
    "surrogate": "surrogate alone",
    study.BOTH: "timing + surrogate",
}
COLOURS = {
    study.EXACT: style.BLACK,
    study.FINE: style.GREEN,
    "consistent": style.GREEN,
    "november-2020-no-warmup": style.PURPLE,
    "september-2020-no-warmup": style.SKY_BLUE,
    study.RELEASED: style.BLUE,
    "no-intra": style.BLUE,
    "surrogate": style.ORANGE,
    study.BOTH: style.VERMILLION,
}
HOLLOW = ("consistent", "no-intra")  # a second rule of the same colour
PANELS = (
    (study.PEAK, "accuracy", "highest membrane"),
    (study.VAN_ROSSUM, "accuracy", "one desired spike, read by the first one"),
)
SECONDS = (0.3, 1, 3, 10, 30)
SPREAD = 0.3  # of the seeds of a contender, in rows


def measure() -> tuple[dict[tuple[str, str, str], list[float]], int]:
    """Test accuracies in percent after the last epoch by (race, column, contender), a value a seed; and the epochs."""
    rows = [row for row in read_rows(measured.RESULTS / TABLE, study.COLUMNS) if row["split"] == "test"]
    last = max(int(row["epoch"]) for row in rows)
    values: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        for race, column, _ in PANELS:
            if row["race"] == race and int(row["epoch"]) == last:
                values.setdefault((race, column, row["contender"]), []).append(PERCENT * float(row[column]))
    return values, last


def by_seconds(race: str, contender: str) -> list[tuple[float, float]]:
    """Mean processor seconds and mean test accuracy in percent after each epoch."""
    rows = read_rows(measured.RESULTS / TABLE, study.COLUMNS)
    by_epoch: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if (row["race"], row["contender"], row["split"]) == (race, contender, "test"):
            point = float(row["cpu_seconds"]), PERCENT * float(row["accuracy"])
            by_epoch.setdefault(int(row["epoch"]), []).append(point)
    return [tuple(np.mean(by_epoch[epoch], axis=0)) for epoch in sorted(by_epoch)]


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    values, epochs = measure()
    names = [name for name in LABELS if any(key[2] == name for key in values)]
    with style.page(__file__, out_dir, TITLE, height=7.2) as page:
        rows: list[tuple[object, ...]] = [
            (*key, "seed", seed, value) for key, of_seed in values.items() for seed, value in enumerate(of_seed)
        ]
        panels, below = page.figure.subplots(2, len(PANELS), height_ratios=(1.5, 1.0))
        panels[1].sharey(panels[0])
        for axes, (race, column, _) in zip(below, PANELS, strict=True):
            for name in names:
                points = by_seconds(race, name)
                rows += [(race, column, name, "CPU seconds", *point) for point in points]
                _draw_seconds(axes, points, name)
            axes.set_xscale("log")
            axes.set_xticks(SECONDS, [f"{second:g}" for second in SECONDS])
            axes.minorticks_off()
            axes.grid(axis="y", color=style.PALE, linewidth=0.8)
            axes.set_axisbelow(True)
            axes.set_xlabel("processor time of training (s)")
        below[0].set_ylabel("test accuracy (%)")
        page.table(("race", "reading", "contender", "x", "value of x", "accuracy"), rows)
        for axes, (race, column, title) in zip(panels, PANELS, strict=True):
            for place, name in enumerate(names):
                _draw(axes, place, values.get((race, column, name), []), name)
            style.panel_label(axes, title)
            axes.set_xlabel(f"test accuracy, epoch {epochs} (%)")
            axes.grid(axis="x", color=style.PALE, linewidth=0.8)
            axes.set_axisbelow(True)
        panels[0].set_yticks(range(len(names)), [LABELS[name] for name in names])
        panels[1].tick_params(labelleft=False)
        panels[0].invert_yaxis()
    return page.path


def _draw_seconds(axes: style.Axes, points: list[tuple[float, float]], name: str) -> None:
    """A contender's way from epoch to epoch."""
    face = "white" if name in HOLLOW else COLOURS[name]
    line: dict[str, Any] = {"color": COLOURS[name], "markerfacecolor": face, "markersize": 5.0, "linewidth": 1.2}
    axes.plot(*zip(*points, strict=True), "-o", **line)


def _draw(axes: style.Axes, place: int, of_seed: list[float], name: str) -> None:
    """The seeds of one contender; below them mean and 95 % interval."""
    if not of_seed:
        return
    rows = place - 0.15 + SPREAD * (np.linspace(-0.5, 0.5, len(of_seed)) if len(of_seed) > 1 else np.zeros(1))
    face = "white" if name in HOLLOW else COLOURS[name]
    axes.plot(of_seed, rows, "o", color=COLOURS[name], markerfacecolor=face, markersize=4.0)
    mean = mean_over_seeds(of_seed)
    if len(of_seed) > 1:
        error = [[mean.mean - mean.low], [mean.high - mean.mean]]
        axes.errorbar(mean.mean, place + 0.28, xerr=error, fmt="|", color=style.BLACK, elinewidth=1.3, markersize=8)

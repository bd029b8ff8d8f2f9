"""Four states of the authors' code: how near each rule is to the exact gradient, and how well each state trains."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from matplotlib.lines import Line2D

from figures import measured, style
from figures.fig10_gradient_alignment import read_summary
from studies import ablation
from studies import states_training as training
from tsslbp_ref.training.experiments import EXPERIMENTS, STATES

TITLE = (
    "June and September 2020 came nearest to the exact gradient;\n"
    "on pictures the four lie 0.1 points apart at most after 40 epochs"
)
EXPERIMENT = "fashion-mnist-400-400"
TABLE = measured.RESULTS / "states-training.csv"
CURVES = measured.RESULTS / training.CURVES.name
STEP = "1"  # ms; the networks of the right panel have steps, too
CLIPS = {state: "8" if state == "released" else "10" for state in STATES}
WARM = "with its warm-up"
COLD = "chain rule alone"
COLOURS = dict(zip(STATES, (style.SKY_BLUE, style.GREEN, style.VERMILLION, style.BLUE), strict=True))
ASIDE = 0.16  # of the two columns of a state
SEED_SPREAD = 0.04
LABELS = {"best": "best epoch", "last": "last epoch"}

Row = tuple[str, str, str, str, float]


def alignment() -> list[Row]:
    """(state, panel, what, statistic, cosine) at the study's coarsest step."""
    rows = []
    for state in STATES:
        cold = "no-warmup" if state == "released" else f"{state}-no-warmup"
        for what, rule in ((WARM, state), (COLD, cold)):
            (row,) = [
                row
                for row in read_summary("cosine")
                if (row["rule"], row["clip"], row["dt"]) == (rule, CLIPS[state], STEP)
            ]
            rows += [(state, "cosine", what, key, float(row[key])) for key in ("value", "low", "high")]
    return rows


def accuracies() -> tuple[list[Row], int]:
    """(state, panel, measure, seed or statistic, percent) of every state at its own settings, and the epochs."""
    with TABLE.with_name(f"{TABLE.stem}-summary.csv").open(newline="") as file:
        epochs = int(next(csv.DictReader(file))["epochs"])
    every = training.cut(training.read_runs(TABLE, CURVES), epochs)
    runs = [run for run in every if run.experiment == EXPERIMENT and not run.validation]  # on all training pictures
    rows: list[Row] = []
    for state in STATES:
        for measure in LABELS:
            of_seed = {run.name: run.measure(measure) for run in runs if run.rule == run.settings == state}
            if of_seed:
                mean = ablation.mean_over_seeds(list(of_seed.values()))
                drawn = of_seed | {"value": mean.mean, "low": mean.low, "high": mean.high}
                rows += [(state, "accuracy", measure, k, v) for k, v in drawn.items() if not math.isnan(v)]
    return rows, epochs


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    cosines, (accuracy, epochs) = alignment(), accuracies()
    with style.page(__file__, out_dir, TITLE, height=5.0) as page:
        page.table(("state", "panel", "what", "seed_or_statistic", "value"), cosines + accuracy)
        left, right = page.figure.subplots(1, 2)
        _draw(left, cosines, (WARM, COLD))
        left.axhline(0.0, color=style.GREY, linewidth=0.8)
        left.set_ylabel("cosine with the exact gradient")
        style.panel_label(left, "200 random networks, steps of 1 ms")
        _draw(right, accuracy, ("best", "last"))
        row = EXPERIMENTS[EXPERIMENT]
        assert row.paper.mean is not None
        right.axhline(row.paper.mean, color=style.BLACK, linestyle=(0, (5, 3)), linewidth=1.2)
        right.annotate(
            f"paper, best of {row.epochs}: {row.paper.mean:.2f}", (0.99, row.paper.mean),
            xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points", fontsize=style.SMALL,
            horizontalalignment="right",
        )  # fmt: skip
        right.set_ylabel("test accuracy (%)")
        style.panel_label(right, f"Fashion-MNIST 400-400, {epochs} epochs")
        handles = [
            Line2D([], [], marker="o", linestyle="", color=style.GREY, markerfacecolor=face, label=label)
            for face, label in (
                (style.GREY, f"left: {WARM}; right: best epoch"),
                ("white", f"left: {COLD}; right: last epoch"),
            )
        ]
        page.figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return page.path


def _draw(axes: style.Axes, rows: list[Row], whats: tuple[str, str]) -> None:
    """Two columns a state, filled and hollow: its seeds if there are any, mean and 95 % interval."""
    for index, state in enumerate(STATES):
        for side, what in zip((-ASIDE, ASIDE), whats, strict=True):
            values = {key: value for of, _, which, key, value in rows if (of, which) == (state, what)}
            if not values:
                continue
            face = COLOURS[state] if side < 0 else "white"
            seeds = [value for key, value in values.items() if key.startswith("seed")]
            x = [index + side + SEED_SPREAD * (n - (len(seeds) - 1) / 2) for n in range(len(seeds))]
            axes.plot(x, seeds, "o", color=COLOURS[state], markerfacecolor=face, markersize=4.5)
            if "low" in values:
                error = [[values["value"] - values["low"]], [values["high"] - values["value"]]]
                marker, colour = ("_", style.BLACK) if seeds else ("o", COLOURS[state])
                axes.errorbar(
                    index + side, values["value"], yerr=error, fmt=marker, color=colour, markerfacecolor=face,
                    markersize=9, elinewidth=1.2,
                )  # fmt: skip
    axes.set_xticks(range(len(STATES)), [state.replace("-", "\n") for state in STATES])
    axes.set_xlim(-0.5, len(STATES) - 0.5)

"""The ablation: test accuracy by rule, a point a seed; from the committed table of all epochs."""

from __future__ import annotations

import math
from pathlib import Path

from figures import measured, style
from figures.fig10_gradient_alignment import COLOURS, MARKERS
from studies import ablation
from tsslbp_ref.training.experiments import EXPERIMENTS

TITLE = (
    "Without the warm-up, with the literal sign and by the consistent rule\n"
    "training fails; the rules that train are within a point of each other"
)
TABLE = measured.RESULTS / "ablation.csv"
EXPERIMENT = "fashion-mnist-400-400"
ORDER = ("released", "no-intra", "surrogate", "no-warmup", "consistent", "literal")
TRAINS = 50.0  # percent; a rule whose mean is above this is in the zoom
CHANCE = 10.0  # percent, ten classes
ASIDE = {"best": -0.17, "final": 0.17}  # of the two measures' columns
SEED_SPREAD = 0.05
LABELS = {"best": "best epoch of a seed", "final": "its final epoch"}

Values = dict[tuple[str, str], dict[str, float]]


def measure(table: Path) -> tuple[Values, int]:
    """Accuracy in percent by (rule, measure) and seed, of the finished runs; and their number of epochs."""
    runs = [run for run in ablation.finished_runs(ablation.read_runs(table)) if run.experiment == EXPERIMENT]
    values: Values = {}
    for rule in ORDER:
        for name in ablation.MEASURES:
            of_rule = {run.name: run.measure(name) for run in runs if run.rule == rule}
            if of_rule:
                values[rule, name] = of_rule
    return values, len(runs[0].accuracy)


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    values, n_epochs = measure(TABLE)
    rules = [rule for rule in ORDER if (rule, "best") in values]
    train = [rule for rule in rules if ablation.mean_over_seeds(list(values[rule, "best"].values())).mean > TRAINS]
    with style.page(__file__, out_dir, TITLE, height=5.2) as page:
        page.table(("rule", "measure", "what", "accuracy"), _rows(values))
        left, right = page.figure.subplots(1, 2, width_ratios=(1.25, 1.0))
        _draw_rules(left, values, rules, ("best",))
        left.axhline(CHANCE, color=style.GREY, linewidth=0.9, linestyle=":")
        left.text(-0.45, CHANCE - 1.5, "chance", fontsize=style.SMALL, color=style.GREY, va="top")
        left.set_ylim(0.0, 100.0)
        left.set_ylabel("test accuracy (%)")
        left.tick_params(axis="x", rotation=30)
        style.panel_label(left, f"best of {n_epochs} epochs, a point a seed")
        _draw_rules(right, values, train, ablation.MEASURES)
        _draw_paper(right)
        style.panel_label(right, "zoom; bars: mean and 95 % interval")
        handles, _ = right.get_legend_handles_labels()
        page.figure.legend(handles[:2], LABELS.values(), loc="outside lower right", ncols=2)
    return page.path


def _rows(values: Values) -> list[tuple[str, str, str, float]]:
    """All seeds, and their mean and interval where there is one."""
    rows = []
    for (rule, name), of_seed in values.items():
        mean = ablation.mean_over_seeds(list(of_seed.values()))
        drawn = of_seed | {"mean": mean.mean, "low": mean.low, "high": mean.high}
        rows += [(rule, name, what, value) for what, value in drawn.items() if not math.isnan(value)]
    return rows


def _draw_rules(axes: style.Axes, values: Values, rules: list[str], measures: tuple[str, ...]) -> None:
    """A column a rule and measure: its seeds, and beside them mean and interval."""
    for index, rule in enumerate(rules):
        for name in measures:
            x = index + (ASIDE[name] if len(measures) > 1 else 0.0)
            of_seed = list(values[rule, name].values())
            seeds_x = [x + SEED_SPREAD * (number - (len(of_seed) - 1) / 2) for number in range(len(of_seed))]
            face = COLOURS[rule] if name == "best" else "white"
            axes.plot(
                seeds_x, of_seed, MARKERS[rule], color=COLOURS[rule], markerfacecolor=face, label=name, markersize=4.5
            )
            mean = ablation.mean_over_seeds(of_seed)
            if not math.isnan(mean.low):
                error = [[mean.mean - mean.low], [mean.high - mean.mean]]
                axes.errorbar(x, mean.mean, yerr=error, fmt="_", color=style.BLACK, elinewidth=1.1, markersize=11)
    axes.set_xticks(range(len(rules)), rules)
    axes.set_xlim(-0.5, len(rules) - 0.5)


def _draw_paper(axes: style.Axes) -> None:
    paper, epochs = EXPERIMENTS[EXPERIMENT].paper, EXPERIMENTS[EXPERIMENT].epochs
    if paper.mean is None:
        return
    axes.axhline(paper.mean, color=style.BLACK, linestyle=(0, (5, 3)), linewidth=1.4)
    remark = f"paper, best of {epochs} epochs: {paper.mean:.2f} %"
    axes.annotate(
        remark, (0.99, paper.mean), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
        ha="right", fontsize=style.SMALL,
    )  # fmt: skip

"""What the intra-neuron term and each of its halves gain or cost, by number of time steps, on two tasks."""

from __future__ import annotations

from pathlib import Path

from figures import measured, style
from studies.depth_and_steps import COLUMNS, SUMMARY, WITHOUT
from studies.trained_runs import read_rows

TITLE = "In 20 time steps the intra-neuron term costs accuracy, most by its leak;\nin 5 no gain is told from 0"
PANELS = {  # table, label of the axis, sign that makes better higher
    "Fashion-MNIST 400-400, {epochs} epochs": ("intra-steps-summary.csv", "accuracy above that without (points)", 1.0),
    "embedded raster": ("raster-steps-summary.csv", "right entries above those without (points)", -1.0),
}
RUNS = "intra-steps.csv"
RULES = {
    "released": ("whole term (released rule)", style.BLUE, "o"),
    "leak-alone": ("leak alone", style.ORANGE, "^"),
    "reset-alone": ("reset alone", style.GREEN, "s"),
}
ASIDE = 1.06  # factor between the rules of one T, so that their intervals do not overlap

Row = tuple[str, str, int, float, float, float]


def gains() -> list[Row]:
    """(task, rule, T, gain, low, high) in percentage points: better than without the term is positive."""
    rows = []
    for task, (table, _, sign) in PANELS.items():
        for row in read_rows(measured.RESULTS / table, SUMMARY):
            rule, minus, _ = row["quantity"].partition(f" minus {WITHOUT}")
            if minus and row["measure"] != "last":
                low, high = sorted(sign * float(row[name]) for name in ("low", "high"))
                rows.append((task, rule, int(row["steps"]), sign * float(row["mean"]), low, high))
    return rows


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    rows = gains()
    epochs = max(int(row["epoch"]) for row in read_rows(measured.RESULTS / RUNS, COLUMNS))
    with style.page(__file__, out_dir, TITLE, height=4.6) as page:
        page.table(
            ("task", "rule", "steps", "gain", "low", "high"), ((row[0].format(epochs=epochs), *row[1:]) for row in rows)
        )
        for axes, (task, (_, label, _)) in zip(page.figure.subplots(1, 2), PANELS.items(), strict=True):
            for number, (rule, (name, colour, marker)) in enumerate(RULES.items()):
                of_rule = [row for row in rows if row[:2] == (task, rule)]
                x = [row[2] * ASIDE ** (number - 1) for row in of_rule]
                mean = [row[3] for row in of_rule]
                error = [[row[3] - row[4] for row in of_rule], [row[5] - row[3] for row in of_rule]]
                axes.errorbar(x, mean, yerr=error, color=colour, marker=marker, capsize=3, label=name)
            axes.axhline(0.0, color=style.GREY, linewidth=0.8)
            axes.set_xscale("log")
            steps = sorted({row[2] for row in rows if row[0] == task})
            axes.set_xticks(steps, [str(T) for T in steps])
            axes.minorticks_off()
            axes.set_xlabel("time steps T")
            axes.set_ylabel(label)
            style.panel_label(axes, task.format(epochs=epochs))
        handles, labels = axes.get_legend_handles_labels()
        page.figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return page.path

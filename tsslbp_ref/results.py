"""What the runs reached, beside the paper's numbers."""

from __future__ import annotations

import csv
import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsslbp_ref.experiments import EXPERIMENTS, PaperAccuracy
from tsslbp_ref.runs import CONFIG, read_metrics

PERCENT = 100.0


@dataclass(frozen=True)
class Summary:
    """All seeds of one experiment under one rule; accuracies in percent of the test set.

    `best` is a run's best epoch, the paper's measure; `final` its last epoch.
    """

    experiment: str
    variant: str
    best: list[float]
    final: list[float]
    epochs: list[int]
    paper: PaperAccuracy | None


def run_folders(runs: Path) -> list[Path]:
    """Every run folder below `runs`, sorted.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    folders = sorted(path.parent for path in runs.glob(f"**/{CONFIG}"))
    if not folders:
        raise FileNotFoundError(f"no runs below {runs}")
    return folders


def collect(runs: Path) -> list[Summary]:
    """Summarise all runs below a folder, by experiment and rule; a run without a finished epoch is left out."""
    groups: dict[tuple[str, str], list[list[dict[str, Any]]]] = {}
    for folder in run_folders(runs):
        title = json.loads((folder / CONFIG).read_text())["title"]
        rows = read_metrics(folder)
        if rows:
            groups.setdefault((title, folder.parent.name), []).append(rows)
    return [_summary(title, variant, group) for (title, variant), group in sorted(groups.items())]


def _summary(title: str, variant: str, group: list[list[dict[str, Any]]]) -> Summary:
    return Summary(
        title,
        variant,
        best=[PERCENT * max(row["test_accuracy"] for row in rows) for rows in group],
        final=[PERCENT * rows[-1]["test_accuracy"] for rows in group],
        epochs=[len(rows) for rows in group],
        paper=EXPERIMENTS[title].paper if title in EXPERIMENTS else None,
    )


def as_text(table: list[Summary]) -> str:
    """An aligned table: mean +- std over seeds of the best epoch, the best run, the final epoch, and the paper's."""
    head = ("experiment", "rule", "seeds", "epochs", "best epoch", "best run", "final epoch", "paper")
    rows = [head]
    for summary in table:
        shortest, longest = min(summary.epochs), max(summary.epochs)
        rows.append(
            (
                summary.experiment,
                summary.variant,
                str(len(summary.best)),
                str(longest) if shortest == longest else f"{shortest}-{longest}",
                _mean_std(summary.best),
                f"{max(summary.best):.2f}",
                _mean_std(summary.final),
                _paper(summary.paper),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _mean_std(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{statistics.mean(values):.2f} +- {statistics.stdev(values):.2f}"


def _paper(paper: PaperAccuracy | None) -> str:
    if paper is None:
        return "-"
    if paper.mean is None:
        return f"best {paper.best:.2f}"
    return f"{paper.mean:.2f} +- {paper.std:.2f}, best {paper.best:.2f}"


def write_csv(runs: Path, path: Path) -> None:
    """Write every epoch of every run as one line: experiment, rule, seed folder, then the metrics.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    lines = []
    for folder in run_folders(runs):
        title = json.loads((folder / CONFIG).read_text())["title"]
        for row in read_metrics(folder):
            lines.append({"experiment": title, "rule": folder.parent.name, "run": folder.name, **row})
    if not lines:
        raise ValueError(f"no finished epoch below {runs}")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)

"""What the runs reached, beside the paper's numbers."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsslbp_ref.checkpoints import CheckpointError, write_atomically
from tsslbp_ref.experiments import EXPERIMENTS, PaperAccuracy
from tsslbp_ref.parameters import named_rules
from tsslbp_ref.runs import CONFIG, METRIC_NAMES, read_config, read_metrics

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


def variant_of(config: dict[str, Any], folder: Path) -> str:
    """The name of a run's rule, and of its loss where that is not the experiment's, read from its settings.

    A rule that has no name goes by the folder that its seeds are in.
    """
    found = config["rule"]
    named = (
        name for name, rule in named_rules().items() if found == {key: str(getattr(rule, key, "")) for key in found}
    )
    rule = next(named, folder.parent.name)
    row, loss = EXPERIMENTS.get(config["title"]), config["settings"]["loss"]
    return rule if row is not None and row.loss == loss else f"{rule}-{loss}"


def _runs(runs: Path) -> Iterator[tuple[Path, str, str, list[dict[str, Any]]]]:
    """Folder, experiment, variant and epochs of every run below a folder; one without a finished epoch is left out."""
    for folder in run_folders(runs):
        config = read_config(folder)
        try:
            title, variant = str(config["title"]), variant_of(config, folder)
        except (KeyError, TypeError) as error:
            reason = f"{type(error).__name__} {error}"
            raise CheckpointError(f"{folder / CONFIG} holds no settings of a run: {reason}") from error
        rows = read_metrics(folder)
        if rows:
            yield folder, title, variant, rows


def collect(runs: Path) -> list[Summary]:
    """Summarise all runs below a folder, by experiment and rule; a run without a finished epoch is left out.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no run, or none with a finished epoch, or a file of a run cannot be read.
    """
    groups: dict[tuple[str, str], list[list[dict[str, Any]]]] = {}
    for _, title, variant, rows in _runs(runs):
        groups.setdefault((title, variant), []).append(rows)
    if not groups:
        raise ValueError(f"no finished epoch below {runs}")
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
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


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
    ValueError
        If there is no finished epoch.
    OSError
        If the file cannot be written; what was there stays.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("experiment", "rule", "run", *METRIC_NAMES))
    n_epochs = 0
    for folder, title, variant, rows in _runs(runs):
        writer.writerows((title, variant, folder.name, *(row[name] for name in METRIC_NAMES)) for row in rows)
        n_epochs += len(rows)
    if not n_epochs:
        raise ValueError(f"no finished epoch below {runs}")
    write_atomically(path, text.getvalue().encode())

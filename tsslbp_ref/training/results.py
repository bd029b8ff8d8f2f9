"""What the runs reached, beside the paper's numbers."""

from __future__ import annotations

import csv
import io
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tsslbp_ref.checks import printable, shown
from tsslbp_ref.datasets import yin_yang
from tsslbp_ref.files import CheckpointError, write_atomically
from tsslbp_ref.training import descriptions
from tsslbp_ref.training.differing_constants import Constants, constants_of, differing
from tsslbp_ref.training.exact_training import LOSS, YIN_YANG
from tsslbp_ref.training.experiments import EXPERIMENTS, RELEASED, STATES, PaperAccuracy, experiment
from tsslbp_ref.training.run_files import (
    CONFIG,
    METRIC_NAMES,
    RUN_FILES,
    TEST,
    VALIDATION,
    is_count,
    is_finite_number,
    is_there,
    read_config,
    read_metrics,
)

PERCENT = 100.0
FULL_SIZES = {  # training and test samples
    "mnist": (60_000, 10_000),
    "fashion-mnist": (60_000, 10_000),
    "n-mnist": (60_000, 10_000),
    "cifar-10": (50_000, 10_000),
}
EXACT_SIZES = {YIN_YANG: tuple(yin_yang.SPLITS[split][0] for split in ("train", "test"))}


@dataclass(frozen=True)
class Summary:
    """All seeds of one experiment under one rule and the same constants, on the same part of the data.

    Accuracies are in percent of the test set.

    `best` is a run's best epoch, the paper's measure; `final` its last epoch; `chosen` the first epoch that is best on
    the training samples which were held out, empty where none were; `curves` has every epoch of every run.
    `part` is the number of training and test samples where that is not the whole data set; `constants` are those in
    which runs of this experiment differ.
    """

    experiment: str
    variant: str
    best: list[float]
    final: list[float]
    epochs: list[int]
    paper: PaperAccuracy | None
    part: tuple[int, int] | None = None
    curves: list[list[float]] = field(default_factory=list)
    chosen: list[float] = field(default_factory=list)
    constants: str = ""


@dataclass(frozen=True)
class _Group:
    """What the runs of one line of the table have in common."""

    experiment: str
    variant: str
    part: tuple[int, int] | None
    n_validation: int = 0
    constants: str = ""


_Read = tuple[Path, _Group, list[dict[str, Any]]]  # a run: its folder, its group and its epochs


def run_folders(runs: Path) -> list[Path]:
    """Every folder below `runs` that holds a file of a run, whatever is in the file's place, sorted.

    A link to a run's folder is followed, a link to a folder of runs is not; a folder that is met twice counts once.

    Raises
    ------
    FileNotFoundError
        If there is none.
    OSError
        If `runs` is no folder, or a folder below it cannot be read.
    """

    def unreadable(error: OSError) -> None:
        raise OSError(error.errno, f"cannot read the folder {error.filename}: {error.strerror}") from error

    places: list[str] = []
    for folder, inner, _ in os.walk(runs, onerror=unreadable):
        places += [folder, *filter(os.path.islink, (os.path.join(folder, name) for name in inner))]
    held = [Path(place) for place in places if any(is_there(Path(place, name)) for name in RUN_FILES)]
    folders = {os.path.realpath(folder): folder for folder in sorted(held, reverse=True)}
    if not folders:
        raise FileNotFoundError(f"no runs below {runs}")
    return sorted(folders.values())


def variant_of(config: dict[str, Any], folder: Path) -> str:
    """The name of a run's rule, its loss where that is not the experiment's, "-at-STATE", and "-constants-RATE" where
    constants are learned, read from its settings.

    A rule that has no name goes by what the run calls it, as "released-warmup_gate-0.5", or, in a run that says
    nothing, by the folder that its seeds are in. The released state is left out, and the loss of a user's own
    experiment, which is a constant like others.
    """
    own = config.get(descriptions.TABLES)
    rule = descriptions.rule_name(config)
    if rule is None:
        rule = folder.parent.name if own is None else descriptions.rule_label(own["rule"])
    title, state, loss = config["title"], state_of(config), config["settings"]["loss"]
    if not isinstance(loss, str):
        raise TypeError(f"settings.loss must be text, got {type(loss).__name__}")
    usual = LOSS if title == YIN_YANG else experiment(title, state).loss if title in EXPERIMENTS else None
    is_own = own is not None and title not in EXPERIMENTS
    variant = rule if loss == usual or is_own else f"{rule}-{loss}"
    variant = variant if state == RELEASED else f"{variant}-at-{state}"
    rate = config["settings"].get(descriptions.CONSTANTS_RATE)
    if rate is None:
        return variant
    if not is_finite_number(rate):
        raise TypeError(f"settings.{descriptions.CONSTANTS_RATE} must be a number, got {shown(rate)}")
    return f"{variant}-constants-{rate:g}"


def state_of(config: dict[str, Any]) -> str:
    """The state of the authors' code whose settings a run has; the first runs, all released, did not note it."""
    state = config.get("state", RELEASED)
    if state not in tuple(STATES):
        raise TypeError(f"state must be one of {', '.join(STATES)}, got {shown(state)}")
    return state


def part_of(config: dict[str, Any]) -> tuple[int, int] | None:
    """How many training and test samples a run has used; None for the whole data set, and where it is not noted.

    The first runs, all of them on whole data sets, did not note it.
    """
    if "task" not in config:
        return None
    n_train, n_test = config["task"]["n_train"], config["task"]["n_test"]
    if not (is_count(n_train) and is_count(n_test) and n_train and n_test):
        raise TypeError("task must hold two numbers of samples")
    row = EXPERIMENTS.get(config["title"])
    full = EXACT_SIZES.get(config["title"]) if row is None else FULL_SIZES[row.dataset]
    return None if full == (n_train, n_test) else (n_train, n_test)


def validation_of(config: dict[str, Any]) -> int:
    """How many training samples a run has held out."""
    n_validation = config.get("task", {}).get("n_validation", 0)
    if not is_count(n_validation):
        raise TypeError("task.n_validation must be a number of samples")
    return n_validation


def _runs(runs: Path, left_out: Callable[[str], None] = lambda line: None) -> list[_Read]:
    """Every run below a folder that has a finished epoch; `left_out` is told of the others, a line each."""
    found, constants = [], []
    for folder in run_folders(runs):
        if not is_there(folder / CONFIG):
            left_out(f"{folder} is left out: it has no {CONFIG}")
            continue
        group, own = _group(folder)
        rows = read_metrics(folder)
        if rows:
            found.append((folder, group, rows))
            constants.append(own)
        else:
            left_out(f"{folder} is left out: it has no finished epoch")
    told = differing([group.experiment for _, group, _ in found], constants)
    return [
        (folder, replace(group, constants=own), rows) for (folder, group, rows), own in zip(found, told, strict=True)
    ]


def _group(folder: Path) -> tuple[_Group, Constants]:
    """The line of the table that a run belongs to, and its constants, read from its settings."""
    config = read_config(folder)
    try:
        title = config["title"]
        if not isinstance(title, str):
            raise TypeError(f"title must be text, got {type(title).__name__}")
        # The names go to a terminal and into a CSV file.
        variant = printable(variant_of(config, folder))
        group = _Group(printable(title), variant, part_of(config), validation_of(config))
        return group, constants_of(config, rule_is_named=descriptions.rule_name(config) is not None)
    except (KeyError, TypeError) as error:
        reason = f"{type(error).__name__} {error}"
        raise CheckpointError(f"{folder / CONFIG} holds no settings of a run: {reason}") from error


def collect(runs: Path, left_out: Callable[[str], None] = lambda line: None) -> list[Summary]:
    """Summarise all runs below a folder, by experiment, rule and part of the data.

    Parameters
    ----------
    runs : Path
    left_out : callable
        Told, in a line, of every run that is left out, since it has no config.json or no finished epoch.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        If there is no run, or none with a finished epoch, or a file of a run cannot be read or is damaged.
    """
    groups: dict[_Group, list[list[dict[str, Any]]]] = {}
    for _, group, rows in _runs(runs, left_out):
        groups.setdefault(group, []).append(rows)
    if not groups:
        raise ValueError(f"no finished epoch below {runs}")
    return [_summary(group, groups[group]) for group in sorted(groups, key=_place)]


def _place(group: _Group) -> tuple[str, str, tuple[int, ...], int, str]:
    """Where a group stands in the table: by name, the whole data set before parts of it."""
    return group.experiment, group.variant, group.part or (), group.n_validation, group.constants


def _summary(group: _Group, runs: list[list[dict[str, Any]]]) -> Summary:
    curves = [[PERCENT * row[TEST] for row in rows] for rows in runs]
    return Summary(
        group.experiment,
        group.variant,
        best=[max(curve) for curve in curves],
        final=[curve[-1] for curve in curves],
        epochs=[len(curve) for curve in curves],
        paper=EXPERIMENTS[group.experiment].paper if group.experiment in EXPERIMENTS else None,
        part=group.part,
        curves=curves,
        chosen=[PERCENT * chosen_epoch(rows)[TEST] for rows in runs if VALIDATION in rows[0]],
        constants=group.constants,
    )


def chosen_epoch(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The epoch of a run that its held-out samples choose: the first of those with the largest accuracy on them."""
    return max(rows, key=lambda row: row[VALIDATION])


def as_text(table: list[Summary]) -> str:
    """An aligned table: mean +- std over seeds of the test accuracy, the best run, and the paper's.

    Three accuracies: of the best epoch on the test set, which is the paper's protocol and flatters; of the last epoch;
    and of the epoch that held-out training samples chose, where there are any.
    Runs on a part of the data are marked by its size, which the paper's number is not of: a column that is there only
    if there is such a run. So is the last column, of the constants in which runs of an experiment differ.
    """
    parts, differ = any(summary.part for summary in table), any(summary.constants for summary in table)
    size, constants = ("train/test samples",) if parts else (), ("constants",) if differ else ()
    accuracies = ("best epoch", "best run", "last epoch", "held-out choice")
    head = ("experiment", "rule", *size, "seeds", "epochs", *accuracies, "paper", *constants)
    rows = [head]
    for summary in table:
        shortest, longest = min(summary.epochs), max(summary.epochs)
        rows.append(
            (
                summary.experiment,
                summary.variant,
                *((samples(summary.part),) if parts else ()),
                str(len(summary.best)),
                str(longest) if shortest == longest else f"{shortest}-{longest}",
                _mean_std(summary.best),
                f"{max(summary.best):.2f}",
                _mean_std(summary.final),
                _mean_std(summary.chosen) if summary.chosen else "-",
                _paper(summary.paper),
                *((summary.constants,) if differ else ()),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def samples(part: tuple[int, int] | None) -> str:
    """The size of the part of the data that runs have used, or "all"."""
    return "all" if part is None else f"{part[0]}/{part[1]}"


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

    Accuracies on held-out samples, and the constants in which runs of an experiment differ, are columns more, which are
    there if a run has any.

    Raises
    ------
    ValueError
        If there is no finished epoch.
    OSError
        If the file cannot be written; what was there stays.
    """
    found = _runs(runs)
    if not found:
        raise ValueError(f"no finished epoch below {runs}")
    names = METRIC_NAMES + ((VALIDATION,) if any(group.n_validation for _, group, _ in found) else ())
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    differ = any(group.constants for _, group, _ in found)
    writer.writerow(("experiment", "rule", "run", *names, *(("constants",) if differ else ())))
    for folder, group, rows in found:
        run = (group.experiment, group.variant, folder.name)
        last = (group.constants,) if differ else ()
        writer.writerows((*run, *(row.get(name, "") for name in names), *last) for row in rows)
    write_atomically(path, text.getvalue().encode())

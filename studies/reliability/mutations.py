"""Change one place of the package at a time and ask the tests, and the check table alone, whether they see it.

Every mutant of the terms, the literal loops and the losses; a sample of those of the layers, the optimiser and
continuous time; a smaller one of the engine. Nothing is compiled (NUMBA_DISABLE_JIT=1). `surroundings` has what looks
at a mutant: the rows of the check table, and the tests that belong to the file, which call the changed function. The
survivors of both were looked at: survivors.csv has those that compute the same, each with the reason.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from studies.reliability import record
from studies.reliability.mutants import Mutant, mutants
from studies.reliability.surroundings import PACKAGE, Surroundings, preload
from studies.trained_runs import read_rows, write_rows

DEFAULT_OUT = Path("results/reliability-mutations.csv")
SURVIVORS = Path(__file__).with_name("survivors.csv")
SAME = ("file", "function", "operator", "old", "new")  # what a listed survivor is known by, wherever its line is
MUTANT_HEADER = ("file", "position", "variant", "line", "function", "operator", "old", "new")
KEY = ("group", *MUTANT_HEADER)
HEADER = (*KEY, "rejected_by_row", "failed_test", "cpu_s")
LITERAL = ("test_twins", "test_golden")
MODEL = {  # files of the package, and their own tests
    "model/terms.py": (*LITERAL, "test_srm", "test_optim", "test_constants", "test_extremes"),
    "model/reference.py": (*LITERAL, "test_constants", "test_timing_plus_surrogate"),
    "model/reference_layers.py": (*LITERAL, "test_bad_layers"),
    "model/reference_losses.py": ("test_reference_losses", "test_losses"),
    "model/reference_network.py": (*LITERAL, "test_bad_layers"),
    "model/losses.py": (*LITERAL, "test_losses", "test_bad_input", "test_bad_network", "test_extremes"),
}
EXACT_FILES = (
    "arguments", "batch", "closed_forms", "discrete", "kernels", "loss_kernels", "losses", "simulation", "sweeps",
)  # fmt: skip
LAYERS = {
    "model/layers.py": (*LITERAL, "test_bad_layers", "test_spec", "test_network"),
    "model/layer_arguments.py": ("test_bad_layers",),
    "model/optim.py": ("test_optim", "test_bad_input"),
    **{
        f"exact/{name}.py": (
            *("test_exact", "test_exact_crossings", "test_exact_arguments", "test_exact_batch", "test_exact_constants"),
        )
        for name in EXACT_FILES
    },
}
ENGINE_FILES = ("batch", "convolution", "dense", "events", "inputs", "maps", "pooled", "spike_patterns", "winograd")
ENGINE_TESTS = ("test_twins", "test_engine", "test_events", "test_spike_patterns")
ENGINE = {f"engine/{name}.py": ENGINE_TESTS for name in ENGINE_FILES}
GROUPS: dict[str, tuple[dict[str, tuple[str, ...]], int | None]] = {  # files with tests; how many are drawn, None: all
    "terms, reference, losses": (MODEL, None),
    "layers, optimiser, exact": (LAYERS, 200),
    "engine": (ENGINE, 100),
}


def drawn(
    seed: int, groups: Sequence[str] = tuple(GROUPS), files: Sequence[str] | None = None
) -> list[tuple[str, Mutant]]:
    """The mutants of the groups, or of some of their files, with their group: all or a sample, in the text's order."""
    found = []
    for number, (group, (tests, quota)) in enumerate(GROUPS.items()):
        every = [mutant for file in tests for mutant in mutants(file, (PACKAGE / file).read_text())]
        order = np.random.default_rng([seed, number]).permutation(len(every))
        found += [(group, every[i]) for i in sorted(order[:quota]) if group in groups]
    return [(group, mutant) for group, mutant in found if files is None or mutant.file in files]


def measure(
    out: Path,
    *,
    seed: int,
    groups: Sequence[str],
    resume: bool,
    files: Sequence[str] | None = None,
    patterns: Sequence[str] | None = None,
    budget_s: float = math.inf,
    survivors_only: bool = False,
) -> list[dict[str, str]]:
    """Write the table, a row a mutant, and return it.

    A mutant that quick rows and tests have not seen, within `budget_s`, may be shown to more of them later: with
    `survivors_only` the survivors of the table are asked again. `files` are the files that are changed, `patterns` the
    rows of the check table that are asked; all if not given.

    Raises
    ------
    ValueError
        If Numba would compile, the table there is another one, or a pattern is no row's.
    RuntimeError
        If a row of the check table fails without a mutant.
    """
    if os.environ.get("NUMBA_DISABLE_JIT") != "1":
        raise ValueError("mutants are not compiled: set NUMBA_DISABLE_JIT=1")
    preload()
    chosen = {(group, *map(str, astuple(mutant))): mutant for group, mutant in drawn(seed, groups, files)}
    table = {_key(row): row for row in read_rows(out, HEADER)} if resume and out.exists() else {}
    if not survivors_only:
        table = {key: row for key, row in table.items() if key in chosen or not _is_of(row, groups, files)}
    again = {_key(row) for row in survivors(table.values())}
    left = [(key, one) for key, one in chosen.items() if (key in again if survivors_only else key not in table)]
    own = {mutant.file: GROUPS[key[0]][0][mutant.file] for key, mutant in left}
    around = Surroundings(own, engine="engine" in groups, rows=patterns, budget_s=budget_s) if left else None
    for key, mutant in left:
        assert around is not None
        seen = around.look(mutant)
        values = (*key, seen.row, seen.test, f"{seen.cpu_s:.2f}")
        table[key] = dict(zip(HEADER, values, strict=True))
        write_rows(out, HEADER, list(table.values()))
    return list(table.values())


def _is_of(row: dict[str, str], groups: Sequence[str], files: Sequence[str] | None) -> bool:
    """Whether a row is asked for: then it stays in the table only while its mutant is one of the code that is there."""
    return row["group"] in groups and (files is None or row["file"] in files)


def _key(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def listed_survivors(path: Path = SURVIVORS) -> dict[tuple[str, ...], str]:
    """The reason why a survivor computes the same, by file, function, operator, old and new text."""
    with path.open(newline="") as file:
        return {tuple(row[name] for name in SAME): row["reason"] for row in csv.DictReader(file)}


def survivors(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """The mutants that nothing has seen."""
    return [row for row in rows if not row["rejected_by_row"] and not row["failed_test"]]


def summary(rows: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Of each group: how many mutants, how many were seen by whom, and how many survivors nobody has explained."""
    listed = listed_survivors()
    found = {}
    for group in dict.fromkeys(row["group"] for row in rows):
        mine = [row for row in rows if row["group"] == group]
        left = survivors(mine)
        same = [row for row in left if tuple(row[name] for name in SAME) in listed]
        by_check = sum(row["rejected_by_row"] != "" for row in mine)
        found[group] = {
            "mutants": len(mine),
            "rejected_by_check": by_check,
            "failed_by_tests": sum(row["failed_test"] != "" for row in mine),
            "survivors": len(left),
            "survivors_that_compute_the_same": len(same),
            "percent_of_the_others_rejected_by_check": round(100 * by_check / max(len(mine) - len(same), 1), 2),
        }
    return found


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--group", action="append", choices=list(GROUPS), help="may be given again (default all)")
    parser.add_argument("--file", action="append", help="of the groups, such as model/losses.py (default all)")
    parser.add_argument("--rows", action="append", help="rows that are asked, by pattern (default all)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples")
    parser.add_argument(
        "--budget", type=float, default=math.inf, help="seconds of the rows, and of the tests, a mutant"
    )
    parser.add_argument("--again", action="store_true", help="ask the survivors of the table again")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--resume", action="store_true", help="go on with the rows that are there")
    parser.add_argument("--summary", action="store_true", help="count the table as it is and measure nothing")


def main(options: argparse.Namespace) -> int:
    """Measure, note, and return 1 if a mutant survives that is not explained."""
    groups = options.group or list(GROUPS)
    if options.summary:
        rows = read_rows(options.out, HEADER)
    else:
        rows = measure(
            options.out,
            seed=options.seed,
            groups=groups,
            resume=options.resume or options.again,
            files=options.file,
            patterns=options.rows,
            budget_s=options.budget,
            survivors_only=options.again,
        )
    found = summary(rows)
    record.note("mutations", {"seed": options.seed, "groups": found}, options.out.with_name(record.RESULTS.name))
    print(json.dumps(found, indent=1))
    return int(any(counts["survivors"] > counts["survivors_that_compute_the_same"] for counts in found.values()))

"""What the checks are and what they found: `Check` before, `Row` after, `Report` the table of rows."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KINDS = {
    "derivative": "a function of its own is differenced",
    "identity": "two expressions for one number",
    "transposition": "an adjoint against its linear map, or against a smooth network that is differenced",
    "agreement": "with literal loops, or with golden numbers",
    "engine": "the fast engine with literal loops",
}
# The kind of a row by its name: the first pattern that fits. Whole names are exceptions from the pattern below them.
KIND_OF_NAMES = (
    ("engine-*", "engine"),
    ("tangent-*", "transposition"),
    ("phi-*", "transposition"),
    ("adjoint-*", "transposition"),
    ("term-psc-kernel", "identity"),
    ("term-psc-in-time-consistent", "identity"),
    ("term-psc-in-time-one-sided", "identity"),
    ("term-psc-in-time-onset", "identity"),
    ("term-reset-one-step", "identity"),
    ("term-euler-*", "identity"),
    ("term-static-gain", "identity"),
    ("term-desired-trains", "identity"),
    ("term-reset-in-steps", "identity"),
    ("term-weighted-input", "identity"),
    ("term-membrane-rise", "identity"),
    ("loss-*-targets", "identity"),
    ("loss-*-value", "identity"),
    ("srm-*", "identity"),
    ("number-*", "identity"),
    ("exact-identity-*", "identity"),
    ("constants-identity-*", "identity"),
    ("exact-differences-*", "derivative"),
    ("term-*", "derivative"),
    ("loss-*", "derivative"),
    ("layer-*", "derivative"),
    ("*", "agreement"),
)
WIDTH = 100  # columns of the table
HEADINGS = ("name", "error", "bound", "pass", "equation")


def _kind_of(name: str) -> str:
    """The kind of the row of a name, one of `KINDS`."""
    return next(kind for pattern, kind in KIND_OF_NAMES if fnmatch.fnmatchcase(name, pattern))


@dataclass(frozen=True)
class Check:
    """One row before it is run.

    Parameters
    ----------
    name : str
    equation : str
        The derivative, and where it is not plain, the smooth function that is differenced.
    where : str
        The function that is checked, as module.name.
    tolerance : float
        The largest relative error that passes.
    measure : callable
        Takes nothing and returns the maximum relative error.
    """

    name: str
    equation: str
    where: str
    tolerance: float
    measure: Callable[[], float]

    @property
    def kind(self) -> str:
        """What is compared: one of `KINDS`."""
        return _kind_of(self.name)

    def run(self) -> Row:
        """Measure the error; a function that refuses the row's sound arguments has an infinite one."""
        try:
            error = float(self.measure())
        except ValueError:
            error = math.inf
        return Row(self.name, self.equation, self.where, error, self.tolerance)


@dataclass(frozen=True)
class Row:
    """One row of the table, measured. The fields are those of `Check`."""

    name: str
    equation: str
    where: str
    max_rel_error: float
    tolerance: float

    @property
    def kind(self) -> str:
        """What is compared: one of `KINDS`."""
        return _kind_of(self.name)

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; an error that is not a number does not pass."""
        return self.max_rel_error <= self.tolerance


@dataclass(frozen=True)
class Report:
    """All rows of a run."""

    rows: list[Row]

    @property
    def passed(self) -> bool:
        """Whether there are rows and every one passed."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    def table(self) -> str:
        """The rows as aligned text, grouped by kind, lines of at most `WIDTH` columns; the last one counts them."""
        lines = []
        for kind, meaning in KINDS.items():
            rows = [row for row in self.rows if row.kind == kind]
            if rows:
                widths = [max(map(len, column)) for column in zip(HEADINGS[:4], *map(_cells, rows), strict=True)]
                lines += [f"{kind}: {meaning}", _line(HEADINGS, widths), "  ".join("-" * width for width in widths)]
                lines += [*(_line((*_cells(row), row.equation), widths) for row in rows), ""]
        n_passed = sum(row.passed for row in self.rows)
        return "\n".join([*lines, f"{n_passed} of {len(self.rows)} passed"])

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as dictionaries that JSON can hold: an error that is not finite becomes None."""
        return [
            {
                "name": row.name,
                "kind": row.kind,
                "equation": row.equation,
                "where": row.where,
                "max_rel_error": row.max_rel_error if math.isfinite(row.max_rel_error) else None,
                "tolerance": row.tolerance,
                "passed": row.passed,
            }
            for row in self.rows
        ]


def _cells(row: Row) -> tuple[str, str, str, str]:
    """All columns but the last."""
    return row.name, f"{row.max_rel_error:.1e}", f"{row.tolerance:.0e}", "yes" if row.passed else "NO"


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Cells side by side, the last cut where the line ends."""
    aligned = "  ".join(cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=True))
    room = WIDTH - len(aligned) - 2
    return f"{aligned}  {cells[-1] if len(cells[-1]) <= room else cells[-1][: room - 3] + '...'}".rstrip()

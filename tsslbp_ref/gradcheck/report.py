"""What the checks are and what they found: `Check` before, `Row` after, `Report` the table of rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HEADINGS = ("name", "equation", "where defined", "max rel error", "tolerance", "pass")


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

    def run(self) -> Row:
        """Measure the error."""
        return Row(self.name, self.equation, self.where, float(self.measure()), self.tolerance)


@dataclass(frozen=True)
class Row:
    """One row of the table, measured. The fields are those of `Check`."""

    name: str
    equation: str
    where: str
    max_rel_error: float
    tolerance: float

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
        """The rows as aligned text, one a line, under their headings."""
        cells = [HEADINGS] + [
            (
                row.name,
                row.equation,
                row.where,
                f"{row.max_rel_error:.1e}",
                f"{row.tolerance:.0e}",
                "yes" if row.passed else "NO",
            )
            for row in self.rows
        ]
        widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(line.rstrip() for line in lines)

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as dictionaries that JSON can hold: an error that is not finite becomes None."""
        return [
            {
                "name": row.name,
                "equation": row.equation,
                "where": row.where,
                "max_rel_error": row.max_rel_error if math.isfinite(row.max_rel_error) else None,
                "tolerance": row.tolerance,
                "passed": row.passed,
            }
            for row in self.rows
        ]

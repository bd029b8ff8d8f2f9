"""What a comparison found: `ArrayResult` one array, `Explanation` one symbol of a state, `Report` all."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tsslbp_ref.conformance.cases import BACKWARD, STATES, SYMBOLS, cases

HEADINGS = ("array", "error", "bound", "agrees", "first place")
MOST_NAMES = 6  # of what fits an array


@dataclass(frozen=True)
class ArrayResult:
    """One array.

    Parameters
    ----------
    name : str
        State, case and array, as "released/dense/delta1".
    case : str
    symbol : str
        One of I, u, s, a, loss, g (dL/da), delta, dW.
    layer : int or None
        Of neurons, counted from 0.
    error : float
        Largest difference relative to the largest value; infinite where a number is none.
    tolerance : float
    place : str
        Where it departs first; empty where it agrees. First in the order of computing: the lowest step on the way
        forward, the highest on the way back.
    step : int or None
        The step of that place.
    """

    name: str
    case: str
    symbol: str
    layer: int | None
    error: float
    tolerance: float
    place: str
    step: int | None = None

    @property
    def agrees(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance

    @property
    def order(self) -> tuple[int, int, float, int]:
        """When it departs: up through the layers, in each step by step, then the loss, then back."""
        rank, layer = SYMBOLS.index(self.symbol), self.layer or 0
        if self.symbol == "loss":
            return (1, 0, 0, 0)
        if self.symbol in BACKWARD:
            return (2, -layer, math.inf if self.step is None else -self.step, rank)
        return (0, layer, math.inf if self.step is None else self.step, rank)


@dataclass(frozen=True)
class Explanation:
    """What the arrays of one symbol are, if not ours.

    Parameters
    ----------
    state, symbol : str
    n_departing, n_arrays : int
        Arrays of the symbol in the state's cases: those that depart, and all.
    fits : list of str
        Rules, states and changes that give all of them.
    partly : (str, int) or None
        Where nothing fits all: what fits most, and how many.
    """

    state: str
    symbol: str
    n_departing: int
    n_arrays: int
    fits: list[str]
    partly: tuple[str, int] | None

    def text(self) -> str:
        """One line."""
        start = f"{self.symbol} departs in {self.n_departing} of {self.n_arrays} arrays; "
        if self.fits:
            more = f" and {len(self.fits) - MOST_NAMES} more" if len(self.fits) > MOST_NAMES else ""
            names = "; or ".join(self.fits[:MOST_NAMES])
            return f"{start}all {self.n_arrays} are those of: {names}{more}"
        if self.partly:
            return f"{start}nothing known fits all of these; {self.partly[1]} are: {self.partly[0]}"
        return f"{start}nothing known fits"


@dataclass(frozen=True)
class Report:
    """All arrays, in the order of computing, what they are if not ours, and the cases of which there was no array."""

    results: list[ArrayResult]
    explanations: list[Explanation]
    absent: list[str]

    @property
    def agrees(self) -> bool:
        """Whether every array that was there agrees."""
        return all(result.agrees for result in self.results)

    @property
    def first(self) -> ArrayResult | None:
        """The array that departs first in the order of computing, I, u, s, a, loss, g, delta, dW; None if all agree."""
        return min((r for r in self.results if not r.agrees), key=lambda result: result.order, default=None)

    def table(self) -> str:
        """A row an array, then what departs first in each case, what it is, and what was not compared."""
        rows = [
            (r.name, f"{r.error:.1e}", f"{r.tolerance:.0e}", "yes" if r.agrees else "NO", r.place) for r in self.results
        ]
        widths = [max(map(len, column)) for column in list(zip(HEADINGS, *rows, strict=True))[:4]]
        lines = [_line(HEADINGS, widths), "  ".join("-" * width for width in widths), *(_line(r, widths) for r in rows)]
        lines += ["", *self.summary()]
        return "\n".join(lines)

    def summary(self) -> list[str]:
        """The lines below the table."""
        lines = []
        for case in dict.fromkeys(result.case for result in self.results):
            departing = [r for r in self.results if r.case == case and not r.agrees]
            if departing:
                first = min(departing, key=lambda result: result.order)
                lines.append(f"{case}: departs first in {first.name.rpartition('/')[2]}, {first.place}")
        lines += [f"{explanation.state}: {explanation.text()}" for explanation in self.explanations]
        if self.absent:
            lines.append(f"not compared, no array of them: {', '.join(_by_state(self.absent))}")
        n_agree = sum(result.agrees for result in self.results)
        return [*lines, f"{n_agree} of {len(self.results)} arrays agree"]

    def to_json(self) -> dict[str, Any]:
        """All of it as what JSON can hold: an error that is not finite becomes None."""
        return {
            "agrees": self.agrees,
            "first": None if self.first is None else self.first.name,
            "arrays": [
                asdict(r) | {"agrees": r.agrees, "error": r.error if math.isfinite(r.error) else None}
                for r in self.results
            ],
            "explanations": [asdict(explanation) for explanation in self.explanations],
            "absent": self.absent,
        }


def _by_state(names: list[str]) -> list[str]:
    """Names of cases, but a state's name where all its cases are among them, and their number where they are many."""
    shown: dict[str, None] = {}
    for state in STATES:
        of_state = [name for name in names if name.startswith(f"{state}/")]
        n_cases = len(cases(state))
        if len(of_state) == n_cases:
            of_state = [f"all of {state}"]
        elif len(of_state) > MOST_NAMES:
            of_state = [f"{len(of_state)} of {n_cases} cases of {state}"]
        shown |= dict.fromkeys(of_state)
    return list(shown)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    aligned = "  ".join(cell.ljust(width) for cell, width in zip(cells[:-1], widths, strict=True))
    return f"{aligned}  {cells[-1]}".rstrip()

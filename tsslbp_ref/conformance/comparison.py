"""Another code's arrays beside what has to come out: agree or not, where they depart, and what they are if not ours."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.conformance.alternatives import alternatives, other_rules, transforms
from tsslbp_ref.conformance.cases import BACKWARD, STATES, SYMBOLS, Array, Case, Quantity, cases
from tsslbp_ref.conformance.layouts import checked_layout, from_layout, to_layout
from tsslbp_ref.conformance.report import ArrayResult, Explanation, Report
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.trace import Trace

TOLERANCES = {"float64": 1e-10, "float32": 1e-4, "float16": 1e-2}  # of the largest value, by the array's own dtype
AT_THRESHOLD = 1e-9  # a membrane so near to V that rounding may have decided
MEMBERS = ("README", "cases")  # of an exported file, which a file of results may hold as well
OWN = "{}, from your own u and a"

Implementation = Callable[[Case, dict[str, Any]], Mapping[str, npt.ArrayLike] | None]


class ArraysError(ValueError):
    """Arrays that are missing, misshapen or unknown; `problems` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = problems


class Pair(NamedTuple):
    """An array of ours and yours, both (T, B, N) where it runs over time."""

    case: Case
    ours: Quantity
    yours: Array
    tolerance: float

    @property
    def name(self) -> str:
        """Case and array, as "released/dense/delta1"."""
        return f"{self.case.name}/{self.ours.name}"

    @property
    def agrees(self) -> bool:
        """Whether yours is ours within the tolerance."""
        return self.is_like(self.ours.values)

    def is_like(self, other: Array) -> bool:
        """Whether yours is another array within the tolerance."""
        return other.shape == self.yours.shape and relative_error(self.yours, other) <= self.tolerance


def relative_error(found: Array, expected: Array) -> float:
    """max |found - expected| / max |expected|, infinite where a number is none; absolute where all expected are 0."""
    if not np.isfinite(found).all():
        return math.inf
    scale = float(np.abs(expected).max(initial=0.0))
    return float(np.abs(found - expected).max(initial=0.0)) / (scale or 1.0)


# ---------------------------------------------------------------------------------------------------------------------
# Comparing
# ---------------------------------------------------------------------------------------------------------------------


def compare(
    implementation: Implementation,
    states: str | Iterable[str] | None = None,
    *,
    layout: str = "TBN",
    tolerance: float | None = None,
) -> Report:
    """Give every case to an implementation and compare what it returns.

    Parameters
    ----------
    implementation : callable
        Called with a `Case` and a dictionary of its inputs by name. Returns a dictionary of its arrays by name, as
        "delta" of a layer or "dW0" of a network; None where it leaves the case out.
    states : str or iterable of str, optional
        "released", "june-2020", "september-2020", "november-2020"; all if not given.
    layout : {"TBN", "BNT", "BCHWT"}
        Of what runs over time, in and out.
    tolerance : float, optional
        The largest error that agrees, relative to the largest value of an array; by default 1e-10 for float64 and 1e-4
        for float32.

    Returns
    -------
    Report

    Raises
    ------
    ArraysError
        If arrays are missing, misshapen or of a name that no case knows; `problems` has a line for each.
    ValueError, TypeError
        If another argument is not of its kind.

    Examples
    --------
    >>> import tsslbp_ref as tr
    >>> def without_clip(case, inputs):
    ...     if case.kind != "layer":
    ...         return None
    ...     neuron = tr.NeuronParameters(inputs["tau_m"], inputs["tau_s"], inputs["V"])
    ...     rule = tr.GradientRule(inverse_rise_clip=float("inf"))
    ...     trace = tr.lif_forward(inputs["I"], neuron)
    ...     return {"a": trace.a, "delta": tr.tsslbp_backward(inputs["g"], trace, neuron, rule)}
    >>> report = compare(without_clip, "released")
    >>> report.agrees
    False
    >>> print(report.explanations[0].text())
    delta departs in 3 of 6 arrays; all 6 are those of: released without the clip of 1/du
    """
    layout = checked_layout(layout)
    if not callable(implementation):
        raise TypeError(f"implementation must be callable, got {checks.shown(implementation)}")
    states = states if states is None or isinstance(states, str) else list(states)
    arrays: dict[str, npt.ArrayLike] = {}
    for case in cases(states):
        given = implementation(case, {q.name: _as_input(q, layout) for q in case.inputs()})
        if given is not None:
            checks.instance_of("what the implementation returns", given, Mapping)  # type: ignore[type-abstract]
            arrays |= {f"{case.name}/{name}": array for name, array in given.items()}
    report = compare_arrays(arrays, layout=layout, tolerance=tolerance)
    asked = {case.name for case in cases(states)}
    return replace(report, absent=[name for name in report.absent if name in asked])


def compare_arrays(
    arrays: Mapping[str, npt.ArrayLike], *, layout: str = "TBN", tolerance: float | None = None
) -> Report:
    """Compare arrays that another implementation has made.

    Parameters
    ----------
    arrays : mapping of str to array_like
        By name, as "released/layer0/delta".
    layout, tolerance
        As for `compare`.

    Returns
    -------
    Report

    Raises
    ------
    ArraysError, ValueError, TypeError
        As `compare` does.

    Examples
    --------
    >>> case = cases("released")[0]
    >>> ours = {f"{case.name}/{quantity.name}": quantity.values for quantity in case.expected()}
    >>> compare_arrays(ours).agrees
    True
    """
    if tolerance is not None:
        tolerance = checks.real_number("tolerance", tolerance, above=0.0)
    pairs, absent = _pairs(arrays, checked_layout(layout), tolerance)
    by_case: dict[Case, list[Pair]] = {}
    for pair in pairs:
        by_case.setdefault(pair.case, []).append(pair)
    results = [_result(pair, same_case) for same_case in by_case.values() for pair in same_case]
    return Report(results, _explanations(by_case), absent)


def _as_input(quantity: Quantity, layout: str) -> Any:
    """An input as an implementation gets it; constants as floats."""
    if quantity.sample is not None:
        return to_layout(quantity.values, quantity.sample, layout).copy()
    return float(quantity.values) if quantity.values.ndim == 0 else quantity.values.copy()


# ---------------------------------------------------------------------------------------------------------------------
# Reading yours
# ---------------------------------------------------------------------------------------------------------------------


def _pairs(arrays: Mapping[str, npt.ArrayLike], layout: str, tolerance: float | None) -> tuple[list[Pair], list[str]]:
    """All arrays beside ours, and the names of the cases of which there is none."""
    problems: list[str] = []
    pairs, absent, known = [], [], set(MEMBERS)
    for case in cases():
        expected = {f"{case.name}/{q.name}": q for q in case.expected()}
        known |= {f"{case.name}/{q.name}" for q in case.inputs()} | set(expected)
        if not set(expected) & set(arrays):
            absent.append(case.name)
            continue
        for name, quantity in expected.items():
            if name in arrays:
                try:
                    yours = _checked(name, arrays[name], quantity, layout)
                    pairs.append(Pair(case, quantity, *yours[:1], tolerance or yours[1]))
                except (ValueError, TypeError) as error:
                    problems.append(str(error))
            elif quantity.required:
                problems.append(f"{name} is missing: there are other arrays of {case.name}")
    problems = [f"there is no array {name}" + _nearest(name, known) for name in arrays if name not in known] + problems
    if not pairs and not problems:
        problems = ["there is no array to compare: names are like released/layer0/delta"]
    if problems:
        raise ArraysError(problems)
    return pairs, absent


def _nearest(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ": names are like released/layer0/delta"


def _checked(name: str, given: npt.ArrayLike, quantity: Quantity, layout: str) -> tuple[Array, float]:
    """An array as float64, (T, B, N) where it runs over time, and the tolerance of its dtype."""
    array = checks.real_array(name, given)
    tolerance = TOLERANCES.get(array.dtype.name, TOLERANCES["float64"])
    array = array.astype(np.float64)
    if quantity.sample is not None:
        return from_layout(name, array, quantity.values.shape, quantity.sample, layout), tolerance
    if quantity.values.ndim == 0:
        if array.size != 1:
            raise ValueError(f"{name} must be one number, got shape {array.shape}")
        return array.reshape(()), tolerance
    checks.same_shape(name, array, quantity.values.shape, f"W{quantity.layer}")
    return array, tolerance


# ---------------------------------------------------------------------------------------------------------------------
# Where an array departs
# ---------------------------------------------------------------------------------------------------------------------


def _result(pair: Pair, same_case: list[Pair]) -> ArrayResult:
    error = relative_error(pair.yours, pair.ours.values)
    place, step = ("", None) if pair.agrees else _place(pair, same_case)
    return ArrayResult(pair.name, pair.case.name, pair.ours.symbol, pair.ours.layer, error, pair.tolerance, place, step)


def _place(pair: Pair, same_case: list[Pair]) -> tuple[str, int | None]:
    """The first place, in the order of computing, at which yours departs, in words; and its step."""
    ours = pair.ours.values
    if ours.ndim == 0:
        return f"yours {float(pair.yours):.6g}, ours {float(ours):.6g}", None
    scale = float(np.abs(ours).max(initial=0.0)) or 1.0
    places = np.argwhere(~(np.abs(pair.yours - ours) <= pair.tolerance * scale))
    if pair.ours.sample is None:
        index = tuple(int(i) for i in places[0])
        where = f"[{', '.join(map(str, index))}]"
    else:
        backward = pair.ours.symbol in BACKWARD
        t = places[:, 0].max() if backward else places[0, 0]
        index = tuple(int(i) for i in places[places[:, 0] == t][0])
        where = f"t {index[0]}, sample {index[1]}, neuron {_neuron(index[2], pair.ours.sample)}"
        where += _spike(pair, same_case, index)
    text = f"{where}: yours {pair.yours[index] + 0.0:.6g}, ours {ours[index] + 0.0:.6g}"
    return text, None if pair.ours.sample is None else index[0]


def _neuron(i: int, sample: tuple[int, ...]) -> str:
    """A neuron's number, and behind a convolution its channel, row and column."""
    if len(sample) == 1:
        return str(i)
    return f"{i} = ({', '.join(str(int(j)) for j in np.unravel_index(i, sample))})"


def _spike(pair: Pair, same_case: list[Pair], index: tuple[int, ...]) -> str:
    """Whether there is a spike at a place in ours, and in yours where yours says."""
    layer = {q.symbol: q.values for q in pair.case.expected() if q.layer == pair.ours.layer}
    if "s" not in layer:
        return ""
    V = pair.case.neuron.threshold
    yours = {other.ours.symbol: other.yours for other in same_case if other.ours.layer == pair.ours.layer}
    s_ours = bool(layer["s"][index])
    text = ", a spike there" if s_ours else ", no spike there"
    s_yours = yours["s"][index] > 0 if "s" in yours else yours["u"][index] > V if "u" in yours else s_ours
    if bool(s_yours) != s_ours:
        text += " but in yours" if s_yours else " but not in yours"
    return text + (" (u is at V)" if abs(layer["u"][index] - V) < AT_THRESHOLD else "")


# ---------------------------------------------------------------------------------------------------------------------
# What it is, if not ours
# ---------------------------------------------------------------------------------------------------------------------


def _explanations(by_case: Mapping[Case, list[Pair]]) -> list[Explanation]:
    """For each state and each symbol that departs, what fits all its arrays."""
    found = []
    for state in STATES:
        pairs = [pair for case, same in by_case.items() if case.state == state for pair in same]
        for symbol in SYMBOLS:
            of_symbol = [pair for pair in pairs if pair.ours.symbol == symbol]
            if any(not pair.agrees for pair in of_symbol):
                found.append(_explanation(state, symbol, of_symbol, by_case))
    return found


def _explanation(state: str, symbol: str, pairs: list[Pair], by_case: Mapping[Case, list[Pair]]) -> Explanation:
    fits: dict[str, list[tuple[bool, bool]]] = {}  # by name: whether it fits, and whether the array departs
    for pair in pairs:
        for name, values in _others(pair, by_case[pair.case]).items():
            fits.setdefault(name, []).append((pair.is_like(values), not pair.agrees))
    n_departing = sum(not pair.agrees for pair in pairs)
    whole = [
        name
        for name, found in fits.items()
        if all(fit for fit, _ in found) and sum(departs for _, departs in found) == n_departing
    ]
    counts = {name: sum(fit and departs for fit, departs in found) for name, found in fits.items()}
    best = max(counts, key=lambda name: counts[name], default=None)
    partly = (best, counts[best]) if best is not None and counts[best] and not whole else None
    return Explanation(state, symbol, n_departing, len(pairs), whole, partly)


def _others(pair: Pair, same_case: list[Pair]) -> dict[str, Array]:
    """What the array may be, by name; of an array that agrees, only what is a rule, a neuron or a loss."""
    others = {
        name: quantity.values
        for name, quantities in alternatives(pair.case).items()
        for quantity in quantities
        if quantity.name == pair.ours.name
    }
    if not pair.agrees:
        n_samples = len(pair.case.golden("y")) if pair.case.kind != "layer" else pair.ours.values.shape[1]
        others |= dict(transforms(pair.ours, pair.yours, n_samples))
    if pair.ours.symbol == "delta":
        others |= _from_own_trace(pair, same_case)
    return others


def _from_own_trace(pair: Pair, same_case: list[Pair]) -> dict[str, Array]:
    """delta by every rule from the membranes and PSCs that were handed in, where they were."""
    yours = {other.ours.symbol: other for other in same_case if other.ours.layer == pair.ours.layer}
    g = pair.case.golden("g") if pair.case.kind == "layer" else yours["g"].yours if "g" in yours else None
    if g is None or "u" not in yours or "a" not in yours or (yours["u"].agrees and yours["a"].agrees):
        return {}
    arrays = (g, yours["u"].yours, yours["a"].yours)
    if not all(np.isfinite(array).all() for array in arrays):
        return {}
    neuron = pair.case.neuron
    trace = Trace(arrays[1], arrays[2], neuron.threshold)
    rules = {pair.case.state: pair.case.rule} | other_rules(pair.case.state)
    return {OWN.format(name): sweeps.tsslbp_backward(g, trace, neuron, rule) for name, rule in rules.items()}

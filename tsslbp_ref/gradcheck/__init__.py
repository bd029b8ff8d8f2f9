"""The registry of gradient checks: one row a derivative, each with its equation, its error and its tolerance.

Rows are grouped by what they compare (`report.KINDS`), and named by what is checked:

- ``term-``, ``loss-``, ``layer-``: every factor of the chain rule. The equation says which function is differenced.
- ``number-``: the same with constants written out as numbers, spikes at the threshold, each case of phi alone.
- ``srm-``: the neuron as a sum of kernels against the recursions.
- ``phi-``, ``tangent-``: the rule and the whole backward pass against the frozen-event tangent network, see `tangent`.
- ``sweep-``: the sweeps in O(T), the layers and the losses, against the literal loops.
- ``adjoint-``: the dot-product test of each linear map.
- ``network-``: a whole step of a network, by literal loops and by the two plain loops.
- ``golden-``: layers, losses and networks against numbers of the authors' own code.
- ``exact-``: the simulator of continuous time and its adjoint, against differences, golden cases and identities.
- ``constants-``: the gradients by tau_m, tau_s and V, by literal loops and by identities.
- ``engine-``: the fast engine, each part of it and whole steps, against literal loops; only where asked for.

`check_network` makes such a table for a network, a rule or a backward pass of your own. `smoothed_gradient` is that of
a loss smoothed over its weights.

The checks look every function up when they run, so a wrong derivative planted in a module shows. One limit of that: the
compiled loops of `sweeps` hold the terms that they were compiled with.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from tsslbp_ref import checks
from tsslbp_ref.gradcheck import (
    adjoint_checks,
    constants_checks,
    continuous_checks,
    engine_checks,
    exact_checks,
    golden_checks,
    kernel_checks,
    layer_checks,
    loss_checks,
    network_checks,
    number_checks,
    srm_checks,
    sweep_checks,
    tangent_checks,
    terms_checks,
)
from tsslbp_ref.gradcheck.own_network import check_network
from tsslbp_ref.gradcheck.report import Check, Report, Row
from tsslbp_ref.gradcheck.smoothing import SmoothedGradient, smoothed_gradient

FAMILIES = (
    kernel_checks,
    terms_checks,
    continuous_checks,
    number_checks,
    srm_checks,
    loss_checks,
    layer_checks,
    tangent_checks,
    sweep_checks,
    adjoint_checks,
    network_checks,
    constants_checks,
    exact_checks,
    golden_checks,
    engine_checks,
)

__all__ = [
    "Check",
    "Report",
    "Row",
    "SmoothedGradient",
    "check_network",
    "registry",
    "run",
    "selected",
    "smoothed_gradient",
]


def registry() -> list[Check]:
    """All checks, in the order of the table. Names are unique.

    Examples
    --------
    >>> registry()[0].name, registry()[0].equation
    ('term-psc-kernel', 'eps[k-m] = a[t_k] of one spike at t_m (recursion F6)')
    """
    return [check for family in FAMILIES for check in family.all_checks()]


def run(names: str | Iterable[str] | None = None, *, engine: bool = False) -> Report:
    """Run the checks and return the table.

    Parameters
    ----------
    names : str or iterable of str, optional
        Names of rows, or patterns such as "tangent-*"; all rows if not given. Rows keep the table's order.
    engine : bool
        Whether all rows are also those of the fast engine, ``engine-*``. A name or pattern finds them without it.

    Returns
    -------
    Report
        With .rows, .passed, .table() and .to_json().

    Raises
    ------
    ValueError
        If a name or pattern fits no row (the error has the nearest name), or none is given.
    TypeError
        If names is no sequence, or a name is no string.

    Examples
    --------
    >>> report = run("term-membrane-by-*")
    >>> [(row.name, row.passed) for row in report.rows]
    [('term-membrane-by-reset', True), ('term-membrane-by-leak', True), ('term-membrane-by-weight', True)]
    """
    return Report([check.run() for check in selected(names, engine=engine)])


def selected(names: str | Iterable[str] | None = None, *, engine: bool = False) -> list[Check]:
    """The checks that `run` runs, before they are run.

    Parameters
    ----------
    names, engine
        As for `run`.

    Returns
    -------
    list of Check

    Raises
    ------
    ValueError, TypeError
        As `run` does.

    Examples
    --------
    >>> [check.name for check in selected("term-reset-*")][:2]
    ['term-reset-in-time', 'term-reset-in-steps']
    """
    known = registry()
    if names is None:
        return [check for check in known if engine or check.kind != "engine"]
    patterns = [names] if isinstance(names, str) else checks.listed("names", names)
    if not patterns:
        raise ValueError("names must hold at least one name")
    for pattern in patterns:
        if not isinstance(pattern, str):
            raise TypeError(f"names must hold strings, got {checks.shown(pattern)}")
        if not any(fnmatch.fnmatchcase(check.name, pattern) for check in known):
            raise ValueError(checks.unknown("check", pattern, [check.name for check in known]))
    return [check for check in known if any(fnmatch.fnmatchcase(check.name, pattern) for pattern in patterns)]

"""The constants in which runs of one experiment differ, read from their settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tsslbp_ref.checks import printable

TABLES = ("neuron", "rule", "settings")
OTHERS = ("n_steps", "dtype", "layers", "factors")
OF_EACH_RUN = ("seed", "epochs")
MOST_SHOWN = 60  # characters of a value

Constants = dict[str, str]


def constants_of(config: Mapping[str, Any], *, rule_is_named: bool) -> Constants:
    """All constants of a run by name, as texts, but seed and epochs; the fields of a rule only if it has no name."""
    tables = [name for name in TABLES if name != "rule" or not rule_is_named]
    found: Constants = {}
    for name in (*tables, *OTHERS):
        found |= _flat(name, config.get(name), top=True)
    return {name: value for name, value in found.items() if name not in OF_EACH_RUN}


def _flat(name: str, value: Any, *, top: bool = False) -> Constants:
    """A value that may be a table, or a list of tables, as texts by name; a table's own name adds nothing."""
    if isinstance(value, dict):
        prefix = "" if top or name == "loss_settings" else f"{name}."
        return {key: text for k, v in value.items() for key, text in _flat(f"{prefix}{k}", v).items()}
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return {key: text for i, each in enumerate(value) for key, text in _flat(f"{name}[{i}]", each).items()}
    return {} if value is None else {name: _text(value)}


def _text(value: Any) -> str:
    text = printable("; ".join(map(str, value)) if isinstance(value, list) else str(value))
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 3]}..."


def differing(experiments: Sequence[str], constants: Sequence[Constants]) -> list[str]:
    """For each run those constants, as "tau_s=2.0, ...", in which the runs of its experiment differ.

    A constant that not all of these runs have noted tells nothing.

    >>> constants = [{"tau_s": "2.0", "tau_m": "5.0"}, {"tau_s": "3.0", "tau_m": "5.0"}, {"tau_s": "4.0"}]
    >>> differing(["a", "a", "b"], constants)
    ['tau_s=2.0', 'tau_s=3.0', '']
    """
    of_experiment: dict[str, list[Constants]] = defaultdict(list)
    for experiment, own in zip(experiments, constants, strict=True):
        of_experiment[experiment].append(own)
    names = {
        experiment: [
            name for name in runs[0] if all(name in run for run in runs) and len({run[name] for run in runs}) > 1
        ]
        for experiment, runs in of_experiment.items()
    }
    return [
        ", ".join(f"{name}={own[name]}" for name in names[experiment])
        for experiment, own in zip(experiments, constants, strict=True)
    ]

"""What decides a run's numbers, as config.json keeps it, and whether two configs are of the same run."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

from tsslbp_ref.checks import printable, shown
from tsslbp_ref.engine.blas import product_libraries
from tsslbp_ref.engine.threads import available_cores
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.model.layers import Dropout, SumPool2d
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.training.exact_training import ExactNetwork, ExactSettings, YinYangTask
from tsslbp_ref.training.experiments import RELEASED
from tsslbp_ref.training.run_files import with_rule_defaults
from tsslbp_ref.training.tasks import HeldOut, Task
from tsslbp_ref.training.trainer import TrainingSettings

SAME_IN_A_RESUMED_RUN = ("neuron", "rule", "layers", "n_steps", "dtype", "n_threads", "settings")
SAME_IF_NOTED = ("factors", "task")  # the first runs' configs do not have these
ABSENT = object()  # no JSON value


def config_of(
    network: Network | ExactNetwork, task: Task | YinYangTask, settings: TrainingSettings | ExactSettings, title: str
) -> dict[str, Any]:
    """All that decides a run's numbers, JSON-able."""
    described = network.described() if isinstance(network, ExactNetwork) else _described(network)
    noted = dataclasses.asdict(settings)
    if not noted.get("constants_learning_rate", True):
        del noted["constants_learning_rate"]  # as in the runs before there was one
    config = {"title": title, **described, "task": noted_of(task), "settings": noted}
    return json.loads(json.dumps(config))


def _described(network: Network) -> dict[str, Any]:
    """What decides the numbers of a network."""
    return {
        "neuron": _neuron(network),
        "rule": {k: str(v) for k, v in dataclasses.asdict(network.rule).items()},
        "layers": [f"{type(layer).__name__} {layer.input_shape} -> {layer.output_shape}" for layer in network.layers],
        "factors": _factors(network),
        "n_steps": network.n_steps,
        "dtype": network.dtype.name,
        "n_threads": network.n_threads or available_cores(),
        "blas": [library._asdict() for library in product_libraries()],  # noted for readers, free to change
    }


def _neuron(network: Network) -> Any:
    """The constants of the neurons, or a list of those of each layer."""
    if isinstance(network.neuron, NeuronParameters):
        return dataclasses.asdict(network.neuron)
    return [dataclasses.asdict(neuron) for neuron in network.neurons] + [{"input_tau_s": network.input_tau_s}]


def noted_of(task: Task | YinYangTask) -> dict[str, Any]:
    """How many samples a task has, which are held out, and what tells its data from others, if it says so."""
    fingerprint = getattr(task, "data_sha256", None)
    sizes = {"n_train": task.n_train, "n_test": task.n_test}
    if isinstance(task, HeldOut):
        sizes |= {"n_validation": task.n_validation, "validation_seed": task.seed}
    return sizes if fingerprint is None else {**sizes, "data_sha256": fingerprint}


def _factors(network: Network) -> list[str]:
    """What the maps without weights do beyond their shapes."""
    factors = []
    for layer in network.layers:
        if isinstance(layer, SumPool2d):
            factors.append(f"pool gain {layer.gain}")
        if isinstance(layer, Dropout):
            factors.append(f"dropout {layer.rate} {layer.form}")
    return factors


def check_same_run(wanted: dict[str, Any], found: Any, path: Path) -> None:
    """Raise unless a run found on disk has the settings of this one; the number of epochs may grow."""
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no settings of a run, but {type(found).__name__}")
    keys = SAME_IN_A_RESUMED_RUN + tuple(key for key in SAME_IF_NOTED if key in found)
    if "state" in wanted:
        found = {"state": RELEASED, **found}  # the first runs, all of them of this state, did not note it
        keys = ("state", *keys)
    for key in keys:
        one, other = wanted[key], found.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            one, other = _comparable(key, one, other)
        difference = _first_difference(key, one, other)
        if difference is not None:
            raise CheckpointError(f"{path} is of another run: its {difference}")


def _comparable(key: str, wanted: dict[str, Any], found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What must agree of a part of two configs: not the epochs, and of what may be noted what both note."""
    if key in SAME_IF_NOTED:
        names = wanted.keys() & found.keys()
        return {name: wanted[name] for name in wanted if name in names}, {name: found[name] for name in names}
    if key == "settings":
        return {**wanted, "epochs": None}, {**found, "epochs": None}
    if key == "rule" and "inter" in wanted:
        return wanted, with_rule_defaults(found)
    return wanted, found


def _first_difference(place: str, wanted: Any, found: Any) -> str | None:
    """Say where two JSON values first differ, as "place is this, here it is that"; None where they do not."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = dict.fromkeys((*wanted, *found))
        inner = (_first_difference(f"{place}.{key}", wanted.get(key, ABSENT), found.get(key, ABSENT)) for key in keys)
        return next((difference for difference in inner if difference is not None), None)
    if isinstance(wanted, list) and isinstance(found, list):
        pairs = enumerate(itertools.zip_longest(wanted, found, fillvalue=ABSENT))
        inner = (_first_difference(f"{place}[{i}]", one, other) for i, (one, other) in pairs)
        return next((difference for difference in inner if difference is not None), None)
    return None if wanted == found else f"{printable(place)} is {_said(found)}, here it is {_said(wanted)}"


def _said(value: Any) -> str:
    return "absent" if value is ABSENT else shown(value)

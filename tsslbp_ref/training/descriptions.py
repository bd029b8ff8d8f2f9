"""An experiment as tables of keys, which a TOML file holds and a run's config.json keeps: [data], [network], [neuron],
[rule], [training].

`describe` makes the tables of an experiment, `read` an experiment of tables, key by key; each undoes the other.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsslbp_ref import checks
from tsslbp_ref.datasets.arrays import ARCHIVE, NAMES, load_arrays
from tsslbp_ref.files import parse_json, read_regular
from tsslbp_ref.model.losses import LossSettings
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, named_rules, rule_by_name
from tsslbp_ref.training.exact_training import YIN_YANG
from tsslbp_ref.training.experiments import EXPERIMENTS, RELEASED, STATES, Experiment, experiment
from tsslbp_ref.training.run_files import with_rule_defaults
from tsslbp_ref.training.trainer import TrainingSettings

Tables = dict[str, Any]

OWN = "own"  # the data set of an experiment on arrays of the user's
TABLES = "run"  # what config.json calls the tables
RULE_NAME = "name"
MOST_BYTES = 2**20
INPUT_SHAPES = {row.dataset: row.input_shape for row in EXPERIMENTS.values()}
NEURON, RULE, COUNTS = (
    tuple(field.name for field in dataclasses.fields(kind)) for kind in (NeuronParameters, GradientRule, LossSettings)
)
PLAIN = ("loss", "epochs", "batch_size", "learning_rate")  # of [training]
CONSTANTS_RATE = "constants_learning_rate"  # of [training], left out where nothing is learned
OF_SETS = ("augment", "bin_width_us", "stabilise")  # of [data], with a set that is known
RARE = ("dropout_form", "pool_gain", "input_tau_s")  # of [network], left out where they have their defaults
KEYS: dict[str, tuple[str, ...]] = {
    "data": ("set", ARCHIVE, *NAMES, *OF_SETS, "held_out"),
    "network": (
        "spec",
        "n_steps",
        "padding",
        "dropout",
        "weight_scale",
        "conv_init",
        *RARE,
        "input_shape",
        "n_classes",
    ),
    "neuron": NEURON,
    "rule": (RULE_NAME, *RULE),
    "training": (*PLAIN, *COUNTS, CONSTANTS_RATE, "seed"),
}


@dataclass(frozen=True)
class Description:
    """What a file describes: the experiment, the rule and what it is called, the state whose settings these are."""

    row: Experiment
    rule: GradientRule
    rule_label: str
    state: str | None = None
    held_out: int = 0
    seed: int | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Experiment to tables
# ---------------------------------------------------------------------------------------------------------------------


def describe(
    row: Experiment, rule: GradientRule, *, state: str | None = None, held_out: int = 0, seed: int | None = None
) -> Tables:
    """The tables of an experiment; what has its default in most experiments is left out."""
    of_set, rare = (
        {name: getattr(row, name) for name in names if getattr(row, name) != Experiment.__dict__[name]}
        for names in (OF_SETS, RARE)
    )
    data = (
        {"set": row.dataset, **of_set} if row.arrays is None else {name: str(row.arrays[name]) for name in row.arrays}
    )
    network = {
        "spec": row.spec,
        "n_steps": row.n_steps,
        "padding": list(row.padding),
        "dropout": row.dropout,
        "weight_scale": list(row.weight_scale),
        "conv_init": row.conv_init,
        **rare,
    }
    if row.arrays is not None:
        network |= {"input_shape": list(row.input_shape), "n_classes": row.n_classes}
    training = {name: getattr(row, name) for name in PLAIN} | dataclasses.asdict(row.loss_settings)
    if row.constants_learning_rate:
        training[CONSTANTS_RATE] = row.constants_learning_rate
    return {
        "name": row.name,
        **({} if state is None else {"state": state}),
        "data": data | ({"held_out": held_out} if held_out else {}),
        "network": network,
        "neuron": dataclasses.asdict(row.neuron),
        "rule": rule_table(rule),
        "training": training | ({} if seed is None else {"seed": seed}),
    }


def rule_table(rule: GradientRule) -> dict[str, Any]:
    """A rule as the nearest one that has a name, and the fields in which it differs from that."""
    apart = {
        name: {field: value for field, value in vars(rule).items() if getattr(named, field) != value}
        for name, named in named_rules().items()
    }
    nearest = min(apart, key=lambda name: len(apart[name]))
    return {RULE_NAME: nearest, **apart[nearest]}


def rule_label(table: Mapping[str, Any]) -> str:
    """A rule in a word, for folders and tables.

    >>> rule_label(rule_table(GradientRule(warmup_gate=0.5)))
    'released-warmup_gate-0.5'
    """
    return "-".join([table[RULE_NAME], *(f"{name}-{table[name]}" for name in RULE if name in table)])


def to_toml(tables: Tables) -> str:
    """The tables as a TOML file."""
    plain = {key: value for key, value in tables.items() if not isinstance(value, dict)}
    blocks = [_lines(plain)]
    blocks += [f"[{name}]\n{_lines(table)}" for name, table in tables.items() if isinstance(table, dict)]
    return "\n\n".join(blocks) + "\n"


def _lines(table: Mapping[str, Any]) -> str:
    # TOML writes these values as JSON does; infinity, which JSON has not, by its own name.
    texts = {key: json.dumps(value, ensure_ascii=False).replace("Infinity", "inf") for key, value in table.items()}
    return "\n".join(f"{key} = {text}" for key, text in texts.items())


# ---------------------------------------------------------------------------------------------------------------------
# Tables to experiment
# ---------------------------------------------------------------------------------------------------------------------


def read_file(path: Path) -> Description:
    """Read a TOML file, or the config.json of a run.

    Paths of arrays are relative to the file's folder, and the arrays' shapes are looked at.

    Raises
    ------
    ValueError, TypeError
        If the file is none, or a key is unknown, missing, or has a value of a wrong kind; the message names file, table
        and key.
    OSError
        If a file is not there or cannot be read.
    """
    content = read_regular(path, MOST_BYTES)
    with _within(str(path)):
        if path.suffix == ".json":
            return read(_tables_of_config(parse_json(content)), path.parent)
        try:
            tables = tomllib.loads(content.decode())
        except RecursionError as error:
            raise ValueError("its brackets are nested too deeply") from error
        return read({"name": path.stem, **tables}, path.parent)


def rule_name(config: dict[str, Any]) -> str | None:
    """The name of a run's rule, if it has one."""
    found = config["rule"]
    if not isinstance(found, dict) or not found:
        raise TypeError("rule must hold the fields of a rule")
    found = with_rule_defaults(found)
    named = (
        name
        for name, rule in named_rules().items()
        if found == {k: str(v) for k, v in dataclasses.asdict(rule).items()}
    )
    return next(named, None)


def _tables_of_config(config: Any) -> Tables:
    """The tables in a run's config.json; a run of the first versions has none, but a row's name and a named rule."""
    if checks.instance_of("config.json", config, dict).get("title") == YIN_YANG:
        raise ValueError(f"{YIN_YANG} is trained by its name, with --rule exact, and from no file")
    tables = config.get(TABLES)
    if tables is not None:
        return checks.instance_of(TABLES, tables, dict)
    try:
        row = experiment(config["title"], config.get("state", RELEASED))
        settings = config["settings"]
        rule = rule_by_name(rule_name(config))
        tables = describe(row, rule, state=row.state, seed=settings["seed"])
        return tables | {"training": tables["training"] | {name: settings[name] for name in PLAIN}}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("it was written before version 0.2.0, and is of no row and rule that have a name") from error


def read(tables: Mapping[str, Any], folder: Path) -> Description:
    """Read an experiment from its tables; see `read_file`."""
    _known("the file", tables, ("name", "state", *KEYS))
    found = {name: _table(tables, name) for name in KEYS}
    with _within("name"):
        name = _name(tables.get("name"))
    with _within("[data]"):
        data = _data(found["data"], folder)
    with _within("[network]"):
        network = _network(found["network"], data)
    with _within("[neuron]"):
        neuron = NeuronParameters(**found["neuron"])
    with _within("[rule]"):
        base = rule_by_name(found["rule"].pop(RULE_NAME, RELEASED))
        rule = dataclasses.replace(base, **found["rule"])
    with _within("[training]"):
        training, seed = _training(found["training"])
    held_out = data.pop("held_out")
    row = Experiment(name=name, neuron=neuron, **data, **network, **training)
    with _within("[network]"):  # all that is left to check, by what uses it
        row.network(0, rule=rule)
    label = rule_label(rule_table(rule))
    if name not in EXPERIMENTS:
        if "state" in tables:
            raise ValueError(f"state is of the paper's experiments, and {name!r} is none of them: leave it out")
        return Description(row, rule, label, None, held_out, seed)
    state = checks.one_of("state", tables.get("state", RELEASED), STATES)
    return Description(_papers(row, state), rule, label, state, held_out, seed)


@contextmanager
def _within(place: str) -> Iterator[None]:
    """Let errors begin with the place that they are of."""
    try:
        yield
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{place}: {error}") from error


def _known(place: str, table: Mapping[str, Any], keys: Iterable[str]) -> None:
    for key in table:
        checks.one_of(f"key of {place}", key, keys)


def _table(tables: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = dict(checks.instance_of(f"[{name}]", tables.get(name, {}), dict))
    _known(f"[{name}]", table, KEYS[name])
    return table


def _name(value: Any) -> str:
    """A name that a folder can have."""
    name = checks.instance_of("it", value, str)
    if not re.fullmatch(r"\w[\w.+ -]{0,99}", name):
        raise ValueError(
            f"it must be a letter or digit, then up to 99 of these, '.', '+', ' ', '_', '-', got {checks.shown(name)}"
        )
    if name in ("list", YIN_YANG):
        raise ValueError(f"{name!r} has a meaning of its own")
    return name


def _data(table: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The fields of an experiment that say what it trains on, and how many samples are held out."""
    held_out = checks.positive_integer("held_out", table.pop("held_out", 0), minimum=0)
    if "set" in table:
        dataset = checks.one_of("set", table.pop("set"), INPUT_SHAPES)
        _known(f"[data] with set = {dataset!r}", table, OF_SETS)
        for name in ("augment", "stabilise"):
            checks.instance_of(name, table.get(name, False), bool)
        checks.positive_integer("bin_width_us", table.get("bin_width_us", 1))
        return {"dataset": dataset, "input_shape": INPUT_SHAPES[dataset], "held_out": held_out, **table}
    wanted = (ARCHIVE,) if ARCHIVE in table else NAMES
    missing = [name for name in wanted if name not in table]
    if missing:
        raise ValueError(f"it must have set, or file, or all of {', '.join(NAMES)}; {missing[0]} is missing")
    _known("[data] with arrays", table, wanted)
    paths = {name: checks.instance_of(name, table[name], str) for name in wanted}
    arrays = {name: os.path.abspath(folder / os.path.expanduser(text)) for name, text in paths.items()}
    return {"dataset": OWN, "arrays": arrays, "held_out": held_out}


def _network(table: dict[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an experiment that say what is trained; shape and classes are those of the arrays if not given."""
    if "spec" not in table:
        raise ValueError('spec is missing, such as spec = "400-400"')
    spec = checks.instance_of("spec", table["spec"], str)
    shape, classes = table.pop("input_shape", None), table.pop("n_classes", None)
    if "arrays" in data:
        shape, classes = _of_arrays(data["arrays"], shape, classes)
        table |= {"input_shape": shape, "n_classes": classes}
    elif (shape, classes) != (None, None):
        raise ValueError(f"input_shape and n_classes are those of {data['dataset']}: leave them out")
    padding, scale = table.get("padding", 0), table.get("weight_scale", 1.0)
    return table | {
        "n_steps": checks.positive_integer("n_steps", table.get("n_steps", 5)),
        "padding": tuple(padding) if isinstance(padding, list) else (padding,) * spec.count("C"),
        "weight_scale": checks.number_or_pair("weight_scale", scale, above=0.0),
    }


def _of_arrays(paths: Mapping[str, str], shape: Any, classes: Any) -> tuple[tuple[int, ...], int]:
    """Shape of a sample and number of classes: as given, else those of static samples."""
    arrays = load_arrays(paths)
    if shape is None:
        x, n_samples = arrays["X"].shape, len(arrays["y"]) if arrays["y"].ndim else 0
        if len(x) > 2 and x[0] != n_samples == x[1]:
            trains = f"X {x} holds spike trains, (T, B, ...)"
            raise ValueError(f"input_shape is missing: {trains}, and a sample at one step is {list(x[2:])}")
        shape = x[1:]
    sizes = tuple(checks.positive_integer("input_shape", size) for size in checks.listed("input_shape", shape))
    y = arrays["y"]
    if classes is None and y.ndim == 2:  # that these are no labels is said with the data
        classes = y.shape[1]
    if classes is None:
        classes = max(int(y.max()) + 1, 1) if y.dtype.kind in "iu" and y.size else 1
    return sizes, checks.positive_integer("n_classes", classes)


def _training(table: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """The fields of an experiment that say how it is trained, and the seed."""
    seed = table.pop("seed", None)
    counts = LossSettings(**{name: table.pop(name) for name in COUNTS if name in table})
    settings = TrainingSettings(**table, loss_settings=counts, seed=0 if seed is None else seed)
    return {name: getattr(settings, name) for name in (*PLAIN, "loss_settings", CONSTANTS_RATE)}, seed


def _papers(row: Experiment, state: str) -> Experiment:
    """The row, which has the name of one of the paper's; only what the command line can change may differ."""
    table = experiment(row.name, state)
    changeable = ("loss", "epochs", CONSTANTS_RATE)
    usual = {name: getattr(table, name) for name in changeable}
    same = dataclasses.replace(row, paper=table.paper, state=state, **usual)
    differs = [name for name in vars(table) if getattr(same, name) != getattr(table, name)]
    if differs:
        theirs = f"that of the paper's {row.name!r} at {state}"
        raise ValueError(f"{differs[0]} is not {theirs}: give the run a name of its own")
    return dataclasses.replace(same, **{name: getattr(row, name) for name in changeable})

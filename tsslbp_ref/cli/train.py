"""`tsslbp-ref train`: an experiment of the paper's table, Yin-Yang, or a run that a file describes."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tsslbp_ref.checks import one_of
from tsslbp_ref.cli.arguments import add_data, natural, path, positive, seeds

if TYPE_CHECKING:
    from tsslbp_ref.training.plan import Plan

STATES_HELP = "june-2020, september-2020, november-2020 or released (default)"
LIST = "list"
FILES = (".toml", ".json")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    train = commands.add_parser("train", help="run an experiment of the paper's table, or your own from a file")
    train.add_argument(
        "experiment",
        metavar="EXPERIMENT",
        help="a name; a file, my.toml or the config.json of a run; or 'list' for all names and settings",
    )
    train.add_argument(
        "--toml", metavar="NAME", help="with 'list': print this experiment as a file to change and train"
    )
    train.add_argument("--state", help=f"settings and rule of the authors' code: {STATES_HELP}")
    train.add_argument(
        "--rule", help="instead of the state's gradient rule (a wrong name lists all; of yin-yang: exact)"
    )
    train.add_argument("--loss", help="instead of the experiment's loss")
    train.add_argument("--epochs", type=positive, help="instead of the experiment's number")
    train.add_argument(
        "--held-out", type=positive, metavar="N", help="training images that choose the epoch (e.g. 5000)"
    )
    train.add_argument(
        "--learn-constants",
        type=float,
        metavar="RATE",
        help="learn tau_m and tau_s of the hidden layers, too, at this learning rate (e.g. 5e-4)",
    )
    several = train.add_mutually_exclusive_group()
    several.add_argument("--seed", type=natural, help="default 0, or the file's")
    several.add_argument("--seeds", type=seeds, help="several, as 0-4 or 0,2,5, in processes that share the cores")
    train.add_argument("--threads", type=positive, help="a run; by default the seeds share all cores")
    train.add_argument("--runs", type=path, default=Path("runs"), help="folder of run folders (default %(default)s)")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    train.add_argument("--dask", metavar="ADDRESS", help="send the seeds to this dask.distributed scheduler")
    add_data(train)
    train.set_defaults(command=_train)


def _train(options: argparse.Namespace) -> int:
    from tsslbp_ref.training import seeds as training_seeds

    if options.toml is not None and options.experiment != LIST:
        raise ValueError("--toml goes with list: tsslbp-ref train list --toml NAME")
    if options.experiment == LIST:
        return _list(options)
    plan, seed = _from_file(options) if options.experiment.endswith(FILES) else (_by_name(options), 0)
    plan = replace(
        plan,
        runs=options.runs,
        data=options.data,
        download=not options.no_download,
        resume=options.resume,
        threads=options.threads,
    )
    chosen = options.seeds or [seed if options.seed is None else options.seed]
    return training_seeds.train(plan, chosen, show_progress=not options.quiet, dask=options.dask)


def _by_name(options: argparse.Namespace, name: str | None = None) -> Plan:
    """The plan of an experiment of the paper's table, or of Yin-Yang."""
    from tsslbp_ref.model import parameters
    from tsslbp_ref.training import experiments
    from tsslbp_ref.training.exact_training import EXACT, YIN_YANG
    from tsslbp_ref.training.plan import Plan

    name = options.experiment if name is None else name
    state = one_of("state", options.state or experiments.RELEASED, experiments.STATES)
    rule = options.rule or (EXACT if name == YIN_YANG else state)
    if rule != EXACT:
        parameters.rule_by_name(rule)
    return Plan(
        name,
        rule,
        options.loss,
        options.epochs,
        state=state,
        held_out=options.held_out or 0,
        constants_learning_rate=options.learn_constants,
    )


def _from_file(options: argparse.Namespace) -> tuple[Plan, int]:
    """The plan that a file describes, and its seed; options say what they say instead of the file."""
    from tsslbp_ref.model.parameters import rule_by_name
    from tsslbp_ref.training.descriptions import read_file
    from tsslbp_ref.training.plan import Plan

    if options.state is not None:
        raise ValueError(f"--state is of the paper's experiments; {options.experiment} has settings of its own")
    described = read_file(path(options.experiment))
    if options.data is not None and described.row.arrays is not None:
        raise ValueError(f"--data is the folder of the named data sets; {options.experiment} names files of its own")
    plan = Plan.of(described)
    if options.rule is not None:
        rule_by_name(options.rule)
        plan = replace(plan, rule=options.rule, own_rule=None)
    plan = replace(
        plan,
        loss=options.loss or plan.loss,
        epochs=options.epochs or plan.epochs,
        held_out=options.held_out or plan.held_out,
        constants_learning_rate=(
            plan.constants_learning_rate if options.learn_constants is None else options.learn_constants
        ),
    )
    return plan, described.seed or 0


def _list(options: argparse.Namespace) -> int:
    """Print the names of all experiments, or one of them as a file."""
    from tsslbp_ref.training import experiments
    from tsslbp_ref.training.descriptions import to_toml
    from tsslbp_ref.training.exact_training import YIN_YANG

    if options.toml is None:
        _by_name(options)  # for what it checks
        print("\n".join([*experiments.EXPERIMENTS, YIN_YANG]))
        print(f"\nSettings by state\n{experiments.states_as_text()}")
        print("released MNIST has the paper's 100 epochs; the authors' file asks for 200 from 26 September 2020 on")
        return 0
    plan = _by_name(options, one_of("experiment", options.toml, experiments.EXPERIMENTS))
    tables = plan.tables(options.seed or 0)
    assert tables is not None
    print(to_toml(tables), end="")
    return 0

"""`tsslbp-ref train`: an experiment of the paper's table, or Yin-Yang."""

from __future__ import annotations

import argparse
from pathlib import Path

from tsslbp_ref.checks import one_of
from tsslbp_ref.cli.arguments import add_data, natural, path, positive, seeds

STATES_HELP = "june-2020, september-2020, november-2020 or released (default)"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    train = commands.add_parser("train", help="run an experiment of the paper's table")
    train.add_argument("experiment", metavar="EXPERIMENT", help="a name, or 'list' for all names and settings")
    train.add_argument("--state", help=f"settings and rule of the authors' code: {STATES_HELP}")
    train.add_argument(
        "--rule", help="instead of the state's gradient rule (a wrong name lists all; of yin-yang: exact)"
    )
    train.add_argument("--loss", help="instead of the experiment's loss")
    train.add_argument("--epochs", type=positive, help="instead of the experiment's number")
    train.add_argument(
        "--held-out", type=positive, default=0, metavar="N", help="training pictures that choose the epoch (e.g. 5000)"
    )
    several = train.add_mutually_exclusive_group()
    several.add_argument("--seed", type=natural, default=0)
    several.add_argument("--seeds", type=seeds, help="several, as 0-4 or 0,2,5, in processes that share the cores")
    train.add_argument("--threads", type=positive, help="a run; by default the seeds share all cores")
    train.add_argument("--runs", type=path, default=Path("runs"), help="folder of run folders (default %(default)s)")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    train.add_argument("--dask", metavar="ADDRESS", help="send the seeds to this dask.distributed scheduler")
    add_data(train)
    train.set_defaults(command=_train)


def _train(options: argparse.Namespace) -> int:
    from tsslbp_ref.model import parameters
    from tsslbp_ref.training import experiments
    from tsslbp_ref.training import seeds as training_seeds
    from tsslbp_ref.training.exact_training import EXACT, YIN_YANG

    state = one_of("state", options.state or experiments.RELEASED, experiments.STATES)
    rule = options.rule or (EXACT if options.experiment == YIN_YANG else state)
    if rule != EXACT:
        parameters.rule_by_name(rule)
    if options.experiment == "list":
        print("\n".join([*experiments.EXPERIMENTS, YIN_YANG]))
        print(f"\nSettings by state\n{experiments.states_as_text()}")
        return 0
    plan = training_seeds.Plan(
        experiment=options.experiment,
        rule=rule,
        loss=options.loss,
        epochs=options.epochs,
        runs=options.runs,
        data=options.data,
        download=not options.no_download,
        resume=options.resume,
        threads=options.threads,
        state=state,
        held_out=options.held_out,
    )
    return training_seeds.train(
        plan, options.seeds or [options.seed], show_progress=not options.quiet, dask=options.dask
    )

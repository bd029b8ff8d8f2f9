"""The command line: `tsslbp-ref check`, `demo`, `train`, `results`, `explore`.

Errors are one line on standard error and exit status 2; a failed check is status 1; a run stopped by a signal ends with
128 + its number, as shells do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tsslbp_ref import __version__
from tsslbp_ref.checks import MOST_SHOWN, one_of, printable, shown

if TYPE_CHECKING:
    from tsslbp_ref.training.exact_training import ExactTrainer
    from tsslbp_ref.training.trainer import Trainer

FAILED, BAD_INPUT, SIGNAL_BASE = 1, 2, 128
MOST_SEEDS = 1000
MOST_DIGITS = 15  # of a number in the arguments; up to here floats are exact
MOST_MESSAGE = 500  # characters of a message of the parser
MOST_NAME_BYTES = 4096  # of a path, on Linux
STATES_HELP = "june-2020, september-2020, november-2020 or released (default)"
DEMO_EPOCHS = 8
DEMO_UPDATES = 3000
DEMO_EXPERIMENT = "fashion-mnist-400-400"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(given)
        status = int(options.command(options))
        sys.stdout.flush()  # a full disk or a closed pipe shows here, not after the last line of Python
        return status
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _silence_stdout()
        return SIGNAL_BASE + signal.SIGPIPE
    except _ArgumentsError as error:
        _note(f"error: {_shortened(str(error), given)}")
        return BAD_INPUT
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        _note(f"error: {error}" if str(error).strip() else f"error: {type(error).__name__}")
        _silence_stdout()
        return BAD_INPUT
    except KeyboardInterrupt:
        _note("interrupted")
        return SIGNAL_BASE + signal.SIGINT


def _silence_stdout() -> None:
    """Let what standard output cannot take be dropped, so that Python does not complain of it at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _note(line: str) -> None:
    """Print a line on standard error."""
    print(f"tsslbp-ref: {printable(line)}", file=sys.stderr, flush=True)


def _shortened(message: str, given: Sequence[str]) -> str:
    """A message of the parser, which repeats arguments in full, with no more than 60 characters of any."""
    for text in given:
        for argument in (text, text.partition("=")[2]):
            if len(argument) > MOST_SHOWN:
                message = message.replace(repr(argument), shown(argument)).replace(argument, shown(argument))
    return message if len(message) <= MOST_MESSAGE else f"{message[:MOST_MESSAGE]}..."


class _ArgumentsError(ValueError):
    """Arguments that the parser does not take."""


class _OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line like all others, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        raise _ArgumentsError(f"{message} ({self.prog} --help tells more)")


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog="tsslbp-ref", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="check every chain-rule term by finite differences")
    check.add_argument("names", nargs="*", metavar="NAME", help="rows to check; all if none is named")
    check.add_argument("--engine", action="store_true", help="check the fast engine, too")
    check.add_argument("--json", action="store_true", help="print the rows as JSON")
    check.set_defaults(command=_check)

    demo = commands.add_parser("demo", help="learn a spike raster, then Fashion-MNIST if it can be had")
    demo.add_argument(
        "--epochs", type=_positive, default=DEMO_EPOCHS, help="of pictures, or points (default %(default)s)"
    )
    demo.add_argument("--seed", type=_natural, default=0)
    _add_data(demo)
    demo.set_defaults(command=_demo)

    train = commands.add_parser("train", help="run an experiment of the paper's table")
    train.add_argument("experiment", metavar="EXPERIMENT", help="a name, or 'list' for all names and settings")
    train.add_argument("--state", help=f"settings and rule of the authors' code: {STATES_HELP}")
    train.add_argument(
        "--rule", help="instead of the state's gradient rule (a wrong name lists all; of yin-yang: exact)"
    )
    train.add_argument("--loss", help="instead of the experiment's loss")
    train.add_argument("--epochs", type=_positive, help="instead of the experiment's number")
    seeds = train.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=_natural, default=0)
    seeds.add_argument("--seeds", type=_seeds, help="several, as 0-4 or 0,2,5, in processes that share the cores")
    train.add_argument("--threads", type=_positive, help="a run; by default the seeds share all cores")
    train.add_argument("--runs", type=_path, default=Path("runs"), help="folder of run folders (default %(default)s)")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    train.add_argument("--dask", metavar="ADDRESS", help="send the seeds to this dask.distributed scheduler")
    _add_data(train)
    train.set_defaults(command=_train)

    _add_results(commands.add_parser("results", help="mean, std and best of the runs beside the paper's numbers"))

    explore = commands.add_parser("explore", help="a window in which one neuron's spikes and phi follow sliders")
    explore.add_argument("--rule", default="released", help="gradient rule of phi (default %(default)s)")
    explore.set_defaults(command=_explore)
    return parser


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", type=_path, nargs="?", default=Path("runs"))
    parser.add_argument("--csv", type=_path, help="write every epoch of every run to this file, too")
    parser.add_argument("--plot", type=_path, metavar="FILE.png", help="draw the learning curves into this file, too")
    parser.set_defaults(command=_results)


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=_path, help="folder of the data sets (default: TSSLBP_DATA, then known places)")
    parser.add_argument("--no-download", action="store_true", help="never download")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be an integer from 0 on, got {shown(text)}")
    if len(text) > MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"must have at most {MOST_DIGITS} digits, got {shown(text)}")
    return int(text)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and text.strip("0")):
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {shown(text)}")
    return _natural(text)


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must name a file or folder, got ''")
    if "\0" in text or len(os.fsencode(text)) >= MOST_NAME_BYTES:
        raise argparse.ArgumentTypeError(f"no file or folder can have such a name, got {shown(text)}")
    return Path(os.path.expanduser(text))  # the shell leaves the ~ of --data=~/x as it is


def _seeds(text: str) -> list[int]:
    """Read "0-4" or "0,2,5" into a list."""
    seeds: list[int] = []
    for part in text.split(","):
        if not re.fullmatch(rf"[0-9]{{1,{MOST_DIGITS}}}(-[0-9]{{1,{MOST_DIGITS}}})?", part):
            raise argparse.ArgumentTypeError(f"must be like 0-4 or 0,2,5, got {shown(part)} in {shown(text)}")
        first, _, last = part.partition("-")
        start, stop = int(first), int(last or first)
        if stop < start:
            raise argparse.ArgumentTypeError(f"a range must not fall, got {shown(part)}")
        if len(seeds) + stop - start >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"at most {MOST_SEEDS} seeds, got {shown(text)}")
        seeds += range(start, stop + 1)
    if len(set(seeds)) != len(seeds):
        raise argparse.ArgumentTypeError(f"a seed is named twice in {shown(text)}")
    return seeds


# ---------------------------------------------------------------------------------------------------------------------
# Commands; each imports what it needs, so that --help answers at once
# ---------------------------------------------------------------------------------------------------------------------


def _check(options: argparse.Namespace) -> int:
    from tsslbp_ref import gradcheck

    report = gradcheck.run(options.names or None, engine=options.engine)
    print(json.dumps(report.to_json(), indent=2) if options.json else report.table())
    return 0 if report.passed else FAILED


def _demo(options: argparse.Namespace) -> int:
    from tsslbp_ref.training import raster
    from tsslbp_ref.training.progress import progress

    task = raster.raster_task(options.seed)
    n_steps, _, n_inputs = task.inputs.shape
    print(f"A network learns to fire a word: {n_steps} steps, {n_inputs} random input spike trains.", flush=True)
    with progress(DEMO_UPDATES, "raster", "update", show=not options.quiet) as show:

        def report(update: int, loss: float) -> None:
            show(update + 1, loss=f"{loss:.3f}")

        history = raster.learn(task, DEMO_UPDATES, report=report)
    print(raster.as_text(raster.output_spikes(task)))
    print(f"loss {history[0]:.2f} -> {history[-1]:.2f}, down by {1 - history[-1] / history[0]:.1%}\n", flush=True)
    return _demo_pictures(options)


def _demo_pictures(options: argparse.Namespace) -> int:
    """Train the demo's network on Fashion-MNIST; where the data cannot be had, say so, and train on Yin-Yang."""
    from tsslbp_ref.datasets import DownloadError
    from tsslbp_ref.training.experiments import experiment
    from tsslbp_ref.training.tasks import task_of
    from tsslbp_ref.training.trainer import Trainer, TrainingSettings

    row = experiment(DEMO_EXPERIMENT)
    try:
        task = task_of(row, options.data, download=not options.no_download)
    except (FileNotFoundError, DownloadError, ImportError) as error:
        if options.data is not None:
            raise
        print(f"Fashion-MNIST is left out: {' '.join(str(error).split())}", flush=True)
        return _demo_points(options)
    print(f"{row.spec}-10 learns Fashion-MNIST ({task.n_train} pictures), {row.n_steps} steps a picture.", flush=True)
    settings = TrainingSettings(options.epochs, row.batch_size, row.learning_rate, row.loss, seed=options.seed)
    trainer = Trainer(row.network(options.seed), task, settings, show_progress=not options.quiet)
    return _demo_epochs(trainer, options.epochs)


def _demo_points(options: argparse.Namespace) -> int:
    """Train on the Yin-Yang points, which need no data, with the exact gradient."""
    from tsslbp_ref.training.exact_training import ExactNetwork, ExactSettings, ExactTrainer, YinYangTask

    settings, task = ExactSettings(epochs=options.epochs, seed=options.seed), YinYangTask()
    print(f"5-{settings.n_hidden}-3 learns Yin-Yang ({task.n_train} points) in continuous time.", flush=True)
    trainer = ExactTrainer(ExactNetwork(settings), task, settings, show_progress=not options.quiet)
    return _demo_epochs(trainer, options.epochs)


def _demo_epochs(trainer: Trainer | ExactTrainer, epochs: int) -> int:
    from tsslbp_ref.training.trainer import epoch_line

    for _ in range(epochs):
        metrics = trainer.run_epoch()
        assert metrics is not None
        print(epoch_line(metrics), flush=True)
    return 0


def _train(options: argparse.Namespace) -> int:
    from tsslbp_ref.model import parameters
    from tsslbp_ref.training import experiments, seeds
    from tsslbp_ref.training.exact_training import EXACT, YIN_YANG

    state = one_of("state", options.state or experiments.RELEASED, experiments.STATES)
    rule = options.rule or (EXACT if options.experiment == YIN_YANG else state)
    if rule != EXACT:
        parameters.rule_by_name(rule)
    if options.experiment == "list":
        print("\n".join([*experiments.EXPERIMENTS, YIN_YANG]))
        print(f"\nSettings by state\n{experiments.states_as_text()}")
        return 0
    plan = seeds.Plan(
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
    )
    return seeds.train(plan, options.seeds or [options.seed], show_progress=not options.quiet, dask=options.dask)


def _results(options: argparse.Namespace) -> int:
    from tsslbp_ref.training import results

    table = results.collect(options.runs, left_out=_note)
    if options.plot is not None:
        from tsslbp_ref.plots import curves

        curves.write_plot(table, options.plot)
    print(results.as_text(table))
    if options.csv is not None:
        results.write_csv(options.runs, options.csv)
    return 0


def _explore(options: argparse.Namespace) -> int:
    from tsslbp_ref.plots import explore

    return explore.main(options)

"""The command line: `tsslbp-ref check`, `conformance`, `demo`, `train`, `predict`, `results`, `explore`.

Errors are one line on standard error and exit status 2; a failed check is status 1; a run stopped by a signal ends with
128 + its number, as shells do. Each command has a module; it imports what it needs when it runs, so that --help
answers at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from tsslbp_ref import __version__
from tsslbp_ref.checks import MOST_SHOWN, nearest, one_of, shown
from tsslbp_ref.cli import check, conformance, demo, explore, predict, results, train
from tsslbp_ref.cli.arguments import BAD_INPUT, SIGNAL_BASE, note

MOST_MESSAGE = 500  # characters of a message of the parser
COMMANDS = (check, conformance, demo, train, predict, results, explore)  # as --help lists them


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = _parser().parse_args(given)
        with warnings.catch_warnings():
            warnings.showwarning = _noted_warning
            status = int(options.command(options))
        sys.stdout.flush()  # a full disk or a closed pipe shows here, not after the last line of Python
        return status
    except BrokenPipeError:  # the reader, such as head, has seen enough
        _silence_stdout()
        return SIGNAL_BASE + signal.SIGPIPE
    except _ArgumentsError as error:
        note(f"error: {_shortened(str(error), given)}")
        return BAD_INPUT
    except (ValueError, TypeError, OSError, ImportError, MemoryError) as error:
        note(f"error: {error}" if str(error).strip() else f"error: {type(error).__name__}")
        _silence_stdout()
        return BAD_INPUT
    except KeyboardInterrupt:
        note("interrupted")
        return SIGNAL_BASE + signal.SIGINT


def _noted_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """Show a warning as the line that a user can act on, without the place in the code."""
    note(f"warning: {message}")


def _silence_stdout() -> None:
    """Let what standard output cannot take be dropped, so that Python does not complain of it at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest choice, too."""
        if action.choices is not None:
            try:
                one_of(str(action.metavar or action.dest).lower(), value, action.choices)
            except ValueError as error:
                raise argparse.ArgumentError(None, str(error)) from error

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse what is left over at once, by the parser that knows which of its options may have been meant."""
        options, left_over = super().parse_known_args(args, namespace)
        if left_over:
            hint = nearest(left_over[0].partition("=")[0], self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(left_over)}{hint}")
        return options, left_over

    def error(self, message: str) -> NoReturn:
        raise _ArgumentsError(f"{message} ({self.prog} --help tells more)")


def _parser() -> argparse.ArgumentParser:
    parser = _OneLineParser(prog="tsslbp-ref", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser

"""``python -m figures [NAME ...] [--out DIR] [--list]``: draw the figures, all of them or those named."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from figures import FIGURES, OUT, full_name, render, script

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 2 with one line that says what is wrong."""
    options = _parser().parse_args(arguments)
    try:
        names = [full_name(name) for name in options.names] or list(FIGURES)
        modules = [script(name) for name in names]  # all names are looked up before anything is drawn
    except ValueError as error:
        return _refuse(str(error))
    if options.list:
        for name, module in zip(names, modules, strict=True):
            print(f"{name:<34}{(module.__doc__ or '').splitlines()[0]}")
        return 0
    try:
        for name in names:
            print(render(name, options.out), flush=True)
    except OSError as error:
        return _refuse(f"cannot write to --out {options.out}: {error.strerror or error}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m figures", description="Draw the figures: a PNG and a CSV each.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to draw, by name or number; default all")
    parser.add_argument(
        "--out", type=Path, default=OUT, metavar="DIR", help="folder to write to (default: %(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="list the figures and draw nothing")
    return parser


def _refuse(reason: str) -> int:
    print(f"python -m figures: {reason}", file=sys.stderr)
    return USAGE_ERROR


if __name__ == "__main__":
    sys.exit(main())

"""What the commands' arguments are read with, and the line that every note is."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from tsslbp_ref.checks import printable, shown

FAILED, BAD_INPUT, SIGNAL_BASE = 1, 2, 128  # exit statuses
MOST_SEEDS = 1000
MOST_DIGITS = 15  # of a number in the arguments; up to here floats are exact
MOST_NAME_BYTES = 4096  # of a path, on Linux


def note(line: str) -> None:
    """Print a line on standard error."""
    print(f"tsslbp-ref: {printable(line)}", file=sys.stderr, flush=True)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that reads data."""
    parser.add_argument("--data", type=path, help="folder of the data sets (default: TSSLBP_DATA, then known places)")
    parser.add_argument("--no-download", action="store_true", help="never download")
    parser.add_argument("--quiet", action="store_true", help="no progress")


def natural(text: str) -> int:
    """Read an integer from 0 on."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be an integer from 0 on, got {shown(text)}")
    if len(text) > MOST_DIGITS:
        raise argparse.ArgumentTypeError(f"must have at most {MOST_DIGITS} digits, got {shown(text)}")
    return int(text)


def positive(text: str) -> int:
    """Read an integer from 1 on."""
    if not (text.isascii() and text.isdecimal() and text.strip("0")):
        raise argparse.ArgumentTypeError(f"must be a positive integer, got {shown(text)}")
    return natural(text)


def path(text: str) -> Path:
    """Read the name of a file or folder."""
    if not text:
        raise argparse.ArgumentTypeError("must name a file or folder, got ''")
    if "\0" in text or len(os.fsencode(text)) >= MOST_NAME_BYTES:
        raise argparse.ArgumentTypeError(f"no file or folder can have such a name, got {shown(text)}")
    return Path(os.path.expanduser(text))  # the shell leaves the ~ of --data=~/x as it is


def seeds(text: str) -> list[int]:
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

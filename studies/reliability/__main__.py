"""``python -m studies.reliability PART``: see the package."""

from __future__ import annotations

import argparse
import importlib
import sys

PARTS = {
    "kills": "training that is killed, stopped, or robbed of its disk",
    "inputs": "hostile files, command lines and arrays",
    "mutations": "one place of the package changed at a time",
    "threads": "threads, processes, interrupts, and a cold cache",
    "versions": "the tests with the oldest and the newest packages",
}


def main() -> int:
    """Run a part and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m studies.reliability", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="part")
    for part, text in PARTS.items():
        module = importlib.import_module(f"studies.reliability.{part}")
        module.add(commands.add_parser(part, help=text, description=module.__doc__))
    options = parser.parse_args()
    try:
        return int(importlib.import_module(f"studies.reliability.{options.part}").main(options))
    except (ValueError, TypeError, OSError) as error:
        print(f"studies.reliability {options.part}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

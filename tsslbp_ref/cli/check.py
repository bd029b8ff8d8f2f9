"""`tsslbp-ref check`: the table of checks."""

from __future__ import annotations

import argparse
import json

from tsslbp_ref.cli.arguments import FAILED


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    check = commands.add_parser("check", help="check every chain-rule term by finite differences")
    check.add_argument("names", nargs="*", metavar="NAME", help="rows to check; all if none is named")
    check.add_argument("--engine", action="store_true", help="check the fast engine, too")
    check.add_argument("--json", action="store_true", help="print the rows as JSON")
    check.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from tsslbp_ref import gradcheck

    report = gradcheck.run(options.names or None, engine=options.engine)
    print(json.dumps(report.to_json(), indent=2) if options.json else report.table())
    return 0 if report.passed else FAILED

"""`tsslbp-ref check`: the table of checks."""

from __future__ import annotations

import argparse
import json

from tsslbp_ref.cli.arguments import FAILED, note

HELP = "check every chain-rule term by finite differences"
PATTERNS_HELP = """rows are named by what they check; quote a pattern, so that the shell leaves it alone:
  tsslbp-ref check 'term-*'          every factor of the chain rule
  tsslbp-ref check 'tangent-*conv*'  whole networks with convolutions, against the tangent network
  tsslbp-ref check 'engine-*'        the fast engine
  tsslbp-ref check --list 'loss-*'   the names and equations alone"""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    lines = argparse.RawDescriptionHelpFormatter
    check = commands.add_parser("check", help=HELP, epilog=PATTERNS_HELP, formatter_class=lines)
    check.add_argument("names", nargs="*", metavar="NAME", help="rows to check, by name or pattern (*, ?); default all")
    check.add_argument("--engine", action="store_true", help="check the fast engine, too")
    check.add_argument("--json", action="store_true", help="print the rows as JSON")
    check.add_argument("--list", action="store_true", help="print names and equations, and check nothing")
    check.add_argument("--quiet", action="store_true", help="no progress")
    check.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> int:
    from tsslbp_ref import gradcheck
    from tsslbp_ref.training.progress import progress

    selected = gradcheck.selected(options.names or None, engine=options.engine)
    if options.list:
        print("\n".join(f"{check.name:<40} {check.equation}" for check in selected))
        return 0
    if not options.quiet:
        note(f"{len(selected)} checks; the first time, their loops are compiled for about a minute")
    rows: list[gradcheck.Row] = []
    with progress(len(selected), "check", "row", show=not options.quiet) as show:
        for check in selected:
            show(len(rows), at=check.name)
            rows.append(check.run())
    report = gradcheck.Report(rows)
    print(json.dumps(report.to_json(), indent=2) if options.json else report.table())
    return 0 if report.passed else FAILED

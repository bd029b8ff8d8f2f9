"""`tsslbp-ref conformance`: write the golden cases out, and compare another code's arrays with them."""

from __future__ import annotations

import argparse
import json

from tsslbp_ref.cli.arguments import BAD_INPUT, FAILED, note, path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("conformance", help="hold your own TSSL-BP against the authors' numbers")
    inner = parser.add_subparsers(required=True, metavar="export|compare")
    export = inner.add_parser("export", help="write the inputs of all cases, and a text that says what to do with them")
    export.add_argument("file", type=path, metavar="cases.npz")
    export.add_argument("--state", action="append", help="only this state of the authors' code; may be repeated")
    export.set_defaults(command=_export)
    compare = inner.add_parser("compare", help="where your arrays depart first, and which rule they agree with")
    compare.add_argument("file", type=path, metavar="mine.npz")
    compare.add_argument(
        "--tolerance", type=float, help="relative to the largest value (float64: 1e-10, float32: 1e-4)"
    )
    compare.add_argument("--json", action="store_true", help="print the report as JSON")
    compare.set_defaults(command=_compare)
    for command in (export, compare):
        command.add_argument("--layout", default="TBN", help="axes of what runs over time: TBN (default), BNT or BCHWT")


def _export(options: argparse.Namespace) -> int:
    from tsslbp_ref import conformance

    names = conformance.export(options.file, options.state, layout=options.layout)
    text = f"print(numpy.load({str(options.file)!r})['README'])"
    print(f"{options.file}: inputs of {len(names)} cases. {text} says how to go on.")
    return 0


def _compare(options: argparse.Namespace) -> int:
    from tsslbp_ref import conformance

    try:
        report = conformance.compare_file(options.file, layout=options.layout, tolerance=options.tolerance)
    except conformance.ArraysError as error:
        for problem in error.problems:
            note(f"error: {problem}")
        return BAD_INPUT
    print(json.dumps(report.to_json(), indent=2) if options.json else report.table())
    return 0 if report.agrees else FAILED

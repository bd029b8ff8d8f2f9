"""`tsslbp-ref results`: the table of the runs beside the paper's numbers."""

from __future__ import annotations

import argparse
from pathlib import Path

from tsslbp_ref.cli.arguments import note, path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("results", help="mean, std and best of the runs beside the paper's numbers")
    parser.add_argument("runs", type=path, nargs="?", default=Path("runs"))
    parser.add_argument("--csv", type=path, help="write every epoch of every run to this file, too")
    parser.add_argument("--plot", type=path, metavar="FILE.png", help="draw the learning curves into this file, too")
    parser.set_defaults(command=_results)


def _results(options: argparse.Namespace) -> int:
    from tsslbp_ref.training import results

    table = results.collect(options.runs, left_out=note)
    if options.plot is not None:
        from tsslbp_ref.plots import curves

        curves.write_plot(table, options.plot)
    if options.csv is not None:
        results.write_csv(options.runs, options.csv)
    print(results.as_text(table))  # last: a reader such as head may go
    return 0

"""`tsslbp-ref explore`: a window in which one neuron follows sliders."""

from __future__ import annotations

import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    explore = commands.add_parser("explore", help="a window in which one neuron's spikes and phi follow sliders")
    explore.add_argument("--rule", default="released", help="gradient rule of phi (default %(default)s)")
    explore.set_defaults(command=_explore)


def _explore(options: argparse.Namespace) -> int:
    from tsslbp_ref.plots import explore

    return explore.main(options)

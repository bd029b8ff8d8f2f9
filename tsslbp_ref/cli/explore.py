"""`tsslbp-ref explore`: one neuron follows sliders, in a window, a picture or a page."""

from __future__ import annotations

import argparse

from tsslbp_ref.cli.arguments import path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    explore = commands.add_parser(
        "explore", help="one neuron's spikes and phi follow sliders: a window, picture or page"
    )
    explore.add_argument("--rule", default="released", help="gradient rule of phi (default %(default)s)")
    explore.add_argument("--input-spikes", type=int, nargs=4, default=(3, 5, 8, 20), metavar="STEP", help="of 40 steps")
    explore.add_argument("--weight", type=float, default=2.0, help="of the input (default %(default)s)")
    explore.add_argument("--tau-m", type=float, default=5.0, help="membrane, in steps (default %(default)s)")
    explore.add_argument("--tau-s", type=float, default=3.0, help="synapse, in steps (default %(default)s)")
    explore.add_argument("--threshold", type=float, default=1.0, help="(default %(default)s)")
    explore.add_argument("--save", type=path, metavar="FILE.png", help="draw into this file; no window")
    explore.add_argument("--html", type=path, metavar="FILE.html", help="a page with sliders that needs no network")
    explore.set_defaults(command=_explore)


def _explore(options: argparse.Namespace) -> int:
    from tsslbp_ref.model.parameters import NeuronParameters
    from tsslbp_ref.plots import explore

    neuron = NeuronParameters(options.tau_m, options.tau_s, options.threshold)
    setting = explore.Setting(tuple(options.input_spikes), options.weight, neuron)
    if options.save is not None:
        explore.write_picture(options.save, options.rule, setting)
    if options.html is not None:
        explore.write_page(options.html, options.rule, setting)
    if options.save is None and options.html is None:
        return explore.main(options.rule, setting)
    return 0

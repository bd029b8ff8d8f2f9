"""`tsslbp-ref predict`: the class of each sample in an array, by a saved network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tsslbp_ref.cli.arguments import path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    predict = commands.add_parser("predict", help="the class of each sample in a .npy file, by a saved network")
    predict.add_argument(
        "network", type=path, metavar="NET.npz", help="of Network.save, or of a run; a run's folder is its best epoch"
    )
    predict.add_argument(
        "samples", type=path, metavar="FILE.npy", help="(B, ...) static or (T, B, ...), scaled as in training"
    )
    predict.add_argument("--output", type=path, metavar="FILE.npy", help="write the classes here and print nothing")
    predict.set_defaults(command=_predict)


def _predict(options: argparse.Namespace) -> int:
    import numpy as np

    from tsslbp_ref.files import atomic_file
    from tsslbp_ref.model.network import Network

    network = Network.load(options.network)
    try:
        classes = network.predict(_array(options.samples))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{options.samples}: {error}") from error
    if options.output is None:
        print("\n".join(map(str, classes)))
        return 0
    with atomic_file(options.output) as file:
        np.save(file, classes)
    return 0


def _array(file: Path) -> Any:
    """The array of a .npy file, mapped: it takes no more memory than the file has bytes, and nothing is unpickled."""
    from numpy.lib.format import open_memmap

    from tsslbp_ref.files import regular_file

    with regular_file(file, sys.maxsize):
        pass  # it is no pipe, which might never end
    try:
        return open_memmap(file, mode="r")
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"this is no whole .npy file of numbers ({error})") from error

"""Make a file of golden numbers again: `python -m tools.golden FILE CHECKOUT OUT.npz`; see README.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tools.golden.authors import Authors, checked_checkout
from tools.golden.recipes import FILES, Recorder
from tsslbp_ref import gradcheck

COMMITTED = Path(gradcheck.__file__).parent / "golden"
BAD_INPUT = 2


class _OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line like all others, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"tools.golden: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file and say how far it is from the one in the package; errors are one line and status 2."""
    parser = _OneLineParser(prog="python -m tools.golden", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", choices=FILES, metavar="FILE", help=f"one of {', '.join(FILES)}")
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT", help="the authors' repository at the file's commit")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    options = parser.parse_args(arguments)
    golden = FILES[options.file]
    try:
        recorder = Recorder(Authors(checked_checkout(options.checkout, golden.commit)), golden.seed, golden.train)
        golden.recipe(recorder)
        np.savez_compressed(options.out, **recorder.arrays)
    except (OSError, ValueError, ImportError) as error:
        print(f"tools.golden: error: {error}", file=sys.stderr)
        return BAD_INPUT
    with np.load(COMMITTED / f"{options.file}.npz") as committed:
        distance = largest_difference(recorder.arrays, committed)
    print(f"{options.out}: {len(recorder.arrays)} arrays, PyTorch {recorder.authors.torch.__version__}; ", end="")
    print(f"largest difference from the package's file {distance:.1e}")
    return 0


def largest_difference(made: Mapping[str, Any], committed: Mapping[str, Any]) -> float:
    """Largest |difference| of any number of two files, over 1 or the array's largest number; inf if arrays differ."""
    if set(made) != set(committed) or any(made[name].shape != committed[name].shape for name in committed):
        return np.inf
    return max(
        float(np.abs(made[name] - committed[name]).max() / max(1.0, np.abs(committed[name]).max()))
        for name in committed
    )


if __name__ == "__main__":
    sys.exit(main())

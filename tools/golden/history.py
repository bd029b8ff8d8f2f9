"""phi of one neuron by each commit of the authors' code: `python -m tools.golden.history CLONE OUT.csv`.

The commits are those that changed the rule. CLONE is a clone of github.com/stonezwr/TSSL-BP at any commit: the files
of each commit are read by `git show`. The neuron is that of figure 33. It fires often enough for the chain rule's side
of a layer's warm-up; the gate of the last commits replaces some of its steps. A row of OUT is a commit and a pair
t_k >= t_m; phi is dL/dI[t_m] for L = a[t_k], from the code's own backward pass; entries that are 0 are left out.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from figures.fig33_rule_history import NEURON, WEIGHTED_INPUT
from tools.golden.authors import FIRST_MODULE, RELEASED_MODULE, stay_on_the_cpu

COMMITS = {  # and the class that their layers called for a batch of pictures
    "d0a06b7": "PSP_spike_large_batch",
    "6e40449": "PSP_spike_large_batch",
    "8b2d42a": "PSP_spike_large_batch",
    "f9ab4b4": "PSP_spike_large_batch",
    "49103e1": "TSSLBP",
    "d70f2b8": "TSSLBP_long_time",
    "50266e7": "TSSLBP",
    "56e8b45": "TSSLBP",
    "95bbc52": "TSSLBP",
    "d9d38d6": "TSSLBP",
    "6c95831": "TSSLBP",
    "08ff1d7": "TSSLBP",
    "c1c030c": "TSSLBP",
    "ffaac71": "TSSLBP",
}
HEADER = ("commit", "date", "message", "t_k", "t_m", "phi")
SAMPLES = 5  # the first states take five samples at a time
WARMUP_RATE = 0.1  # of the commit that reads it from its settings
BAD_INPUT = 2


def git(clone: Path, *arguments: str) -> str:
    """What a git command prints.

    Raises
    ------
    ValueError
        If git fails; the message is git's first line.
    """
    found = subprocess.run(["git", "-C", str(clone), *arguments], capture_output=True, text=True)
    if found.returncode:
        raise ValueError(found.stderr.strip().partition("\n")[0])
    return found.stdout


def code_of(clone: Path, commit: str) -> tuple[ModuleType, ModuleType]:
    """The modules of the constants and of the rule at a commit."""
    names = git(clone, "ls-tree", "--name-only", commit, "functions/").split()
    rule = next(f"functions/{name}.py" for name in (RELEASED_MODULE, FIRST_MODULE) if f"functions/{name}.py" in names)
    modules = []
    for name, path in (("global_v", "global_v.py"), ("rule", rule)):
        module = ModuleType(name)
        sys.modules[name] = module  # the rule imports the constants
        exec(compile(git(clone, "show", f"{commit}:{path}"), f"{commit}:{path}", "exec"), module.__dict__)
        modules.append(module)
    return modules[0], modules[1]


def dependency_matrix(clone: Path, commit: str, torch: Any) -> npt.NDArray[np.float64]:
    """phi[t_k, t_m] of the neuron, a backward pass a row."""
    constants, rule = code_of(clone, commit)
    T = len(WEIGHTED_INPUT)
    of_device = (torch.float64, torch.device("cpu")) if len(inspect.signature(constants.init).parameters) == 4 else ()
    constants.init(*of_device, T, NEURON.tau_s)
    settings = {"n_steps": T, "tau_m": NEURON.tau_m, "tau_s": NEURON.tau_s, "warmup": WARMUP_RATE}
    phi = np.zeros((T, T))
    for t_k in range(T):
        I = torch.tensor(np.tile(WEIGHTED_INPUT, (SAMPLES, 1)).reshape(SAMPLES, 1, 1, 1, T), requires_grad=True)
        a = getattr(rule, COMMITS[commit]).apply(I, settings, {"threshold": NEURON.threshold})
        g = torch.zeros_like(a)
        g[..., t_k] = 1.0
        a.backward(g)
        phi[t_k] = I.grad[0, 0, 0, 0].numpy()
    return phi


def rows(clone: Path, torch: Any) -> Iterator[tuple[object, ...]]:
    """The rows of the table, by date."""
    for commit in COMMITS:
        date, message = git(clone, "log", "-1", "--date=short", "--format=%ad%n%s", commit).splitlines()
        phi = dependency_matrix(clone, commit, torch)
        for t_k, t_m in zip(*np.tril_indices(len(phi)), strict=True):
            if phi[t_k, t_m] != 0.0:
                yield commit, date, message, t_k, t_m, repr(float(phi[t_k, t_m]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table; errors are one line and status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.golden.history", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("clone", type=Path, metavar="CLONE", help="a clone of the authors' repository")
    parser.add_argument("out", type=Path, metavar="OUT.csv")
    options = parser.parse_args(arguments)
    try:
        torch: Any = importlib.import_module("torch")
        stay_on_the_cpu(torch)
        table = list(rows(options.clone, torch))
        with options.out.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([HEADER, *table])
    except (OSError, ValueError, ImportError) as error:
        print(f"tools.golden.history: error: {error}", file=sys.stderr)
        return BAD_INPUT
    print(f"{options.out}: {len(COMMITS)} commits, PyTorch {torch.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

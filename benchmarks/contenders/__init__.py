"""Who takes part: each contender is a function that makes one training step of a workload, ready to be called.

A contender is imported only in its own process, so that none can change another's threads or memory.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from benchmarks.workloads import Workload

Step = Callable[[], object]


@dataclass(frozen=True)
class Contender:
    """One row of the table.

    Parameters
    ----------
    name : str
    module : str
        Of this folder; its ``training_step(workload, contender)`` returns the step.
    threads : int
    needs : str
        The module that must be installed.
    longest : int
        The most time steps it is run with: a compiled loop over time is unrolled and takes minutes to compile.
    """

    name: str
    module: str
    threads: int = 2
    needs: str = "tsslbp_ref"
    longest: int = 1000

    @property
    def installed(self) -> bool:
        """Whether this interpreter can import what the contender needs."""
        return importlib.util.find_spec(self.needs) is not None

    def training_step(self, workload: Workload) -> Step:
        """Import the contender and make its step."""
        step: Step = import_module(f"benchmarks.contenders.{self.module}").training_step(workload, self)
        return step


LONGEST_COMPILED = 30  # steps that torch.compile is asked to unroll
OURS = "tsslbp_ref"
PRODUCTS = "matrix products"

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(OURS, "ours"),
        Contender(f"{OURS}, 1 thread", "ours", threads=1),
        Contender(PRODUCTS, "products"),
        Contender(f"{PRODUCTS}, 1 thread", "products", threads=1),
        Contender("snntorch", "torch_peers", needs="snntorch"),
        Contender("snntorch compiled", "torch_peers", needs="snntorch", longest=LONGEST_COMPILED),
        Contender("spikingjelly", "torch_peers", needs="spikingjelly"),
        Contender("spikingjelly compiled", "torch_peers", needs="spikingjelly", longest=LONGEST_COMPILED),
        Contender("norse", "torch_peers", needs="norse"),
        Contender("norse compiled", "torch_peers", needs="norse", longest=LONGEST_COMPILED),
    )
}

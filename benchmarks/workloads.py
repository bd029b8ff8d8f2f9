"""The workloads W1 to W3 and their inputs, as data: every contender is fed the same arrays.

A step is forward, loss, backward and AdamW on float32 weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

N_CLASSES = 10
PICTURE_INK = 0.3  # share of pixels that are not 0 in the made pictures, about that of handwritten digits


@dataclass(frozen=True)
class Workload:
    """A network, its input and its batch.

    Parameters
    ----------
    name : str
    spec : str
        As a paper names a network; the output layer of 10 is not named.
    input_shape : (int, int, int)
    n_steps, batch : int
    density : float or None
        Share of ones in random spike trains; None for pictures shown at every step.
    tau_m, tau_s : float
        In steps.
    """

    name: str
    spec: str
    input_shape: tuple[int, int, int]
    n_steps: int
    batch: int
    density: float | None
    tau_m: float
    tau_s: float

    def inputs(self) -> tuple[Array, Array]:
        """Make x, float32 pictures (B, C, H, W) or uint8 spike trains (T, B, C, H, W), and labels y (B,)."""
        rng = np.random.default_rng(5)
        y = rng.integers(0, N_CLASSES, self.batch)
        if self.density is not None:
            shape = (self.n_steps, self.batch, *self.input_shape)
            return (rng.random(shape, dtype=np.float32) < self.density).astype(np.uint8), y
        shape = (self.batch, *self.input_shape)
        x = rng.random(shape, dtype=np.float32) * (rng.random(shape) < PICTURE_INK)
        return ((x - 0.1307) / 0.3081).astype(np.float32), y  # normalised as the paper's experiments do

    @property
    def title(self) -> str:
        """Name, network, steps and batch in a line."""
        feed = "static input" if self.density is None else f"{self.density:.0%} random spikes"
        size = "x".join(str(n) for n in self.input_shape)
        return f"{self.name}: {size} - {self.spec} - {N_CLASSES}, T {self.n_steps}, batch {self.batch}, {feed}"


def events(n_steps: int, *, batch: int = 50, width: int = 400, density: float = 0.02) -> Workload:
    """W3 with another number of steps, batch, width or density."""
    return Workload(f"W3-T{n_steps}", str(width), (2, 34, 34), n_steps, batch, density, 8.0, 4.0)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", "400-400", (1, 28, 28), 5, 100, None, 5.0, 3.0),
        Workload("W2", "15C5-P2-40C5-P2-300", (1, 28, 28), 5, 50, None, 5.0, 3.0),
        events(30),
        events(100),
        events(300),
        Workload("smoke", "3C3-P2-8", (1, 6, 6), 3, 4, None, 5.0, 3.0),
    )
}
RACED = tuple(name for name in WORKLOADS if name != "smoke")  # "smoke" is there to see that the race works

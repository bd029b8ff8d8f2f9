"""The workloads W1 to W4 and their inputs, as data: every contender is fed the same arrays.

A step is forward, loss, backward and AdamW on float32 weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

N_CLASSES = 10
INK = 0.3  # share of pixels that are not 0 in the made digits, about that of handwritten ones
COLOURS = 3  # channels of a photograph
ROUNDS, STEPS_A_ROUND = 30, 5  # on shared cores the median of 12 rounds moved by a tenth


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
        Share of ones in random spike trains; None for images shown at every step.
    tau_m, tau_s : float
        In steps.
    padding : tuple of int
        One a convolution; () for none.
    dropout : float
        Rate after every hidden layer of neurons.
    weight_scale : (float, float)
        Factor of our initial weights, of convolutions and of dense layers.
    rounds, steps_a_round : int
        Of the race: turns of every contender, and steps timed a turn.
    """

    name: str
    spec: str
    input_shape: tuple[int, int, int]
    n_steps: int
    batch: int
    density: float | None
    tau_m: float
    tau_s: float
    padding: tuple[int, ...] = ()
    dropout: float = 0.0
    weight_scale: tuple[float, float] = (1.0, 1.0)
    rounds: int = ROUNDS
    steps_a_round: int = STEPS_A_ROUND

    @property
    def paddings(self) -> int | tuple[int, ...]:
        """The argument `padding` of `layers_from_spec`."""
        return self.padding or 0

    def inputs(self) -> tuple[Array, Array]:
        """Make x, float32 images (B, C, H, W) or uint8 spike trains (T, B, C, H, W), and labels y (B,).

        A digit is normalised as the paper's experiments do it; a photograph, normalised, has no pixel that is 0.
        """
        rng = np.random.default_rng(5)
        y = rng.integers(0, N_CLASSES, self.batch)
        if self.density is not None:
            shape = (self.n_steps, self.batch, *self.input_shape)
            return (rng.random(shape, dtype=np.float32) < self.density).astype(np.uint8), y
        shape = (self.batch, *self.input_shape)
        if self.input_shape[0] == COLOURS:
            return rng.standard_normal(shape, dtype=np.float32), y
        x = rng.random(shape, dtype=np.float32) * (rng.random(shape) < INK)
        return ((x - 0.1307) / 0.3081).astype(np.float32), y

    @property
    def title(self) -> str:
        """Name, network, steps and batch in a line."""
        feed = "static input" if self.density is None else f"{self.density:.0%} random spikes"
        size = "x".join(str(n) for n in self.input_shape)
        return f"{self.name}: {size} - {self.spec} - {N_CLASSES}, T {self.n_steps}, batch {self.batch}, {feed}"


def events(n_steps: int, *, batch: int = 50, width: int = 400, density: float = 0.02) -> Workload:
    """W3 with another number of steps, batch, width or density."""
    return Workload(f"W3-T{n_steps}", str(width), (2, 34, 34), n_steps, batch, density, 8.0, 4.0)


# A step of W4 takes seconds: a disturbance of some ms is no part of it, and few steps are enough. A round of the seven
# contenders that are not compiled by torch takes half a minute.
CIFAR_ROUNDS = 6

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("W1", "400-400", (1, 28, 28), 5, 100, None, 5.0, 3.0),
        Workload("W2", "15C5-P2-40C5-P2-300", (1, 28, 28), 5, 50, None, 5.0, 3.0),
        events(30),
        events(100),
        events(300),
        Workload(
            "W4", "96C3-256C3-P2-384C3-P2-384C3-256C3-1024-1024", (COLOURS, 32, 32), 5, 20, None, 5.0, 3.0,
            padding=(1,) * 5, dropout=0.2, weight_scale=(5.0, 1.0), rounds=CIFAR_ROUNDS, steps_a_round=1,
        ),
        Workload("smoke", "3C3-P2-8", (1, 6, 6), 3, 4, None, 5.0, 3.0),
        Workload(
            "smoke-W4", "4C3-5C3-P2-30", (COLOURS, 6, 6), 5, 4, None, 5.0, 3.0,
            padding=(1,) * 2, dropout=0.2, weight_scale=(5.0, 1.0), steps_a_round=1,
        ),
    )
}  # fmt: skip
RACED = tuple(name for name in WORKLOADS if not name.startswith("smoke"))  # the others show that the race works

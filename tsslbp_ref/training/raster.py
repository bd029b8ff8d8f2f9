"""The embedded task, which needs no data: make output neurons fire so that their spike raster spells a word.

Fixed random spike trains come in; a network 100-120-7 learns to answer with a given train on each of seven output
neurons. Seen as a raster, neuron by time step, the trains draw the letters TSSL.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model.losses import value_and_gradient
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

Array = npt.NDArray[Any]

PICTURE = (
    "......................................",
    "..#####...####....####...#............",
    "....#....#.......#.......#............",
    "....#....#.......#.......#............",
    "....#.....###.....###....#............",
    "....#........#.......#...#............",
    "....#........#.......#...#............",
    "....#....####....####....#####........",
    "......................................",
)


@dataclass(frozen=True)
class RasterTask:
    """Input spike trains (T, 1, n_in), desired spike trains (T, 1, n_out), and the network that is to learn them."""

    inputs: Array
    desired: Array
    network: Network


def desired_raster() -> Array:
    """The picture as spike trains (T, n_out): a mark is a spike; output neuron 0 draws the lowest row."""
    rows = [row for row in PICTURE if "#" in row]
    return np.array([[mark == "#" for mark in row] for row in reversed(rows)], dtype=np.float64).T


def raster_task(
    seed: int = 0,
    *,
    desired: npt.ArrayLike | None = None,
    rule: GradientRule | None = None,
    n_inputs: int = 100,
    n_hidden: int = 120,
    rate: float = 0.1,
    dtype: str = "float32",
    n_threads: int = 1,
) -> RasterTask:
    """Make the task: the same seed gives the same trains and the same initial weights.

    Parameters
    ----------
    seed : int
    desired : (T, n_out) array_like of 0 and 1, optional
        A raster of one's own, one column an output neuron; `desired_raster` if not given.
    rule : GradientRule, optional
        The released rule if not given.
    n_inputs, n_hidden : int
    rate : float
        Probability of an input spike in a step.
    dtype : {"float32", "float64"}
    n_threads : int
        There is one sample, so more than one brings nothing.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of range.

    Examples
    --------
    >>> task = raster_task(seed=0)
    >>> task.inputs.shape
    (38, 1, 100)
    >>> raster_task(seed=0, desired=desired_raster()[:19]).desired.shape
    (19, 1, 7)
    """
    checks.axis_size("n_inputs", n_inputs)
    checks.axis_size("n_hidden", n_hidden)
    if checks.real_number("rate", rate, above=0.0) > 1.0:
        raise ValueError(f"rate must be at most 1, got {rate:g}")
    checks.float_dtype("dtype", dtype)
    trains = desired_raster() if desired is None else _checked_raster(desired)
    rng = np.random.default_rng(checks.positive_integer("seed", seed, minimum=0))
    inputs = (rng.random((len(trains), 1, n_inputs)) < rate).astype(dtype)
    network = Network.from_spec(
        str(n_hidden),
        (n_inputs,),
        trains.shape[1],
        len(trains),
        NeuronParameters(tau_m=5.0, tau_s=2.0),
        rule,
        seed,
        dtype,
        weight_scale=3.0,
        n_threads=n_threads,
    )
    return RasterTask(inputs, trains[:, None, :].astype(dtype), network)


def _checked_raster(desired: npt.ArrayLike) -> Array:
    """Raise unless `desired` is a raster (T, n_out) of 0 and 1."""
    trains = checks.finite_array("desired", desired)
    if trains.ndim != 2 or 0 in trains.shape:
        raise ValueError(f"desired must be (T, n_out): steps, output neurons; got shape {trains.shape}")
    if not np.isin(trains, (0, 1)).all():
        raise ValueError("desired must hold 0 and 1 only: a spike or none")
    return trains


def learn(
    task: RasterTask, n_updates: int = 3000, *, report: Callable[[int, float], None] = lambda update, loss: None
) -> list[float]:
    """Train the network in place on its one sample; return the loss before every update and after the last.

    Parameters
    ----------
    task : RasterTask
    n_updates : int
    report : callable
        Told the number of each update and the loss before it.

    Raises
    ------
    ValueError, TypeError
        If n_updates is not a positive integer.
    """
    optimiser = AdamW(task.network.weights, learning_rate=2e-3, weight_decay=0.0)
    history = []
    for update in range(checks.axis_size("n_updates", n_updates)):
        loss, gradients = task.network.loss_and_gradients(task.inputs, task.desired, loss="spike-train")
        optimiser.step(gradients)
        history.append(loss)
        report(update, loss)
    a = task.network.forward(task.inputs)
    return [*history, value_and_gradient("spike-train", a, task.desired, task.network.neurons[-1])[0]]


def output_spikes(task: RasterTask) -> Array:
    """The output neurons' spike trains (T, n_out), read back from the PSC: s[t] = 1 where a[t] > (1 - theta_s) a[t-1].

    Half a fresh PSC's height, theta_s / 2, parts the two cases.
    """
    a = task.network.forward(task.inputs)[:, 0]
    theta_s = task.network.neurons[-1].theta_s
    before = np.concatenate([np.zeros_like(a[:1]), a[:-1]])
    return (a - (1.0 - theta_s) * before > theta_s / 2).astype(np.float64)


def n_wrong(task: RasterTask) -> int:
    """Number of entries of the output raster that are not as desired."""
    return int(np.abs(output_spikes(task) - task.desired[:, 0]).sum())


def as_text(spikes: Array) -> str:
    """Draw spike trains (T, n_out) with one character a step and neuron 0 at the bottom."""
    return "\n".join("".join("#" if s else "." for s in row) for row in spikes.T[::-1])

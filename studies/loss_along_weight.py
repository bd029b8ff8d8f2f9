"""One weight of one network is moved: the exact loss, the discrete loss, and the slopes that the rules claim.

The exact loss is smooth but for jumps, where a spike appears or vanishes inside the run. The discrete loss is a
staircase: as long as no spike moves to another step, nothing changes.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from studies.random_networks import RandomNetwork, discrete_run, random_network
from tsslbp_ref import checks, exact
from tsslbp_ref.model.parameters import GradientRule

Array = npt.NDArray[np.float64]

SEED = 1  # a network of two layers whose loss has jumps, smooth pieces and slopes of both signs along this weight
LAYER, NEURON, INPUT = 0, 5, 7
WEIGHTS = (-1.0, 5.0)  # range of the weight, in the continuous model's unit
JUMP_WIDTH = 1e-9  # how closely the weight of a jump is known


@dataclass(frozen=True)
class Piece:
    """A stretch of the exact loss on which every neuron keeps its number of spikes."""

    weights: Array
    loss: Array
    slope: Array


def network_with(weight: float) -> RandomNetwork:
    """The study's network with its one weight set, simulated exactly.

    Raises
    ------
    ValueError, TypeError
        If the weight is not a finite number, or a spike grazes the threshold there.
    """
    weight = checks.real_number("weight", weight)
    network = _network()
    weights = [W.copy() for W in network.weights]
    weights[LAYER][NEURON, INPUT] = weight
    run = exact.simulate(weights, network.input_spikes, *network.constants, network.desired_spikes)
    return replace(network, weights=weights, exact=run)


@functools.cache
def _network() -> RandomNetwork:
    return random_network(SEED)


def spike_counts(network: RandomNetwork) -> tuple[int, ...]:
    """Count the spikes of every neuron."""
    return tuple(len(times) for layer in network.exact.spike_times for times in layer)


def exact_loss(n_points: int = 400, limits: tuple[float, float] = WEIGHTS) -> list[Piece]:
    """Exact loss and slope along the weight, cut where a spike appears or vanishes.

    Every piece reaches to the jump at its end, which is found by bisection. Pieces narrower than the grid of `n_points`
    can be missed.

    Raises
    ------
    ValueError, TypeError
        If n_points is not an integer of at least 2.
    """
    grid = np.linspace(*limits, checks.positive_integer("n_points", n_points, minimum=2))
    runs = [(weight, network_with(weight)) for weight in grid]
    pieces: list[list[tuple[float, RandomNetwork]]] = [[runs[0]]]
    for previous, following in itertools.pairwise(runs):
        if spike_counts(previous[1]) != spike_counts(following[1]):
            last, first = _jump(previous, following)
            pieces[-1].append(last)
            pieces.append([first])
        pieces[-1].append(following)
    return [_piece(points) for points in pieces]


def _jump(
    below: tuple[float, RandomNetwork], above: tuple[float, RandomNetwork]
) -> tuple[tuple[float, RandomNetwork], tuple[float, RandomNetwork]]:
    """Bisect to the weight where the spike counts first differ from those of `below`."""
    counts = spike_counts(below[1])
    while above[0] - below[0] > JUMP_WIDTH:
        weight = 0.5 * (below[0] + above[0])
        middle = (weight, network_with(weight))
        if spike_counts(middle[1]) == counts:
            below = middle
        else:
            above = middle
    return below, above


def _piece(points: list[tuple[float, RandomNetwork]]) -> Piece:
    weights, networks = zip(*points, strict=True)
    loss = [network.exact.loss for network in networks]
    slope = [network.exact.gradients[LAYER][NEURON, INPUT] for network in networks]
    return Piece(np.array(weights), np.array(loss), np.array(slope))


def discrete_loss(dt: float, n_points: int = 400, limits: tuple[float, float] = WEIGHTS) -> tuple[Array, Array]:
    """Return weights and L_d/dt there, the discrete loss in steps of dt.

    Raises
    ------
    ValueError, TypeError
        If n_points is not an integer of at least 2, or dt does not fit.
    """
    grid = np.linspace(*limits, checks.positive_integer("n_points", n_points, minimum=2))
    return grid, np.array([discrete_run(network_with(weight), dt, GradientRule()).loss for weight in grid])


def claimed_slopes(weights: npt.ArrayLike, dt: float, rule: GradientRule) -> Array:
    """dL/dw that a rule claims at these weights in steps of dt, in the continuous model's units.

    Raises
    ------
    ValueError, TypeError
        If a weight, dt or the rule does not fit.
    """
    checked = checks.finite_array("weights", weights, ndim=1)
    runs = [discrete_run(network_with(weight), dt, rule) for weight in checked]
    return np.array([run.gradients[LAYER][NEURON, INPUT] for run in runs])

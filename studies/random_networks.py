"""Random spiking networks in continuous time, the same ones for every study and test."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks, exact
from tsslbp_ref.model.layers import Dense
from tsslbp_ref.model.network import LayerFlow, Network
from tsslbp_ref.model.parameters import GradientRule

Array = npt.NDArray[np.float64]

DURATION = 40.0  # ms
THRESHOLD = 1.0
MAX_LAYERS = 3
N_INPUTS = (5, 10)  # all ranges: least and most
N_HIDDEN = (4, 8)
N_OUTPUTS = (2, 4)
TAU_M = (6.0, 12.0)  # ms
TAU_S = (3.0, 6.0)  # ms
INPUT_SPIKES = (2, 5)  # an input neuron
DESIRED_SPIKES = (1, 5)  # an output neuron
FAN_IN_WEIGHT = 15.5  # mean and standard deviation of a weight are this over the fan-in; gives about 31 spikes
MAX_DRAWS = 1000
NEAR_STREAM = 1  # of random numbers: the networks have their seed's own


@dataclass(frozen=True)
class RandomNetwork:
    """A network in continuous time, its stimulus and target, and its exact run.

    Attributes
    ----------
    weights : list of array
        (out, in), of the continuous model.
    input_spikes, desired_spikes : list of array
        Times in ms.
    tau_m, tau_s : float
        In ms.
    exact : ExactResult
        Spike times, loss and gradient.
    grazing_redraws, silent_redraws : int
        Draws thrown away before this one: a spike grazed the threshold, or a layer had no gradient.
    """

    weights: list[Array]
    input_spikes: list[Array]
    desired_spikes: list[Array]
    tau_m: float
    tau_s: float
    exact: exact.ExactResult
    grazing_redraws: int = 0
    silent_redraws: int = 0

    @property
    def constants(self) -> tuple[float, float, float, float]:
        """tau_m, tau_s, threshold and duration, in the order that `exact` takes them."""
        return self.tau_m, self.tau_s, THRESHOLD, DURATION


@dataclass(frozen=True)
class DiscreteRun:
    """The same network in steps of dt: loss and gradients in the continuous network's units."""

    loss: float
    gradients: list[Array]
    flows: list[LayerFlow]


def random_network(seed: int) -> RandomNetwork:
    """Draw a network of one to three layers; the same seed gives the same network.

    A draw is thrown away and drawn anew if a spike grazes the threshold (the exact gradient does not exist) or if the
    exact gradient of a layer is zero (nothing to compare with; as a rule a layer that does not fire).

    Raises
    ------
    ValueError, TypeError
        If the seed is not an integer from 0 on.
    """
    rng = np.random.default_rng(checks.positive_integer("seed", seed, minimum=0))
    n_layers = int(rng.integers(1, MAX_LAYERS + 1))
    grazing = silent = 0
    for _ in range(MAX_DRAWS):
        try:
            network = _draw(rng, n_layers)
        except ValueError as error:
            if "grazes" not in str(error):
                raise
            grazing += 1
            continue
        if all(np.any(gradient) for gradient in network.exact.gradients):
            return RandomNetwork(**(vars(network) | {"grazing_redraws": grazing, "silent_redraws": silent}))
        silent += 1
    raise RuntimeError(f"seed {seed}: no usable network in {MAX_DRAWS} draws")


def _draw(rng: np.random.Generator, n_layers: int) -> RandomNetwork:
    hidden = [_within(rng, N_HIDDEN) for _ in range(n_layers - 1)]
    sizes = [_within(rng, N_INPUTS), *hidden, _within(rng, N_OUTPUTS)]
    weights = [rng.normal(FAN_IN_WEIGHT / n, FAN_IN_WEIGHT / n, (m, n)) for n, m in itertools.pairwise(sizes)]
    input_spikes = [_train(rng, INPUT_SPIKES) for _ in range(sizes[0])]
    desired_spikes = [_train(rng, DESIRED_SPIKES) for _ in range(sizes[-1])]
    tau_m, tau_s = rng.uniform(*TAU_M), rng.uniform(*TAU_S)
    run = exact.simulate(weights, input_spikes, tau_m, tau_s, THRESHOLD, DURATION, desired_spikes)
    return RandomNetwork(weights, input_spikes, desired_spikes, tau_m, tau_s, run)


def _within(rng: np.random.Generator, limits: tuple[int, int]) -> int:
    return int(rng.integers(limits[0], limits[1] + 1))


def _train(rng: np.random.Generator, n_spikes: tuple[int, int]) -> Array:
    return np.sort(rng.uniform(0.0, DURATION, _within(rng, n_spikes)))


def near_goal(network: RandomNetwork, seed: int, distance: float = 0.15) -> RandomNetwork:
    """The same network near its goal: its own output is desired, and its weights are moved at random.

    A move is normal, and as long as `distance` times the norm of all weights. It is drawn anew where it changes no
    output spike, or where there is no exact gradient.

    Raises
    ------
    ValueError, TypeError
        If the seed is not an integer from 0 on, or the distance is not above 0.
    """
    rng = np.random.default_rng((checks.positive_integer("seed", seed, minimum=0), NEAR_STREAM))
    distance = checks.real_number("distance", distance, above=0.0)
    norm = math.sqrt(sum(float(np.vdot(W, W)) for W in network.weights))
    sigma = distance * norm / math.sqrt(sum(W.size for W in network.weights))
    desired = network.exact.spike_times[-1]
    for _ in range(MAX_DRAWS):
        weights = [W + sigma * rng.normal(size=W.shape) for W in network.weights]
        try:
            run = exact.simulate(weights, network.input_spikes, *network.constants, desired)
        except ValueError as error:
            if "grazes" not in str(error):
                raise
            continue
        if any(np.any(gradient) for gradient in run.gradients):
            return replace(network, weights=weights, desired_spikes=desired, exact=run)
    raise RuntimeError(f"seed {seed}: no usable move in {MAX_DRAWS} draws")


def discrete_run(network: RandomNetwork, dt: float, rule: GradientRule) -> DiscreteRun:
    """Loss and gradients of the network in steps of dt, by a rule, scaled to the continuous network's units.

    The rule's constants (clip, gate, width) stay as they are, in the discrete model's own units, whatever dt.

    Parameters
    ----------
    network : RandomNetwork
    dt : float
        Step in ms; `DURATION` must be a whole number of steps.
    rule : GradientRule

    Returns
    -------
    DiscreteRun

    Raises
    ------
    ValueError, TypeError
        If dt does not fit or the rule is not a GradientRule.
    """
    discrete, equal = on_grid(network, dt, rule)
    loss, gradients, _, flows = discrete.training_pass(
        equal.input_raster[:, None], equal.target_raster[:, None], "spike-train"
    )
    return DiscreteRun(equal.loss_factor * loss, [equal.gradient_factor * dW for dW in gradients], flows)


def on_grid(network: RandomNetwork, dt: float, rule: GradientRule) -> tuple[Network, exact.DiscreteEquivalent]:
    """The network in steps of dt, with a rule; its input, target and factors. Errors are those of `discrete_run`."""
    equal = exact.discrete_equivalent(
        network.weights, network.input_spikes, network.desired_spikes, *network.constants, dt
    )
    discrete = Network(
        [Dense((W.shape[1],), W.shape[0]) for W in equal.weights],
        equal.weights,
        n_steps=len(equal.input_raster),
        neuron=equal.neuron,
        rule=rule,
        dtype="float64",
        n_threads=1,
    )
    return discrete, equal

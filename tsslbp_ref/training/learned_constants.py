"""Time constants that are trained with the weights: tau_m and tau_s of each hidden layer, one a layer.

tau = 1 + exp(rho), so that tau > 1 whatever rho; theta = 1/tau = sigmoid(-rho) is the map of PLIF (Fang et al., ICCV
2021), which learns one tau_m a layer. The gradient is the rule's (`constants`): tau_m at fixed W_d, which the network
holds, and tau_s of the PSC that the layer emits. rho has its own AdamW: a learning rate of its own, no decay, and no
part in the clip of the weights' norm. Adam takes the size out of a sum over hundreds of neurons.

What is not learned: V, which adds nothing that the weights cannot do; the input's tau_s; and the last layer's
constants, whose tau_s is the loss's: a loss that may choose its own filter falls by making it slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model import constants
from tsslbp_ref.model.network import LayerFlow, Network
from tsslbp_ref.model.optim import AdamW

Array = npt.NDArray[np.float64]

LEARNED = ("tau_m", "tau_s")


def tau_of(rho: Array) -> Array:
    """tau = 1 + exp(rho).

    >>> tau_of(np.array([0.0]))
    array([2.])
    """
    with np.errstate(over="ignore"):  # a constant without bound is an error where it is used
        return 1.0 + np.exp(rho)


def by_rho(by_tau: Array, tau: Array) -> Array:
    """dL/drho = (tau - 1) dL/dtau.

    >>> by_rho(np.array([2.0]), tau=np.array([4.0]))
    array([6.])
    """
    return (tau - 1.0) * by_tau


class LearnedConstants:
    """tau_m and tau_s of a network's hidden layers, and their optimiser.

    Parameters
    ----------
    network : Network
        Its constants are replaced at every step.
    learning_rate : float
        Of rho.

    Attributes
    ----------
    rho : array
        (2, n_hidden): of tau_m, of tau_s.
    optimiser : AdamW
        Of rho.

    Raises
    ------
    ValueError, TypeError
        If the network is none in steps, has no hidden layer, or a constant that is to be learned is 1, where rho has no
        value; or the rate is not positive and finite.

    Examples
    --------
    >>> net = Network.from_spec("20", (4,), n_classes=3, n_steps=5, weight_scale=2.0)
    >>> learned = LearnedConstants(net, learning_rate=0.1)
    >>> learned.step(net.gradient_flow(np.ones((2, 4)), [0, 1]))
    >>> [neuron.tau_m != 5.0 for neuron in net.neurons], net.input_tau_s
    ([True, False], 3.0)
    """

    def __init__(self, network: Network, learning_rate: float) -> None:
        self.network = checks.instance_of("network", network, Network)
        hidden = network.neurons[:-1]
        if not hidden:
            raise ValueError("constants can be learned in hidden layers only, and the network has none")
        tau = np.array([[getattr(neuron, name) for neuron in hidden] for name in LEARNED])
        for name, layer in np.argwhere(tau <= 1.0):
            raise ValueError(
                f"{LEARNED[name]} of layer {layer + 1} must be above 1 to be learned, got {tau[name, layer]:g}"
            )
        network.input_tau_s = network.input_tau_s  # its own from now on, and not the first layer's
        self.rho = np.log(tau - 1.0)
        self.optimiser = AdamW([self.rho], learning_rate, weight_decay=0.0, clip_norm=math.inf, weight_clamp=math.inf)

    def step(self, flows: Sequence[LayerFlow]) -> None:
        """Make a step of rho from what passed through the layers, and give the network its new constants.

        Raises
        ------
        ValueError
            If a gradient is not finite, or a constant left the finite numbers.
        """
        self.optimiser.step([self.gradient(flows)])
        self.apply()

    def gradient(self, flows: Sequence[LayerFlow]) -> Array:
        """dL/drho, (2, n_hidden): sums over the neurons of each hidden layer."""
        by_tau = np.zeros_like(self.rho)
        for layer, (flow, neuron) in enumerate(zip(flows[:-1], self.network.neurons, strict=False)):
            by_tau[0, layer] = np.sum(constants.by_tau_m_fixed_W_d(flow.delta, flow.trace, neuron), dtype=np.float64)
            by_tau[1, layer] = np.sum(constants.by_tau_s(flow.g, flow.trace.s, flow.trace.a, neuron), dtype=np.float64)
        return by_rho(by_tau, tau_of(self.rho))

    def apply(self) -> None:
        """Give the network the constants of rho."""
        neurons = self.network.neurons
        values = zip(*tau_of(self.rho).tolist(), strict=True)
        hidden = [
            replace(neuron, **dict(zip(LEARNED, own, strict=True)))
            for neuron, own in zip(neurons, values, strict=False)
        ]
        self.network.neuron = (*hidden, neurons[-1])

    def metrics(self) -> dict[str, Any]:
        """The constants of the hidden layers, for the metrics of an epoch."""
        return dict(zip(LEARNED, tau_of(self.rho).tolist(), strict=True))

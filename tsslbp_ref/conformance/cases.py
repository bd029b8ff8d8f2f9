"""The cases: inputs, and the arrays that belong to them, each layer, loss and network of the golden files.

What the authors' code gave is taken from the golden files. What lies between, of which those files hold nothing (I, u,
s of a network, its dL/da and delta), comes from this project's plain loops, which agree with the authors' numbers to
1e-12.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.gradcheck.golden_checks import COUNTS, FILES, LOSS_NEURON, golden_network, golden_numbers
from tsslbp_ref.model import backpropagation, losses, sweeps
from tsslbp_ref.model.backpropagation import NeuronRecord
from tsslbp_ref.model.layers import Layer
from tsslbp_ref.model.network import Network, PlainEngine
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, rule_by_name
from tsslbp_ref.model.trace import Trace

Array = npt.NDArray[Any]

STATES = tuple(dict.fromkeys(file.rule for file in FILES.values()))
SYMBOLS = ("I", "u", "s", "a", "loss", "g", "delta", "dW")  # in the order in which they are computed
BACKWARD = ("g", "delta", "dW")
LOSS_CASES = ("kernel", "count", "softmax")
LOSS_FILE = "released_code_vectors"


class Quantity(NamedTuple):
    """One array of a case, (T, B, N) where it runs over time.

    `sample` is the shape of one sample at one step, None where the array does not run over time; `layer` the number of
    the layer of neurons in a network.
    """

    symbol: str
    values: Array
    sample: tuple[int, ...] | None = None
    layer: int | None = None
    required: bool = True

    @property
    def name(self) -> str:
        """Symbol and layer, as "delta1"."""
        return self.symbol if self.layer is None else f"{self.symbol}{self.layer}"


@dataclass(frozen=True)
class Case:
    """Inputs of one layer, loss or network, and what has to come out.

    Parameters
    ----------
    state : str
        "released", or one of the states of 2020: whose rule is meant.
    key : str
        The case's name within the state.
    kind : {"layer", "loss", "network"}
    file : str
        Of the golden numbers.
    """

    state: str
    key: str
    kind: str
    file: str

    @property
    def name(self) -> str:
        """State and case, as "released/dense"."""
        return f"{self.state}/{self.key}"

    @property
    def commit(self) -> str:
        """Of the authors' repository."""
        return FILES[self.file].commit

    @property
    def rule(self) -> GradientRule:
        """The state's gradient rule."""
        return rule_by_name(self.state)

    @property
    def neuron(self) -> NeuronParameters:
        """Constants of every layer."""
        if self.kind == "layer":
            return NeuronParameters(*self.golden("par"))
        return NeuronParameters(*self.golden("par")[1:]) if self.kind == "network" else LOSS_NEURON

    @property
    def loss(self) -> str | None:
        """The loss's name; None for a layer."""
        if self.kind == "layer":
            return None
        return FILES[self.file].losses[self.key] if self.kind == "network" else self.key.removeprefix("loss-")

    @property
    def layers(self) -> list[Layer]:
        """Linear maps of a network, from the input on; neurons stand behind each that has weights."""
        return self.network().layers if self.kind == "network" else []

    def golden(self, key: str) -> Array:
        """An array of the golden file."""
        prefix = "loss" if self.kind == "loss" else self.key
        return golden_numbers(self.file)[f"{prefix}_{key}"]

    def network(self) -> Network:
        """The network of the case, with its weights, computed by the plain loops in float64."""
        return golden_network(self.file, self.key, engine=PlainEngine())

    def inputs(self) -> list[Quantity]:
        """What an implementation is given; a static image as a train that repeats it at every step."""
        if self.kind == "layer":
            arrays = [self._over_time(key, self.golden(key)) for key in ("I", "g")]
        elif self.kind == "loss":
            arrays = [self._over_time("a", self.golden("a")), Quantity("y", self.golden("y"))]
        else:
            net, x = self.network(), self.golden("x")
            trains = np.repeat(x[None], net.n_steps, axis=0) if net.is_static(x) else x
            sample = trains.shape[2:] if len(net.layers[0].output_shape) == 3 else (int(np.prod(trains.shape[2:])),)
            flat = trains.reshape(*trains.shape[:2], -1)
            arrays = [Quantity("x", flat, sample), Quantity("y", self.golden("y"))]
            arrays += [Quantity("W", W, None, number) for number, W in enumerate(net.weights)]
        constants = {"tau_m": self.neuron.tau_m, "tau_s": self.neuron.tau_s, "V": self.neuron.threshold}
        return arrays + [Quantity(name, np.array(value)) for name, value in constants.items()]

    def expected(self) -> list[Quantity]:
        """What has to come out, in the order in which it is computed."""
        return _expected(self)

    @staticmethod
    def _over_time(symbol: str, values: Array, *, required: bool = True) -> Quantity:
        return Quantity(symbol, values, values.shape[2:], None, required)


def cases(states: str | Iterable[str] | None = None) -> list[Case]:
    """All cases of the states, of all states if none is named.

    Raises
    ------
    ValueError, TypeError
        If a state is unknown (the known ones are listed), or none is given.

    Examples
    --------
    >>> [case.name for case in cases("june-2020")][:2]
    ['june-2020/layer0', 'june-2020/layer1']
    """
    given = STATES if states is None else [states] if isinstance(states, str) else checks.listed("states", states)
    wanted = [checks.one_of("state", state, STATES) for state in given]
    if not wanted:
        raise ValueError("states must name at least one state")
    found = []
    for file, content in FILES.items():
        found += [Case(content.rule, key, "layer", file) for key in content.layers]
        if file == LOSS_FILE:
            found += [Case(content.rule, f"loss-{name}", "loss", file) for name in LOSS_CASES]
        found += [Case(content.rule, key, "network", file) for key in content.losses]
    return [case for case in found if case.state in wanted]


@cache
def _expected(case: Case) -> list[Quantity]:
    if case.kind == "layer":
        trace = sweeps.lif_forward(case.golden("I"), case.neuron)
        return layer_quantities(trace, case.golden("dI"), case.golden("a"))
    if case.kind == "loss":
        value = case.golden(str(case.loss))
        return [Quantity("loss", value), case._over_time("g", case.golden(f"{case.loss}_da"))]
    golden = [case.golden(f"dW{number}") for number in range(len(case.network().weights))]
    return network_quantities(case, case.network(), str(case.loss), case.golden("loss"), case.golden("a"), golden)


def layer_quantities(trace: Trace, delta: Array, a: Array | None = None) -> list[Quantity]:
    """u, s, a, delta of one layer; the PSC is the trace's if none is given."""
    arrays = {"u": trace.u, "s": trace.s, "a": trace.a if a is None else a, "delta": delta}
    return [Case._over_time(symbol, x, required=symbol in ("a", "delta")) for symbol, x in arrays.items()]


def network_quantities(
    case: Case,
    net: Network,
    loss: str,
    value: Array | None = None,
    output: Array | None = None,
    gradients: list[Array] | None = None,
) -> list[Quantity]:
    """All arrays of a network by the plain loops; loss, output PSC and dL/dW are those given, if they are."""
    records, a = backpropagation.forward(net, case.golden("x"), [None] * len(net.layers))
    target = losses.Loss(loss, net.neurons[-1], COUNTS)
    found_value, g = target.value_and_gradient(a, target.target(case.golden("y"), a.shape, a.dtype))
    found_gradients, flows, _ = backpropagation.backward(net, records, g)
    fired = [record for record in records if isinstance(record, NeuronRecord)]
    last = len(fired) - 1
    up: list[Quantity] = []
    down: list[Quantity] = []
    for number, (record, flow) in enumerate(zip(fired, flows, strict=True)):
        sample = record.layer.output_shape
        I = record.layer.forward(record.a_below, record.W).reshape(record.trace.u.shape)
        psc = output if number == last and output is not None else record.trace.a
        for symbol, values in (("I", I), ("u", record.trace.u), ("s", record.trace.s), ("a", psc)):
            up.append(Quantity(symbol, values, sample, number, required=symbol == "a" and number == last))
        dW = (gradients or found_gradients)[number]
        back = [Quantity("g", flow.g, sample, number, False), Quantity("delta", flow.delta, sample, number, False)]
        down = [*back, Quantity("dW", dW, None, number), *down]
    return [*up, Quantity("loss", np.array(found_value if value is None else value)), *down]

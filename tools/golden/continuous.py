"""Golden numbers of continuous time, made again: `python -m tools.golden.continuous [cases|constants] [--digits N]`.

For each network of ``exact_cases.json`` and ``exact_constants.json`` spike times, losses and derivatives are computed
from the network alone: by `tools.golden.membranes` and central differences, as the files' texts "convention" define
them. Nothing of the package is imported. Printed is the largest difference from the file, over the largest number of
the array; above 1e-13 the status is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, getcontext
from functools import cache
from pathlib import Path
from typing import Any

from tools.golden.membranes import Neuron, Response, arithmetic, decay, followed, searched

FOLDER = Path(__file__).resolve().parents[2] / "tsslbp_ref" / "gradcheck"
FILES = ("cases", "constants")
TOLERANCE = 1e-13
DIGITS = 60
FEWEST_DIGITS = 40
BAD_INPUT = 2
SUMS = {"tau_m_layer": "tau_m", "threshold_layer": "threshold", "tau_s": "tau_s_neuron"}  # one number for a layer

Losses = dict[str, Decimal]


def networks(file: str) -> list[dict[str, Any]]:
    """The networks of a file, those of the cases brought to the form of the others."""
    found = json.loads((FOLDER / f"exact_{file}.json").read_text())["cases"]
    return [_with_constants(case) for case in found] if file == "cases" else found


def _with_constants(case: Mapping[str, Any]) -> dict[str, Any]:
    weights, golden = case["weights"], case["exact"]
    loss = {"tau": case["tau_s"], "value": golden["loss"], "gradients": {"weights": golden["grad"]}}
    return {
        **{key: case[key] for key in ("name", "weights", "input_spikes", "desired_spikes")},
        "delays": [[[0.0] * len(row) for row in W] for W in weights],
        "tau_m": [[case["tau_m"]] * len(W) for W in weights],
        "threshold": [[case["V_th"]] * len(W) for W in weights],
        "tau_s": [case["tau_s"]] * len(weights),
        "duration": case["T"],
        "spikes": golden["spikes"],
        "losses": {"van-rossum": loss},
    }


def decimals(values: Any) -> Any:
    """The doubles of nested lists as decimals, exactly."""
    if isinstance(values, list):
        return [decimals(value) for value in values]
    return None if values is None else Decimal(values)


class Network:
    """A stored network in decimals: `parts` holds, by the files' names, what derivatives are taken by."""

    def __init__(self, case: Mapping[str, Any]) -> None:
        keys = ("weights", "delays", "tau_m", "threshold")
        self.parts: dict[str, list[Any]] = {key: decimals(case[key]) for key in keys}
        self.parts["input_times"] = decimals(case["input_spikes"])
        pairs = zip(case["tau_s"], case["weights"], strict=True)
        self.parts["tau_s_neuron"] = [[Decimal(tau_s)] * len(W[0]) for tau_s, W in pairs]
        self.settings = case["losses"]
        self.parts["loss_tau"] = [Decimal(s["tau"]) for s in self.settings.values() if "tau" in s]
        self.desired = decimals(case["desired_spikes"])
        self.duration = Decimal(case["duration"])
        self.base = self.responses(None)

    def neuron(self, layer: int, i: int, trains: Sequence[Sequence[Decimal]]) -> Neuron:
        """Neuron i of a layer with what arrives from the trains of the layer below."""
        W, delays, taus, thresholds = (
            self.parts[key][layer] for key in ("weights", "delays", "tau_s_neuron", "threshold")
        )
        arrivals = [
            (t + delays[i][j], W[i][j], taus[j])
            for j, train in enumerate(trains)
            for t in train
            if t + delays[i][j] < self.duration
        ]
        threshold = None if thresholds is None else thresholds[i]
        return Neuron(tuple(sorted(arrivals)), self.parts["tau_m"][layer][i], threshold, self.duration)

    def responses(self, base: list[list[Response]] | None) -> list[list[Response]]:
        """What each neuron of each layer does: searched for, or followed from the responses `base`."""
        trains, found = self.parts["input_times"], []
        for layer, W in enumerate(self.parts["weights"]):
            neurons = [self.neuron(layer, i, trains) for i in range(len(W))]
            found.append(
                [searched(n) for n in neurons]
                if base is None
                else [followed(*pair) for pair in zip(neurons, base[layer], strict=True)]
            )
            trains = [response.spikes for response in found[-1]]
        return found

    def losses(self) -> Losses:
        """All losses of the network, its parts being as they are now."""
        output = self.responses(self.base)[-1]
        return {name: self.loss(name, output) for name in self.settings}

    def loss(self, name: str, output: list[Response]) -> Decimal:
        """One loss of the output layer's responses."""
        s = self.settings[name]
        if name == "van-rossum":
            return self.van_rossum([response.spikes for response in output])
        if name == "peak":
            return cross_entropy([response.peak.height for response in output if response.peak], s["label"])
        tau0, tau1, alpha = (Decimal(s[key]) for key in ("tau0", "tau1", "alpha"))
        first = [response.spikes[0] if response.spikes else self.duration for response in output]
        late = alpha * ((first[s["label"]] / tau1).exp() - 1)
        return cross_entropy([-t / tau0 for t in first], s["label"]) + late

    def van_rossum(self, trains: Sequence[Sequence[Decimal]]) -> Decimal:
        """1/2 int_0^T (a - d)^2 dt, the integral of each product of two kernels in closed form."""
        (tau,), T, total = self.parts["loss_tau"], self.duration, Decimal(0)
        for train, desired in zip(trains, self.desired, strict=True):
            signed = [*((t, 1) for t in train), *((t, -1) for t in desired)]
            for t, sign in signed:
                for s, other in signed:
                    until_end = decay(t, T, tau) * decay(s, T, tau)
                    total += sign * other * (decay(min(s, t), max(s, t), tau) - until_end) / (4 * tau)
        return total


def cross_entropy(scores: list[Decimal], label: int) -> Decimal:
    """-log softmax(scores)[label]."""
    return sum((x.exp() for x in scores), Decimal(0)).ln() - scores[label]


def differences(values: list[Any], losses: Callable[[], Losses]) -> list[Any]:
    """The derivatives of all losses by each number of nested lists, by central differences; None stays None."""
    step = Decimal(10) ** -(getcontext().prec // 4)  # half of the digits are right, even where tau_m = tau_s
    found: list[Any] = []
    for k, value in enumerate(values):
        if isinstance(value, Decimal):
            values[k] = value + step
            above = losses()
            values[k] = value - step
            below = losses()
            values[k] = value
            found.append({name: (above[name] - below[name]) / (2 * step) for name in above})
        else:
            found.append(None if value is None else differences(value, losses))
    return found


def of_loss(derivatives: Any, name: str) -> Any:
    """One loss's derivatives out of those of all."""
    if isinstance(derivatives, list):
        return [of_loss(entry, name) for entry in derivatives]
    return None if derivatives is None else derivatives[name]


def compared(case: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """Loss, quantity and largest difference, for every number of a network that the file has."""
    network = Network(case)
    yield "-", "spikes", difference([[r.spikes for r in layer] for layer in network.base], case["spikes"])

    @cache
    def derivatives(part: str) -> list[Any]:
        return differences(network.parts[part], network.losses)

    values = network.losses()
    for name, golden in case["losses"].items():
        yield name, "value", difference([values[name]], [golden["value"]])
        if name == "peak":
            peaks = zip(*(response.peak for response in network.base[-1] if response.peak), strict=True)
            for key, numbers in zip(("times", "heights", "at_arrival"), peaks, strict=True):
                yield name, key, difference([numbers], [golden[key]])
        for key, stored in golden["gradients"].items():
            made = of_loss(derivatives(SUMS.get(key, key)), name)
            if key in SUMS:
                made = [None if layer is None else sum(layer) for layer in made]
            yield name, key, difference(made, [stored] if key == "loss_tau" else stored)


def difference(made: Sequence[Any], stored: Sequence[Any]) -> float:
    """Largest difference of two lists of arrays, each over the stored array's largest number; inf if forms differ."""
    try:
        return max(_array_difference(list(_pairs(*arrays))) for arrays in zip(made, stored, strict=True))
    except ValueError:
        return float("inf")


def _array_difference(pairs: list[tuple[Any, Decimal]]) -> float:
    largest = max((abs(b) for _, b in pairs), default=Decimal(0))
    return float(max((abs(a - b) for a, b in pairs), default=Decimal(0)) / (largest or 1))


def _pairs(made: Any, stored: Any) -> Iterator[tuple[Any, Decimal]]:
    """Number and stored number; a ValueError where there is one of them only."""
    if (made is None) != (stored is None):
        raise ValueError("a number against none")
    if isinstance(stored, list):
        for pair in zip(made, stored, strict=True):
            yield from _pairs(*pair)
    elif stored is not None:
        yield made, Decimal(stored)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the largest difference of every quantity of every network; 1 if one is above 1e-13."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.golden.continuous", description=(__doc__ or "").partition(":")[0]
    )
    parser.add_argument("file", nargs="?", choices=FILES, help="exact_FILE.json; both if not given")
    parser.add_argument("--digits", type=int, default=DIGITS, help=f"of the arithmetic; {DIGITS} if not given")
    options = parser.parse_args(arguments)
    if options.digits < FEWEST_DIGITS:
        print(f"tools.golden.continuous: error: --digits must be at least {FEWEST_DIGITS}", file=sys.stderr)
        return BAD_INPUT
    start, worst = time.perf_counter(), 0.0
    for file in (options.file,) if options.file else FILES:
        for case in networks(file):
            with arithmetic(options.digits):
                for loss, quantity, found in compared(case):
                    print(f"{file:9} {case['name']:54} {loss:11} {quantity:15} {found:.1e}")
                    worst = max(worst, found)
    print(f"largest difference {worst:.1e}, {options.digits} digits, {time.perf_counter() - start:.0f} s")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())

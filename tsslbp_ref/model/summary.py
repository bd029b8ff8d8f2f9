"""A network in words: the paper's name for its layers, and a table of all that it is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsslbp_ref.model.layers import Conv2d, Dropout, Layer, SumPool2d
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, named_rules

if TYPE_CHECKING:
    from tsslbp_ref.model.network import Network

HEADINGS = ("layer", "output shape", "weights", "neuron")


def short(network: Network) -> str:
    """One line: the spec with its output layer, the shape of the input, T and the dtype."""
    parts = (part_of_spec(layer) for layer in network.layers if not isinstance(layer, Dropout))
    return f"<Network {'-'.join(parts)}, input {network.input_shape}, T = {network.n_steps}, {network.dtype.name}>"


def part_of_spec(layer: Layer) -> str:
    """How a spec names a layer: "15C5", "P2", "300"; a layer that it does not name has its class's name."""
    if isinstance(layer, Conv2d):
        return f"{layer.n_filters}C{layer.kernel_size}"
    if isinstance(layer, SumPool2d):
        return f"P{layer.size}"
    return str(layer.n_out) if hasattr(layer, "n_out") else type(layer).__name__.lower()


def table(network: Network) -> str:
    """A line a layer: its name and factors, output shape, shape and number of its weights, and its neurons' constants.

    The last line has the number of steps, the rule, the dtype and the number of all weights.
    """
    neurons = iter(network.neurons)
    rows = [HEADINGS, ("input", str(network.input_shape), "", f"tau_s {network.input_tau_s:g}")]
    for layer in network.layers:
        of_neurons = ("", "") if layer.weight_shape is None else (str(layer.weight_shape), _constants(next(neurons)))
        rows.append((_name(layer), str(layer.output_shape), *of_neurons))
    n_weights = sum(math.prod(layer.weight_shape) for layer in network.layers if layer.weight_shape is not None)
    facts = (
        f"T = {network.n_steps} steps",
        f"rule {_rule(network.rule)}",
        network.dtype.name,
        f"{n_weights:,} weights",
    )
    return f"{_aligned(rows)}\n{', '.join(facts)}"


def _name(layer: Layer) -> str:
    """The part of the spec, and what a spec does not say."""
    beside = ""
    if isinstance(layer, Conv2d) and layer.padding:
        beside = f", padding {layer.padding}"
    if isinstance(layer, SumPool2d):
        beside = f", gain {layer.gain:g}"
    if isinstance(layer, Dropout):
        beside = f" {layer.rate:g}" + (f" a {layer.form}" if layer.form != "unit" else "")
    return part_of_spec(layer) + beside


def _constants(neuron: NeuronParameters) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(neuron).items())


def _rule(rule: GradientRule) -> str:
    """The rule's name, or what is not as in the released one."""
    for name, known in named_rules().items():
        if rule == known:
            return name
    released = dataclasses.asdict(GradientRule())
    changed = (f"{name} {value}" for name, value in dataclasses.asdict(rule).items() if value != released[name])
    return f"released but {', '.join(changed)}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

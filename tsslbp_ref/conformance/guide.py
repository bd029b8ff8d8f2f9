"""What an exported file says of itself: a text for the reader and a description for a program."""

from __future__ import annotations

from typing import Any

import numpy as np

from tsslbp_ref.conformance.cases import Case, Quantity
from tsslbp_ref.conformance.layouts import AXES, to_layout
from tsslbp_ref.model.layers import Conv2d, Layer, SumPool2d

UNITS = {  # membrane: the unit of V
    "I": "membrane",
    "u": "membrane",
    "V": "membrane",
    "W": "membrane",
    "delta": "1/membrane",
    "dW": "1/membrane",
    "tau_m": "steps",
    "tau_s": "steps",
}
MEANINGS = {
    "I": "weighted input",
    "u": "membrane before the reset",
    "s": "spikes, 0 or 1",
    "a": "PSC",
    "loss": "loss",
    "g": "dL/da",
    "delta": "dL/du, equally dL/dI",
    "dW": "dL/dW",
    "x": "spike trains of the input, not yet filtered",
    "y": "labels",
    "W": "weights, (out, in) or (out, in, rows, columns)",
    "tau_m": "time constant of the membrane",
    "tau_s": "time constant of the synapse",
    "V": "threshold",
}
LOSSES = {
    "kernel": "L = sum 1/2 (a - d)^2 over steps, batch and neurons; d is 0 but for the true class, there 0,1,1,1,1 "
    "(from T = 10 on 0,1 repeated) filtered twice by the PSC",
    "kernel-paper": "L = sum 1/2 (a - d)^2 over steps, batch and neurons; d is 0 but for the true class, there "
    "0,1,0,1,1 (0,1 repeated, and a 1 at the last step) filtered once by the PSC",
    "count": "L = T/2 sum e^2 over batch and neurons, e = (sum_t a[t] - n)/T, n = 4 for the true class and 1 for the "
    "others; e = 0 where the true class is above n and where another is below; dL/da[t] = e at every step",
    "softmax": "L = mean over the batch of -log softmax(q)[y], q = sum_t a[t]",
}
README = """Cases of tsslbp_ref: does another implementation of TSSL-BP agree with the authors' code, and if not, where?

What runs over time has the axes {axes}.{images}
All numbers are float64; compute in float64.

Inputs are named STATE/CASE/NAME. STATE says whose gradient rule is meant: "released" is the authors' last commit, the
others are their commits of 2020. Do those that your code claims to be. The JSON text "cases" in this file lists, for
each case, its inputs, its layers and loss, and the arrays to write back: "write" has to be there for each case that you
do, "may" finds the place of a difference more closely.

A layer: I -> u, s, a; then g = dL/da -> delta = dL/du.
    u[t] = (1 - 1/tau_m) v[t-1] + I[t];  s[t] = 1 where u[t] > V, else 0;  v[t] = u[t] (1 - s[t])
    a[t] = (1 - 1/tau_s) a[t-1] + s[t]/tau_s;  v[-1] = a[-1] = 0
A loss: a, y -> loss, g.
A network: x, y, W0, W1, ... -> I0, u0, s0, a0, I1, ... loss, ... g1, delta1, dW1, g0, delta0, dW0. A number behind a
symbol counts the layers of neurons from 0. x is filtered by the PSC first. Pooling is a block's sum times a factor.
A dense layer sees an image flattened channel, row, column.

Write your arrays under the same names into a file of your own, in the same layout:

    given = numpy.load("cases.npz")
    mine = {{"released/layer0/a": a, "released/layer0/delta": delta}}
    numpy.savez("mine.npz", **mine)

and then: tsslbp-ref conformance compare mine.npz{option}
"""
IMAGES = " N counts an image's values in the order channel, row, column."
NO_IMAGES = " Where there is no image, C counts the neurons and H = W = 1."


def readme(layout: str) -> str:
    """The text for the reader."""
    option = "" if layout == "TBN" else f" --layout {layout}"
    return README.format(axes=AXES[layout], images=NO_IMAGES if layout == "BCHWT" else IMAGES, option=option)


def description(case: Case, layout: str) -> dict[str, Any]:
    """A case for a program: whose rule, constants, layers, and each array with meaning, axes, shape and unit."""
    expected = case.expected()
    return {
        "kind": case.kind,
        "state": case.state,
        "commit": case.commit,
        "layers": [_layer(layer) for layer in case.layers],
        "loss": None if case.loss is None else LOSSES[case.loss],
        "inputs": {q.name: _array(q, layout) for q in case.inputs()},
        "write": {q.name: _array(q, layout) for q in expected if q.required},
        "may": {q.name: _array(q, layout) for q in expected if not q.required},
    }


def _array(quantity: Quantity, layout: str) -> dict[str, Any]:
    over_time = quantity.sample is not None
    values = to_layout(quantity.values, quantity.sample, layout) if quantity.sample is not None else quantity.values
    found: dict[str, Any] = {"meaning": MEANINGS[quantity.symbol], "shape": list(np.shape(values))}
    found |= {"axes": AXES[layout].partition(":")[0]} if over_time else {}
    found |= {"image": list(quantity.sample)} if quantity.sample is not None and len(quantity.sample) == 3 else {}
    return found | {"unit": UNITS.get(quantity.symbol, "1")}


def _layer(layer: Layer) -> dict[str, Any]:
    """A linear map; neurons stand behind each that has weights."""
    shapes = {"in": list(layer.input_shape), "out": list(layer.output_shape)}
    if isinstance(layer, Conv2d):
        return {"kind": "convolution", **shapes, "kernel": layer.kernel_size, "padding": layer.padding, "stride": 1}
    if isinstance(layer, SumPool2d):
        return {"kind": "sum pooling", **shapes, "size": layer.size, "factor": layer.gain}
    return {"kind": "dense", **shapes}

"""Rows that hold sweeps, layers and losses equal to the literal loops: O(T) against O(T^2), arrays against loops."""

from __future__ import annotations

from functools import partial

import numpy as np

from tsslbp_ref.gradcheck.finite_differences import Array, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.model import layers, losses, reference, reference_layers, reference_losses, sweeps
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, named_rules
from tsslbp_ref.model.trace import Trace

NEURONS = (NeuronParameters(5.0, 3.0, 1.0), NeuronParameters(2.5, 7.0, 0.6))
SHAPE = (12, 2, 4)  # T, B, N
SEED = 224  # spikes, silence, and slow rises on both sides of the clip, for both neurons
TOLERANCES = {"float64": 1e-12, "float32": 1e-5}  # rounding of about 100 operations in either precision
CONVOLUTIONS = tuple(
    layers.Conv2d((2, 5, 6), n_filters=3, kernel_size=size, padding=padding)
    for size, padding in ((3, 0), (3, 1), (3, 2), (2, 0), (2, 1), (1, 0))
)

POOLS = (
    layers.SumPool2d((2, 6, 4), 2),
    layers.SumPool2d((2, 7, 5), 2),
    layers.SumPool2d((2, 6, 7), 3, 1.0),
)
LOSS_STEPS = (2, 5, losses.LONG_TRAIN - 1, losses.LONG_TRAIN)  # the train as released is another one from the last on
LABELS = np.array([2, 0, 1])  # of 3 classes


def all_checks() -> list[Check]:
    """Filter, forward, backward by rule and precision, the maps between layers, and the losses."""
    return [*_time_rows(), *_convolution_rows(), *_unweighted_rows(), *_loss_rows()]


# ---------------------------------------------------------------------------------------------------------------------
# Sweeps over time
# ---------------------------------------------------------------------------------------------------------------------


def _time_rows() -> list[Check]:
    exact = TOLERANCES["float64"]
    rows = [
        Check("sweep-psc-filter", "a = eps * s: recursion against double sum", "sweeps.psc_filter", exact, _psc_filter),
        Check("sweep-forward", "u, a of a layer (F3 - F6)", "sweeps.lif_forward", exact, _forward),
    ]
    for precision, tolerance in TOLERANCES.items():
        rows += [
            Check(
                f"sweep-backward-{name}-{precision}",
                f"delta[t_m] = sum_k phi(t_k, t_m) g[t_k] in {precision}: sweep against double sum",
                "sweeps.tsslbp_backward",
                tolerance,
                partial(_backward, rule, precision),
            )
            for name, rule in named_rules().items()
        ]
    return rows


def sweep_weighted_input() -> Array:
    """Rises and falls about the threshold, so that neurons fire often, rarely and never."""
    rng = np.random.default_rng(SEED)
    return rng.normal(0.4, 0.7, size=SHAPE) * np.linspace(0.2, 1.5, SHAPE[2])


def _psc_filter() -> float:
    s = np.random.default_rng(22).normal(size=SHAPE)
    return largest(relative_error(sweeps.psc_filter(s, neuron), reference.psc_filter(s, neuron)) for neuron in NEURONS)


def _forward() -> float:
    errors = []
    for neuron in NEURONS:
        found = sweeps.lif_forward(sweep_weighted_input(), neuron)
        expected = reference.lif_forward(sweep_weighted_input(), neuron)
        errors += [relative_error(found.u, expected.u), relative_error(found.a, expected.a)]
        errors.append(relative_error(found.s, expected.s))
    return largest(errors)


def _backward(rule: GradientRule, precision: str) -> float:
    """The sweep in a precision against the double sum in float64, on the same numbers."""
    g = np.random.default_rng(23).normal(size=SHAPE).astype(precision)
    errors = []
    for neuron in NEURONS:
        trace = sweeps.lif_forward(sweep_weighted_input().astype(precision), neuron)
        wide = Trace(trace.u.astype(np.float64), trace.a.astype(np.float64), trace.threshold)
        expected = reference.tsslbp_backward(g.astype(np.float64), wide, neuron, rule)
        errors.append(relative_error(sweeps.tsslbp_backward(g, trace, neuron, rule), expected))
    return largest(errors)


# ---------------------------------------------------------------------------------------------------------------------
# Convolutions
# ---------------------------------------------------------------------------------------------------------------------


def _convolution_rows() -> list[Check]:
    tolerance = TOLERANCES["float64"]
    return [
        Check(
            "sweep-conv-forward",
            "I = W * a: product of windows against nested loops",
            "layers.Conv2d.forward",
            tolerance,
            lambda: largest(_convolution_forward(layer) for layer in CONVOLUTIONS),
        ),
        Check(
            "sweep-conv-adjoint",
            "g = W^T delta (B3): shares of windows against nested loops",
            "layers.Conv2d.adjoint",
            tolerance,
            lambda: largest(_convolution_adjoint(layer) for layer in CONVOLUTIONS),
        ),
        Check(
            "sweep-conv-weight-gradient",
            "dL/dW = sum delta a^T (B1): product of windows against nested loops",
            "layers.Conv2d.weight_gradient",
            tolerance,
            lambda: largest(_convolution_weight_gradient(layer) for layer in CONVOLUTIONS),
        ),
    ]


def _unweighted_rows() -> list[Check]:
    tolerance = TOLERANCES["float64"]
    return [
        Check(
            "sweep-pool-forward",
            "y = gain times block sums: array sums against nested loops",
            "layers.SumPool2d.forward",
            tolerance,
            lambda: largest(_pool_forward(layer) for layer in POOLS),
        ),
        Check(
            "sweep-pool-adjoint",
            "x = gain y in every block: array sums against nested loops",
            "layers.SumPool2d.adjoint",
            tolerance,
            lambda: largest(_pool_adjoint(layer) for layer in POOLS),
        ),
        Check(
            "sweep-dropout",
            "y = mask x at every step: broadcast product against nested loops",
            "layers.Dropout.forward",
            tolerance,
            lambda: largest(_dropout(form) for form in ("unit", "row")),
        ),
        Check(
            "sweep-flatten",
            "I = W x with x channel first: product against nested loops",
            "layers.Dense.forward",
            tolerance,
            _flatten,
        ),
    ]


def draw(shape: tuple[int, ...], seed: int) -> Array:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def _convolution_forward(layer: layers.Conv2d) -> float:
    x, W = draw((2, *layer.input_shape), 31), draw(layer.weight_shape, 32)
    return relative_error(layer.forward(x, W), reference_layers.conv2d_forward(x, W, layer.padding))


def _convolution_adjoint(layer: layers.Conv2d) -> float:
    delta, W = draw((2, *layer.output_shape), 33), draw(layer.weight_shape, 34)
    size = (layer.input_shape[1], layer.input_shape[2])
    expected = reference_layers.conv2d_adjoint(delta, W, layer.padding, size)
    return relative_error(layer.adjoint(delta, W), expected)


def _convolution_weight_gradient(layer: layers.Conv2d) -> float:
    x, delta = draw((2, *layer.input_shape), 35), draw((2, *layer.output_shape), 36)
    expected = reference_layers.conv2d_weight_gradient(delta, x, layer.padding)
    return relative_error(layer.weight_gradient(delta, x), expected)


def _pool_forward(layer: layers.SumPool2d) -> float:
    x = draw((2, *layer.input_shape), 37)
    return relative_error(layer.forward(x, None), reference_layers.sum_pool2d_forward(x, layer.size, layer.gain))


def _pool_adjoint(layer: layers.SumPool2d) -> float:
    y = draw((2, *layer.output_shape), 38)
    size = (layer.input_shape[1], layer.input_shape[2])
    return relative_error(layer.adjoint(y, None), reference_layers.sum_pool2d_adjoint(y, layer.size, layer.gain, size))


def _dropout(form: str) -> float:
    layer = layers.Dropout((2, 3, 4), 0.4, form)
    x = draw((3, 2, *layer.input_shape), 39)
    mask = layer.draw_mask(2, np.random.default_rng(40), np.float64)
    wide = np.broadcast_to(mask, x.shape[1:]).reshape(2, -1)
    return relative_error(layer.forward(x, mask).reshape(3, 2, -1), reference_layers.dropout(x.reshape(3, 2, -1), wide))


def _flatten() -> float:
    layer = layers.Dense((2, 3, 4), 5)
    x, W = draw((2, *layer.input_shape), 41), draw(layer.weight_shape, 42)
    return relative_error(layer.forward(x, W), reference_layers.flatten(x) @ W.T)


# ---------------------------------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------------------------------


def _loss_rows() -> list[Check]:
    rows = [
        Check(
            f"sweep-loss-{name}",
            "L, dL/da (L1 - L3): arrays against nested loops",
            "reference_losses.value_and_gradient",
            TOLERANCES["float64"],
            partial(_loss, name),
        )
        for name in losses.LOSSES
    ]
    rows.append(
        Check(
            "sweep-loss-parts",
            "L, dL/da (L1 - L3): those of a batch's parts against the whole by nested loops",
            "losses.Loss",
            TOLERANCES["float64"],
            lambda: largest(_loss_in_parts(name) for name in losses.LOSSES),
        )
    )
    return rows


def _output_and_target(name: str, n_steps: int) -> tuple[Array, Array]:
    """Sums of a lie on either side of the desired counts, of the true class and of the others."""
    rng = np.random.default_rng(43)
    sums = np.array([[0.5, 3.0, 2.5], [6.0, 0.25, 2.0], [1.0, 2.0, 0.75]])
    a = np.moveaxis(rng.dirichlet(np.ones(n_steps), size=sums.shape) * sums[..., None], -1, 0).copy()
    return a, np.round(rng.random(a.shape)) if name == "spike-train" else LABELS


def _loss(name: str) -> float:
    neuron, errors = NEURONS[0], []
    for n_steps in LOSS_STEPS:
        a, y = _output_and_target(name, n_steps)
        value, g = losses.value_and_gradient(name, a, y, neuron)
        expected = reference_losses.value_and_gradient(name, a, y, neuron, losses.RELEASED_SETTINGS)
        errors += [relative_error(value, expected[0]), relative_error(g, expected[1])]
    return largest(errors)


def _loss_in_parts(name: str) -> float:
    """Two parts of unlike size, as threads have them."""
    a, y = _output_and_target(name, LOSS_STEPS[1])
    loss = losses.Loss(name, NEURONS[0])
    target = loss.target(y, a.shape, a.dtype)
    parts = [loss.value_and_gradient(a[:, part], target, part) for part in (slice(0, 1), slice(1, None))]
    value, g = reference_losses.value_and_gradient(name, a, y, NEURONS[0], losses.RELEASED_SETTINGS)
    found = np.concatenate([part for _, part in parts], axis=1)
    return largest([relative_error(sum(part for part, _ in parts), value), relative_error(found, g)])

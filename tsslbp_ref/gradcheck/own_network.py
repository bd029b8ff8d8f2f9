"""The checks for one network of a reader's own, on one mini-batch: `check_network`.

Everything is done in double precision, layer by layer, so that the rows say which term parts from which.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.gradcheck.finite_differences import Array, central_difference, largest
from tsslbp_ref.gradcheck.report import Report, Row
from tsslbp_ref.gradcheck.tangent import FrozenNeurons, TangentNetwork
from tsslbp_ref.model import backpropagation, reference, reference_network
from tsslbp_ref.model.backpropagation import LayerFlow, NeuronRecord
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, SumPool2d, WeightedLayer
from tsslbp_ref.model.losses import Loss, LossSettings
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters
from tsslbp_ref.model.trace import Trace

TOLERANCE = 1e-10
MOST_COLUMNS = 64  # neurons of a layer, each of one sample, that go through nested loops
MOST_PRODUCTS = 300_000  # of a network that goes through nested loops as a whole
KINK = 0.05  # so near to a target of the count loss, moves of a `SMOOTH` step can cross it
ROUNDING = 10.0  # times eps |f| / step is what a difference quotient of f can be wrong by

Backward = Callable[[Array, Trace, NeuronParameters, GradientRule], npt.ArrayLike]


class _Differences(NamedTuple):
    """How a function is differenced: longest step, Richardson levels, largest error that passes."""

    step: float
    levels: int
    tolerance: float


QUADRATIC = _Differences(0.5, 1, TOLERANCE)
SMOOTH = _Differences(0.01, 4, 1e-8)  # softmax; count, between its targets
KINKED = _Differences(1e-6, 1, 1e-5)  # count at a target, where its second derivative jumps


class _Slope(NamedTuple):
    """Error of a gradient along a direction, and whether the gradient is large enough beside rounding to be seen."""

    error: float
    is_seen: bool


def check_network(
    net: Network,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    loss: str = "kernel",
    *,
    settings: LossSettings | None = None,
    backward: Backward | None = None,
) -> Report:
    """Check a network on a mini-batch, term by term: layers, loss, neurons, delta, dL/dW, and the engine.

    Rows are named by the layer's place in ``net.layers``:

    - ``loss-``, ``layer-``: dL/da, and dL/dW of a linear map, against differences of the loss and the map.
    - ``adjoint-``, ``tangent-delta-``, ``tangent-dW-``: each map's adjoint by the dot-product test; delta and dL/dW
      against differences of the frozen-event tangent network of this run.
    - ``forward-``, ``delta-``: the sweeps against nested loops, u, a and delta of up to 64 neurons of each layer, from
      the most active to the least; ``own-delta-``: your `backward` against them.
    - ``network-``: the two plain loops against nested loops alone, loss, output and dL/dW; only for a network of this
      package's layers that is small, up to 300,000 products.
    - ``engine-``: the network's engine against the plain loops.

    Parameters
    ----------
    net : Network
        With layers of this package or your own, and any rule. It is not changed.
    x : (B, *input_shape) or (T, B, *input_shape) array_like
        A small mini-batch: nothing is dropped, and delta has to be there, so a batch in which neurons fire.
    y : (B,) array_like of int
        Class labels; for "spike-train" the desired trains.
    loss, settings
        As for `Network.loss_and_gradients`.
    backward : callable, optional
        A backward pass of your own, called as `sweeps.tsslbp_backward`: g, trace, neuron, rule.

    Returns
    -------
    Report
        With .rows, .passed, .table() and .to_json(), as of `gradcheck.run`. An array that is all zeros, and should be,
        passes; its equation says so. So does a gradient that is too small to be seen beside the rounding of the
        difference, if it is as small as that: its row says "too small to say".

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, or `backward` returns another shape.

    Examples
    --------
    >>> net = Network.from_spec("6-5", (8,), n_classes=3, n_steps=6, weight_scale=3.0)
    >>> x = np.random.default_rng(0).random((2, 8))
    >>> report = check_network(net, x, [0, 1])
    >>> report.passed
    True
    >>> own = check_network(net, x, [0, 1], backward=lambda g, trace, neuron, rule: 0.0 * g)
    >>> [row.name for row in own.rows if not row.passed]
    ['own-delta-0', 'own-delta-1', 'own-delta-2']
    """
    checks.instance_of("net", net, Network)
    if backward is not None and not callable(backward):
        raise TypeError(f"backward must be callable, got {checks.shown(backward)}")
    run = _run(net, x, y, loss, settings)
    rows = [*_loss_rows(run), *_map_rows(run), *_neuron_rows(run, backward), *_tangent_rows(run)]
    return Report([*rows, *_literal_rows(run), *_engine_rows(run)])


@dataclass(frozen=True)
class _Run:
    """A network in double precision, a mini-batch, and what the two plain loops did with it."""

    net: Network
    x: Array
    y: npt.ArrayLike
    loss: Loss
    value: float
    gradients: list[Array]
    a: Array
    fired: list[tuple[int, NeuronRecord, LayerFlow]]  # of each layer of neurons: its place in net.layers

    def differences(self, n_layers: int = 1) -> _Differences:
        """How the loss is differenced in its output, or in the weights of some layers: a polynomial of degree 2n."""
        if self.loss.is_van_rossum:
            return QUADRATIC._replace(levels=n_layers)
        targets = (self.loss.settings.desired_count, self.loss.settings.undesired_count)
        far = min(float(np.abs(self.a.sum(axis=0) - target).min()) for target in targets)
        return KINKED if self.loss.name == "count" and far < KINK else SMOOTH

    def loss_of(self, a: Array) -> tuple[float, Array]:
        """Loss and dL/da of an output PSC."""
        return self.loss.value_and_gradient(a, self.loss.target(self.y, a.shape, a.dtype))


def _run(net: Network, x: npt.ArrayLike, y: npt.ArrayLike, loss: str, settings: LossSettings | None) -> _Run:
    double = copy.copy(net)
    double.dtype = np.dtype(np.float64)
    double.weights = [np.asarray(W, np.float64) for W in net.weights]
    value, gradients, a, flows = double.training_pass(x, y, loss, settings=settings)
    given = np.asarray(x, np.float64)
    records, _ = backpropagation.forward(double, given, [None] * len(double.layers))
    places = [(place, record) for place, record in enumerate(records) if isinstance(record, NeuronRecord)]
    fired = [(place, record, flow) for (place, record), flow in zip(places, flows, strict=True)]
    checked = Loss(loss, double.neurons[-1]) if settings is None else Loss(loss, double.neurons[-1], settings)
    return _Run(double, given, y, checked, value, gradients, a, fired)


# ---------------------------------------------------------------------------------------------------------------------
# Loss and linear maps
# ---------------------------------------------------------------------------------------------------------------------


def _loss_rows(run: _Run) -> Iterator[Row]:
    d = _direction(run.a.shape)
    how = run.differences()
    slope = _slope(lambda h: run.loss_of(run.a + h * d)[0], [(run.loss_of(run.a)[1], d)], how)
    yield _row(f"loss-{run.loss.name}", "dL/da", "losses", slope, how.tolerance)


def _map_rows(run: _Run) -> Iterator[Row]:
    """Each linear map on one random sample: its adjoint, and the derivative by its weights."""
    weights = iter(run.net.weights)
    for place, layer in enumerate(run.net.layers):
        W = None if layer.weight_shape is None else next(weights)
        x, name = _direction((1, 1, *layer.input_shape)), type(layer).__name__
        mapped = layer.forward(x, W)
        y = _direction(mapped.shape, seed=1)  # another one than x
        size = float(np.linalg.norm(mapped) * np.linalg.norm(y))
        error = abs(float(np.vdot(mapped, y)) - float(np.vdot(x, layer.adjoint(y, W)))) / (size or 1.0)
        yield _row(f"adjoint-{place}", "<A x, y> = <x, A^T y>", f"{name}.adjoint", error)
        if W is not None:
            slope = _weight_slope(cast(WeightedLayer, layer), W, x, y)
            yield _row(f"layer-{place}-by-weight", "d<W x, y>/dW", f"{name}.weight_gradient", slope)


def _weight_slope(layer: WeightedLayer, W: Array, x: Array, y: Array) -> _Slope:
    d = _direction(W.shape)
    moved = lambda h: float(np.vdot(layer.forward(x, W + h * d), y))  # noqa: E731
    return _slope(moved, [(layer.weight_gradient(y, x), d)])


# ---------------------------------------------------------------------------------------------------------------------
# Neurons
# ---------------------------------------------------------------------------------------------------------------------


def _neuron_rows(run: _Run, backward: Backward | None) -> Iterator[Row]:
    """u, a and delta of some neurons of each layer by nested loops; then of your own backward pass."""
    rule = run.net.rule
    for place, record, flow in run.fired:
        trace, neuron = record.trace, record.neuron
        chosen = _columns(trace)
        I = record.layer.forward(record.a_below, record.W).reshape(trace.u.shape)
        few = reference.lif_forward(chosen(I), neuron)
        error = largest([_error(chosen(trace.u), few.u), _error(chosen(trace.a), few.a)])
        yield _row(f"forward-{place}", "u, a: nested loops", "sweeps.lif_forward", error)
        rate = trace.firing_rate if rule.needs_firing_rate else None
        delta = reference.tsslbp_backward(chosen(flow.g), few, neuron, rule, rate)
        error = _error(chosen(flow.delta), delta)
        yield _row(f"delta-{place}", "delta: nested loops", "sweeps.tsslbp_backward", error, zero=delta)
        if backward is not None:
            apart = Trace(trace.u.copy(), trace.a.copy(), trace.threshold)  # yours may write into what it is given
            own = np.asarray(backward(flow.g.copy(), apart, neuron, rule), np.float64)
            checks.same_shape("what backward returns", own, flow.g.shape, "g")
            yield _row(f"own-delta-{place}", "delta: nested loops", "backward", _error(chosen(own), delta), zero=delta)


def _columns(trace: Trace) -> Callable[[Array], Array]:
    """What takes the same few neurons out of (T, B, N): from the most active to the least."""
    order = np.argsort(-trace.s.sum(axis=0).ravel(), kind="stable")
    few = order[:: max(1, math.ceil(len(order) / MOST_COLUMNS))]
    return lambda array: np.ascontiguousarray(array.reshape(len(array), 1, -1)[:, :, few])


# ---------------------------------------------------------------------------------------------------------------------
# The tangent network
# ---------------------------------------------------------------------------------------------------------------------


def _tangent_rows(run: _Run) -> Iterator[Row]:
    """delta of each layer, and dL/dW of each and of all, along random directions of the frozen run."""
    net, frozen = run.net, []
    for place, record, flow in run.fired:
        neurons = FrozenNeurons.of(record.trace, record.neuron, net.rule)
        frozen.append(neurons)
        slope = _delta_slope(neurons, flow)
        equation = "delta = d<g, a~>/dI~ (frozen-event tangent layer)"
        yield _row(f"tangent-delta-{place}", equation, "sweeps.tsslbp_backward", slope, zero=flow.delta)
    tangent = TangentNetwork(
        net.layers,
        masks=[None] * len(net.layers),
        neurons=frozen,
        input_psc=backpropagation.input_psc(net, run.x),
        y=cast(Array, run.y),
        neuron=net.neurons[-1],
        loss_name=run.loss.name,
        settings=run.loss.settings,
    )
    directions = [_direction(W.shape, seed) for seed, W in enumerate(net.weights)]
    places = [(str(place), [number]) for number, (place, *_) in enumerate(run.fired)]
    for name, moving in [*places, ("all", list(range(len(net.weights))))]:
        slope = _tangent_slope(tangent, run, directions, moving)
        equation = "dL/dW (frozen-event tangent network)"
        dW, tolerance = run.gradients[moving[0]], run.differences().tolerance
        yield _row(f"tangent-dW-{name}", equation, "backpropagation.backward", slope, tolerance, dW)


def _delta_slope(neurons: FrozenNeurons, flow: LayerFlow) -> _Slope:
    d = _direction(neurons.I.shape)
    moved = lambda h: float(np.vdot(flow.g, neurons.psc(neurons.I + h * d)))  # noqa: E731
    return _slope(moved, [(flow.delta, d)])


def _tangent_slope(tangent: TangentNetwork, run: _Run, directions: list[Array], moving: list[int]) -> _Slope:
    """Along a direction through the weights of some layers; of n layers the loss is a polynomial of degree 2n."""
    still = [np.zeros_like(d) for d in directions]
    moves = [d if number in moving else zero for number, (d, zero) in enumerate(zip(directions, still, strict=True))]
    moved = lambda h: tangent.loss([W + h * d for W, d in zip(run.net.weights, moves, strict=True)])  # noqa: E731
    pairs = [(run.gradients[number], directions[number]) for number in moving]
    return _slope(moved, pairs, run.differences(len(moving)))


# ---------------------------------------------------------------------------------------------------------------------
# Whole steps
# ---------------------------------------------------------------------------------------------------------------------


def _literal_rows(run: _Run) -> Iterator[Row]:
    """The plain loops against nested loops alone, where these are quick enough."""
    net = run.net
    positions = [
        W.size * record.trace.u[0].size // len(W) for W, (_, record, _) in zip(net.weights, run.fired, strict=True)
    ]
    known = all(type(layer) in (Dense, Conv2d, SumPool2d, Dropout) for layer in net.layers)
    if known and net.n_steps * sum(positions) <= MOST_PRODUCTS:
        found = reference_network.loss_and_gradients(net, run.x, run.y, run.loss.name, settings=run.loss.settings)
        plain = (run.value, run.gradients, run.a)
        yield from _step_rows(run, "network", "nested loops", "backpropagation", plain, found)


def _engine_rows(run: _Run) -> Iterator[Row]:
    """The network's engine against the plain loops."""
    result = run.net.training_step(run.x, run.y, run.loss.name, settings=run.loss.settings)
    where = type(run.net.engine).__name__
    yield from _step_rows(run, "engine", "plain loops", where, tuple(result), (run.value, run.gradients, run.a))


def _step_rows(run: _Run, family: str, other: str, where: str, found: Any, expected: Any) -> Iterator[Row]:
    yield _row(f"{family}-loss", f"L: {other}", where, _error(found[0], expected[0]))
    yield _row(f"{family}-output", f"a: {other}", where, _error(found[2], expected[2]))
    for (place, *_), dW, wanted in zip(run.fired, found[1], expected[1], strict=True):
        yield _row(f"{family}-dW-{place}", f"dL/dW: {other}", where, _error(dW, wanted), zero=wanted)


# ---------------------------------------------------------------------------------------------------------------------
# Errors
# ---------------------------------------------------------------------------------------------------------------------


def _row(
    name: str, equation: str, where: str, found: _Slope | float, tolerance: float = TOLERANCE, zero: Array | None = None
) -> Row:
    """A row; of an array that has to be all zeros, or is too small to be seen, it says so."""
    slope = found if isinstance(found, _Slope) else _Slope(found, is_seen=True)
    if zero is not None and not np.any(zero):
        equation = f"{equation}; all zeros"
    elif not slope.is_seen:
        equation = f"{equation}; too small to say"
    return Row(name, equation, where, slope.error, tolerance)


def _direction(shape: tuple[int, ...], seed: int = 0) -> Array:
    """A random direction of length 1."""
    d = np.random.default_rng(seed).normal(size=shape)
    return d / float(np.linalg.norm(d))


def _error(found: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """max |found - expected| / max |expected|; where all expected are 0, max |found|."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


def _slope(moved: Callable[[float], float], pairs: list[tuple[Array, Array]], how: _Differences = QUADRATIC) -> _Slope:
    """|slope - sum <gradient, direction>| / |gradient|, for directions of length 1 each.

    What the quotient can be wrong by, over the tolerance, stands for |gradient| where that is smaller.
    """
    numeric = float(central_difference(moved, how.step, how.levels))
    found = sum(float(np.vdot(gradient, direction)) for gradient, direction in pairs)
    size = math.sqrt(sum(float(np.vdot(gradient, gradient)) for gradient, _ in pairs))
    shortest = how.step / 2.0 ** (how.levels - 1)
    smallest = ROUNDING * np.finfo(np.float64).eps * abs(moved(0.0)) / shortest / how.tolerance
    return _Slope(abs(found - numeric) / (max(size, smallest) or 1.0), bool(size >= smallest))

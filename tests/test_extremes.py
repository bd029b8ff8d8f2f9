"""Numbers at the edge of the floats: an error names the argument or the place; no infinity, no NaN, no warning."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref import jit
from tsslbp_ref.model import losses, reference, sweeps, terms
from tsslbp_ref.model.network import PlainEngine

pytestmark = pytest.mark.filterwarnings("error")

NEURON, SHARP = tr.NeuronParameters(), tr.NeuronParameters(tau_m=1.0, tau_s=1.0)
LARGEST = {"float32": 3.4e38, "float64": 1.7e308}
DTYPES = list(LARGEST)
TWINS = pytest.mark.parametrize("twin", [sweeps, reference], ids=["fast", "reference"])


def extreme(dtype: str, shape: tuple[int, ...] = (5, 2, 3), seed: int = 0) -> np.ndarray:
    """Plus and minus almost the largest number, at random."""
    return (LARGEST[dtype] * np.random.default_rng(seed).choice([-1.0, 1.0], shape)).astype(dtype)


def result_or_message(function: Callable[[], Any]) -> tuple[Any, str]:
    """What a function returns and "", or None and the message of its ValueError."""
    try:
        return function(), ""
    except ValueError as error:
        return None, str(error)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("function", "name"), [(tr.psc_filter, "s"), (tr.psc_filter_adjoint, "g")])
def test_a_psc_that_overflows(function: Callable[..., Any], name: str, dtype: str) -> None:
    signal = np.array([1.0, -1.0], dtype) * np.dtype(dtype).type(LARGEST[dtype])
    with pytest.raises(ValueError, match=rf"^{name} is too large: its (PSC|sum) must be finite, got .*inf at index \["):
        function(signal, SHARP)
    assert np.isfinite(function(signal[:1], NEURON)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", ["released", "no-intra", "literal", "surrogate", "consistent", "november-2020"])
@TWINS
def test_a_delta_that_overflows(twin: Any, rule: str, dtype: str) -> None:
    """Where g is so large that both twins overflow, both say so; where it is small, neither does."""
    trace = twin.lif_forward(np.random.default_rng(1).normal(0.5, 1.0, (5, 2, 3)).astype(dtype), SHARP)
    for g in (extreme(dtype), np.ones((5, 2, 3))):
        is_large = abs(g).max() > 1.0
        delta, message = result_or_message(lambda g=g: twin.tsslbp_backward(g, trace, SHARP, tr.rule_by_name(rule)))
        if message:
            assert is_large
            assert message.startswith("g is too large: delta must be finite, got ")
        else:
            assert np.isfinite(delta).all()
            assert twin is reference or not is_large


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_phi_that_overflows(dtype: str) -> None:
    """1/du of a rise as small as numbers come."""
    tiny = tr.NeuronParameters(1.0, 1.0, 1e-310 if dtype == "float64" else 1e-40)
    trace = tr.lif_forward(np.full((4, 1, 1), 2 * tiny.threshold, dtype), tiny)
    rule = tr.GradientRule(inverse_rise_clip=math.inf)
    for function in (reference.dependency_matrix, reference.dependency_parts):
        with pytest.raises(
            ValueError, match=r"^trace.u .* rises too little: phi1? must be finite, got -?inf at index \["
        ):
            function(trace, tiny, rule)
        found = function(trace, tiny, tr.GradientRule())
        assert all(np.isfinite(part).all() for part in found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_a_loss_that_overflows_names_the_largest_number(loss: str, dtype: str) -> None:
    y: Any = extreme(dtype, seed=1) if loss == "spike-train" else [0, 1]
    a = extreme(dtype)
    found, message = result_or_message(lambda: losses.value_and_gradient(loss, a, y, NEURON))
    if loss in ("count", "softmax") and dtype == "float32":  # their sums are made in float64
        assert math.isfinite(found[0])
        assert np.isfinite(found[1]).all()
    else:
        assert message.startswith(("a is too large: the loss and its gradient must be finite, got ", "y is too large"))
        assert "at index [" in message


@pytest.mark.parametrize("engine", [None, PlainEngine()], ids=["fast", "plain"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_training_step_that_overflows(dtype: str, engine: Any) -> None:
    """From the targets, and from the weights of the last layer."""
    x = np.random.default_rng(0).random((2, 4))

    def network(**options: Any) -> tr.Network:
        return tr.Network.from_spec("6-6", (4,), 3, 5, dtype=dtype, engine=engine, weight_scale=3.0, **options)

    trains = np.tile(extreme(dtype, (1, 2, 3)), (5, 1, 1))
    with pytest.raises(ValueError, match=r"^the desired PSC is too large: the loss and its gradient must be"):
        network().training_step(x, trains, "spike-train")
    with pytest.raises(ValueError, match=r"^y is too large: its PSC must be finite, got .* at index \["):
        network(neuron=SHARP).training_step(x, extreme(dtype), "spike-train")
    largest = tr.LossSettings(LARGEST["float64"], 0.0)
    with pytest.raises(ValueError, match=r"^a desired count is too large: the loss and its gradient must be finite"):
        network().training_step(x, [0, 1], "count", settings=largest)
    steep = network()
    for W in steep.weights[1:]:
        W *= LARGEST[dtype] / 100.0
    for step in (steep.training_step, steep.loss_and_gradients, steep.training_pass):
        with pytest.raises(ValueError, match=r"^(weights, input or targets are too large: gradients\[0\]|g) must"):
            step(x, [0, 1])


@TWINS
def test_the_rise_at_a_spike_is_never_nothing(twin: Any) -> None:
    """From just at the threshold, where no neuron fires, to the next number above it; 1/du would divide by 0."""
    u = np.array([1.0, np.nextafter(1.0, 2.0)]).reshape(2, 1, 1)
    rise = u[1, 0, 0] - u[0, 0, 0]
    trace = tr.Trace(u, np.full((2, 1, 1), 0.5), 1.0)
    rule = tr.GradientRule(inverse_rise_clip=math.inf)
    delta = twin.tsslbp_backward([[[0.0]], [[1.0]]], trace, NEURON, rule)
    assert delta[1, 0, 0] == pytest.approx(NEURON.theta_s / rise, rel=1e-12)
    assert terms.firing_time_by_membrane(5e-324, 8.0) == -8.0
    assert terms.firing_time_by_membrane(0.0, 8.0) == -8.0  # no spike has it; a term by itself may be asked


@pytest.mark.parametrize("size", [2**31, 10**11, 2**63, 10**400])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: tr.Network.from_spec("6", (4,), 3, n),
        lambda n: tr.Network.from_spec("6", (4,), n, 5),
        lambda n: tr.Network.from_spec("6", (n,), 3, 5),
        lambda n: tr.Network.from_spec(str(n), (4,), 3, 5),
        lambda n: tr.Network.from_spec("2C3", (1, 6, 6), 3, 5, padding=n),
        lambda n: tr.Network.from_spec(f"2C{n}", (1, 6, 6), 3, 5),
        lambda n: tr.losses.desired_train_released(n),
    ],
    ids=["n_steps", "n_classes", "input", "spec", "padding", "kernel", "train"],
)
def test_a_size_that_fits_into_no_memory_is_refused_before_numpy_asks_for_it(make: Any, size: int) -> None:
    with pytest.raises(ValueError, match=r"must be at most 2147483647, got 1|must be at most 2147483647, got [29]"):
        make(size)


@pytest.mark.parametrize(
    "make",
    [
        lambda: tr.Network.from_spec("100000", (100_000,), 3, 5),
        lambda: tr.Network.from_spec("2C3", (1, 6, 6), 3, 5, padding=100_000),
        lambda: tr.layers.Dense((70_000,), 70_000),
        lambda: tr.layers.Conv2d((50_000, 3, 3), 50_000, 3, 0),
    ],
    ids=["spec", "padding", "dense", "conv"],
)
def test_a_layer_that_fits_into_no_memory_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"a layer must have at most 2147483647 weights and outputs, got (Dense|Conv)"):
        make()


@pytest.mark.parametrize(
    "function", [terms.firing_time_by_membrane, jit.terms.firing_time_by_membrane], ids=["plain", "compiled"]
)
def test_a_rise_of_nothing_has_the_clip(function: Any) -> None:
    assert function(0.0, 8.0) == -8.0
    assert function(-0.0, math.inf) == -math.inf

"""`gradcheck.check_network`: a right network passes, and of a wrong one the rows of the wrong term do not."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

import tsslbp_ref as tr
from tsslbp_ref.gradcheck import check_network
from tsslbp_ref.model import layers, losses, sweeps
from tsslbp_ref.model.backpropagation import PlainEngine

RNG = np.random.default_rng(0)
DENSE = {"spec": "6-5", "input_shape": (8,), "weight_scale": 3.0}
CONV = {"spec": "3C3-P2-4", "input_shape": (2, 6, 6), "weight_scale": (3.0, 2.0), "padding": 1}
X = {"dense": RNG.random((2, 8)), "conv": RNG.random((2, 2, 6, 6))}


def network(kind="dense", **settings):
    return tr.Network.from_spec(
        n_classes=3, n_steps=6, n_threads=1, **{"dtype": "float64"} | (DENSE if kind == "dense" else CONV) | settings
    )


def failed(report):
    return {row.name for row in report.rows if not row.passed}


# ---------------------------------------------------------------------------------------------------------------------
# What passes
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_a_right_network_passes(kind):
    report = check_network(network(kind), X[kind], [0, 1])
    assert report.passed
    families = {row.name.partition("-")[0] for row in report.rows}
    assert families == {"loss", "layer", "adjoint", "tangent", "forward", "delta", "network", "engine"}
    assert {row.kind for row in report.rows} == {"derivative", "transposition", "agreement", "engine"}
    assert f"{len(report.rows)} of {len(report.rows)} passed" in report.table()
    assert max(row.max_rel_error for row in report.rows) < 1e-12
    assert not any("all zeros" in row.equation for row in report.rows)


@pytest.mark.parametrize("loss", ["count", "softmax", "kernel-paper", "spike-train"])
def test_every_loss(loss):
    y = (RNG.random((6, 2, 3)) < 0.4) * 1.0 if loss == "spike-train" else [0, 1]
    assert check_network(network(), X["dense"], y, loss, settings=tr.LossSettings(3.0, 0.5)).passed


@pytest.mark.parametrize("loss", ["kernel", "count", "softmax"])
def test_a_gradient_below_the_quotients_rounding_is_no_error_and_says_so(loss):
    deep = tr.Network.from_spec("20-20-20-20-20", (16,), 5, 5, dtype="float64", n_threads=1)
    report = check_network(deep, np.random.default_rng(0).random((4, 16)), [0, 1, 2, 3], loss)
    assert report.passed
    too_small = {row.name for row in report.rows if "too small to say" in row.equation}
    assert "tangent-dW-0" in too_small
    assert not {"tangent-dW-5", "tangent-delta-0"} & too_small
    for kind in ("dense", "conv"):
        assert "too small" not in check_network(network(kind), X[kind], [0, 1], loss).table()


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.001, False)])
def test_sums_that_lie_on_the_targets_of_the_count_loss(monkeypatch, factor, passes):
    """With tau_s = 1 they are whole numbers, as 4 and 1 are; the loss has a kink in its slope there."""
    count = losses.count
    monkeypatch.setattr(losses, "count", lambda *given: (count(*given)[0], factor * count(*given)[1]))
    neuron = tr.NeuronParameters(tau_s=1.0)
    net = tr.Network.from_spec("8", (16,), 5, 5, neuron, dtype="float64", weight_scale=2.0, n_threads=1)
    report = check_network(net, np.random.default_rng(0).random((4, 16)), [0, 1, 2, 3], "count")
    assert ("loss-count" in failed(report)) == (not passes)
    assert report.passed == passes


@pytest.mark.parametrize("name", [*tr.named_rules(), "own"])
def test_every_rule_and_one_of_your_own(name):
    own = tr.GradientRule(inter="consistent", intra="one-hop", inverse_rise_clip=3.0, warmup_gate=0.6, silent="none")
    rule = own if name == "own" else tr.rule_by_name(name)
    x = (RNG.random((6, 2, 8)) < 0.6) * 1.0
    assert check_network(network(rule=rule), x, [0, 1]).passed


def test_constants_by_layer_and_a_network_in_single_precision_that_stays_so():
    neurons = (tr.NeuronParameters(5.0, 3.0, 1.0), tr.NeuronParameters(4.0, 2.0, 0.8), tr.NeuronParameters(8.0, 4.0))
    net = network(neuron=neurons, input_tau_s=2.5, dtype="float32")
    before = [W.copy() for W in net.weights]
    assert check_network(net, X["dense"], [0, 1]).passed
    assert net.dtype == np.float32
    assert all(W.dtype == np.float32 and (own == W).all() for W, own in zip(net.weights, before, strict=True))


def test_a_large_layer_is_sampled_and_a_large_network_has_no_literal_row():
    net = network(spec="300", input_shape=(400,), weight_scale=1.0)
    report = check_network(net, RNG.random((2, 400)), [0, 1])
    assert report.passed
    assert not any(row.name.startswith("network-") for row in report.rows)
    assert any(row.name.startswith("delta-") for row in report.rows)


def test_what_is_zero_says_so():
    net = network(rule=tr.GradientRule(warmup=False))
    report = check_network(net, 0.0 * X["dense"], [0, 1])
    assert report.passed
    assert {row.name for row in report.rows if row.equation.endswith("; all zeros")} >= {"delta-0", "tangent-delta-2"}


# ---------------------------------------------------------------------------------------------------------------------
# What does not
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shuffled:
    """A reader's own layer: a fixed permutation of its inputs, whose adjoint may be wrong."""

    input_shape: tuple[int, ...]
    right: bool = True
    weight_shape = None

    @property
    def output_shape(self):
        return self.input_shape

    @property
    def order(self):
        return np.random.default_rng(5).permutation(self.input_shape[0])

    def forward(self, x, parameter):
        return x[..., self.order]

    def adjoint(self, y, parameter):
        return y[..., np.argsort(self.order) if self.right else self.order]


@pytest.mark.parametrize("right", [True, False])
def test_a_layer_of_your_own(right):
    plain = network()
    parts = [plain.layers[0], Shuffled((6,), right), *plain.layers[1:]]
    net = tr.Network(parts, plain.weights, n_steps=6, neuron=plain.neuron, rule=plain.rule, dtype="float64")
    report = check_network(net, X["dense"], [0, 1])
    assert failed(report) == (set() if right else {"adjoint-1", "tangent-dW-0", "tangent-dW-all"})
    assert not any(row.name.startswith("network-") for row in report.rows)


def test_a_wrong_backward_pass_of_your_own():
    net = network()

    def without_clip(g, trace, neuron, rule):
        return sweeps.tsslbp_backward(g, trace, neuron, replace(rule, inverse_rise_clip=math.inf))

    clipped = network(rule=tr.GradientRule(inverse_rise_clip=1.0))  # so low that it acts
    assert check_network(clipped, X["dense"], [0, 1], backward=sweeps.tsslbp_backward).passed
    wrong = failed(check_network(clipped, X["dense"], [0, 1], backward=without_clip))
    assert {"own-delta-0"} <= wrong <= {f"own-delta-{place}" for place in range(3)}
    scaled = check_network(net, X["dense"], [0, 1], backward=lambda *args: 1.001 * sweeps.tsslbp_backward(*args))
    assert failed(scaled) == {"own-delta-0", "own-delta-1", "own-delta-2"}


def test_a_backward_pass_that_writes_into_what_it_is_given():
    def in_place(g, trace, neuron, rule):
        g[:] = tr.tsslbp_backward(g, trace, neuron, rule)
        trace.u[:] = trace.a[:] = 0.0
        return g

    assert check_network(network(), X["dense"], [0, 1], backward=in_place).passed


def test_an_engine_of_your_own():
    class Wrong(PlainEngine):
        def gradients(self, net, *args):
            result = super().gradients(net, *args)
            return result._replace(gradients=[result.gradients[0], 1.001 * result.gradients[1], result.gradients[2]])

    report = check_network(network(engine=Wrong()), X["dense"], [0, 1])
    assert failed(report) == {"engine-dW-1"}
    assert "Wrong" in {row.where for row in report.rows}


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "rows"),
    [
        (
            sweeps,
            "tsslbp_backward",
            lambda right: lambda *args: 1.001 * right(*args),
            {"delta-0", "delta-3", "tangent-delta-0", "tangent-delta-3", "tangent-dW-0", "network-dW-0", "engine-dW-0"},
        ),
        (
            layers.Conv2d,
            "weight_gradient",
            lambda right: lambda self, delta, x: right(self, delta, x)[:, :, ::-1, ::-1],
            {"layer-0-by-weight", "tangent-dW-0", "network-dW-0", "engine-dW-0"},
        ),
        (
            layers.SumPool2d,
            "adjoint",
            lambda right: lambda self, y, parameter: right(self, y, parameter) / self.gain,
            {"adjoint-1", "tangent-dW-0", "network-dW-0", "engine-dW-0"},
        ),
        (
            losses,
            "count",
            lambda right: lambda *args: (right(*args)[0], 1.001 * right(*args)[1]),
            {"loss-count", "tangent-dW-0", "tangent-dW-3"},
        ),
    ],
    ids=["delta", "kernel turned", "pool", "loss"],
)
def test_a_planted_error_is_seen_in_its_own_row(monkeypatch, owner, name, wrong, rows):
    net = network("conv")
    net.engine  # noqa: B018  # made before the error is planted
    monkeypatch.setattr(owner, name, wrong(getattr(owner, name)))
    found = failed(check_network(net, X["conv"], [0, 1], "count"))
    assert rows <= found
    untouched = {"forward-0", "forward-2", "adjoint-0", "layer-3-by-weight", "engine-output", "network-output"}
    assert not found & untouched


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((3, X["dense"], [0, 1]), {}, "net must be a Network, got int"),
        ((network(), X["dense"][:, :3], [0, 1]), {}, r"x must have shape \(B, 8\)"),
        ((network(), X["dense"], [0, 3]), {}, r"y must lie in 0 .. 2, got 3"),
        ((network(), X["dense"], [0, 1], "kernal"), {}, "unknown loss 'kernal'.*did you mean 'kernel'"),
        ((network(), X["dense"], [0, 1]), {"backward": 3}, "backward must be callable, got 3"),
        (
            (network(), X["dense"], [0, 1]),
            {"backward": lambda g, *args: g[:-1]},
            r"what backward returns must have shape \(6, 2, 6\) to match g, got \(5, 2, 6\)",
        ),
    ],
)
def test_wrong_arguments(arguments, settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        check_network(*arguments, **settings)

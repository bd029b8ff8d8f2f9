"""Wrong derivatives, planted one by one: the check table rejects every one, and every row rejects some.

A plant replaces one function or method by a wrong version of itself. The compiled loops hold the terms that they were
compiled with, so a wrong term shows in its own row, in phi of the literal loops, and where literal and fast part ways;
a wrong sweep is planted by wrapping the function that the network and `sweeps.tsslbp_backward` both call.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterator

import pytest
from planted import FACTOR, Plant, times
from planted_engine import ENGINE_PLANTS
from wrong_versions import (
    adjoint_without_mask,
    always_released,
    argument_not_clipped,
    channel_last,
    coefficients_with,
    conv_adjoint_without_padding,
    count_without_dead_zone,
    entry_scaled,
    filter_not_reversed,
    fires_at_threshold,
    first_scaled,
    gain_from_step_zero,
    gradient_times,
    gradients_scaled,
    in_place,
    input_scaled,
    kernel_turned,
    late_gradient,
    later_lag,
    pool_adjoint_without_gain,
    result_with,
    rolled,
    rule_with,
    scaled,
    softmax_without_shift,
    spike_not_scaled,
    summed_softmax,
    times_shifted,
    times_value,
    unfiltered_train,
    value_and_gradient_times,
    wider,
    with_default,
    without_clip,
    without_mask,
    wrong_gate,
)

from tsslbp_ref import exact, gradcheck
from tsslbp_ref.engine import inputs
from tsslbp_ref.gradcheck.report import Report
from tsslbp_ref.model import constants, layers, losses, optim, reference, srm, sweeps, terms
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters

SWEEP = "tsslbp_backward_in_place"  # what the fast engine calls, and `sweeps.tsslbp_backward` after its checks
SUM = "timing-plus-surrogate"
CHAINED = ("released", "no-warmup", "literal", "consistent", SUM)  # rules with the intra-neuron dependency
FIRED = (*CHAINED, "no-intra")  # rules with the firing time in them
CLIPPED = ("released", "no-warmup", "literal", "no-intra", SUM)  # rules that clip 1/rise
WARM = ("released", "no-intra", "literal", "surrogate", SUM)  # rules with the surrogate in them
CONV = ("tangent-released-conv-static", "network-conv-spikes")
DENSE_ABOVE = ("tangent-released-dense-3-s*", "network-dense-s*")  # layers that another stands below
KERNEL_LOSS_ROWS = ("loss-kernel", "loss-kernel-paper", "loss-kernel-0*")
THETA_M_ROWS = ("term-reset-*", *(f"phi-{name}" for name in CHAINED), "tangent-released-dense-*-spikes")
SUM_ROWS = (f"phi-{SUM}", f"tangent-{SUM}-*")
CONSISTENT_ROWS = ("term-psc-in-time-consistent", "phi-consistent", "tangent-consistent-*")
DENSE_RELEASED = ("tangent-released-dense-[123]-static", "tangent-released-dense-[123]-spikes")
CLIP_ROWS = ("tangent-released-dense-3-spikes", "tangent-no-warmup-dense-3-spikes", "tangent-released-conv-s*")
SWEPT = ("tangent-*-spikes", "sweep-backward-*")
KERNELS = ("srm-eta", "srm-membrane")
NUMBER_PHI = ("number-phi-silent", "number-phi-spike", "number-phi-before-spike")
GOLDEN_NETWORKS = (
    "golden-*-dense*",
    "golden-*-quiet",
    "golden-*-cnn",
    "golden-*_count",
    "golden-*7",
    "golden-*_kernel",
)
EXACT_ROWS = (
    *("exact-differences-*", "exact-cases-gradients", "exact-constants-weights"),
    *("exact-identity-scale", "exact-identity-stretch"),
)
EXACT_BY = {
    "tau_m": ("exact-constants-tau-m", "exact-identity-stretch"),
    "threshold": ("exact-constants-threshold", "exact-identity-scale"),
    "tau_s": ("exact-constants-tau-s", "exact-identity-stretch"),
    "delays": ("exact-constants-delays", "exact-identity-stretch"),
    "input_times": ("exact-constants-input-times", "exact-identity-stretch", "exact-identity-shift"),
    "output_times": ("exact-identity-stretch", "exact-identity-shift"),
    "tau_loss": ("exact-constants-tau-loss",),
}
EXACT_LATE = ("exact-cases-times", "exact-constants-times")


def rules(names: tuple[str, ...]) -> tuple[str, ...]:
    """The rows of phi, and of literal against fast, for some rules."""
    return (*(f"phi-{name}" for name in names), *sweep_rows(names))


def sweep_rows(names: tuple[str, ...]) -> tuple[str, ...]:
    """The rows of literal against fast for some rules."""
    return tuple(f"sweep-backward-{name}-float*" for name in names)


PLANTS = (
    # Terms.
    Plant("factor 1.001", terms, "psc_by_firing_time", times(FACTOR), ("term-psc-in-time-*", *rules(FIRED))),
    Plant("flipped sign", terms, "psc_by_firing_time", times(-1.0), ("term-psc-in-time-*", *rules(FIRED))),
    Plant("factor 1.001", terms, "firing_time_by_membrane", times(FACTOR), ("term-firing-time*", *rules(FIRED))),
    Plant("flipped sign", terms, "firing_time_by_membrane", times(-1.0), ("term-firing-time*", *rules(FIRED))),
    Plant("no clip", terms, "firing_time_by_membrane", without_clip, ("term-firing-time-clipped", *rules(CLIPPED))),
    Plant("factor 1.001", terms, "reset_by_firing_time", times(FACTOR), ("term-reset-*", *rules(CHAINED))),
    Plant("flipped sign", terms, "reset_by_firing_time", times(-1.0), ("term-reset-*", *rules(CHAINED))),
    Plant("factor 1.001", terms, "leak", times(FACTOR), ("term-membrane-by-leak", "term-euler-reset", *rules(CHAINED))),
    Plant("lag + 1", terms, "leak", later_lag, ("term-membrane-by-leak", "term-reset-in-steps", *rules(CHAINED))),
    Plant("lag + 1", terms, "psc_kernel", later_lag, ("term-psc-kernel", "sweep-psc-filter", *rules((*FIRED, *WARM)))),
    Plant(
        "lag + 1",
        terms,
        "reset_kernel",
        later_lag,
        ("term-reset-in-steps", "term-membrane-by-reset", "number-reset", *KERNELS),
    ),
    Plant("factor 1.001", terms, "surrogate_spike_by_membrane", times(FACTOR), ("term-warmup*", *rules(WARM))),
    Plant("flipped sign", terms, "surrogate_spike_by_membrane", times(-1.0), ("term-warmup*", *rules(WARM))),
    Plant("wrong width", terms, "surrogate_spike_by_membrane", wider, ("term-warmup*", *rules(WARM))),
    Plant("no clip", terms, "surrogate_spike_by_membrane", argument_not_clipped, ("term-warmup-clipped", *rules(WARM))),
    Plant(
        "factor 1.001", terms, "membrane", times(FACTOR), ("term-membrane-by-*", "term-euler-membrane", "sweep-forward")
    ),
    Plant("factor 1.001", terms, "membrane_rise", times(FACTOR), ("term-membrane-rise", *rules(FIRED))),
    Plant("factor 1.001", terms, "weighted_input", times(FACTOR), ("term-weighted-input", *rules(("consistent",)))),
    Plant("lag + 1", srm, "response_kernel", later_lag, ("srm-response-kernel", "srm-membrane")),
    Plant("factor 1.001", srm, "eta", times(FACTOR), ("srm-eta",)),
    Plant("input x 1.001", srm, "forward", first_scaled, ("srm-membrane",)),
    Plant(
        "no theta_s",
        terms,
        "psc",
        spike_not_scaled,
        ("term-psc-kernel", "term-euler-psc", "term-desired-trains", "sweep-forward"),
    ),
    # The rule as numbers, which the literal and the fast loops share.
    Plant("no theta_m", GradientRule, "coefficients", coefficients_with(reset_by_u=1.0), THETA_M_ROWS),
    Plant("no jump", GradientRule, "coefficients", coefficients_with(inter_after=0.0), CONSISTENT_ROWS),
    Plant(
        "always released", GradientRule, "_inter_weights", always_released, ("term-psc-in-time-literal", "phi-literal")
    ),
    Plant("gate at theta_s", GradientRule, "_gate", wrong_gate, ("phi-*", "tangent-*-dense-[12]-s*")),
    Plant("no surrogate", GradientRule, "coefficients", coefficients_with(surrogate_weight=0.0), SUM_ROWS),
    Plant("kappa 1.001", GradientRule, "coefficients", coefficients_with(surrogate_weight=FACTOR), SUM_ROWS),
    Plant("kappa 1", GradientRule, "coefficients", coefficients_with(surrogate_weight=1.0), ("phi-half-surrogate",)),
    Plant("no silent steps", GradientRule, "coefficients", coefficients_with(silent=0.0), ("phi-one-hop-leak",)),
    # Losses.
    Plant("gradient x 1.001", losses, "van_rossum", gradient_times(FACTOR), KERNEL_LOSS_ROWS),
    Plant("flipped sign", losses, "count", gradient_times(-1.0), ("loss-count", "tangent-*-loss-count")),
    Plant("no dead zone", losses, "count", count_without_dead_zone, ("loss-count",)),
    Plant("both x 1.001", losses, "count", value_and_gradient_times(FACTOR), ("loss-count-value",)),
    Plant("sum over the batch", losses, "softmax", summed_softmax, ("loss-softmax", "tangent-*-loss-softmax")),
    Plant("shifted", losses, "desired_train_released", rolled(0), ("term-desired-trains", "loss-kernel-targets")),
    Plant("shifted", losses, "desired_train_paper", rolled(0), ("term-desired-trains", "loss-kernel-targets")),
    Plant("not filtered", losses, "filtered_train", unfiltered_train, ("term-desired-trains", "loss-kernel-targets")),
    # Sweeps.
    Plant("factor 1.001", sweeps, SWEEP, in_place(times(FACTOR)), SWEPT),
    Plant("flipped sign", sweeps, SWEEP, in_place(times(-1.0)), SWEPT),
    Plant("no intra term", sweeps, "coefficients", rule_with(intra=False), (*DENSE_RELEASED, *sweep_rows(CHAINED))),
    Plant("no clip", sweeps, "coefficients", rule_with(inverse_rise_clip=math.inf), (*CLIP_ROWS, *sweep_rows(CLIPPED))),
    Plant("no warm-up", sweeps, "coefficients", rule_with(warmup=False), (*DENSE_RELEASED, *sweep_rows(WARM[:3]))),
    Plant("wrong width", sweeps, "coefficients", rule_with(surrogate_width=0.21), (*DENSE_RELEASED, *sweep_rows(WARM))),
    Plant("delta[t-1]", sweeps, SWEEP, in_place(rolled(0)), SWEPT),
    Plant(
        "factor 1.001",
        sweeps,
        "psc_filter",
        times(FACTOR),
        ("sweep-psc-filter", "tangent-released-*-static"),
    ),
    Plant("not reversed", sweeps, "psc_filter_adjoint", filter_not_reversed, ("adjoint-psc-filter",)),
    Plant("input x 1.001", sweeps, "lif_forward_in_place", input_scaled, ("sweep-forward", "tangent-*-conv-spikes")),
    # Constants and single numbers; `test_wrong_packages` has more, planted in the source.
    Plant(
        "tau_s 6",
        NeuronParameters.__init__,
        "__defaults__",
        with_default(1, 6.0),
        ("number-neuron", "number-spike-train"),
    ),
    Plant("clip 10", GradientRule.__init__, "__defaults__", with_default(3, 10.0), ("number-rule", "number-clip")),
    Plant("gate 1/2", GradientRule.__init__, "__defaults__", with_default(6, 0.5), ("number-gate", "number-delta-*")),
    Plant("gate 10", GradientRule.__init__, "__defaults__", with_default(6, 10.0), ("number-phi-*",)),
    Plant("no intra", GradientRule.__init__, "__defaults__", with_default(1, False), NUMBER_PHI),
    Plant("width 0.25", GradientRule.__init__, "__defaults__", with_default(4, 0.25), ("number-warmup-tails",)),
    Plant("rate 0.2", GradientRule.__init__, "__defaults__", with_default(7, 0.2), ("number-2020", "number-rule")),
    Plant("8 spikes", losses.LossSettings.__init__, "__defaults__", with_default(0, 8.0), ("number-counts",)),
    Plant("long from 9 steps", losses, "LONG_TRAIN", lambda right: right - 1, ("number-long-train",)),
    Plant("flipped sign", losses.Loss, "target", times(-1.0), ("number-spike-train",)),
    Plant("no error", losses.Loss, "finite", lambda right: lambda loss, value, *args: value, ("number-loss-overflow",)),
    Plant("fires at V", terms, "spike", fires_at_threshold, ("number-threshold",)),
    Plant(
        "factor 1.001",
        reference,
        "dependency_matrix",
        times(FACTOR),
        ("number-phi-last-spike", "number-phi-tails", "phi-*"),
    ),
    Plant("without shift", losses, "softmax", softmax_without_shift, ("number-softmax-shift",)),
    Plant("twice", losses, "van_rossum", times_value, ("number-van-rossum", "number-spike-train", "loss-spike-train")),
    Plant("g late", sweeps, "tsslbp_backward", late_gradient, ("number-output-delta",)),
    Plant("sum over the batch", losses, "softmax", summed_softmax, ("number-softmax-shares",)),
    Plant("gradient cut late", optim, "gradient_norm", times(0.5), ("number-adamw",)),
    # The authors' numbers.
    Plant(
        "input x 1.001", sweeps, "lif_forward", first_scaled, ("golden-*-layer*", "golden-*-ties", "golden-*-clipped")
    ),
    Plant("both x 1.001", losses, "value_and_gradient", value_and_gradient_times(FACTOR), ("golden-*-loss-*",)),
    Plant("B2 x 1.001", sweeps, "tsslbp_backward", times(FACTOR), GOLDEN_NETWORKS),
    # Continuous time.
    Plant("gradient x 1.001", exact, "simulate", result_with(gradients=gradients_scaled), EXACT_ROWS),
    Plant("spikes late", exact, "simulate", result_with(spike_times=times_shifted), EXACT_LATE),
    Plant(
        "loss x 1.001", exact, "simulate", result_with(loss=scaled), ("exact-constants-loss", "exact-cases-gradients")
    ),
    *(
        Plant(f"by {key} x 1.001", exact, "simulate", result_with(gradients_by=entry_scaled(key)), rows)
        for key, rows in EXACT_BY.items()
    ),
    # Constants.
    *(
        Plant("factor 1.001", terms, name, times(FACTOR), (f"term-constants-{row}", f"tangent-constants-{row}-*"))
        for name, row in (
            ("membrane_by_tau_m_at_fixed_W_d", "tau-m-fixed-Wd"),
            ("membrane_by_tau_m_at_fixed_W", "tau-m-fixed-W"),
            ("psc_by_tau_s", "tau-s"),
        )
    ),
    Plant(
        "factor 1.001",
        terms,
        "membrane_by_threshold",
        times(FACTOR),
        ("term-constants-threshold", "constants-identity-*"),
    ),
    Plant(
        "factor 1.001",
        constants,
        "by_threshold_of_the_tangent",
        times(FACTOR),
        ("tangent-constants-threshold-*",),
    ),
    Plant("factor 1.001", constants, "by_tau_s", times(FACTOR), ("constants-literal-*",)),
    # Layers: what the plain loops call; the fast engine has loops of its own.
    Plant("factor 1.001", layers.Dense, "adjoint", times(FACTOR), ("*-dense", "layer-dense-by-psc", *DENSE_ABOVE)),
    Plant(
        "factor 1.001",
        layers.Dense,
        "weight_gradient",
        times(FACTOR),
        ("adjoint-dense-weights", "layer-dense-by-weight", *DENSE_ABOVE),
    ),
    Plant("channel last", layers.Dense, "forward", channel_last, ("sweep-flatten", "network-conv-spikes")),
    Plant(
        "factor 1.001",
        layers.Conv2d,
        "forward",
        times(FACTOR),
        ("sweep-conv-forward", "adjoint-conv*", "layer-conv-*", *CONV),
    ),
    Plant(
        "no padding",
        layers.Conv2d,
        "adjoint",
        conv_adjoint_without_padding,
        ("sweep-conv-adjoint", "adjoint-conv", "layer-conv-by-psc", CONV[0]),
    ),
    Plant(
        "kernel turned",
        layers.Conv2d,
        "weight_gradient",
        kernel_turned,
        ("sweep-conv-weight-gradient", "adjoint-conv-weights", "layer-conv-by-weight", *CONV),
    ),
    Plant(
        "no gain",
        layers.SumPool2d,
        "adjoint",
        pool_adjoint_without_gain,
        ("adjoint-pool", "adjoint-pool-odd", "layer-pool-by-psc", "sweep-pool-adjoint", *CONV),
    ),
    Plant(
        "shifted", layers.SumPool2d, "adjoint", rolled(-1), ("sweep-pool-adjoint", "adjoint-pool*", "layer-pool-by-psc")
    ),
    Plant(
        "shifted",
        layers.SumPool2d,
        "forward",
        rolled(-1),
        ("sweep-pool-forward", "adjoint-pool*", "network-conv-spikes"),
    ),
    Plant("no mask", layers.Dropout, "forward", without_mask, ("sweep-dropout", "network-*-dropout-s*")),
    Plant(
        "no mask",
        layers.Dropout,
        "adjoint",
        adjoint_without_mask,
        ("adjoint-dropout-*", "layer-dropout-by-psc", "tangent-*-dropout*"),
    ),
    Plant("exponent t", inputs, "static_gain", gain_from_step_zero, ("term-static-gain", "engine-input-static")),
)
ALL_PLANTS = (*PLANTS, *ENGINE_PLANTS)


@pytest.fixture(autouse=True)
def compiled_before_planting(report: Report) -> None:
    """Every loop is compiled with the right terms: a wrong one, planted before, would be compiled in, or not at all."""
    assert report.passed


@pytest.fixture
def no_targets_kept() -> Iterator[None]:
    """Desired PSCs are worked out once: those of before are not taken for the planted ones, nor these later."""
    losses._desired_psc.cache_clear()
    yield
    losses._desired_psc.cache_clear()


@pytest.mark.usefixtures("no_targets_kept")
@pytest.mark.parametrize("plant", ALL_PLANTS, ids=lambda plant: f"{plant.where()}: {plant.error}")
def test_table_rejects(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.into(monkeypatch)
    report = gradcheck.run(plant.rejected_by)
    assert not report.passed
    assert [row.name for row in report.rows if row.passed] == []


def test_every_row_rejects_some_planted_error() -> None:
    names = [check.name for check in gradcheck.registry()]
    rejecting = {
        name for plant in ALL_PLANTS for pattern in plant.rejected_by for name in fnmatch.filter(names, pattern)
    }
    assert set(names) - rejecting == set()


def test_planting_leaves_nothing_behind() -> None:
    for plant in ALL_PLANTS:
        before = plant.planted()
        with pytest.MonkeyPatch.context() as monkeypatch:
            plant.into(monkeypatch)
            assert plant.planted() is not before
        assert plant.planted() is before

"""Wrong derivatives, planted one by one: the check table rejects every one, and every row rejects some.

A plant replaces one function or method by a wrong version of itself. The compiled loops hold the terms that they were
compiled with, so a wrong term shows in its own row, in phi of the literal loops, and where literal and fast part ways;
a wrong sweep is planted by wrapping the function that the network and `fast.tsslbp_backward` both call.
"""

from __future__ import annotations

import fnmatch
import math
from dataclasses import dataclass
from typing import Any

import pytest
from wrong_versions import (
    FACTOR,
    Wrong,
    adjoint_without_mask,
    always_released,
    argument_not_clipped,
    backwards,
    channel_last,
    coefficients_with,
    conv_adjoint_without_padding,
    count_without_dead_zone,
    delta_shifted,
    dense_gradient_shifted,
    entry_scaled,
    events_shifted,
    fed,
    fed_late,
    filter_not_reversed,
    filters_turned,
    first_scaled,
    fold_doubled,
    gain_from_step_zero,
    gain_reversed,
    gradient_times,
    gradients_scaled,
    in_place,
    input_scaled,
    kernel_turned,
    later,
    later_lag,
    pool_adjoint_without_gain,
    psc_gradient_times,
    result_with,
    rolled,
    rule_with,
    run_fed_late,
    scaled,
    second_layer_scaled,
    spike_not_scaled,
    static_gradient_without_gain,
    summed_softmax,
    times,
    times_shifted,
    total_scaled,
    unfiltered_events,
    unfiltered_train,
    unfold_turned,
    value_and_gradient_times,
    weights_scaled,
    wider,
    without_clip,
    without_mask,
    written_times,
    wrong_gate,
)

from tsslbp_ref import exact, gradcheck
from tsslbp_ref.engine import (
    fast_dense,
    fast_events,
    fast_fourier,
    fast_layers,
    fast_pooled,
    fast_static,
    fast_step,
    fast_words,
    signals,
)
from tsslbp_ref.model import layers, losses, srm, sweeps, terms
from tsslbp_ref.model.parameters import GradientRule

SWEEP = "tsslbp_backward_in_place"  # what convolutions call, and `fast.tsslbp_backward` after its checks
STATIC_SWEEP = "tsslbp_backward_static"


@dataclass(frozen=True)
class Plant:
    """A wrong version of `owner.name`, and the rows, or patterns of rows, that must all reject it."""

    error: str
    owner: Any
    name: str
    wrong: Wrong
    rejected_by: tuple[str, ...]

    def planted(self) -> Any:
        """What stands at the place now."""
        return self.owner[self.name] if isinstance(self.owner, dict) else getattr(self.owner, self.name)

    def where(self) -> str:
        """The place, as module.name."""
        owner = "losses" if isinstance(self.owner, dict) else self.owner.__name__.rpartition(".")[2]
        return f"{owner}.{self.name}"

    def into(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put the wrong version in the place of the right one, in a module, a class or a dictionary."""
        if isinstance(self.owner, dict):
            monkeypatch.setitem(self.owner, self.name, self.wrong(self.planted()))
        else:
            monkeypatch.setattr(self.owner, self.name, self.wrong(self.planted()))


CHAINED = ("released", "no-warmup", "literal", "consistent")  # rules with the intra-neuron dependency
FIRED = (*CHAINED, "no-intra")  # rules with the firing time in them
CLIPPED = ("released", "no-warmup", "literal", "no-intra")  # rules that clip 1/rise
WARM = ("released", "no-intra", "literal", "surrogate")  # rules with the surrogate in them
DENSE_ABOVE = "tangent-*-dense-[23]-*spikes"  # static pictures take `fast_step`'s way
CONV = ("tangent-*-conv-*",)
THETA_M_ROWS = ("term-reset-*", *(f"phi-{name}" for name in CHAINED), "tangent-released-dense-*-spikes")
CONSISTENT_ROWS = ("term-psc-in-time-consistent", "phi-consistent", "tangent-consistent-*")
DENSE_RELEASED = ("tangent-released-dense-[123]-static", "tangent-released-dense-[123]-spikes")
CLIP_ROWS = ("tangent-released-dense-3-spikes", "tangent-no-warmup-dense-3-spikes", "tangent-released-conv-*")
KERNELS = ("srm-eta", "srm-membrane")
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
STATIC_ROWS = ("tangent-*-dense-1-static", "sweep-static-chain-rule")
POOLED_ROWS = ("sweep-pooled-chain-rule", "tangent-released-conv-static")
WHOLE_ROWS = ("sweep-whole-step-*", "tangent-*-dense-[23]-static", "tangent-*-words", "tangent-*-paper-loss")
RUN_BACKWARD = ("sweep-run-chain-rule-*", DENSE_ABOVE)
FREQUENCY_ROWS = tuple(f"sweep-frequency-{what}" for what in ("forward", "adjoint", "weight-gradient"))
WORD_ROWS = ("sweep-signal-words", "adjoint-signal-words")
SPARSE_ROWS = ("sweep-signal-sparse", "adjoint-signal-sparse", "tangent-released-dense-3-sparse-spikes")


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
    Plant("factor 1.001", terms, "leak", times(FACTOR), ("term-membrane-by-leak", *rules(CHAINED))),
    Plant("lag + 1", terms, "leak", later_lag, ("term-membrane-by-leak", "term-reset-in-steps", *rules(CHAINED))),
    Plant("lag + 1", terms, "psc_kernel", later_lag, ("term-psc-kernel", "sweep-psc-filter", *rules((*FIRED, *WARM)))),
    Plant("lag + 1", terms, "reset_kernel", later_lag, ("term-reset-in-steps", "term-membrane-by-reset", *KERNELS)),
    Plant("factor 1.001", terms, "surrogate_spike_by_membrane", times(FACTOR), ("term-warmup*", *rules(WARM))),
    Plant("flipped sign", terms, "surrogate_spike_by_membrane", times(-1.0), ("term-warmup*", *rules(WARM))),
    Plant("wrong width", terms, "surrogate_spike_by_membrane", wider, ("term-warmup*", *rules(WARM))),
    Plant("no clip", terms, "surrogate_spike_by_membrane", argument_not_clipped, ("term-warmup-clipped", *rules(WARM))),
    Plant("factor 1.001", terms, "membrane", times(FACTOR), ("term-membrane-by-*", "sweep-forward")),
    Plant("factor 1.001", terms, "membrane_rise", times(FACTOR), ("term-membrane-rise", *rules(FIRED))),
    Plant("factor 1.001", terms, "weighted_input", times(FACTOR), ("term-weighted-input", *rules(("consistent",)))),
    Plant("lag + 1", srm, "response_kernel", later_lag, ("srm-response-kernel", "srm-membrane")),
    Plant("factor 1.001", srm, "eta", times(FACTOR), ("srm-eta",)),
    Plant("input x 1.001", srm, "forward", first_scaled, ("srm-membrane",)),
    Plant("no theta_s", terms, "psc", spike_not_scaled, ("term-psc-kernel", "term-desired-trains", "sweep-forward")),
    # The rule as numbers, which the literal and the fast loops share.
    Plant("no theta_m", GradientRule, "coefficients", coefficients_with(reset_by_u=1.0), THETA_M_ROWS),
    Plant("no jump", GradientRule, "coefficients", coefficients_with(inter_after=0.0), CONSISTENT_ROWS),
    Plant(
        "always released", GradientRule, "_inter_weights", always_released, ("term-psc-in-time-literal", "phi-literal")
    ),
    Plant("gate at theta_s", GradientRule, "_gate", wrong_gate, ("phi-*", "tangent-*-dense-[12]-*")),
    # Losses.
    Plant("gradient x 1.001", losses.LOSSES, "kernel", gradient_times(FACTOR), ("loss-kernel", "tangent-*-static")),
    Plant(
        "gradient x 1.001", losses.LOSSES, "kernel-paper", gradient_times(FACTOR), ("loss-kernel-paper", "*-paper-loss")
    ),
    Plant("flipped sign", losses.LOSSES, "count", gradient_times(-1.0), ("loss-count",)),
    Plant("no dead zone", losses.LOSSES, "count", count_without_dead_zone, ("loss-count",)),
    Plant("both x 1.001", losses.LOSSES, "count", value_and_gradient_times(FACTOR), ("loss-count-value",)),
    Plant("sum over the batch", losses.LOSSES, "softmax", summed_softmax, ("loss-softmax",)),
    Plant("shifted", losses, "desired_train_released", rolled(0), ("term-desired-trains", "loss-kernel-targets")),
    Plant("shifted", losses, "desired_train_paper", rolled(0), ("term-desired-trains", "loss-kernel-targets")),
    Plant("not filtered", losses, "filtered_train", unfiltered_train, ("term-desired-trains", "loss-kernel-targets")),
    # Sweeps.
    Plant("factor 1.001", sweeps, SWEEP, in_place(times(FACTOR)), ("tangent-*", "sweep-backward-*")),
    Plant("flipped sign", sweeps, SWEEP, in_place(times(-1.0)), ("tangent-*", "sweep-backward-*")),
    Plant("no intra term", sweeps, "coefficients", rule_with(intra=False), (*DENSE_RELEASED, *sweep_rows(CHAINED))),
    Plant("no clip", sweeps, "coefficients", rule_with(inverse_rise_clip=math.inf), (*CLIP_ROWS, *sweep_rows(CLIPPED))),
    Plant("no warm-up", sweeps, "coefficients", rule_with(warmup=False), (*DENSE_RELEASED, *sweep_rows(WARM[:3]))),
    Plant("wrong width", sweeps, "coefficients", rule_with(surrogate_width=0.21), (*DENSE_RELEASED, *sweep_rows(WARM))),
    Plant("delta[t-1]", sweeps, SWEEP, in_place(rolled(0)), ("tangent-*", "sweep-backward-*")),
    Plant("factor 1.001", fast_static, STATIC_SWEEP, times(FACTOR), STATIC_ROWS),
    Plant("last c[t] first", fast_static, STATIC_SWEEP, gain_reversed, STATIC_ROWS),
    Plant("input x 1.001", fast_pooled, "neurons_and_pool", input_scaled, ("sweep-pooled-neurons", POOLED_ROWS[1])),
    Plant("dL/da x 1.001", fast_pooled, "pool_and_chain_rule", input_scaled, POOLED_ROWS),
    Plant("last c[t] first", fast_pooled, "pool_and_chain_rule", gain_reversed, POOLED_ROWS),
    Plant("W x 1.001", fast_dense, "run_neurons", weights_scaled, ("sweep-run-neurons-*", DENSE_ABOVE)),
    Plant("a step late", fast_dense, "run_neurons", fed_late, ("sweep-run-neurons-*", DENSE_ABOVE)),
    Plant("dL/da x 1.001", fast_dense, "run_chain_rule", psc_gradient_times(FACTOR), RUN_BACKWARD),
    Plant("a step late", fast_dense, "run_chain_rule", run_fed_late, RUN_BACKWARD),
    Plant("delta[t+1]", fast_dense, "run_chain_rule", dense_gradient_shifted, RUN_BACKWARD),
    Plant("W x 1.001", fast_step, "shard_step", second_layer_scaled, WHOLE_ROWS),
    Plant("last c[t] first", fast_step, "shard_step", fed(gain=backwards), WHOLE_ROWS),
    Plant("target late", fast_step, "shard_step", fed(target=later), WHOLE_ROWS),
    Plant("delta x 1.001", fast_step, "shard_step", total_scaled, WHOLE_ROWS),
    Plant(
        "factor 1.001",
        sweeps,
        "psc_filter",
        times(FACTOR),
        ("term-static-gain", "sweep-psc-filter", "tangent-*-static"),
    ),
    Plant("not reversed", sweeps, "psc_filter_adjoint", filter_not_reversed, ("adjoint-psc-filter",)),
    Plant("input x 1.001", sweeps, "lif_forward_in_place", input_scaled, ("sweep-forward", "tangent-*-conv-*")),
    Plant("input x 1.001", fast_static, "lif_forward_static", input_scaled, ("tangent-*-dense-1-static",)),
    Plant("added twice", fast_layers, "fold", fold_doubled, ("adjoint-fold",)),
    Plant("kernel turned", fast_layers, "unfold", unfold_turned, ("adjoint-fold",)),
    Plant("kernel turned", fast_layers, "conv_forward", filters_turned, ("sweep-conv-forward", "adjoint-conv")),
    Plant(
        "kernel turned", fast_layers, "conv_adjoint", filters_turned, ("sweep-conv-adjoint", "layer-conv-by-psc", *CONV)
    ),
    Plant("input x 1.001", fast_fourier, "conv_forward", first_scaled, FREQUENCY_ROWS[:1]),
    Plant("factor 1.001", fast_fourier, "filter_products", times(FACTOR), FREQUENCY_ROWS[:2]),
    Plant("delta x 1.001", fast_fourier, "conv_backward", first_scaled, FREQUENCY_ROWS[1:]),
    Plant("sums x 1.001", fast_fourier, "filter_gradient", first_scaled, FREQUENCY_ROWS[2:]),
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
    # Layers.
    Plant(
        "factor 1.001",
        layers.Dense,
        "adjoint",
        written_times(FACTOR),
        ("*-dense", "layer-dense-by-psc", "tangent-*-dense-3-*"),
    ),
    Plant(
        "factor 1.001",
        layers.Dense,
        "weight_gradient",
        times(FACTOR),
        (
            "adjoint-dense-weights",
            "layer-dense-by-weight",
            "sweep-signal-psc",
            "sweep-signal-static",
            "adjoint-signal-psc",
            "adjoint-signal-static",
        ),
    ),
    Plant(
        "factor 1.001", layers.Conv2d, "forward", times(FACTOR), ("sweep-conv-forward", "adjoint-conv*", "layer-conv-*")
    ),
    Plant(
        "no padding",
        layers.Conv2d,
        "adjoint",
        conv_adjoint_without_padding,
        ("*-conv-adjoint", "adjoint-conv", "layer-conv-by-psc", *CONV),
    ),
    Plant(
        "kernel turned",
        layers.Conv2d,
        "weight_gradient",
        kernel_turned,
        ("*-conv-weight-gradient", "adjoint-conv-weights", "layer-conv-by-weight", *CONV),
    ),
    Plant("channel last", layers.Dense, "forward", channel_last, ("sweep-flatten",)),
    Plant(
        "no gain",
        layers.SumPool2d,
        "adjoint",
        pool_adjoint_without_gain,
        ("adjoint-pool", "adjoint-pool-odd", "layer-pool-by-psc", "sweep-pool-adjoint", *CONV),
    ),
    Plant(
        "shifted", layers.SumPool2d, "adjoint", rolled(-1), ("*-pool*-adjoint", "adjoint-pool*", "layer-pool-by-psc")
    ),
    Plant("shifted", layers.SumPool2d, "forward", rolled(-1), ("sweep-pool-forward", "adjoint-pool*")),
    Plant("no mask", layers.Dropout, "forward", without_mask, ("sweep-dropout",)),
    Plant(
        "no mask",
        layers.Dropout,
        "adjoint",
        adjoint_without_mask,
        ("adjoint-dropout-*", "layer-dropout-by-psc", "tangent-*-dropout*"),
    ),
    # Signals.
    Plant(
        "delta[t+1]",
        signals.PSCSignal,
        "weight_gradient",
        delta_shifted,
        ("*-signal-psc", "tangent-*-dense-[23]-*", *CONV),
    ),
    Plant(
        "no gain",
        signals.StaticSignal,
        "weight_gradient",
        static_gradient_without_gain,
        ("*-signal-static", "tangent-*-dense-1-static"),
    ),
    Plant("exponent t", signals, "static_gain", gain_from_step_zero, ("term-static-gain", "tangent-*-static")),
    Plant("not filtered", fast_events, "weight_gradient", unfiltered_events, SPARSE_ROWS),
    Plant("not filtered", fast_events, "weighted_input", unfiltered_events, SPARSE_ROWS[:2]),
    Plant("next input", fast_events, "find_events", events_shifted, SPARSE_ROWS[:1]),
    Plant("next neuron", fast_words, "find_words", events_shifted, WORD_ROWS[:1]),
    Plant("not filtered", fast_words, "weighted_input", unfiltered_events, WORD_ROWS),
    Plant("not filtered", fast_words, "weight_gradient", unfiltered_events, WORD_ROWS),
)


@pytest.fixture(scope="module", autouse=True)
def compiled_before_planting() -> None:
    """Compile every loop with the right terms: a wrong one, planted before, would be compiled in, or not at all."""
    assert gradcheck.run().passed


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: f"{plant.where()}: {plant.error}")
def test_table_rejects(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant.into(monkeypatch)
    report = gradcheck.run(plant.rejected_by)
    assert not report.passed
    assert [row.name for row in report.rows if row.passed] == []


def test_every_row_rejects_some_planted_error() -> None:
    names = [check.name for check in gradcheck.registry()]
    rejecting = {name for plant in PLANTS for pattern in plant.rejected_by for name in fnmatch.filter(names, pattern)}
    assert set(names) - rejecting == set()


def test_planting_leaves_nothing_behind() -> None:
    for plant in PLANTS:
        before = plant.planted()
        with pytest.MonkeyPatch.context() as monkeypatch:
            plant.into(monkeypatch)
            assert plant.planted() is not before
        assert plant.planted() is before

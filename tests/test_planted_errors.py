"""Wrong derivatives, planted one by one: the check table rejects every one, and every row rejects some.

A plant replaces one function or method by a wrong version of itself. The compiled loops hold the terms that they were
compiled with, so a wrong term shows in its own row, in phi of the literal loops, and where literal and fast part ways;
a wrong sweep is planted by wrapping the function that the network and `fast.tsslbp_backward` both call.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tsslbp_ref import exact, fast, fast_events, fast_layers, gradcheck, layers, losses, signals, terms
from tsslbp_ref.parameters import GradientRule

FACTOR = 1.001
SWEEP = "tsslbp_backward_in_place"  # what the network calls, and `fast.tsslbp_backward` after its checks
Wrong = Callable[[Callable[..., Any]], Callable[..., Any]]


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


def times(factor: float) -> Wrong:
    """The right result times a factor."""
    return lambda right: lambda *args, **kwargs: factor * right(*args, **kwargs)


def in_place(wrong: Wrong) -> Wrong:
    """A wrong version of a function that overwrites its first argument, from that of one that returns the result."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def returning(array: Any, *args: Any) -> Any:
            result = array.copy()
            right(result, *args)
            return result

        def overwriting(array: Any, *args: Any) -> None:
            array[...] = wrong(returning)(array, *args)

        return overwriting

    return plant


def later_lag(right: Callable[..., Any]) -> Callable[..., Any]:
    """The right function of the next lag: an index shifted by one."""
    return lambda lag, *args: right(lag + 1, *args)


def gradient_times(factor: float) -> Wrong:
    """A loss with the right value and a gradient that is off by a factor."""

    def wrong(right: Callable[..., Any]) -> Callable[..., Any]:
        def loss(*args: Any) -> Any:
            value, gradient = right(*args)
            return value, factor * gradient

        return loss

    return wrong


def value_and_gradient_times(factor: float) -> Wrong:
    """A loss that is off by a factor, gradient and all: no finite difference sees that."""
    return lambda right: lambda *args: tuple(factor * result for result in right(*args))


def count_without_dead_zone(right: Callable[..., Any]) -> Callable[..., Any]:
    """The count loss whose gradient goes on past the target."""

    def count(a: Any, y: Any, neuron: Any, settings: Any) -> Any:
        value, _ = right(a, y, neuron, settings)
        desired = np.full(a.shape[1:], settings.undesired_count)
        desired[np.arange(len(y)), y] = settings.desired_count
        return value, np.broadcast_to((a.sum(axis=0) - desired) / len(a), a.shape).copy()

    return count


def summed_softmax(right: Callable[..., Any]) -> Callable[..., Any]:
    """The softmax loss that averages its value over the batch and not its gradient."""

    def softmax(a: Any, *args: Any) -> Any:
        value, gradient = right(a, *args)
        return value, gradient * a.shape[1]

    return softmax


def rule_with(**changes: Any) -> Wrong:
    """The sweep with another rule than it is asked for."""
    return lambda right: lambda g, trace, neuron, rule: right(g, trace, neuron, dataclasses.replace(rule, **changes))


def coefficients_with(**changes: float) -> Wrong:
    """A rule resolved to wrong numbers, for the literal and the fast loops alike."""
    return lambda right: lambda self, neuron: right(self, neuron)._replace(**changes)


def rolled(axis: int) -> Wrong:
    """The right array, shifted by one along an axis."""
    return lambda right: lambda *args: np.roll(right(*args), 1, axis=axis)


def delta_shifted(right: Callable[..., Any]) -> Callable[..., Any]:
    """B1 with delta[t+1] in the place of delta[t]."""
    return lambda self, layer, delta: right(self, layer, np.roll(delta, -1, axis=0))


def conv_adjoint_without_padding(right: Callable[..., Any]) -> Callable[..., Any]:
    """A convolution's adjoint that forgets that the picture was padded: all is shifted by the padding."""
    return lambda self, y, W, out=None: np.roll(right(self, y, W), (self.padding, self.padding), axis=(-2, -1))


def kernel_turned(right: Callable[..., Any]) -> Callable[..., Any]:
    """The weight gradient of a true convolution: kernel entries in reverse order."""
    return lambda self, delta, x: right(self, delta, x)[:, :, ::-1, ::-1]


def pool_adjoint_without_gain(right: Callable[..., Any]) -> Callable[..., Any]:
    """The pool's factor forgotten on the way back."""
    return lambda self, y, parameter, out=None: right(self, y, parameter) / self.gain


def adjoint_without_mask(right: Callable[..., Any]) -> Callable[..., Any]:
    """The dropout mask forgotten on the way back."""
    return lambda self, y, mask, out=None: y


def static_gradient_without_gain(right: Callable[..., Any]) -> Callable[..., Any]:
    """The static short cut with 1 in the place of c[t]."""
    return lambda self, layer, delta: layer.weight_gradient(delta.sum(axis=0), self.x)


def gain_from_step_zero(right: Callable[..., Any]) -> Callable[..., Any]:
    """c[t] with the exponent t in the place of t + 1."""
    return lambda n_steps, neuron, dtype: (1.0 - (1.0 - neuron.theta_s) ** np.arange(n_steps)).astype(dtype)


def unfiltered_events(right: Callable[..., Any]) -> Callable[..., Any]:
    """A product over events with tau_s = 1: no filter."""
    return lambda events, array, neuron, *out: right(events, array, dataclasses.replace(neuron, tau_s=1.0), *out)


def events_shifted(right: Callable[..., Any]) -> Callable[..., Any]:
    """The list with every event one input further on."""

    def find_events(*args: Any, **kwargs: Any) -> Any:
        events = right(*args, **kwargs)
        return dataclasses.replace(events, inputs=(events.inputs + 1) % events.shape[2])

    return find_events


def filter_not_reversed(right: Callable[..., Any]) -> Callable[..., Any]:
    """The filter in the place of its adjoint."""
    return lambda g, neuron: fast.psc_filter(g, neuron)


def fold_doubled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A fold that adds everything twice."""

    def fold(rows: Any, kernel_size: int, padding: int, pictures: Any) -> None:
        right(rows, kernel_size, padding, pictures)
        pictures *= 2.0

    return fold


def unfold_turned(right: Callable[..., Any]) -> Callable[..., Any]:
    """An unfold with the kernel's columns in reverse order."""

    def unfold(pictures: Any, kernel_size: int, padding: int, rows: Any) -> None:
        right(pictures, kernel_size, padding, rows)
        rows[:] = rows[:, :, ::-1].copy()

    return unfold


def filters_turned(right: Callable[..., Any]) -> Callable[..., Any]:
    """A convolution with its filters (or, for the adjoint, their transpose) in reverse order."""
    return lambda x, filters, *args: right(x, np.ascontiguousarray(filters[::-1, ::-1]), *args)


def without_clip(right: Callable[..., Any]) -> Callable[..., Any]:
    """1/rise without its bound."""
    return lambda rise, clip: right(rise, math.inf)


def wider(right: Callable[..., Any]) -> Callable[..., Any]:
    """The sigmoid with a width that is off by 1 %."""
    return lambda u, threshold, width, *clip: right(u, threshold, 1.01 * width, *clip)


def argument_not_clipped(right: Callable[..., Any]) -> Callable[..., Any]:
    """The sigmoid with its tails."""
    return lambda u, threshold, width, clip, *more: right(u, threshold, width, math.inf, *more)


def spike_not_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """The PSC with s in the place of theta_s s."""
    return lambda a_previous, s, theta_s: (1.0 - theta_s) * a_previous + s


def always_released(right: Callable[..., Any]) -> Callable[..., Any]:
    """The released weights whatever the rule says."""
    return lambda self, neuron: (0.0, -1.0, 0.0)


def wrong_gate(right: Callable[..., Any]) -> Callable[..., Any]:
    """The warm-up below theta_s in the place of theta_s / 4, for every rule."""
    return lambda self, neuron: neuron.theta_s


def input_scaled(right: Callable[..., Any]) -> Callable[..., Any]:
    """A forward sweep that is fed 1.001 I."""
    return lambda I, *args: right(np.multiply(I, FACTOR, out=I), *args)


def unfiltered_train(right: Callable[..., Any]) -> Callable[..., Any]:
    """The desired train in the place of its PSC."""
    return lambda train, neuron: train


def result_with(**changes: Callable[[Any], Any]) -> Callable[..., Any]:
    """A simulation whose result has fields changed."""

    def plant(right: Callable[..., Any]) -> Callable[..., Any]:
        def simulate(*args: Any, **keywords: Any) -> Any:
            result = right(*args, **keywords)
            return dataclasses.replace(
                result, **{name: change(getattr(result, name)) for name, change in changes.items()}
            )

        return simulate

    return plant


def gradients_scaled(gradients: Any) -> Any:
    """The first layer's gradient x 1.001; a simulation without gradients has None."""
    return gradients and [FACTOR * gradients[0], *gradients[1:]]


def times_shifted(spike_times: Any) -> Any:
    """All spikes 1e-9 ms late."""
    return [[train + 1e-9 for train in layer] for layer in spike_times]


# What an error in a part has to trip: rows, or patterns of rows.
CHAINED = ("released", "no-warmup", "literal", "consistent")  # rules with the intra-neuron dependency
FIRED = (*CHAINED, "no-intra")  # rules with the firing time in them
CLIPPED = ("released", "no-warmup", "literal", "no-intra")  # rules that clip 1/rise
WARM = ("released", "no-intra", "literal", "surrogate")  # rules with the surrogate in them
CONV = ("tangent-*-conv-*",)
THETA_M_ROWS = ("term-reset-*", *(f"phi-{name}" for name in CHAINED), "tangent-released-dense-*-spikes")
CONSISTENT_ROWS = ("term-psc-in-time-consistent", "phi-consistent", "tangent-consistent-*")
DENSE_RELEASED = ("tangent-released-dense-[123]-static", "tangent-released-dense-[123]-spikes")
CLIP_ROWS = ("tangent-released-dense-3-spikes", "tangent-no-warmup-dense-3-spikes", "tangent-released-conv-*")
EXACT_ROWS = ("exact-differences-*", "exact-cases-gradients")
SPARSE_ROWS = ("sweep-signal-sparse", "adjoint-signal-sparse", "tangent-released-dense-3-sparse-spikes")


def rules(names: tuple[str, ...]) -> tuple[str, ...]:
    """The rows of phi, and of literal against fast, for some rules."""
    return (*(f"phi-{name}" for name in names), *sweeps(names))


def sweeps(names: tuple[str, ...]) -> tuple[str, ...]:
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
    Plant("lag + 1", terms, "reset_kernel", later_lag, ("term-reset-in-steps", "term-membrane-by-reset")),
    Plant("factor 1.001", terms, "surrogate_spike_by_membrane", times(FACTOR), ("term-warmup*", *rules(WARM))),
    Plant("flipped sign", terms, "surrogate_spike_by_membrane", times(-1.0), ("term-warmup*", *rules(WARM))),
    Plant("wrong width", terms, "surrogate_spike_by_membrane", wider, ("term-warmup*", *rules(WARM))),
    Plant("no clip", terms, "surrogate_spike_by_membrane", argument_not_clipped, ("term-warmup-clipped", *rules(WARM))),
    Plant("factor 1.001", terms, "membrane", times(FACTOR), ("term-membrane-by-*", "sweep-forward")),
    Plant("factor 1.001", terms, "membrane_rise", times(FACTOR), ("term-membrane-rise", *rules(FIRED))),
    Plant("factor 1.001", terms, "weighted_input", times(FACTOR), ("term-weighted-input", *rules(("consistent",)))),
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
    Plant("factor 1.001", fast, SWEEP, in_place(times(FACTOR)), ("tangent-*", "sweep-backward-*")),
    Plant("flipped sign", fast, SWEEP, in_place(times(-1.0)), ("tangent-*-dense-1-*", "sweep-backward-*")),
    Plant("no intra term", fast, SWEEP, in_place(rule_with(intra=False)), (*DENSE_RELEASED, *sweeps(CHAINED))),
    Plant("no clip", fast, SWEEP, in_place(rule_with(inverse_rise_clip=math.inf)), (*CLIP_ROWS, *sweeps(CLIPPED))),
    Plant("no warm-up", fast, SWEEP, in_place(rule_with(warmup=False)), (*DENSE_RELEASED, *sweeps(WARM[:3]))),
    Plant("wrong width", fast, SWEEP, in_place(rule_with(surrogate_width=0.21)), (*DENSE_RELEASED, *sweeps(WARM))),
    Plant("delta[t-1]", fast, SWEEP, in_place(rolled(0)), ("tangent-*-dense-3-*", "sweep-backward-*")),
    Plant(
        "factor 1.001", fast, "psc_filter", times(FACTOR), ("term-static-gain", "sweep-psc-filter", "tangent-*-static")
    ),
    Plant("not reversed", fast, "psc_filter_adjoint", filter_not_reversed, ("adjoint-psc-filter",)),
    Plant("input x 1.001", fast, "lif_forward_in_place", input_scaled, ("sweep-forward", "tangent-*-dense-1-spikes")),
    Plant("input x 1.001", fast, "lif_forward_static", input_scaled, ("tangent-*-dense-1-static",)),
    Plant("added twice", fast_layers, "fold", fold_doubled, ("adjoint-fold",)),
    Plant("kernel turned", fast_layers, "unfold", unfold_turned, ("adjoint-fold",)),
    Plant("kernel turned", fast_layers, "conv_forward", filters_turned, ("sweep-conv-forward", "adjoint-conv")),
    Plant(
        "kernel turned", fast_layers, "conv_adjoint", filters_turned, ("sweep-conv-adjoint", "layer-conv-by-psc", *CONV)
    ),
    # Continuous time.
    Plant("gradient x 1.001", exact, "simulate", result_with(gradients=gradients_scaled), EXACT_ROWS),
    Plant("spikes late", exact, "simulate", result_with(spike_times=times_shifted), ("exact-cases-times",)),
    # Layers.
    Plant(
        "factor 1.001", layers.Dense, "adjoint", times(FACTOR), ("*-dense", "layer-dense-by-psc", "tangent-*-dense-3-*")
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
    Plant(
        "no gain",
        layers.SumPool2d,
        "adjoint",
        pool_adjoint_without_gain,
        ("adjoint-pool", "adjoint-pool-odd", "layer-pool-by-psc", *CONV),
    ),
    Plant("shifted", layers.SumPool2d, "adjoint", rolled(-1), ("adjoint-pool*", "layer-pool-by-psc")),
    Plant(
        "no mask",
        layers.Dropout,
        "adjoint",
        adjoint_without_mask,
        ("adjoint-dropout-*", "layer-dropout-by-psc", "tangent-*-dropout*"),
    ),
    # Signals.
    Plant(
        "delta[t+1]", signals.PSCSignal, "weight_gradient", delta_shifted, ("*-signal-psc", "tangent-*-dense-[23]-*")
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

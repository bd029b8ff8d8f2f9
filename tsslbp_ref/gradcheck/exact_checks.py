"""Rows for the exact gradient in continuous time: against differences of the simulator, golden cases, and identities.

The golden cases by constants (weights, tau_m, tau_s, thresholds, delays, input times; three losses) were computed in
270-bit arithmetic from the kernel form of the membrane and rounded to double. `python -m tools.golden.continuous` makes
them again, and those of exact_cases.json. The identities need no golden number and no difference: they hold because the
network's equations do not change under a change of scale or of the unit of time.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import exact
from tsslbp_ref.exact.losses import Loss
from tsslbp_ref.gradcheck.finite_differences import Array, gradient, largest, relative_error
from tsslbp_ref.gradcheck.report import Check

CASES_FILE = "exact_cases.json"  # two networks whose numbers were checked in 45-digit arithmetic
CONSTANTS_FILE = "exact_constants.json"  # twelve networks with derivatives by every constant; its text says every index
CASE_KEYS = ("weights", "input_spikes", "tau_m", "tau_s", "V_th", "T", "desired_spikes")
CASE_TIME = 1e-10  # ms
CASE_RELATIVE = 1e-9
CONSTANTS_RELATIVE = 1e-10
IDENTITY = 1e-11
# Name of the row, equation, key of the golden derivatives; in the order of the table.
CONSTANTS_ROWS = (
    ("weights", "dL/dW = sum_f R(t_f)/(tau_m tau_s)", "weights"),
    ("tau-m", "dL/dtau_m = -(1/tau_m) int P_u u' dt, by neuron", "tau_m"),
    ("threshold", "dL/dV = -sum over own spikes of P_u-, by neuron", "threshold"),
    ("tau-s", "dL/dtau_s = sum over arrivals of W (S/tau_s - R)/(tau_m tau_s^2), by layer", "tau_s"),
    ("delays", "dL/dd = sum over arrivals of W (R/tau_s - P_u)/(tau_m tau_s)", "delays"),
    ("input-times", "dL/dt_f of the input's spikes", "input_times"),
    ("tau-loss", "dL/dtau = int e de/dtau dt of the van Rossum loss", "loss_tau"),
)
DIFFERENCE = 1e-8
STEP = 4e-4  # of a weight of about 10: far below the margins of `smooth_network`
LEVELS = 2  # Richardson levels: the error falls with the fourth power of the step
SMALLEST_MARGIN = 0.01
SEEDS_TRIED = 500
MEAN_DRIVE = 14.0  # weights of this size over the number of inputs make a neuron fire a few times in 40 ms
TIME_CONSTANTS = {"tau-m-larger": (10.0, 4.0), "tau-equal": (6.0, 6.0), "tau-s-larger": (4.0, 9.0)}  # ms
SIZES = ((4, 2), (4, 4, 2), (4, 4, 3, 2))


class ContinuousNetwork(NamedTuple):
    """The arguments of `exact.simulate`, times in ms."""

    weights: list[Array]
    input_spikes: list[Array]
    tau_m: float
    tau_s: float
    threshold: float
    duration: float
    desired_spikes: list[Array]


class ConstantsRun(NamedTuple):
    """A golden case by constants, the golden entry of one of its losses, and the simulator's result."""

    case: dict[str, Any]
    golden: dict[str, Any]
    result: exact.ExactResult


def all_checks() -> list[Check]:
    """Rows by differences for tau_m >, = and < tau_s, by golden constants, by identities, and by 45-digit cases."""
    rows = [
        Check(
            f"exact-differences-{name}",
            "dL/dW by the adjoint (loss of the event-driven simulation, every weight differenced; 1 to 3 layers)",
            "exact.simulate",
            DIFFERENCE,
            lambda taus=taus: largest(_against_differences(sizes, *taus) for sizes in SIZES),  # type: ignore[misc]
        )
        for name, taus in TIME_CONSTANTS.items()
    ]
    rows += [*_constants_checks(), *_identity_checks()]
    rows.append(
        Check(
            "exact-cases-times",
            "spike times t_f of two networks, in ms off the 45-digit values",
            "exact.simulate",
            CASE_TIME,
            lambda: largest(trains_error(simulate_case(case).spike_times, case["exact"]["spikes"]) for case in cases()),
        )
    )
    rows.append(
        Check(
            "exact-cases-gradients",
            "L and dL/dW of two networks (45-digit values)",
            "exact.simulate",
            CASE_RELATIVE,
            lambda: largest(_case_gradients(case) for case in cases()),
        )
    )
    return rows


@cache
def cases() -> list[dict[str, Any]]:
    """The 45-digit cases, as the file has them."""
    return json.loads(resources.files("tsslbp_ref.gradcheck").joinpath(CASES_FILE).read_text())["cases"]


def simulate_case(case: dict[str, Any]) -> exact.ExactResult:
    """Run the simulator on a case."""
    return exact.simulate(*(case[key] for key in CASE_KEYS))


def trains_error(found: list[list[Array]], expected: list[list[Any]]) -> float:
    """The largest distance of two spike times, in ms; infinity where a spike is too many or too few."""
    trains = [
        (np.asarray(times), np.asarray(wanted))
        for layer, wanted_layer in zip(found, expected, strict=True)
        for times, wanted in zip(layer, wanted_layer, strict=True)
    ]
    if any(times.shape != wanted.shape for times, wanted in trains):
        return float("inf")
    return largest(np.abs(times - wanted).max(initial=0.0) for times, wanted in trains)


def _case_gradients(case: dict[str, Any]) -> float:
    result, expected = simulate_case(case), case["exact"]
    errors = [relative_error(g, wanted) for g, wanted in zip(result.gradients, expected["grad"], strict=True)]
    return largest([relative_error(result.loss, expected["loss"]), *errors])


@cache
def constants_cases() -> list[dict[str, Any]]:
    """The golden cases with derivatives by every constant, as the file has them."""
    return json.loads(resources.files("tsslbp_ref.gradcheck").joinpath(CONSTANTS_FILE).read_text())["cases"]


def case_losses(case: dict[str, Any]) -> dict[str, Loss]:
    """The losses of a golden case, by the file's names."""
    made: dict[str, Loss] = {}
    for name, entry in case["losses"].items():
        if name == "van-rossum":
            made[name] = exact.VanRossum(case["desired_spikes"], entry["tau"])
        elif name == "first-spike":
            made[name] = exact.FirstSpike(*(entry[key] for key in ("label", "tau0", "tau1", "alpha")))
        else:
            made[name] = exact.Peak(entry["label"])
    return made


def simulate_constants(case: dict[str, Any], loss: Loss | None, **changes: Any) -> exact.ExactResult:
    """Run the simulator on a golden case, some arguments replaced."""
    keys = ("weights", "input_spikes", "tau_m", "tau_s", "threshold", "duration", "delays")
    return exact.simulate(**({key: case[key] for key in keys} | {"loss": loss} | changes))


def constants_runs() -> Iterator[ConstantsRun]:
    """Simulate every golden case with every loss of it."""
    for case in constants_cases():
        for name, loss in case_losses(case).items():
            yield ConstantsRun(case, case["losses"][name], simulate_constants(case, loss))


def _constants_checks() -> list[Check]:
    """Spike times, loss, and every derivative against the golden cases."""
    times = "spike times t_f, delays and constants by layer and neuron included, in ms off the 270-bit values"
    loss = "L: van Rossum, first spike, peak (270-bit values)"
    measures = {
        "times": (times, CASE_TIME, lambda run: trains_error(run.result.spike_times, run.case["spikes"])),
        "loss": (loss, CONSTANTS_RELATIVE, lambda run: relative_error(run.result.loss, run.golden["value"])),
    }
    for name, equation, key in CONSTANTS_ROWS:
        described = f"{equation} (270-bit values)"
        measures[name] = (described, CONSTANTS_RELATIVE, lambda run, key=key: _derivative_error(run, key))  # type: ignore[misc]
    return [
        Check(
            f"exact-constants-{name}",
            equation,
            "exact.simulate",
            tolerance,
            lambda measure=measure: largest(map(measure, constants_runs())),  # type: ignore[misc]
        )
        for name, (equation, tolerance, measure) in measures.items()
    ]


def _derivative_error(run: ConstantsRun, key: str) -> float:
    """The error of the derivatives under a golden key, array by array; 0 where the loss has no such derivative."""
    if key not in run.golden["gradients"]:
        return 0.0
    expected = run.golden["gradients"][key]
    found = run.result.gradients if key == "weights" else run.result.gradients_by[key.replace("loss_tau", "tau_loss")]
    if key in ("tau_s", "loss_tau"):  # one array, or one number
        return array_error(found, expected)
    return largest(array_error(*pair) for pair in zip(found, expected, strict=True))


def array_error(found: Any, expected: Any) -> float:
    """`relative_error`; where all should be 0, the largest entry; a readout's None must be None."""
    if expected is None or found is None:
        return 0.0 if expected is found else float("inf")
    if not np.any(expected):
        return float(np.abs(found).max(initial=0.0))
    return relative_error(found, expected)


def _identity_checks() -> list[Check]:
    """Three sums of derivatives that must balance, on the golden networks and with every loss of them."""
    identities = (
        (
            "scale",
            "V dL/dV + sum_j W_ij dL/dW_ij = 0; a readout: = u_max dL/du_max (W and V x c)",
            scale_error,
        ),
        (
            "stretch",
            "sum of x dL/dx, x = tau_m, tau_s, t_in, d, W, = sum of t_out dL/dt_out (time x c)",
            stretch_error,
        ),
        ("shift", "sum of dL/dt_in = sum of dL/dt_out (time + c)", shift_error),
    )
    return [
        Check(
            f"exact-identity-{name}",
            equation,
            "exact.simulate",
            IDENTITY,
            lambda error=error: largest(map(error, constants_runs())),  # type: ignore[misc]
        )
        for name, equation, error in identities
    ]


def scale_error(run: ConstantsRun) -> float:
    """V dL/dV + sum_j W_ij dL/dW_ij of every neuron, over the largest V dL/dV of its layer."""
    errors = []
    by_threshold = run.result.gradients_by["threshold"]
    for layer, (W, dL_dW) in enumerate(zip(run.case["weights"], run.result.gradients, strict=True)):
        if by_threshold[layer] is None:
            height = run.result.highest_membrane[layer]
            p = np.exp(height) / np.exp(height).sum()
            balance = height * (p - np.eye(height.size)[run.golden["label"]])
        else:
            balance = -np.asarray(run.case["threshold"][layer]) * by_threshold[layer]
        errors.append(array_error((np.asarray(W) * dL_dW).sum(axis=1), balance))
    return largest(errors)


def stretch_error(run: ConstantsRun) -> float:
    """The imbalance under a change of the unit of time, over the largest of the sums."""
    by, case = run.result.gradients_by, run.case
    pairs = [
        (case["tau_m"], by["tau_m"]),
        ([case["tau_s"]], [by["tau_s"]]),
        (case["input_spikes"], by["input_times"]),
        (case["delays"], by["delays"]),
        (case["weights"], run.result.gradients),
    ]
    sums = [_dot(values, derivatives) for values, derivatives in pairs]
    after = 0.0 if "heights" in run.golden else _dot(run.result.spike_times[-1], by["output_times"])
    return abs(sum(sums) - after) / max(map(abs, sums))


def shift_error(run: ConstantsRun) -> float:
    """The imbalance under a shift of time, over the largest derivative by an input time."""
    by = run.result.gradients_by
    inputs = np.concatenate(by["input_times"])
    return abs(float(inputs.sum() - np.concatenate(by["output_times"]).sum())) / float(np.abs(inputs).max())


def _dot(values: Any, derivatives: Any) -> float:
    """The sum over all entries of value times derivative, array by array."""
    return float(sum(np.sum(np.asarray(x) * np.asarray(dx)) for x, dx in zip(values, derivatives, strict=True)))


def _against_differences(sizes: tuple[int, ...], tau_m: float, tau_s: float) -> float:
    network = smooth_network(sizes, tau_m, tau_s)
    return gradient_error(exact.simulate(*network).gradients, difference_gradients(network))


def random_network(
    seed: int, sizes: tuple[int, ...], tau_m: float, tau_s: float, duration: float = 40.0
) -> ContinuousNetwork:
    """Random weights, 3 to 8 input spikes a neuron and as many desired ones, threshold 1."""
    rng = np.random.default_rng(seed)
    weights = [rng.normal(MEAN_DRIVE / n, MEAN_DRIVE / n, (m, n)) for n, m in itertools.pairwise(sizes)]
    inputs, desired = (
        [np.sort(rng.uniform(0.0, duration, rng.integers(3, 9))) for _ in range(n)] for n in (sizes[0], sizes[-1])
    )
    return ContinuousNetwork(weights, inputs, tau_m, tau_s, 1.0, duration, desired)


@cache
def smooth_network(sizes: tuple[int, ...], tau_m: float, tau_s: float) -> ContinuousNetwork:
    """The first random network on which small weight changes neither create, delete nor reorder spikes.

    Raises
    ------
    ValueError
        If none is found.
    """
    for seed in range(SEEDS_TRIED):
        network = random_network(seed, sizes, tau_m, tau_s)
        result = exact.simulate(*network)
        margins = (result.smallest_crossing_slope, result.smallest_peak_margin, result.smallest_event_gap)
        if min(margins) > SMALLEST_MARGIN and all(sum(map(len, layer)) > 2 for layer in result.spike_times):
            return network
    raise ValueError(f"no smooth network of sizes {sizes} among {SEEDS_TRIED} random ones")


def spike_counts(result: exact.ExactResult) -> list[list[int]]:
    """How often each neuron of each layer fired."""
    return [[len(times) for times in layer] for layer in result.spike_times]


def difference_gradients(network: ContinuousNetwork) -> list[Array]:
    """dL/dW by central differences of the simulated loss in every weight.

    Raises
    ------
    ValueError
        If a spike appears or vanishes on the way: then the loss has a jump, and a difference means nothing.
    """
    counts = spike_counts(exact.simulate(*network))

    def loss(number: int, W: Array) -> float:
        weights = [W if i == number else other for i, other in enumerate(network.weights)]
        result = exact.simulate(*network._replace(weights=weights), with_gradients=False)
        if spike_counts(result) != counts:
            raise ValueError("a spike appeared or vanished between the two points of a difference")
        return result.loss

    return [
        gradient(lambda moved, number=number: loss(number, moved), W, STEP, LEVELS)  # type: ignore[misc]
        for number, W in enumerate(network.weights)
    ]


def gradient_error(found: list[npt.NDArray[Any]], expected: list[npt.NDArray[Any]]) -> float:
    """The largest difference in all layers, relative to the largest entry of any layer."""
    return relative_error(*(np.concatenate([g.ravel() for g in gradients]) for gradients in (found, expected)))

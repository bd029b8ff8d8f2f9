"""Rows for the exact gradient in continuous time: against differences of the simulator, and against 45-digit cases."""

from __future__ import annotations

import itertools
import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tsslbp_ref import exact
from tsslbp_ref.gradcheck.finite_differences import Array, gradient, largest, relative_error
from tsslbp_ref.gradcheck.report import Check

CASES_FILE = "exact_cases.json"  # two networks whose numbers were checked in 45-digit arithmetic
CASE_KEYS = ("weights", "input_spikes", "tau_m", "tau_s", "V_th", "T", "desired_spikes")
CASE_TIME = 1e-10  # ms
CASE_RELATIVE = 1e-9
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


def all_checks() -> list[Check]:
    """Two rows a case of 45 digits, one row each for tau_m >, = and < tau_s, and one for times."""
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
    rows.append(
        Check(
            "exact-cases-times",
            "spike times t_f of two networks, in ms off the 45-digit values",
            "exact.simulate",
            CASE_TIME,
            lambda: largest(_case_times(case) for case in cases()),
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


def _case_times(case: dict[str, Any]) -> float:
    found, expected = simulate_case(case).spike_times, case["exact"]["spikes"]
    trains = [
        (np.asarray(times), np.asarray(wanted))
        for layer, wanted_layer in zip(found, expected, strict=True)
        for times, wanted in zip(layer, wanted_layer, strict=True)
    ]
    if any(times.shape != wanted.shape for times, wanted in trains):
        return float("inf")  # a spike too many or too few
    return largest(np.abs(times - wanted).max(initial=0.0) for times, wanted in trains)


def _case_gradients(case: dict[str, Any]) -> float:
    result, expected = simulate_case(case), case["exact"]
    errors = [relative_error(g, wanted) for g, wanted in zip(result.gradients, expected["grad"], strict=True)]
    return largest([relative_error(result.loss, expected["loss"]), *errors])


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

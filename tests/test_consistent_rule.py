"""The consistent rule converges to the exact gradient as the step shrinks; the released one does not."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from studies.gradient_alignment import cosine_and_norm_ratio
from studies.random_networks import RandomNetwork, discrete_run, random_network
from tsslbp_ref.model.parameters import GradientRule, rule_by_name

STEPS = (0.08, 0.04, 0.02, 0.01)  # ms
N_NETWORKS = 10
MARGIN = 0.01  # the spike slopes, peak margins and event gaps that these steps can resolve
HALVING = (1.6, 2.6)  # measured: 2.1 on average
CONSISTENT = rule_by_name("consistent")
DEVIATIONS = {
    "released": rule_by_name("released"),
    "clip": replace(CONSISTENT, inverse_rise_clip=8.0),
    "warm-up": replace(CONSISTENT, warmup=True),
    "the paper's reset": replace(CONSISTENT, intra=True),
    "no reset": replace(CONSISTENT, intra=False),
    "the released jump": replace(CONSISTENT, inter="released"),
    "the literal jump": replace(CONSISTENT, inter="literal"),
}


def flat(gradients: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([gradient.ravel() for gradient in gradients])


@pytest.fixture(scope="module")
def networks() -> list[RandomNetwork]:
    """The first ten random networks that are far enough from creating, losing or reordering a spike."""
    chosen: list[RandomNetwork] = []
    for seed in itertools.count():
        network = random_network(seed)
        run = network.exact
        if min(run.smallest_crossing_slope, run.smallest_peak_margin, run.smallest_event_gap) > MARGIN:
            chosen.append(network)
        if len(chosen) == N_NETWORKS:
            return chosen
    raise AssertionError


def measure(networks: list[RandomNetwork], rule: GradientRule, dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine with, and relative distance to, the exact gradient, network by network."""
    cosines, errors = [], []
    for network in networks:
        claimed, exact = flat(discrete_run(network, dt, rule).gradients), flat(network.exact.gradients)
        cosines.append(cosine_and_norm_ratio(claimed, exact)[0])
        errors.append(np.linalg.norm(claimed - exact) / np.linalg.norm(exact))
    return np.array(cosines), np.array(errors)


@pytest.fixture(scope="module")
def consistent(networks: list[RandomNetwork]) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and errors of the consistent rule, (steps, networks)."""
    cosines, errors = zip(*(measure(networks, CONSISTENT, dt) for dt in STEPS), strict=True)
    return np.array(cosines), np.array(errors)


def test_the_networks_have_one_two_and_three_layers(networks: list[RandomNetwork]) -> None:
    assert {len(network.weights) for network in networks} == {1, 2, 3}


def test_cosine_is_above_099_at_a_step_of_20_microseconds(consistent: tuple[np.ndarray, np.ndarray]) -> None:
    cosines = consistent[0][STEPS.index(0.02)]
    assert cosines.mean() > 0.999  # issue asks for 0.99; measured 0.9996
    assert cosines.min() > 0.99


def test_direction_and_size_converge(consistent: tuple[np.ndarray, np.ndarray]) -> None:
    assert consistent[1][-1].max() < 0.1


def test_error_halves_with_the_step_on_average(consistent: tuple[np.ndarray, np.ndarray]) -> None:
    errors = consistent[1]
    first_to_last = (errors[0].mean() / errors[-1].mean()) ** (1.0 / (len(STEPS) - 1))
    assert HALVING[0] < first_to_last < HALVING[1]
    assert HALVING[0] < np.median(errors[:-1] / errors[1:]) < HALVING[1]


@pytest.mark.parametrize("name", DEVIATIONS)
def test_no_part_of_the_rule_can_be_left_out(networks: list[RandomNetwork], name: str) -> None:
    """With one part as released, the distance to the exact gradient stays where it is."""
    coarse, fine = (measure(networks, DEVIATIONS[name], dt) for dt in (STEPS[0], STEPS[-1]))
    assert fine[0].mean() < 0.95
    assert np.median(fine[1]) > 0.3
    assert np.median(fine[1] / coarse[1]) > 0.7


def test_a_finer_step_brings_the_released_rule_no_nearer(networks: list[RandomNetwork]) -> None:
    cosines = [measure(networks, rule_by_name("released"), dt)[0].mean() for dt in STEPS]
    assert max(cosines) < 0.6
    assert max(cosines) - min(cosines) < 0.05


def test_discrete_loss_converges_too(networks: list[RandomNetwork]) -> None:
    """The comparison is of gradients of one loss: L_d / dt approaches the exact loss."""
    for network in networks:
        coarse, fine = (
            abs(discrete_run(network, dt, CONSISTENT).loss / network.exact.loss - 1.0) for dt in (STEPS[0], STEPS[-1])
        )
        assert fine < 0.02
        assert fine < coarse


def test_clip_of_the_consistent_rule_is_off() -> None:
    assert CONSISTENT.inverse_rise_clip == math.inf
    assert not CONSISTENT.warmup

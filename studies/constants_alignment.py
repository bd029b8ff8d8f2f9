"""How far the rules' gradients by tau_m, tau_s and V point along the exact ones: random networks, beside those by W.

``python -m studies.constants_alignment --networks 100 --out results/constants-alignment.csv`` writes a row a network,
step, rule and derivative, and, beside it, a table with "-summary" of means and medians with bootstrap 95 % intervals.

The networks are the first of `random_networks` that have a hidden layer. A derivative is a vector: its cosine with the
exact one is over all weights, over all neurons (tau_m, V), or over all layers' PSCs but the last, which is the loss's
(tau_s). `same_signs` is the share of layers whose summed derivative has the exact sign; chance is 0.5.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from studies.ablation import text_of
from studies.gradient_alignment import beside, bootstrap_interval, cosine_and_norm_ratio
from studies.random_networks import DURATION, THRESHOLD, RandomNetwork, on_grid, random_network
from studies.trained_runs import Row, read_rows, write_rows
from tsslbp_ref import checks, exact
from tsslbp_ref.model import constants
from tsslbp_ref.model.parameters import GradientRule, rule_by_name

Layers = list[npt.NDArray[np.float64]]

RULES = ("released", "surrogate", "consistent")
STEPS = (1.0, 0.5, 0.1)  # ms
DERIVATIVES = ("W", "tau_m, W fixed", "tau_m, W_d fixed", "tau_s", "V of the tangent network", "V")
MEASURES = {"cosine": "mean", "same_signs": "mean", "norm_ratio": "median"}
BESIDE_W = "cosine_above_W"  # paired: the cosine minus that by W of the same network
HEADER = ("network", "layers", "dt", "rule", "derivative", *MEASURES)
SUMMARY = ("rule", "dt", "derivative", "measure", "statistic", "n", "value", "low", "high")


def networks(n: int) -> Iterator[tuple[int, RandomNetwork]]:
    """The first n random networks that have a hidden layer, with their seeds."""
    numbered = ((seed, random_network(seed)) for seed in itertools.count())
    return itertools.islice((pair for pair in numbered if len(pair[1].weights) > 1), n)


def exact_derivatives(network: RandomNetwork) -> dict[str, Layers]:
    """Those of the event-driven simulation, layer by layer; dL/dtau_m at fixed W_d = W/tau_m has W's own part in it."""
    sizes = [len(W) for W in network.weights]
    by_neuron = lambda value: [np.full(n, value) for n in sizes]  # noqa: E731
    run = exact.simulate(
        network.weights,
        network.input_spikes,
        by_neuron(network.tau_m),
        [network.tau_s] * len(sizes),
        by_neuron(THRESHOLD),
        DURATION,
        network.desired_spikes,
    )
    by = run.gradients_by
    through_W = [(W * dW).sum(axis=1) / network.tau_m for W, dW in zip(network.weights, run.gradients, strict=True)]
    return {
        "W": run.gradients,
        "tau_m, W fixed": by["tau_m"],
        "tau_m, W_d fixed": [one + other for one, other in zip(by["tau_m"], through_W, strict=True)],
        "tau_s": [np.array([one]) for one in by["tau_s"]],
        "V of the tangent network": by["threshold"],
        "V": by["threshold"],
    }


def claimed_derivatives(network: RandomNetwork, dt: float, rule: GradientRule) -> dict[str, Layers]:
    """Those of a rule in steps of dt, in the continuous network's units: ms, and W."""
    net, equal = on_grid(network, dt, rule)
    feed = (equal.input_raster[:, None], equal.target_raster[:, None], "spike-train")
    _, weight_gradients, _, flows = net.training_pass(*feed)
    by = constants.gradients(net, *feed)
    tangent = [
        constants.by_threshold_of_the_tangent(flow.delta, flow.trace, neuron, rule)
        for flow, neuron in zip(flows, net.neurons, strict=True)
    ]
    by_tau_s = [by.input_tau_s.sum(), *(layer.tau_s.sum() for layer in by.layers[:-1])]
    return {
        "W": [equal.gradient_factor * dW for dW in weight_gradients],
        "tau_m, W fixed": [layer.tau_m_fixed_W / dt**2 for layer in by.layers],
        "tau_m, W_d fixed": [layer.tau_m_fixed_W_d / dt**2 for layer in by.layers],
        "tau_s": [np.array([one]) / dt**2 for one in by_tau_s],
        "V of the tangent network": [one / dt for one in tangent],
        "V": [layer.threshold / dt for layer in by.layers],
    }


def measure_network(seed: int, network: RandomNetwork, steps: Sequence[float] = STEPS) -> Iterator[dict[str, Any]]:
    """All rows of one network."""
    expected = exact_derivatives(network)
    for dt, rule in itertools.product(steps, RULES):
        claimed = claimed_derivatives(network, dt, rule_by_name(rule))
        for name in DERIVATIVES:
            pair = [np.concatenate([np.ravel(layer) for layer in of[name]]) for of in (claimed, expected)]
            cosine, norm_ratio = cosine_and_norm_ratio(*pair)
            signs = [np.sign(c.sum()) == np.sign(e.sum()) for c, e in zip(claimed[name], expected[name], strict=True)]
            yield {
                **{"network": seed, "layers": len(network.weights), "dt": dt, "rule": rule, "derivative": name},
                **{"cosine": cosine, "same_signs": float(np.mean(signs)), "norm_ratio": norm_ratio},
            }


def summary(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Mean or median over the networks by rule, step and derivative; the cosine beside that by W, paired, too."""
    by_W = {(row["network"], row["rule"], row["dt"]): row["cosine"] for row in rows if row["derivative"] == "W"}
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        above = row["cosine"] - by_W[row["network"], row["rule"], row["dt"]]
        groups.setdefault((row["rule"], row["dt"], row["derivative"]), []).append(row | {BESIDE_W: above})
    for group, found in groups.items():
        for measure, statistic in {**MEASURES, BESIDE_W: "mean"}.items():
            interval = bootstrap_interval(np.array([row[measure] for row in found]), statistic)
            yield dict(zip(SUMMARY, (*group, measure, statistic, len(found), *interval), strict=True))


def _texts(row: dict[str, Any]) -> Row:
    return {name: text_of(value) for name, value in row.items()}


def run_study(n_networks: int, out: Path, steps: Sequence[float] = STEPS) -> None:
    """Measure the networks and write both tables.

    Raises
    ------
    ValueError, TypeError
        If n_networks is not a positive integer.
    OSError
        If a table cannot be written.
    """
    checks.positive_integer("networks", n_networks)
    with threadpool_limits(limits=1):
        rows = [row for pair in networks(n_networks) for row in measure_network(*pair, steps)]
    write_rows(out, HEADER, map(_texts, rows))
    write_rows(beside(out, "summary"), SUMMARY, map(_texts, summary(rows)))


def as_markdown(rows: Sequence[Row]) -> str:
    """The summary for people: cosine, signs and sizes in a cell, a line a rule and step."""
    lines = [f"| rule, step (ms) | {' | '.join(DERIVATIVES)} |", "|---" * (len(DERIVATIVES) + 1) + "|"]
    for rule, dt in dict.fromkeys((row["rule"], row["dt"]) for row in rows):
        cells = []
        for name in DERIVATIVES:
            found = {
                row["measure"]: row for row in rows if (row["rule"], row["dt"], row["derivative"]) == (rule, dt, name)
            }
            cosine, signs, sizes = (found[measure] for measure in MEASURES)
            interval = "{:.2f} [{:.2f}, {:.2f}]".format(*(float(cosine[key]) for key in ("value", "low", "high")))
            cells.append(f"{interval} {float(signs['value']):.2f} x{float(sizes['value']):.2g}")
        lines.append(f"| {rule}, {float(dt):g} | {' | '.join(cells)} |")
    return "\n".join(lines)


USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.constants_alignment", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--networks", type=int, default=100, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="table to write")
    options = parser.parse_args(arguments)
    try:
        run_study(options.networks, options.out)
    except (ValueError, OSError) as error:
        print(f"python -m studies.constants_alignment: {error}", file=sys.stderr)
        return USAGE_ERROR
    print(as_markdown(read_rows(beside(options.out, "summary"), SUMMARY)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

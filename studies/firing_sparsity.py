"""How sparsely a trained network fires, and how many pairs (t_k, t_m) its chain rule needs.

``python -m studies.firing_sparsity RUN_FOLDER [...] --out results`` passes the test data of each run's experiment
through the network of its best epoch, and writes two tables into OUT, a row or more a layer:

- firing-sparsity.csv: share of silent neurons, mean firing count, and the pairs that are not zero;
- firing-counts.csv: the distribution of the firing counts.

The rows of a run that is measured anew replace the old ones; those of other runs stay.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from studies.trained_runs import KEY, PassedBatch, TrainedRun, load_run, merge_rows, pass_test_data
from tsslbp_ref import checks
from tsslbp_ref.model.layers import Conv2d, Layer
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters
from tsslbp_ref.model.trace import Trace

SPARSITY_TABLE, COUNTS_TABLE = "firing-sparsity.csv", "firing-counts.csv"
LAYER = ("layer", "name", "neurons", "steps", "samples")
SPARSITY = (
    *(*KEY, "epoch", "test_accuracy", *LAYER, "silent_share", "never_share", "mean_count"),
    *("pairs_chain_rule", "pairs_with_warmup", "pairs_causal", "pairs_all"),
)
COUNTS = (*KEY, *LAYER, "count", "share")
CHAIN_RULE, WITH_WARMUP = GradientRule(warmup=False), GradientRule()

# ---------------------------------------------------------------------------------------------------------------------
# Pairs
# ---------------------------------------------------------------------------------------------------------------------


def nonzero_pairs(trace: Trace, neuron: NeuronParameters, rule: GradientRule) -> npt.NDArray[np.int64]:
    """n = sum_m (T - p(m)), p(m) = first spike at t_m or later; T - m where the warm-up takes over    (B7, B8).

    By the case table phi(t_k, t_m) is not zero exactly where the neuron fires at least once from t_m to t_k, both
    included: all terms have one sign, so nothing cancels. Without the intra-neuron dependency a column holds something
    only if the neuron fires at t_m itself. The surrogate is positive at every t_k >= t_m.

    Parameters
    ----------
    trace : Trace
        The forward pass of a layer, (T, B, N).
    neuron : NeuronParameters
        tau_m and tau_s above 1: at 1 nothing is left of a change after one step, so that more pairs are zero.
    rule : GradientRule
        Any but the consistent one, whose parts have both signs, and without a `surrogate_weight`.

    Returns
    -------
    (B, N) array of int
        Of the T^2 pairs of every neuron, those whose phi is not zero.

    Raises
    ------
    ValueError
        If the rule is a consistent one, a sum with the surrogate or a state of 2020, or a time constant is 1.

    Notes
    -----
    Source: own count from the table of cases; held equal to `reference.dependency_matrix` by a test.
    """
    checks.one_of("rule.inter", rule.inter, ("released", "literal", "surrogate"))
    checks.one_of("rule.intra", rule.intra, (True, False))
    checks.one_of("rule.silent", rule.silent, ("leak",))
    checks.one_of("rule.warmup", rule.warmup, (True, False))
    if rule.surrogate_weight:
        raise ValueError(f"rule.surrogate_weight must be 0, got {rule.surrogate_weight:g}")
    checks.real_number("neuron.tau_m", neuron.tau_m, above=1.0)
    checks.real_number("neuron.tau_s", neuron.tau_s, above=1.0)
    T = len(trace.u)
    gate = rule.coefficients(neuron).warmup_gate
    pairs = np.zeros(trace.u.shape[1:], dtype=np.int64)
    next_spike = np.full(trace.u.shape[1:], T)
    for t_m in reversed(range(T)):
        later = next_spike if rule.intra else T
        next_spike = np.where(trace.u[t_m] > trace.threshold, t_m, later)
        pairs += T - np.where(trace.a[t_m] < gate, t_m, next_spike)
    return pairs


def causal_pairs(T: int) -> int:
    """T (T + 1) / 2: the pairs with t_k >= t_m."""
    return T * (T + 1) // 2


# ---------------------------------------------------------------------------------------------------------------------
# Layers
# ---------------------------------------------------------------------------------------------------------------------


def layer_name(layer: Layer) -> str:
    """Name a layer as the paper does: 15C5 for 15 filters of 5x5, else the number of neurons."""
    if isinstance(layer, Conv2d):
        return f"{layer.n_filters}C{layer.kernel_size}"
    return str(layer.output_shape[0])


@dataclass
class LayerTally:
    """What one layer of neurons did over the samples seen so far.

    Attributes
    ----------
    name : str
    counts : (T + 1,) array of int
        How many neurons, over all samples, fired 0 .. T times.
    fired_ever : (N,) array of bool
        Whether a neuron fired for any sample.
    samples : int
    pairs_chain_rule, pairs_with_warmup : int
        Sums over neurons and samples of `nonzero_pairs`, by the released rule.
    """

    name: str
    counts: npt.NDArray[np.int64]
    fired_ever: npt.NDArray[np.bool_]
    samples: int = 0
    pairs_chain_rule: int = 0
    pairs_with_warmup: int = 0

    @classmethod
    def of(cls, layer: Layer, trace: Trace) -> LayerTally:
        """Start a tally for a layer."""
        T, _, N = trace.u.shape
        return cls(layer_name(layer), np.zeros(T + 1, dtype=np.int64), np.zeros(N, dtype=np.bool_))

    @property
    def n_steps(self) -> int:
        """T."""
        return len(self.counts) - 1

    def add(self, trace: Trace, neuron: NeuronParameters) -> None:
        """Count the spikes and pairs of some more samples."""
        fired = np.count_nonzero(trace.u > trace.threshold, axis=0)
        self.counts += np.bincount(fired.ravel(), minlength=len(self.counts))
        self.fired_ever |= (fired > 0).any(axis=0)
        self.samples += len(fired)
        self.pairs_chain_rule += int(nonzero_pairs(trace, neuron, CHAIN_RULE).sum())
        self.pairs_with_warmup += int(nonzero_pairs(trace, neuron, WITH_WARMUP).sum())

    def summary(self) -> dict[str, Any]:
        """Shares of neurons, and means a neuron and sample."""
        seen, T = int(self.counts.sum()), self.n_steps
        return {
            "silent_share": self.counts[0] / seen,
            "never_share": 1.0 - self.fired_ever.mean(),
            "mean_count": self.counts @ np.arange(T + 1) / seen,
            "pairs_chain_rule": self.pairs_chain_rule / seen,
            "pairs_with_warmup": self.pairs_with_warmup / seen,
            "pairs_causal": causal_pairs(T),
            "pairs_all": T * T,
        }


@dataclass
class NetworkTally:
    """The tallies of all layers, and how many samples were classified right."""

    layers: list[LayerTally] = field(default_factory=list)
    correct: int = 0

    def add(self, batch: PassedBatch, neuron: NeuronParameters) -> None:
        """Count some more samples."""
        if not self.layers:
            self.layers = [LayerTally.of(flow.layer, flow.trace) for flow in batch.flows]
        for tally, flow in zip(self.layers, batch.flows, strict=True):
            tally.add(flow.trace, neuron)
        self.correct += int((batch.predicted == batch.labels).sum())


def tally(batches: Iterable[PassedBatch], neuron: NeuronParameters) -> NetworkTally:
    """Count the spikes and pairs of every layer over all batches of the test data."""
    total = NetworkTally()
    for batch in batches:
        total.add(batch, neuron)
    return total


def table_rows(run: TrainedRun, total: NetworkTally) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one run for the two tables."""
    sparsity, counts = [], []
    for number, layer in enumerate(total.layers, start=1):
        place = (number, layer.name, len(layer.fired_ever), layer.n_steps, layer.samples)
        what = run.key | dict(zip(LAYER, place, strict=True))
        accuracy = total.correct / layer.samples
        sparsity.append(what | {"epoch": run.epoch, "test_accuracy": accuracy} | layer.summary())
        shares = layer.counts / layer.counts.sum()
        counts += [what | {"count": count, "share": share} for count, share in enumerate(shares)]
    return sparsity, counts


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 with one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.firing_sparsity", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN_FOLDER", help="with a checkpoint of its best epoch")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the two tables")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the data sets (default: TSSLBP_DATA)")
    parser.add_argument("--samples", type=int, metavar="N", help="at most so many test samples (default: all)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    try:
        for run in [load_run(folder) for folder in options.runs]:  # all are found before anything is measured
            passed = pass_test_data(run, options.data, options.samples)
            batches = tqdm(passed, run.row.name, unit="batch", disable=options.quiet or None)
            sparsity, counts = table_rows(run, tally(batches, run.row.neuron))
            merge_rows(options.out / SPARSITY_TABLE, SPARSITY, sparsity)
            merge_rows(options.out / COUNTS_TABLE, COUNTS, counts)
    except (ValueError, TypeError, OSError) as error:
        print(f"python -m studies.firing_sparsity: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())

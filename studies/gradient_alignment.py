"""How far each rule's gradient points along the exact one: random networks, all rules, clip on and off, steps to 5 us.

``python -m studies.gradient_alignment --networks 200 --out results/gradient-alignment.csv`` writes three tables:

- OUT: a row a network, step, rule, clip and layer: cosine with the exact gradient, and ratio of the norms;
- OUT with "-spikes": a row a network, step and layer: spike counts, the share of spikes that the clip at 8 meets, and
  spikes a neuron and step;
- OUT with "-summary": means (of ratios, medians) with bootstrap 95 % intervals.

A network is its seed; its rows do not depend on the others. A run that is stopped goes on where it was: every finished
network is on the disk, and a file is only ever replaced as a whole.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from studies.random_networks import DiscreteRun, RandomNetwork, discrete_run, random_network
from tsslbp_ref import checks
from tsslbp_ref.files import write_atomically
from tsslbp_ref.model import terms
from tsslbp_ref.model.parameters import GradientRule, named_rules
from tsslbp_ref.model.trace import Trace

STEPS = (1.0, 0.5, 0.1, 0.02, 0.005)  # ms
RELEASED_CLIP = GradientRule().inverse_rise_clip
NO_CLIP = "none"
STATES = ("june-2020", "september-2020", "november-2020")  # of the authors' code; "released" is one, too
SUM = "timing-plus-surrogate"
BASELINES = {"released": "8", "surrogate": NO_CLIP, "june-2020": "10", "june-2020-no-warmup": "10"}  # and their clips
TOTAL = "total"
RESAMPLES = 9999
CONFIDENCE = 0.95
SEED_OF_BOOTSTRAP = 0
DIGITS = 6  # significant, of every number in the tables

ALIGNMENT = ("network", "layers", "layer", "dt", "rule", "clip", "cosine", "norm_ratio")
SPIKES = (
    *("network", "layers", "layer", "dt", "exact_spikes", "discrete_spikes", "counts_agree", "clipped_share"),
    *("firing_rate", "desired_spikes", "grazing_redraws", "silent_redraws"),
)
SUMMARY = ("quantity", "statistic", "rule", "clip", "dt", "networks", "layer", "n", "value", "low", "high")

Row = dict[str, str]


def rules_and_clips() -> dict[tuple[str, str], GradientRule]:
    """All rules of the study by name and clip: the rule's own clip of 1/du, 8 if it has none, and no clip.

    The surrogate has no 1/du, so that it has no clip either. With a warm-up the literal rule is, for a small step,
    little but warm-up: its own part carries the factor theta_s = dt / tau_s. So it is there without a warm-up, too. The
    states of 2020 warm a whole layer up where it fires rarely in a step, which in small steps is everywhere. So they
    are there as they were, and without a warm-up: the chain rule's side of the switch. `finite_steps` measures the sum
    of timing and surrogate.
    """
    named = named_rules()
    del named[SUM]
    for name in ("literal", *STATES):
        named[f"{name}-no-warmup"] = replace(named[name], warmup=False)
    found = {}
    for name, rule in named.items():
        own = rule.inverse_rise_clip if math.isfinite(rule.inverse_rise_clip) else RELEASED_CLIP
        if rule.inter != "surrogate":
            found[name, f"{own:g}"] = replace(rule, inverse_rise_clip=own)
        if not rule.needs_firing_rate:
            found[name, NO_CLIP] = replace(rule, inverse_rise_clip=math.inf)
    return found


# ---------------------------------------------------------------------------------------------------------------------
# One network
# ---------------------------------------------------------------------------------------------------------------------


def cosine_and_norm_ratio(claimed: npt.NDArray[Any], exact: npt.NDArray[Any]) -> tuple[float, float]:
    """cos = <c, e> / (|c| |e|) and |c| / |e|; a claimed gradient of zero, which points nowhere, has cosine 0."""
    sizes = float(np.linalg.norm(claimed)), float(np.linalg.norm(exact))
    if sizes[0] == 0.0:
        return 0.0, 0.0
    return float(np.vdot(claimed, exact)) / (sizes[0] * sizes[1]), sizes[0] / sizes[1]


def measure_network(number: int, steps: Sequence[float] = STEPS) -> tuple[list[Row], list[Row]]:
    """Return all rows of one network for the tables of alignment and of spikes."""
    network = random_network(number)
    alignment: list[Row] = []
    spikes: list[Row] = []
    for dt in steps:
        for (rule, clip), gradient_rule in rules_and_clips().items():
            run = discrete_run(network, dt, gradient_rule)
            what = {"network": number, "layers": len(network.weights), "dt": dt, "rule": rule, "clip": clip}
            alignment += [_row(what | row) for row in _alignment(run, network)]
        what = {"network": number, "layers": len(network.weights), "dt": dt}  # spikes are the same by every rule
        spikes += [_row(what | row) for row in _spike_counts(run, network)]
    return alignment, spikes


def _alignment(run: DiscreteRun, network: RandomNetwork) -> Iterable[dict[str, object]]:
    """Cosine and norm ratio, layer by layer and of all weights together."""
    pairs = [(c.ravel(), e.ravel()) for c, e in zip(run.gradients, network.exact.gradients, strict=True)]
    claimed, exact = zip(*pairs, strict=True)
    layers = {str(number): pair for number, pair in enumerate(pairs, 1)}
    layers[TOTAL] = (np.concatenate(claimed), np.concatenate(exact))
    for layer, pair in layers.items():
        cosine, norm_ratio = cosine_and_norm_ratio(*pair)
        yield {"layer": layer, "cosine": cosine, "norm_ratio": norm_ratio}


def _spike_counts(run: DiscreteRun, network: RandomNetwork) -> Iterable[dict[str, object]]:
    """Count spikes, here and in continuous time, and those that rise too little for the released clip of 1/du."""
    about_network = {
        "desired_spikes": sum(len(times) for times in network.desired_spikes),
        "grazing_redraws": network.grazing_redraws,
        "silent_redraws": network.silent_redraws,
    }
    counts = []
    for flow, exact in zip(run.flows, network.exact.spike_times, strict=True):
        expected = [len(times) for times in exact]
        found = [int(n) for n in np.count_nonzero(flow.trace.s[:, 0], axis=0)]
        clipped, places = _clipped_spikes(flow.trace), flow.trace.s.size
        counts.append((sum(expected), sum(found), int(found == expected), clipped, places))
    expected_of, found_of, agrees, clipped_of, places_of = zip(*counts, strict=True)
    counts.append((sum(expected_of), sum(found_of), min(agrees), sum(clipped_of), sum(places_of)))
    for layer, (n_expected, n_found, agree, clipped, places) in zip(_layer_names(network), counts, strict=True):
        yield about_network | {
            "layer": layer,
            "exact_spikes": n_expected,
            "discrete_spikes": n_found,
            "counts_agree": agree,
            "clipped_share": clipped / n_found if n_found else "",
            "firing_rate": n_found / places,
        }


def _clipped_spikes(trace: Trace) -> int:
    """Count the spikes at which 1/du is above the released clip."""
    u, s = trace.u[:, 0], trace.s[:, 0]
    rises = []
    for t, i in np.argwhere(s > 0.0):
        v_previous = terms.membrane_after_reset(u[t - 1, i], s[t - 1, i]) if t > 0 else 0.0
        rises.append(terms.membrane_rise(u[t, i], v_previous))
    return sum(1.0 / rise > RELEASED_CLIP for rise in rises)


def _layer_names(network: RandomNetwork) -> list[str]:
    return [*(str(number) for number in range(1, len(network.weights) + 1)), TOTAL]


def _row(values: dict[str, object]) -> Row:
    """Turn every value into the text that stands in the table."""
    return {k: f"{v:.{DIGITS}g}" if isinstance(v, float) else str(v) for k, v in values.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Tables on the disk
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Table:
    """A CSV that is only ever replaced as a whole."""

    path: Path
    header: Sequence[str]
    rows: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path, header: Sequence[str]) -> Table:
        """Read the table, empty if there is none.

        Raises
        ------
        ValueError
            If the file is another table.
        """
        if not path.exists():
            return cls(path, header)
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != tuple(header):
                raise ValueError(f"{path} holds other columns than {', '.join(header)}; name another file")
            return cls(path, header, list(reader))

    def networks(self) -> set[str]:
        """Those that have rows here."""
        return {row["network"] for row in self.rows}

    def keep(self, networks: set[str]) -> None:
        """Drop the rows of all others."""
        self.rows = [row for row in self.rows if row["network"] in networks]

    def write(self) -> None:
        """Write the whole table; a run that is cut off leaves the old one."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.header, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue().encode())


def beside(out: Path, suffix: str) -> Path:
    """Name the table that goes with OUT."""
    return out.with_name(f"{out.stem}-{suffix}{out.suffix}")


def run_study(n_networks: int, out: Path, steps: Sequence[float] = STEPS, *, show_progress: bool = False) -> None:
    """Measure networks 0 to n_networks - 1, but for those that are in the tables already, and write the summary.

    Parameters
    ----------
    n_networks : int
    out : Path
        The table of alignment; the others lie beside it. Its folder is made if it is not there.
    steps : sequence of float
        In ms. A table that was begun with other steps must not be gone on with.
    show_progress : bool

    Raises
    ------
    ValueError, TypeError
        If n_networks is not a positive integer or a file that is there is not such a table.
    OSError
        If a table cannot be written.
    """
    checks.positive_integer("networks", n_networks)
    out.parent.mkdir(parents=True, exist_ok=True)
    alignment, spikes = Table.read(out, ALIGNMENT), Table.read(beside(out, "spikes"), SPIKES)
    finished = alignment.networks() & spikes.networks()
    for table in (alignment, spikes):
        table.keep(finished)
    todo = [number for number in range(n_networks) if str(number) not in finished]
    with threadpool_limits(limits=1):
        for number in tqdm(todo, desc="networks", disable=not show_progress or None):
            for table, rows in zip((alignment, spikes), measure_network(number, steps), strict=True):
                table.rows += rows
                table.write()
    Table(beside(out, "summary"), SUMMARY, summary(alignment.rows, spikes.rows)).write()


# ---------------------------------------------------------------------------------------------------------------------
# Summary
# ---------------------------------------------------------------------------------------------------------------------


def summary(alignment: list[Row], spikes: list[Row]) -> list[Row]:
    """Mean or median over networks of every quantity, by rule, clip, step and layer, with its bootstrap interval.

    Layers are counted from the output: "output", "output-1", "output-2"; "total" is all weights, or all spikes. Cosine
    of all weights and agreement of all spike counts stand for kinds of networks, too: by their number of layers, and
    by whether the continuous network fires fewer or more output spikes than are desired. "cosine_above_released" is
    paired: the cosine minus that of the clipped released rule for the same network; so with the other `BASELINES`.
    """
    rows: list[Row] = []
    by_rule, by_step = ("rule", "clip", "dt"), ("dt",)
    rows += _summarised(alignment, "cosine", "mean", by_rule)
    rows += _summarised(alignment, "norm_ratio", "median", by_rule)
    rows += _summarised(spikes, "clipped_share", "mean", by_step)
    rows += _summarised(spikes, "counts_agree", "mean", by_step)
    for baseline in BASELINES:
        quantity = f"cosine_above_{baseline}"
        rows += _summarised(_above(baseline, quantity, alignment), quantity, "mean", by_rule)
    balance = _output_balance(spikes)
    alignment, spikes = ([row for row in table if row["layer"] == TOTAL] for table in (alignment, spikes))
    kinds: tuple[Callable[[Row], str], ...] = (_depth, lambda row: balance[row["network"]])
    for kind in kinds:
        rows += _summarised(alignment, "cosine", "mean", by_rule, kind)
        rows += _summarised(spikes, "counts_agree", "mean", by_step, kind)
    return rows


def _above(baseline: str, quantity: str, alignment: list[Row]) -> list[Row]:
    """Rows of all weights of a network, with what their cosine has above that of a baseline."""
    totals = [row for row in alignment if row["layer"] == TOTAL]
    of_baseline = {
        (row["network"], row["dt"]): float(row["cosine"])
        for row in totals
        if (row["rule"], row["clip"]) == (baseline, BASELINES[baseline])
    }
    return [row | {quantity: str(float(row["cosine"]) - of_baseline[row["network"], row["dt"]])} for row in totals]


def _output_balance(spikes: list[Row]) -> dict[str, str]:
    """Say of every network whether its exact output has fewer or more spikes than desired."""
    balance = {}
    for row in spikes:
        if row["layer"] == row["layers"]:
            excess = int(row["exact_spikes"]) - int(row["desired_spikes"])
            balance[row["network"]] = "too few spikes" if excess < 0 else "too many spikes" if excess else "right count"
    return balance


def _below_output(row: Row) -> str:
    if row["layer"] == TOTAL:
        return TOTAL
    below = int(row["layers"]) - int(row["layer"])
    return f"output-{below}" if below else "output"


def _depth(row: Row) -> str:
    return row["layers"] + (" layer" if row["layers"] == "1" else " layers")


def _all_networks(row: Row) -> str:
    return "all"


def _summarised(
    rows: list[Row],
    quantity: str,
    statistic: str,
    keys: Sequence[str],
    kind_of_network: Callable[[Row], str] = _all_networks,
) -> list[Row]:
    groups: dict[tuple[str, ...], list[float]] = {}
    for row in rows:
        if row[quantity] != "":
            group = (*(row[key] for key in keys), kind_of_network(row), _below_output(row))
            groups.setdefault(group, []).append(float(row[quantity]))
    table = []
    for group, values in groups.items():
        named = dict(zip((*keys, "networks", "layer"), group, strict=True))
        value, low, high = bootstrap_interval(np.array(values), statistic)
        numbers = {"n": len(values), "value": value, "low": low, "high": high}
        table.append(_row({"quantity": quantity, "statistic": statistic, "rule": "", "clip": "", **named, **numbers}))
    return table


def bootstrap_interval(values: npt.NDArray[np.float64], statistic: str) -> tuple[float, float, float]:
    """Return mean or median, and its 95 % interval by the percentile bootstrap, always from the same resamples."""
    functions: dict[str, Callable[..., Any]] = {"mean": np.mean, "median": np.median}
    function = functions[checks.one_of("statistic", statistic, functions)]
    value = float(function(values))
    if len(values) == 1 or np.ptp(values) == 0.0:  # nothing to resample
        return value, value, value
    rng = np.random.default_rng(SEED_OF_BOOTSTRAP)
    interval = stats.bootstrap(
        (values,), function, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=rng
    ).confidence_interval
    return value, float(interval.low), float(interval.high)


# ---------------------------------------------------------------------------------------------------------------------
# Command line
# ---------------------------------------------------------------------------------------------------------------------

USAGE_ERROR, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 2 with one line that says what is wrong, or 130 if it was interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.gradient_alignment", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--networks", type=int, default=200, metavar="N", help="how many (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="table to write, or to go on with")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    try:
        run_study(options.networks, options.out, show_progress=not options.quiet)
    except (ValueError, OSError) as error:
        print(f"python -m studies.gradient_alignment: {error}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())

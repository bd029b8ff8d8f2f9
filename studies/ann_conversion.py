"""An ANN of the same shape, trained by the same loop and converted to spikes: accuracy against time steps.

``python -m studies.ann_conversion --tsslbp RUN_FOLDER [...] --out results/ann-conversion.csv`` trains a ReLU network
784-400-400-10 on Fashion-MNIST, turns every ReLU into an integrate-and-fire neuron, and counts how many test images
are classified right after 1, 2, ... time steps. OUT has a row a way of converting and number of steps, a row for the
ANN itself, and one for each TSSL-BP run that is named. `measure` says of which epoch the network is: the `best` on the
test pictures, the `last`, or that `chosen` by ``--held-out`` training pictures.

The ANN has the spiking network's initial weights, order of images, batches and optimiser, and no biases; only its
neurons and its loss (softmax of the output sums) are others.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from studies.trained_runs import load_run, pass_test_data
from tsslbp_ref import checks
from tsslbp_ref.files import write_atomically
from tsslbp_ref.model import losses, terms
from tsslbp_ref.model.layers import WeightedLayer
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.optim import AdamW
from tsslbp_ref.model.spec import weighted
from tsslbp_ref.training import Trainer, TrainingSettings, epoch_line
from tsslbp_ref.training.experiments import Experiment, experiment
from tsslbp_ref.training.run_files import BEST, LAST
from tsslbp_ref.training.tasks import Task, task_of

Array = npt.NDArray[Any]

EXPERIMENT = "fashion-mnist-400-400"
STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 200)
NO_LEAK = 0.0  # theta_m of an integrate-and-fire neuron
THRESHOLD = 1.0
CALIBRATION = 10_000  # training images whose activations set the scales
HEADER = ("method", "run", "scale", "reset", "start", "steps", "accuracy", "spikes_a_picture", "measure")
JUDGES = {"best": "test_accuracy", "last": "epoch", "chosen": "validation_accuracy"}  # the largest is that epoch
NONE = "-"  # in a column that says nothing of a row
DIGITS = 6

# ---------------------------------------------------------------------------------------------------------------------
# The ANN
# ---------------------------------------------------------------------------------------------------------------------


class ReluNetwork:
    """y = W_3 relu(W_2 relu(W_1 x)): a fully connected `Network` whose neurons are replaced by max(x, 0).

    It has what `Trainer` asks of a network.

    Parameters
    ----------
    network : Network
        Its layers, and its weights, which are trained in place.

    Raises
    ------
    ValueError
        If the network has layers other than fully connected ones.
    """

    def __init__(self, network: Network) -> None:
        layers = weighted(network.layers)
        if len(layers) != len(network.layers) or any(len(layer.output_shape) != 1 for layer in layers):
            raise ValueError(f"network must be fully connected, got {network.layers}")
        self.layers = cast("list[WeightedLayer]", layers)
        self.neuron = network.neurons[-1]
        self.weights = network.weights

    def activations(self, x: Array) -> list[Array]:
        """Outputs of all layers for images x (B, C, H, W); the last one is not rectified."""
        outputs: list[Array] = []
        for layer, W in zip(self.layers, self.weights, strict=True):
            x = layer.forward(x if not outputs else np.maximum(outputs[-1], 0.0), W)
            outputs.append(x)
        return [np.maximum(y, 0.0) for y in outputs[:-1]] + outputs[-1:]

    def predict(self, x: Array) -> npt.NDArray[np.int64]:
        """Class of each picture."""
        return self.activations(x)[-1].argmax(axis=1)

    def training_step(
        self,
        x: Array,
        y: Array,
        loss: str,
        *,
        settings: losses.LossSettings | None = None,
        rng: object = None,
        optimiser: AdamW | None = None,
    ) -> tuple[float, list[Array], Array]:
        """Return loss, gradients and output as a PSC of one step: dL/dW = delta x^T, g = W^T delta, by the layers.

        An optimiser then updates the weights.
        """
        outputs = self.activations(x)
        a = outputs[-1][np.newaxis]
        value, g = losses.value_and_gradient(loss, a, y, self.neuron, settings)
        delta = g[0]
        gradients: list[Array] = []
        for index in reversed(range(len(self.layers))):
            below = x if index == 0 else outputs[index - 1]
            gradients.append(self.layers[index].weight_gradient(delta, below))
            if index > 0:
                delta = self.layers[index].adjoint(delta, self.weights[index]) * (below > 0.0)
        gradients.reverse()
        if optimiser is not None:
            optimiser.step(gradients)
        return value, gradients, a


class Epoch(NamedTuple):
    """An epoch's value by which it is judged, its test accuracy, and its weights."""

    value: float
    accuracy: float
    weights: list[Array]


def train_ann(
    row: Experiment, task: Task, epochs: int, seed: int, *, show_progress: bool
) -> tuple[ReluNetwork, dict[str, Epoch]]:
    """Train the ANN of an experiment; return it, and its epochs by name: best, last and, by held-out pictures, chosen.

    The best epoch on the test set is the paper's measure, and so also that of the runs it is set beside.
    """
    network = row.network(seed, n_threads=1)
    ann = ReluNetwork(network)
    settings = TrainingSettings(epochs, row.batch_size, row.learning_rate, "softmax", seed=seed)
    trainer = Trainer(cast(Network, ann), task, settings, show_progress=show_progress)
    kept: dict[str, Epoch] = {}
    for _ in range(epochs):
        metrics = trainer.run_epoch()
        assert metrics is not None
        if show_progress:
            print(epoch_line(metrics), file=sys.stderr, flush=True)
        for name, judge in JUDGES.items():
            if judge in metrics and (name not in kept or metrics[judge] > kept[name].value):
                kept[name] = Epoch(metrics[judge], metrics["test_accuracy"], [W.copy() for W in ann.weights])
    return ann, kept


# ---------------------------------------------------------------------------------------------------------------------
# Conversion
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conversion:
    """A way to make spikes of an ANN.

    Parameters
    ----------
    scale : float
        Percentile of a layer's activations that becomes one spike a step; 100 is the largest activation.
    reset : {"zero", "subtract"}
        What a spike leaves of the membrane: 0, or u - V.
    start : float
        The membrane before the first step, as a share of the threshold.

    Raises
    ------
    ValueError, TypeError
        If a value is out of range.

    Notes
    -----
    Source: scales from the largest activation, and the reset to 0, as in Diehl and others, "Fast-classifying,
    high-accuracy spiking deep networks through weight and threshold balancing" (2015); percentile and subtraction as in
    Rueckauer and others, "Conversion of continuous-valued deep networks to efficient event-driven networks for image
    classification" (2017); a start at half the threshold was proposed by several later.
    """

    scale: float
    reset: str
    start: float

    def __post_init__(self) -> None:
        if not 0.0 < checks.real_number("scale", self.scale) <= 100.0:
            raise ValueError(f"scale must be a percentile above 0 and at most 100, got {self.scale:g}")
        checks.one_of("reset", self.reset, ("zero", "subtract"))
        checks.real_number("start", self.start, minimum=0.0)


CONVERSIONS = (
    Conversion(100.0, "zero", 0.0),
    Conversion(100.0, "subtract", 0.0),
    Conversion(99.9, "subtract", 0.0),
    Conversion(99.9, "subtract", 0.5),
)


def scales(ann: ReluNetwork, x: Array, percentile: float) -> list[float]:
    """Return lambda_l of the hidden layers: the percentile of layer l's activations over neurons and images x.

    Raises
    ------
    ValueError
        If a layer is so silent that its percentile is 0.
    """
    values = [float(np.percentile(a, percentile)) for a in ann.activations(x)[:-1]]
    for number, value in enumerate(values, start=1):
        checks.real_number(f"scale of layer {number}", value, above=0.0)
    return values


def scaled_weights(weights: Sequence[Array], lambdas: Sequence[float]) -> list[Array]:
    """W_l lambda_{l-1} / lambda_l: an activation of lambda_l becomes one of 1. Input and output keep their scale.

    relu(c x) = c relu(x) for c > 0, so the ANN with these weights has the same outputs as before.
    """
    before = [1.0, *lambdas]
    after = [*lambdas, 1.0]
    return [W * W.dtype.type(b / c) for W, b, c in zip(weights, before, after, strict=True)]


def membrane_after(u: Array, s: Array, reset: str) -> Array:
    """v[t] = u[t] (1 - s[t]), or u[t] - V s[t] where nothing above the threshold is thrown away."""
    if reset == "zero":
        return np.asarray(terms.membrane_after_reset(u, s))  # type: ignore[arg-type] # a whole array at once
    return u - THRESHOLD * s


def run_converted(
    ann: ReluNetwork, weights: Sequence[Array], x: Array, conversion: Conversion, n_steps: int
) -> Iterator[tuple[Array, int]]:
    """Run the spiking network on images x (B, C, H, W), which are its constant input; one result a step.

    u[t] = v[t-1] + W s_below[t], s[t] = (u[t] > V), then the reset. Layers follow each other within the step, as in
    TSSL-BP's network. Spikes, not PSCs, are passed on. The output neurons only add up.

    Yields
    ------
    sums : (B, n_classes) array
        What the output neurons have added up so far.
    n_spikes : int
        Spikes of all hidden neurons and images so far.
    """
    Wx = ann.layers[0].forward(x, weights[0])
    shapes = [(len(x), *layer.output_shape) for layer in ann.layers[:-1]]
    v = [np.full(shape, conversion.start * THRESHOLD, Wx.dtype) for shape in shapes]
    counts = np.zeros(shapes[-1], Wx.dtype)  # of the last hidden layer: the output is linear in them
    n_spikes = 0
    for _ in range(n_steps):
        s = np.empty(0)
        for index, layer in enumerate(ann.layers[:-1]):
            I = Wx if index == 0 else layer.forward(s, weights[index])
            u = np.asarray(terms.membrane(v[index], I, NO_LEAK))  # type: ignore[arg-type] # a whole array at once
            s = np.asarray(terms.spike(u, THRESHOLD), dtype=Wx.dtype)  # type: ignore[arg-type]
            v[index] = membrane_after(u, s, conversion.reset)
            n_spikes += np.count_nonzero(s)
        counts += s
        yield ann.layers[-1].forward(counts, weights[-1]), n_spikes


@dataclass
class Tally:
    """How many images were right, and how many spikes fired, after each of the numbers of steps."""

    steps: Sequence[int]
    correct: npt.NDArray[np.int64]
    spikes: npt.NDArray[np.int64]
    images: int = 0

    @classmethod
    def empty(cls, steps: Sequence[int]) -> Tally:
        """Start a tally."""
        return cls(steps, np.zeros(len(steps), np.int64), np.zeros(len(steps), np.int64))

    def add(self, passes: Iterable[tuple[Array, int]], labels: Array) -> None:
        """Count some more images."""
        for step, (sums, n_spikes) in enumerate(passes, start=1):
            if step in self.steps:
                index = self.steps.index(step)
                self.correct[index] += int((sums.argmax(axis=1) == labels).sum())
                self.spikes[index] += n_spikes
        self.images += len(labels)


def measure(
    ann: ReluNetwork, task: Task, conversion: Conversion, steps: Sequence[int] = STEPS, *, show_progress: bool = False
) -> list[dict[str, Any]]:
    """Rows of one way of converting, over the whole test set."""
    images, _ = task.train_batch(np.arange(min(CALIBRATION, task.n_train)), np.random.default_rng(0))
    weights = scaled_weights(ann.weights, scales(ann, images, conversion.scale))
    total = Tally.empty(steps)
    hidden = not show_progress or None  # None: where standard error is no terminal
    for x, y in tqdm(task.test_batches(), str(conversion), unit="batch", disable=hidden, leave=False):
        total.add(run_converted(ann, weights, x, conversion, max(steps)), y)
    how = {"scale": conversion.scale, "reset": conversion.reset, "start": conversion.start}
    return [
        how | {"method": "conversion", "steps": step, "accuracy": right, "spikes_a_picture": spikes}
        for step, right, spikes in zip(steps, total.correct / total.images, total.spikes / total.images, strict=True)
    ]


# ---------------------------------------------------------------------------------------------------------------------
# TSSL-BP beside it
# ---------------------------------------------------------------------------------------------------------------------


def tsslbp_row(folder: Path, data_dir: Path | None, most: int | None = None, checkpoint: str = BEST) -> dict[str, Any]:
    """Accuracy, and spikes a picture, of a trained run's best epoch, or its last; output spikes are counted, too.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such run, it is of another experiment, or its data is not found.
    """
    run = load_run(folder, checkpoint)
    checks.one_of("experiment", run.row.name, (EXPERIMENT,))
    correct = spikes = images = 0
    for batch in pass_test_data(run, data_dir, most):
        correct += int((batch.predicted == batch.labels).sum())
        spikes += sum(np.count_nonzero(flow.trace.s) for flow in batch.flows)
        images += len(batch.labels)
    found = {"accuracy": correct / images, "spikes_a_picture": spikes / images}
    return {"method": f"tsslbp-{run.rule}", "run": run.name, "steps": run.row.n_steps, "measure": run.measure} | found


# ---------------------------------------------------------------------------------------------------------------------
# Table and command line
# ---------------------------------------------------------------------------------------------------------------------

USAGE_ERROR, INTERRUPTED = 2, 130


def write_table(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the rows; a column that a row says nothing of holds "-"."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, HEADER, restval=NONE, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.{DIGITS}g}" if isinstance(v, (float, np.floating)) else v for k, v in row.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.getvalue().encode())


def run_study(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Train, convert in every way, measure; return all rows."""
    row = experiment(EXPERIMENT)
    epochs, seed = checks.positive_integer("epochs", options.epochs), checks.positive_integer("seed", options.seed, 0)
    name = {"run": f"seed{seed}-held-out-{options.held_out}" if options.held_out else f"seed{seed}"}
    with threadpool_limits(1, user_api="blas"):
        rows = [tsslbp_row(f, options.data, checkpoint=c) for f in options.tsslbp for c in (BEST, LAST)]
        task = task_of(row, options.data, download=False, held_out=options.held_out)
        ann, kept = train_ann(row, task, epochs, seed, show_progress=not options.quiet)
        for which, epoch in kept.items():
            ann.weights, of_epoch = epoch.weights, name | {"measure": which}
            rows.append(of_epoch | {"method": "ann", "accuracy": epoch.accuracy})
            for conversion in CONVERSIONS:
                rows += [of_epoch | found for found in measure(ann, task, conversion, show_progress=not options.quiet)]
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 2 with one line that says what is wrong, or 130 if it was interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.ann_conversion", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--epochs", type=int, default=20, metavar="N", help="of the ANN (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the ANN (default: %(default)s)")
    parser.add_argument(
        "--held-out", type=int, default=0, metavar="N", help="training pictures to choose the epoch by (default: none)"
    )
    parser.add_argument("--tsslbp", nargs="*", default=[], type=Path, metavar="RUN_FOLDER", help="to set beside it")
    parser.add_argument("--out", type=Path, required=True, metavar="CSV", help="table to write")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of the data sets (default: TSSLBP_DATA)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    try:
        write_table(options.out, run_study(options))
    except (ValueError, TypeError, OSError) as error:
        print(f"python -m studies.ann_conversion: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Training with the exact gradient in continuous time: the Yin-Yang network, Adam, and a loop that can stop and go on.

The loop has the same form as `trainer.Trainer`, so that a `runs.Run` keeps its folder as it keeps any other. Weights
are not clamped and do not decay; the learning rate falls by a cosine to 0 over all updates.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks, exact
from tsslbp_ref.datasets import yin_yang
from tsslbp_ref.exact.batch import BatchResult
from tsslbp_ref.training.progress import progress
from tsslbp_ref.training.run_files import TEST
from tsslbp_ref.training.trainer import Progress

FloatArray = npt.NDArray[np.float64]
IntegerArray = npt.NDArray[np.int64]

YIN_YANG, EXACT = "yin-yang", "exact"  # the experiment's name, and the rule's
LOSS = "first-spike"
ORDER_STREAM, WEIGHTS_STREAM = 0, 1
TEST_BATCH = 500


@dataclass(frozen=True)
class ExactSettings:
    """How the Yin-Yang network is built and trained; the defaults were chosen on the validation points.

    Parameters
    ----------
    epochs, batch_size, n_hidden, seed : int
    learning_rate : float
        Of the first update; it falls to 0 by half a period of a cosine.
    clip : float
        Largest norm of all gradients together.
    tau_m, tau_s, threshold : float
        In ms, and of all neurons.
    hidden_weights, output_weights : tuple of float
        Mean and standard deviation of the normal initial weights.
    tau0, tau1, alpha : float
        Of the loss, see `exact.FirstSpike`.
    loss : str
        "first-spike", the only one here.
    silent_output, silent_hidden : float
        beta and gamma, see `exact.loss_and_gradients`.
    """

    epochs: int = 150
    batch_size: int = 50
    learning_rate: float = 0.05
    clip: float = 0.1
    n_hidden: int = 100
    tau_m: float = 20.0
    tau_s: float = 5.0
    threshold: float = 1.0
    hidden_weights: tuple[float, float] = (10.0, 5.0)
    output_weights: tuple[float, float] = (4.0, 4.0)
    tau0: float = 2.0
    tau1: float = 10.0
    alpha: float = 0.003
    silent_output: float = 10.0
    silent_hidden: float = 0.01
    seed: int = 0
    loss: str = LOSS

    def __post_init__(self) -> None:
        checked: dict[str, Any] = {"loss": checks.one_of("loss", self.loss, [LOSS])}
        for name in ("epochs", "batch_size", "n_hidden"):
            checked[name] = checks.positive_integer(name, getattr(self, name))
        checked["seed"] = checks.positive_integer("seed", self.seed, minimum=0)
        for name in ("learning_rate", "clip", "tau_m", "tau_s", "threshold", "tau0", "tau1"):
            checked[name] = checks.real_number(name, getattr(self, name), above=0.0)
        for name in ("alpha", "silent_output", "silent_hidden"):
            checked[name] = checks.real_number(name, getattr(self, name), minimum=0.0)
        checks.set_fields(self, **checked)


@dataclass
class Adam:
    """Adam without decay: m and v are running means of g and g^2, W -= rate m^ / (sqrt(v^) + eps), in place.

    m^ and v^ are m and v over 1 - beta^n. Source: Kingma and Ba (2015), algorithm 1.
    """

    weights: list[FloatArray]
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    n_steps: int = 0
    means: list[FloatArray] = field(default_factory=list)
    squares: list[FloatArray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.means = [np.zeros_like(W) for W in self.weights]
        self.squares = [np.zeros_like(W) for W in self.weights]
        self.updating = False  # true after an update that was broken off, until the next one is made

    def step(self, gradients: list[FloatArray], rate: float) -> None:
        """Update the weights once."""
        n, self.updating = self.n_steps + 1, True
        first, second = 1.0 - self.beta1**n, 1.0 - self.beta2**n
        for W, m, v, g in zip(self.weights, self.means, self.squares, gradients, strict=True):
            m += (1.0 - self.beta1) * (g - m)
            v += (1.0 - self.beta2) * (g * g - v)
            W -= rate * (m / first) / (np.sqrt(v / second) + self.eps)
        self.n_steps, self.updating = n, False  # at the end: a step that was broken off does not count


class ExactNetwork:
    """A network of two layers in continuous time with its weights, and how it is simulated."""

    def __init__(self, settings: ExactSettings, n_threads: int | None = None) -> None:
        rng = np.random.default_rng([settings.seed, WEIGHTS_STREAM])
        n_in = len(yin_yang.spike_times([[0.0, 0.0]])[0])
        self.settings = settings
        self.n_threads = n_threads
        self.weights = [
            rng.normal(*settings.hidden_weights, (settings.n_hidden, n_in)),
            rng.normal(*settings.output_weights, (yin_yang.N_CLASSES, settings.n_hidden)),
        ]

    def described(self) -> dict[str, Any]:
        """What a run's config says of the network, beside the settings; the number of threads changes no number."""
        row = self.settings
        return {
            "neuron": {"tau_m": row.tau_m, "tau_s": row.tau_s, "threshold": row.threshold},
            "rule": {"gradient": "exact, in continuous time"},
            "layers": [f"exact {W.shape[1]} -> {W.shape[0]}" for W in self.weights],
            "factors": [f"learning rate to 0 in {row.epochs} epochs"],
            "n_steps": None,
            "dtype": "float64",
            "n_threads": None,
        }

    @property
    def _constants(self) -> tuple[float, float, float, float]:
        return self.settings.tau_m, self.settings.tau_s, self.settings.threshold, yin_yang.DURATION_MS

    def loss_and_gradients(self, points: FloatArray, labels: IntegerArray) -> BatchResult:
        """See `exact.loss_and_gradients`."""
        row = self.settings
        return exact.loss_and_gradients(
            self.weights,
            yin_yang.spike_times(points),
            labels,
            *self._constants,
            loss=exact.FirstSpike(None, row.tau0, row.tau1, row.alpha),
            silent_output=row.silent_output,
            silent_hidden=row.silent_hidden,
            n_threads=self.n_threads,
        )

    def predict(self, points: FloatArray) -> IntegerArray:
        """See `exact.predict`."""
        spikes = yin_yang.spike_times(points)
        return exact.predict(self.weights, spikes, *self._constants, n_threads=self.n_threads)


class YinYangTask:
    """The training points and the points that the network is tested on."""

    def __init__(self, test: str = "test") -> None:
        self.train, self.test = yin_yang.load_yin_yang("train"), yin_yang.load_yin_yang(test)

    @property
    def data_sha256(self) -> str:
        """What tells these points from others."""
        arrays = (*self.train, *self.test)
        return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()

    @property
    def n_train(self) -> int:
        """Number of training points."""
        return len(self.train.labels)

    @property
    def n_test(self) -> int:
        """Number of test points."""
        return len(self.test.labels)


def clipped(gradients: list[FloatArray], largest: float) -> list[FloatArray]:
    """Return the gradients scaled so that the norm of all together is at most `largest`.

    Raises
    ------
    ValueError
        If the norm is not finite.
    """
    norm = math.sqrt(sum(float(np.sum(g * g)) for g in gradients))
    if not math.isfinite(norm):
        raise ValueError("the gradients are not finite")
    return [g * (largest / norm) for g in gradients] if norm > largest else gradients


def cosine_rate(rate: float, update: int, n_updates: int) -> float:
    """rate (1 + cos(pi update / n_updates)) / 2."""
    return 0.5 * rate * (1.0 + math.cos(math.pi * update / n_updates))


class ExactTrainer:
    """Train an `ExactNetwork` on the Yin-Yang points, an epoch at a time; see `trainer.Trainer`."""

    def __init__(
        self, network: ExactNetwork, task: YinYangTask, settings: ExactSettings, *, show_progress: bool = False
    ) -> None:
        self.network, self.task, self.settings, self.show_progress = network, task, settings, show_progress
        self.optimiser = Adam(network.weights)
        self.progress = Progress()
        self._n_updates_counted = 0

    @property
    def between_batches(self) -> bool:
        """Whether weights, averages and counters are of the same batch; not so after an error within an update."""
        return not self.optimiser.updating and self.optimiser.n_steps == self._n_updates_counted

    def run_epoch(self, should_stop: Callable[[], bool] = lambda: False) -> dict[str, Any] | None:
        """Train to the end of the current epoch, test, and return the epoch's metrics; None if stopped early."""
        self._n_updates_counted = self.optimiser.n_steps
        rng = np.random.default_rng([self.settings.seed, self.progress.epoch, ORDER_STREAM])
        order = rng.permutation(self.task.n_train)
        state, title = self.progress, f"epoch {self.progress.epoch + 1}/{self.settings.epochs}"
        with progress(len(order), title, "sample", initial=state.seen, show=self.show_progress) as show:
            while state.seen < len(order):
                self._train_batch(order[state.seen :][: self.settings.batch_size])
                show(state.seen, loss=f"{state.loss / state.seen:.4f}", acc=f"{state.correct / state.seen:.4f}")
                if should_stop():
                    return None
        metrics, self.progress = self.progress.finished({TEST: self.test_accuracy()})
        return metrics

    def _train_batch(self, indices: IntegerArray) -> None:
        state, settings, points = self.progress, self.settings, self.task.train
        started = time.perf_counter()
        labels = points.labels[indices]
        try:
            result = self.network.loss_and_gradients(points.points[indices], labels)
            gradients = clipped(result.gradients, settings.clip)
        except ValueError as error:
            raise ValueError(f"epoch {state.epoch + 1}, batch {state.batch + 1}: {error}") from error
        n_updates = settings.epochs * math.ceil(self.task.n_train / settings.batch_size)
        self.optimiser.step(gradients, cosine_rate(settings.learning_rate, self.optimiser.n_steps, n_updates))
        state.loss += result.loss * len(labels)
        state.correct += int((result.predictions == labels).sum())
        state.seen += len(labels)
        state.batch += 1
        state.seconds += time.perf_counter() - started
        self._n_updates_counted = self.optimiser.n_steps

    def test_accuracy(self) -> float:
        """Share of the test points whose class is predicted right."""
        points, labels = self.task.test
        found = [
            self.network.predict(points[start : start + TEST_BATCH]) for start in range(0, len(points), TEST_BATCH)
        ]
        return float(np.mean(np.concatenate(found) == labels))

"""What a network is trained on: mini-batches by index, each batch a function of its indices and a seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks, datasets
from tsslbp_ref.datasets.nmnist import EVENT_BYTES
from tsslbp_ref.training.experiments import Experiment

Array = npt.NDArray[Any]

TEST_BATCH = 500
EVENT_TEST_BATCH = 50
HELD_OUT_SEED = 0  # of the command line: all runs hold out the same images, whatever their own seed
DIGEST_EVERY = 64  # images; the labels tell nearly all already


class Task(Protocol):
    """Training samples by index and a test set in batches."""

    @property
    def n_train(self) -> int:
        """Number of training samples."""

    @property
    def n_test(self) -> int:
        """Number of test samples."""

    def train_batch(self, indices: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, Array]:
        """Input and target of the samples; `rng` draws the augmentation, if the task has any."""

    def test_batches(self) -> Iterator[tuple[Array, Array]]:
        """The test set, in order."""


class SampledTask(Task, Protocol):
    """A task some of whose training samples can be held out."""

    @property
    def test_batch(self) -> int:
        """Samples of a test batch."""

    def train_samples(self, indices: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """Input and target of training samples as they would be in a test: nothing is augmented."""


class HeldOut:
    """A task without some of its training samples, which choose the best epoch and are never trained on.

    Parameters
    ----------
    task : SampledTask
    n_validation : int
        Samples that are held out.
    seed : int
        Chooses them: the same seed, the same samples.

    Raises
    ------
    ValueError, TypeError
        If a number is none, or none or all of the training samples would be held out.
    """

    def __init__(self, task: SampledTask, n_validation: int, seed: int = HELD_OUT_SEED) -> None:
        n_held = checks.positive_integer("held-out", n_validation)
        if n_held >= task.n_train:
            raise ValueError(f"held-out must be less than the {task.n_train} training samples, got {n_held}")
        self.task, self.seed = task, checks.positive_integer("seed", seed, minimum=0)
        order = np.random.default_rng(seed).permutation(task.n_train)
        self.held, self.kept = np.sort(order[:n_held]), np.sort(order[n_held:])

    @property
    def n_train(self) -> int:
        """Number of samples that are trained on."""
        return len(self.kept)

    @property
    def n_validation(self) -> int:
        """Number of samples that are held out."""
        return len(self.held)

    @property
    def n_test(self) -> int:
        """Number of test samples."""
        return self.task.n_test

    @property
    def data_sha256(self) -> str:
        """As the whole task, if it says so."""
        return self.task.data_sha256  # type: ignore[attr-defined]

    def train_batch(self, indices: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, Array]:
        """Samples by their index among those that are trained on."""
        return self.task.train_batch(self.kept[indices], rng)

    def validation_batches(self) -> Iterator[tuple[Array, Array]]:
        """The samples that are held out, in order."""
        for start in range(0, self.n_validation, self.task.test_batch):
            yield self.task.train_samples(self.held[start : start + self.task.test_batch])

    def test_batches(self) -> Iterator[tuple[Array, Array]]:
        """The test set, in order."""
        return self.task.test_batches()


class ArrayTask:
    """A user's own arrays, checked once, as a task.

    Parameters
    ----------
    X : (B, *input_shape) or (T, B, *input_shape) array_like
        Static samples, shown at every step, or spike trains: an array, or anything that becomes one by `__array__`,
        such as a PyTorch tensor on the CPU or a table of pandas.
    y : (B,) array_like of int
        Class labels, from 0 on.
    X_test, y_test : array_like, optional
        The test set, of the same form; both or neither.
    input_shape : tuple of int
        Of one sample at one step.
    n_classes, n_steps : int
    dtype : {"float32", "float64"}
        Of the network; X becomes this. Spike trains of integers stay as they are.

    Raises
    ------
    ValueError, TypeError
        If an array is ragged, empty, of another shape, not of finite real numbers, or shorter than its partner, or a
        label is no integer from 0 to n_classes - 1. The message names the array.
    """

    test_batch = TEST_BATCH

    def __init__(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        X_test: npt.ArrayLike | None = None,
        y_test: npt.ArrayLike | None = None,
        *,
        input_shape: tuple[int, ...],
        n_classes: int,
        n_steps: int,
        dtype: npt.DTypeLike = "float32",
    ) -> None:
        if (X_test is None) != (y_test is None):
            given, missing = ("y_test", "X_test") if X_test is None else ("X_test", "y_test")
            raise ValueError(f"{given} is given without {missing}")
        self._sample_axes = len(input_shape)

        def checked(end: str, x: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Array, Array]:
            found = checks.images_or_trains(f"X{end}", x, input_shape, n_steps, dtype)
            return found, checks.labels(f"y{end}", labels, found.shape[self._axis(found)], n_classes)

        self._train = checked("", X, y)
        self._test = None if X_test is None else checked("_test", X_test, cast("npt.ArrayLike", y_test))

    def _axis(self, x: Array) -> int:
        """The axis of the samples: 0, or 1 behind that of the steps."""
        return x.ndim - self._sample_axes - 1

    @cached_property
    def data_sha256(self) -> str:
        """What tells these arrays from others."""
        digest = hashlib.sha256()
        for array in (*self._train, *(self._test or ())):
            digest.update(f"{array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    @property
    def n_train(self) -> int:
        """Number of training samples."""
        return len(self._train[1])

    @property
    def n_test(self) -> int:
        """Number of test samples, 0 if none were given."""
        return 0 if self._test is None else len(self._test[1])

    def train_batch(self, indices: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, Array]:
        """Samples (B, ...) or (T, B, ...) and labels (B,)."""
        return self.train_samples(indices)

    def train_samples(self, indices: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """The same."""
        return self._samples(*self._train, indices)

    def test_batches(self) -> Iterator[tuple[Array, Array]]:
        """Samples and labels, 500 at a time."""
        for start in range(0, self.n_test, TEST_BATCH):
            assert self._test is not None
            yield self._samples(*self._test, np.arange(start, min(start + TEST_BATCH, self.n_test)))

    def _samples(self, x: Array, y: Array, indices: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        return x.take(indices, axis=self._axis(x)), y[indices]


class ImageTask:
    """Static images: normalised once, augmented a batch at a time where the experiment says so."""

    test_batch = TEST_BATCH

    def __init__(
        self, dataset: str, *, augment: bool, data_dir: str | Path | None = None, download: bool = True
    ) -> None:
        train = datasets.load_images(dataset, "train", data_dir, download)
        test = datasets.load_images(dataset, "test", data_dir, download)
        self.source = train.source
        self.data_sha256 = _images_sha256(train, test)
        self._dataset = dataset
        self._augment = augment
        # Augmentation crops raw pixels, so these stay uint8 until their batch is drawn.
        self._train = train.images if augment else datasets.normalise(train.images, dataset)
        self._train_labels = train.labels
        self._test = datasets.normalise(test.images, dataset)
        self._test_labels = test.labels

    @property
    def n_train(self) -> int:
        """Number of training images."""
        return len(self._train)

    @property
    def n_test(self) -> int:
        """Number of test images."""
        return len(self._test)

    def train_batch(self, indices: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, Array]:
        """Images (B, C, H, W) float32 and labels (B,)."""
        images = self._train[indices]
        if self._augment:
            images = datasets.normalise(datasets.augment_crop_flip(images, rng), self._dataset)
        return images, self._train_labels[indices]

    def train_samples(self, indices: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """The same, never augmented."""
        images: Array = self._train[indices]
        return datasets.normalise(images, self._dataset) if self._augment else images, self._train_labels[indices]

    def test_batches(self) -> Iterator[tuple[Array, Array]]:
        """Images and labels, 500 at a time."""
        for start in range(0, self.n_test, TEST_BATCH):
            run = slice(start, start + TEST_BATCH)
            yield self._test[run], self._test_labels[run]


def _images_sha256(*splits: datasets.ImageSet) -> str:
    """What tells these images from others: a digest of all labels and of some of the images."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(np.asarray(split.labels, "<i8").tobytes())
        digest.update(np.ascontiguousarray(split.images[::DIGEST_EVERY]).tobytes())
    return digest.hexdigest()


class EventTask:
    """N-MNIST recordings, read and binned as they are needed.

    The sizes of all files are looked at once, at the start: a truncated one should not end a run hours later.
    """

    test_batch = EVENT_TEST_BATCH

    def __init__(self, experiment: Experiment, data_dir: str | Path | None = None) -> None:
        self._train = datasets.NMNIST(data_dir, "train")
        self._test = datasets.NMNIST(data_dir, "test")
        for path in (*self._train.paths, *self._test.paths):
            size = path.stat().st_size
            if not size or size % EVENT_BYTES:
                found = f"the size of an event file must be a multiple of {EVENT_BYTES} bytes, got {size} bytes"
                raise datasets.DataError(f"{path}: {found}")
        self._experiment = experiment
        self.source = self._train.source

    @cached_property
    def data_sha256(self) -> str:
        """What tells this data from other data: a digest of the recordings' class folders, names and sizes."""
        digest = hashlib.sha256()
        for recordings in (self._train, self._test):
            for path in recordings.paths:
                digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size};".encode())
        return digest.hexdigest()

    @property
    def n_train(self) -> int:
        """Number of training recordings."""
        return len(self._train)

    @property
    def n_test(self) -> int:
        """Number of test recordings."""
        return len(self._test)

    def train_batch(self, indices: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Array, Array]:
        """Spike trains (T, B, 2, 34, 34) and labels (B,)."""
        return self._read(self._train, indices)

    def train_samples(self, indices: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """The same: recordings are not augmented."""
        return self._read(self._train, indices)

    def test_batches(self) -> Iterator[tuple[Array, Array]]:
        """Spike trains and labels, 50 at a time."""
        for start in range(0, self.n_test, EVENT_TEST_BATCH):
            yield self._read(self._test, np.arange(start, min(start + EVENT_TEST_BATCH, self.n_test)))

    def _read(self, recordings: datasets.NMNIST, indices: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        row = self._experiment
        return recordings.batch(indices, row.n_steps, row.bin_width_us, stabilise=row.stabilise)


def task_of(
    experiment: Experiment, data_dir: str | Path | None = None, *, download: bool = True, held_out: int = 0
) -> Task:
    """The experiment's data set as a task; the same `held_out` training samples are always held out.

    Raises
    ------
    FileNotFoundError, ValueError
        If the data is not found, or is not what it should be; the message names the file or folder. If as many samples
        are to be held out as there are.
    """
    task: SampledTask
    if experiment.arrays is not None:
        task = ArrayTask(
            **datasets.load_arrays(experiment.arrays),
            input_shape=experiment.input_shape,
            n_classes=experiment.n_classes,
            n_steps=experiment.n_steps,
        )
    elif experiment.dataset == "n-mnist":
        task = EventTask(experiment, data_dir)
    else:
        task = ImageTask(experiment.dataset, augment=experiment.augment, data_dir=data_dir, download=download)
    return HeldOut(task, held_out) if held_out else task

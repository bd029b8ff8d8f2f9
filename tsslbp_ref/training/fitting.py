"""Training on arrays of one's own, in one call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.model.losses import LossSettings
from tsslbp_ref.model.network import Network
from tsslbp_ref.training.run_files import VALIDATION
from tsslbp_ref.training.tasks import ArrayTask, HeldOut
from tsslbp_ref.training.trainer import Trainer, TrainingSettings, epoch_line

Metrics = dict[str, Any]


def fit(
    net: Network,
    X: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    X_test: npt.ArrayLike | None = None,
    y_test: npt.ArrayLike | None = None,
    epochs: int = 20,
    batch_size: int = 50,
    learning_rate: float = 5e-4,
    constants_learning_rate: float = 0.0,
    loss: str = "kernel",
    loss_settings: LossSettings | None = None,
    seed: int = 0,
    validation: float = 0.0,
    progress: bool = True,
    callback: Callable[[Metrics], Any] | None = None,
) -> list[Metrics]:
    """Train a network on arrays, in place, and return the metrics of every epoch.

    Parameters
    ----------
    net : Network
        Goes on from the weights that it has; the averages of AdamW begin anew.
    X : (B, *input_shape) or (T, B, *input_shape) array_like
        Static samples, shown at every step, or spike trains: an array, or anything that becomes one by `__array__`,
        such as a PyTorch tensor on the CPU or a table of pandas. Static values should be about of size 1.
    y : (B,) array_like of int
        Class labels, 0 to n_classes - 1.
    X_test, y_test : array_like, optional
        Samples that every epoch is tested on; they choose nothing.
    epochs, batch_size : int
    learning_rate : float
    constants_learning_rate : float
        Of tau_m and tau_s of the hidden layers, one each a layer, see `training.learned_constants`; 0 leaves them.
    loss : str
        See `training.LABEL_LOSSES`.
    loss_settings : LossSettings, optional
        Targets of the count loss.
    seed : int
        Of the order of the samples, the dropout and the choice of the held-out ones.
    validation : float
        Share of the samples that are held out, from 0 to below 1. They are not trained on; the network ends with the
        weights and constants of the epoch that is best on them, the first of equal ones. With 0 it ends with those of
        the last epoch.
    progress : bool
        Show a bar, or a line now and then, and a line an epoch on standard error.
    callback : callable, optional
        Called with each epoch's metrics; training stops after an epoch for which it returns True.

    Returns
    -------
    list of dict
        An epoch each: epoch (from 1), train_loss (a sample), train_accuracy, test_accuracy with a test set,
        validation_accuracy with held-out samples, seconds and samples_per_second. The first epoch's seconds hold the
        compilation of the loops, where they are not on disk yet.

    Raises
    ------
    ValueError, TypeError
        If an argument is not of its kind, shape or range, before anything is trained; or if the gradients stop being
        finite. The message names the argument, or epoch and batch.

    Examples
    --------
    >>> import numpy as np
    >>> import tsslbp_ref as tr
    >>> X = np.random.default_rng(0).random((200, 4))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> net = tr.Network.from_spec("20", (4,), n_classes=2, n_steps=5, weight_scale=2.0)
    >>> history = tr.fit(net, X, y, epochs=15, batch_size=10, learning_rate=0.01, validation=0.1, progress=False)
    >>> net.score(X, y) > 0.9
    True
    """
    checks.instance_of("net", net, Network)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {checks.shown(callback)}")
    settings = TrainingSettings(
        epochs,
        batch_size,
        learning_rate,
        loss,
        checks.instance_or_default("loss_settings", loss_settings, LossSettings),
        seed,
        constants_learning_rate,
    )
    task = ArrayTask(
        X, y, X_test, y_test, input_shape=net.input_shape, n_classes=net.n_classes, n_steps=net.n_steps, dtype=net.dtype
    )
    n_held = _held_out(validation, task.n_train)
    trainer = Trainer(net, HeldOut(task, n_held, seed) if n_held else task, settings, show_progress=progress)
    return _epochs(trainer, callback)


def _held_out(validation: float, n_train: int) -> int:
    """How many of the training samples a share is."""
    share = checks.real_number("validation", validation, minimum=0.0)
    n_held = round(share * n_train)
    if share >= 1.0 or (share and not 0 < n_held < n_train):
        raise ValueError(
            f"validation must leave some of {n_train} samples to train on and hold some out, got {share:g}"
        )
    return n_held


def _epochs(trainer: Trainer, callback: Callable[[Metrics], Any] | None) -> list[Metrics]:
    """Train to the last epoch, or until the callback stops; end with the network that the held-out samples choose."""
    history: list[Metrics] = []
    net, best, chosen = trainer.network, -1.0, None
    while len(history) < trainer.settings.epochs:
        metrics = trainer.run_epoch()
        assert metrics is not None
        history.append(metrics)
        if trainer.show_progress:
            print(epoch_line(metrics), file=sys.stderr, flush=True)
        if metrics.get(VALIDATION, -1.0) > best:
            best, chosen = metrics[VALIDATION], (net.neuron, [W.copy() for W in net.weights])
        if callback is not None and callback(metrics):
            break
    if chosen is not None:
        net.neuron, best_weights = chosen
        for W, best_W in zip(net.weights, best_weights, strict=True):
            W[...] = best_W
    return history

"""Rows for dL/da of every loss: the loss's own value, differenced in each entry of the output PSC."""

from __future__ import annotations

import numpy as np

from tsslbp_ref.gradcheck.finite_differences import Array, gradient, largest, relative_error
from tsslbp_ref.gradcheck.report import Check
from tsslbp_ref.model import losses
from tsslbp_ref.model.parameters import NeuronParameters

NEURON = NeuronParameters(5.0, 3.0, 1.0)
LABELS = np.array([2, 0, 1])
N_STEPS, N_CLASSES = 5, 3
EXACT = 1e-12  # the two sides differ by rounding
DIFFERENCED = 1e-10
STEP = 0.25  # far below the distance of any count to its target, see `_counts`
LEVELS = 5  # Richardson levels: exact for a quadratic, and elsewhere the error falls with the tenth power of the step
VAN_ROSSUM = "dL/da[t] = a[t] - d[t] (L1 {of}, differenced in a)"
# By loss the formula and its functions. A loss that is not among them is differenced all the same.
FORMULAS = {
    "kernel": (VAN_ROSSUM.format(of="as released"), "losses.van_rossum, losses.released_psc"),
    "kernel-paper": (VAN_ROSSUM.format(of="as in the paper"), "losses.van_rossum, losses.paper_psc"),
    "count": ("dL/da[t] = e (L2, differenced in a, inside and outside of the dead zones)", "losses.count"),
    "softmax": ("dL/da[t] = (softmax(q) - onehot(y))/B (L3, differenced in a)", "losses.softmax"),
    "spike-train": (
        "dL/da[t] = a[t] - (eps * y)[t] (L1 against desired trains y, differenced in a)",
        "losses.van_rossum, losses.filtered_train",
    ),
    "kernel-01111-twice": (VAN_ROSSUM.format(of="as released"), "losses.van_rossum, losses.released_psc"),
    "kernel-01011-once": (VAN_ROSSUM.format(of="as in the paper"), "losses.van_rossum, losses.paper_psc"),
}


def all_checks() -> list[Check]:
    """One row a loss, and one for the targets of the kernel losses and the value of the count loss."""
    return [
        *(_row(name) for name in losses.LOSSES),
        Check(
            "loss-kernel-targets",
            "d = a - dL/da: 0,1,1,1,1 filtered twice; 0,1,0,1,1 filtered once",
            "losses.released_psc, losses.paper_psc",
            EXACT,
            _kernel_targets,
        ),
        Check(
            "loss-count-value",
            "L = T/2 sum e^2, e = (sum_t a[t] - desired)/T, 0 in the dead zones (written out)",
            "losses.count",
            EXACT,
            _count_value,
        ),
    ]


def _row(name: str) -> Check:
    """The row of a loss, known here or not."""
    formula, functions = FORMULAS.get(name, ("dL/da[t] (differenced in a)", "losses.value_and_gradient"))
    return Check(f"loss-{name}", formula, functions, DIFFERENCED, lambda: _differenced(name))


def _psc() -> Array:
    return np.random.default_rng(11).random((N_STEPS, len(LABELS), N_CLASSES))


def _counts() -> Array:
    """PSCs whose sums lie on either side of the targets 4 (true class) and 1 (others), all farther off than STEP."""
    sums = np.array([[0.5, 2.0, 3.0], [5.0, 0.25, 1.75], [2.5, 4.5, 0.0]])  # (batch, class); LABELS are 2, 0, 1
    shares = np.random.default_rng(12).dirichlet(np.ones(N_STEPS), size=sums.shape)
    return np.ascontiguousarray(np.moveaxis(shares * sums[..., None], -1, 0))


def _value(name: str, a: Array, y: Array = LABELS) -> float:
    return losses.value_and_gradient(name, a, y, NEURON)[0]


def _differenced(name: str) -> float:
    a = _counts() if name == "count" else _psc()
    y = np.round(a) if name == "spike-train" else LABELS
    found = losses.value_and_gradient(name, a, y, NEURON)[1]
    return relative_error(found, gradient(lambda moved: _value(name, moved, y), a, STEP, LEVELS))


def _kernel_targets() -> float:
    """The target that a loss's gradient implies, against the double sum over the kernel."""
    lag = np.subtract.outer(np.arange(N_STEPS), np.arange(N_STEPS))
    kernel = np.where(lag >= 0, NEURON.theta_s * (1.0 - NEURON.theta_s) ** np.maximum(lag, 0), 0.0)
    cases = {
        "kernel": kernel @ kernel @ np.array([0.0, 1.0, 1.0, 1.0, 1.0]),
        "kernel-paper": kernel @ np.array([0.0, 1.0, 0.0, 1.0, 1.0]),
    }
    errors = []
    for name, d in cases.items():
        expected = np.zeros((N_STEPS, len(LABELS), N_CLASSES))
        expected[:, np.arange(len(LABELS)), LABELS] = d[:, None]
        a = _psc()
        errors.append(relative_error(a - losses.value_and_gradient(name, a, LABELS, NEURON)[1], expected))
    return largest(errors)


def _count_value() -> float:
    """The value, entry by entry: a difference of a value and its gradient misses an error that both share."""
    settings = losses.LossSettings()
    sums = _counts().sum(axis=0)
    expected = 0.0
    for b, label in enumerate(LABELS):
        for k in range(N_CLASSES):
            if k == label:
                e = min(sums[b, k] - settings.desired_count, 0.0) / N_STEPS
            else:
                e = max(sums[b, k] - settings.undesired_count, 0.0) / N_STEPS
            expected += 0.5 * N_STEPS * e**2
    return relative_error(_value("count", _counts()), expected)

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
QUADRATIC = 1e-12  # a central difference of a quadratic is exact
SMOOTH = 1e-10
STEP = 0.25  # far below the distance of any count to its target, see `_counts`
SOFTMAX_LEVELS = 5  # Richardson levels: the error falls with the tenth power of the step


def all_checks() -> list[Check]:
    """One row a loss, and one for the targets of the kernel losses and the value of the count loss."""
    return [*_van_rossum_rows(), *_sum_rows()]


def _van_rossum_rows() -> list[Check]:
    """L1, against the desired trains of the code, of the paper, and given ones."""
    return [
        Check(
            "loss-kernel",
            "dL/da[t] = a[t] - d[t] (L1 as released, differenced in a)",
            "losses.van_rossum, losses.released_psc",
            QUADRATIC,
            lambda: _loss("kernel", _psc(), levels=1),
        ),
        Check(
            "loss-kernel-paper",
            "dL/da[t] = a[t] - d[t] (L1 as in the paper, differenced in a)",
            "losses.van_rossum, losses.paper_psc",
            QUADRATIC,
            lambda: _loss("kernel-paper", _psc(), levels=1),
        ),
        Check(
            "loss-spike-train",
            "dL/da[t] = a[t] - (eps * y)[t] (L1 against desired trains y, differenced in a)",
            "losses.van_rossum, losses.filtered_train",
            QUADRATIC,
            lambda: _loss("spike-train", _psc(), levels=1, y=np.round(_psc())),
        ),
        Check(
            "loss-kernel-targets",
            "d = a - dL/da: 0,1,1,1,1 filtered twice; 0,1,0,1,1 filtered once",
            "losses.released_psc, losses.paper_psc",
            QUADRATIC,
            _kernel_targets,
        ),
    ]


def _sum_rows() -> list[Check]:
    """L2 and L3, which see sum_t a[t] alone."""
    return [
        Check(
            "loss-count",
            "dL/da[t] = e (L2, differenced in a, inside and outside of the dead zones)",
            "losses.count",
            QUADRATIC,
            lambda: _loss("count", _counts(), levels=1),
        ),
        Check(
            "loss-count-value",
            "L = T/2 sum e^2, e = (sum_t a[t] - desired)/T, 0 in the dead zones (written out)",
            "losses.count",
            QUADRATIC,
            _count_value,
        ),
        Check(
            "loss-softmax",
            "dL/da[t] = (softmax(q) - onehot(y))/B (L3, differenced in a)",
            "losses.softmax",
            SMOOTH,
            lambda: _loss("softmax", _psc(), levels=SOFTMAX_LEVELS),
        ),
    ]


def _psc() -> Array:
    return np.random.default_rng(11).random((N_STEPS, len(LABELS), N_CLASSES))


def _counts() -> Array:
    """PSCs whose sums lie on either side of the targets 4 (true class) and 1 (others), all farther off than STEP."""
    sums = np.array([[0.5, 2.0, 3.0], [5.0, 0.25, 1.75], [2.5, 4.5, 0.0]])  # (batch, class); LABELS are 2, 0, 1
    shares = np.random.default_rng(12).dirichlet(np.ones(N_STEPS), size=sums.shape)
    return np.ascontiguousarray(np.moveaxis(shares * sums[..., None], -1, 0))


def _value(name: str, a: Array, y: Array = LABELS) -> float:
    return losses.value_and_gradient(name, a, y, NEURON)[0]


def _loss(name: str, a: Array, *, levels: int, y: Array = LABELS) -> float:
    found = losses.value_and_gradient(name, a, y, NEURON)[1]
    return relative_error(found, gradient(lambda moved: _value(name, moved, y), a, STEP, levels))


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

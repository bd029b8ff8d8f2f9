"""The confusion matrix of Fashion-MNIST: which classes the trained network takes for which."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from figures import measured, style
from tsslbp_ref import plots

EXPERIMENT = "fashion-mnist-400-400"
# The classes of Fashion-MNIST in the order of their labels. Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST".
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
PERCENT = 100.0


def measure() -> tuple[np.ndarray, int]:
    """Return share[true, predicted] in percent of the true class, mean over the runs, and the number of runs."""
    rows = [row for row in measured.table("confusion.csv") if row["experiment"] == EXPERIMENT]
    counts = np.zeros((len(CLASSES), len(CLASSES)))
    for row in rows:
        counts[int(row["true"]), int(row["predicted"])] += float(row["count"])
    return PERCENT * counts / counts.sum(axis=1, keepdims=True), len({row["run"] for row in rows})


def title(share: np.ndarray) -> str:
    """Say which class is the hardest, and what it is taken for."""
    hardest = int(np.argmin(np.diag(share)))
    others = share[hardest].copy()
    others[hardest] = 0.0
    first, second = (CLASSES[number] for number in np.argsort(-others, kind="stable")[:2])
    return (
        f"Fashion-MNIST, {EXPERIMENT.removeprefix('fashion-mnist-')}: the hardest class is the {CLASSES[hardest]},\n"
        f"taken for {first} or {second} where it is missed"
    )


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    share, n_runs = measure()
    with style.page(__file__, out_dir, title(share), height=6.6) as page:
        pairs = np.ndindex(share.shape)
        page.table(("true", "predicted", "percent"), ((CLASSES[i], CLASSES[j], share[i, j]) for i, j in pairs))
        ax = page.figure.subplots()
        plots.confusion_matrix(share, ax, classes=CLASSES)
        bar = page.figure.colorbar(ax.images[0], ax=ax, aspect=30, ticks=(0, 1, 5, 20, 50, 100))
        runs = "one run" if n_runs == 1 else f"mean of {n_runs} runs"
        bar.set_label(f"percent of the true class's test pictures, {runs}")
    return page.path

"""The loss along one weight: smooth between jumps, in steps a staircase; and the slopes that the rules claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from figures import style
from studies import loss_along_weight as study
from tsslbp_ref.model.parameters import rule_by_name

TITLE = (
    "Along a weight the exact loss is smooth between jumps, the discrete loss\n"
    "is a staircase; of the claimed slopes only the consistent one fits"
)
N_POINTS = 300
COARSE = 1.0  # ms, of the staircase
FINE = 0.02  # ms, of the claimed slopes
MARKED = np.linspace(-0.8, 4.8, 15)
TANGENTS = MARKED[2::3]
HALF_TANGENT = 0.2
RULES = ("released", "surrogate", "literal", "consistent")
MARKERS = {"released": "o", "literal": "v", "consistent": "D", "surrogate": "s"}
LINEAR_SLOPE = 0.02  # the axis of slopes is linear up to here and logarithmic beyond
STEEPEST = 1.0

Curves = dict[str, tuple[np.ndarray, np.ndarray]]


def measure() -> tuple[Curves, Curves]:
    """Return curves of the loss and of its slope over the weight, by name."""
    losses, slopes = {}, {}
    for number, piece in enumerate(study.exact_loss(N_POINTS)):
        losses[f"exact, piece {number}"] = (piece.weights, piece.loss)
        slopes[f"exact, piece {number}"] = (piece.weights, piece.slope)
    losses["discrete"] = study.discrete_loss(COARSE, N_POINTS)
    for rule in RULES:
        slopes[rule] = (MARKED, study.claimed_slopes(MARKED, FINE, rule_by_name(rule)))
    return losses, slopes


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    losses, slopes = measure()
    with style.page(__file__, out_dir, TITLE, height=7.0) as page:
        rows = []
        for quantity, curves in (("loss", losses), ("slope", slopes)):
            for name, curve in curves.items():
                rows += [(quantity, name, *point) for point in zip(*curve, strict=True)]
        page.table(("quantity", "curve", "weight", "value"), rows)
        top, bottom = page.figure.subplots(2, 1, sharex=True)
        _draw_losses(top, losses)
        _draw_tangents(top, slopes)
        _draw_slopes(bottom, slopes)
    return page.path


def _exact(curves: Curves) -> list[tuple[np.ndarray, np.ndarray]]:
    return [curve for name, curve in curves.items() if name.startswith("exact")]


def _draw_losses(axes: style.Axes, losses: Curves) -> None:
    axes.plot(*losses["discrete"], color=style.PURPLE, linewidth=1.3, drawstyle="steps-mid", label="in steps of 1 ms")
    for number, piece in enumerate(_exact(losses)):
        axes.plot(*piece, color=style.BLACK, label=None if number else "exact")
    axes.set_ylabel("loss $L$ (1/ms)")
    axes.legend(loc="upper left", ncols=2)
    style.panel_label(axes, "loss; short lines: slopes as claimed by the released and the consistent rule")


def _draw_tangents(axes: style.Axes, slopes: Curves) -> None:
    """Draw what two rules claim as short lines through the exact loss."""
    for weight in TANGENTS:
        loss = study.network_with(weight).exact.loss
        ends = np.array([-HALF_TANGENT, HALF_TANGENT])
        for rule in ("released", "consistent"):
            slope = np.interp(weight, *slopes[rule])
            axes.plot(weight + ends, loss + slope * ends, color=style.RULE_COLOURS[rule], linewidth=2.6)


def _draw_slopes(axes: style.Axes, slopes: Curves) -> None:
    axes.axhline(0.0, color=style.GREY, linewidth=0.8)
    for number, piece in enumerate(_exact(slopes)):
        axes.plot(*piece, color=style.BLACK, label=None if number else "exact")
    for rule in RULES:
        axes.plot(*slopes[rule], MARKERS[rule], color=style.RULE_COLOURS[rule], label=rule)
    axes.set_yscale("symlog", linthresh=LINEAR_SLOPE)
    axes.set_ylim(-STEEPEST, STEEPEST)
    axes.set_yticks([-0.1, -0.02, 0.0, 0.02, 0.1, 1.0], ["−0.1", "−0.02", "0", "0.02", "0.1", "1"])
    axes.set_ylabel(r"slope $\partial L / \partial w$")
    axes.set_xlabel("one weight $w$ of the first of two layers")
    axes.legend(loc="lower left", ncols=5, columnspacing=1.2)
    style.panel_label(axes, f"its slope, exact and as claimed in steps of {FINE:g} ms (linear up to ±{LINEAR_SLOPE:g})")

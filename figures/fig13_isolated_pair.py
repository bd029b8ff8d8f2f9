"""The isolated pair: how the loss depends on one spike's time, exactly, and what each rule claims it to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from figures import style
from studies import isolated_pair as pair

TITLE = (
    "Two spikes alone: only the centred jump says on which side of the desired\n"
    "spike the actual one is; released and literal say the same on both sides"
)
DT = 1.0  # ms
RANGE = 16  # ms, either side
FINE = 0.05  # ms
MARKERS = {"released": "o", "literal": "v", "consistent": "D"}
LABELS = {
    "released": r"released, $/\,\tau_s$",
    "literal": "literal",
    "consistent": "consistent",
}


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    fine = np.concatenate([np.arange(-RANGE, 0.0, FINE), np.arange(FINE, RANGE + FINE, FINE)])
    loss, derivative = pair.exact_curve(fine)
    steps = np.arange(-RANGE, RANGE + 1.0, DT)
    discrete_loss = [pair.discrete_loss(step, DT) for step in steps]
    claims = {rule: [pair.claimed_derivative(step, DT, rule) for step in steps] for rule in pair.RULES}
    with style.page(__file__, out_dir, TITLE, height=6.0) as page:
        rows = [("exact loss", *point) for point in zip(fine, loss, strict=True)]
        rows += [("discrete loss", *point) for point in zip(steps, discrete_loss, strict=True)]
        rows += [("exact dL/dt", *point) for point in zip(fine, derivative, strict=True)]
        rows += [(f"{rule} dL/dt", *point) for rule in claims for point in zip(steps, claims[rule], strict=True)]
        page.table(("curve", "difference_ms", "value"), rows)
        top, bottom = page.figure.subplots(2, 1, sharex=True, height_ratios=(1.0, 2.0))
        top.plot(fine, loss, color=style.BLACK, label="exact")
        top.plot(steps, discrete_loss, "o", color=style.GREY, markersize=3.5, label="in steps of 1 ms")
        top.set_ylabel("loss $L$ (1/ms)")
        top.set_ylim(0.0, None)
        top.legend(loc="lower right")
        before = fine < 0.0
        bottom.axhline(0.0, color=style.GREY, linewidth=0.8)
        bottom.plot(fine[before], derivative[before], color=style.BLACK, label="exact")
        bottom.plot(fine[~before], derivative[~before], color=style.BLACK)
        for rule, values in claims.items():
            bottom.plot(
                steps, values, MARKERS[rule], color=style.RULE_COLOURS[rule], label=LABELS[rule], markersize=4.5
            )
        bottom.legend(loc="upper left", bbox_to_anchor=(0.0, 0.9))
        bottom.set_ylabel(r"$\partial L / \partial t$ of the actual spike (1/ms$^2$)")
        bottom.set_xlabel(rf"actual minus desired spike time (ms), $\tau_s$ = {pair.TAU_S:g} ms")
        bottom.set_xlim(-RANGE - 0.5, RANGE + 0.5)
    return page.path

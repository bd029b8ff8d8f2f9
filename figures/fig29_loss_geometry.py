"""How far each of the 32 spike trains of 5 steps is from the target of the kernel loss, filtered twice and once."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from figures import style
from tsslbp_ref.model import losses

NEURON = tr.NeuronParameters(tau_s=3.0)
N_STEPS = 5
DESIRED = losses.desired_train_released(N_STEPS)
PAPER = losses.desired_train_paper(N_STEPS)
NOTES_END, SILENCE_END = 0.8, 0.74  # right ends of the remarks, on the axis of the loss
LEGEND_RANK = 7.5
TWICE, ONCE = style.BLUE, style.ORANGE  # the colours of the two targets


def measure() -> dict[str, np.ndarray]:
    """Return all trains (32, T), nearest to the released target first, and their losses under both targets."""
    trains = np.array(list(itertools.product((0.0, 1.0), repeat=N_STEPS)))
    psc = [tr.psc_filter(train, NEURON)[:, None, None] for train in trains]
    twice = np.array([losses.value_and_gradient("kernel", a, [0], NEURON)[0] for a in psc])
    desired = DESIRED[:, None, None]
    once = np.array([losses.value_and_gradient("spike-train", a, desired, NEURON)[0] for a in psc])
    order = np.argsort(twice)
    return {"trains": trains[order], "twice": twice[order], "once": once[order]}


def name(train: np.ndarray) -> str:
    """A train as the text prints it."""
    return ",".join(f"{spike:g}" for spike in train)


def rank_of(train: np.ndarray, trains: np.ndarray) -> int:
    """Row of a train, counted from 1."""
    return int(np.flatnonzero((trains == train).all(axis=1))[0]) + 1


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    data = measure()
    trains, ranks = data["trains"], np.arange(len(data["trains"])) + 1
    desired = rank_of(DESIRED, trains)
    title = (
        f"The target is {name(DESIRED)} filtered twice: {name(trains[0])} comes nearest,\n"
        f"and {desired - 1} of the {len(trains)} trains come nearer than {name(DESIRED)} itself"
    )
    with style.page(__file__, out_dir, title, height=7.6) as page:
        rows = zip(map(name, trains), ranks, data["twice"], data["once"], strict=True)
        page.table(("train", "rank", "loss_filtered_twice", "loss_filtered_once"), rows)
        left, right = page.figure.subplots(1, 2, sharey=True, width_ratios=(1.0, 3.4))
        for ax in (left, right):
            ax.axhspan(desired - 0.5, desired + 0.5, color=style.PALE, linewidth=0)
        row, step = np.nonzero(trains)
        left.plot(step, ranks[row], "s", color=style.SPIKE, markersize=8)
        left.set(xlim=(-0.7, N_STEPS - 0.3), ylim=(len(trains) + 0.6, 0.4), xlabel="time (steps)")
        left.set_ylabel("rank, the nearest first")
        left.set_yticks((1, *range(5, len(trains), 5), len(trains)))
        left.set_xticks(range(N_STEPS))
        style.panel_label(left, "train")
        right.hlines(ranks, 0.0, data["twice"], color=TWICE, linewidth=1.2)
        right.plot(data["twice"], ranks, "o", color=TWICE, label="target filtered twice (released code)")
        right.plot(data["once"], ranks, "D", color=ONCE, markerfacecolor="none", label="target filtered once")
        right.set_xlim(-0.012, NOTES_END + 0.012)
        right.set_xlabel(r"kernel loss $L$ of the train's PSC")
        style.panel_label(right, "its loss")
        right.legend(
            loc="center right", bbox_to_anchor=(NOTES_END, LEGEND_RANK), bbox_transform=right.transData, frameon=True
        )
        for train, text, end in (
            (trains[0], "the nearest of all", NOTES_END),
            (PAPER, "the train that the paper prints", NOTES_END),
            (DESIRED, "the train the target is made of", NOTES_END),
            (np.zeros(N_STEPS), "silence", SILENCE_END),
        ):
            rank = rank_of(train, trains)
            remark = f"{text}: {data['twice'][rank - 1]:.3f}"
            right.text(end, rank, remark, color=TWICE, ha="right", va="center", fontsize=style.SMALL)
    return page.path

"""The work that the chain rule really needs: pairs (t_k, t_m) whose phi is not zero, layer by layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from figures import measured, style

TITLE = "Spikes leave the chain rule few pairs of steps to sum over;\nthe warm-up fills nearly all the others"
BARS = {"pairs_chain_rule": "chain rule alone", "pairs_with_warmup": "with the warm-up"}
COLOURS = {"pairs_chain_rule": style.BLUE, "pairs_with_warmup": style.ORANGE}
CAUSAL, ALL = "pairs_causal", "pairs_all"
PERCENT = 100.0
BAR = 0.36  # height; two of them in a row
ROOM_FOR_NUMBER = 7.0  # percent of the axis


def measure() -> list[measured.LayerRow]:
    """Return the layers with their pairs a neuron and sample, mean over the runs."""
    return measured.layer_rows(measured.table("firing-sparsity.csv"), (*BARS, CAUSAL, ALL))


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    layers = measure()
    columns = (*BARS, CAUSAL, ALL)
    with style.page(__file__, out_dir, TITLE, height=measured.page_height(layers)) as page:
        page.table(
            ("experiment", "layer", "name", *columns),
            ((row.experiment, row.layer, row.name, *(row.means[name] for name in columns)) for row in layers),
        )
        ax = page.figure.subplots()
        heights = np.array(measured.draw_layer_rows(ax, layers))
        causal = [PERCENT * row.means[CAUSAL] / row.means[ALL] for row in layers]
        for index, (name, label) in enumerate(BARS.items()):
            share = np.array([PERCENT * row.means[name] / row.means[ALL] for row in layers])
            y = heights + (index - 0.5) * BAR
            ax.barh(y, share, height=BAR, color=COLOURS[name], label=label)
            for at, value, half in zip(y, share, causal, strict=True):
                beside = half if value > half - ROOM_FOR_NUMBER else value  # a number must not cross the line
                ax.text(beside + 0.7, at, f"{value:.1f} %", va="center", fontsize=style.SMALL - 1)
        ax.vlines(causal, heights - BAR, heights + BAR, color=style.BLACK, label="causal half, T(T+1)/2")
        ax.set_xlim(0.0, PERCENT)
        ax.set_xlabel(r"pairs $(t_k, t_m)$ with $\varphi \neq 0$ (% of $T^2$; mean of a neuron and test sample)")
        page.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return page.path

"""One static picture goes through a network with its initial weights: what every neuron does at every step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import CenteredNorm, LinearSegmentedColormap, Normalize

import tsslbp_ref as tr
from figures import style

TITLE = (
    "A picture shown at every step goes through a network: each deeper layer\n"
    "starts to fire later, and fires more rarely; the summed PSC decides"
)
NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=1.0)
SPEC = "24-24"
N_CLASSES = 10
N_STEPS = 10
SEED = 3  # of the initial weights
SIDE = 8  # pixels
LAYERS = ("hidden layer 1", "hidden layer 2", "output layer")
PSC_MAP = LinearSegmentedColormap.from_list("psc", ("#FFFFFF", style.PSC))


def picture() -> np.ndarray:
    """A made picture (1, 1, SIDE, SIDE): a ring, normalised to mean 0 and standard deviation 1."""
    row, col = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    pixels = np.exp(-((np.hypot(row, col) - 2.5) ** 2))
    return ((pixels - pixels.mean()) / pixels.std())[None, None]


def measure(seed: int = SEED) -> tuple[np.ndarray, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Run the network; return the input PSC (T, pixels), and spikes and PSC, each (T, neurons), by layer."""
    x = picture()
    net = tr.Network.from_spec(SPEC, x.shape[1:], N_CLASSES, N_STEPS, NEURON, seed=seed, dtype="float64", n_threads=1)
    a = tr.psc_filter(np.repeat(x.reshape(1, 1, -1), N_STEPS, axis=0), NEURON)
    input_psc = a[:, 0]
    layers = {}
    for name, W in zip(LAYERS, net.weights, strict=True):
        trace = tr.lif_forward(a @ W.T, NEURON)
        a = trace.a
        layers[name] = (trace.s[:, 0], trace.a[:, 0])
    return input_psc, layers


def _cells(signal: np.ndarray) -> list[tuple[int, int]]:
    return [(t, i) for t in range(signal.shape[0]) for i in range(signal.shape[1])]


def _label(name: str, s: np.ndarray) -> str:
    """What a layer does, in a line: the first step with a spike, and the number of spikes a neuron."""
    first, a_neuron = np.flatnonzero(s.any(axis=1))[0], s.sum() / s.shape[1]
    return f"{name}: first spike at step {first}, {a_neuron:.1f} spikes a neuron"


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    input_psc, layers = measure()
    with style.page(__file__, out_dir, TITLE, height=7.6) as page:
        rows = [("input", t, i, "", input_psc[t, i]) for t, i in _cells(input_psc)]
        rows += [(name, t, i, s[t, i], a[t, i]) for name, (s, a) in layers.items() for t, i in _cells(s)]
        page.table(("layer", "t", "neuron", "s", "a"), rows)
        axes = page.figure.subplot_mosaic(
            [["input", "picture"], [LAYERS[0], "scale"], [LAYERS[1], "scale"], [LAYERS[2], "sum"]],
            width_ratios=(3.4, 1.0),
            height_ratios=(1.3, 1.5, 1.5, 0.9),
        )
        _draw_input(page, axes["input"], axes["picture"], input_psc)
        norm = Normalize(0.0, 1.0)
        for name, (s, a) in layers.items():
            image = axes[name].imshow(a.T, cmap=PSC_MAP, norm=norm, origin="lower", aspect="auto")
            axes[name].plot(*np.nonzero(s), "s", color=style.SPIKE, markersize=3.0)
            style.panel_label(axes[name], _label(name, s))
            axes[name].set_ylabel("neuron")
            axes[name].set_yticks(range(0, s.shape[1], 5))
        for name in ("input", *LAYERS):
            axes[name].set_xticks(range(N_STEPS))
            axes[name].tick_params(labelbottom=name == LAYERS[-1])
        page.figure.align_ylabels([axes[name] for name in ("input", *LAYERS)])
        axes[LAYERS[-1]].set_xlabel("time (steps)")
        axes["scale"].axis("off")
        bar = page.figure.colorbar(image, cax=axes["scale"].inset_axes((0.1, 0.25, 0.12, 0.6)))
        bar.set_label("PSC $a$ of a neuron")
        axes["scale"].text(0.1, 0.12, "■ spike", color=style.SPIKE, fontsize=style.SMALL, va="center")
        _draw_sum(axes["sum"], layers[LAYERS[-1]][1].sum(axis=0))
    return page.path


def _draw_input(page: style.Page, wide: style.Axes, small: style.Axes, input_psc: np.ndarray) -> None:
    """Draw the PSC of every pixel beside the picture, in one scale."""
    norm = CenteredNorm(halfrange=float(np.abs(picture()).max()))
    wide.imshow(input_psc.T, cmap=style.DIVERGING_MAP, norm=norm, aspect="auto")
    wide.set_ylabel("pixel")
    wide.set_yticks(range(0, input_psc.shape[1], 20))
    style.panel_label(wide, "input PSC: the picture times a gain that builds up")
    image = small.imshow(picture()[0, 0], cmap=style.DIVERGING_MAP, norm=norm)
    small.axis("off")
    style.panel_label(small, "the picture")
    bar = page.figure.colorbar(image, cax=small.inset_axes((1.1, 0.0, 0.1, 1.0)))
    bar.set_label("pixel value (std)")


def _draw_sum(axes: style.Axes, summed: np.ndarray) -> None:
    """Draw the summed PSC of every output neuron; the largest is the answer."""
    winner = int(summed.argmax())
    axes.barh(range(len(summed)), summed, color=[style.PSC if i == winner else style.GREY for i in range(len(summed))])
    axes.set_ylim(-0.5, len(summed) - 0.5)
    axes.set_yticks(range(0, len(summed), 5))
    axes.set_xlim(0.0, 1.1 * summed[winner])
    axes.set_xlabel(r"summed PSC $\Sigma_t\, a[t]$")
    style.panel_label(axes, f"the answer: class {winner}")

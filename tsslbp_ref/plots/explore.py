"""`tsslbp-ref explore`: a window in which a neuron's input, weight and constants move, and its spikes and phi follow.

It imports matplotlib, as only `curves` does beside it; the command line loads it when it is asked for.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.widgets import Slider

from tsslbp_ref import checks
from tsslbp_ref.model import reference, terms
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, rule_by_name
from tsslbp_ref.plots import palette

Array = npt.NDArray[np.float64]

N_STEPS = 40
FIRST_INPUT_SPIKES = (3, 5, 8, 20)
FIRST_WEIGHT = 2.0
SIZE = (11.5, 7.5)  # inches
SMALLEST_PHI = 1e-3  # of the colour scale, so that a neuron without any phi has one, too


@dataclass(frozen=True)
class Setting:
    """What the sliders say: times of the input spikes (steps), their weight, and the neuron."""

    input_spikes: tuple[int, ...] = FIRST_INPUT_SPIKES
    weight: float = FIRST_WEIGHT
    neuron: NeuronParameters = field(default_factory=NeuronParameters)


@dataclass(frozen=True)
class Response:
    """What the neuron does: input PSC, membrane before and after the reset, spikes, PSC, each (T,), and phi (T, T)."""

    input_psc: Array
    u: Array
    v: Array
    s: Array
    a: Array
    phi: Array


def respond(setting: Setting, rule: GradientRule) -> Response:
    """I[t] = w a_in[t], then `reference.lif_forward` and `reference.dependency_matrix` of that one neuron.

    Raises
    ------
    ValueError, TypeError
        If an input spike lies outside 0 .. 39, or the weight is not finite.
    """
    train = np.zeros(N_STEPS)
    for step in setting.input_spikes:
        if checks.positive_integer("input spike", step, minimum=0) >= N_STEPS:
            raise ValueError(f"input spike must be at most {N_STEPS - 1}, got {step}")
        train[step] += 1.0  # two spikes in one step count twice
    a_in = reference.psc_filter(train, setting.neuron)
    I = checks.real_number("weight", setting.weight) * a_in
    trace = reference.lif_forward(I[:, np.newaxis, np.newaxis], setting.neuron)
    u, s, a = (signal[:, 0, 0] for signal in (trace.u, trace.s, trace.a))
    v = np.asarray(terms.membrane_after_reset(u, s))  # type: ignore[arg-type] # a whole array at once
    phi = reference.dependency_matrix(trace, setting.neuron, rule)[:, :, 0, 0]
    return Response(a_in, u, v, s, a, phi)


class Explorer:
    """The plots and the sliders of one neuron, in any figure.

    Parameters
    ----------
    figure : Figure
        Drawn into; with or without a window.
    rule : GradientRule, optional
        Of phi; the released one if not given.

    Attributes
    ----------
    sliders : dict of str to Slider
        "input spike 1" to "input spike 4", "weight", "tau_m", "tau_s", "threshold".
    lines : dict of str to Line2D
        "input PSC", "membrane", "threshold", "spikes", "output PSC".
    phi : AxesImage
        Row t_k, column t_m.
    """

    def __init__(self, figure: Figure, rule: GradientRule | None = None) -> None:
        self.figure = figure
        self.rule = rule or GradientRule()
        self.setting = Setting()
        self._draw(figure.subplot_mosaic([["psc", "phi"], ["u", "phi"], ["s", "phi"]], height_ratios=(1, 1.6, 0.35)))
        figure.subplots_adjust(left=0.08, right=0.94, top=0.94, bottom=0.32, wspace=0.18, hspace=0.18)
        self.sliders = self._make_sliders()
        self._show()

    def _draw(self, axes: dict[str, Axes]) -> None:
        """Make all lines once, without data; `_show` gives them their numbers."""
        steps = np.arange(N_STEPS)
        twice = np.repeat(steps, 2)  # the membrane before and after the reset of every step
        nothing = np.zeros(N_STEPS)
        (input_psc,) = axes["psc"].plot(steps, nothing, "--", color=palette.PSC, label="input PSC")
        (output_psc,) = axes["psc"].plot(steps, nothing, ".-", color=palette.PSC, label="output PSC $a$")
        (membrane,) = axes["u"].plot(twice, np.repeat(nothing, 2), color=palette.MEMBRANE, label="membrane $u$, $v$")
        (threshold,) = axes["u"].plot([0, N_STEPS - 1], [0, 0], "--", color=palette.THRESHOLD, label="threshold $V$")
        (spikes,) = axes["s"].plot([], [], "|", color=palette.SPIKE, markersize=16, markeredgewidth=2.2)
        self.lines = dict(
            zip(
                ("input PSC", "output PSC", "membrane", "threshold", "spikes"),
                (input_psc, output_psc, membrane, threshold, spikes),
                strict=True,
            )
        )
        for name, label in (("psc", "PSC"), ("u", "membrane"), ("s", "spikes")):
            axes[name].set(ylabel=label, xlim=(-0.5, N_STEPS - 0.5))
            axes[name].tick_params(labelbottom=name == "s")
        axes["s"].set(xlabel="time (steps)", ylim=(0.0, 2.0), yticks=[])
        for name in ("psc", "u"):
            axes[name].legend(loc="upper right", frameon=False)
        self.phi = axes["phi"].imshow(np.zeros((N_STEPS, N_STEPS)), cmap=palette.DIVERGING_MAP, norm=TwoSlopeNorm(0.0))
        axes["phi"].set(title=r"$\phi(t_k, t_m)$", xlabel="$t_m$, moved (steps)", ylabel="$t_k$, read (steps)")
        self.figure.colorbar(self.phi, ax=axes["phi"], shrink=0.7)

    def _make_sliders(self) -> dict[str, Slider]:
        """Two columns of sliders: when the input spikes, and the constants."""
        first = self.setting
        last = N_STEPS - 1
        spikes: list[tuple[str, float, float, float, float | None]] = [
            (f"input spike {number}", 0, last, step, 1.0) for number, step in enumerate(first.input_spikes, start=1)
        ]
        constants: list[tuple[str, float, float, float, float | None]] = [
            ("weight", -2.0, 8.0, first.weight, None),
            ("tau_m", 1.0, 20.0, first.neuron.tau_m, None),
            ("tau_s", 1.0, 20.0, first.neuron.tau_s, None),
            ("threshold", 0.1, 3.0, first.neuron.threshold, None),
        ]
        sliders = {}
        for left, column in ((0.12, spikes), (0.57, constants)):
            for row, (name, low, high, value, step) in enumerate(column):
                axes = self.figure.add_axes((left, 0.19 - 0.045 * row, 0.33, 0.03))
                sliders[name] = Slider(axes, name, low, high, valinit=value, valstep=step)
                sliders[name].drawon = False  # it would draw before the lines have moved
                sliders[name].on_changed(lambda _: self._update())
        return sliders

    def _update(self) -> None:
        """Read all sliders and show the neuron that they describe."""
        value = {name: float(slider.val) for name, slider in self.sliders.items()}
        constants = {name: value[name] for name in ("tau_m", "tau_s", "threshold")}
        times = tuple(int(value[name]) for name in value if name.startswith("input spike"))
        self.setting = Setting(times, value["weight"], NeuronParameters(**constants))
        self._show()

    def _show(self) -> None:
        """Put the response's numbers into the plots."""
        response = respond(self.setting, self.rule)
        spike_times = np.flatnonzero(response.s)
        self.lines["input PSC"].set_ydata(response.input_psc)
        self.lines["output PSC"].set_ydata(response.a)
        self.lines["membrane"].set_ydata(np.column_stack([response.u, response.v]).ravel())
        self.lines["threshold"].set_ydata([self.setting.neuron.threshold] * 2)
        self.lines["spikes"].set_data(spike_times, np.ones(len(spike_times)))
        largest = max(float(np.abs(response.phi).max()), SMALLEST_PHI)
        self.phi.set_data(response.phi)
        self.phi.set_clim(-largest, largest)
        for name in ("input PSC", "membrane"):
            axes = self.lines[name].axes
            assert axes is not None
            axes.relim()
            axes.autoscale_view(scalex=False)
        self.figure.canvas.draw_idle()


def main(options: argparse.Namespace) -> int:
    """Open the window and wait until it is closed; `options.rule` is the name of the gradient rule.

    Raises
    ------
    ValueError
        If the rule's name is unknown (the error lists the known ones).
    OSError
        If there is no display.
    """
    rule = rule_by_name(options.rule)
    figure = plt.figure("tsslbp-ref explore", figsize=SIZE)
    refuse_without_window(figure)
    explorer = Explorer(figure, rule)
    plt.show()
    del explorer  # a slider lives only as long as something holds it: until the window is closed
    plt.close(figure)
    return 0


def refuse_without_window(figure: Figure) -> None:
    """Raise ``OSError`` if matplotlib has found no way to show this figure in a window."""
    manager: Any = figure.canvas.manager
    # A backend that opens windows has a main loop of its own; where none can be used, matplotlib falls back to one
    # that only writes files, without a word.
    if type(manager).start_main_loop.__func__ is FigureManagerBase.start_main_loop.__func__:  # type: ignore[attr-defined]
        plt.close(figure)
        raise OSError(f"explore needs a display to open its window; matplotlib found only {plt.get_backend()}")

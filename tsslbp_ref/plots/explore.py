"""`tsslbp-ref explore`: a neuron's input, weight and constants move, and its spikes and phi follow.

In a window, in a picture (`--save`), or in a page that a browser shows without a network (`--html`): explore.html has
the mathematics once more, in JavaScript, and docs/test_explore_page.py holds it equal to this module's.
"""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureManagerBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.widgets import Slider

from tsslbp_ref import checks
from tsslbp_ref.files import write_atomically
from tsslbp_ref.model import reference, terms
from tsslbp_ref.model.parameters import GradientRule, NeuronParameters, named_rules, rule_by_name
from tsslbp_ref.plots import palette
from tsslbp_ref.plots.shared import picture_format

Array = npt.NDArray[np.float64]

N_STEPS = 40
FIRST_INPUT_SPIKES = (3, 5, 8, 20)
FIRST_WEIGHT = 2.0
N_INPUT_SPIKES = len(FIRST_INPUT_SPIKES)
FINE = 0.01  # of a slider that moves in no whole steps
SIZE, PICTURE_SIZE, DPI = (11.5, 7.5), (11.5, 5.6), 120  # inches, and dots an inch
SMALLEST_PHI = 1e-3  # of the colour scale, so that a neuron without any phi has one, too


@dataclass(frozen=True)
class Setting:
    """What the sliders say: times of the input spikes (steps), their weight, and the neuron."""

    input_spikes: tuple[int, ...] = FIRST_INPUT_SPIKES
    weight: float = FIRST_WEIGHT
    neuron: NeuronParameters = field(default_factory=NeuronParameters)


@dataclass(frozen=True)
class Scale:
    """A slider: what it sets, from where to where, in which steps, and where it stands at first."""

    name: str
    low: float
    high: float
    step: float
    value: float


def scales(setting: Setting) -> list[Scale]:
    """The sliders of a setting: its input spikes, then the weight and the constants.

    Raises
    ------
    ValueError, TypeError
        If there are not four input spikes, or a value lies outside its slider.
    """
    if len(setting.input_spikes) != N_INPUT_SPIKES:
        raise ValueError(f"input spikes must be {N_INPUT_SPIKES} steps, got {len(setting.input_spikes)}")
    neuron, last = setting.neuron, N_STEPS - 1
    spikes = [Scale(f"input spike {i}", 0, last, 1, step) for i, step in enumerate(setting.input_spikes, start=1)]
    constants = [
        Scale("weight", -2.0, 8.0, FINE, setting.weight),
        Scale("tau_m", 1.0, 20.0, FINE, neuron.tau_m),
        Scale("tau_s", 1.0, 20.0, FINE, neuron.tau_s),
        Scale("threshold", 0.1, 3.0, FINE, neuron.threshold),
    ]
    for scale in (*spikes, *constants):
        value = checks.real_number(scale.name, scale.value)
        if not scale.low <= value <= scale.high:
            raise ValueError(f"{scale.name} must lie in {scale.low:g} .. {scale.high:g}, got {value:g}")
    return [*spikes, *constants]


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
    setting : Setting, optional
        Where the sliders stand at first.

    Attributes
    ----------
    sliders : dict of str to Slider
        "input spike 1" to "input spike 4", "weight", "tau_m", "tau_s", "threshold".
    lines : dict of str to Line2D
        "input PSC", "membrane", "threshold", "spikes", "output PSC".
    phi : AxesImage
        Row t_k, column t_m.
    """

    def __init__(self, figure: Figure, rule: GradientRule | None = None, setting: Setting | None = None) -> None:
        self.figure = figure
        self.rule = rule or GradientRule()
        self.setting = setting or Setting()
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
        self.phi = axes["phi"].imshow(
            np.zeros((N_STEPS, N_STEPS)), cmap=palette.DIVERGING_MAP, norm=TwoSlopeNorm(0.0), origin="lower"
        )
        axes["phi"].set(title=r"$\phi(t_k, t_m)$", xlabel="$t_m$, moved (steps)", ylabel="$t_k$, read (steps)")
        self.figure.colorbar(self.phi, ax=axes["phi"], shrink=0.7)

    def _make_sliders(self) -> dict[str, Slider]:
        """Two columns of sliders: when the input spikes, and the constants."""
        sliders = {}
        for number, scale in enumerate(scales(self.setting)):
            left, row = (0.12, 0.57)[number // N_INPUT_SPIKES], number % N_INPUT_SPIKES
            axes = self.figure.add_axes((left, 0.19 - 0.045 * row, 0.33, 0.03))
            slider = Slider(axes, scale.name, scale.low, scale.high, valinit=scale.value, valstep=scale.step)
            slider.drawon = False  # it would draw before the lines have moved
            slider.on_changed(lambda _: self._update())
            sliders[scale.name] = slider
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


def main(rule: str, setting: Setting | None = None) -> int:
    """Open the window and wait until it is closed.

    Raises
    ------
    ValueError
        If the rule's name is unknown (the error lists the known ones).
    OSError
        If there is no display.
    """
    known = rule_by_name(rule)
    figure = plt.figure("tsslbp-ref explore", figsize=SIZE)
    refuse_without_window(figure)
    explorer = Explorer(figure, known, setting)
    plt.show()
    del explorer  # a slider lives only as long as something holds it: until the window is closed
    plt.close(figure)
    return 0


def write_picture(path: Path, rule: str, setting: Setting) -> None:
    """Draw what the window would show, without its sliders, into a file; it needs no display.

    Raises
    ------
    ValueError
        If the rule's name is unknown, or the file's name ends in no format that can be written.
    OSError
        If the file cannot be written; what was there stays.
    """
    form = picture_format("--save", path)
    figure = Figure(figsize=PICTURE_SIZE)
    FigureCanvasAgg(figure)
    explorer = Explorer(figure, rule_by_name(rule), setting)
    for slider in explorer.sliders.values():
        slider.ax.remove()
    figure.subplots_adjust(bottom=0.1, top=0.85)
    figure.suptitle(_described(rule, setting), x=0.08, ha="left", fontsize=11)
    content = io.BytesIO()
    figure.savefig(content, format=form, dpi=DPI)
    write_atomically(path, content.getvalue())


def _described(rule: str, setting: Setting) -> str:
    """What the sliders would say, in two lines."""
    neuron, times = setting.neuron, ", ".join(map(str, setting.input_spikes))
    constants = f"tau_m {neuron.tau_m:g}, tau_s {neuron.tau_s:g}, threshold {neuron.threshold:g}"
    return f"input spikes in the steps {times}, with a weight of {setting.weight:g}\n{constants}; rule: {rule}"


def write_page(path: Path, rule: str, setting: Setting) -> None:
    """Write a page with the same sliders, which needs a browser only: no network, no Python.

    Raises
    ------
    ValueError
        If the rule's name is unknown, or a value lies outside its slider.
    OSError
        If the file cannot be written; what was there stays.
    """
    rule_by_name(rule)
    page = {
        "steps": N_STEPS,
        "rule": rule,
        "rules": {name: asdict(known) for name, known in named_rules().items()},
        "sliders": [asdict(scale) for scale in scales(setting)],
        "colours": {
            "black": palette.BLACK,
            "membrane": palette.MEMBRANE,
            "psc": palette.PSC,
            "spike": palette.SPIKE,
            "threshold": palette.THRESHOLD,
        },
    }
    template = resources.files("tsslbp_ref.plots").joinpath("explore.html").read_text(encoding="utf-8")
    # Python writes an infinite clip as Infinity, which is JavaScript's word, too.
    write_atomically(path, template.replace("/*PAGE*/null", json.dumps(page)).encode())


def refuse_without_window(figure: Figure) -> None:
    """Raise ``OSError`` if matplotlib has found no way to show this figure in a window."""
    manager: Any = figure.canvas.manager
    # A backend that opens windows has a main loop of its own; where none can be used, matplotlib falls back to one
    # that only writes files, without a word.
    if type(manager).start_main_loop.__func__ is FigureManagerBase.start_main_loop.__func__:  # type: ignore[attr-defined]
        plt.close(figure)
        found = f"matplotlib found only {plt.get_backend()}"
        raise OSError(f"explore needs a display to open its window, and {found}: --save or --html need none")

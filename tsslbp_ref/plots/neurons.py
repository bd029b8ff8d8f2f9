"""What neurons do, forward and backward, a panel a function: each draws into `ax` and returns it.

Without `ax` a panel has a new figure of pyplot's; `plt.show()` opens it, a notebook shows it below the cell. The
figures of this project are made of these panels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm

from tsslbp_ref import checks
from tsslbp_ref.model import terms
from tsslbp_ref.model.backpropagation import LayerFlow
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.model.trace import Trace
from tsslbp_ref.plots import palette
from tsslbp_ref.plots.shared import end_of_colours, given_or_new, threshold_line

Array = npt.NDArray[Any]

SPIKE_SIZE = 3.0  # points
MARGIN_OF_SPIKES = 1.15  # steps outside phi, where the marks of its spikes stand


def raster(
    spikes: Trace | npt.ArrayLike,
    ax: Axes | None = None,
    *,
    desired: npt.ArrayLike | None = None,
    sample: int = 0,
    **marks: Any,
) -> Axes:
    """Draw a mark for every spike, over steps and neurons; against desired spikes, those too many and those missing.

    Parameters
    ----------
    spikes : Trace, (T, N) array or (T, B, N) array
        A layer's record, or spikes: zeros and ones.
    ax : Axes, optional
        Drawn into; a new figure's, if not given.
    desired : (T, N) array, optional
        Desired spikes: spikes too many are filled red then, missing ones hollow.
    sample : int
        Which of the batch.
    **marks
        Properties of matplotlib's Line2D, such as ``markersize``.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If spikes are no zeros and ones, or shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import tsslbp_ref as tr
    >>> neuron = tr.NeuronParameters(tau_m=5.0, tau_s=3.0)
    >>> trace = tr.lif_forward(np.random.default_rng(0).normal(0.3, 0.5, (30, 1, 8)), neuron)
    >>> ax = tr.plots.raster(trace)
    >>> len(ax.lines[0].get_xdata()) == int(trace.s.sum())
    True
    """
    s = _spikes("spikes", spikes.s if isinstance(spikes, Trace) else spikes, sample)
    wanted = s if desired is None else _spikes("desired", desired, 0)
    checks.same_shape("desired", wanted, s.shape, "the spikes")
    wrong = palette.VERMILLION
    kinds = [(s * wanted, palette.SPIKE, palette.SPIKE)]
    if desired is not None:
        kinds += [(s * (1 - wanted), wrong, wrong), ((1 - s) * wanted, wrong, "none")]
    ax = given_or_new(ax)
    for kind, edge, face in kinds:
        look: dict[str, Any] = {
            "markersize": SPIKE_SIZE,
            "markeredgecolor": edge,
            "markerfacecolor": face,
            "markeredgewidth": 1.0,
        }
        ax.plot(*np.nonzero(kind), "s", **(look | marks))
    ax.set(xlabel="time (steps)", ylabel="neuron", xlim=(-0.8, len(s) - 0.2), ylim=(-0.8, s.shape[1] - 0.2))
    return ax


def membrane(
    trace: Trace, ax: Axes | None = None, *, sample: int = 0, index: int = 0, label: str | None = None, **line: Any
) -> Axes:
    """Draw u[t] and, after it, v[t] = u[t] (1 - s[t]) of a neuron at every step, its spikes and its threshold.

    Parameters
    ----------
    trace : Trace
        A layer's record.
    ax : Axes, optional
        Drawn into; a new figure's, if not given.
    sample, index : int
        Which of the batch, and which neuron of the layer.
    label : str, optional
        Of the line, in a legend.
    **line
        Properties of matplotlib's Line2D, such as ``color``.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If there is no such sample or neuron.

    Examples
    --------
    >>> import numpy as np
    >>> import tsslbp_ref as tr
    >>> trace = tr.lif_forward(np.full((20, 1, 1), 0.3), tr.NeuronParameters(tau_m=5.0, tau_s=3.0))
    >>> ax = tr.plots.membrane(trace)
    >>> [int(t) for t in ax.lines[1].get_xdata()] == np.flatnonzero(trace.s).tolist()
    True
    """
    checks.instance_of("trace", trace, Trace)
    u = _of_neuron("trace.u", trace.u, sample, index)
    s = u > trace.threshold
    t, fired = np.arange(len(u)), np.flatnonzero(s)
    ax = given_or_new(ax)
    look = {"color": palette.MEMBRANE} | line
    ax.plot(np.repeat(t, 2), np.column_stack([u, u * (1.0 - s)]).ravel(), label=label, **look)
    ax.plot(fired, u[fired], "o", color=look["color"], label="fires, and is reset to 0")
    threshold_line(ax, trace.threshold)
    ax.set(xlabel="time (steps)", ylabel="membrane $u$")
    return ax


def psc(signal: Trace | npt.ArrayLike, ax: Axes | None = None, *, sample: int = 0, index: int = 0, **line: Any) -> Axes:
    """Draw the PSC a[t] of a neuron.

    Parameters
    ----------
    signal : Trace, (T,) array or (T, B, N) array
        A layer's record, or a PSC.
    ax : Axes, optional
        Drawn into; a new figure's, if not given.
    sample, index : int
        Which of the batch, and which neuron of the layer.
    **line
        Properties of matplotlib's Line2D, such as ``label``.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If the signal is no PSC, or there is no such sample or neuron.

    Examples
    --------
    >>> import tsslbp_ref as tr
    >>> ax = tr.plots.psc(tr.psc_filter([0.0, 1.0, 0.0, 0.0], tr.NeuronParameters(tau_s=2.0)))
    >>> [float(a) for a in ax.lines[0].get_ydata()]
    [0.0, 0.5, 0.25, 0.125]
    """
    a = checks.finite_array("signal", signal.a if isinstance(signal, Trace) else signal)
    a = a if a.ndim == 1 else _of_neuron("signal", a, sample, index)
    ax = given_or_new(ax)
    ax.plot(np.arange(len(a)), a, ".-", **({"color": palette.PSC} | line))
    ax.set(xlabel="time (steps)", ylabel="PSC $a$")
    return ax


def reset_kernels(
    trace: Trace, neuron: NeuronParameters, ax: Axes | None = None, *, sample: int = 0, index: int = 0, **line: Any
) -> Axes:
    """Draw what each spike of a neuron takes out of its membrane, nu[lag] = -u[t_m] (1 - theta_m)^lag    (C4).

    Parameters
    ----------
    trace : Trace
        A layer's record.
    neuron : NeuronParameters
        Its constants.
    ax : Axes, optional
        Drawn into; a new figure's, if not given.
    sample, index : int
        Which of the batch, and which neuron of the layer.
    **line
        Properties of matplotlib's Line2D, such as ``color``; ``label`` names the first kernel.

    Returns
    -------
    Axes
        A line a spike, from its step on. Their sum is `srm.eta`.

    Raises
    ------
    ValueError, TypeError
        If trace or neuron are none, or there is no such sample or neuron.

    Examples
    --------
    >>> import tsslbp_ref as tr
    >>> neuron = tr.NeuronParameters(tau_m=5.0)
    >>> ax = tr.plots.reset_kernels(tr.lif_forward([[[1.5]], [[0.0]], [[0.0]]], neuron), neuron)
    >>> ax.lines[0].get_ydata().round(3).tolist()
    [-1.5, -1.2, -0.96]
    """
    checks.instance_of("neuron", neuron, NeuronParameters)
    u = _of_neuron("trace", checks.instance_of("trace", trace, Trace).u, sample, index)
    ax = given_or_new(ax)
    look: dict[str, Any] = {"color": palette.PURPLE, "linewidth": 1.6, "marker": "v", "markevery": [0]} | line
    for t_m in np.flatnonzero(u > trace.threshold):
        t = np.arange(t_m, len(u))
        ax.plot(t, [terms.reset_kernel(lag, u[t_m], neuron.theta_m) for lag in t - t_m], **look)
        look.pop("label", None)
    ax.set(xlabel="time (steps)", ylabel=r"reset kernel $\nu$")
    return ax


# ---------------------------------------------------------------------------------------------------------------------
# Backward
# ---------------------------------------------------------------------------------------------------------------------


def phi(
    matrix: npt.ArrayLike,
    ax: Axes | None = None,
    *,
    s: npt.ArrayLike | None = None,
    limit: float | None = None,
) -> Axes:
    """Draw phi(t_k, t_m), or a part of it: row t_k, column t_m, in colours around 0.

    Parameters
    ----------
    matrix : (T, T) array
        Of one neuron: `reference.dependency_matrix` (...)[:, :, sample, neuron].
    ax : Axes, optional
        Drawn into; a new figure's, if not given.
    s : (T,) array, optional
        The neuron's spikes, marked at both edges.
    limit : float, optional
        Where the colours end; the largest size of an entry, if not given. ``ax.images[0]`` is what a colour bar needs.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If the matrix is not square, the spikes do not fit, or the limit is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> import tsslbp_ref as tr
    >>> neuron = tr.NeuronParameters(tau_m=5.0, tau_s=3.0)
    >>> trace = tr.reference.lif_forward(np.full((12, 1, 1), 0.4), neuron)
    >>> phi = tr.reference.dependency_matrix(trace, neuron, tr.GradientRule())[:, :, 0, 0]
    >>> tr.plots.phi(phi, s=trace.s[:, 0, 0]).images[0].get_array().shape
    (12, 12)
    """
    values = checks.finite_array("matrix", matrix, ndim=2)
    T = len(values)
    checks.same_shape("matrix", values, (T, T), "its first axis")
    fired = np.zeros(0) if s is None else np.flatnonzero(_spike_train(s, T))
    norm = CenteredNorm(halfrange=end_of_colours(values, limit))
    ax = given_or_new(ax)
    ax.imshow(values, cmap=palette.DIVERGING_MAP, norm=norm, origin="lower", interpolation="nearest")
    outside = np.full(len(fired), -MARGIN_OF_SPIKES)
    ax.plot(fired, outside, "^", color=palette.SPIKE, clip_on=False)
    ax.plot(outside, fired, ">", color=palette.SPIKE, clip_on=False)
    ax.plot([-0.5, T - 0.5], [-0.5, T - 0.5], color=palette.GREY, linewidth=0.7)
    ax.set(xlim=(-1.7, T - 0.5), ylim=(-1.7, T - 0.5))
    ax.set(xlabel=r"moved: $t_m$ (steps)", ylabel=r"read: $t_k$ (steps)")
    return ax


def gradient_flow(flows: Iterable[LayerFlow], ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the mean of abs(delta) = abs(dL/du) over batch and neurons, by layer and step, on a logarithmic scale.

    Each line is labelled with its layer: ``ax.legend()`` names them.

    Parameters
    ----------
    flows : iterable of LayerFlow
        What `Network.gradient_flow` returns.
    ax : Axes, optional
        Drawn into; a new figure's, if not given.
    **line
        Properties of matplotlib's Line2D, such as ``linewidth``; ``label`` goes before the names of the layers.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError, TypeError
        If there is no layer, or something else than a LayerFlow.

    Examples
    --------
    >>> import numpy as np
    >>> import tsslbp_ref as tr
    >>> net = tr.Network.from_spec("8-6", (5,), n_classes=3, n_steps=10, dtype="float64", n_threads=1)
    >>> ax = tr.plots.gradient_flow(net.gradient_flow(np.ones((2, 5)), [0, 1]))
    >>> [line.get_label() for line in ax.lines]
    ['hidden layer 1', 'hidden layer 2', 'output layer']
    """
    layers = [
        checks.instance_of(f"flows[{i}]", flow, LayerFlow) for i, flow in enumerate(checks.listed("flows", flows))
    ]
    if not layers:
        raise ValueError("flows must hold at least one layer, got none")
    ax = given_or_new(ax)
    before = f"{line.pop('label')}, " if "label" in line else ""
    for number, flow in enumerate(layers, start=1):
        name = "output layer" if number == len(layers) else f"hidden layer {number}"
        look = {"color": palette.CYCLE[(number - 1) % len(palette.CYCLE)], "label": f"{before}{name}"}
        ax.semilogy(np.arange(len(flow.delta)), np.abs(flow.delta).mean(axis=(1, 2)), ".-", **(look | line))
    ax.set(xlabel="time (steps)", ylabel=r"mean $|\delta| = |\partial L / \partial u|$")
    return ax


# ---------------------------------------------------------------------------------------------------------------------
# Arguments
# ---------------------------------------------------------------------------------------------------------------------


def _spikes(name: str, value: npt.ArrayLike, sample: int) -> Array:
    """Return (T, N) spikes of a sample."""
    s = checks.finite_array(name, value)
    if s.ndim == 3:
        s = s[:, _checked_index("sample", sample, s.shape[1])]
    if s.ndim != 2 or 0 in s.shape:
        raise ValueError(f"{name} must be (T, N) or (T, B, N): steps, batch, neurons; got shape {s.shape}")
    if not np.isin(s, (0.0, 1.0)).all():
        raise ValueError(f"{name} must hold zeros and ones, got {s[(s != 0.0) & (s != 1.0)][0]}")
    return s


def _spike_train(s: npt.ArrayLike, T: int) -> Array:
    train = checks.finite_array("s", s, ndim=1)
    checks.same_shape("s", train, (T,), "matrix")
    return train


def _of_neuron(name: str, signal: Array, sample: int, index: int) -> Array:
    """Return (T,) of a (T, B, N) signal."""
    signal = checks.finite_array(name, signal, ndim=3)
    return signal[:, _checked_index("sample", sample, signal.shape[1]), _checked_index("index", index, signal.shape[2])]


def _checked_index(name: str, value: int, length: int) -> int:
    index = checks.positive_integer(name, value, minimum=0)
    if index >= length:
        raise ValueError(f"{name} must be below {length}, got {index}")
    return index

"""The panels: what they draw is what they were given, and what they cannot draw is one line that says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import tsslbp_ref as tr
from tsslbp_ref.plots import palette

NEURON = tr.NeuronParameters(tau_m=5.0, tau_s=3.0)


@pytest.fixture(autouse=True)
def agg() -> Iterator[None]:
    """Whatever backend the machine would choose, the tests open no window and leave no figure."""
    before = matplotlib.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


@pytest.fixture(scope="module")
def trace() -> tr.Trace:
    return tr.lif_forward(np.random.default_rng(1).normal(0.3, 0.5, (25, 2, 6)), NEURON)


PANELS: dict[str, Callable[[tr.Trace, Axes | None], Axes]] = {
    "raster": lambda trace, ax: tr.plots.raster(trace, ax),
    "membrane": lambda trace, ax: tr.plots.membrane(trace, ax),
    "psc": lambda trace, ax: tr.plots.psc(trace, ax),
    "reset_kernels": lambda trace, ax: tr.plots.reset_kernels(trace, NEURON, ax),
    "phi": lambda trace, ax: tr.plots.phi(np.eye(5), ax),
    "gradient_flow": lambda trace, ax: tr.plots.gradient_flow([flow(trace)], ax),
    "learning_curves": lambda trace, ax: tr.plots.learning_curves([1.0, 2.0], ax),
    "confusion_matrix": lambda trace, ax: tr.plots.confusion_matrix(np.eye(3), ax),
    "filters": lambda trace, ax: tr.plots.filters(np.ones((2, 3, 3)), ax),
}


def flow(trace: tr.Trace) -> tr.LayerFlow:
    return tr.LayerFlow(tr.layers.Dense((6,), 6), trace, np.ones_like(trace.u), -2.0 * np.ones_like(trace.u))


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_draws_into_the_axes_that_it_is_given_or_into_a_new_figure(trace: tr.Trace, name: str) -> None:
    ax = Figure().subplots()
    assert PANELS[name](trace, ax) is ax
    assert ax.has_data()
    assert plt.get_fignums() == []
    assert PANELS[name](trace, None).figure.number in plt.get_fignums()
    with pytest.raises(TypeError, match="ax must be a Axes, got str"):
        PANELS[name](trace, "left")


def test_every_panel_is_tested() -> None:
    assert sorted(PANELS) == sorted(tr.plots.__all__)


def test_raster_sets_spikes_too_many_and_missing_ones_apart(trace: tr.Trace) -> None:
    desired = np.roll(trace.s[:, 1], 1, axis=0)
    ax = tr.plots.raster(trace, sample=1, desired=desired)
    right, too_many, missing = (set(zip(*line.get_data(), strict=True)) for line in ax.lines)
    found, wanted = (set(zip(*np.nonzero(s), strict=True)) for s in (trace.s[:, 1], desired))
    assert (right, too_many, missing) == (found & wanted, found - wanted, wanted - found)
    assert [line.get_markerfacecolor() for line in ax.lines] == [palette.SPIKE, palette.VERMILLION, "none"]


def test_membrane_falls_to_zero_at_each_spike_and_psc_is_the_trace(trace: tr.Trace) -> None:
    path, fired, threshold = tr.plots.membrane(trace, sample=1, index=4).lines
    u, s = trace.u[:, 1, 4], trace.s[:, 1, 4]
    np.testing.assert_array_equal(path.get_ydata(), np.column_stack([u, u * (1 - s)]).ravel())
    np.testing.assert_array_equal(fired.get_data(), (np.flatnonzero(s), u[s == 1]))
    assert set(threshold.get_ydata()) == {NEURON.threshold}
    (a,) = tr.plots.psc(trace, sample=1, index=4).lines
    np.testing.assert_array_equal(a.get_ydata(), trace.a[:, 1, 4])


def test_phi_shows_the_matrix_and_gradient_flow_the_mean_size(trace: tr.Trace) -> None:
    phi = tr.reference.dependency_matrix(trace, NEURON, tr.GradientRule())[:, :, 0, 0]
    ax = tr.plots.phi(phi, s=trace.s[:, 0, 0])
    np.testing.assert_array_equal(ax.images[0].get_array(), phi)
    assert ax.images[0].norm.vmax == np.abs(phi).max() == -ax.images[0].norm.vmin
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), np.flatnonzero(trace.s[:, 0, 0]))
    (line,) = tr.plots.gradient_flow([flow(trace)]).lines
    assert set(line.get_ydata()) == {2.0}
    lines = tr.plots.gradient_flow([flow(trace), flow(trace)], label="released").lines
    assert [line.get_label() for line in lines] == ["released, hidden layer 1", "released, output layer"]


def test_each_spike_has_a_reset_kernel_and_their_sum_is_eta(trace: tr.Trace) -> None:
    lines = tr.plots.reset_kernels(trace, NEURON, sample=1, index=4, label="each spike").lines
    fired = np.flatnonzero(trace.s[:, 1, 4])
    assert len(fired) > 1
    assert [line.get_xdata()[0] for line in lines] == fired.tolist()
    assert [line.get_label() for line in lines].count("each spike") == 1
    total = np.zeros(len(trace.s))
    for line in lines:
        total[line.get_xdata()] += line.get_ydata()
    np.testing.assert_allclose(total, tr.srm.eta(trace, NEURON)[:, 1, 4], rtol=1e-12)


def test_learning_curves_show_every_run_or_their_range() -> None:
    runs = [[1.0, 2.0, 3.0], [3.0, 4.0]]
    lines = tr.plots.learning_curves(runs, color="k").lines
    assert [list(line.get_ydata()) for line in lines] == [*runs, [2.0, 3.0]]
    ax = tr.plots.learning_curves(runs, spread="range")
    (band,) = ax.collections
    assert {tuple(point) for point in band.get_paths()[0].vertices} == {(1, 1), (2, 2), (2, 4), (1, 3)}
    assert len(ax.lines) == 1


def test_filters_stand_side_by_side() -> None:
    weights = np.arange(3 * 2 * 2.0).reshape(3, 2, 2)
    mosaic = np.asarray(tr.plots.filters(weights).images[0].get_array().filled(np.nan))
    assert mosaic.shape == (5, 5)
    for number, (y, x) in enumerate([(0, 0), (0, 3), (3, 0)]):
        np.testing.assert_array_equal(mosaic[y : y + 2, x : x + 2], weights[number])
    assert np.isnan(mosaic).sum() == 25 - 12


WRONG = {
    "raster of a membrane": (lambda t: tr.plots.raster(t.u), "spikes must hold zeros and ones, got"),
    "raster of one train": (
        lambda t: tr.plots.raster([0.0, 1.0]),
        r"spikes must be \(T, N\) or \(T, B, N\): steps, batch, neurons; got",
    ),
    "another desired raster": (lambda t: tr.plots.raster(t, desired=np.zeros((3, 3))), "desired must have shape"),
    "sample": (lambda t: tr.plots.raster(t, sample=2), "sample must be below 2, got 2"),
    "neuron": (lambda t: tr.plots.membrane(t, index=6), "index must be below 6, got 6"),
    "no trace": (lambda t: tr.plots.membrane(t.u), "trace must be a Trace, got ndarray"),
    "no record": (lambda t: tr.plots.reset_kernels(t.u, NEURON), "trace must be a Trace, got ndarray"),
    "no constants": (lambda t: tr.plots.reset_kernels(t, 5.0), "neuron must be a NeuronParameters, got float"),
    "layer's PSC": (lambda t: tr.plots.psc(t.a[:, 0]), "signal"),
    "not square": (lambda t: tr.plots.phi(np.zeros((2, 3))), r"matrix must have shape \(2, 2\)"),
    "spikes of another": (lambda t: tr.plots.phi(np.eye(3), s=[1.0]), r"s must have shape \(3,\)"),
    "limit": (lambda t: tr.plots.phi(np.eye(3), limit=0.0), "limit must be"),
    "no layer": (lambda t: tr.plots.gradient_flow([]), "flows must hold at least one layer"),
    "no flow": (lambda t: tr.plots.gradient_flow([t]), r"flows\[0\] must be a LayerFlow, got Trace"),
    "no epoch": (lambda t: tr.plots.learning_curves([]), r"runs\[0\] must not be empty"),
    "words": (lambda t: tr.plots.learning_curves(["a"]), "real numbers"),
    "spread": (lambda t: tr.plots.learning_curves([1.0], spread="rnge"), "did you mean 'range'"),
    "negative count": (lambda t: tr.plots.confusion_matrix([[1, -1], [0, 1]]), "counts must not be negative, got -1"),
    "empty class": (lambda t: tr.plots.confusion_matrix([[0, 0], [0, 1]]), r"every class, got none of \[0\]"),
    "names": (lambda t: tr.plots.confusion_matrix(np.eye(2), classes=("a",)), "classes must be 2 names"),
    "flat weights": (lambda t: tr.plots.filters(np.ones((4, 9))), "weights"),
    "no filter": (lambda t: tr.plots.filters(np.ones((0, 3, 3))), "weights must not be empty"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_one_line_and_leaves_no_figure(trace: tr.Trace, name: str) -> None:
    call, says = WRONG[name]
    with pytest.raises((ValueError, TypeError), match=says) as caught:
        call(trace)
    assert "\n" not in str(caught.value)
    assert plt.get_fignums() == []

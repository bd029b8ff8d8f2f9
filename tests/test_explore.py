"""The explorer, driven without a window: every slider moves what is drawn to the numbers that the package gives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import tsslbp_ref as tr
from tsslbp_ref.cli import main
from tsslbp_ref.plots import explore

ROOT = Path(explore.__file__).parents[2]
MOVES = (
    ("input spike 1", 11.0),
    ("input spike 4", 8.0),
    ("weight", 4.5),
    ("tau_m", 2.5),
    ("tau_s", 7.25),
    ("threshold", 0.5),
)


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> explore.Explorer:
    """A window that draws where a test asks for it, and not at every change."""
    figure = Figure(figsize=explore.SIZE, dpi=25)
    monkeypatch.setattr(FigureCanvasAgg(figure), "draw_idle", lambda: None)
    return explore.Explorer(figure)


@pytest.fixture
def agg() -> Iterator[None]:
    """Whatever backend the machine would choose, the test has none that opens windows."""
    before = matplotlib.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(before)


def slider_values(window: explore.Explorer) -> dict[str, float]:
    return {name: float(slider.val) for name, slider in window.sliders.items()}


def expected(window: explore.Explorer) -> tuple[tr.Trace, np.ndarray, np.ndarray]:
    """Trace, input PSC and phi of the neuron that the sliders describe, by the fast loops and unit impulses."""
    value = slider_values(window)
    neuron = tr.NeuronParameters(value["tau_m"], value["tau_s"], value["threshold"])
    times = [int(value[f"input spike {number}"]) for number in (1, 2, 3, 4)]
    train = np.bincount(times, minlength=explore.N_STEPS).astype(float)
    a_in = tr.psc_filter(train, neuron)
    trace = tr.lif_forward((value["weight"] * a_in)[:, None, None], neuron)
    impulses = np.eye(explore.N_STEPS)
    rows = [tr.tsslbp_backward(g[:, None, None], trace, neuron, window.rule)[:, 0, 0] for g in impulses]
    return trace, a_in, np.array(rows)  # g = 1 at t_k only: delta is the row phi(t_k, .)


def assert_shows_the_packages_numbers(window: explore.Explorer) -> None:
    trace, a_in, phi = expected(window)
    u, s, a = (signal[:, 0, 0] for signal in (trace.u, trace.s, trace.a))
    drawn = {name: np.asarray(line.get_ydata(), dtype=float) for name, line in window.lines.items()}
    np.testing.assert_allclose(drawn["input PSC"], a_in, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(drawn["output PSC"], a, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(drawn["membrane"][0::2], u, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(drawn["membrane"][1::2], u * (1 - s), rtol=1e-12, atol=1e-15)
    assert set(drawn["threshold"]) == {slider_values(window)["threshold"]}
    assert list(window.lines["spikes"].get_xdata()) == list(np.flatnonzero(s))
    np.testing.assert_allclose(np.asarray(window.phi.get_array()), phi, rtol=1e-10, atol=1e-13)


def drawn_numbers(window: explore.Explorer) -> bytes:
    parts = [np.asarray(line.get_xydata()).tobytes() for line in window.lines.values()]
    return b"".join([*parts, np.asarray(window.phi.get_array()).tobytes()])


def test_opens_with_a_neuron_that_fires(window: explore.Explorer) -> None:
    assert_shows_the_packages_numbers(window)
    assert len(window.lines["spikes"].get_xdata()) >= 2
    assert np.asarray(window.phi.get_array()).any()


@pytest.mark.parametrize(("name", "value"), MOVES)
def test_a_slider_moves_the_lines(window: explore.Explorer, name: str, value: float) -> None:
    before = drawn_numbers(window)
    window.sliders[name].set_val(value)
    assert drawn_numbers(window) != before
    assert_shows_the_packages_numbers(window)


def test_all_sliders_together_and_back(window: explore.Explorer) -> None:
    before = drawn_numbers(window)
    for name, value in MOVES:
        window.sliders[name].set_val(value)
    assert_shows_the_packages_numbers(window)
    for slider in window.sliders.values():
        slider.reset()
    assert drawn_numbers(window) == before


@pytest.mark.parametrize("end", ["valmin", "valmax"])
def test_the_ends_of_all_sliders_can_be_drawn(window: explore.Explorer, end: str) -> None:
    for slider in window.sliders.values():
        slider.set_val(getattr(slider, end))
    assert_shows_the_packages_numbers(window)
    window.figure.canvas.draw()


def test_a_silent_neuron_without_warm_up_has_no_phi() -> None:
    figure = Figure(dpi=25)
    FigureCanvasAgg(figure)
    window = explore.Explorer(figure, tr.GradientRule(warmup=False))
    window.sliders["weight"].set_val(0.0)
    assert not np.asarray(window.phi.get_array()).any()
    assert window.phi.get_clim() == (-explore.SMALLEST_PHI, explore.SMALLEST_PHI)
    figure.canvas.draw()


def test_a_slider_changes_the_picture(window: explore.Explorer) -> None:
    def picture() -> bytes:
        canvas = window.figure.canvas
        assert isinstance(canvas, FigureCanvasAgg)
        canvas.draw()
        return bytes(canvas.buffer_rgba())

    first = picture()
    assert picture() == first
    window.sliders["threshold"].set_val(0.6)
    assert picture() != first


def test_a_slider_asks_for_one_drawing_of_the_new_numbers(
    window: explore.Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bytes] = []
    monkeypatch.setattr(window.figure.canvas, "draw_idle", lambda: drawn.append(drawn_numbers(window)))
    window.sliders["tau_s"].set_val(6.0)
    assert drawn == [drawn_numbers(window)]


@pytest.mark.parametrize(
    ("spikes", "says"), [((40,), "at most 39, got 40"), ((-1,), "at least 0"), ((1.5,), "integer")]
)
def test_input_spike_outside_the_run(spikes: tuple[int, ...], says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=f"input spike.*{says}"):
        explore.respond(explore.Setting(input_spikes=spikes), tr.GradientRule())


def test_no_display_is_one_line(agg: None) -> None:
    before = plt.get_fignums()
    with pytest.raises(OSError, match=r"^explore needs a display[^\n]*agg: --save or --html need none$"):
        explore.main("released")
    assert plt.get_fignums() == before


def test_unknown_rule_lists_the_known_ones(agg: None) -> None:
    with pytest.raises(ValueError, match=r"unknown rule 'surrogat'.*'surrogate'"):
        explore.main("surrogat")


def test_a_backend_without_its_display_is_one_line() -> None:
    """A forced window backend on a machine without a display: matplotlib's own ImportError, not a traceback of ours."""
    code = (
        "from tsslbp_ref import explore\n"
        "try: explore.main('released')\n"
        "except (OSError, ImportError) as error: print(str(error).count(chr(10)), bool(str(error)))"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"MPLBACKEND": "tkagg"},
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "0 True", found.stderr


def test_a_window_is_shown_until_it_is_closed(agg: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = []
    monkeypatch.setattr(explore, "refuse_without_window", lambda figure: None)
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.get_fignums()))
    assert explore.main("consistent") == 0
    assert len(shown[0]) == 1
    assert plt.get_fignums() == []


# ---------------------------------------------------------------------------------------------------------------------
# Without a window
# ---------------------------------------------------------------------------------------------------------------------


def test_a_picture_needs_no_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    assert main(["explore", "--save", str(tmp_path / "neuron.png"), "--weight", "3"]) == 0
    picture = (tmp_path / "neuron.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert main(["explore", "--save", str(tmp_path / "other.png"), "--weight", "4"]) == 0
    assert (tmp_path / "other.png").read_bytes() != picture
    assert plt.get_fignums() == []


def test_a_page_holds_all_it_needs(tmp_path: Path) -> None:
    """What it computes is held to this package in a browser: docs/test_explore_page.py."""
    path = tmp_path / "neuron.html"
    assert main(["explore", "--html", str(path), "--rule", "literal", "--input-spikes", "1", "2", "30", "39"]) == 0
    text = path.read_text()
    assert re.findall(r"""(?:src|href)=["'](?!data:)|url\(|https?:|@import""", text) == []
    page = json.loads(re.search(r"const PAGE = (\{.*\});", text)[1])
    assert page["rule"] == "literal"
    assert [slider["value"] for slider in page["sliders"]] == [1, 2, 30, 39, 2.0, 5.0, 3.0, 1.0]
    assert set(page["rules"]) == set(tr.named_rules())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--save", "neuron.bmp"], "--save must be a file name that ends in .png"),
        (["--html", "no folder/neuron.html"], "no folder"),
        (["--html", "a.html", "--rule", "literl"], "did you mean 'literal'?"),
        (["--save", "a.png", "--weight", "9"], "weight must lie in -2 .. 8, got 9"),
        (["--save", "a.png", "--input-spikes", "0", "1", "2", "40"], "input spike 4 must lie in 0 .. 39, got 40"),
        (["--html", "a.html", "--tau-m", "nan"], "tau_m"),
    ],
)
def test_wrong_arguments_are_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["explore", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert list(tmp_path.iterdir()) == []

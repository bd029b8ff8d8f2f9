"""The plot of the learning curves: every number of the table, the paper's beside it, and no display needed."""

import os
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from made_data import environment
from matplotlib import image
from matplotlib.colors import to_hex

from tsslbp_ref.plots import curves, palette
from tsslbp_ref.training.experiments import EXPERIMENTS
from tsslbp_ref.training.results import Summary

NAME = "fashion-mnist-400-400"
BEST_ONLY = next(name for name, row in EXPERIMENTS.items() if row.paper.mean is None)


def summary(experiment, variant, runs, part=None):
    paper = EXPERIMENTS[experiment].paper if experiment in EXPERIMENTS else None
    best, final, epochs = [max(run) for run in runs], [run[-1] for run in runs], [len(run) for run in runs]
    return Summary(experiment, variant, best, final, epochs, paper, part, runs)


TABLE = [
    summary(NAME, "literal", [[10.0, 10.5, 9.0]]),
    summary(NAME, "released", [[80.0, 85.0, 89.0], [82.0, 86.0]]),
    summary(NAME, "released", [[60.0, 61.0]], part=(2000, 500)),
    summary(BEST_ONLY, "released", [[50.0] * 40]),
    summary("$my_own^", "_mine", [[70.0]]),
]


@pytest.fixture(scope="module")
def panels():
    return {axes.get_title(): axes for axes in curves.draw(TABLE).axes if axes.axison}


def labelled(axes):
    """The lines of the legend, by their labels."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def test_every_experiment_has_a_panel_with_axes_that_say_what_they_show(panels):
    assert set(panels) == {NAME, BEST_ONLY, "$my_own^"}
    for axes in panels.values():
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "test accuracy (%)")
        assert all(tick == int(tick) for tick in axes.get_xticks())
        shown = [text.get_text() for text in axes.get_legend().get_texts()]
        assert shown == list(labelled(axes)) != []


def test_each_seed_is_drawn_and_their_mean_as_far_as_all_have_come(panels):
    lines = [line.get_xydata().tolist() for line in panels[NAME].lines]
    assert [[1, 80], [2, 85], [3, 89]] in lines
    assert [[1, 82], [2, 86]] in lines
    found = labelled(panels[NAME])
    assert found["released: mean of 2 seeds"].get_xydata().tolist() == [[1, 81], [2, 85.5]]
    assert found["literal: 1 seed"].get_xydata().tolist() == [[1, 10], [2, 10.5], [3, 9]]
    assert found["released, 2000/500 samples: 1 seed"].get_xydata().tolist() == [[1, 60], [2, 61]]


def test_the_papers_number_is_a_dashed_line_where_there_is_one(panels):
    line = labelled(panels[NAME])["paper, mean of best epochs: 89.75 %"]
    np.testing.assert_array_equal(line.get_ydata(), 89.75)
    assert line.is_dashed()
    line = labelled(panels[BEST_ONLY])["paper, best run: 91.41 %"]
    np.testing.assert_array_equal(line.get_ydata(), 91.41)
    assert len(panels["$my_own^"].lines) == 1


def test_a_rule_has_one_colour_everywhere_and_no_two_curves_look_alike(panels):
    mine = labelled(panels[NAME])
    colours = [to_hex(line.get_color()).upper() for line in mine.values()]
    assert len(set(colours)) == len(colours)
    assert set(colours[:-1]) <= set(palette.CYCLE)
    other = labelled(panels[BEST_ONLY])["released: 1 seed"]
    assert other.get_color() == mine["released: mean of 2 seeds"].get_color()
    many = [summary(NAME, f"rule{number:02}", [[50.0, 60.0]]) for number in range(20)]
    lines = curves.draw(many).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 20 + 1


def test_a_rule_whose_name_begins_with_an_underscore_is_in_the_legend_too(panels):
    assert list(labelled(panels["$my_own^"])) == ["mine: 1 seed"]


def test_a_single_epoch_is_seen_and_long_curves_have_no_points(panels):
    assert panels["$my_own^"].lines[0].get_marker() == "."
    assert panels[BEST_ONLY].lines[0].get_marker() == ""


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF"),
                                             ("a.svg", b"<?xml")])  # fmt: skip
def test_the_name_says_the_format(tmp_path, name, start):
    curves.write_plot(TABLE, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    assert os.listdir(tmp_path) == [name]


def test_the_png_is_large_enough_to_read_and_the_readers_settings_stay(tmp_path):
    before = dict(matplotlib.rcParams)
    curves.write_plot(TABLE, tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before
    height, width, _ = image.imread(tmp_path / "a.png").shape
    assert (width, height) == (2 * 1024, 2 * 704)


@pytest.mark.parametrize("name", ["a", "a.xyz", "a.pgf", "a.", ".png", "png"])
def test_a_name_of_no_known_format_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"^--plot must be a file name that ends in \.png or \.pdf or \.svg, got "):
        curves.write_plot(TABLE, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_plot_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*file/a\.png"):
        curves.write_plot(TABLE, tmp_path / "file" / "a.png")


def test_no_window_system_is_asked_for(tmp_path):
    code = (
        "import sys, pathlib; from tsslbp_ref import curves, results\n"
        "table = [results.Summary('x', 'y', [1.0], [1.0], [1], None, None, [[1.0]])]\n"
        "curves.write_plot(table, pathlib.Path('a.png'))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    found = subprocess.run(
        # Not what a matplotlib of two years ago and a pyparsing of today say to each other.
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code],
        env=environment(tmp_path) | {"MPLBACKEND": "tkagg", "DISPLAY": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "False\n"
    assert found.stderr == ""

"""The figures: every script is listed, draws the same bytes twice, and leaves its finite numbers beside the picture."""

from __future__ import annotations

import csv
import errno
import math
import os
import re
from pathlib import Path

import numpy as np
import pytest

import figures
import tsslbp_ref as tr
from figures import fig28_network_forward as fig28
from figures import fig29_loss_geometry as fig29
from figures import fig31_spike_patterns as fig31
from figures.__main__ import main

FOLDER = Path(figures.__file__).parent
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
WIDTH_FIELD = slice(16, 20)  # of the PNG's header chunk
FIRST_WORD_OF_TEXT_CHUNKS = (b"tEXt", b"iTXt", b"tIME")
TRAINS_A_NETWORK = "fig05_gradient_flow"
DRAWN_ONCE = (TRAINS_A_NETWORK, "fig14_spike_raster")  # tests of training hold their determinism
FROM_RESULTS = [
    path.stem for path in sorted(FOLDER.glob("fig*.py")) if re.search(r"import .*\bmeasured\b", path.read_text())
]
QUICK = [name for name in figures.FIGURES if name not in DRAWN_ONCE]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All figures, drawn once through the command line."""
    folder = tmp_path_factory.mktemp("figures") / "made" / "on demand"
    assert main(["--out", str(folder)]) == 0
    return folder


def read(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in rows])


def test_every_script_is_listed() -> None:
    assert sorted(path.stem for path in FOLDER.glob("fig*.py")) == list(figures.FIGURES)


def test_every_figure_is_in_the_gallery() -> None:
    gallery = (FOLDER / "README.md").read_text()
    assert re.findall(r"\(out/(\w+)\.png\)", gallery) == list(figures.FIGURES)
    assert re.findall(r"^`python -m figures (\w+)`$", gallery, flags=re.MULTILINE) == list(figures.FIGURES)


@pytest.mark.parametrize("name", FROM_RESULTS)
def test_a_committed_table_is_that_of_the_committed_results(drawn: Path, name: str) -> None:
    assert len(FROM_RESULTS) > 1
    assert (FOLDER / "out" / f"{name}.csv").read_text() == (drawn / f"{name}.csv").read_text()


def test_the_folder_holds_pictures_and_tables_and_nothing_else(drawn: Path) -> None:
    expected = {f"{name}.{kind}" for name in figures.FIGURES for kind in ("png", "csv")}
    assert {path.name for path in drawn.iterdir()} == expected


@pytest.mark.parametrize("name", figures.FIGURES)
def test_picture_is_wide_enough_and_carries_no_date_or_version(drawn: Path, name: str) -> None:
    picture = (drawn / f"{name}.png").read_bytes()
    assert picture.startswith(PNG_SIGNATURE)
    assert int.from_bytes(picture[WIDTH_FIELD], "big") == 1280
    assert not [word for word in FIRST_WORD_OF_TEXT_CHUNKS if word in picture]


@pytest.mark.parametrize("name", figures.FIGURES)
def test_table_has_a_header_and_finite_numbers(drawn: Path, name: str) -> None:
    with (drawn / f"{name}.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert len(set(header)) == len(header) >= 2
    assert len(rows) >= 2
    assert {len(row) for row in rows} == {len(header)}
    numbers = [cell for row in rows for cell in row if _is_number(cell)]
    assert all(math.isfinite(float(cell)) for cell in numbers)
    assert all(_is_number(row[-1]) for row in rows)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", QUICK)
def test_same_bytes_on_every_run(drawn: Path, tmp_path: Path, name: str) -> None:
    figures.render(name, tmp_path)
    for kind in ("png", "csv"):
        assert (tmp_path / f"{name}.{kind}").read_bytes() == (drawn / f"{name}.{kind}").read_bytes()


# ---------------------------------------------------------------------------------------------------------------------
# What the pictures say, held to their numbers
# ---------------------------------------------------------------------------------------------------------------------


def test_fig02_fine_grid_is_the_continuous_kernel(drawn: Path) -> None:
    rows = [row for row in read(drawn, "fig02_psc_kernel") if row["kind"] == "continuous"]
    t, tau_s = column(rows, "t"), 3.0
    np.testing.assert_allclose(column(rows, "epsilon"), np.exp(-t / tau_s) / tau_s, rtol=2e-6)
    np.testing.assert_allclose(column(rows, "d_epsilon_dt"), -np.exp(-t / tau_s) / tau_s**2, rtol=2e-6)


def test_fig03_reset_kernels_make_the_difference(drawn: Path) -> None:
    rows = read(drawn, "fig03_reset_kernel")
    reset = column(rows, "u_without_reset") + column(rows, "sum_of_kernels")
    np.testing.assert_allclose(reset, column(rows, "v"), rtol=0, atol=1e-9)
    assert (column(rows, "u") > 1.0).sum() >= 3


def test_fig05_training_lowers_the_gradient(drawn: Path) -> None:
    rows = read(drawn, TRAINS_A_NETWORK)
    mean = {
        when: column([row for row in rows if row["when"] == when], "mean_abs_delta").mean()
        for when in ("before", "after")
    }
    assert mean["after"] < 0.5 * mean["before"]


def test_fig05_little_gradient_after_the_last_wrong_spike(drawn: Path) -> None:
    rows = [row for row in read(drawn, TRAINS_A_NETWORK) if row["when"] == "after"]
    t, delta = column(rows, "t"), column(rows, "mean_abs_delta")
    last_wrong = t[column(rows, "wrong_output_neurons") > 0].max()
    assert last_wrong < t.max()
    assert delta[t > last_wrong].mean() < 0.2 * delta[t <= last_wrong].mean()


def test_fig06_lift_over_slope_is_the_shift(drawn: Path) -> None:
    rows = read(drawn, "fig06_firing_time_derivative")
    line, lifted = (
        [(float(row["x"]), float(row["y"])) for row in rows if row["curve"] == curve]
        for curve in ("membrane", "lifted membrane")
    )
    lift, slope = lifted[0][1] - line[0][1], line[2][1] - line[0][1]
    assert lifted[1][0] - line[1][0] == pytest.approx(-lift / slope, rel=1e-8)


def test_fig07_best_central_difference_is_near_the_theory(drawn: Path) -> None:
    rows = read(drawn, "fig07_finite_difference_v_curve")
    for term in {row["term"] for row in rows}:
        mine = [row for row in rows if row["term"] == term]
        central, forward, h = (
            column(mine, name) for name in ("central_relative_error", "forward_relative_error", "step")
        )
        assert central.min() < 1e-9
        assert central.min() < forward.min()
        smooth = (h > 1e-4) & (h < 1e-2)
        for errors, slope in ((central, 2.0), (forward, 1.0)):
            assert np.polyfit(np.log(h[smooth]), np.log(errors[smooth]), 1)[0] == pytest.approx(slope, abs=0.1)


def test_fig08_signs_of_the_sums(drawn: Path) -> None:
    rows = read(drawn, "fig08_rules_of_phi1")
    assert column(rows, "released").sum() > 0.5
    assert column(rows, "literal").sum() < -0.1
    assert abs(column(rows, "consistent").sum()) < 1e-5


def test_fig28_deeper_layers_start_later_and_fire_more_rarely(drawn: Path) -> None:
    rows = read(drawn, "fig28_network_forward")
    first_steps, spikes_a_neuron = [], []
    for layer, n in zip(fig28.LAYERS, (24, 24, 10), strict=True):
        mine = [row for row in rows if row["layer"] == layer]
        assert len(mine) == 10 * n
        fired = column(mine, "s") == 1.0
        first_steps.append(column(mine, "t")[fired].min())
        spikes_a_neuron.append(fired.sum() / n)
    assert first_steps == [0, 2, 4]
    assert spikes_a_neuron == pytest.approx([3.2, 2.4, 1.1], abs=0.05)


def test_fig28_draws_what_the_network_does(drawn: Path) -> None:
    rows = read(drawn, "fig28_network_forward")
    x = fig28.picture()
    net = tr.Network.from_spec("24-24", (1, 8, 8), 10, 10, fig28.NEURON, seed=fig28.SEED, dtype="float64", n_threads=1)
    output = [row for row in rows if row["layer"] == fig28.LAYERS[-1]]
    a = column(output, "a").reshape(10, 10)
    np.testing.assert_allclose(a, net.forward(x)[:, 0], rtol=0, atol=1e-9)
    assert a.sum(axis=0).argmax() == net.predict(x)[0] == 1
    input_psc = column([row for row in rows if row["layer"] == "input"], "a").reshape(10, 64)
    gain = 1 - (1 - fig28.NEURON.theta_s) ** np.arange(1, 11)
    np.testing.assert_allclose(input_psc, gain[:, None] * x.reshape(64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(10))
def test_fig28_the_late_start_is_no_luck_of_the_seed(seed: int) -> None:
    _, layers = fig28.measure(seed)
    first = [np.flatnonzero(np.append(s.any(axis=1), True))[0] for s, _ in layers.values()]  # silent: after the end
    assert first[0] < first[1] < first[2]


def test_fig29_losses_are_squared_distances_of_filtered_trains(drawn: Path) -> None:
    rows = read(drawn, "fig29_loss_geometry")
    trains = np.array([[float(spike) for spike in row["train"].split(",")] for row in rows])
    assert len(np.unique(trains, axis=0)) == len(trains) == 2**5
    kernel = np.array([[(2 / 3) ** (t - m) / 3 if t >= m else 0.0 for m in range(5)] for t in range(5)])
    once = kernel @ np.array([0.0, 1, 1, 1, 1])
    for name, target in (("loss_filtered_once", once), ("loss_filtered_twice", kernel @ once)):
        by_hand = ((trains @ kernel.T - target) ** 2).sum(axis=1) / 2
        np.testing.assert_allclose(column(rows, name), by_hand, rtol=0, atol=1e-9)


def test_fig29_ranks_of_the_marked_trains(drawn: Path) -> None:
    rows = read(drawn, "fig29_loss_geometry")
    losses = column(rows, "loss_filtered_twice")
    assert np.all(np.diff(losses) > 0)
    assert [int(row["rank"]) for row in rows] == list(range(1, 33))
    assert rows[0]["train"] == "0,0,1,0,1"
    assert losses[0] > 0.02
    rank = {row["train"]: int(row["rank"]) for row in rows}
    assert rank["0,1,1,1,1"] == 21
    assert rank["0,1,0,1,1"] == 4
    assert fig29.rank_of(np.array([0.0, 1, 1, 1, 1]), fig29.measure()["trains"]) == 21
    once = column(rows, "loss_filtered_once")
    assert rows[int(once.argmin())]["train"] == "0,1,1,1,1"
    assert once.min() == pytest.approx(0.0, abs=1e-15)


# ---------------------------------------------------------------------------------------------------------------------
# The command line
# ---------------------------------------------------------------------------------------------------------------------


def test_list_names_every_figure_and_draws_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--out", str(tmp_path / "none")]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(figures.FIGURES)
    assert not (tmp_path / "none").exists()


def test_unknown_name_is_one_line_and_draws_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fig08_rules_of_phi1", "fig01_lif_neurone", "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "unknown figure 'fig01_lif_neurone'" in error
    assert "did you mean 'fig01_lif_neuron'?" in error
    assert list(tmp_path.iterdir()) == []


def test_a_figure_has_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["8", "08", "fig08", "fig8", "fig08_rules_of_phi1"]
    assert {figures.full_name(name) for name in names} == {"fig08_rules_of_phi1"}
    assert [figures.full_name(str(i + 1)) for i in range(len(figures.FIGURES))] == list(figures.FIGURES)
    assert main(["29", "8", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "fig29_loss_geometry",
        "fig08_rules_of_phi1",
    ]
    for name in ("0", "99", "8.0", "-"):
        assert main([name, "--out", str(tmp_path)]) == 2
        assert f"unknown figure '{name}'; known: 'fig01_lif_neuron', " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_one_line_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    in_the_way = tmp_path / "a file"
    in_the_way.write_text("kept")
    assert main(["fig08_rules_of_phi1", "--out", str(in_the_way / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(in_the_way / "out") in error
    assert in_the_way.read_text() == "kept"


def test_full_disk_leaves_the_old_picture_with_the_old_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "fig08_rules_of_phi1"
    old = {tmp_path / f"{name}.png": b"old picture", tmp_path / f"{name}.csv": b"old numbers"}
    for path, content in old.items():
        path.write_bytes(content)
    fsync, asked = os.fsync, []

    def full_once(handle: int) -> None:
        asked.append(handle)
        if len(asked) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full_once)
    assert main([name, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No space left on device" in error
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_a_figure_follows_the_links_in_its_place(tmp_path: Path) -> None:
    name = "fig08_rules_of_phi1"
    for suffix in ("png", "csv"):
        (tmp_path / f"kept.{suffix}").write_text("old")
        (tmp_path / f"{name}.{suffix}").symlink_to(f"kept.{suffix}")
    assert main([name, "--out", str(tmp_path)]) == 0
    assert all((tmp_path / f"{name}.{suffix}").is_symlink() for suffix in ("png", "csv"))
    assert (tmp_path / "kept.png").read_bytes().startswith(b"\x89PNG")
    assert "," in (tmp_path / "kept.csv").read_text()
    assert len(list(tmp_path.iterdir())) == 4


def test_fig31_counts_every_neuron_and_six_patterns(drawn: Path) -> None:
    rows = [row for row in read(drawn, "fig31_spike_patterns") if row["what"] == "neurons that have it"]
    counts = {row["pattern_or_share"]: int(row["count_or_ms"]) for row in rows}
    assert sum(counts.values()) == 400 * fig31.N_IMAGES
    assert len(counts) == 7
    assert 0.6 < counts["00000"] / sum(counts.values()) < 0.65
    spikes = sum(pattern.count("1") * count for pattern, count in counts.items())
    assert spikes < 0.2 * fig31.N_STEPS * sum(counts.values())

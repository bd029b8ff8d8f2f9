"""The race runs, counts what it should, and says who is missing; no test here depends on how fast anything is."""

import dataclasses
import json
import math
import tracemalloc

import numpy as np
import pytest

from benchmarks import __main__, race
from benchmarks.contenders import CONTENDERS, OURS, PRODUCTS, ours, products
from benchmarks.race import Result
from benchmarks.workloads import RACED, WORKLOADS
from figures.fig21_benchmark import TABLES
from tsslbp_ref.training.experiments import EXPERIMENTS


def test_every_contender_is_fed_the_same_arrays():
    for name in RACED[:2]:
        (x, y), (same_x, same_y) = WORKLOADS[name].inputs(), WORKLOADS[name].inputs()
        assert np.array_equal(x, same_x)
        assert np.array_equal(y, same_y)


def test_random_spikes_have_their_density():
    x, _ = WORKLOADS["W3-T30"].inputs()
    assert x.dtype == np.uint8
    assert x.mean() == pytest.approx(0.02, rel=0.02)


def test_the_products_of_w1():
    """The first layer sees the static picture once, the others every step."""
    assert products.product_shapes(WORKLOADS["W1"]) == [(100, 784, 400), (500, 400, 400), (500, 400, 10)]


def test_the_products_of_w2():
    """A convolution is the product with its patches: 24 x 24 positions of 50 images, 8 x 8 of 5 x 50."""
    shapes = products.product_shapes(WORKLOADS["W2"])
    assert shapes == [(50 * 576, 25, 15), (250 * 64, 375, 40), (250, 640, 300), (250, 300, 10)]


def test_the_products_of_w4():
    """Padding keeps the sizes: 32 x 32 positions of 20 images, 32 x 32, 16 x 16, 8 x 8 and 8 x 8 of 5 x 20."""
    shapes = products.product_shapes(WORKLOADS["W4"])
    convolutions = [(20480, 27, 96), (102400, 864, 256), (25600, 2304, 384), (6400, 3456, 384), (6400, 3456, 256)]
    assert shapes == [*convolutions, (100, 16384, 1024), (100, 1024, 1024), (100, 1024, 10)]


def test_w4_is_the_first_cifar10_network_of_the_papers_table():
    row = next(row for row in EXPERIMENTS.values() if row.dataset == "cifar-10")
    w4 = WORKLOADS["W4"]
    assert (w4.spec, w4.input_shape, w4.n_steps) == (row.spec, row.input_shape, row.n_steps)
    assert (w4.tau_m, w4.tau_s) == (row.neuron.tau_m, row.neuron.tau_s)
    assert (w4.padding, w4.dropout, w4.weight_scale) == (row.padding, row.dropout, row.weight_scale)
    assert w4.batch == 20


def test_a_step_of_w4s_stand_in_draws_new_masks_and_changes_the_weights():
    contender = CONTENDERS[f"{OURS}, 1 thread"]
    workload = WORKLOADS["smoke-W4"]
    step, without_masks = (
        ours.training_step(w, contender) for w in (workload, dataclasses.replace(workload, dropout=0.0))
    )
    losses = [step() for _ in range(5)]
    assert losses[0] != without_masks()
    assert len(set(losses)) > 1


@pytest.fixture(scope="module")
def smoke_results():
    contenders = [CONTENDERS[name] for name in (OURS, f"{OURS}, 1 thread", PRODUCTS)]
    return race.race(WORKLOADS["smoke"], contenders, rounds=2, steps=3)


def test_the_race(smoke_results):
    assert [result.contender for result in smoke_results] == [OURS, f"{OURS}, 1 thread", PRODUCTS]
    for result in smoke_results:
        assert result.n_steps_timed == 6
        assert 0 < result.fastest_ms <= result.median_ms < 1e3 * result.first_step_s + 1e3
        assert result.peak_bytes > 2**20
        assert 0 < result.extra_bytes < result.peak_bytes


def test_the_race_on_w4s_stand_in():
    (result,) = race.race(WORKLOADS["smoke-W4"], [CONTENDERS[OURS]], rounds=1, steps=1)
    assert (result.workload, result.contender, result.n_steps_timed) == ("smoke-W4", OURS, 1)


def test_summary_and_json(smoke_results):
    content = json.loads(race.as_json(smoke_results, {"cores": 2}))
    row = content["summary"][0]
    median = {result.contender: result.median_ms for result in smoke_results}
    assert row["over_products"] == pytest.approx(median[OURS] / median[PRODUCTS])
    fastest = {result.contender: result.fastest_ms for result in smoke_results}
    assert row["two_threads_gain"] == pytest.approx(median[f"{OURS}, 1 thread"] / median[OURS])
    assert row["undisturbed_gain"] == pytest.approx(fastest[f"{OURS}, 1 thread"] / fastest[OURS])
    assert "fastest_peer" not in row
    peer = Result("smoke", "norse", 7.0 * median[OURS], 1.0, 1, 1.0, 1, 1)
    with_peer = race.summary([*smoke_results, peer])[0]
    assert race.as_markdown([row, with_peer])[-1].startswith(f"| smoke | {median[OURS]:.1f} | ")
    assert len(race.as_markdown([row, with_peer])) == 3
    assert with_peer["fastest_peer"] == "norse"
    assert math.isclose(with_peer["faster_than_it"], 7.0)


def test_a_contender_that_fails_is_named_and_left_out(capfd):
    broken = CONTENDERS["norse"].__class__("nobody", "nowhere")
    assert race.race(WORKLOADS["smoke"], [broken], rounds=1, steps=1) == []
    assert "left out: nobody on smoke" in capfd.readouterr().err


def test_an_unknown_workload_is_one_line(capsys):
    assert __main__.main(["W9"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "unknown workload 'W9'" in lines[0]


def test_an_unwritable_file_is_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(__main__, "race", lambda *args, **keywords: [])
    assert __main__.main(["smoke", "--json", str(tmp_path / "none" / "x.json")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_readme_states_what_was_measured():
    rows = [row for table in TABLES for row in json.loads(table.read_text())["summary"]]
    text = (race.ROOT / "benchmarks" / "README.md").read_text()
    assert tuple(row["workload"] for row in rows) == RACED
    assert "\n".join(race.as_markdown(rows)) in text
    w1, w2 = rows[:2]
    assert f"gain {w1['products_gain']:.2f} (W1) and {w2['products_gain']:.2f} (W2)" in text
    least = [f"{row['undisturbed_products_gain']:.2f}" for row in (w1, w2)]
    assert f"and {least[0]} and {least[1]} undisturbed" in text


def test_a_step_of_w2_holds_less_than_64_mib():
    """No im2col of the whole batch: u, a and g of every layer, and tiles."""
    ours.training_step(WORKLOADS["W2"], CONTENDERS[OURS])()  # loads the compiled loops, slow under tracemalloc
    tracemalloc.start()
    step = ours.training_step(WORKLOADS["W2"], CONTENDERS[OURS])
    step()
    step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 16 * 2**20 < peak < 64 * 2**20

"""What the write-up claims of depth, time steps, operations and pruning: the studies run and count what they say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from made_data import write_fashion

import tsslbp_ref as tr
from studies import depth_and_steps, operations, pruning
from tsslbp_ref.model.layers import Conv2d, Dense, SumPool2d

RESULTS = Path(depth_and_steps.__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return write_fashion(tmp_path_factory.mktemp("data"), n_train=120, n_test=20).parent


# ---------------------------------------------------------------------------------------------------------------------
# Depth and time steps
# ---------------------------------------------------------------------------------------------------------------------


def test_a_grid_goes_seed_by_seed_and_has_every_cell_once() -> None:
    cells = depth_and_steps.grid("intra", 2)
    assert len(set(cells)) == len(cells) == 2 * 3 * 4
    assert [cell.seed for cell in cells] == [0] * 12 + [1] * 12
    assert {cell.spec for cell in depth_and_steps.grid("depth", 1)} >= {"200", "-".join(["200"] * 10)}
    with pytest.raises(ValueError, match="unknown grid 'width'"):
        depth_and_steps.grid("width", 1)


def test_a_cell_is_trained_measured_and_not_trained_again(data, tmp_path, monkeypatch, capsys) -> None:
    cells = [depth_and_steps.Cell("7-6", 3, "leak-alone", 0), depth_and_steps.Cell("7", 3, "released", 1)]
    monkeypatch.setattr(depth_and_steps, "grid", lambda name, n_seeds: cells)
    monkeypatch.setattr(depth_and_steps, "ProcessPoolExecutor", Here)
    out = tmp_path / "table.csv"
    command = ["depth", "--out", str(out), "--epochs", "2", "--data", str(data)]
    assert depth_and_steps.main(command) == 0
    rows = depth_and_steps.read_rows(out, depth_and_steps.COLUMNS)
    assert [(row["spec"], row["rule"], row["epoch"]) for row in rows] == [
        (cell.spec, cell.rule, str(epoch)) for cell in cells for epoch in range(3)
    ]
    first = rows[0]
    assert float(first["delta_3"]) > 0.0
    assert first["delta_4"] == ""
    assert 0.0 <= float(first["silent_1"]) <= 1.0
    assert rows[0]["delta_1"] != rows[2]["delta_1"]
    capsys.readouterr()
    assert depth_and_steps.main(command) == 0
    assert capsys.readouterr().out == ""
    assert depth_and_steps.main([*command[:3], "--data", str(tmp_path / "void"), "--epochs", "3"]) == 2


class Here:
    """The process pool's place, in this process."""

    def __init__(self, *_, **__) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self.pool = ThreadPoolExecutor(1)

    def __enter__(self):
        return self.pool

    def __exit__(self, *_) -> None:
        self.pool.shutdown()


# ---------------------------------------------------------------------------------------------------------------------
# Operations
# ---------------------------------------------------------------------------------------------------------------------


def test_multiplications_of_a_convolution_are_those_that_meet_a_pixel() -> None:
    layer = Conv2d((2, 5, 4), n_filters=3, kernel_size=3, padding=1)
    counted = sum(
        3 * 2
        for row in range(5)
        for column in range(4)
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
        if 0 <= row + i < 5 and 0 <= column + j < 4
    )
    assert operations.multiplications(layer) == counted
    assert operations.multiplications(Dense((2, 3), 7)) == 42


def test_a_static_picture_costs_the_first_layers_products_and_spikes_cost_their_weights() -> None:
    row = dict.fromkeys(operations.SPARSITY, "") | {
        "experiment": "fashion-mnist-400-400", "rule": "released", "run": "seed0", "steps": "5",
    }  # fmt: skip
    layers = [("1", "400", "400", "0.5"), ("2", "400", "400", "0.25"), ("3", "10", "10", "1")]
    rows = [row | dict(zip(("layer", "name", "neurons", "mean_count"), layer, strict=True)) for layer in layers]
    first, second, third = operations.table(rows)
    assert (first["multiplications"], first["additions"]) == (784 * 400, 0.0)
    assert second["additions"] == 0.5 * 400 * 400
    assert third["additions"] == 0.25 * 400 * 10
    assert first["ann_nj"] == first["snn_nj"] == pytest.approx(784 * 400 * 4.6e-3)
    assert third["snn_nj"] == pytest.approx(1000 * 0.9e-3)


# ---------------------------------------------------------------------------------------------------------------------
# Pruning
# ---------------------------------------------------------------------------------------------------------------------


def test_a_network_without_its_silent_neurons_computes_the_same() -> None:
    rng = np.random.default_rng(3)
    net = tr.Network.from_spec("30-20", (12,), 4, n_steps=6, dtype="float64", weight_scale=2.0, n_threads=1)
    x = rng.normal(size=(3, 12))
    flows = net.gradient_flow(x, rng.integers(4, size=3))
    kept = [(flow.trace.s > 0).any(axis=(0, 1)) for flow in flows[:-1]]
    assert all(0 < k.sum() < len(k) for k in kept), "some neurons are silent, some are not"
    small = pruning.without(net, kept)
    assert [W.shape for W in small.weights] == [(kept[0].sum(), 12), (kept[1].sum(), kept[0].sum()), (4, kept[1].sum())]
    np.testing.assert_allclose(small.forward(x), net.forward(x), rtol=0, atol=1e-12)


def test_only_dense_layers_are_pruned_and_kept_has_to_fit() -> None:
    net = tr.Network.from_spec("3C3-P2-5", (1, 8, 8), 4, n_steps=2, n_threads=1)
    with pytest.raises(ValueError, match="every layer must be dense, got Conv2d"):
        pruning.without(net, [])
    dense = tr.Network.from_spec("5", (3,), 4, n_steps=2, n_threads=1)
    for kept in ([], [np.ones(4, dtype=bool)], [np.zeros(5, dtype=bool)]):
        with pytest.raises(ValueError, match=r"kept must have \[5\] entries"):
            pruning.without(dense, kept)
    assert isinstance(net.layers[1], SumPool2d)


def test_the_committed_operations_are_those_of_the_firing_counts_and_as_the_text_counts_them() -> None:
    made = list(operations.table(operations.read_rows(RESULTS / "firing-sparsity.csv", operations.SPARSITY)))
    committed = operations.read_rows(RESULTS / "operations.csv", operations.COLUMNS)
    assert len(made) == len(committed)
    names = (*operations.KEY, "layer")
    of_layer = {tuple(row[name] for name in names): row for row in made}
    for other in committed:
        one = of_layer[tuple(other[name] for name in names)]
        assert float(one["additions"]) == pytest.approx(float(other["additions"]), rel=1e-7)
    behind = [row for row in committed if row["input"] == "spikes"]
    more = [row for row in behind if float(row["additions"]) > float(row["multiplications"])]
    dense = [row for row in behind if row["experiment"] == "fashion-mnist-400-400"]
    assert (len(more), len(behind) - len(dense)) == (10, 14)
    assert not [row for row in more if row in dense]


def test_the_committed_pruning_is_what_figure_and_text_say() -> None:
    runs: dict[str, dict[str, dict[str, str]]] = {}
    for row in operations.read_rows(RESULTS / "pruning.csv", pruning.COLUMNS):
        runs.setdefault(row["rule"], {})[row["dropped"]] = row
    lost = {}
    for rule, rows in runs.items():
        silent = rows["silent on the training data"]
        assert (silent["errors_new"], silent["errors_gone"]) == ("0", "0")
        whole = float(rows["nothing"]["test_accuracy"])
        for share in ("20%", "50%"):
            lost[rule, share] = 100 * (whole - float(rows[f"least active {share}"]["test_accuracy"]))
            assert lost[rule, share] < 100 * (whole - float(rows[f"random {share}"]["test_accuracy"]))
    assert sorted(rows["silent on the training data"]["neurons"] for rows in runs.values()) == ["794", "795"]
    assert all(0.5 < loss < 1.0 for (_, share), loss in lost.items() if share == "20%")
    assert all(6.0 < loss < 8.0 for (_, share), loss in lost.items() if share == "50%")


def test_networks_whose_epoch_held_out_pictures_chose_lose_as_the_text_says() -> None:
    lost: dict[tuple[str, str], list[float]] = {}
    whole: dict[str, float] = {}
    for row in operations.read_rows(RESULTS / "pruning-held-out.csv", pruning.COLUMNS):
        assert row["run"] == "seed0-held-out-5000"
        if row["dropped"] == "nothing":
            whole[row["measure"]] = float(row["test_accuracy"])
        for share in ("20%", "50%"):
            if row["dropped"] == f"least active {share}":
                less = 100 * (whole[row["measure"]] - float(row["test_accuracy"]))
                lost.setdefault((row["measure"], share), []).append(round(less, 1))
    assert lost == {
        ("chosen", "20%"): [0.6, 0.9], ("last", "20%"): [0.4, 1.0],
        ("chosen", "50%"): [7.3, 8.0], ("last", "50%"): [4.5, 10.8],
    }  # fmt: skip


def test_the_committed_depths_are_whole_and_as_the_text_says() -> None:
    rows = depth_and_steps.read_rows(RESULTS / "depth.csv", depth_and_steps.COLUMNS)
    assert depth_and_steps.finished(rows, 5) == set(depth_and_steps.grid("depth", 2))
    for row in rows:
        depth = row["spec"].count("-") + 1
        if row["epoch"] == "5":
            accuracy = 100 * float(row["test_accuracy"])
            deepest = {"released": 67, "september-2020": 60, "surrogate": 82}[row["rule"]]  # of seven layers, the mean
            low, high = (82.0, 87.5) if depth <= 6 else (deepest - 6, deepest + 6) if depth == 7 else (10.0, 10.0)
            assert low <= accuracy <= high
        if row["epoch"] == "0" and depth > 4:
            assert {row[f"silent_{k}"] for k in range(4, depth + 2)} == {"1"}
            delta = np.array([float(row[f"delta_{k}"]) for k in range(4, depth + 1)])
            assert (delta[1:] / delta[:-1] > 33.5).all()
            assert (delta[1:] / delta[:-1] < 45.5).all()


def test_the_depths_with_pictures_held_out_are_whole_and_as_the_text_says() -> None:
    rows = depth_and_steps.read_rows(RESULTS / "depth-held-out.csv", depth_and_steps.COLUMNS)
    assert depth_and_steps.finished(rows, 5) == set(depth_and_steps.grid("depth", 2))
    summary = depth_and_steps.read_rows(RESULTS / "depth-held-out-summary.csv", depth_and_steps.GRID_SUMMARY)
    assert depth_and_steps.accuracies(rows) == summary
    for row in summary:
        depth, mean = row["spec"].count("-") + 1, float(row["mean"])
        if depth <= 6:
            assert (84.0 if depth <= 5 else 81.0) < mean < (87.0 if depth <= 5 else 86.0)
        elif depth == 7:
            assert round(mean) == {"surrogate": 83, "released": 62, "september-2020": 63}[row["quantity"]]
        else:
            assert mean == 10.0


def test_the_committed_steps_are_whole_and_as_the_text_says() -> None:
    rows = depth_and_steps.read_rows(RESULTS / "time-steps.csv", depth_and_steps.COLUMNS)
    assert depth_and_steps.finished(rows, 5) == set(depth_and_steps.grid("steps", 2))
    last = [row for row in rows if row["epoch"] == "5"]
    mean = {
        (rule, T): np.mean([100 * float(r["test_accuracy"]) for r in last if (r["rule"], r["steps"]) == (rule, str(T))])
        for rule in ("released", "surrogate")
        for T in depth_and_steps.STEPS
    }
    assert [round(mean[rule, 3]) for rule in ("released", "surrogate")] == [49, 68]
    assert [round(mean[rule, 5]) for rule in ("released", "surrogate")] == [86, 87]
    for rule in ("released", "surrogate"):
        assert mean[rule, 1] == 10.0
        assert all(mean[rule, T] < mean[rule, 8] + 0.1 for T in (12, 16, 20))


def test_the_steps_with_pictures_held_out_are_whole_and_as_the_text_says() -> None:
    rows = depth_and_steps.read_rows(RESULTS / "time-steps-held-out.csv", depth_and_steps.COLUMNS)
    assert depth_and_steps.finished(rows, 5) == set(depth_and_steps.grid("steps", 2))
    summary = depth_and_steps.read_rows(RESULTS / "time-steps-held-out-summary.csv", depth_and_steps.GRID_SUMMARY)
    assert depth_and_steps.accuracies(rows) == summary
    found = {(row["measure"], row["steps"], row["quantity"]): round(float(row["mean"]), 1) for row in summary}
    for measure, wanted in (
        ("chosen", {"5": (86.4, 87.4), "8": (87.6, 87.5), "20": (85.9, 86.8)}),
        ("last", {"5": (86.2, 87.4), "8": (87.5, 87.5), "20": (85.8, 86.8)}),
    ):
        for steps, pair in wanted.items():
            assert tuple(found[measure, steps, rule] for rule in ("released", "surrogate")) == pair


@pytest.mark.parametrize("name", ["depth", "time-steps", "intra-steps"])
def test_a_committed_summary_is_that_of_its_table(name: str) -> None:
    table = depth_and_steps.read_rows(RESULTS / f"{name}.csv", depth_and_steps.COLUMNS)
    summary = depth_and_steps.read_rows(RESULTS / f"{name}-summary.csv", depth_and_steps.GRID_SUMMARY)
    assert depth_and_steps.accuracies(table) == summary


# ---------------------------------------------------------------------------------------------------------------------
# The page in Korean
# ---------------------------------------------------------------------------------------------------------------------

KOREAN = RESULTS.parent / "tutorials" / "ko" / "README.md"


def test_every_claim_has_a_figure_a_number_and_a_tutorial() -> None:
    """Claims that share an answer, as 10 and 11, stand in one paragraph."""
    paragraphs = [text for text in KOREAN.read_text().split("\n\n") if text.startswith("**")]
    claims = [int(number) for text in paragraphs for number in re.findall(r"\*\*(\d+)\. ", text)]
    assert claims == list(range(1, 21))
    for text in paragraphs:
        assert "(../../figures/out/fig" in text, text
        assert re.search(r"\(\.\./\d\d_", text), text
        ours = re.sub(r"\]\([^)]*\)", "", text.rpartition(".**")[2])  # behind the claim, without links
        ours = re.sub(r"(그림|튜토리얼) \d+", "", ours)
        assert re.search(r"\d", ours), text


def test_the_summary_of_the_intra_neuron_term_is_that_of_its_table() -> None:
    """By T and rule: the best epoch of each seed, and the difference from that without the term, seed by seed."""
    rows = [
        {"spec": "9", "steps": "5", "rule": rule, "seed": seed, "epoch": epoch, "test_accuracy": accuracy,
         "validation_accuracy": held_out}
        for rule, seed, epoch, accuracy, held_out in (
            ("no-intra", "0", "0", "0.9", ""), ("no-intra", "0", "1", "0.8", "0.8"),
            ("no-intra", "1", "1", "0.7", "0.1"), ("no-intra", "1", "2", "0.6", "0.2"),
            ("released", "1", "1", "0.73", "0.8"), ("released", "0", "1", "0.5", "0.9"),
            ("released", "0", "2", "0.81", "0.8"),
        )
    ]  # fmt: skip
    table = depth_and_steps.accuracies(rows)
    found = {row["measure"]: row for row in table if row["quantity"] == "released minus no-intra"}
    assert {measure: float(row["mean"]) for measure, row in found.items()} == pytest.approx(
        {"best": 2.0, "last": 7.0, "chosen": -8.5}
    )
    assert {row["n"] for row in found.values()} == {"2"}
    table = depth_and_steps.read_rows(RESULTS / "intra-steps.csv", depth_and_steps.COLUMNS)
    summary = depth_and_steps.read_rows(RESULTS / "intra-steps-summary.csv", depth_and_steps.GRID_SUMMARY)
    assert depth_and_steps.accuracies(table) == summary

"""The command line where data or a run's folder is bad, and what `results` prints, writes and refuses."""

import os

import numpy as np
import pytest
from made_cli import NAME, TRAIN, find_nothing, refused
from made_data import write_fashion, write_idx

import tsslbp_ref
from tsslbp_ref import checkpoints, cli
from tsslbp_ref.training.runs import BEST, CONFIG, LAST, METRICS


@pytest.fixture(autouse=True)
def nothing_to_find(tmp_path, monkeypatch):
    find_nothing(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_fashion(tmp_path_factory.mktemp("data"))


def test_data_that_is_not_where_it_is_said_to_be(capsys, tmp_path):
    assert f"in {tmp_path / 'void'}" in refused(capsys, *TRAIN, "--data", tmp_path / "void")
    assert "fashion-mnist" in refused(capsys, *TRAIN, "--no-download")
    assert not (tmp_path / "runs").exists()


def labels_out_of_range(folder):
    write_idx(folder / "train-labels-idx1-ubyte", np.arange(40))


def fewer_labels(folder):
    write_idx(folder / "t10k-labels-idx1-ubyte", np.arange(5))


def truncated(folder):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-7])


def empty(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(b"")


def no_gzip(folder):
    (folder / "train-labels-idx1-ubyte").unlink()
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"no gzip at all")


def missing_split(folder):
    (folder / "t10k-images-idx3-ubyte").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (labels_out_of_range, "train-labels-idx1-ubyte: labels must lie in 0 .. 9, got 10"),
        (fewer_labels, "holds 5 labels"),
        (truncated, "train-images-idx3-ubyte: truncated IDX file"),
        (empty, "train-images-idx3-ubyte: the file is empty"),
        (no_gzip, "train-labels-idx1-ubyte.gz: not a valid gzip file"),
        (missing_split, "the test split is incomplete"),
    ],
)
def test_damaged_data_is_named_and_no_run_folder_is_made(capsys, tmp_path, damage, message):
    folder = write_fashion(tmp_path, n_train=40, n_test=20)
    damage(folder)
    assert message in refused(capsys, *TRAIN, "--data", tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_that_cannot_be_made(capsys, tmp_path, data):
    (tmp_path / "file").write_text("precious")
    err = refused(capsys, *TRAIN, "--data", data, "--runs", tmp_path / "file")
    assert str(tmp_path / "file") in err
    assert (tmp_path / "file").read_text() == "precious"


@pytest.fixture
def run_folder(tmp_path, data, capsys):
    assert cli.main([*TRAIN, "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith(f"{NAME} released seed 0  epoch   1  loss ")
    return tmp_path / "runs" / NAME / "released" / "seed0"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_occupied_run_folder_is_left_alone(capsys, data, run_folder):
    before = content(run_folder)
    assert set(before) == {CONFIG, METRICS, LAST, BEST}
    err = refused(capsys, *TRAIN, "--data", data)
    assert f"{run_folder.relative_to(run_folder.parents[3])} holds a run already" in err
    assert "--resume" in err
    assert content(run_folder) == before


def another_network(path):
    arrays, meta = checkpoints.load(path)
    arrays["weight0"] = arrays["weight0"][:, :-1]
    checkpoints.save(path, arrays, meta)


def pickled(path):
    np.savez(path, weight0=np.array([object], dtype=object))


def tampered(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (LAST, another_network, "is of another network"),
        (LAST, lambda path: path.write_bytes(path.read_bytes()[:1000]), "is truncated or no checkpoint"),
        (LAST, tampered, "checkpoint-last.npz is truncated or no checkpoint"),
        (LAST, pickled, "'weight0.npy' is no array of numbers or text"),
        (BEST, lambda path: path.write_bytes(path.read_bytes()[:1000]), "checkpoint-best.npz is truncated"),
        (BEST, lambda path: path.unlink(), "checkpoint-best.npz is missing"),
        (CONFIG, lambda path: path.write_text("[" * 200_000), "config.json is no JSON: its brackets are nested"),
        (CONFIG, lambda path: path.write_text(path.read_text()[:100]), "config.json is no JSON"),
        (METRICS, lambda path: path.write_text(""), "does not hold the 1 epochs"),
    ],
)
def test_a_damaged_run_folder_is_not_resumed_and_stays_as_it_is(capsys, data, run_folder, name, damage, message):
    damage(run_folder / name)
    before = content(run_folder)
    assert message in refused(capsys, *TRAIN, "--data", data, "--resume")
    assert content(run_folder) == before


def test_fewer_epochs_than_a_run_has_are_refused_and_as_many_are_told_to_be_done(capsys, data, run_folder):
    longer = ["train", NAME, "--quiet", "--data", str(data), "--resume", "--epochs"]
    assert cli.main([*longer, "3"]) == 0
    capsys.readouterr()
    before = content(run_folder)
    assert "has finished 3 epochs already: --epochs must be at least 3, got 2" in refused(capsys, *longer, "2")
    assert content(run_folder) == before
    assert cli.main([*longer, "3"]) == 0
    assert capsys.readouterr().out == f"{NAME} released seed 0  all 3 epochs are done already\n"
    assert content(run_folder) == before


def test_results_prints_the_table_and_writes_the_csv_and_the_plot(capsys, tmp_path, run_folder):
    assert cli.main(["results", "--csv", "all.csv", "--plot", "curves.png"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("experiment")
    assert "200/60" in out.splitlines()[1]
    assert "89.75 +- 0.03, best 89.92" in out.splitlines()[1]
    assert (tmp_path / "all.csv").read_text().startswith("experiment,rule,run,epoch,train_loss,")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_results_that_cannot_be_read_or_written(capsys, tmp_path, run_folder):
    assert "cannot read the folder" in refused(capsys, "results", tmp_path / "void")
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refused(capsys, "results", tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "no runs below" in refused(capsys, "results", tmp_path / "empty")
    (tmp_path / "empty").rmdir()
    assert cli.main(["results", "--csv", "file/x.csv"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert "must be a file name that ends in .png" in refused(capsys, "results", "--plot", "x.doc")
    assert "cannot write file/x.png" in refused(capsys, "results", "--plot", "file/x.png")
    assert sorted(os.listdir(tmp_path)) == ["file", "runs"]
    (run_folder / METRICS).write_text(
        (run_folder / METRICS).read_text().replace('test_accuracy": 0.', 'test_accuracy": NaN, "x": 0.')
    )
    assert f"{METRICS}, line 1 must hold the finite numbers" in refused(capsys, "results")
    (run_folder / CONFIG).write_text("[" * 200_000)
    assert f"{CONFIG} is no JSON: its brackets are nested too deeply" in refused(capsys, "results")
    (run_folder / CONFIG).write_text("{}")
    assert f"{CONFIG} holds no settings of a run" in refused(capsys, "results")


@pytest.mark.parametrize("option", ["--csv", "--plot"])
def test_results_leave_a_pipe_and_a_link_in_their_place(capsys, tmp_path, run_folder, option):
    os.mkfifo(tmp_path / "pipe.png")
    assert cli.main(["results", option, "pipe.png"]) == 2
    assert capsys.readouterr().err == "tsslbp-ref: error: [Errno 6] cannot write pipe.png: nobody reads it\n"
    assert (tmp_path / "pipe.png").is_fifo()
    (tmp_path / "link.png").symlink_to("real.png")
    assert cli.main(["results", option, "link.png"]) == 0
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_size > 0


def test_results_name_the_runs_that_they_leave_out(capsys, run_folder):
    (run_folder.parent / "seed1").mkdir()
    (run_folder.parent / "seed1" / CONFIG).write_bytes((run_folder / CONFIG).read_bytes())
    assert cli.main(["results"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == f"tsslbp-ref: runs/{NAME}/released/seed1 is left out: it has no finished epoch\n"


def test_the_folder_of_a_row_of_the_table_is_a_network(run_folder):
    row = tsslbp_ref.experiments.experiment(NAME)
    for path in (run_folder, run_folder / LAST, str(run_folder / BEST)):
        net = tsslbp_ref.Network.load(path)
        assert (net.layers, net.neuron, net.n_steps) == (row.network(0).layers, row.neuron, row.n_steps)
        assert net.rule == tsslbp_ref.rule_by_name("released")
        arrays, _ = checkpoints.load(run_folder / (LAST if path == run_folder / LAST else BEST))
        assert all(np.array_equal(W, arrays[f"weight{i}"]) for i, W in enumerate(net.weights))

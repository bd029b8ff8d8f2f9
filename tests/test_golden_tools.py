"""The scripts that make the golden numbers, without the authors' code: their arguments, and the inputs they draw."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tsslbp_ref as tr
from figures import fig33_rule_history as figure
from tools.golden import history
from tools.golden.__main__ import COMMITTED, largest_difference, main
from tools.golden.authors import NEEDED
from tools.golden.recipes import FILES, Recorder

NAME = "code_of_june_2020"


def made_checkout(folder):
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def refused(capsys, *arguments):
    """The one line of error of a call that ends with status 2."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    return err


def test_wrong_arguments_are_one_line(capsys, tmp_path):
    assert "argument FILE: invalid choice: 'code_of_may_2020'" in refused(capsys, "code_of_may_2020", tmp_path, "x.npz")
    assert "the following arguments are required: OUT.npz" in refused(capsys, NAME, tmp_path)
    assert f"there is no {tmp_path / 'no' / NEEDED[0]}" in refused(capsys, NAME, tmp_path / "no", tmp_path / "x.npz")
    (tmp_path / NEEDED[0]).write_text("")
    assert f"there is no {tmp_path / NEEDED[1]}" in refused(capsys, NAME, tmp_path, tmp_path / "x.npz")


def test_another_commit_is_refused(capsys, tmp_path):
    made_checkout(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "another"]):
        subprocess.run([*git, *command], check=True)
    assert "CHECKOUT must be at commit d0a06b7, got " in refused(capsys, NAME, tmp_path, tmp_path / "x.npz")


def test_without_pytorch_it_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "torch" in refused(capsys, NAME, made_checkout(tmp_path), tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


def test_difference_of_two_files():
    committed = {"a": np.array([4.0, -8.0]), "b": np.array(0.5)}
    assert largest_difference(committed, committed) == 0.0
    assert largest_difference(committed | {"a": np.array([4.0, -7.0])}, committed) == 1 / 8
    assert largest_difference(committed | {"b": np.array(0.25)}, committed) == 0.25
    assert largest_difference({"a": committed["a"]}, committed) == np.inf
    assert largest_difference(committed | {"b": np.zeros(1)}, committed) == np.inf


class Tensor:
    """As much of PyTorch as a layer's record asks for; its gradient is what came in."""

    def __init__(self, values):
        self.values = values
        self.grad = None

    def detach(self):
        return self

    def numpy(self):
        return self.values

    def backward(self, g):
        self.grad = g


class NoNeurons:
    """Instead of the authors' code: a layer hands its input through."""

    torch = type("torch", (), {"tensor": Tensor})

    def layer(self, I, tau_m, tau_s, threshold):
        tensor = Tensor(I)
        return tensor, tensor

    def start(self, n_steps, tau_s):
        raise StopIteration  # the layers are done

    def network(self, config, layers, input_shape):
        raise StopIteration


@pytest.mark.parametrize("name", FILES)
def test_seeds_draw_the_inputs_of_the_committed_layers(name):
    golden = FILES[name]
    recorder = Recorder(NoNeurons(), golden.seed, golden.train)
    with pytest.raises(StopIteration):
        golden.recipe(recorder)
    with np.load(COMMITTED / f"{name}.npz") as committed:
        drawn = [key for key in committed.files if key.endswith(("_I", "_g"))]
        assert len(drawn) >= 4
        for key in (*drawn, *(key for key in committed.files if key == "train")):
            assert np.array_equal(recorder.arrays[key], committed[key])


# ---------------------------------------------------------------------------------------------------------------------
# The commits between
# ---------------------------------------------------------------------------------------------------------------------


def made_clone(folder):
    """A repository with the authors' names and other content."""
    (folder / "functions").mkdir()
    (folder / "global_v.py").write_text("n_steps = 7\n")
    (folder / "functions" / "TSSLBP.py").write_text("import global_v\nn_steps = global_v.n_steps + 1\n")
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "made"]):
        subprocess.run([*git, *command], check=True)
    return folder


def test_the_files_of_a_commit_are_read_from_a_clone(tmp_path, monkeypatch):
    for name in ("global_v", "rule"):
        monkeypatch.setitem(sys.modules, name, None)
    clone = made_clone(tmp_path)
    (clone / "global_v.py").write_text("n_steps = 0\n")  # of the work tree, not of the commit
    constants, rule = history.code_of(clone, "HEAD")
    assert (constants.n_steps, rule.n_steps) == (7, 8)
    with pytest.raises(ValueError, match="Not a valid object name 1234567"):
        history.code_of(clone, "1234567")


def test_the_history_without_pytorch_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert history.main([str(tmp_path), str(tmp_path / "x.csv")]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "torch" in err
    assert not (tmp_path / "x.csv").exists()


def test_phi_of_the_states_is_that_of_their_commits():
    """Every commit is in the table, and the package has the four states' numbers."""
    s, _ = figure.measure()
    found = {commit: np.zeros((len(s), len(s))) for commit in history.COMMITS}
    with (Path(figure.__file__).parents[1] / "results" / "phi-by-commit.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["commit"]][int(row["t_k"]), int(row["t_m"])] = float(row["phi"])
    assert all(phi.any() for phi in found.values())
    trace = tr.reference.lif_forward(np.array(figure.WEIGHTED_INPUT)[:, None, None], figure.NEURON)
    for name, state in tr.experiments.STATES.items():
        phi = tr.reference.dependency_matrix(trace, figure.NEURON, tr.rule_by_name(name))[:, :, 0, 0]
        assert np.abs(phi - found[state.commit]).max() < 1e-14, name

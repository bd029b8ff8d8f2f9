"""`tsslbp-ref predict`: what `Network.predict` says, from files; every wrong file is one line and status 2."""

import os

import numpy as np
import pytest
from made_data import blob_network

from tsslbp_ref import cli

RNG = np.random.default_rng(0)
PICTURES = RNG.random((6, 1, 6, 6))
TRAINS = (RNG.random((5, 6, 1, 6, 6)) < 0.4).astype(np.uint8)


@pytest.fixture(scope="module")
def network():
    return blob_network(weight_scale=6.0)


@pytest.fixture
def folder(tmp_path, network, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network.save(tmp_path / "net.npz")
    np.save(tmp_path / "pictures.npy", PICTURES)
    np.save(tmp_path / "trains.npy", np.asfortranarray(TRAINS))
    return tmp_path


def test_the_classes_of_pictures_and_of_trains_are_printed(folder, network, capsys):
    for name, x in (("pictures", PICTURES), ("trains", TRAINS)):
        assert cli.main(["predict", "net.npz", f"{name}.npy"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        assert out == "".join(f"{label}\n" for label in network.predict(x))
    assert len(set(network.predict(PICTURES)) | set(network.predict(TRAINS))) > 1


def test_the_classes_are_written_to_a_file(folder, network, capsys):
    assert cli.main(["predict", "net.npz", "pictures.npy", "--output", "classes.npy"]) == 0
    assert capsys.readouterr() == ("", "")
    np.testing.assert_array_equal(np.load("classes.npy"), network.predict(PICTURES))
    assert sorted(os.listdir(folder)) == ["classes.npy", "net.npz", "pictures.npy", "trains.npy"]


def refused(capsys, *arguments):
    """The command's one line of error; its status is 2."""
    assert cli.main(["predict", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert len(err) < 500
    return err


WRONG = {
    "truncated": (lambda data: data[:-8], "wrong.npy: this is no whole .npy file of numbers"),
    "header only": (lambda data: data[:128], "wrong.npy: this is no whole .npy file of numbers"),
    "half a header": (lambda data: data[:50], "wrong.npy: this is no whole .npy file of numbers"),
    "empty": (lambda data: b"", "wrong.npy: this is no whole .npy file of numbers"),
    "text": (lambda data: b"1 2 3\n", "wrong.npy: this is no whole .npy file of numbers"),
    "pickle": (lambda data: b"\x80\x04K\x01.", "wrong.npy: this is no whole .npy file of numbers"),
    "objects": (lambda data: data.replace(b"<f8", b"|O8"), "wrong.npy: this is no whole .npy file of numbers"),
    "large": (lambda data: data.replace(b"(6, 1,", b"(9999,"), "wrong.npy: this is no whole .npy file of numbers"),
    "negative": (lambda data: data.replace(b"(6, ", b"(-6,"), "wrong.npy: this is no whole .npy file of numbers"),
    "code": (lambda data: data.replace(b"False", b"f()  "), "wrong.npy: this is no whole .npy file of numbers"),
    "text array": (lambda data: data.replace(b"<f8", b"<U2"), "x must hold real numbers, got dtype <U2"),
    "nan": (lambda data: data[:128] + b"\xff" * 8 + data[136:], "wrong.npy: x must be finite, got nan at index"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_array_is_one_line(folder, capsys, name):
    change, message = WRONG[name]
    (folder / "wrong.npy").write_bytes(change((folder / "pictures.npy").read_bytes()))
    assert message in refused(capsys, "net.npz", "wrong.npy")


def test_wrong_shapes_and_wrong_files_are_one_line(folder, capsys):
    np.save("flat.npy", np.ones((2, 36)))
    message = "flat.npy: x must have shape (B, 1, 6, 6) or (5, B, 1, 6, 6), got (2, 36)"
    assert message in refused(capsys, "net.npz", "flat.npy")
    np.save("few.npy", TRAINS[:3])
    assert "few.npy: x must have T = 5 steps, got 3" in refused(capsys, "net.npz", "few.npy")
    assert "No such file" in refused(capsys, "net.npz", "nothing.npy")
    assert "no checkpoint at nothing.npz" in refused(capsys, "nothing.npz", "pictures.npy")
    assert "is truncated or no checkpoint" in refused(capsys, "pictures.npy", "pictures.npy")
    assert "no whole .npy file" in refused(capsys, "net.npz", "net.npz")
    assert "must be a regular file, but it is a folder" in refused(capsys, "net.npz", ".")
    assert "cannot write nowhere/x.npy" in refused(capsys, "net.npz", "pictures.npy", "--output", "nowhere/x.npy")

"""Names of files and folders, and reading within bounds."""

import gzip
import os
import tracemalloc
import warnings
from pathlib import Path

import pytest

from tsslbp_ref import cli
from tsslbp_ref.datasets import NMNIST, DataError, cifar10, files, idx, load_images, read_events


def test_the_home_folder_in_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.as_path("path", "~/x") == files.as_path("path", Path("~/x")) == tmp_path / "x"
    assert files.as_path("path", "x~/~") == Path("x~/~")
    assert cli._parser().parse_args(["train", "list", "--data=~/x"]).data == tmp_path / "x"
    (tmp_path / "one.bin").write_bytes(bytes(5))
    assert len(read_events("~/one.bin")) == 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "must be a path, got 3"),
        (b"bytes", "must be a path, got b'bytes'"),
        (["x"] * 10**5, "must be a path, got ['x', 'x', "),
        ("a\0b", r"must be a path of at most 4096 characters, none of them null, got 'a\x00b' (3 characters)"),
        ("a" * 10**5, "none of them null, got 'aaa"),
    ],
)
@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("data_dir", lambda value: load_images("mnist", "train", value)),
        ("data_dir", lambda value: NMNIST(value, "train")),
        ("path", read_events),
        ("path", lambda value: cifar10.read_split(value, "train")),
        ("path", idx.read_images),
        ("folder", lambda value: idx.read_split(value, "train")),
    ],
)
def test_what_is_no_path(name, ask, value, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        ask(value)
    text = str(caught.value)
    assert text.startswith(f"{name} must be a path")
    assert message in text
    assert len(text) < 170


@pytest.mark.parametrize("kind", ["pipe", "folder", "endless"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.bin", lambda folder: read_events(folder / "a.bin")),
        ("test_batch.bin", lambda folder: cifar10.read_split(folder, "test")),
        ("cifar-10-binary.tar.gz", lambda folder: cifar10.read_split(folder / "cifar-10-binary.tar.gz", "test")),
        ("images", lambda folder: idx.read_images(folder / "images")),
    ],
)
def test_only_regular_files_are_read(tmp_path, kind, name, read):
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        (path / "test_batch.bin").mkdir(parents=True)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"no regular file$"):
        read(tmp_path)


def test_a_file_is_read_up_to_its_bound(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(1000))
    assert files.read_bounded(path, 1000) == bytes(1000)
    with pytest.raises(DataError, match=r"file: more than 999 bytes, which is more than the data set has$"):
        files.read_bounded(path, 999)
    os.truncate(path, 2**40)
    tracemalloc.start()
    with pytest.raises(DataError, match="more than 999 bytes"):
        files.read_bounded(path, 999)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


@pytest.mark.parametrize("suffix", [".gz", ".GZ", ".tgz"])
def test_packed_files_are_told_by_their_names(tmp_path, suffix):
    path = tmp_path / ("file" + suffix)
    path.write_bytes(gzip.compress(b"content"))
    assert files.read_bounded(path, 7) == b"content"
    with pytest.raises(DataError, match="more than 6 bytes"):
        files.read_bounded(path, 6)


@pytest.mark.parametrize("read", [read_events, idx.read_images, lambda path: cifar10.read_split(path.parent, "test")])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(bytes(100)), "this is a gzip file: unpack it, or add .gz to its name"),
        (b"PK\3\4" + bytes(96), "this is a zip file: unpack it"),
    ],
    ids=["gzip", "zip"],  # the content holds the time
)
def test_a_packed_file_under_the_unpacked_name_is_called_so(tmp_path, read, content, message):
    path = tmp_path / "test_batch.bin"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: {message}"


def test_the_first_whole_file_is_taken_and_the_damaged_ones_are_named():
    def read(path):
        if "bad" in path.name:
            raise DataError(f"{path}: damaged")
        return path.name.upper()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert files.first_whole([Path("a"), Path("bad")], read) == (Path("a"), "A")
    with pytest.warns(UserWarning, match=r"^bad: damaged; b is read in its place$"):
        assert files.first_whole([Path("bad"), Path("b")], read) == (Path("b"), "B")
    with pytest.raises(DataError, match=r"^bad1: damaged$"):
        files.first_whole([Path("bad1"), Path("bad2")], read)

"""A folder that is there but may not be read is named as such; it is not called empty, missing or damaged."""

import errno
import os

import pytest

from tsslbp_ref.datasets import NMNIST, available, fetch


@pytest.fixture
def deny(monkeypatch):
    """Return a function that takes a folder's read permission away; root, who may run the tests, reads everything."""
    denied = set()

    def refuse_or(function):
        def call(path="."):
            if os.path.normpath(path) in denied:
                raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
            return function(path)

        return call

    monkeypatch.setattr(os, "scandir", refuse_or(os.scandir))
    monkeypatch.setattr(os, "listdir", refuse_or(os.listdir))
    return lambda folder: denied.add(str(folder))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar-10", "n-mnist"])
@pytest.mark.parametrize("part", ["parent", "subfolder"])
def test_the_search_stops_at_a_folder_that_cannot_be_read(tmp_path, monkeypatch, deny, name, part):
    (tmp_path / "data" / name).mkdir(parents=True)
    unreadable = tmp_path / "data" / name if part == "subfolder" else tmp_path / "data"
    deny(unreadable)
    with pytest.raises(PermissionError) as caught:
        fetch.find_or_download(name, "train", tmp_path / "data")
    assert str(caught.value) == f"[Errno 13] cannot read the folder {unreadable}: Permission denied"
    monkeypatch.setenv("TSSLBP_DATA", str(tmp_path / "data"))
    for search in (lambda: fetch.find_or_download(name, "train"), lambda: available(name)):
        with pytest.raises(PermissionError, match=f"cannot read the folder {unreadable}: Permission denied$"):
            search()


@pytest.mark.parametrize("name", ["Train", "Train/3"])
def test_a_split_or_class_of_n_mnist_that_cannot_be_read_is_not_called_empty(tmp_path, deny, name):
    for digit in range(10):
        (tmp_path / "Train" / str(digit)).mkdir(parents=True)
        (tmp_path / "Train" / str(digit) / "00001.bin").write_bytes(bytes(5))
    assert len(NMNIST(tmp_path, "train")) == 10
    deny(tmp_path / name)
    with pytest.raises(PermissionError, match=f"cannot read the folder {tmp_path / name}: Permission denied$"):
        NMNIST(tmp_path, "train")

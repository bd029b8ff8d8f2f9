"""Where a data set is looked for, in which order, and under which names of folders; what is not taken for one."""

import io
import tarfile
from pathlib import Path

import pooch
import pytest
from made_idx import see_nothing_of_this_machine, write_idx_set

from tsslbp_ref.datasets import NMNIST, MissingSplitError, available, fetch, load_images


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    see_nothing_of_this_machine(tmp_path, monkeypatch)


def test_search_order(tmp_path, monkeypatch):
    explicit = write_idx_set(tmp_path / "explicit")
    named = write_idx_set(tmp_path / "named" / "fashion-mnist")
    system = write_idx_set(tmp_path / "debian" / "fashion-mnist")
    monkeypatch.setenv("TSSLBP_DATA", str(tmp_path / "named"))
    assert load_images("fashion-mnist", "train", data_dir=explicit).source == str(explicit)
    assert load_images("fashion-mnist", "train").source == str(named)
    (tmp_path / "without it").mkdir()
    monkeypatch.setenv("TSSLBP_DATA", str(tmp_path / "without it"))
    assert load_images("fashion-mnist", "train").source == str(system)
    assert available("fashion-mnist") == system
    assert available("mnist") is None  # Debian's folder is for Fashion-MNIST only


def test_parent_and_folder_itself(tmp_path):
    folder = write_idx_set(tmp_path / "mnist")
    assert available("mnist", tmp_path) == folder
    assert available("mnist", folder) == folder
    assert available("mnist", tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("mnist", "MNIST/raw"),  # torchvision
        ("fashion-mnist", "FashionMNIST/raw"),
        ("fashion-mnist", "fashion_mnist"),
        ("fashion-mnist", "Fashion MNIST/extract"),
        ("mnist", "raw"),
        ("mnist", "extract"),
    ],
)
def test_layouts_of_other_libraries(tmp_path, monkeypatch, name, layout):
    folder = write_idx_set(tmp_path / "root" / layout)
    for given in {tmp_path / "root", folder.parent, folder}:
        assert available(name, given) == folder
        assert load_images(name, "test", given, download=False).source == str(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TSSLBP_DATA", "~/root")
    assert available(name) == available(name, "~/root") == folder
    monkeypatch.delenv("TSSLBP_DATA")
    monkeypatch.setenv("TSSLBP_CACHE", "~/root")
    assert fetch.cache_folder() == tmp_path / "root"


@pytest.mark.parametrize("folder", ["MNIST", "MNIST/raw", "FashionMNIST", "FashionMNIST/raw"])
def test_of_two_sets_with_the_same_file_names_the_right_one_is_taken(tmp_path, folder):
    for other in ("MNIST", "FashionMNIST"):
        write_idx_set(tmp_path / other / "raw")
    assert available("mnist", tmp_path) == tmp_path / "MNIST" / "raw"
    assert available("fashion-mnist", tmp_path) == tmp_path / "FashionMNIST" / "raw"
    own, other = ("mnist", "fashion-mnist") if folder.startswith("M") else ("fashion-mnist", "mnist")
    assert available(own, tmp_path / folder) == tmp_path / folder.split("/")[0] / "raw"
    assert available(other, tmp_path / folder) is None


def test_of_two_spellings_our_own_is_taken(tmp_path):
    write_idx_set(tmp_path / "MNIST" / "raw")
    own = write_idx_set(tmp_path / "mnist")
    assert available("mnist", tmp_path) == own


@pytest.mark.parametrize("layout", ["MNIST/unpacked", "KMNIST/raw", "MNIST/raw/deeper"])
def test_pictures_in_other_folders_are_not_taken_for_a_set(tmp_path, layout):
    write_idx_set(tmp_path / layout)
    assert available("mnist", tmp_path) is None


@pytest.mark.parametrize("layout", ["NMNIST", "n_mnist", "N-MNIST/extract", "extract", ""])
def test_layouts_of_n_mnist(tmp_path, layout):
    for path in (tmp_path / layout / split / str(digit) for split in ("Train", "Test") for digit in range(10)):
        path.mkdir(parents=True)
        (path / "00001.bin").write_bytes(bytes(5))
    assert NMNIST(tmp_path, "train").source == str(tmp_path / layout / "Train")


@pytest.mark.parametrize(
    "layout",
    ["cifar-10-batches-bin", "CIFAR10/cifar-10-batches-bin", "a/cifar-10-batches-bin", "a/b/cifar-10-batches-bin"],
)
def test_layouts_of_cifar_10(tmp_path, layout):
    folder = tmp_path / "root" / layout
    folder.mkdir(parents=True)
    (folder / "test_batch.bin").write_bytes(bytes([5]) + bytes(3072))
    assert load_images("cifar-10", "test", tmp_path / "root").labels.tolist() == [5]


def test_folder_named_after_another_set_is_not_taken(tmp_path, monkeypatch):
    folder = write_idx_set(tmp_path / "fashion-mnist")
    assert available("fashion-mnist", folder) == folder
    assert available("mnist", folder) is None
    with pytest.raises(FileNotFoundError, match=r"fashion-mnist \(not taken: its name is another set's\)$"):
        load_images("mnist", "train", data_dir=folder)
    monkeypatch.setenv("TSSLBP_DATA", str(folder))
    assert available("mnist") is None


def test_explicit_folder_does_not_fall_through(tmp_path, monkeypatch):
    write_idx_set(tmp_path / "named" / "mnist")
    monkeypatch.setenv("TSSLBP_DATA", str(tmp_path / "named"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError) as caught:
        load_images("mnist", "train", data_dir=tmp_path / "empty")
    text = str(caught.value)
    assert text.startswith("mnist not found: looked for train-images[-.]idx3-ubyte*")
    assert text.endswith(str(tmp_path / "empty"))
    assert "\n" not in text
    assert available("mnist", tmp_path / "empty") is None


@pytest.mark.parametrize("ask", [load_images, available])
def test_a_mistyped_variable_is_an_error_not_another_place(tmp_path, monkeypatch, ask):
    write_idx_set(tmp_path / "debian" / "fashion-mnist")
    monkeypatch.setenv("TSSLBP_DATA", str(tmp_path / "mistyped"))
    with pytest.raises(FileNotFoundError, match=r"TSSLBP_DATA names \S+mistyped, but there is no such folder"):
        ask("fashion-mnist", *(["train"] if ask is load_images else []))


def test_not_found_without_download_names_every_place(tmp_path, monkeypatch):
    (tmp_path / "named").mkdir()
    monkeypatch.setenv("TSSLBP_DATA", str(tmp_path / "named"))
    with pytest.raises(FileNotFoundError) as caught:
        load_images("fashion-mnist", "train", download=False)
    for place in (tmp_path / "named", tmp_path / "debian" / "fashion-mnist", tmp_path / "cache"):
        assert str(place) in str(caught.value)
    assert "download is off" in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_part_of_a_set_is_an_error_not_another_place(tmp_path, monkeypatch):
    write_idx_set(tmp_path / "named" / "fashion-mnist", splits=("train",))
    write_idx_set(tmp_path / "debian" / "fashion-mnist")
    monkeypatch.setenv("TSSLBP_DATA", str(tmp_path / "named"))
    with pytest.raises(MissingSplitError, match=r"named/fashion-mnist: the test split is incomplete"):
        load_images("fashion-mnist", "test")


def test_cifar_archive_named_directly(tmp_path):
    path = tmp_path / "my-cifar.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("x/test_batch.bin")
        info.size = 3073
        archive.addfile(info, io.BytesIO(bytes([5]) + bytes(3072)))
    assert load_images("cifar-10", "test", data_dir=path).labels.tolist() == [5]
    assert available("mnist", path) is None


def test_default_cache_is_pooch_s(monkeypatch):

    monkeypatch.delenv("TSSLBP_CACHE")
    assert fetch.cache_folder() == Path(pooch.os_cache("tsslbp_ref"))


def test_an_empty_pathlike_setting_counts_as_unset(monkeypatch):
    monkeypatch.setenv("TSSLBP_DATA", "")
    assert fetch.search_folders("mnist") == ()

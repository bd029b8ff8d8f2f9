"""Loading by name, normalisation, and the crop and flip augmentation."""

import dataclasses
import hashlib
import struct

import numpy as np
import pytest

from tsslbp_ref.datasets import DataError, augment_crop_flip, fetch, images, load_images, normalise


def idx_labels(labels):
    return struct.pack(">2I", 0x0801, len(labels)) + bytes(labels)


def write_idx_set(folder, n_train=4, n_test=3):
    folder.mkdir(parents=True, exist_ok=True)
    for stem, n in (("train", n_train), ("t10k", n_test)):
        pixels = np.random.default_rng(n).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 0x0803, n, 28, 28) + pixels.tobytes())
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(idx_labels([i % 10 for i in range(n)]))


def write_cifar(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, n in (("data_batch_1.bin", 4), ("test_batch.bin", 3)):
        (folder / name).write_bytes(b"".join(bytes([i]) + bytes([50 * i] * 3072) for i in range(n)))


@pytest.mark.parametrize(
    ("name", "folder", "shape"),
    [
        ("mnist", "mnist", (1, 28, 28)),
        ("fashion-mnist", "fashion-mnist", (1, 28, 28)),
        ("cifar-10", "cifar-10-made", (3, 32, 32)),
    ],
)
def test_all_sets_by_name(tmp_path, name, folder, shape):
    (write_cifar if name == "cifar-10" else write_idx_set)(tmp_path / folder)
    for split, n in (("train", 4), ("test", 3)):
        loaded = load_images(name, split, data_dir=tmp_path)
        assert loaded.images.shape == (n, *shape)
        assert (loaded.images.dtype, loaded.labels.dtype) == (np.uint8, np.int64)
        assert loaded.labels.tolist() == list(range(n))
        assert (loaded.name, loaded.split, loaded.source) == (name, split, str(tmp_path / folder))
        assert len(loaded) == n
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.name = "other"
    with pytest.raises(ValueError, match="read-only"):
        loaded.images[0] = 0


def test_unknown_names(tmp_path):
    with pytest.raises(ValueError, match=r"unknown data set 'fashion_mnist'.*did you mean 'fashion-mnist'"):
        load_images("fashion_mnist", "train", data_dir=tmp_path)
    with pytest.raises(ValueError, match="unknown data set 'n-mnist'"):
        load_images("n-mnist", "train", data_dir=tmp_path)
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        load_images("mnist", "valid", data_dir=tmp_path)


def test_another_sets_labels_are_refused(tmp_path, monkeypatch):
    write_idx_set(tmp_path / "folder")
    labels = (tmp_path / "folder" / "t10k-labels-idx1-ubyte").read_bytes()
    fashion = fetch.REMOTE_FILES["fashion-mnist"]
    known = dataclasses.replace(fashion["test"][1], sha256=hashlib.sha256(labels).hexdigest())
    monkeypatch.setitem(fashion, "test", (fashion["test"][0], known))
    assert len(load_images("fashion-mnist", "test", data_dir=tmp_path / "folder")) == 3
    with pytest.raises(DataError, match=r"asked for mnist \(test\), but this is fashion-mnist \(test\)"):
        load_images("mnist", "test", data_dir=tmp_path / "folder")
    for kind in ("images-idx3", "labels-idx1"):
        (tmp_path / "folder" / f"t10k-{kind}-ubyte").rename(tmp_path / "folder" / f"train-{kind}-ubyte")
    with pytest.raises(DataError, match=r"asked for fashion-mnist \(train\), but this is fashion-mnist \(test\)"):
        load_images("fashion-mnist", "train", data_dir=tmp_path / "folder")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalisation_per_channel(dtype):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
    result = normalise(pixels, "cifar-10", dtype)
    assert result.dtype == dtype
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    for channel in range(3):
        expected = (pixels[:, channel] / 255 - mean[channel]) / std[channel]
        np.testing.assert_allclose(result[:, channel], expected, atol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_normalisation_of_the_grey_sets(name):
    black, white = normalise(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1), name, "float64").ravel()
    assert black == pytest.approx(-0.1307 / 0.3081, rel=1e-14)
    assert white == pytest.approx((1 - 0.1307) / 0.3081, rel=1e-14)


def test_normalisation_checks_its_arguments():
    grey = np.zeros((2, 1, 28, 28), np.uint8)
    with pytest.raises(TypeError, match="raw pixels of dtype uint8, got float32"):
        normalise(grey.astype(np.float32), "mnist")
    with pytest.raises(ValueError, match=r"must have shape \(n, 3, H, W\) for cifar-10, got \(2, 1, 28, 28\)"):
        normalise(grey, "cifar-10")
    with pytest.raises(ValueError, match="unknown data set 'imagenet'"):
        normalise(grey, "imagenet")
    with pytest.raises(ValueError, match="dtype must be one of"):
        normalise(grey, "mnist", "float16")


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_augmentation_follows_its_definition(dtype):
    pictures = np.random.default_rng(1).integers(1, 256, (64, 3, 10, 12), dtype=np.uint8).astype(dtype)
    before = pictures.copy()
    result = augment_crop_flip(pictures, np.random.default_rng(7))
    draws = np.random.default_rng(7)
    rows, columns = draws.integers(0, 9, 64), draws.integers(0, 9, 64)
    flips = draws.random(64) < 0.5
    for i in range(64):
        expected = np.zeros((3, 10, 12), dtype)
        for y in range(10):
            for x in range(12):
                from_y, from_x = y + rows[i] - 4, (11 - x if flips[i] else x) + columns[i] - 4
                if 0 <= from_y < 10 and 0 <= from_x < 12:
                    expected[:, y, x] = pictures[i, :, from_y, from_x]
        np.testing.assert_array_equal(result[i], expected)
    assert result.dtype == dtype
    assert {*rows, *columns} == set(range(9))
    assert 16 < flips.sum() < 48
    np.testing.assert_array_equal(pictures, before)


def test_augmentation_is_seeded():
    pictures = np.random.default_rng(1).integers(0, 256, (8, 1, 28, 28), dtype=np.uint8)
    same = [augment_crop_flip(pictures, np.random.default_rng(3)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert (augment_crop_flip(pictures, np.random.default_rng(4)) != same[0]).any()


def test_raw_border_is_black_after_normalisation():
    white = np.full((200, 3, 32, 32), 255, np.uint8)
    recipe = normalise(augment_crop_flip(white, np.random.default_rng(0)), "cifar-10", "float64")
    darkest = -np.array(images.CIFAR10_MEAN) / np.array(images.CIFAR10_STD)
    np.testing.assert_allclose(recipe.min(axis=(0, 2, 3)), darkest)


def test_augmentation_checks_its_arguments():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="images must have 4 axes"):
        augment_crop_flip(np.zeros((28, 28), np.uint8), rng)
    with pytest.raises(TypeError, match="images must be uint8, float32 or float64, got int64"):
        augment_crop_flip(np.zeros((1, 1, 4, 4), np.int64), rng)
    with pytest.raises(TypeError, match=r"rng must be a numpy.random.Generator, got int"):
        augment_crop_flip(np.zeros((1, 1, 4, 4), np.uint8), 0)

"""The IDX reader: what it accepts, and the one line it gives for each kind of damage."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from tsslbp_ref.datasets import DataError, MissingSplitError, idx

IMAGE_MAGIC = 0x0803
LABEL_MAGIC = 0x0801


def images_content(images):
    return struct.pack(">4I", IMAGE_MAGIC, *images.shape) + images.tobytes()


def labels_content(labels):
    return struct.pack(">2I", LABEL_MAGIC, len(labels)) + bytes(labels)


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)


def write(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_pictures_plain_and_packed(tmp_path, pictures, name):
    read = idx.read_images(write(tmp_path / name, images_content(pictures)))
    assert read.shape == (5, 1, 28, 28)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read[:, 0], pictures)


@pytest.mark.parametrize("name", ["labels", "labels.gz"])
def test_labels_plain_and_packed(tmp_path, name):
    read = idx.read_labels(write(tmp_path / name, labels_content([3, 0, 9])))
    assert read.dtype == np.int64
    assert read.tolist() == [3, 0, 9]


def image_damage():
    good = images_content(np.ones((2, 28, 28), np.uint8))
    huge = struct.pack(">4I", IMAGE_MAGIC, 2**32 - 1, 2**32 - 1, 2**32 - 1)
    packed = gzip.compress(good)
    return [
        ("plain", b"", "is empty"),
        ("zero.gz", b"", "is empty"),
        ("nothing.gz", gzip.compress(b""), "truncated IDX file, 0 bytes where the header alone has 16"),
        ("text.gz", b"<html>not found</html>", "not a valid gzip file"),
        ("cut.gz", packed[: len(packed) // 2], "truncated gzip file"),
        ("flipped.gz", packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:], "not a valid gzip file"),
        ("mangled.gz", packed[:10] + b"\xff" + packed[11:], "not a valid gzip file"),
        ("cut", good[:-1], "truncated IDX file, the header says 2 x 28 x 28 = 1568 bytes, got 1567"),
        ("header", good[:7], "truncated IDX file, 7 bytes where the header alone has 16"),
        ("long", good + b"\0", "too long IDX file, the header says 2 x 28 x 28 = 1568 bytes, got more"),
        ("huge", huge, "28 x 28 pixels, got 4294967295 x 4294967295"),
        ("many", struct.pack(">4I", IMAGE_MAGIC, 60_001, 28, 28), "must be 1 to 60000, the header says 60001"),
        ("packed", packed, "this is a gzip file: unpack it, or add .gz to its name"),
        ("unpacked.gz", good, r"it begins with b'\x00\x00\x08\x03'; if unpacked, it needs another name"),
        ("zipped", b"PK\3\4" + good[4:], "this is a zip file: unpack it"),
        ("labels", labels_content([1] * 20), "wrong IDX magic number, expected 0x00000803, got 0x00000801"),
        ("other", b"<htm" + good[4:], "wrong IDX magic number"),
        (
            "none",
            images_content(np.ones((0, 28, 28), np.uint8)),
            "must be 1 to 60000, the header says 0",
        ),
        ("small", images_content(np.ones((2, 14, 56), np.uint8)), "28 x 28 pixels, got 14 x 56"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"), image_damage(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_damaged_pictures(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        idx.read_images(path)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path))
    assert "\n" not in text


def test_a_gz_file_is_read_to_its_checksum_and_length(tmp_path, pictures):
    packed = gzip.compress(images_content(pictures), 0)  # level 0 stores the pixels as they are
    path = tmp_path / "images.gz"
    for missing in (1, 8, 9, 20):
        path.write_bytes(packed[:-missing])
        with pytest.raises(DataError, match=r"images\.gz: truncated gzip file"):
            idx.read_images(path)
    for place, reason in ((len(packed) // 2, "CRC check failed"), (-8, "CRC check failed"), (-4, "Incorrect length")):
        damaged = bytearray(packed)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"images\.gz: not a valid gzip file \({reason}"):
            idx.read_images(path)


def test_damaged_labels(tmp_path):
    with pytest.raises(DataError, match=r"labels must lie in 0 \.\. 9, got 10 at index 2"):
        idx.read_labels(write(tmp_path / "labels", labels_content([1, 2, 10])))
    with pytest.raises(DataError, match="wrong IDX magic number"):
        idx.read_labels(write(tmp_path / "images", images_content(np.ones((1, 28, 28), np.uint8))))


def test_split_prefers_the_plain_file(tmp_path, pictures):
    write(tmp_path / "t10k-images-idx3-ubyte", images_content(pictures))
    for name in ("t10k-images-idx3-ubyte.gz", "T10K-images-idx3-ubyte.gz"):  # the latter is the first by name
        (tmp_path / name).write_bytes(b"never read")
    write(tmp_path / "t10k-labels-idx1-ubyte.gz", labels_content([1, 2, 3, 4, 5]))
    images, labels = idx.read_split(tmp_path, "test")
    np.testing.assert_array_equal(images[:, 0], pictures)
    assert labels.tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("images_name", "labels_name"),
    [
        ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("t10k-images.idx3-ubyte.gz", "t10k-labels.idx1-ubyte.gz"),
        ("t10k-images-idx3-ubyte.GZ", "T10K-LABELS-IDX1-UBYTE.GZ"),
        ("t10k-images-idx3-ubyte/t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte/t10k-labels.idx1-ubyte"),
        ("t10k-images-idx3-ubyte.gz/t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte.gz/t10k-labels-idx1-ubyte.gz"),
    ],
)
def test_other_spellings_of_the_names(tmp_path, pictures, images_name, labels_name):
    for name, content in ((images_name, images_content(pictures)), (labels_name, labels_content([1, 2, 3, 4, 5]))):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix.lower() == ".gz" else content)
    images, labels = idx.read_split(tmp_path, "test")
    np.testing.assert_array_equal(images[:, 0], pictures)
    assert labels.tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(MissingSplitError, match="train split is incomplete"):
        idx.read_split(tmp_path, "train")


def test_a_whole_packed_file_is_read_instead_of_a_half_unpacked_one(tmp_path, pictures):
    whole = images_content(pictures)
    packed = write(tmp_path / "t10k-images-idx3-ubyte.gz", whole)
    write(tmp_path / "t10k-labels-idx1-ubyte", labels_content([1, 2, 3, 4, 5]))
    for content in (b"", whole[:7], whole[:-1], whole[:2000], gzip.compress(whole)):
        plain = write(tmp_path / "t10k-images-idx3-ubyte", content)
        with pytest.warns(UserWarning, match=rf"^{plain}: .*; {packed} is read in its place$"):
            images, labels = idx.read_split(tmp_path, "test")
        np.testing.assert_array_equal(images[:, 0], pictures)
        assert labels.tolist() == [1, 2, 3, 4, 5]
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"idx3-ubyte: this is a gzip file"):
        idx.read_split(tmp_path, "test")


@pytest.mark.parametrize("name", ["images.gz", "images"])
def test_no_more_is_unpacked_than_the_header_promises(tmp_path, name):
    content = images_content(np.ones((2, 28, 28), np.uint8)) + bytes(2 * 10**7)
    write(tmp_path / name, content)
    tracemalloc.start()
    with pytest.raises(DataError, match="too long IDX file, the header says 2 x 28 x 28 = 1568 bytes, got more"):
        idx.read_images(tmp_path / name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20


def test_images_and_labels_must_be_equally_many(tmp_path, pictures):
    write(tmp_path / "train-images-idx3-ubyte", images_content(pictures))
    write(tmp_path / "train-labels-idx1-ubyte", labels_content([1, 2]))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte: 5 images, but .*train-labels-idx1-ubyte holds 2"):
        idx.read_split(tmp_path, "train")


@pytest.mark.parametrize("caught_as", [DataError, ValueError, FileNotFoundError])
def test_missing_split_is_both_kinds_of_error(tmp_path, pictures, caught_as):
    write(tmp_path / "train-images-idx3-ubyte", images_content(pictures))
    with pytest.raises(
        caught_as, match=r"the train split is incomplete, train-labels-idx1-ubyte\[.gz\] is missing"
    ) as e:
        idx.read_split(tmp_path, "train")
    assert e.type is MissingSplitError


def test_unknown_split_and_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"unknown split 'tset'.*did you mean 'test'"):
        idx.read_split(tmp_path, "tset")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        idx.read_images(tmp_path / "nowhere")

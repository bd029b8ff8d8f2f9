"""CIFAR-10: both versions, from folders and archives, and what damaged or hostile files give."""

import errno
import gzip
import io
import os
import pickle
import pickletools
import tarfile

import numpy as np
import pytest

from tsslbp_ref.datasets import DataError, MissingSplitError, cifar10


def make_batch(n, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, n)


def binary(images, labels):
    return np.hstack([labels[:, None].astype(np.uint8), images.reshape(len(images), -1)]).tobytes()


def python(images, labels, protocol=2):
    data = images.reshape(len(images), -1)
    entries = {b"batch_label": b"batch", b"labels": labels.tolist(), b"data": data, b"filenames": [b"a.png"]}
    return pickle.dumps(entries, protocol)


def python_2(images, labels):
    """Write the opcodes that Python 2 and its numpy wrote for the official files: str values, numpy.core.multiarray."""

    def string(text):
        return b"T" + len(text).to_bytes(4, "little") + text

    def integer(value):
        return b"J" + int(value).to_bytes(4, "little", signed=True)

    dtype = b"cnumpy\ndtype\n" + string(b"u1") + integer(0) + integer(1) + b"\x87R"
    dtype += b"(" + integer(3) + string(b"|") + b"NNN" + integer(-1) + integer(-1) + integer(0) + b"tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + integer(0) + b"\x85" + string(b"b") + b"\x87R"
    state = (
        b"(" + integer(1) + integer(len(images)) + integer(3072) + b"\x86" + dtype + b"\x89" + string(images.tobytes())
    )
    numbers = b"](" + b"".join(integer(label) for label in labels) + b"e"
    content = b"\x80\x02}(" + string(b"data") + array + state + b"tb" + string(b"labels") + numbers + b"u."
    pickletools.dis(content, io.StringIO())  # the hand-written pickle is well formed
    return content


def make_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


FIRST, SECOND, TENTH, TEST = make_batch(3, 1), make_batch(2, 2), make_batch(2, 3), make_batch(4, 4)
TRAIN_IMAGES = np.concatenate([FIRST[0], SECOND[0], TENTH[0]])
TRAIN_LABELS = np.concatenate([FIRST[1], SECOND[1], TENTH[1]])
ENCODINGS = {
    "binary": (binary, ".bin"),
    "python 2": (python_2, ""),
    "python protocol 2": (python, ""),
    "python protocol 4": (lambda *batch: python(*batch, protocol=4), ""),
    "python protocol 5": (lambda *batch: python(*batch, protocol=5), ""),
}


def files(encoding):
    encode, suffix = ENCODINGS[encoding]
    names = [("data_batch_10", TENTH), ("data_batch_2", SECOND), ("data_batch_1", FIRST), ("test_batch", TEST)]
    return [(name + suffix, encode(*batch)) for name, batch in names] + [("batches.meta.txt", b"cat\n")]


def check(path):
    images, labels = cifar10.read_split(path, "train")
    np.testing.assert_array_equal(images, TRAIN_IMAGES)  # batch 10 comes last
    np.testing.assert_array_equal(labels, TRAIN_LABELS)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    images, labels = cifar10.read_split(path, "test")
    np.testing.assert_array_equal(images, TEST[0])
    np.testing.assert_array_equal(labels, TEST[1])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_version_from_folder_and_archive(tmp_path, encoding):
    folder = "cifar-10-batches-bin" if encoding == "binary" else "cifar-10-batches-py"
    archive = "cifar-10-binary.tar.gz" if encoding == "binary" else "cifar-10-python.tar.gz"
    (tmp_path / "extracted" / folder).mkdir(parents=True)
    for name, content in files(encoding):
        (tmp_path / "extracted" / folder / name).write_bytes(content)
    (tmp_path / "packed").mkdir()
    packed = make_tar(
        tmp_path / "packed" / archive, [(f"{folder}/{name}", content) for name, content in files(encoding)]
    )
    check(tmp_path / "extracted" / folder)
    check(tmp_path / "extracted")
    check(packed)
    check(tmp_path / "packed")


def test_pixel_order_is_red_green_blue_planes_row_by_row(tmp_path):
    record = bytes([7]) + bytes([10] * 1024) + bytes([20] * 1024) + bytes([30] * 31) + bytes([99]) + bytes([30] * 992)
    (tmp_path / "test_batch.bin").write_bytes(record)
    images, labels = cifar10.read_split(tmp_path, "test")
    assert labels.tolist() == [7]
    assert images[0, :, 5, 5].tolist() == [10, 20, 30]
    assert images[0, 2, 0, 31] == 99


def read_error(path, split="train"):
    with pytest.raises(DataError) as caught:
        cifar10.read_split(path, split)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (binary(*FIRST)[:-1], "multiple of 3073 bytes, got 9218 bytes"),
        (binary(FIRST[0], np.array([1, 11, 2])), "labels must lie in 0 .. 9, got 11 in record 1"),
    ],
)
def test_damaged_binary_batch(tmp_path, content, message):
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    assert message in read_error(tmp_path)


def pickled(**entries):
    return pickle.dumps({key.encode(): value for key, value in entries.items()}, 2)


GOOD_DATA = FIRST[0].reshape(3, -1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (python(*FIRST)[:-40], "not a CIFAR-10 python batch"),
        (b"no pickle at all", "not a CIFAR-10 python batch"),
        (pickle.dumps([1, 2]), "not a CIFAR-10 python batch"),
        (pickled(labels=[1, 2, 3]), "no entry 'data'"),
        (pickled(data=GOOD_DATA), "no entry 'labels'"),
        (pickled(data=[1, 2], labels=[1, 2]), "'data' is no array"),
        (pickled(data=GOOD_DATA.astype(np.int16), labels=[1, 2, 3]), "uint8 array"),
        (pickled(data=np.asfortranarray(GOOD_DATA), labels=[1, 2, 3]), "in C order"),
        (pickled(data=GOOD_DATA[:, :100], labels=[1, 2, 3]), "3072"),
        (pickled(data=GOOD_DATA, labels=[1, 2]), "2 labels need 6144 bytes of pixels, got 9216"),
        (pickled(data=GOOD_DATA, labels=[1, 2, -1]), "labels must lie in 0 .. 9, got -1 in record 2"),
        (pickled(data=GOOD_DATA, labels=["a", "b", "c"]), "'labels' is no list of integers"),
        (pickled(data=GOOD_DATA[:0], labels=[]), "not a CIFAR-10 python batch"),
    ],
)
def test_damaged_python_batch(tmp_path, content, message):
    (tmp_path / "data_batch_1").write_bytes(content)
    assert message in read_error(tmp_path)


class Hostile:
    """A pickle of this runs a command when a plain unpickler reads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_pickle_cannot_call_anything(tmp_path):
    trap = tmp_path / "made by the pickle"
    (tmp_path / "data_batch_1").write_bytes(pickled(data=GOOD_DATA, labels=[1, 2, 3], extra=Hostile(str(trap))))
    assert "the name 'posix.mkdir' is not allowed" in read_error(tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize(
    "name", ["numpy.load", "numpy.core.multiarray.fromfile", "builtins.eval", "numpy.ndarray.tofile"]
)
def test_other_names_are_refused(tmp_path, name):
    module, _, function = name.rpartition(".")
    (tmp_path / "data_batch_1").write_bytes(f"c{module}\n{function}\n.".encode())
    assert f"the name '{name}' is not allowed" in read_error(tmp_path)


@pytest.mark.parametrize("name", ["../data_batch_2.bin", "a/../../x.txt", "/etc/x.txt", "..\\x.txt", "C:\\x.txt"])
def test_archive_that_climbs_out_is_refused(tmp_path, name):
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", [("c/data_batch_1.bin", binary(*FIRST)), (name, b"x")])
    before = sorted(tmp_path.rglob("*"))
    assert "climbs out of the archive" in read_error(path)
    assert sorted(tmp_path.rglob("*")) == before  # nothing was extracted


@pytest.mark.parametrize(("kind", "target"), [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../secret")])
def test_link_that_climbs_out_is_refused(tmp_path, kind, target):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("c/data_batch_1.bin")
        info.type, info.linkname = kind, target
        archive.addfile(info)
    assert "climbs out of the archive" in read_error(path)


def test_link_inside_the_archive_is_no_batch(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("c/data_batch_1.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "other"
        archive.addfile(info)
    assert "is no regular file" in read_error(path)


def test_same_name_twice_in_an_archive(tmp_path):
    members = [("a/data_batch_1.bin", binary(*FIRST)), ("b/data_batch_1.bin", binary(*SECOND))]
    assert "more than one member" in read_error(make_tar(tmp_path / "cifar-10-binary.tar.gz", members))


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9, 0.999])
def test_truncated_archive(tmp_path, fraction):
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", [(f"c/{name}", content) for name, content in files("binary")])
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    assert "not a valid tar.gz file, or truncated" in read_error(path)


@pytest.mark.parametrize("n", [1, 10])
@pytest.mark.parametrize("batch", [2, 3])
def test_a_damaged_header_inside_an_archive_is_not_its_end(tmp_path, batch, n):
    """The checksum of gzip is right where the tar was damaged before it was packed; batch 3 is zeros, as the end is."""
    members = [(f"c/data_batch_{number}.bin", bytes([3 - number]) * 3073 * n) for number in (1, 2, 3)]
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", members)
    assert cifar10.read_split(path, "train")[1].tolist() == n * [2] + n * [1] + n * [0]
    damaged = bytearray(gzip.decompress(path.read_bytes()))
    damaged[damaged.index(b"data_batch_%d" % batch)] ^= 1
    path.write_bytes(gzip.compress(damaged))
    assert "not a valid tar.gz file, a header in it is damaged" in read_error(path)


@pytest.mark.parametrize("missing", [1, 4, 8, 9, 20])
def test_an_archive_cut_at_its_end_is_refused(tmp_path, missing):
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", [(f"c/{name}", content) for name, content in files("binary")])
    path.write_bytes(path.read_bytes()[:-missing])
    assert "not a valid tar.gz file, or truncated" in read_error(path)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("level", [0, 9])
def test_an_archive_with_one_wrong_byte_is_refused(tmp_path, level, split):
    """Uncompressed blocks hold the pixels themselves: nothing but the checksum at the end notices."""
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", [(f"c/{name}", content) for name, content in files("binary")])
    packed = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), level))
    packed[len(packed) // 3] ^= 1
    path.write_bytes(packed)
    assert "not a valid tar.gz file, or truncated" in read_error(path, split)


@pytest.mark.parametrize(("place", "message"), [(-8, "CRC check failed"), (-4, "Incorrect length")])
def test_the_checksum_and_the_length_at_the_end_of_an_archive_are_compared(tmp_path, place, message):
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", [("c/test_batch.bin", binary(*TEST))])
    packed = bytearray(path.read_bytes())
    packed[place] ^= 1
    path.write_bytes(packed)
    assert message in read_error(path, "test")


def test_an_archive_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", [("c/test_batch.bin", binary(*TEST))])

    def deny(*arguments, **keywords):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", deny)  # root may read everything
    with pytest.raises(PermissionError, match=r"Permission denied: '.*cifar-10-binary\.tar\.gz'") as caught:
        cifar10.read_split(path, "test")
    assert "not a valid" not in str(caught.value)


def test_an_archive_is_unpacked_up_to_what_cifar_10_has(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MOST_UNPACKED", 2**20)
    for name in ("c/test_batch.bin", "c/other"):
        path = make_tar(tmp_path / "cifar-10-binary.tar.gz", [(name, bytes(5 * 2**20))])
        assert "more than 1048576 bytes, which is more than the data set has" in read_error(path, "test")


def test_batches_are_read_up_to_what_a_split_has(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar10, "MOST_BYTES", 4 * 3073)
    members = [(name, binary(*FIRST[:2])) for name in ("data_batch_1.bin", "data_batch_2.bin")]
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", members)
    assert "more than 12292 bytes of the train split" in read_error(path)
    for name, content in members:
        (tmp_path / name).write_bytes(content)
    path.unlink()
    assert "data_batch_2.bin: more than 3073 bytes" in read_error(tmp_path)


def test_a_member_may_not_promise_more_than_it_has(tmp_path):
    """A sparse file's holes take nothing in the archive and everything in memory."""
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("c/test_batch.bin")
        sparse = {"major": "1", "minor": "0", "name": info.name, "realsize": str(10**12)}
        info.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
        content = b"1\n0\n0\n".ljust(512, b"\0")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    assert "more than 204800000 bytes of the test split" in read_error(path, "test")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.REGTYPE])
def test_an_archive_of_many_headers(tmp_path, kind):
    """Each long name announces the next member, so tarfile goes down into them."""
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 0
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(gzip.compress(5000 * info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)))
    assert "not a valid tar.gz file" in (text := read_error(path, "test")) or "more than 1000 members" in text


def test_names_in_an_archive_are_repeated_in_short(tmp_path):
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", [("../\x1b[31m" + 10_000 * "x", b"x")])
    text = read_error(path)
    assert text.isprintable()
    assert len(text) < len(str(path)) + 120


def test_a_number_of_a_batch_has_at_most_nine_digits(tmp_path):
    path = make_tar(tmp_path / "cifar-10-binary.tar.gz", [(f"data_batch_{'1' * 5000}.bin", binary(*FIRST))])
    assert "the train split is missing" in read_error(path)


@pytest.mark.parametrize("place", ["", "cifar-10-batches-bin"])
def test_a_whole_archive_is_read_instead_of_a_half_extracted_folder(tmp_path, place):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    (folder / "data_batch_1.bin").write_bytes(binary(*FIRST))
    images, _ = cifar10.read_split(tmp_path / place, "train")  # without the archive, a part is what is wanted
    np.testing.assert_array_equal(images, FIRST[0])
    archive = make_tar(tmp_path / "cifar-10-binary.tar.GZ", [(f"c/{name}", part) for name, part in files("binary")])
    with pytest.warns(UserWarning, match=rf"{folder}: 1 of the 5 train batches are there; {archive} is read in its "):
        images, labels = cifar10.read_split(tmp_path / place, "train")
    np.testing.assert_array_equal(images, TRAIN_IMAGES)
    with pytest.warns(UserWarning, match=rf"{folder}: the test split is missing, .*; {archive} is read in its place"):
        images, labels = cifar10.read_split(tmp_path / place, "test")
    (folder / "test_batch.bin").write_bytes(binary(*TEST)[:-5])
    with pytest.warns(UserWarning, match=rf"test_batch.bin: the size must be .*; {archive} is read in its place"):
        images, labels = cifar10.read_split(tmp_path / place, "test")
    np.testing.assert_array_equal(images, TEST[0])
    np.testing.assert_array_equal(labels, TEST[1])


def test_archive_that_is_none(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(b"<html>404</html>")
    assert "not a valid gzip file (it begins with b'<htm'" in read_error(path)
    path.write_bytes(b"")
    assert "the file is empty" in read_error(path)
    path.write_bytes(gzip.compress(b"<html>404</html>"))
    assert "not a valid tar.gz file" in read_error(path)


def test_missing_split_and_missing_set(tmp_path):
    (tmp_path / "data_batch_1.bin").write_bytes(binary(*FIRST))
    with pytest.raises(
        MissingSplitError, match=r"the test split is missing, found no test_batch.bin and no test_batch"
    ):
        cifar10.read_split(tmp_path, "test")
    archive = make_tar(tmp_path / "x.tar.gz", [("c/test_batch.bin", binary(*TEST))])
    with pytest.raises(MissingSplitError, match=r"the train split is missing"):
        cifar10.read_split(archive, "train")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty: no CIFAR-10 in this folder \(looked for data_batch_\*"):
        cifar10.read_split(tmp_path / "empty", "train")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        cifar10.read_split(tmp_path / "nowhere", "train")
    with pytest.raises(ValueError, match="unknown split 'valid'"):
        cifar10.read_split(tmp_path, "valid")

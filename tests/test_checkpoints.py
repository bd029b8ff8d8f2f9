"""Checkpoints: written whole or not at all; damage of any kind is one line, never a wrong number."""

import copy
import io
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tsslbp_ref import checkpoints
from tsslbp_ref.files import CheckpointError

ARRAYS = {"weight0": np.arange(6, dtype=np.float32).reshape(2, 3), "mean0": np.array([0.5, -1.0])}
META = {"progress": {"epoch": 3}, "note": "mü"}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "checkpoint-last.npz"
    checkpoints.save(path, ARRAYS, META)
    return path


def is_whole(path):
    arrays, meta = checkpoints.load(path)
    same = all(arrays[k].tobytes() == ARRAYS[k].tobytes() and arrays[k].dtype == ARRAYS[k].dtype for k in ARRAYS)
    return same and set(arrays) == set(ARRAYS) and meta == META


def one_line(error):
    return "\n" not in str(error.value)


def test_round_trip_keeps_every_bit(path):
    assert is_whole(path)
    assert os.listdir(path.parent) == [path.name]


def all_changes_noticed(path, data, positions, masks):
    """Every changed byte gives a CheckpointError of one line, or nothing that counts has changed; return the lines."""
    messages = []
    for position in positions:
        for mask in masks:
            changed = bytearray(data)
            changed[position] ^= mask
            path.write_bytes(changed)
            try:
                assert is_whole(path)  # such as a time stamp in the archive
            except CheckpointError as error:
                messages.append(str(error))
    assert all(str(path) in message and "\n" not in message for message in messages)
    return messages


def test_any_changed_byte_is_noticed_or_harmless(path):
    data = path.read_bytes()
    # Bits that lie in flags, sizes and numbers alike.
    assert len(all_changes_noticed(path, data, range(0, len(data), 3), [0x09])) > len(data) / 3 / 2


def test_any_changed_byte_of_a_large_arrays_header_is_noticed(tmp_path):
    """NumPy reads a header before the checksum, which comes with the end of a block of 4096 bytes."""
    path = tmp_path / "checkpoint-last.npz"
    checkpoints.save(path, ARRAYS | {"weight0": np.zeros((40, 784), np.float32)}, META)
    data = path.read_bytes()
    start = data.index(b"\x93NUMPY", data.index(b"weight0.npy"))
    end = data.index(b"\n", start) + 1
    assert end - start == 128
    assert len(all_changes_noticed(path, data, range(start, end), [0x01, 0x20, 0x80])) == 3 * 128


def test_a_truncated_file_is_refused(path):
    data = path.read_bytes()
    for length in range(0, len(data), 40):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"checkpoint-last.npz is truncated or no checkpoint") as error:
            checkpoints.load(path)
        assert one_line(error)


def test_a_damaged_file_leaves_no_open_file_behind(path):
    path.write_bytes(path.read_bytes()[:-30])
    code = (
        "import sys, pathlib; from tsslbp_ref import checkpoints\n"
        "try: checkpoints.load(pathlib.Path(sys.argv[1]))\n"
        "except checkpoints.CheckpointError: pass\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "always", "-c", code, str(path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(checkpoints.__file__).parents[1])},
        check=True,
    )
    assert result.stderr == ""


def test_changed_numbers_are_noticed_by_the_digest(path):
    with np.load(path) as archive:
        content = {name: archive[name] for name in archive.files}
    content["weight0"][0, 0] += 1e-6
    np.savez(path, **content)
    with pytest.raises(CheckpointError, match="was changed after it was written"):
        checkpoints.load(path)


@pytest.mark.parametrize(
    "content",
    [
        {"weight0": np.array([{"a": 1}], dtype=object), "meta": np.array("{}"), "sha256": np.array("")},
        {"weight0": np.ones(2)},
        {"meta": np.array("{}"), "sha256": np.array("0" * 64)},
    ],
    ids=["pickled", "foreign", "wrong digest"],
)
def test_other_archives_are_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    np.savez(path, **content)
    with pytest.raises(CheckpointError) as error:
        checkpoints.load(path)
    assert one_line(error)
    assert str(path) in str(error.value)


class Trap:
    """Something whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_pickle_is_not_run(tmp_path):
    np.savez(tmp_path / "x.npz", weight0=np.array([Trap(tmp_path / "sprung")], dtype=object))
    with pytest.raises(CheckpointError, match=r"'weight0\.npy' is no array of numbers or text"):
        checkpoints.load(tmp_path / "x.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("text", ["[1, 2]", "{", "3"])
def test_meta_data_that_is_no_json_object_is_refused(tmp_path, text, monkeypatch):
    path = tmp_path / "x.npz"
    monkeypatch.setattr(json, "dumps", lambda *_, **__: text)
    checkpoints.save(path, ARRAYS, {})
    with pytest.raises(CheckpointError, match="meta text is"):
        checkpoints.load(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"\x80\x04K\x01."])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.npz is truncated or no checkpoint"):
        checkpoints.load(path)


def test_an_array_file_is_refused_and_no_file_is_not_found(tmp_path):
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(CheckpointError, match="is truncated or no checkpoint: File is not a zip file"):
        checkpoints.load(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        checkpoints.load(tmp_path / "y.npz")


def written_as(path, members, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


WEIGHT = npy(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    "content",
    [
        b"(",
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\x76\x00(",
        WEIGHT[:-1],
        WEIGHT + b"\0",
        WEIGHT.replace(b"<f4", b"|O8"),
        WEIGHT.replace(b"<f4", b"<f3"),
        WEIGHT.replace(b"(2, 3)", b"(2,33)"),
        WEIGHT.replace(b"(2, 3)", b"(9, 9)"),
        WEIGHT.replace(b"(2, 3)", b"(0, 3)"),
        WEIGHT.replace(b"(2, 3), }" + 12 * b" ", b"(999999999999, 999999)}"[:21]),
        WEIGHT.replace(b"False", b"'x+y'"),
        WEIGHT.replace(b"\x76", b"\x75"),
    ],
)
def test_a_member_that_is_no_array_is_one_line(tmp_path, content):
    path = written_as(tmp_path / "x.npz", [("weight0.npy", content)])
    with pytest.raises(
        CheckpointError, match=r"x\.npz is truncated or no checkpoint: ('weight0\.npy'|data type) "
    ) as error:
        checkpoints.load(path)
    assert one_line(error)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f4", "|b1", "<i8", "<U3", "<c8"])
def test_every_kind_of_array_comes_back(tmp_path, dtype, order):
    rng = np.random.default_rng(0)
    for shape in ((), (3,), (0, 2), (2, 3), (2, 3, 4)):
        array = np.asarray(rng.integers(0, 2, shape).astype(dtype), order=order)
        checkpoints.save(tmp_path / "x.npz", {"a": array}, {})
        found = checkpoints.load(tmp_path / "x.npz")[0]["a"]
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.flags.writeable
        np.testing.assert_array_equal(found, array)


def test_no_more_is_unpacked_than_the_file_holds(tmp_path):
    """Three small files: an array of 100 MB compressed, a thousand members of the same bytes, a hole of a terabyte."""
    zeros = npy(np.zeros(10**8, np.uint8))
    bomb = written_as(tmp_path / "x.npz", [("weight0.npy", zeros)], zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 200_000
    shared = io.BytesIO()
    with zipfile.ZipFile(shared, "w") as archive:
        archive.writestr("a.npy", npy(np.zeros(10**5, np.uint8)))
        for number in range(1000):
            twin = copy.copy(archive.infolist()[0])
            twin.filename = twin.orig_filename = f"{number}.npy"
            archive.filelist.append(twin)
            archive.NameToInfo[twin.filename] = twin
        archive._didModify = True
    (tmp_path / "y.npz").write_bytes(shared.getvalue())
    with (tmp_path / "z.npz").open("wb") as file:
        file.truncate(10**12)
    tracemalloc.start()
    try:
        for name, message in (("x", "arrays are compressed"), ("y", "longer than the file"), ("z", "bytes at most")):
            with pytest.raises(CheckpointError, match=message):
                checkpoints.load(tmp_path / f"{name}.npz")
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


def test_two_arrays_of_one_name_are_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = written_as(tmp_path / "x.npz", [("weight0.npy", WEIGHT), ("weight0.npy", WEIGHT)])
    with pytest.raises(CheckpointError, match="it has two arrays of one name"):
        checkpoints.load(path)


def test_a_file_larger_than_it_may_be_is_refused_before_it_is_read(path):
    size = path.stat().st_size
    assert checkpoints.load(path, size)[1] == META
    with pytest.raises(CheckpointError, match=f"must have {size - 1} bytes at most, but it has {size}"):
        checkpoints.load(path, size - 1)

"""Checkpoints: written whole or not at all; damage of any kind is one line, never a wrong number."""

import errno
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tsslbp_ref.training import checkpoints
from tsslbp_ref.training.checkpoints import CheckpointError

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


def test_a_file_has_the_permissions_that_umask_asks_for(path):
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_any_changed_byte_is_noticed_or_harmless(path):
    data = path.read_bytes()
    messages = []
    for position in range(0, len(data), 3):
        changed = bytearray(data)
        changed[position] ^= 0x09  # bits that lie in flags, sizes and numbers alike
        path.write_bytes(changed)
        try:
            assert is_whole(path)  # such as a time stamp in the archive
        except CheckpointError as error:
            messages.append(str(error))
    assert len(messages) > len(data) / 3 / 2
    assert all(str(path) in message and "\n" not in message for message in messages)


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
    with pytest.raises(CheckpointError, match="Object arrays cannot be loaded"):
        checkpoints.load(tmp_path / "x.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("text", ["[1, 2]", "{", "3"])
def test_meta_data_that_is_no_json_object_is_refused(tmp_path, text, monkeypatch):
    path = tmp_path / "x.npz"
    monkeypatch.setattr(json, "dumps", lambda *_, **__: text)
    checkpoints.save(path, ARRAYS, {})
    with pytest.raises(CheckpointError, match="meta text is"):
        checkpoints.load(path)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "{", "", "nought"])
def test_text_that_is_no_json_for_python_is_a_value_error_of_one_line(text):
    for kind in (text, text.encode()):
        with pytest.raises(ValueError, match=r"its brackets are nested too deeply|Expecting") as error:
            checkpoints.parse_json(kind)
        assert one_line(error)
    assert checkpoints.parse_json('{"a": [1, 2.5]}') == {"a": [1, 2.5]}


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04", b"\x80\x04K\x01."])
def test_what_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.npz is truncated or no checkpoint"):
        checkpoints.load(path)


def test_an_array_file_is_refused_and_no_file_is_not_found(tmp_path):
    with (tmp_path / "x.npz").open("wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(CheckpointError, match=r"it is no \.npz archive"):
        checkpoints.load(tmp_path / "x.npz")
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        checkpoints.load(tmp_path / "y.npz")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"cannot write .*checkpoint-last\.npz: No space left on device") as error:
        checkpoints.save(path, {"weight0": np.zeros(3)}, {})
    assert error.value.errno == errno.ENOSPC
    assert is_whole(path)
    assert os.listdir(path.parent) == [path.name]


def test_a_disk_that_fills_up_during_a_write_leaves_the_old_file(path, monkeypatch):
    class FullAfterAWhile:
        def __init__(self, file):
            self.file, self.left = file, 300

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    monkeypatch.setattr(checkpoints, "open", lambda *a: FullAfterAWhile(io.FileIO(*a)), raising=False)
    with pytest.raises(OSError, match=r"cannot write .*checkpoint-last\.npz"):
        checkpoints.save(path, {"weight0": np.zeros(1000)}, {})
    monkeypatch.undo()
    assert is_whole(path)
    assert os.listdir(path.parent) == [path.name]


def test_an_interrupt_during_a_write_leaves_the_old_file(path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.write_atomically(path, b"new")
    assert is_whole(path)
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"cannot write .*file/x\.json"):
        checkpoints.write_atomically(tmp_path / "file" / "x.json", b"")


def test_parts_of_a_killed_writer_are_removed_and_nothing_else(path):
    part = path.with_name(f".{path.name}.0123abcd.part")
    for name in (part, path.with_name(f"{path.name}.part"), path.with_name(".other.part")):
        name.write_bytes(b"")
    checkpoints.remove_parts(path)
    assert sorted(os.listdir(path.parent)) == [".other.part", path.name, f"{path.name}.part"]


def test_a_folder_is_locked_once(tmp_path):
    with (
        checkpoints.locked(tmp_path),
        pytest.raises(BlockingIOError, match="is in use by another process"),
        checkpoints.locked(tmp_path),
    ):
        pass
    with checkpoints.locked(tmp_path):
        pass

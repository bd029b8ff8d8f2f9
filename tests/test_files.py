"""Files: written whole or not at all, links followed, pipes and devices left in their place; read only if bounded."""

import errno
import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from made_data import environment

from tsslbp_ref import files
from tsslbp_ref.files import CheckpointError

OLD, NEW = b"old", b"new"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(OLD)
    return path


def one_line(error):
    return "\n" not in str(error.value)


# ---------------------------------------------------------------------------------------------------------------------
# What is at the path
# ---------------------------------------------------------------------------------------------------------------------


def test_a_new_file_has_the_permissions_that_umask_asks_for(tmp_path):
    umask = os.umask(0)
    os.umask(umask)
    files.write_atomically(tmp_path / "x", NEW)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_a_file_that_is_replaced_hands_on_its_permissions(path, mode):
    path.chmod(mode)
    files.write_atomically(path, NEW)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (NEW, mode)


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_is_followed_and_stays(tmp_path, there, relative):
    (tmp_path / "data").mkdir()
    target = tmp_path / "data" / "real.csv"
    if there:
        target.write_bytes(OLD)
    second, first = tmp_path / "second", tmp_path / "first"
    second.symlink_to(Path("data") / "real.csv" if relative else target)
    first.symlink_to(second)
    files.write_atomically(first, NEW)
    assert first.is_symlink()
    assert second.is_symlink()
    assert target.read_bytes() == NEW
    assert os.listdir(tmp_path / "data") == ["real.csv"]
    assert sorted(os.listdir(tmp_path)) == ["data", "first", "second"]


def test_a_link_to_itself_stays_and_is_named(tmp_path):
    (tmp_path / "x").symlink_to(tmp_path / "x")
    with pytest.raises(OSError, match=r"cannot write \S+/x: Too many levels of symbolic links") as error:
        files.write_atomically(tmp_path / "x", NEW)
    assert one_line(error)
    assert os.readlink(tmp_path / "x") == str(tmp_path / "x")


@pytest.mark.parametrize("linked", [True, False])
def test_a_pipe_is_written_straight_and_stays(tmp_path, linked):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to(pipe)
    data = NEW * 100_000  # more than a pipe holds
    found = []

    def read():
        with open(os.open(pipe, os.O_RDWR), "rb", buffering=0) as file:  # O_RDWR waits for no writer
            opened.set()
            while sum(map(len, found)) < len(data):
                found.append(file.read(len(data)))

    opened = threading.Event()
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert opened.wait(60)
    files.write_atomically(link if linked else pipe, data)
    thread.join(60)
    assert b"".join(found) == data
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_pipe_that_nobody_reads_is_an_error_and_no_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"cannot write \S+/pipe: nobody reads it"):
        files.write_atomically(tmp_path / "pipe", NEW)
    assert stat.S_ISFIFO((tmp_path / "pipe").lstat().st_mode)


def test_a_device_is_opened_and_nothing_takes_its_place(tmp_path, monkeypatch):
    """No device is touched: a file of the test's folder is said to be one."""
    path = tmp_path / "null"
    path.write_bytes(OLD)
    before = path.stat()
    as_device = os.stat_result((stat.S_IFCHR | 0o666, *before[1:]))
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_, **__: as_device)
        files.write_atomically(path, NEW)
    assert path.stat().st_ino == before.st_ino
    assert path.read_bytes() == NEW
    assert os.listdir(tmp_path) == ["null"]


def test_a_folder_stays_and_is_named(tmp_path):
    (tmp_path / "x").mkdir()
    for path in (tmp_path / "x", tmp_path / "x" / ".."):
        with pytest.raises(IsADirectoryError, match=r"cannot write \S+: Is a directory"):
            files.write_atomically(path, NEW)
    assert os.listdir(tmp_path) == ["x"]


def test_the_file_that_standard_output_goes_to_is_not_replaced(tmp_path):
    code = (
        "import pathlib, sys; from tsslbp_ref import files\n"
        "print('table', flush=True)\n"
        "try: files.write_atomically(pathlib.Path(sys.argv[1]), b'new')\n"
        "except OSError as error: print(error)\n"
    )
    with (tmp_path / "out.csv").open("w") as out:
        subprocess.run(
            [sys.executable, "-c", code, "out.csv"], stdout=out, env=environment(tmp_path), cwd=tmp_path, check=True
        )
    message = "[Errno 17] cannot write out.csv: standard output or error goes to this file"
    assert (tmp_path / "out.csv").read_text().splitlines() == ["table", message]


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong meanwhile
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(path, monkeypatch, call):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"cannot write .*table\.csv: No space left on device") as error:
        files.write_atomically(path, NEW)
    assert error.value.errno == errno.ENOSPC
    assert path.read_bytes() == OLD
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

    monkeypatch.setattr(files, "open", lambda *a: FullAfterAWhile(io.FileIO(*a)), raising=False)
    with pytest.raises(OSError, match=r"cannot write .*table\.csv"):
        files.write_atomically(path, NEW * 1000)
    monkeypatch.undo()
    assert path.read_bytes() == OLD
    assert os.listdir(path.parent) == [path.name]


def test_an_interrupt_during_a_write_leaves_the_old_file(path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, NEW)
    assert path.read_bytes() == OLD
    assert os.listdir(path.parent) == [path.name]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match=r"cannot write .*file/x\.json"):
        files.write_atomically(tmp_path / "file" / "x.json", b"")


def test_parts_of_a_killed_writer_are_removed_and_nothing_else(path):
    part = path.with_name(f".{path.name}.0123abcd.part")
    for name in (part, path.with_name(f"{path.name}.part"), path.with_name(".other.part")):
        name.write_bytes(b"")
    files.remove_parts(path)
    assert sorted(os.listdir(path.parent)) == [".other.part", path.name, f"{path.name}.part"]


def test_a_folder_is_locked_once(tmp_path):
    with (
        files.locked(tmp_path),
        pytest.raises(BlockingIOError, match="is in use by another process"),
        files.locked(tmp_path),
    ):
        pass
    with files.locked(tmp_path):
        pass


# ---------------------------------------------------------------------------------------------------------------------
# Reading
# ---------------------------------------------------------------------------------------------------------------------


def test_a_regular_file_and_a_link_to_one_are_read_up_to_their_bound(tmp_path, path):
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link"):
        assert files.read_regular(name, len(OLD)) == OLD
        with pytest.raises(CheckpointError, match="must have 2 bytes at most, but it has 3"):
            files.read_regular(name, len(OLD) - 1)


def test_what_is_no_regular_file_is_named_and_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    for name, kind in (("pipe", "a named pipe"), ("folder", "a folder"), ("link", "a named pipe")):
        with pytest.raises(CheckpointError, match=f"{name} must be a regular file, but it is {kind}$"):
            files.read_regular(tmp_path / name, 10)


def test_an_endless_device_is_not_read():
    with pytest.raises(CheckpointError, match="/dev/zero must be a regular file, but it is a device"):
        files.read_regular(Path("/dev/zero"), 2**40)


def test_a_link_to_itself_or_to_nothing_is_named(tmp_path):
    (tmp_path / "x").symlink_to("x")
    (tmp_path / "y").symlink_to("nothing")
    for name, reason in (("x", "Too many levels of symbolic links"), ("y", "No such file or directory")):
        with pytest.raises(OSError, match=rf"cannot read \S+/{name}: {reason}"):
            files.read_regular(tmp_path / name, 10)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, "{", "", "nought"])
def test_text_that_is_no_json_for_python_is_a_value_error_of_one_line(text):
    for kind in (text, text.encode()):
        with pytest.raises(ValueError, match=r"its brackets are nested too deeply|Expecting") as error:
            files.parse_json(kind)
        assert one_line(error)
    assert files.parse_json('{"a": [1, 2.5]}') == {"a": [1, 2.5]}


def test_a_key_that_is_there_twice_is_a_value_error():
    with pytest.raises(ValueError, match="it has the key 'b' twice"):
        files.parse_json('{"a": {"b": 1, "c": 2, "b": 1}}')
    assert files.parse_json('[{"a": 1}, {"a": 2}]') == [{"a": 1}, {"a": 2}]

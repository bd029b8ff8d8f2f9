"""The stop file: the client's signals reach the runs; a client that falls silent stops them."""

import errno
import os
import signal

import pytest

from tsslbp_ref.training import stop_file
from tsslbp_ref.training.stop_file import CLIENT_GONE, CLIENT_SILENT_S, TOUCH_EVERY_S, StopFile, StopWatch


@pytest.fixture
def clock(monkeypatch):
    """The time that runs and client go by."""
    now = [1000.0]
    monkeypatch.setattr(stop_file.time, "monotonic", lambda: now[0])
    return now


def test_a_signal_reaches_the_runs_and_the_first_counts(tmp_path):
    with StopFile(tmp_path / "runs") as client:
        watch = StopWatch(client.path)
        assert watch() == 0
        client.stop(signal.SIGINT)
        client.stop(signal.SIGTERM)
        assert watch() == signal.SIGINT
        assert StopWatch(client.path)() == signal.SIGINT
    assert os.listdir(tmp_path / "runs") == []
    assert watch() == signal.SIGINT


def test_a_run_goes_on_while_the_client_touches_the_file_and_stops_after_its_silence(tmp_path, clock):
    with StopFile(tmp_path) as client:
        watch = StopWatch(client.path)
        for _ in range(100):
            clock[0] += TOUCH_EVERY_S
            client.touch()
            assert watch() == 0
        clock[0] += CLIENT_SILENT_S
        assert watch() == 0
        clock[0] += 1.0
        assert watch() == CLIENT_GONE


def test_a_run_looks_at_its_own_clock_alone(tmp_path):
    with StopFile(tmp_path) as client:
        watch = StopWatch(client.path)
        for time in (0, 2_000_000_000, 1):  # of a machine whose clock is wrong
            os.utime(client.path, (time, time))
            assert watch() == 0


def test_a_file_that_is_away_for_a_while_stops_no_run_and_for_long_does(tmp_path, clock):
    with StopFile(tmp_path) as client:
        watch = StopWatch(client.path)
        client.path.unlink()
        clock[0] += CLIENT_SILENT_S
        assert watch() == 0
        client.touch()
        clock[0] += 1.0
        assert watch() == CLIENT_GONE


def test_a_client_touches_once_a_second(tmp_path, clock, monkeypatch):
    touched = []
    with StopFile(tmp_path) as client:
        monkeypatch.setattr(stop_file.os, "utime", touched.append)
        for _ in range(40):
            client.touch()
            clock[0] += TOUCH_EVERY_S / 4
    assert len(touched) == 10


def test_runs_stop_although_the_disk_is_full(tmp_path, clock, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with StopFile(tmp_path) as client:
        watch = StopWatch(client.path)
        monkeypatch.setattr(os, "fsync", full)
        client.stop(signal.SIGINT)
        client.touch()
        clock[0] += CLIENT_SILENT_S + 1.0
        assert watch() == CLIENT_GONE

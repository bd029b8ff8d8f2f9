"""The demo, and the command line in processes of its own: a stop is 128 + the signal, and a stopped run goes on."""

import os
import re
import signal
import subprocess
import sys

import pytest
from made_cli import NAME, find_nothing
from made_data import environment, run_cli, start_cli, without_time, write_fashion

from tsslbp_ref import checkpoints, cli
from tsslbp_ref.training.runs import BEST, LAST, read_metrics


@pytest.fixture(autouse=True)
def nothing_to_find(tmp_path, monkeypatch):
    find_nothing(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_fashion(tmp_path_factory.mktemp("data"))


def test_demo_without_data_and_network_says_so_in_one_line_and_learns_made_points(tmp_path):
    status, out, err = run_cli(tmp_path, "demo", "--epochs", "1")
    assert status == 0
    assert "\r" not in err  # a bar
    raster, points = r"raster: \d+ of 3000 updates, loss \d+\.\d{3}", r"epoch 1/1: \d+ of 5000 samples, .*"
    assert all(re.fullmatch(f"{raster}|{points}", line) for line in err.splitlines())
    assert [line for line in out.splitlines() if "Fashion-MNIST" in line] == [out.splitlines()[-3]]
    assert out.splitlines()[-3].startswith("Fashion-MNIST is left out: ")
    assert out.splitlines()[-2] == "5-100-3 learns Yin-Yang (5000 points) in continuous time."
    assert out.splitlines()[-1].startswith("epoch   1  loss ")
    assert len([line for line in out.splitlines() if re.fullmatch(r"[.#]+", line)]) == 7
    fall = re.search(r"down by ([0-9.]+)%; (\d+) of 266 places wrong", out)
    assert float(fall[1]) >= 90.0
    others = dict(re.findall(r"by the rule (.*): loss .*; (\d+) of 266 places wrong", out))
    assert others.keys() == {"no-intra", "surrogate"}
    assert all(int(wrong) < int(fall[2]) for wrong in others.values())


def test_demo_learns_the_images_where_they_are(tmp_path, data, capsys, monkeypatch):
    monkeypatch.setattr(cli.demo, "DEMO_UPDATES", 3)
    assert cli.main(["demo", "--quiet", "--epochs", "2", "--data", str(data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == "400-400-10 learns Fashion-MNIST (200 images), 5 steps an image."
    assert [line[:9] for line in lines[-2:]] == ["epoch   1", "epoch   2"]


def test_demo_with_a_wrong_data_folder_is_an_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli.demo, "DEMO_UPDATES", 1)
    assert cli.main(["demo", "--quiet", "--data", str(tmp_path / "void")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_in_demo_is_one_line(tmp_path):
    process = start_cli(tmp_path, "demo", "--quiet")
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err == "tsslbp-ref: interrupted\n"


def test_a_full_disk_under_standard_output_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "tsslbp_ref", "train", "list"],
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 2
    assert result.stderr == "tsslbp-ref: error: [Errno 28] No space left on device\n"


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    process = start_cli(tmp_path, "train", "list")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(300) == 128 + signal.SIGPIPE
    process.stderr.close()


def test_a_run_stopped_by_every_signal_ends_as_if_never_stopped(tmp_path, data):
    epochs = 9
    arguments = ("train", NAME, "--epochs", epochs, "--threads", 1, "--quiet", "--data", data)
    for signum, n_lines in ((signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGKILL, 2)):
        process = start_cli(tmp_path, *arguments, "--resume", "--runs", "stopped")
        for _ in range(n_lines):
            assert process.stdout.readline().startswith(NAME)
        process.send_signal(signum)
        _, err = process.communicate(timeout=300)
        folder = tmp_path / "stopped" / NAME / "released" / "seed0"
        if signum == signal.SIGKILL:
            assert process.returncode == -signum
        else:
            assert process.returncode == 128 + signum
            assert err.startswith(f"tsslbp-ref: stopped by {signum.name}; the state is saved in ")
            assert err.count("\n") == 1
        assert len(read_metrics(folder)) < epochs
        checkpoints.load(folder / LAST)
    for runs in ("stopped", "whole"):
        assert cli.main([*map(str, arguments), "--resume", "--runs", runs]) == 0
    whole = tmp_path / "whole" / NAME / "released" / "seed0"
    for name in (LAST, BEST):
        found, wanted = checkpoints.load(folder / name), checkpoints.load(whole / name)
        assert {k: v.tobytes() for k, v in found[0].items()} == {k: v.tobytes() for k, v in wanted[0].items()}
        assert found[1] == wanted[1]
    assert without_time(read_metrics(folder)) == without_time(read_metrics(whole))

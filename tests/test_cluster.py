"""Seeds on a dask.distributed cluster: the bits of each seed alone; a part that is lost is told, and saved."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading

import distributed
import pytest
from made_data import environment, start_cli, write_fashion
from made_seeds import NAME, alone, bits, plan_of, until

from tsslbp_ref import checkpoints, files
from tsslbp_ref.training import cluster, seeds
from tsslbp_ref.training.runs import LAST, read_metrics


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_fashion(tmp_path_factory.mktemp("data"))


@pytest.fixture
def plan(data, tmp_path):
    return plan_of(data, tmp_path)


def test_a_cluster_whose_worker_is_killed_gives_the_bits_of_each_seed_alone(plan, tmp_path, capsys, monkeypatch):
    plan = dataclasses.replace(plan, epochs=20)
    done_before = []

    def kill_worker(local):
        until(lambda: read_metrics(plan.folder(0)))
        os.kill(local.workers[0].pid, signal.SIGKILL)
        done_before.append(len(read_metrics(plan.folder(0))))

    monkeypatch.setenv("PYTHONPATH", environment(tmp_path)["PYTHONPATH"])
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0", silence_logs=50
    ) as local:
        killer = threading.Thread(target=kill_worker, args=(local,))
        killer.start()
        assert seeds.train(plan, [0, 3], dask=local.scheduler_address) == 0
        killer.join(100)
        assert done_before[0] < 20 == len(read_metrics(plan.folder(0)))
        done = capsys.readouterr().out
        assert seeds.train(dataclasses.replace(plan, data=tmp_path), [5], dask=local.scheduler_address) == 2
        assert capsys.readouterr().err.startswith("tsslbp-ref: error: seed 5: fashion-mnist not found")
    for seed in (0, 3):
        assert f"{NAME} released seed {seed} done  epoch  20" in done
        assert bits(plan.folder(seed)) == alone(plan, seed, tmp_path / "alone")


def test_a_cluster_that_writes_elsewhere_is_told_of(plan, capsys):
    assert cluster.gathered(plan, 0, 0) == 2
    assert "seed0 is not here: workers must see the same file system" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["foo", "bad://x:1", "tcp://h:xx", ""])
def test_what_is_no_address_is_named(plan, address):
    with pytest.raises(ValueError, match=r"^--dask must be an address such as tcp://host:8786, got "):
        seeds.train(plan, [0], dask=address)


def test_a_cluster_that_does_not_answer_is_named(plan):
    with pytest.raises(ConnectionError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9: "):
        seeds.train(plan, [0], dask="tcp://127.0.0.1:9")


def test_without_the_package_the_extra_is_named(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"pip install 'tsslbp-ref\[dask\]'"):
        seeds.train(plan, [0], dask="tcp://127.0.0.1:9")


CLUSTER = """
import sys, time, distributed
from tsslbp_ref.training import stop_file
stop_file.CLIENT_SILENT_S = 3.0
if __name__ == "__main__":
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=6, processes=False, protocol="tcp", dashboard_address=None, silence_logs=50
    ) as local:
        print(local.scheduler_address, flush=True)
        time.sleep(300)
"""


def is_free(folder):
    """Whether nobody trains there."""
    with contextlib.suppress(BlockingIOError), files.locked(folder):
        return True
    return False


def test_on_a_cluster_each_way_to_lose_a_part_is_told_and_saved(plan, data, tmp_path):
    """Three clients of one cluster: one hears Ctrl-C, one is killed outright, one sees the scheduler killed."""
    local = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = local.stdout.readline().strip()
    arguments = ["--epochs", 100_000, "--threads", 1, "--data", data, "--dask", address, "--runs"]
    clients, plans = {}, {}
    try:
        for name in ("stopped", "killed", "lost"):
            plans[name] = dataclasses.replace(plan, runs=tmp_path / name)
            clients[name] = start_cli(tmp_path, "train", NAME, "--seeds", "0-1", *arguments, tmp_path / name)
        folders = {name: [plans[name].folder(seed) for seed in (0, 1)] for name in plans}
        until(lambda: all(read_metrics(folder) for name in folders for folder in folders[name]))

        clients["stopped"].send_signal(signal.SIGINT)
        _, err = clients["stopped"].communicate(timeout=100)
        assert clients["stopped"].returncode == 128 + signal.SIGINT
        assert sorted(err.splitlines()) == [
            f"tsslbp-ref: stopped by SIGINT; the state is saved in {folder}, --resume goes on"
            for folder in folders["stopped"]
        ]

        clients["killed"].kill()
        clients["killed"].communicate()
        until(lambda: not any(name.startswith(".stop-") for name in os.listdir(tmp_path / "killed")))
        for folder in folders["killed"]:
            until(lambda folder=folder: is_free(folder))
            _, meta = checkpoints.load(folder / LAST)
            assert 0 < meta["progress"]["epoch"] < 100_000

        local.kill()
        _, err = clients["lost"].communicate(timeout=100)
        assert clients["lost"].returncode == 2
        message = f"--dask: the scheduler at {address} is lost or has dropped the seeds; --resume goes on"
        assert err == f"tsslbp-ref: error: {message}\n"
    finally:
        for process in (local, *clients.values()):
            process.kill()
            process.communicate()

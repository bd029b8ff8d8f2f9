"""Several seeds in processes: the same bits as each seed alone; stopping one stops and saves all."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from made_data import environment, run_cli, start_cli, write_fashion
from made_seeds import NAME, alone, bits, plan_of

from tsslbp_ref import checkpoints
from tsslbp_ref.datasets import DataError
from tsslbp_ref.engine.threads import available_cores
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.training import seeds, tasks
from tsslbp_ref.training.runs import CONFIG, LAST, read_metrics


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_fashion(tmp_path_factory.mktemp("data"))


@pytest.fixture
def plan(data, tmp_path):
    return plan_of(data, tmp_path)


def test_seeds_in_processes_have_the_bits_of_each_seed_alone(plan, data, tmp_path):
    arguments = ["--epochs", 2, "--threads", 1, "--data", data, "--runs", plan.runs]
    status, out, err = run_cli(tmp_path, "train", NAME, "--seeds", "0-2", *arguments)
    assert (status, err) == (0, "")
    told = sorted(line.split("  loss")[0] for line in out.splitlines())  # a line an epoch of every seed
    assert told == [f"{NAME} released seed {seed}  epoch   {epoch}" for seed in range(3) for epoch in (1, 2)]
    for seed in (0, 2):
        assert bits(plan.folder(seed)) == alone(plan, seed, tmp_path / "alone")
    assert sorted(os.listdir(plan.runs)) == [NAME]  # no stop file is left


def test_ctrl_c_stops_and_saves_all_seeds_and_starts_no_more(plan, data, tmp_path):
    arguments = ["--epochs", 300, "--threads", 1, "--data", data, "--runs", plan.runs]
    process = start_cli(tmp_path, "train", NAME, "--seeds", "0-3", *arguments)
    started = set()
    while len(started) < min(2, len(os.sched_getaffinity(0))):
        started.add(process.stdout.readline().split("  ")[0])
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group hears it
    _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGINT
    assert "Traceback" not in err
    begun = [seed for seed in range(4) if plan.folder(seed).exists()]
    assert len(begun) == len(started)
    assert sorted(err.splitlines()) == sorted(
        f"tsslbp-ref: stopped by SIGINT; the state is saved in {plan.folder(seed)}, --resume goes on" for seed in begun
    )
    for seed in begun:
        _, meta = checkpoints.load(plan.folder(seed) / LAST)
        assert meta["optimiser_steps"] > 0
    assert sorted(os.listdir(plan.runs)) == [NAME]


def test_seeds_whose_parent_is_killed_outright_save_and_end_and_go_on_as_if_never_stopped(plan, data, tmp_path):
    arguments = ["--epochs", 300, "--threads", 1, "--data", data, "--runs", plan.runs]
    process = start_cli(tmp_path, "train", NAME, "--seeds", "0-1", *arguments)
    try:
        process.stdout.readline()
        process.kill()
        _, err = process.communicate(timeout=100)  # until no process holds the pipes any more
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    begun = [seed for seed in (0, 1) if plan.folder(seed).exists()]
    told = [line for line in err.splitlines() if line.startswith("tsslbp-ref: ")]
    assert sorted(told) == [
        f"tsslbp-ref: stopped by SIGHUP; the state is saved in {plan.folder(seed)}, --resume goes on" for seed in begun
    ]
    assert "Traceback" not in err
    for seed in begun:
        _, meta = checkpoints.load(plan.folder(seed) / LAST)
        assert meta["optimiser_steps"] > 0
        epochs = meta["progress"]["epoch"] + 1
        assert epochs < 300
        longer = dataclasses.replace(plan, epochs=epochs, resume=True)
        assert seeds.train(longer, [seed]) == 0
        assert bits(plan.folder(seed)) == alone(longer, seed, tmp_path / "alone")


IDLE_POOL = """
import os, time
from tsslbp_ref import seeds
with seeds._pool(1) as pool:
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(300)
"""


def test_a_process_of_the_pool_without_a_seed_ends_with_its_parent_too(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", IDLE_POOL], env=environment(tmp_path), stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert int(process.stdout.readline()) != process.pid
        process.kill()
        process.communicate(timeout=100)  # until no process holds the pipe any more
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_finished_seed_that_is_resumed_says_so_in_one_line(plan, capsys):
    assert seeds.train(plan, [0]) == 0
    before = bits(plan.folder(0))
    capsys.readouterr()
    assert seeds.train(dataclasses.replace(plan, resume=True), [0]) == 0
    assert capsys.readouterr().out == f"{NAME} released seed 0  all 2 epochs are done already\n"
    assert bits(plan.folder(0)) == before


def test_data_that_is_damaged_in_the_midst_of_an_epoch_costs_none_of_it(plan, tmp_path, monkeypatch):
    def damaged(*_):
        raise DataError("x.bin: damaged")

    single = dataclasses.replace(plan, epochs=1, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(tasks.ImageTask, "test_batches", damaged)
        with pytest.raises(DataError, match="damaged"):
            seeds.train(single, [0])
    with monkeypatch.context() as patch:
        patch.setattr(tasks.ImageTask, "train_batch", damaged)  # there is nothing left to train
        assert seeds.train(single, [0]) == 0
    assert bits(plan.folder(0)) == alone(single, 0, tmp_path / "alone")


def test_a_resumed_seed_keeps_its_own_number_of_threads(plan, capsys):
    assert seeds.train(plan, [0]) == 0
    later = dataclasses.replace(plan, epochs=3, threads=None, resume=True)
    assert seeds.train(later, [0]) == 0
    assert len(read_metrics(plan.folder(0))) == 3


MOST_THREADS = 8 * available_cores()


@pytest.mark.parametrize("threads", [MOST_THREADS + 1, 10**6, 10**18, pytest.param(10**5000, id="huge")])
@pytest.mark.parametrize("seed_list", [[0], [0, 1]])
def test_more_threads_than_eight_a_core_are_refused_before_any_is_made(plan, threads, seed_list):
    with pytest.raises(ValueError, match=rf"^threads must be at most {MOST_THREADS} \(8 for each of \d+ cores\), got "):
        seeds.train(dataclasses.replace(plan, threads=threads), seed_list)
    assert not plan.runs.exists()


def test_eight_threads_a_core_are_taken(plan):
    assert seeds.train(dataclasses.replace(plan, epochs=1, threads=MOST_THREADS), [0]) == 0


@pytest.mark.parametrize("found", ["3000000", "0", "-1", "true", '"2"', "1.5", "1" + "0" * 30])
def test_threads_that_a_resumed_run_cannot_have_are_named_with_its_config(plan, found):
    plan.folder(0).mkdir(parents=True)
    (plan.folder(0) / CONFIG).write_text(f'{{"n_threads": {found}}}')
    resumed = dataclasses.replace(plan, threads=None, resume=True)
    with pytest.raises(CheckpointError, match=r"seed0/config\.json: n_threads must be "):
        seeds.train(resumed, [0])


# ---------------------------------------------------------------------------------------------------------------------
# run_on, with a pool of threads instead of processes
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def made_run_seed(monkeypatch):
    """`run_seed_apart` replaced: a function of the seed, and a record of the calls."""
    calls = []

    def set_to(function):
        def run_seed_apart(plan, seed, threads):
            calls.append((seed, threads))
            return function(plan, seed)

        monkeypatch.setattr(seeds, "run_seed_apart", run_seed_apart)
        return calls

    return set_to


def test_a_failing_seed_is_one_line_and_the_others_go_on(plan, made_run_seed, capsys):
    def function(_, seed):
        if seed == 1:
            raise OSError("cannot write\nx: No space left")
        return 0

    calls = made_run_seed(function)
    reported = []
    with ThreadPoolExecutor(1) as pool:
        status = seeds.run_on(
            pool, plan, [0, 1, 2], at_once=1, threads=3, report=lambda *told: reported.append(told) or 0
        )
    assert status == 2
    assert calls == [(0, 3), (1, 3), (2, 3)]
    assert reported == [(0, 0), (2, 0)]
    assert capsys.readouterr().err == "tsslbp-ref: error: seed 1: cannot write x: No space left\n"


def test_an_error_that_is_a_bug_is_not_swallowed(plan, made_run_seed):
    made_run_seed(lambda plan, seed: {}["bug"])
    with ThreadPoolExecutor(1) as pool, pytest.raises(KeyError, match="bug"):
        seeds.run_on(pool, plan, [0], at_once=1)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_runs_by_the_stop_file_and_no_further_seed_begins(plan, made_run_seed, signum):
    stopped = threading.Event()

    def function(plan, seed):
        os.kill(os.getpid(), signum)
        watch = plan.watch()
        while not watch():
            stopped.wait(0.01)
        return 128 + watch()

    calls = made_run_seed(function)
    with ThreadPoolExecutor(1) as pool:
        assert seeds.run_on(pool, plan, [0, 1, 2], at_once=1) == 128 + signum
    assert [seed for seed, _ in calls] == [0]
    assert os.listdir(plan.runs) == []


def test_no_seed_takes_the_place_of_one_that_stopped_while_another_is_still_saving(plan, made_run_seed):
    both_began = threading.Barrier(2)

    def function(plan, seed):
        both_began.wait(60)
        if seed == 0:
            os.kill(os.getpid(), signal.SIGINT)
        watch = plan.watch()
        while not watch():
            time.sleep(0.01)
        time.sleep(0.5 * seed)
        return 128 + watch()

    calls = made_run_seed(function)
    with ThreadPoolExecutor(2) as pool:
        assert seeds.run_on(pool, plan, [0, 1, 2], at_once=2) == 130
    assert sorted(seed for seed, _ in calls) == [0, 1]


def test_processes_are_started_deaf_to_ctrl_c(plan):
    blocked = []

    class Watching(Executor):
        def submit(self, function, /, *arguments, **options):
            blocked.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            future = Future()
            future.set_result(0)
            return future

    assert seeds.run_on(Watching(), plan, [0], at_once=1) == 0
    assert blocked == [True]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_seed_that_a_cluster_begins_after_the_stop_does_nothing(plan, tmp_path):
    stop_file = tmp_path / "stop"
    assert dataclasses.replace(plan, stop_file=stop_file).watch()() == 0
    stop_file.write_text(str(int(signal.SIGINT)))
    assert seeds.run_seed_apart(dataclasses.replace(plan, stop_file=stop_file), 0, 1) == 128 + signal.SIGINT
    assert not plan.folder(0).exists()


@pytest.mark.parametrize("error", [BrokenProcessPool("a process died"), CancelledError()])
def test_a_pool_that_breaks_is_one_line_a_seed(plan, capsys, error):
    class Broken(Executor):
        def submit(self, function, /, *arguments, **options):
            if isinstance(error, BrokenProcessPool):
                raise error
            future = Future()
            future.set_exception(error)
            return future

    assert seeds.run_on(Broken(), plan, [0, 1], at_once=2) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line[: len("tsslbp-ref: error: seed 0: ")] for line in sorted(lines)] == [
        "tsslbp-ref: error: seed 0: ",
        "tsslbp-ref: error: seed 1: ",
    ]


def test_a_seed_apart_has_the_plans_threads_or_its_share_of_the_cores(plan, monkeypatch):
    monkeypatch.setattr(seeds, "run_seed", lambda plan, seed, show_progress: plan.threads)
    assert seeds.run_seed_apart(dataclasses.replace(plan, threads=None), 0, 7) == 7
    assert seeds.run_seed_apart(plan, np.int64(0), 7) == 1


# ---------------------------------------------------------------------------------------------------------------------
# Before anything is trained
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": "fashion"}, "unknown experiment 'fashion'; known: 'mnist-15c5-40c5-300'"),
        ({"rule": "release"}, "unknown rule 'release'; known: 'released'"),
        ({"loss": "kernle"}, "unknown loss 'kernle'; known: 'kernel'"),
        ({"data": "/nowhere"}, "fashion-mnist not found"),
    ],
)
@pytest.mark.parametrize("seed_list", [[0], [0, 1]])
def test_bad_plans_make_no_folder(plan, changes, message, seed_list):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        seeds.train(dataclasses.replace(plan, **changes), seed_list)
    assert not plan.runs.exists()


def test_one_occupied_folder_stops_all_seeds(plan):
    plan.folder(1).mkdir(parents=True)
    (plan.folder(1) / LAST).write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="seed1 holds a run already"):
        seeds.train(plan, [0, 1])
    assert not plan.folder(0).exists()
    assert (plan.folder(1) / LAST).read_bytes() == b"precious"

"""Runs of an experiment under several seeds, in processes that share the cores or on a dask.distributed cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from tsslbp_ref import checks
from tsslbp_ref.engine.threads import available_cores
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.model.network import Network
from tsslbp_ref.training.exact_training import ExactNetwork, ExactSettings, YinYangTask
from tsslbp_ref.training.plan import Plan
from tsslbp_ref.training.run_files import CONFIG, is_there, read_config, refuse_occupied
from tsslbp_ref.training.runs import InterruptedRunError, Run
from tsslbp_ref.training.stop_file import CLIENT_GONE, PARENT_GONE, StopFile
from tsslbp_ref.training.stopping import signals_noted
from tsslbp_ref.training.tasks import Task, task_of
from tsslbp_ref.training.trainer import TrainingSettings, epoch_line

__all__ = ["KNOWN_ERRORS", "POLL_S", "Plan", "run_on", "run_seed", "run_seed_apart", "train"]

BAD_INPUT, SIGNAL_BASE = 2, 128
POLL_S = 0.2
KNOWN_ERRORS = (ValueError, TypeError, OSError, ImportError, MemoryError, CancelledError)

_at_work: AbstractContextManager[Any] = nullcontext()  # in a process of the pool, a lock


# ---------------------------------------------------------------------------------------------------------------------
# One seed
# ---------------------------------------------------------------------------------------------------------------------


def run_seed(plan: Plan, seed: int, *, show_progress: bool) -> int:
    """Run the plan under one seed, in its folder; return 0, or 128 + the signal that stopped it."""
    folder = plan.folder(seed)
    refuse_occupied(folder, resume=plan.resume)  # before the data, which takes longer
    settings = plan.settings(seed)
    network, task = _made(plan, settings, _threads(plan, folder))
    run = Run(
        folder,
        network,
        task,
        settings,
        title=plan.experiment,
        state=None if plan.exact or plan.own else plan.state,
        tables=plan.tables(seed),
        resume=plan.resume,
        show_progress=show_progress,
    )
    if run.finished:
        print(f"{plan.experiment} {plan.rule} seed {seed}  all {settings.epochs} epochs are done already", flush=True)
    try:
        for metrics in run.run(plan.watch()):
            print(f"{plan.experiment} {plan.rule} seed {seed}  {epoch_line(metrics)}", flush=True)
    except InterruptedRunError as stop:
        print(f"tsslbp-ref: {stop}", file=sys.stderr, flush=True)
        return SIGNAL_BASE + stop.signum
    return 0


def _made(
    plan: Plan, settings: TrainingSettings | ExactSettings, threads: int | None
) -> tuple[Network | ExactNetwork, Task | YinYangTask]:
    """The plan's network, with its initial weights, and its task."""
    if isinstance(settings, ExactSettings):
        return ExactNetwork(settings, threads), YinYangTask()
    row = plan.row
    network = row.network(settings.seed, rule=plan.gradient_rule(), n_threads=threads)
    return network, task_of(row, plan.data, download=plan.download, held_out=plan.held_out)


def _threads(plan: Plan, folder: Path) -> int | None:
    """The plan's threads; a run that is resumed keeps its own, which its bits depend on."""
    if plan.threads is not None:
        return checks.thread_count("threads", plan.threads, available_cores())
    if not plan.resume or not is_there(folder / CONFIG):
        return None
    found = read_config(folder).get("n_threads")
    try:
        return None if found is None else checks.thread_count("n_threads", found, available_cores())
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error


def run_seed_apart(plan: Plan, seed: int, default_threads: int) -> int:
    """`run_seed` in a process of a pool or a cluster, where several runs share the cores."""
    with _at_work:
        signum = plan.watch()()
        if signum:  # a seed that was waiting when the others were stopped
            return SIGNAL_BASE + signum
        threads = _threads(plan, plan.folder(seed)) or default_threads
        status = run_seed(replace(plan, threads=threads), seed, show_progress=False)
        if status == SIGNAL_BASE + CLIENT_GONE and plan.stop_file is not None:
            plan.stop_file.unlink(missing_ok=True)  # nobody else will
        return status


def _pool(n_processes: int) -> ProcessPoolExecutor:
    """Processes that are spawned, not forked: a fork in a process that has threads may hang."""
    return ProcessPoolExecutor(n_processes, multiprocessing.get_context("spawn"), _end_with_parent)


def _end_with_parent() -> None:
    """Let this process of a pool end if its parent is killed outright, once the seed at work has saved its state."""
    global _at_work
    parent = multiprocessing.parent_process()
    assert parent is not None
    lock = _at_work = threading.Lock()

    def watch() -> None:
        parent.join()
        PARENT_GONE.set()
        with lock:  # free when no seed is at work; then nobody is there to give it another
            os._exit(SIGNAL_BASE + CLIENT_GONE)

    threading.Thread(target=watch, daemon=True).start()


# ---------------------------------------------------------------------------------------------------------------------
# Several seeds
# ---------------------------------------------------------------------------------------------------------------------


def train(plan: Plan, seeds: Sequence[int], *, show_progress: bool = False, dask: str | None = None) -> int:
    """Run the plan under every seed; return the exit status.

    Parameters
    ----------
    plan : Plan
    seeds : sequence of int
        One runs in this process; several in processes, or wherever `dask` says.
    show_progress : bool
        Draw a progress bar, for a single seed.
    dask : str, optional
        Address of a dask.distributed scheduler that the seeds are sent to. Its workers must see the run folders and
        the data under the same paths as this machine.

    Returns
    -------
    int
        0, or 128 + the signal that stopped it, or 2 if a seed failed while others went on (its error is one line on
        standard error).

    Raises
    ------
    ValueError, TypeError, OSError, ImportError
        Before anything is trained, if a name is unknown, data is missing, a run folder cannot be used or the cluster
        cannot be reached.
    """
    plan.check_rule()
    for seed in seeds:
        plan.settings(seed)
        refuse_occupied(plan.folder(seed), resume=plan.resume)
        if dask is None:  # a cluster's machines may have more cores
            _threads(plan, plan.folder(seed))
    if dask is not None:
        from tsslbp_ref.training.cluster import train_on_dask

        return train_on_dask(plan, seeds, dask)
    if len(seeds) == 1:
        return run_seed(plan, seeds[0], show_progress=show_progress)
    if not plan.exact:  # once, not by every process at a time
        task_of(plan.row, plan.data, download=plan.download, held_out=plan.held_out)
    n_processes = min(len(seeds), available_cores())
    threads = max(1, available_cores() // n_processes)
    with _pool(n_processes) as pool:
        return run_on(pool, plan, seeds, at_once=n_processes, threads=threads)


def run_on(
    pool: Executor,
    plan: Plan,
    seeds: Sequence[int],
    *,
    at_once: int,
    threads: int = 1,
    report: Callable[[int, int], int] = lambda seed, status: status,
    known_errors: tuple[type[BaseException], ...] = KNOWN_ERRORS,
) -> int:
    """Run the plan under every seed on an executor and return the worst exit status.

    Parameters
    ----------
    pool : Executor
    plan : Plan
    seeds : sequence of int
    at_once : int
        Seeds that the pool holds at a time; the others wait here, where a signal can still call them off.
    threads : int
        A run, if the plan does not say.
    report : callable
        Told a seed that has ended without an error and its exit status; returns an exit status.
    known_errors : tuple of exception types
        What a seed may fail of while the others go on.
    """
    waiting = list(seeds)
    running: dict[Future[int], int] = {}
    worst = 0
    with StopFile(plan.runs) as stop_file, signals_noted() as noted:
        stoppable = replace(plan, stop_file=stop_file.path)
        while (waiting and not noted) or running:
            while waiting and not noted and len(running) < at_once:
                seed = waiting.pop(0)
                running[_submit(pool, stoppable, seed, threads)] = seed
            done, _ = wait(running, timeout=POLL_S, return_when=FIRST_COMPLETED)
            stop_file.touch()
            if noted:
                stop_file.stop(noted[0])
            for future in done:
                seed = running.pop(future)
                worst = max(worst, _status(future, seed, report, known_errors, stopped=bool(noted)))
    return max(worst, SIGNAL_BASE + noted[0]) if noted and (waiting or worst) else worst


def _submit(pool: Executor, plan: Plan, seed: int, threads: int) -> Future[int]:
    """Hand a seed to the pool; a pool that is broken makes a future that has failed."""
    with _interrupts_blocked():
        try:
            return pool.submit(run_seed_apart, plan, seed, threads)
        except BrokenProcessPool as error:
            failed: Future[int] = Future()
            failed.set_exception(error)
            return failed


def _status(
    future: Future[int],
    seed: int,
    report: Callable[[int, int], int],
    known_errors: tuple[type[BaseException], ...],
    *,
    stopped: bool,
) -> int:
    """The exit status of a seed that has ended; an error is told in one line."""
    try:
        return report(seed, future.result())
    except BrokenProcessPool:
        message = "the processes of the seeds were killed; --resume goes on"
        if stopped:  # a process that had nothing to save yet may die of the signal itself
            return BAD_INPUT
    except known_errors as error:
        message = " ".join(str(error).split()) or type(error).__name__
    print(f"tsslbp-ref: error: seed {seed}: {message}", file=sys.stderr, flush=True)
    return BAD_INPUT


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Let processes that start meanwhile never hear Ctrl-C: this one does, and stops them by the stop file."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

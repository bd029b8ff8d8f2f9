"""Runs of an experiment under several seeds, in processes that share the cores."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from tsslbp_ref.experiments import experiment
from tsslbp_ref.parameters import rule_by_name
from tsslbp_ref.runs import InterruptedRunError, Run
from tsslbp_ref.tasks import task_of
from tsslbp_ref.training import TrainingSettings
from tsslbp_ref.workers import available_cores

SIGNAL_BASE = 128


@dataclass(frozen=True)
class Plan:
    """What to run, whatever the seed.

    Parameters
    ----------
    experiment, rule : str
    loss : str, optional
        In the place of the experiment's.
    epochs : int, optional
        In the place of the experiment's.
    runs : Path
        Folder of the run folders, runs/<experiment>/<rule>/seed<k>.
    data : Path, optional
    download, resume : bool
    threads : int, optional
        A run; the runs share all cores if not given.
    """

    experiment: str
    rule: str = "released"
    loss: str | None = None
    epochs: int | None = None
    runs: Path = Path("runs")
    data: Path | None = None
    download: bool = True
    resume: bool = False
    threads: int | None = None

    def folder(self, seed: int) -> Path:
        """The seed's run folder."""
        variant = self.rule if self.loss is None else f"{self.rule}-{self.loss}"
        return self.runs / self.experiment / variant / f"seed{seed}"


def train(plan: Plan, seeds: Sequence[int], *, show_progress: bool = False) -> int:
    """Run the plan under every seed; return the exit status.

    Raises
    ------
    ValueError, TypeError, OSError
        Before anything is trained, if a name is unknown, data is missing or a run folder cannot be used.
    """
    experiment(plan.experiment)
    rule_by_name(plan.rule)
    if len(seeds) == 1:
        return run_seed(plan, seeds[0], show_progress=show_progress)
    n_processes = min(len(seeds), available_cores())
    shared = replace(plan, threads=plan.threads or max(1, available_cores() // n_processes))
    # Processes are spawned, not forked: a fork in a process that has threads may hang.
    with ProcessPoolExecutor(n_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        return run_on(pool, shared, seeds)


def run_on(pool: Executor, plan: Plan, seeds: Sequence[int]) -> int:
    """Run the plan under every seed on an executor and return the worst exit status."""
    futures = [pool.submit(run_seed, plan, seed, show_progress=False) for seed in seeds]
    return max(future.result() for future in as_completed(futures))


def run_seed(plan: Plan, seed: int, *, show_progress: bool) -> int:
    """Run the plan under one seed, in its folder; return 0, or 128 + the signal that stopped it."""
    from tsslbp_ref.cli import epoch_line

    row = experiment(plan.experiment)
    settings = TrainingSettings(
        epochs=plan.epochs or row.epochs,
        batch_size=row.batch_size,
        learning_rate=row.learning_rate,
        loss=plan.loss or row.loss,
        loss_settings=row.loss_settings,
        seed=seed,
    )
    network = row.network(seed, rule=rule_by_name(plan.rule), n_threads=plan.threads)
    task = task_of(row, plan.data, download=plan.download)
    folder = plan.folder(seed)
    run = Run(folder, network, task, settings, title=plan.experiment, resume=plan.resume, show_progress=show_progress)
    try:
        for metrics in run.run():
            print(f"{plan.experiment} {plan.rule} seed {seed}  {epoch_line(metrics)}", flush=True)
    except InterruptedRunError as stop:
        print(f"tsslbp-ref: {stop}", file=sys.stderr)
        return SIGNAL_BASE + stop.signum
    return 0

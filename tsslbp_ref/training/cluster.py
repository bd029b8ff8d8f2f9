"""Runs of several seeds on a dask.distributed cluster, whose workers see the same folders as this machine."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tsslbp_ref import checks
from tsslbp_ref.training.plan import Plan
from tsslbp_ref.training.run_files import LAST, is_there, read_metrics
from tsslbp_ref.training.runs import InterruptedRunError
from tsslbp_ref.training.seeds import BAD_INPUT, KNOWN_ERRORS, SIGNAL_BASE, run_on
from tsslbp_ref.training.trainer import epoch_line

CONNECT_S = 10.0


def train_on_dask(plan: Plan, seeds: Sequence[int], address: str) -> int:
    """Send the seeds to a dask.distributed cluster, through its executor interface; return the worst exit status.

    Python's logging is off meanwhile: distributed would log tracebacks of a lost scheduler.

    Raises
    ------
    ImportError, ValueError
        If the package is not installed, or `address` is none.
    ConnectionError
        If no scheduler answers, or it is lost before the seeds are done.
    """
    try:
        import distributed
    except ImportError as error:
        raise ImportError("--dask needs the package distributed: pip install 'tsslbp-ref[dask]'") from error
    _refuse_unreachable(address)
    shared = replace(
        plan,
        runs=plan.runs.resolve(),
        data=None if plan.data is None else Path(os.path.realpath(os.path.expanduser(plan.data))),
        resume=True,  # a cluster starts a task again whose worker died; its run then goes on
    )
    known_errors = tuple({*KNOWN_ERRORS, distributed.KilledWorker} - {CancelledError})
    try:
        with _logging_off(), distributed.Client(address, timeout=CONNECT_S, set_as_default=False) as client:
            return run_on(
                client.get_executor(pure=False),
                shared,
                seeds,
                at_once=len(seeds),
                report=lambda seed, status: gathered(shared, seed, status),
                known_errors=known_errors,
            )
    except CancelledError as error:
        message = f"--dask: the scheduler at {address} is lost or has dropped the seeds; --resume goes on"
        raise ConnectionError(message) from error


@contextmanager
def _logging_off() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _refuse_unreachable(address: str) -> None:
    """Raise unless something answers at the address; distributed itself would litter standard error."""
    from distributed.comm.addressing import get_address_host_port, parse_address
    from distributed.comm.registry import get_backend

    try:
        scheme, _ = parse_address(address)
        get_backend(scheme)  # a ValueError if there is none of this name
        if scheme in ("tcp", "tls"):
            socket.create_connection(get_address_host_port(address), timeout=CONNECT_S).close()
    except ValueError as error:
        raise ValueError(f"--dask must be an address such as tcp://host:8786, got {checks.shown(address)}") from error
    except OSError as error:
        raise ConnectionError(f"--dask: no scheduler answers at {address}: {error}") from error


def gathered(plan: Plan, seed: int, status: int) -> int:
    """Say what a worker has done with a seed: its last epoch, or where its state is saved; return the exit status.

    A finished run whose folder is not to be seen here is an error.
    """
    folder = plan.folder(seed)
    if status > SIGNAL_BASE:
        if is_there(folder / LAST):
            print(f"tsslbp-ref: {InterruptedRunError(status - SIGNAL_BASE, folder)}", file=sys.stderr, flush=True)
        return status
    rows = read_metrics(folder)
    if not rows:
        message = f"its worker has finished, but {folder} is not here: workers must see the same file system"
        print(f"tsslbp-ref: error: seed {seed}: {message}", file=sys.stderr, flush=True)
        return BAD_INPUT
    print(f"{plan.experiment} {plan.rule} seed {seed} done  {epoch_line(rows[-1])}", flush=True)
    return 0

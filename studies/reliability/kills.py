"""Kill training at random moments, let it go on, and compare with a run that nobody disturbed: bit for bit.

A run of the study is one of `small_runs`, under one kind of disturbance. It is started again and again, in a forked
process, and each of these lives but the last is disturbed. Run k is a function of the seed and of k, but for the moment
at which the system carries out what is asked for.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from studies.reliability import disk, record, small_runs
from studies.reliability.small_runs import SMALL_RUNS, Outcome
from studies.trained_runs import read_rows, write_rows
from tsslbp_ref import checks
from tsslbp_ref.files import PART
from tsslbp_ref.training.runs import InterruptedRunError

HEADER = (
    "run", "task", "disturbance", "lives", "killed", "in_a_save", "stopped", "refused", "cut", "equal", "seconds",
)  # fmt: skip
SIGNALS = {name: getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP")}
# How often each comes; those that end in SIGKILL are most.
DISTURBANCES = {
    "any moment": 6, "start": 3, "save": 4, "two at once": 3, "power loss": 4,
    **dict.fromkeys(SIGNALS, 1), "full disk": 1, "read-only folder": 1,
}  # fmt: skip
MOST_LIVES = 10  # disturbed ones of a run
START_S = 0.02  # in which a run reads its folder and writes its config
SAVE_S = {"save": 0.0, "power loss": 0.0}  # seconds between checkpoints; else:
USUAL_SAVE_S = 0.03
MOST_DISK_CALLS = 60
AT_A_CALL = 0.8  # share of the power losses
FINISHED, STOPPED, REFUSED, FAILED = 0, 3, 4, 9  # exit statuses of a life
NOBODY = 65534
DEFAULT_OUT = Path("results/reliability-kills.csv")


@dataclass
class Disturbed:
    """A run that is being disturbed: where it lies, and what has happened to it."""

    task: str
    disturbance: str
    data: Path
    folder: Path
    rng: np.random.Generator
    length_s: float  # of the whole run, when nobody disturbs it
    counts: Counter[str] = field(default_factory=Counter)
    finished: bool = False

    @property
    def log(self) -> Path:
        """A file beside the folder, of `disk.watched`."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def start(self, before: Callable[[], None] = lambda: None) -> int:
        """Fork a process that trains as far as it goes; return its number."""
        self.counts["lives"] += 1
        save_every_s = SAVE_S.get(self.disturbance, USUAL_SAVE_S)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os._exit(_life(partial(small_runs.train, self.task, self.data, self.folder, save_every_s), before))
        return child

    def end(self, child: int) -> None:
        """Wait for a life and count how it ended."""
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status < 0:
            self.counts["killed"] += status == -signal.SIGKILL
            self.counts["in_a_save"] += any(path.name.endswith(PART) for path in _entries(self.folder))
            self.counts["stopped"] += status != -signal.SIGKILL
        elif status in (STOPPED, REFUSED):
            self.counts["stopped" if status == STOPPED else "refused"] += 1
        elif status == FINISHED:
            self.finished = True
        else:
            raise RuntimeError(f"run {self.folder.name}, {self.task}, {self.disturbance}: a life ended with {status}")


def _life(train: Callable[[], None], before: Callable[[], None]) -> int:
    """What a forked process does; its exit status says how it ended."""
    for signum in SIGNALS.values():
        signal.signal(signum, signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL)
    try:
        before()
        train()
    except InterruptedRunError:
        return STOPPED
    except KeyboardInterrupt:
        return STOPPED
    except OSError as error:
        return REFUSED if "\n" not in str(error) else FAILED
    except BaseException:
        traceback.print_exc()
        return FAILED
    return FINISHED


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.exists() else []


# ---------------------------------------------------------------------------------------------------------------------
# The disturbances
# ---------------------------------------------------------------------------------------------------------------------


def _send_within(run: Disturbed, child: int, signum: int, longest_s: float) -> None:
    """Send a signal at a random moment of so many seconds."""
    time.sleep(run.rng.uniform(0.0, longest_s))
    os.kill(child, signum)  # to a process that nobody has waited for: the number is still its own


def _killed(run: Disturbed, longest_s: float) -> None:
    child = run.start()
    _send_within(run, child, signal.SIGKILL, longest_s)
    run.end(child)


def _two_at_once(run: Disturbed) -> None:
    """Train in the folder twice at once: one of the two is refused, and then the other is killed."""
    both = [run.start() for _ in range(2)]
    for child in both:
        _send_within(run, child, signal.SIGKILL, run.length_s / 2)
    for child in both:
        run.end(child)


def _signalled(run: Disturbed, signum: int) -> None:
    child = run.start()
    _send_within(run, child, signum, run.length_s)
    run.end(child)


def _power_lost(run: Disturbed) -> None:
    """Kill a life, mostly at a call to the disk, and take from the folder what was not durable."""
    before = {path.name: path.stat().st_size for path in _entries(run.folder)}
    kill_at = int(run.rng.integers(MOST_DISK_CALLS)) if run.rng.random() < AT_A_CALL else None
    run.log.unlink(missing_ok=True)  # of the life before: this one may be killed before it has begun its own
    child = run.start(lambda: disk.watched(run.log, kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL)))
    if kill_at is None:
        _send_within(run, child, signal.SIGKILL, run.length_s)
    run.end(child)
    if run.folder.exists():
        run.counts["cut"] += disk.lose(run.folder, run.log, before, run.rng)
    for path in run.log.parent.glob(f"*{disk.SPARED}"):
        path.unlink()


def _disk_filled(run: Disturbed) -> None:
    """Let no file become longer than a random number of bytes, from a random moment on: writes fail in their middle."""
    sizes = [path.stat().st_size for path in _entries(run.folder)] or [4096]
    most = int(run.rng.uniform(0, 1.2 * max(sizes)))
    delay_s = run.rng.uniform(0.0, run.length_s)

    def fill(*_: object) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    def later() -> None:
        signal.signal(signal.SIGALRM, fill)
        signal.setitimer(signal.ITIMER_REAL, delay_s)

    run.end(run.start(later if delay_s > START_S else fill))


def _made_read_only(run: Disturbed) -> None:
    """Take the permission to write from the folder at a random moment. Root needs none, so that a life is nobody's."""
    run.folder.mkdir(parents=True, exist_ok=True)
    nobodys = os.getuid() == 0
    for path in [run.folder, *_entries(run.folder)] if nobodys else []:
        os.chown(path, NOBODY, NOBODY)
    child = run.start(partial(os.setuid, NOBODY) if nobodys else lambda: None)
    time.sleep(run.rng.uniform(0.0, run.length_s))
    run.folder.chmod(0o555)
    run.end(child)
    run.folder.chmod(0o755)


def disturb(run: Disturbed) -> None:
    """One disturbed life, or two at once."""
    kind = run.disturbance
    if kind in SIGNALS:
        _signalled(run, SIGNALS[kind])
        return
    other = {
        "any moment": lambda: _killed(run, run.length_s),
        "save": lambda: _killed(run, run.length_s),
        # Every second life is killed at its start, and those between have left something to go on from.
        "start": lambda: _killed(run, START_S if run.counts["lives"] % 2 == 0 else run.length_s / 2),
        "two at once": lambda: _two_at_once(run),
        "power loss": lambda: _power_lost(run),
        "full disk": lambda: _disk_filled(run),
        "read-only folder": lambda: _made_read_only(run),
    }
    other[kind]()


# ---------------------------------------------------------------------------------------------------------------------
# The study
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed: what came out, and how long it took."""

    found: Outcome
    length_s: float


class Study:
    """All runs of a seed, in a temporary folder that others may pass through."""

    def __init__(self, root: Path, seed: int) -> None:
        self.root, self.seed = root.resolve(), seed
        self.data = self.root / "data"
        small_runs.write_recordings(self.data)
        self.undisturbed = {task: self._undisturbed(task) for task in SMALL_RUNS}

    def _undisturbed(self, task: str) -> Undisturbed:
        """Train twice: the first loads the compiled loops for every process that is forked from this one."""
        for name in ("first", "second"):
            folder, started = self.root / task / name, time.monotonic()
            small_runs.train(task, self.data, folder, USUAL_SAVE_S)
        found = small_runs.outcome(folder)
        if not small_runs.whole(found) or found != small_runs.outcome(self.root / task / "first"):
            raise RuntimeError(f"two undisturbed runs, {task}, differ")
        return Undisturbed(found, time.monotonic() - started)

    def run(self, number: int, kind: str | None = None) -> dict[str, object]:
        """A row of the table: disturb a run some times, let it come to its end, and compare; the kind may be chosen."""
        rng = np.random.default_rng([self.seed, number])
        weights = np.array(list(DISTURBANCES.values()), float)
        task = str(rng.choice(list(SMALL_RUNS)))
        drawn = str(rng.choice(list(DISTURBANCES), p=weights / weights.sum()))
        kind = kind or drawn
        usual, started = self.undisturbed[task], time.monotonic()
        run = Disturbed(task, kind, self.data, self.root / "runs" / f"{number}", rng, usual.length_s)
        run.folder.parent.mkdir(exist_ok=True)
        for _ in range(int(rng.integers(2, MOST_LIVES + 1))):
            if not run.finished:
                disturb(run)
        run.end(run.start())
        equal = small_runs.outcome(run.folder) == usual.found
        counts = {name: run.counts[name] for name in HEADER[3:-2]}
        return {
            "run": number, "task": task, "disturbance": kind, **counts, "equal": int(equal),
            "seconds": f"{time.monotonic() - started:.2f}",
        }  # fmt: skip


def summary(rows: list[dict[str, str]]) -> dict[str, object]:
    """Totals of the table, over all and by disturbance."""

    def totals(chosen: list[dict[str, str]]) -> dict[str, int]:
        sums = {name: sum(int(row[name]) for row in chosen) for name in HEADER[3:-2]}
        nonzero = {name: number for name, number in sums.items() if number}
        return {"runs": len(chosen), **nonzero, "different": sum(row["equal"] != "1" for row in chosen)}

    by = {kind: totals([row for row in rows if row["disturbance"] == kind]) for kind in DISTURBANCES}
    return {**totals(rows), "by_disturbance": by}


def measure(out: Path, *, kills: int, seed: int, resume: bool) -> dict[str, object]:
    """Write the table until so many lives were killed; return its summary."""
    rows = read_rows(out, HEADER) if resume and out.exists() else []
    with tempfile.TemporaryDirectory(prefix="reliability-") as root:
        os.chmod(root, 0o755)
        study = Study(Path(root), seed)
        while sum(int(row["killed"]) for row in rows) < kills:
            rows.append({name: str(value) for name, value in study.run(len(rows)).items()})
            write_rows(out, HEADER, rows)
            if rows[-1]["equal"] != "1":
                print(f"different: {rows[-1]}", file=sys.stderr, flush=True)
    return summary(rows)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--kills", type=int, default=1000, help="by SIGKILL (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    parser.add_argument("--resume", action="store_true", help="go on with the rows that are there")


def main(options: argparse.Namespace) -> int:
    """Measure, note, and return 1 if a run differs."""
    kills = checks.positive_integer("kills", options.kills)
    found = measure(options.out, kills=kills, seed=options.seed, resume=options.resume)
    record.note("kills", {"seed": options.seed, **found}, options.out.with_name(record.RESULTS.name))
    print(found)
    return int(bool(found["different"]))

"""One network in many threads, training in every kind of process, interrupts, and two processes on one cold cache.

Every part compares bits: of results, of weights, and of what a compiled loop computes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import tsslbp_ref as tr
from studies.reliability import record
from tsslbp_ref import checks

ROOT = Path(__file__).resolve().parents[2]
N_THREADS, N_INPUTS = 8, 16
STARTS = ("fork", "spawn", "forkserver")
NETWORKS = {"dense": ("24-16", (16,)), "convolutional": ("4C3-P2-12", (1, 8, 8))}
PASSED = re.compile(r"(\d+) passed")
COLD = """
import hashlib, numpy as np, tsslbp_ref as tr
trace = tr.lif_forward(np.random.default_rng(0).normal(0.5, 1.0, (20, 3, 7)), tr.NeuronParameters())
print(hashlib.sha256(trace.u.tobytes() + trace.a.tobytes()).hexdigest())
"""


def network(name: str, n_threads: int = 1) -> tr.Network:
    """A small network; dropout would draw from a generator that threads share."""
    spec, shape = NETWORKS[name]
    return tr.Network.from_spec(spec, shape, 4, 5, n_threads=n_threads, weight_scale=2.0)


def digest(*arrays: Any) -> str:
    """All bits of some arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def in_threads(name: str, n_threads: int, rounds: int, seed: int) -> tuple[int, int]:
    """Use one network from eight threads at once; return how many results there are and how many differ.

    A result is a prediction, or a loss with its gradients; it must be the one that the network gives a single thread.
    """
    net, rng = network(name, n_threads), np.random.default_rng(seed)
    inputs = [rng.random((int(rng.integers(1, 9)), *net.input_shape)).astype(np.float32) for _ in range(N_INPUTS)]

    def result(number: int) -> str:
        x = inputs[number % N_INPUTS]
        if number // N_INPUTS % 2:
            return digest(net.predict(x))
        value, gradients = net.loss_and_gradients(x, np.arange(len(x)) % 4)[:2]
        return digest(value, *gradients)

    single = [result(number) for number in range(2 * N_INPUTS)]
    order = rng.permutation(rounds)
    with ThreadPoolExecutor(N_THREADS) as pool:
        found = list(pool.map(result, order.tolist()))
    wrong = sum(one != single[number % (2 * N_INPUTS)] for one, number in zip(found, order, strict=True))
    return rounds, wrong


def trained(name: str, n_threads: int) -> str:
    """Train a network a little; the bits of its weights."""
    net, rng = network(name, n_threads), np.random.default_rng(3)
    X = rng.random((64, *net.input_shape)).astype(np.float32)
    tr.fit(net, X, np.arange(64) % 4, epochs=2, batch_size=8, learning_rate=1e-2, progress=False)
    return digest(*net.weights)


def _answer(name: str, n_threads: int, queue: Any) -> None:
    queue.put(trained(name, n_threads))


def in_processes(names: Iterable[str] = tuple(NETWORKS), thread_counts: Sequence[int] = (1, 2)) -> tuple[int, int]:
    """Train in a process of every kind, also after this one has used threads; how many there were, how many differ."""
    n, wrong = 0, 0
    for name in names:
        for n_threads in thread_counts:
            here = trained(name, n_threads)
            for start in STARTS:
                context = multiprocessing.get_context(start)
                queue = context.Queue()
                process = context.Process(target=_answer, args=(name, n_threads, queue))
                process.start()
                wrong += queue.get(timeout=600) != here
                process.join()
                n += 1
    return n, wrong


def interrupted(n: int) -> int:
    """Interrupt training so often, with one and with two threads, by tests/test_interrupts.py; how many passed."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "tests/test_interrupts.py"],
        cwd=ROOT,
        env=os.environ | {"TSSLBP_INTERRUPTS": str(n)},
        capture_output=True,
        text=True,
    )
    found = PASSED.search(run.stdout)
    if run.returncode or not found:
        raise RuntimeError(run.stdout)
    return int(found[1])


def on_a_cold_cache() -> list[str]:
    """Let two processes compile the forward sweep at once into an empty folder, and a third read it; their results."""
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder, "PYTHONPATH": str(ROOT)}

        def process() -> subprocess.Popen[str]:
            return subprocess.Popen([sys.executable, "-c", COLD], stdout=subprocess.PIPE, text=True, env=environment)

        both = [process(), process()]
        results = [one.communicate()[0].strip() for one in both]
        if not list(Path(folder).rglob("*.nbc")):
            raise RuntimeError("nothing was kept in the cache")
        return [*results, process().communicate()[0].strip()]


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of this part."""
    parser.add_argument("--results", type=int, default=4000, help="of one network in 8 threads (default %(default)s)")
    parser.add_argument("--interrupts", type=int, default=1000, help="with 1 and 2 threads each (default %(default)s)")
    parser.add_argument("--caches", type=int, default=50, help="that two processes fill at once (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=record.RESULTS)


def main(options: argparse.Namespace) -> int:
    """Measure, note, and return 1 if a bit differs."""
    for name in ("results", "interrupts", "caches"):
        checks.positive_integer(name, getattr(options, name))
    started = time.monotonic()
    threads = {
        f"{name}, {n_threads} threads of its own": in_threads(name, n_threads, options.results // 4, options.seed)
        for name in NETWORKS
        for n_threads in (1, 2)
    }
    n_processes, different_processes = in_processes()
    passed = interrupted(options.interrupts)
    caches = [on_a_cold_cache() for _ in range(options.caches)]
    found = {
        "seed": options.seed,
        "results_in_threads": sum(n for n, _ in threads.values()),
        "different_in_threads": sum(wrong for _, wrong in threads.values()),
        "processes": n_processes,
        "different_in_processes": different_processes,
        "interrupts": options.interrupts * 2,
        "tests_of_interrupts_passed": passed,
        "cold_caches": len(caches),
        "different_by_cache": sum(len({*results, caches[0][0]}) > 1 for results in caches),
        "minutes": round((time.monotonic() - started) / 60, 1),
    }
    record.note("threads", found, options.out)
    print(json.dumps(found, indent=1))
    return int(any(found[name] for name in found if name.startswith("different")))

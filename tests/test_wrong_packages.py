"""The package with one place of its source changed: the check table rejects every such package.

Each is a copy of the package in a folder of its own, imported by a child process without compilation. Here defaults,
comparisons and constants are wrong in the source, for the rule and for its checks alike.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "tsslbp_ref"
ROWS = ("number-*", "loss-*")  # the quick ones without compilation
# File, what stands there, what is put in its place.
WRONG = (
    ("parameters", "inverse_rise_clip: float = 8.0", "inverse_rise_clip: float = 10.0"),
    ("parameters", "inverse_rise_clip: float = 8.0", "inverse_rise_clip: float = 16.0"),
    ("parameters", "warmup_gate: float = 0.25", "warmup_gate: float = 0.5"),
    ("terms", "return 1.0 * (u > threshold)", "return 1.0 * (u >= threshold)"),
    ("sweeps", "if a[i] < gate", "if a[i] <= gate"),
    ("reference", "a[t_m] < c.warmup_gate", "a[t_m] <= c.warmup_gate"),
    ("parameters", "tau_s: float = 3.0", "tau_s: float = 6.0"),
    ("parameters", "tau_m: float = 5.0", "tau_m: float = 10.0"),
    ("parameters", "threshold: float = 1.0", "threshold: float = 2.0"),
    ("parameters", "warmup: bool | str = True", "warmup: bool | str = False"),
    ("parameters", "surrogate_width: float = 0.2", "surrogate_width: float = 0.25"),
    ("parameters", "surrogate_argument_clip: float = 8.0", "surrogate_argument_clip: float = 7.0"),
    ("parameters", "warmup_rate: float = 0.1", "warmup_rate: float = 0.2"),
    ("parameters", 'silent: str = "leak"', 'silent: str = "none"'),
    ("parameters", "intra: bool | str = True", "intra: bool | str = False"),
    ("parameters", "inverse_rise_clip=10.0", "inverse_rise_clip=8.0"),
    ("losses", "desired_count: float = 4.0", "desired_count: float = 8.0"),
    ("losses", "q -= q.max", "q += q.max"),
    ("losses", "    dq /= B\n", "    dq /= a.shape[2]\n"),
    ("losses", "return 0.5 * float(np.vdot(error, error))", "return float(np.vdot(error, error))"),
    ("losses", "filtered_train(checked, self.neuron)", "checked"),
    ("layers", "POOL_GAIN = 1.1 ", "POOL_GAIN = 1.0 "),
    ("optim", "learning_rate: float = 5e-4", "learning_rate: float = 1e-3"),
    ("optim", "betas: tuple[float, float] = (0.9, 0.999)", "betas: tuple[float, float] = (0.9, 0.99)"),
    ("optim", "weight_decay: float = 0.01", "weight_decay: float = 0.0"),
    ("optim", "weight_clamp: float = 4.0", "weight_clamp: float = 5.0"),
)
# Numba, SciPy and NumPy are imported once; each wrong package in a child, which says which rows it fails.
RUN = """
import json, os, sys
import numba.extending, numpy, scipy.differentiate, scipy.linalg.cython_blas, scipy.optimize, scipy.special
*rows, = sys.argv[2:]
for folder in sorted(os.listdir(sys.argv[1])):
    child = os.fork()
    if child == 0:
        sys.path.insert(0, os.path.join(sys.argv[1], folder))
        from tsslbp_ref import gradcheck
        failed = [row.name for row in gradcheck.run(rows).rows if not row.passed]
        print(json.dumps([folder, failed]), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def failed_rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The rows that each wrong package fails, by its number; under "right" those of the package as it is."""
    root = tmp_path_factory.mktemp("packages")
    for name, wrong in [("right", None), *((str(number), wrong) for number, wrong in enumerate(WRONG))]:
        copied = root / name / "tsslbp_ref"
        shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
        if wrong is not None:
            file, old, new = wrong
            path = copied / "model" / f"{file}.py"
            text = path.read_text()
            assert text.count(old) >= 1, f"{file} has no {old}"
            path.write_text(text.replace(old, new, 1))
    run = subprocess.run(
        [sys.executable, "-c", RUN, str(root), *ROWS],
        capture_output=True,
        text=True,
        cwd=root,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""},
    )
    assert run.returncode == 0, run.stderr
    return dict(map(json.loads, run.stdout.splitlines()))


def test_the_right_package_passes(failed_rows: dict[str, list[str]]) -> None:
    assert failed_rows["right"] == []


@pytest.mark.parametrize("number", range(len(WRONG)), ids=lambda number: f"{WRONG[number][0]}: {WRONG[number][2]}")
def test_table_rejects(failed_rows: dict[str, list[str]], number: int) -> None:
    assert failed_rows[str(number)]

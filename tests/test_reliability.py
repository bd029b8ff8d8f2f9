"""The studies of reliability in small: kills, hostile inputs, mutants, threads; and that they see what is wrong."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tsslbp_ref as tr
from studies.reliability import (
    disk,
    hostile_calls,
    inputs,
    kills,
    mutants,
    mutations,
    record,
    small_runs,
    threads,
    versions,
)
from studies.reliability.hostile_calls import load_loops
from studies.trained_runs import read_rows
from tsslbp_ref import checkpoints
from tsslbp_ref.datasets import arrays, cifar10, idx, nmnist
from tsslbp_ref.model import saved
from tsslbp_ref.training import descriptions, run_files
from tsslbp_ref.training.run_files import LAST

ROOT = Path(__file__).resolve().parents[1]
N_INPUTS = 12  # of each kind
WHOLE = "terms, reference, losses"  # whose mutants are all tried
EQUATIONS = {f"model/{name}.py" for name in ("terms", "reference", "losses", "reference_losses")}


# ---------------------------------------------------------------------------------------------------------------------
# Kills
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> kills.Study:
    root = tmp_path_factory.mktemp("kills")
    for folder in (root, root.parent, root.parent.parent):
        folder.chmod(0o755)  # a life of nobody passes through
    return kills.Study(root, 1)


@pytest.mark.parametrize("kind", kills.DISTURBANCES)
def test_a_disturbed_run_ends_as_an_undisturbed_one(study: kills.Study, kind: str) -> None:
    number = list(kills.DISTURBANCES).index(kind)
    row = study.run(number, kind)
    assert row["equal"] == 1
    assert row["lives"] > 1  # type: ignore[operator]


def test_the_last_bit_of_one_weight_is_seen(study: kills.Study, tmp_path: Path) -> None:
    small_runs.train("dense", study.data, tmp_path, 0.0)
    found = small_runs.outcome(tmp_path)
    assert found == study.undisturbed["dense"].found
    arrays, meta = checkpoints.load(tmp_path / LAST)
    arrays["weight0"].view(np.int32)[0, 0] ^= 1
    checkpoints.save(tmp_path / LAST, arrays, meta)
    changed = small_runs.outcome(tmp_path)
    assert [key for key in found if found[key] != changed[key]] == [f"{LAST} weight0"]


def test_the_power_takes_only_what_was_not_durable(tmp_path: Path) -> None:
    folder, log, lost = tmp_path / "run", tmp_path / "run.log", set()
    for number in range(40):
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        (folder / "old").write_bytes(b"older")
        (folder / "synced").write_bytes(b"12345678")
        (folder / "new").write_bytes(b"12345678")
        log.write_text('["file", "synced", 5]\n["folder", ["old", "synced"]]\n')
        disk.lose(folder, log, {"old": 5}, np.random.default_rng(number))
        assert (folder / "old").read_bytes() == b"older"
        assert (folder / "synced").read_bytes().startswith(b"12345")
        lost.add((folder / "new").stat().st_size if (folder / "new").exists() else None)
    assert len(lost) > 5
    assert None in lost


def test_a_life_that_made_nothing_durable_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before it begins its notes, those of the life before it say nothing of it."""
    monkeypatch.setattr(kills.disk, "watched", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    (tmp_path / "run").mkdir()
    for number in range(8):
        run = kills.Disturbed("dense", "power loss", tmp_path, tmp_path / "run", np.random.default_rng(number), 1e-3)
        (run.folder / LAST).write_bytes(b"whole")
        run.log.write_text(f'["replaced", "part", "{LAST}"]\n')
        kills._power_lost(run)
        assert (run.folder / LAST).read_bytes() == b"whole"


# ---------------------------------------------------------------------------------------------------------------------
# Inputs
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loops_loaded() -> None:
    """So that no compilation counts as an input's time."""
    load_loops()


@pytest.mark.usefixtures("loops_loaded")
@pytest.mark.parametrize("kind", inputs.KINDS)
def test_hostile_inputs_end_well_or_in_one_line(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """In a process that may have no more than 1 GiB beside what it has."""
    row = inputs.block(7, kind, 0, N_INPUTS)
    assert row["taken"] + row["refused"] == N_INPUTS, capfd.readouterr().err


PLANTED: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {  # kind: what reads, and how its result is wrong
    "IDX": (idx, "_read", lambda values: values ^ 1),
    "event file": (nmnist, "bin_events", lambda spikes: spikes[::-1]),
    "CIFAR binary": (cifar10, "_read_binary_batch", lambda batch: (batch[0].swapaxes(2, 3), batch[1])),
    "CIFAR pickle": (cifar10, "_pixel_bytes", lambda pixels: pixels[::-1]),
    "CIFAR tar": (cifar10, "_read_binary_batch", lambda batch: (batch[0], batch[1][::-1])),
    "saved network": (saved, "_weights", lambda weights: [W * np.float32(1.0001) for W in weights]),
    "TOML or config.json": (descriptions, "_training", lambda found: (found[0], 3)),
    "array file": (arrays, "_whole_array", lambda array: array[::-1]),
    "run folder": (run_files, "parse_json", lambda row: row | {"seconds": 2.0}),
    "spec": (hostile_calls, "layers_from_spec", lambda layers: layers[1:]),
    "arrays": (tr, "lif_forward", lambda trace: replace(trace, u=trace.u + 1.0)),
}


@pytest.mark.usefixtures("loops_loaded")
@pytest.mark.parametrize("kind", PLANTED)
def test_a_wrong_number_is_a_finding(
    kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    module, name, wrong = PLANTED[kind]
    right = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **kwargs: wrong(right(*args, **kwargs)))
    row = inputs.block(7, kind, 0, inputs.BLOCK if kind in hostile_calls.DRAWN else 4 * N_INPUTS)
    assert row["findings"] > 0
    assert "read again: AssertionError" in capfd.readouterr().err


@pytest.mark.usefixtures("loops_loaded")
def test_what_hypothesis_draws_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    n = 2 * N_INPUTS
    monkeypatch.setattr(inputs, "BLOCK", n)
    ends = [[inputs.ended(attempt) for attempt in inputs.attempts(7, "arrays", n, n)] for _ in range(2)]
    assert ends[0] == ends[1]
    number, text = next((n + i, text) for i, (end, text) in enumerate(ends[0]) if end == "refused" and i > 2)
    assert inputs.apart(lambda: inputs.main(argparse.Namespace(seed=7, kind="arrays", number=number)))[0] == 1
    assert text in capfd.readouterr().err


def _warns() -> None:
    warnings.warn("overflow", RuntimeWarning, stacklevel=1)


def _loops() -> None:
    while True:
        pass


def _raises(error: BaseException) -> object:
    def attempt() -> None:
        raise error

    return attempt


@pytest.mark.parametrize(
    ("attempt", "end"),
    [
        (lambda: 1, "taken"),
        (_raises(ValueError("no such thing")), "refused"),
        (_raises(ValueError("two\nlines")), "finding"),
        (_raises(ValueError("")), "finding"),
        (_raises(ValueError("not enough values to unpack (expected 3, got 2)")), "finding"),
        (_raises(IndexError("list index out of range")), "finding"),
        (_raises(MemoryError()), "finding"),
        (_warns, "finding"),
        (_loops, "finding"),
    ],
)
def test_what_is_a_finding(attempt: object, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "LONGEST_S", 0.05)
    assert inputs.ended(attempt)[0] == end  # type: ignore[arg-type]


def test_more_than_1_gib_is_a_finding() -> None:
    def work() -> str:
        inputs.limit_memory()
        return inputs.ended(lambda: np.empty(2**28))[0]

    assert inputs.apart(work)[0] == "finding"


# ---------------------------------------------------------------------------------------------------------------------
# Mutations
# ---------------------------------------------------------------------------------------------------------------------

SOURCE = '''
def f(a: float, b: float = 2.0) -> float:
    """Not changed: 1 + 1."""
    if a > 0:
        raise ValueError(f"{a + 1}")
    return min(a, b) + 1.0
'''


def test_every_mutant_of_a_function_is_another_function() -> None:
    found = mutants.mutants("f.py", SOURCE)
    texts = {mutants.ast.unparse(mutants.mutated(SOURCE, mutant)) for mutant in found}
    assert mutants.ast.unparse(mutants.ast.parse(SOURCE)) not in texts
    assert len(texts) == len(found)
    assert {(mutant.operator, mutant.new) for mutant in found} == {
        ("constant", "4.0"), ("constant", "1"), ("constant", "-1"), ("boundary", "a >= 0"), ("comparison", "a <= 0"),
        ("arithmetic", "min(a, b) - 1.0"), ("term", "min(a, b)"), ("term", "1.0"), ("constant", "2.0"),
        ("min, max", "max(a, b)"), ("result", "return -(min(a, b) + 1.0)"),
    }  # fmt: skip
    assert all(mutant.function == "f" for mutant in found)


ASK = """
import json, sys
from studies.reliability.mutations import drawn
from studies.reliability.mutants import mutants
from studies.reliability.surroundings import PACKAGE, Surroundings, preload
preload()
around = Surroundings({"model/terms.py": ("test_srm",)}, rows="term-*")
found = [mutant for _, mutant in drawn(0) if mutant.file == "model/terms.py"]
seen = [[mutant.new, *vars(around.look(mutant)).values()] for mutant in found[::25]]
around = Surroundings({"exact/closed_forms.py": ("test_srm",)}, rows="exact-constants-tau-loss")
whole = mutants("exact/closed_forms.py", (PACKAGE / "exact/closed_forms.py").read_text())
sign = next(mutant for mutant in whole if (mutant.function, mutant.new) == ("", "-1.0 * k"))  # of a series, once
print(json.dumps([seen, around.look(sign).row]))
"""


def test_a_mutant_of_a_term_is_seen_by_rows_and_by_tests() -> None:
    run = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found, by_row = json.loads(run.stdout)
    assert by_row == "exact-constants-tau-loss"
    assert len(found) > 5
    assert all(row or test for _, row, test, _ in found), found
    by_rows = [row for _, row, _, _ in found if row]
    assert len(by_rows) > len(found) / 2
    assert all(row.startswith("term-") for row in by_rows)


# ---------------------------------------------------------------------------------------------------------------------
# Threads, versions, results
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", threads.NETWORKS)
def test_one_network_in_eight_threads(name: str) -> None:
    assert threads.in_threads(name, 2, 100, 0) == (100, 0)


def test_training_in_processes_of_every_kind() -> None:
    assert threads.in_processes(["dense"], [2]) == (len(threads.STARTS), 0)


def test_the_requirements_of_the_lowest_and_the_newest_versions() -> None:
    lowest, newest = versions.requirements("lowest"), versions.requirements("newest")
    assert [line.partition("==")[0] for line in lowest] == [line.partition(">=")[0] for line in newest]
    assert {"numpy==2.1", "numba==0.61", "pytest==8.3"} <= set(lowest)
    with pytest.raises(ValueError, match="of must be one of lowest, newest, got 'middle'"):
        versions.requirements("middle")


def test_the_runs_of_other_environments_stay_with_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "make", lambda folder, of, python: folder / "python")
    monkeypatch.setattr(versions, "tested", lambda folder, *others: {"status": int("newest" in folder.name)})

    def run(*arguments: str) -> tuple[int, dict[str, Any]]:
        parser = argparse.ArgumentParser()
        versions.add(parser)
        status = versions.main(parser.parse_args([*arguments, "--out", str(tmp_path / "r.json")]))
        return status, record.noted("versions", tmp_path / "r.json")["runs"]

    run("--set", "lowest", "--python", "python3")
    assert run("--set", "newest", "--python", "python3") == (1, {"newest, python3": {"status": 1}})
    runs = {"newest, python3": {"status": 1}, "lowest, python3": {"status": 0}}
    assert run("--set", "lowest", "--python", "python3", "--resume") == (1, runs)


def test_a_part_is_noted_beside_the_others(tmp_path: Path) -> None:
    record.note("kills", {"killed": 1}, tmp_path / "r.json")
    record.note("threads", {"n": 2}, tmp_path / "r.json")
    record.note("kills", {"killed": 3}, tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text())
    assert (found["kills"]["killed"], found["threads"]["n"]) == (3, 2)
    assert set(found["kills"]["machine"]) >= {"system", "python", "numba"}


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return json.loads((ROOT / "results" / "reliability.json").read_text())


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs" / "reliability.md").read_text()


def test_the_page_has_all_kills(measured: dict[str, Any], page: str) -> None:
    ended = measured["kills"]
    rows = [(kind, ended["by_disturbance"][kind]) for kind in kills.DISTURBANCES]
    for kind, row in [*rows, ("**all**", ended)]:
        otherwise = row.get("stopped", 0) + row.get("refused", 0)
        killed = row.get("killed", 0)
        assert f"| {kind} | {row['runs']} | {row['lives']} | {killed} | {otherwise} | {row['different']} |\n" in page
    assert ended["killed"] >= 1000
    assert ended["different"] == 0
    assert f"{ended['in_a_save']} of these lives ended within a save" in page
    assert f"the power losses have changed {ended['cut']} files" in page
    assert f"{ended['killed']:,} kills, no difference" in (ROOT / "README.md").read_text()


def test_the_page_has_all_inputs(measured: dict[str, Any], page: str) -> None:
    tried = measured["inputs"]
    assert set(tried["by_kind"]) == set(inputs.KINDS)
    for kind, row in [*tried["by_kind"].items(), ("**all**", tried)]:
        counts = " | ".join(f"{row[name]:,}" for name in ("inputs", "taken", "refused", "findings"))
        assert f"| {kind} | {counts} | {row['longest_cpu_s']:.2f} |\n" in page
    assert tried["inputs"] >= 50_000
    assert tried["findings"] == 0


def test_the_page_has_all_threads_and_versions(measured: dict[str, Any], page: str) -> None:
    found = measured["threads"]
    for n, different in (
        ("results_in_threads", "different_in_threads"), ("processes", "different_in_processes"),
        ("cold_caches", "different_by_cache"),
    ):  # fmt: skip
        assert f"| {found[n]:,} | {found[different]} |\n" in page
    assert f"with one and with two threads | {found['interrupts']:,} | 0 |\n" in page
    for run in measured["versions"]["runs"].values():
        versions = " | ".join(run["versions"][name] for name in ("python", "numpy", "scipy", "numba"))
        assert f"| {versions} | {run['passed']} | {len(run['failed_tests'])} |" in page


def test_the_page_has_all_mutants(measured: dict[str, Any], page: str) -> None:
    rows, prose = read_rows(ROOT / mutations.DEFAULT_OUT, mutations.HEADER), " ".join(page.split())
    groups = mutations.summary(rows)
    assert measured["mutations"]["groups"] == groups
    assert list(groups) == list(mutations.GROUPS)
    for kind, name in (("file", "file"), ("group", "group")):
        for one in dict.fromkeys(row[name] for row in rows if (row["group"] == WHOLE) is (kind == "file")):
            mine = [row for row in rows if row[name] == one]
            seen = [sum(row[by] != "" for row in mine) for by in ("rejected_by_row", "failed_test")]
            label = f"`{one}`" if kind == "file" else one
            assert f"| {label} | {len(mine)} | {seen[0]} | {seen[1]} | {len(mutations.survivors(mine))} |\n" in page
    whole = groups[WHOLE]
    assert f"All {whole['mutants']:,} mutants of these files" in prose
    assert f"rejects {whole['percent_of_the_others_rejected_by_check']:.1f} % of those that compute" in prose
    equations = mutations.summary([row for row in rows if row["file"] in EQUATIONS])[WHOLE]
    assert f"{equations['percent_of_the_others_rejected_by_check']:.1f} % in terms, reference and losses" in prose
    assert all(found["survivors"] == found["survivors_that_compute_the_same"] for found in groups.values())


def test_every_listed_survivor_is_a_mutant_of_the_code_that_is_there() -> None:
    """So that no reason outlives the line that it is about."""
    there = {tuple(getattr(mutant, name) for name in mutations.SAME) for _, mutant in mutations.drawn(0)}
    assert set(mutations.listed_survivors()) <= there

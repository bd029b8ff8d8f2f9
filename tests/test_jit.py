"""Machine code on disk: kept from process to process, never another's or an older source's; and fallbacks."""

from __future__ import annotations

import ast
import errno
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from tsslbp_ref import jit

PACKAGE = Path(jit.__file__).parent
SOURCE = """
from tsslbp_ref.jit import compiled


@compiled
def doubled(x):
    return x + x


@compiled
def squared(x):
    return x * x
"""


@pytest.fixture
def loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Make dispatchers of two loops, each time as a process of its own would."""
    monkeypatch.setattr("numba.config.CACHE_DIR", "")  # beside the source
    path = tmp_path / "two_loops.py"
    path.write_text(SOURCE)
    numbers = itertools.count()

    def load() -> Any:
        spec = importlib.util.spec_from_file_location(f"two_loops_{next(numbers)}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def codes(folder: Path, name: str = "") -> list[Path]:
    """Files of machine code beside the source, of a loop or of all."""
    return sorted(path for path in (folder / "__pycache__").glob("*.nbc") if name in path.name)


def hits_and_misses(function: Any) -> tuple[int, int]:
    return sum(function.stats.cache_hits.values()), sum(function.stats.cache_misses.values())


# ---------------------------------------------------------------------------------------------------------------------
# Kept
# ---------------------------------------------------------------------------------------------------------------------


def test_a_second_process_compiles_nothing(loops: Any, tmp_path: Path) -> None:
    first, second = loops().doubled, loops().doubled
    assert first(1.5) == 3.0
    assert first(np.float32(2)) == 4
    kept = codes(tmp_path)
    assert len(kept) == 2
    assert second(np.float32(2)) == 4
    assert second(1.5) == 3.0
    assert hits_and_misses(second) == (2, 0)
    assert codes(tmp_path) == kept


def test_two_processes_on_one_cold_cache_get_the_right_numbers(loops: Any, tmp_path: Path) -> None:
    code = "import two_loops as m; print(m.doubled(1.5), m.squared(1.5), sum(m.doubled.stats.cache_misses.values()))"
    paths = os.pathsep.join([str(PACKAGE.parent), str(tmp_path)])

    def process() -> subprocess.Popen[str]:
        environment = os.environ | {"PYTHONPATH": paths}
        return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)

    both = [process(), process()]
    assert [one.communicate(timeout=120)[0][:8] for one in both] == ["3.0 2.25"] * 2
    assert process().communicate(timeout=120)[0] == "3.0 2.25 0\n"
    assert len(codes(tmp_path)) == 2
    assert not list((tmp_path / "__pycache__").glob("*.tmp.*"))


# ---------------------------------------------------------------------------------------------------------------------
# Damaged
# ---------------------------------------------------------------------------------------------------------------------


def flipped(content: bytes, where: int) -> bytes:
    return content[:where] + bytes([content[where] ^ 1]) + content[where + 1 :]


DAMAGES: dict[str, Callable[[Path, Path], Any]] = {
    "empty": lambda path, other: path.write_bytes(b""),
    "truncated": lambda path, other: path.write_bytes(path.read_bytes()[:-1]),
    "only its digest": lambda path, other: path.write_bytes(path.read_bytes()[: jit.DIGEST_BYTES]),
    "longer": lambda path, other: path.write_bytes(path.read_bytes() + b"."),
    "first byte flipped": lambda path, other: path.write_bytes(flipped(path.read_bytes(), 0)),
    "last byte flipped": lambda path, other: path.write_bytes(flipped(path.read_bytes(), -1)),
    "deleted": lambda path, other: path.unlink(),
    "another function's": lambda path, other: shutil.copy(other, path),
    "a folder": lambda path, other: (path.unlink(), path.mkdir()),
    "a link to nothing": lambda path, other: (path.unlink(), path.symlink_to("nothing")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_anew(loops: Any, tmp_path: Path, damage: str) -> None:
    first = loops()
    assert (first.doubled(1.5), first.squared(1.5)) == (3.0, 2.25)
    (path,), (other,) = codes(tmp_path, "doubled"), codes(tmp_path, "squared")
    DAMAGES[damage](path, other)
    second, third = loops(), loops()
    assert second.doubled(1.5) == 3.0
    assert hits_and_misses(second.doubled) == (0, 1)
    assert third.doubled(1.5) == 3.0
    assert hits_and_misses(third.doubled) == ((0, 1) if damage == "a folder" else (1, 0))
    assert third.squared(1.5) == 2.25
    assert hits_and_misses(third.squared) == (1, 0)


def test_no_byte_of_a_file_can_change_unseen(tmp_path: Path) -> None:
    files = jit._CodeFiles(tmp_path, "loop", "stamp")
    files.save("key", {"code": b"machine code", "n": 3})
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert files.load("key") == {"code": b"machine code", "n": 3}
    for where in range(len(content)):
        for damaged in (flipped(content, where), content[:where]):
            path.write_bytes(damaged)
            assert files.load("key") is None
    assert files.load("another key") is None


# ---------------------------------------------------------------------------------------------------------------------
# Where nothing can be written or read
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_full_or_read_only_folder_is_no_error(
    loops: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    plain = Path.write_bytes

    def half_written(self: Path, data: bytes) -> int:
        if number == errno.ENOSPC:
            plain(self, data[: len(data) // 2])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", half_written)
    for _ in range(2):
        function = loops().doubled
        assert function(1.5) == 3.0
        assert hits_and_misses(function) == (0, 1)
    assert [path.suffix for path in (tmp_path / "__pycache__").iterdir()] in ([], [".pyc"])


def test_a_file_that_may_not_be_read_is_compiled_anew(
    loops: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert loops().doubled(1.5) == 3.0
    assert len(codes(tmp_path)) == 1

    def refused(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refused)
    function = loops().doubled
    assert function(1.5) == 3.0
    assert hits_and_misses(function) == (0, 1)


def test_where_numbas_cache_has_changed_its_own_is_used(
    loops: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(function: Any) -> Any:
        raise AttributeError("FunctionCache has no attribute '_impl'")

    monkeypatch.setattr(jit, "_Cache", changed)
    function = loops().doubled
    assert function(1.5) == 3.0
    assert list((tmp_path / "__pycache__").glob("*.nbi"))  # the index of Numba's own cache


def test_where_numbas_cache_is_gone_its_own_is_used(loops: Any, tmp_path: Path) -> None:
    gone = "import numba.core.ccallback, numba.core.caching as m; del m.FunctionCache"
    code = f"{gone}; import two_loops; print(two_loops.doubled(1.5))"
    paths = os.pathsep.join([str(PACKAGE.parent), str(tmp_path)])
    environment = os.environ | {"PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert run.stdout == "3.0\n", run.stderr
    assert list(tmp_path.rglob("*.nbi"))


# ---------------------------------------------------------------------------------------------------------------------
# Older sources
# ---------------------------------------------------------------------------------------------------------------------


def test_an_older_sources_code_goes_with_the_first_of_the_new(
    loops: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loops().doubled(1.5)
    old = codes(tmp_path)
    for path in old:
        os.utime(path, (0, 0))
    monkeypatch.setattr(jit, "_SOURCE_DIGEST", "another")
    changed = loops().doubled
    assert changed(1.5) == 3.0
    assert hits_and_misses(changed) == (0, 1)
    assert len(codes(tmp_path)) == 1
    assert codes(tmp_path) != old


def test_an_edit_of_any_source_changes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = tmp_path / "tsslbp_ref"
    shutil.copytree(PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "__file__", str(copied / "jit.py"))
    digests = {jit._source_digest()}
    compiling = [path for path in copied.rglob("*.py") if path.name in ("jit.py", "terms.py") or _compiles(path)]
    for path in compiling:
        path.write_text(path.read_text() + "\n")
        digests.add(jit._source_digest())
    assert len(compiling) > 8
    assert len(digests) == 1 + len(compiling)
    monkeypatch.setattr("numba.__version__", "0.0")
    assert jit._source_digest() not in digests


def test_loops_use_nothing_of_a_source_outside_the_digest() -> None:
    covered = {path for pattern in jit.COMPILED for path in PACKAGE.glob(pattern)}
    used: set[tuple[Path, str]] = set()
    for path in covered:
        tree = ast.parse(path.read_text())
        loops = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and _is_compiled(node)]
        names = {node.id for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Name)}
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tsslbp_ref"):
                folder = PACKAGE.parent.joinpath(*node.module.split("."))
                for alias in node.names:
                    source = folder / f"{alias.name}.py" if folder.is_dir() else folder.with_suffix(".py")
                    if alias.name in names:
                        used.add((source, alias.name))
    assert len(used) > 10
    assert {source for source, _ in used} <= covered


def _is_compiled(function: ast.FunctionDef) -> bool:
    return any(ast.unparse(decorator).startswith("compiled") for decorator in function.decorator_list)


def _compiles(path: Path) -> bool:
    """Whether a file imports from `jit`."""
    modules = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return "tsslbp_ref.jit" in modules


# ---------------------------------------------------------------------------------------------------------------------
# Products
# ---------------------------------------------------------------------------------------------------------------------

MATRIX = numba.types.Array(numba.float64, 2, "A")


def test_without_numbas_entry_to_blas_products_are_numpys(monkeypatch: pytest.MonkeyPatch) -> None:
    """`test_twins` holds the products by BLAS."""
    monkeypatch.setattr(jit, "ensure_blas", None)
    assert jit._gemm(MATRIX, MATRIX, MATRIX) is jit._gemm_by_dot
    product = numba.njit(jit._gemm_by_dot)
    for transpose_A, transpose_B, accumulate in itertools.product((False, True), repeat=3):
        rng = np.random.default_rng(3)
        A, B, C = (rng.normal(size=shape) for shape in ((4, 7), (7, 3), (4, 3)))
        left = within_longer_rows(A.T).T if transpose_A else within_longer_rows(A)
        right = within_longer_rows(B.T).T if transpose_B else within_longer_rows(B)
        found = within_longer_rows(C)
        product(left, right, found, accumulate)
        np.testing.assert_allclose(found, A @ B + accumulate * C, rtol=0.0, atol=1e-13)
        assert np.isnan(found.base).sum() == 2 * len(found)


def within_longer_rows(M: Any) -> Any:
    """M as part of an array whose other entries are not numbers."""
    whole = np.full((M.shape[0], M.shape[1] + 2), np.nan)
    whole[:, 1:-1] = M
    return whole[:, 1:-1]


def test_a_product_of_two_precisions_is_not_compiled() -> None:
    gemm = jit.gemm

    @numba.njit
    def product(A: Any, C: Any) -> None:
        gemm(A, A, C)

    with pytest.raises(numba.core.errors.TypingError):
        product(np.ones((2, 2)), np.ones((2, 2), np.float32))


def test_the_products_fallback_in_python() -> None:
    A, B = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    C = np.ones((2, 4))
    jit.gemm(A, B, C, accumulate=True)
    np.testing.assert_array_equal(C, 1.0 + A @ B)
    jit.gemm(np.ascontiguousarray(A.T).T, B, C)
    np.testing.assert_array_equal(C, A @ B)

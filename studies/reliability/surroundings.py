"""What looks at mutants: rows of the check table, and tests.

Row by row and test by test it is noted which functions of the package they call: a mutant is shown to those alone that
call what it changes, to those first that saw another one of its file. It lives in a forked process, where the changed
functions get their new code in place; where a default or a constant is changed, the package is imported anew.
"""

from __future__ import annotations

import contextlib
import doctest
import functools
import gc
import importlib
import importlib.machinery
import itertools
import json
import math
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, NoReturn

from studies.reliability.mutants import Mutant, mutated

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tsslbp_ref"
MOST_CPU_S = 300  # of a mutant; one that takes longer, such as an endless loop, counts as seen
# A warning is no error here: pytest warns of what is imported already, NumPy of what is not compiled.
PYTEST = ["-q", "-n", "0", "-p", "no:cacheprovider", "-m", "not long", "-W", "default", f"--rootdir={ROOT}"]
LOCALS = ".<locals>"
OF_THE_TESTS = ("tsslbp_ref", "test_", "conftest", "made_", "planted", "wrong_")


@dataclass(frozen=True)
class Onlooker:
    """A row or a test: which functions of the package it calls, and what it costs."""

    places: set[str]
    cpu_s: float


@dataclass(frozen=True)
class Seen:
    """The first row and the first test that saw a mutant, "" if none did, and what it took."""

    row: str
    test: str
    cpu_s: float


def preload() -> None:
    """Import what every forked process needs."""
    for name in ("tsslbp_ref.gradcheck", "pytest", "hypothesis", "xdist", "threadpoolctl"):
        importlib.import_module(name)


def functions_in(code: CodeType) -> Iterator[CodeType]:
    """The code of every function of a module and of its classes; what is within a function belongs to it."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            is_class = "__module__" in constant.co_names and "__qualname__" in constant.co_names
            yield from functions_in(constant) if is_class else [constant]


def place_of(code: CodeType) -> str:
    """A function's file and name; of a function within another, that one's."""
    return f"{code.co_filename}:{code.co_qualname.partition(LOCALS)[0]}"


@contextlib.contextmanager
def called() -> Iterator[set[str]]:
    """The places of the package's functions that are called meanwhile."""
    codes: set[CodeType] = set()
    places: set[str] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:  # once a call: it asks for no lines
        codes.add(frame.f_code)

    sys.settrace(note)
    try:
        yield places
    finally:
        sys.settrace(None)
        places |= {place_of(code) for code in codes if code.co_filename.startswith(str(PACKAGE))}


class _Noted:
    """A plugin of pytest that notes which functions each test calls, its fixtures included, and which tests fail."""

    def __init__(self) -> None:
        self.calls, self.failed = dict[str, Onlooker](), list[str]()

    def pytest_runtest_protocol(self, item: Any, nextitem: Any) -> bool:
        from _pytest.runner import runtestprotocol

        started = time.process_time()
        with called() as places:
            reports = runtestprotocol(item, nextitem=nextitem, log=False)
        self.calls[item.nodeid] = Onlooker(places, time.process_time() - started)
        if any(report.failed for report in reports):
            self.failed.append(item.nodeid)
        return True


def _unescaped(name: str) -> str:
    """A test's name without backslashes, which pytest doubles when a module is collected again."""
    return name.replace("\\", "")


class _Chosen:
    """A plugin of pytest: what to run, in this order, and what failed."""

    def __init__(self, tests: Sequence[str]) -> None:
        self.rank = {_unescaped(name): number for number, name in enumerate(tests)}
        self.failed: list[str] = []

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        rank = {id(item): self.rank.get(_unescaped(item.nodeid)) for item in items}
        items[:] = sorted((i for i in items if rank[id(i)] is not None), key=lambda item: rank[id(item)])

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid or "collection")


class Surroundings:
    """Rows and tests, and the functions of the package that they call.

    Parameters
    ----------
    tests : mapping
        Of files below the package, such as "model/terms.py", the files of tests, without their folder and ending.
    engine : bool
        Whether the rows are also those of the engine.
    rows : str or sequence of str, optional
        Patterns of the rows that are asked; all if not given.
    budget_s : float
        Rows, and tests, are asked until they would take so long, the quick ones first.

    Raises
    ------
    RuntimeError
        If a row of the check table fails without a mutant.
    """

    def __init__(
        self,
        tests: Mapping[str, Sequence[str]],
        *,
        engine: bool = False,
        rows: str | Sequence[str] | None = None,
        budget_s: float = math.inf,
    ) -> None:
        self.budget_s = budget_s
        self.own_tests = tests
        self.row_calls = _row_calls(rows, engine=engine)
        self.test_calls = _test_calls(dict.fromkeys(name for names in tests.values() for name in names))
        self.functions = _functions()
        self.caches = [one for one in gc.get_objects() if isinstance(one, functools._lru_cache_wrapper)]
        self.seen_first: dict[str, list[str]] = {file: [] for file in tests}  # rows and tests that saw a mutant of it
        gc.freeze()  # so that a forked process copies little of this one

    def look(self, mutant: Mutant) -> Seen:
        """Show a mutant to the rows, and to the tests; who saw it is asked first about the next one."""
        found, cpu_s = apart(lambda: self._seen(mutant))
        row, test = found or ("no answer", "no answer")
        first = self.seen_first[mutant.file]
        for name in (row.partition(" (")[0], test):
            if name in first:
                first.remove(name)
            first.insert(0, name)
        return Seen(row, test, cpu_s)

    def _asked(self, onlookers: Mapping[str, Onlooker], changed: set[str] | None, file: str) -> list[str]:
        """Those that call what is changed, or all: first who saw a mutant of the file, then the quick ones."""
        rank = {name: number for number, name in enumerate(self.seen_first[file])}
        names = [name for name, one in onlookers.items() if changed is None or one.places & changed]
        names.sort(key=lambda name: (rank.get(name, len(rank)), onlookers[name].cpu_s))
        spent = itertools.accumulate(onlookers[name].cpu_s for name in names)
        return [name for name, cpu_s in zip(names, spent, strict=True) if cpu_s <= self.budget_s]

    def _seen(self, mutant: Mutant) -> tuple[str, str]:
        """In the forked process: the row and the test that see the mutant."""
        resource.setrlimit(resource.RLIMIT_CPU, (MOST_CPU_S, MOST_CPU_S))
        changed = self._plant(mutant)
        own = self.own_tests[mutant.file]
        tests = {name: calls for name, calls in self.test_calls.items() if Path(name.partition("::")[0]).stem in own}
        try:
            module = importlib.import_module(_module_name(mutant.file))
            row = _rejecting_row(self._asked(self.row_calls, changed, mutant.file))
        except Exception as error:  # the package cannot be imported
            return (f"import ({type(error).__name__})",) * 2
        if doctest.testmod(module).failed:
            return row, f"doctest of {mutant.file}"
        return row, _failing_test(self._asked(tests, changed, mutant.file))

    def _plant(self, mutant: Mutant) -> set[str] | None:
        """Put the mutant in the place of the file; return which functions it changes, None if it changes others too."""
        path = PACKAGE / mutant.file
        source = path.read_text()
        sound, code = (compile(one, str(path), "exec") for one in (source, mutated(source, mutant)))
        pairs = zip(functions_in(sound), functions_in(code), strict=True)
        changed = [(old, new) for old, new in pairs if old != new]
        for cache in self.caches:
            cache.cache_clear()
        planted = False
        for old, new in changed:
            for function in self.functions.get((place_of(old), old.co_firstlineno), []):
                function.__code__ = new
                planted = True
        if not planted:  # a default, a constant, a module's comprehension: all who imported it have to import it anew
            _stand_in(path, code)
            return None
        return {place_of(old) for old, _ in changed}


def _module_name(file: str) -> str:
    return "tsslbp_ref." + file.removesuffix(".py").replace("/", ".")


def _stand_in(path: Path, code: CodeType) -> None:
    """Forget the package and the tests; when they are imported anew, this code is that of the file."""
    usual = importlib.machinery.SourceFileLoader.get_code
    importlib.machinery.SourceFileLoader.get_code = lambda loader, name: (  # type: ignore[method-assign]
        code if Path(loader.path) == path else usual(loader, name)
    )
    for name in [name for name in sys.modules if name.startswith(OF_THE_TESTS)]:
        del sys.modules[name]


def _row_calls(rows: str | Sequence[str] | None, *, engine: bool) -> dict[str, Onlooker]:
    """What each row of the check table calls."""
    from tsslbp_ref import gradcheck

    calls = {}
    for check in gradcheck.selected(rows, engine=engine):
        started = time.process_time()
        with called() as places:
            passed = check.run().passed
        calls[check.name] = Onlooker(places, time.process_time() - started)
        if not passed:
            raise RuntimeError(f"without a mutant, {check.name} fails")
    return calls


def _test_calls(files: Iterable[str]) -> dict[str, Onlooker]:
    """What each test calls that passes without Numba's compilation."""
    import pytest

    noted = _Noted()
    with _quiet():
        pytest.main([*PYTEST, *(str(ROOT / "tests" / f"{name}.py") for name in files)], plugins=[noted])
    return {name: calls for name, calls in noted.calls.items() if name not in noted.failed}


def _functions() -> dict[tuple[str, int], list[FunctionType]]:
    """The package's functions by place and line, decorated ones too."""
    found: dict[tuple[str, int], list[FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, FunctionType) and one.__code__.co_filename.startswith(str(PACKAGE)):
            found.setdefault((place_of(one.__code__), one.__code__.co_firstlineno), []).append(one)
    return found


def _rejecting_row(names: Sequence[str]) -> str:
    """The first of the rows that does not pass, "" if all do."""
    from tsslbp_ref import gradcheck

    checks = {check.name: check for check in gradcheck.registry()}
    for name in names:
        try:
            if not checks[name].run().passed:
                return name
        except Exception as error:
            return f"{name} ({type(error).__name__})"
    return ""


def _failing_test(names: Sequence[str]) -> str:
    """The first of the tests that fails, "" if none does."""
    import pytest

    chosen = _Chosen(names)
    files = dict.fromkeys(str(ROOT / name.partition("::")[0]) for name in names)
    if files:
        pytest.main([*PYTEST, "-x", *files], plugins=[chosen])
    return chosen.failed[0] if chosen.failed else ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Let nothing be printed meanwhile."""
    with open(os.devnull, "w") as quiet, contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        yield


def _answer(work: Callable[[], Any], path: Path) -> NoReturn:
    """In the forked process: write what a function returns; an error is told on standard error."""
    try:
        error_output = os.dup(2)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        path.write_text(json.dumps(work()))
    except BaseException:
        os.write(error_output, traceback.format_exc().encode())
    finally:
        os._exit(0)


def apart(work: Callable[[], Any]) -> tuple[Any, float]:
    """Call a function in a forked process; return what it returned, None if the process died, and its CPU seconds."""
    with tempfile.NamedTemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            _answer(work, Path(answer.name))
        _, _, usage = os.wait4(child, 0)
        content = Path(answer.name).read_text()
    return json.loads(content) if content else None, usage.ru_utime + usage.ru_stime

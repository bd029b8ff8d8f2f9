"""The house rules that a machine can hold: imports one way, names that load, a quick import, links that hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import tsslbp_ref

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tsslbp_ref"
MODULES = sorted(PACKAGE.rglob("*.py"))
LITERAL = tuple(
    f"model.{name}" for name in ("reference", *(f"reference_{of}" for of in ("layers", "losses", "network")))
)
# Who may import whom, by folder; a folder may import itself. What stands above all, the command line, may import all.
MAY_IMPORT = {
    "checks": set(),
    "files": {"checks"},
    "checkpoints": {"checks", "files"},
    "jit": {"model.terms"},
    "model": {"checks", "checkpoints", "files", "jit"},
    "engine": {"checks", "jit", "model"},
    "exact": {"checks", "jit", "model.parameters", "model.terms", "engine.threads"},
    "datasets": {"checks", "files"},
    "gradcheck": {"checks", "model", "engine", "exact"},
    "conformance": {"checks", "files", "model", "gradcheck"},
    "interop": {"checks", "model"},
    "training": {"checks", "checkpoints", "files", "model", "engine.blas", "engine.threads", "exact", "datasets"},
    "plots": {"checks", "files", "model", "training"},
}
COMPILE = {"model.sweeps", "model.optim"}  # of the model


class Import(NamedTuple):
    """One imported module, and whether a function imports it."""

    name: str  # without the package's name where it is of the package
    in_function: bool


def dotted(path: Path) -> str:
    """A file's module, without the package's name."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> list[Import]:
    """All that a file imports when it runs; what stands under ``if TYPE_CHECKING`` never runs."""
    return [
        Import(name.removeprefix("tsslbp_ref."), in_function)
        for node, in_function in _running(ast.parse(path.read_text()), in_function=False)
        for name in _names(node)
    ]


def _running(node: ast.AST, *, in_function: bool) -> Iterator[tuple[ast.AST, bool]]:
    yield node, in_function
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    for child in ast.iter_child_nodes(node):
        yield from _running(child, in_function=in_function or isinstance(node, ast.FunctionDef))


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, "imports are absolute"
    source = node.module or ""
    inner = [f"{source}.{alias.name}" for alias in node.names]
    return [name if _is_module(name) else source for name in inner]


def _is_module(name: str) -> bool:
    place = ROOT.joinpath(*name.split("."))
    return name.startswith("tsslbp_ref.") and (place.is_dir() or place.with_suffix(".py").exists())


def of_package(path: Path) -> list[Import]:
    """What a file imports of this package."""
    known = {dotted(other) for other in MODULES}
    return [one for one in imports(path) if one.name in known]


# ---------------------------------------------------------------------------------------------------------------------
# Imports
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_run_one_way(path: Path) -> None:
    """Model below engine, exact beside both, the rest above; one line of the network knows of the fast engine."""
    name = dotted(path)
    folder = name.split(".")[0]
    if folder in ("", "__init__", "__main__", "cli"):
        return
    for other in of_package(path):
        allowed = MAY_IMPORT[folder] | {folder}
        is_allowed = other.name in allowed or other.name.split(".")[0] in allowed
        assert is_allowed or (name, *other) == ("model.network", "engine", True), f"{name} imports {other.name}"
        if folder == "model" and other.name == "jit":
            assert name in COMPILE, f"{name} imports jit"


def test_one_line_of_the_model_knows_of_the_fast_engine() -> None:
    found = [dotted(path) for path in (PACKAGE / "model").glob("*.py") for one in imports(path) if "engine" in one.name]
    assert found == ["model.network"]


@pytest.mark.parametrize("name", LITERAL)
def test_literal_loops_know_no_sweeps_and_sweeps_no_literal_loops(name: str) -> None:
    def reached(module: str, found: set[str]) -> set[str]:
        """All that a module imports, and what that imports; added to `found`."""
        place = PACKAGE.joinpath(*module.split("."))
        for one in of_package(place / "__init__.py" if place.is_dir() else place.with_suffix(".py")):
            if one.name not in found:
                found.add(one.name)
                reached(one.name, found)
        return found

    assert not reached(name, set()) & {"model.sweeps", "model.network", "model.backpropagation", "jit", "engine"}
    assert not reached("model.sweeps", set()) & set(LITERAL)


def test_only_jit_imports_numba_and_only_plots_matplotlib() -> None:
    importers = {"numba": set(), "matplotlib": set()}
    for path in MODULES:
        for one in imports(path):
            importers.get(one.name.split(".")[0], set()).add(dotted(path))
    assert importers["numba"] == {"jit"}
    assert {name.split(".")[0] for name in importers["matplotlib"]} == {"plots"}


def test_the_command_line_imports_what_it_needs_when_it_is_needed() -> None:
    files = [path for path in MODULES if path.parent.name == "cli"]
    at_the_top = {one.name for path in files for one in imports(path) if not one.in_function}
    heavy = {name for name in at_the_top & {dotted(path) for path in MODULES} if name.split(".")[0] != "cli"}
    assert heavy <= {"__init__", "checks"}


def python(code: str) -> str:
    """What a fresh process prints."""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_the_import_is_light() -> None:
    heavy = "('numba', 'matplotlib', 'scipy', 'tqdm')"
    assert python(f"import sys, tsslbp_ref; print([m for m in {heavy} if m in sys.modules])") == "[]"


# ---------------------------------------------------------------------------------------------------------------------
# Public names
# ---------------------------------------------------------------------------------------------------------------------

# In a child of its own for each: import one module first, then ask for every public name; what is a module is that one.
AFTER_ANY_OTHER = """
import importlib, os, types
import matplotlib.pyplot, numba.extending, scipy.differentiate, scipy.optimize, tqdm
FIRST = "checkpoints checks cli conformance datasets engine exact files gradcheck interop jit".split()
FIRST += "model.network plots.curves training.runs".split()
for first in FIRST:
    child = os.fork()
    if child == 0:
        importlib.import_module(f"tsslbp_ref.{first}")
        import tsslbp_ref as tr
        for name in tr.__all__:
            home = tr._HOME_OF_MODULE.get(name)
            value = getattr(tr, name)
            assert home is None or value is importlib.import_module(f"tsslbp_ref.{home}"), (first, name, value)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, first
print(len(FIRST))
"""


def test_every_public_module_is_there_whatever_was_imported_before() -> None:
    folders = {dotted(path).split(".")[0] for path in MODULES} - {"", "__init__", "__main__"}
    assert int(python(AFTER_ANY_OTHER)) == len(folders)


def test_dir_and_help_list_the_public_names_and_no_others() -> None:
    assert dir(tsslbp_ref) == sorted(tsslbp_ref.__all__)
    text = python("import tsslbp_ref, pydoc; print(pydoc.plain(pydoc.render_doc(tsslbp_ref)))")
    modules = text.split("\nSUBMODULES\n")[1].split("\n\n")[0].split()
    assert set(modules) <= set(tsslbp_ref.__all__)
    assert {"terms", "reference", "network", "sweeps"} <= set(modules)


def test_every_public_name_loads() -> None:
    for name in tsslbp_ref.__all__:
        assert getattr(tsslbp_ref, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tsslbp_ref.nothing  # noqa: B018


def test_the_public_names_of_the_design_hold() -> None:
    design = {"NeuronParameters", "GradientRule", "Network", "lif_forward", "tsslbp_backward", "fast", "terms"}
    assert design <= set(dir(tsslbp_ref))
    from tsslbp_ref.training import Trainer, TrainingSettings

    assert callable(Trainer)
    assert callable(TrainingSettings)


# ---------------------------------------------------------------------------------------------------------------------
# Documents
# ---------------------------------------------------------------------------------------------------------------------

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if not target.startswith(("http", "mailto", "#")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_readme_names_what_exists() -> None:
    text = (ROOT / "README.md").read_text()
    make_targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"make ([a-z-]+)", text)) <= make_targets
    for name in re.findall(r"tsslbp-ref ([a-z]+)", text):
        source = (PACKAGE / "cli" / f"{name}.py").read_text()
        assert re.search(rf'add_parser\(\s*"{name}"', source), f"README names tsslbp-ref {name}"


def test_ci_runs_what_the_readme_says() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()


def test_pyproject_is_minimal() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(config) == {"build-system", "tool"}
    assert set(config["tool"]) == {"ruff"}

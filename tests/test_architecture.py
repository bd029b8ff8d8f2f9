"""The house rules that a machine can hold: imports one way, one importer of numba, quick import, README true."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "tsslbp_ref"
# Every module may import from its own level's left only; modules of one level do not import each other.
LEVELS = (
    {"checks", "compilation", "buffers"},
    {"parameters", "fast_together"},
    {"terms"},
    {"fast_terms"},
    {"trace"},
    {"reference", "fast", "fast_optim", "losses", "reference_layers", "fast_layers"},
    {"fast_events", "fast_static"},
    {"fast_waves", "fast_words"},
    {"fast_fourier"},
    {"layers"},
    {"fast_dense", "fast_pooled"},
    {"signals", "spec", "workers", "fast_step"},
    {"layer_runs", "optim"},
    {"steps"},
    {"passes"},
    {"whole_steps"},
    {"network"},
    {"experiments", "raster", "datasets"},
    {"tasks", "gradcheck"},
    {"training"},
    {"checkpoints", "stopping"},
    {"run_files"},
    {"runs"},
    {"seeds", "results", "explore"},
    {"curves"},
    {"cli"},
)
SAME_LEVEL_ALLOWED = {("spec", "layers"), ("trace", "parameters")}
IMPORTS_NUMBA = {"compilation.py"}  # everything else says "compiled" and "compiled_term"
IMPORT_MATPLOTLIB = {"explore.py", "curves.py"}  # the command line loads them when they are asked for


def module_name(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_siblings(path: Path) -> set[str]:
    """Modules of the package that a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "tsslbp_ref":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tsslbp_ref."):
            names.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("tsslbp_ref.")}
    return names


def imported_roots(path: Path) -> set[str]:
    roots: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots.add(node.module.split(".")[0])
    return roots


def test_imports_run_one_way():
    level_of = {name: index for index, names in enumerate(LEVELS) for name in names}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = module_name(path)
        if name in ("__init__", "__main__") or name.startswith("exact"):
            continue
        assert name in level_of, f"{name} has no place in LEVELS"
        for other in imported_siblings(path) - {name}:
            if other not in level_of:
                assert name in ("gradcheck", "cli"), f"{name} imports {other}"
                continue
            downward = level_of[other] < level_of[name] or (name, other) in SAME_LEVEL_ALLOWED
            assert downward, f"{name} imports {other}"


def test_reference_and_fast_do_not_know_each_other():
    assert "fast" not in imported_siblings(PACKAGE / "reference.py")
    assert "reference" not in imported_siblings(PACKAGE / "fast.py")


def test_exact_stands_beside_the_network():
    for path in PACKAGE.glob("exact*.py"):
        assert imported_siblings(path) <= {"checks", "compilation", "parameters", "exact_arguments", "exact_kernels"}


def test_only_compilation_imports_numba_and_only_what_draws_matplotlib():
    for path in PACKAGE.rglob("*.py"):
        roots = imported_roots(path)
        assert "numba" not in roots or path.name in IMPORTS_NUMBA, path
        assert "matplotlib" not in roots or path.name in IMPORT_MATPLOTLIB, path


def test_the_import_is_light():
    code = "import sys, tsslbp_ref; print([m for m in ('numba', 'matplotlib', 'scipy', 'tqdm') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip() == "[]"


def test_every_public_name_loads():
    import tsslbp_ref

    for name in tsslbp_ref.__all__:
        assert getattr(tsslbp_ref, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tsslbp_ref.nothing  # noqa: B018


def test_the_public_names_of_the_design_hold():
    import tsslbp_ref as tr

    assert {"NeuronParameters", "GradientRule", "Network", "lif_forward", "tsslbp_backward"} <= set(dir(tr))


def test_readme_names_what_exists():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), f"README links to {target}"
    make_targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for target in re.findall(r"make ([a-z-]+)", text):
        assert target in make_targets, f"README names make {target}"
    for name in re.findall(r"tsslbp-ref ([a-z]+)", text):
        assert f'add_parser("{name}"' in (PACKAGE / "cli.py").read_text(), f"README names tsslbp-ref {name}"


def test_ci_runs_what_the_readme_says():
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script
    assert "make test" in (ROOT / "README.md").read_text()


def test_pyproject_is_minimal():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(config) == {"build-system", "tool"}
    assert set(config["tool"]) == {"ruff"}

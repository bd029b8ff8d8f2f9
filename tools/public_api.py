"""The public names and signatures, read from the source: `python -m tools.public_api` writes tests/public_api.txt.

A test compares the file with the source, so that no name changes unseen; a rename also goes into CHANGELOG.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tsslbp_ref

PACKAGE = Path(tsslbp_ref.__file__).parent
SNAPSHOT = Path(__file__).resolve().parents[1] / "tests" / "public_api.txt"
Definition = ast.FunctionDef | ast.ClassDef


def public_api() -> str:
    """A line for each name of the package, of its public modules and of their classes."""
    modules, lines = tsslbp_ref._HOME_OF_MODULE, []
    for name in sorted(tsslbp_ref.__all__):
        home = modules.get(name) or tsslbp_ref._HOME_OF_NAME.get(name, "model.parameters")
        if name not in modules:
            lines += [f"{name} is of {home}", *_of_definition(name, _definition(_file(home), name))]
        elif home.endswith(name):
            lines += [f"{name} is {home}", *_of_module(name, _file(home))]
        else:
            lines.append(f"{name} is {home}, by another name")
    return "\n".join(lines) + "\n"


def _file(module: str) -> Path:
    place = PACKAGE.joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def _of_module(shown: str, file: Path) -> Iterator[str]:
    """The lines of a module: what its ``__all__`` lists, or all that is defined there without an underscore."""
    found = _names(file)
    listed = found.get("__all__")
    own = [name for name, node in found.items() if not name.startswith("_") and not isinstance(node, ast.ImportFrom)]
    for name in sorted(ast.literal_eval(listed) if isinstance(listed, ast.expr) else own):
        yield from _of_definition(f"{shown}.{name}", _definition(file, name))


def _definition(file: Path, name: str) -> ast.AST | None:
    """What defines a name of a file, there or where the file has it from; None for a module."""
    node = _names(file).get(name)
    if not isinstance(node, ast.ImportFrom):
        return node
    source = (node.module or "").partition(".")[2]
    return None if _file(f"{source}.{name}").exists() else _definition(_file(source), name)


def _names(file: Path) -> dict[str, ast.AST]:
    """What a file's names stand for: a definition, an import from the package, or a value."""
    found: dict[str, ast.AST] = {}
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, Definition):
            found[node.name] = node
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tsslbp_ref"):
            found |= {alias.name: node for alias in node.names}
        elif isinstance(node, ast.Assign):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
    return found


def _of_definition(name: str, node: ast.AST | None) -> Iterator[str]:
    """A line for a function or value; for a class one for each of its fields and methods, too."""
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        decorators = "".join(f"@{ast.unparse(one)} " for one in node.decorator_list)
        yield f"{decorators}{name}({ast.unparse(node.args)}){returns}"
        return
    yield name
    for part in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(part, ast.FunctionDef) and (part.name == "__init__" or not part.name.startswith("_")):
            yield from _of_definition(f"{name}.{part.name}", part)
        elif isinstance(part, ast.AnnAssign):
            yield f"{name}.{ast.unparse(part)}"


if __name__ == "__main__":
    SNAPSHOT.write_text(public_api())
    print(f"wrote {SNAPSHOT}")

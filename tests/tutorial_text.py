"""What a tutorial's text holds: its words, links, and the functions that it defines."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

from docs.outputs import fences

ROOT = Path(__file__).resolve().parents[1]


def prose(path: Path) -> str:
    """The words of a file: no code, no displayed maths, no tags, no pictures; an inline formula is one word."""
    text = re.sub(r"^```.*?^```", " ", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"\$[^$\n]+\$", " formula ", text)
    text = re.sub(r"`[^`\n]+`", " code ", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", " ", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return re.sub(r"<[^>]+>", " ", text)


def word_count(path: Path) -> int:
    """Number of words of a file's prose: runs of letters and digits with what joins them."""
    return len(re.findall(r"\w+(?:['’.-]\w+)*", prose(path)))


def links(path: Path) -> Iterator[str]:
    """Targets of all links and pictures outside code."""
    text = re.sub(r"^```.*?^```", " ", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]+`", " ", text)
    text = re.sub(r"\$[^$\n]+\$", " ", text)
    yield from re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(path: Path) -> set[str]:
    """What a code host makes of the headings of a file: lower case, no punctuation, spaces become hyphens."""
    text = re.sub(r"^```.*?^```", " ", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    """Links of a file to files, or to headings, that do not exist; links to other hosts are left alone."""
    broken = []
    for target in links(path):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    return broken


def defined_functions(path: Path) -> set[str]:
    """Functions that the fences of a tutorial define, by def or by a name given to a lambda; no methods."""
    names: set[str] = set()
    for fence in fences(path):
        if fence.language != "python":
            continue
        nodes = list(ast.walk(ast.parse(fence.code)))
        methods = {child for node in nodes if isinstance(node, ast.ClassDef) for child in node.body}
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node not in methods:
                names.add(node.name)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@functools.cache
def package_functions() -> set[str]:
    """Names of all functions at the top of a module of the package."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tsslbp_ref").rglob("*.py")]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}

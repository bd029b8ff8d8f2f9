"""Settings of the documentation site: `make docs` builds it from the Markdown of the whole repository.

The source folder is the repository's root, so that the tutorials, the gallery and the README are read where they lie
and their links and pictures hold on a code host and on the site alike. Nothing is fetched, neither in the build nor by
the browser: MathJax and its fonts come from the package sphinx-mathjax-offline.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ["NUMBA_DISABLE_JIT"] = "1"  # a compiled loop has no docstring that autodoc could see

import tsslbp_ref  # noqa: E402 - from this checkout, with the compiler off

project = "tsslbp_ref"
release = tsslbp_ref.__version__
author = "The tsslbp_ref maintainers"
copyright = "the tsslbp_ref maintainers, MIT licence"

root_doc = "docs/index"
include_patterns = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "benchmarks/README.md",
    "docs/**.md",
    "figures/README.md",
    "results/*.md",
    "studies/README.md",
    "tools/golden/README.md",
    "tsslbp_ref/gradcheck/golden/README.md",
    "tutorials/*.md",
    "tutorials/ko/*.md",
]
exclude_patterns = ["docs/_build", ".venv", ".venv-torch", "runs", "tutorials/notebooks"]
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "numpydoc",
]

# Markdown as a code host reads it: $maths$, and headings that can be linked to.
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's sections say the types
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

html_theme = "furo"
html_title = f"tsslbp_ref {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "to_the_first_page.html"}
html_favicon = "_static/spike.svg"
html_show_sphinx = False
html_use_index = False  # the reference has its own order, and there is a search
html_domain_indices = False
html_copy_source = False
templates_path = ["_templates"]

# ---------------------------------------------------------------------------------------------------------------------
# Docstrings are plain text with equations; what reStructuredText would take for markup is quoted here
# ---------------------------------------------------------------------------------------------------------------------

_SECTION_LINE = re.compile(r"^\s*-{3,}\s*$")
_LIST_ITEM = re.compile(r"^(-|\d+\.) ")
_KEPT = re.compile(r"(``.+?``|:[a-z]+:`[^`]+`|`[^`]+`)")


def _escaped(line: str) -> str:
    """Quote * and | and a trailing underscore outside back quotes: products, absolute values and names."""
    parts = _KEPT.split(line)
    for index in range(0, len(parts), 2):
        parts[index] = re.sub(r"([*|])", r"\\\1", parts[index])
        parts[index] = re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", parts[index])
    return "".join(parts)


def quoted(lines: list[str]) -> list[str]:
    """Escape a docstring's text; before its sections, make literal blocks of indented equations.

    Directives (".. math::") and what is indented below them stay as they are; so do lists, but for the escapes.
    """
    result: list[str] = []
    kind = "text"  # of the lines above: text, list, directive or code
    directive_indentation = 0
    in_sections = False
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        indentation = len(line) - len(line.lstrip())
        in_sections = in_sections or bool(_SECTION_LINE.match(following))
        if not line.strip():
            result.append(line)
            continue
        if line.lstrip().startswith(".. "):
            kind, directive_indentation = "directive", indentation
        elif kind == "directive" and indentation > directive_indentation:
            pass
        elif indentation == 0 or in_sections:
            result += [""] if kind == "code" else []
            kind = "list" if _LIST_ITEM.match(line) else "text"
        elif kind != "list":
            result += ["", "::", ""] if kind != "code" else []
            kind = "code"
        result.append(line if kind in ("directive", "code") else _escaped(line))
    return result


def _quote_docstring(app: Sphinx, what: str, name: str, obj: object, options: dict[str, Any], lines: list[str]) -> None:
    lines[:] = quoted(lines)


def setup(app: Sphinx) -> None:
    """Quote docstrings before numpydoc, which listens with priority 500, reads them."""
    app.connect("autodoc-process-docstring", _quote_docstring, priority=400)

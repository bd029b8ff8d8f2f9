"""Tests of the site's own tools, run by `make docs-check`: each shows that a tool sees what it is there to see."""

from __future__ import annotations

import base64
import re
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

import check_site  # noqa: E402
import conf  # noqa: E402
import notebooks  # noqa: E402

from docs import outputs  # noqa: E402

# ---------------------------------------------------------------------------------------------------------------------
# The reference
# ---------------------------------------------------------------------------------------------------------------------


def test_every_module_is_in_the_reference() -> None:
    """A new module must be given its place."""
    package = DOCS.parent / "tsslbp_ref"
    modules = {
        ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in package.rglob("*.py")
    }
    text = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    listed = {line.split()[-1] for line in text.splitlines() if line.startswith(".. automodule::")}
    assert listed == modules - {"tsslbp_ref", "tsslbp_ref.__main__"}


def test_quoted_escapes_text_and_keeps_code_and_maths() -> None:
    """Products and absolute values are text; what stands in back quotes and directives is not touched."""
    lines = ["|u| * a_ and ``b*c``", "", ".. math::", "    |x|_1 * y", "", "more |z|"]
    expected = [r"\|u\| \* a\_ and ``b*c``", "", ".. math::", "    |x|_1 * y", "", r"more \|z\|"]
    assert conf.quoted(lines) == expected


def test_quoted_makes_equations_literal_and_leaves_lists_and_sections() -> None:
    """Indented lines are equations before the sections, but not in a list."""
    lines = [
        "With G:",
        "    delta = G * x",
        "then this.",
        "",
        "- an item",
        "  goes on",
        "",
        "Parameters",
        "---",
        "u : x",
    ]
    result = conf.quoted([*lines, "    Text of u."])
    assert result[:7] == ["With G:", "", "::", "", "    delta = G * x", "", "then this."]
    assert result[7:] == ["", "- an item", "  goes on", "", "Parameters", "---", "u : x", "    Text of u."]


# ---------------------------------------------------------------------------------------------------------------------
# Notebooks
# ---------------------------------------------------------------------------------------------------------------------

TUTORIAL = """# Title

[two](02_two.md#here) [map](README.md) ![seen](../figures/out/fig01_lif_neuron.png)

```python
x = 1
print(x)
```

```text
1
```

```sh
exit 1
```

<details><summary>Solution</summary>

Because.

```python
y = x / 0
```
</details>

```python
z = 2
```
"""


def test_notebook_moves_links_and_unfolds_solutions() -> None:
    """Links lead from tutorials/notebooks/; only the solution's source is hidden; no output stands as text."""
    notebook = notebooks.as_notebook(outputs.without_outputs(TUTORIAL))
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "python -m pip install" in notebook.cells[0].source
    assert "[two](02_two.ipynb#here) [map](../README.md) ![seen](attachment:fig01_lif_neuron.png)" in text
    (pictures,) = [cell.attachments for cell in notebook.cells if "attachments" in cell]
    assert list(pictures) == ["fig01_lif_neuron.png"]
    assert base64.b64decode(pictures["fig01_lif_neuron.png"]["image/png"]).startswith(b"\x89PNG")
    assert "**Solution**" in text
    assert "details" not in text
    assert re.findall(r"```text\n(.*)\n```", text) == ["exit 1"]  # a command is shown and does not run
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.source for cell in code] == ["x = 1\nprint(x)", "y = x / 0", "z = 2"]
    assert ["jupyter" in cell.metadata for cell in code] == [False, True, False]


def test_notebook_that_cannot_run_here_holds_what_the_text_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without PyTorch a tutorial on it becomes a notebook that is not run, and keeps its outputs as text."""
    tutorial = tmp_path / "16_pytorch.md"
    tutorial.write_text(TUTORIAL.replace("x = 1", "import torch"))
    monkeypatch.setattr(outputs.importlib.util, "find_spec", lambda name: None)
    assert notebooks.main([str(tutorial), "--out", str(tmp_path)]) == 0
    notebook = nbformat.read(tmp_path / "16_pytorch.ipynb", as_version=4)
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code"] == [[], [], []]
    assert "```text" in "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_notebook_with_a_failing_cell_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says which tutorial failed and how, and returns 1."""
    tutorial = tmp_path / "01_fails.md"
    tutorial.write_text(TUTORIAL)
    assert notebooks.main([str(tutorial), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "01_fails.md: a cell failed" in error
    assert "ZeroDivisionError" in error
    assert list((tmp_path / "out").iterdir()) == []


SHOWS = """# Title

```python
from matplotlib import pyplot as plt

plt.plot([1, 2])
plt.show()
print("drawn in", __import__("os").listdir())
```
"""


def test_notebook_holds_figures_and_output_and_runs_in_an_empty_folder(tmp_path: Path) -> None:
    """A figure stands in the notebook where the cell shows it."""
    (tmp_path / "01_shows.md").write_text(SHOWS)
    assert notebooks.main([str(tmp_path / "01_shows.md"), "--out", str(tmp_path)]) == 0
    (cell,) = [cell for cell in nbformat.read(tmp_path / "01_shows.ipynb", 4).cells if cell.cell_type == "code"]
    assert [output["text"] for output in cell.outputs if output.output_type == "stream"] == ["drawn in []\n"]
    assert any("image/png" in output.get("data", {}) for output in cell.outputs)


# ---------------------------------------------------------------------------------------------------------------------
# The look at the site
# ---------------------------------------------------------------------------------------------------------------------

PAGE = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>t</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<script>window.MathJax = {options: {processHtmlClass: 'math'}};</script>
<script src="_static/mathjax/tex-chtml.js"></script></head><body><article>BODY</article></body></html>"""
GOOD = r'<p id="here">Text <span class="math">\(a^2\)</span> <a href="#here">up</a></p>'
FAULTS = {
    "formula with an error: \\frac": r'<p><span class="math">\(\frac\)</span></p>',
    "formula with an error: \\undefined": r'<p><span class="math">\(\undefined\)</span></p>',
    "formula not typeset": '<p><span class="math">no delimiters</span></p>',
    "picture missing": '<p>Text <img src="none.png" alt=""></p>',
    "none.png: no such file": '<p>Text <img src="none.png" alt=""></p>',
    "#there: no such anchor": '<p>Text <a href="#there">a</a></p>',
    "none.html: no such file": '<p>Text <a href="none.html">a</a></p>',
    "scrolls sideways": '<p>Text</p><div style="width: 2000px; height: 9px">wide</div>',
    "text of 9": '<p style="font-size: 9px">small</p>',
    "asks for https://example.org": '<p>Text <img src="https://example.org/a.png" alt=""></p>',
    "console: ": '<p>Text</p><script>console.error("said")</script>',
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> check_site.Findings:
    """What the checker says of a site with a good page and one page a fault, with the built site's MathJax."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "_static").mkdir()
    shutil.copytree(check_site.SITE / "_static" / "mathjax", folder / "_static" / "mathjax")
    (folder / "good.html").write_text(PAGE.replace("BODY", GOOD))
    for number, body in enumerate(FAULTS.values()):
        (folder / f"fault{number}.html").write_text(PAGE.replace("BODY", body + GOOD))
    return check_site.findings(folder)


def test_a_good_page_has_no_fault(found: check_site.Findings) -> None:
    """The page that the faults are planted in is itself in order, and its formula was counted."""
    assert [line for line in found.wrong if line.startswith("good.html")] == []
    assert found.pages == 1 + len(FAULTS)
    assert found.formulas >= found.pages


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(found: check_site.Findings, fault: str) -> None:
    """Each planted fault is reported, with its page."""
    page = f"fault{list(FAULTS).index(fault)}.html"
    lines = [line for line in found.wrong if line.startswith(page)]
    assert any(fault in line for line in lines), lines

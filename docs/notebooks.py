"""`make notebooks`: every tutorial as an executed notebook under tutorials/notebooks/.

jupytext turns the Markdown into cells and nbclient runs them in an empty folder, as the tests do. Some things of the
text are adapted: a first cell says how to install; what a fence printed is the cell's own output, and a figure stands
below the cell that shows it; pictures are in the notebook itself, and links lead one folder further up; a folded
solution becomes a heading over a code cell whose source is hidden, since a notebook's cells cannot share one <details>.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from docs.outputs import can_run, without_outputs  # noqa: E402

TUTORIALS = ROOT / "tutorials"
SECONDS_A_CELL = 120
INSTALL = """To run these cells, install the package once, in a clone of its repository, with what Jupyter needs:

    python -m pip install ".[data]" jupyter

From then on this notebook runs in any folder."""


def with_moved_links(text: str) -> str:
    """The text as it must read one folder further down: links to tutorials lead to notebooks."""
    text = re.sub(r"\]\((\d\d_\w+)\.md", r"](\1.ipynb", text)
    text = re.sub(r"\]\((README\.md)", r"](../\1", text)
    return re.sub(r"\]\(\.\./(?!README\.md)", "](../../", text)


def as_notebook(text: str) -> nbformat.NotebookNode:
    """A tutorial's Markdown as a notebook that is not yet run."""
    text = text.replace("\n```sh\n", "\n```text\n")  # a shell's command is shown; jupytext would make it a cell
    notebook = jupytext.reads(with_moved_links(text), fmt="md")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    in_solution = False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if in_solution:
                cell.metadata["jupyter"] = {"source_hidden": True}
            continue
        last_tag = max(cell.source.rfind("<details>"), cell.source.rfind("</details>"))
        if last_tag >= 0:
            in_solution = cell.source.startswith("<details>", last_tag)
        cell.source = re.sub(r"<details>\s*<summary>(.*?)</summary>", r"**\1**", cell.source)
        cell.source = cell.source.replace("</details>", "").strip()
        attach_pictures(cell)
    install = nbformat.v4.new_markdown_cell(INSTALL, id="install")
    notebook.cells = [install, *(cell for cell in notebook.cells if cell.source)]
    return notebook


def attach_pictures(cell: nbformat.NotebookNode) -> None:
    """Put the pictures that a cell of text shows into the cell."""

    def attached(match: re.Match[str]) -> str:
        picture = TUTORIALS / match[2].removeprefix("../")
        content = base64.b64encode(picture.read_bytes()).decode()
        cell.setdefault("attachments", {})[picture.name] = {"image/png": content}
        return f"{match[1]}(attachment:{picture.name})"

    cell.source = re.sub(r"(!\[[^\]]*\])\(([^)]+\.png)\)", attached, cell.source)


def convert(path: Path, folder: Path) -> Path:
    """Convert and run one tutorial; the notebook is written only if every cell ran.

    Where a tutorial's library is not installed, its notebook is not run and holds the outputs that the text shows.
    """
    text, runs = path.read_text(), can_run(path)
    notebook = as_notebook(without_outputs(text) if runs else text)
    with tempfile.TemporaryDirectory() as anywhere:
        resources = {"metadata": {"path": anywhere}}
        if runs:
            NotebookClient(notebook, timeout=SECONDS_A_CELL, kernel_name="python3", resources=resources).execute()
    target = folder / f"{path.stem}.ipynb"
    nbformat.write(notebook, target)
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert the named tutorials, or all; return 1 if a cell failed."""
    parser = argparse.ArgumentParser(description="Tutorials as executed notebooks.")
    parser.add_argument("tutorials", nargs="*", type=Path, help="Markdown files; all of tutorials/ if none is named")
    parser.add_argument("--out", type=Path, default=TUTORIALS / "notebooks", help="folder for the notebooks")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in options.tutorials or sorted(TUTORIALS.glob("[0-9][0-9]_*.md")):
        start = time.monotonic()
        try:
            target = convert(path, options.out)
        except CellExecutionError as error:
            print(f"{path}: a cell failed\n{error}", file=sys.stderr)
            failed += 1
        else:
            print(f"{target}  {time.monotonic() - start:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m docs.outputs`: run the Python fences of the tutorials, and write below each what it printed.

The fences of one file run from top to bottom in one namespace, compiled under the file's own name and line numbers, so
that a failing one is reported as file and line of the text. A ```text fence right behind a ```python fence is its
output. In the tests and here a figure costs nothing: it is closed where the fence shows it.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import linecache
import re
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
OWN_DATA = "docs/your-own-data.md"
OUTPUT = re.compile(r"\n*^```text\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Fence:
    """A fenced block: its language, the number of its first line of code, counted from 1, and its text."""

    language: str
    line: int
    code: str

    @property
    def after(self) -> int:
        """Number of the line behind the closing mark."""
        return self.line + self.code.count("\n") + 1


@dataclass(frozen=True)
class Result:
    """A Python fence that ran, what it printed, and what stands below it in the text ("" for nothing)."""

    fence: Fence
    printed: str
    stands: str


class TutorialError(AssertionError):
    """A fence that failed; the message begins with file and line."""


def fences(path: Path) -> list[Fence]:
    """All fenced blocks of a Markdown file; one that is not closed is an error with its file and line."""
    found: list[Fence] = []
    opened: tuple[str, int] | None = None
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = (line[3:].strip(), number + 1)
        else:
            language, first = opened
            code = "".join(f"{code_line}\n" for code_line in lines[first - 1 : number - 1])
            found.append(Fence(language, first, code))
            opened = None
    if opened is not None:
        raise TutorialError(f"{path}:{opened[1] - 1}: this fence is not closed")
    return found


def run_fences(path: Path) -> tuple[dict[str, object], list[Result]]:
    """Run the Python fences of a file in one namespace; a failure says file, line, code and error.

    Returns
    -------
    namespace : dict
    results : list of Result
        One for each Python fence.
    """
    namespace: dict[str, object] = {"__name__": "tutorial"}
    results = []
    linecache.checkcache(str(path))
    plt.switch_backend("agg")
    for fence in fences(path):
        if fence.language != "python":
            continue
        printed = io.StringIO()
        try:
            code = compile("\n" * (fence.line - 1) + fence.code, str(path), "exec")
            with redirect_stdout(printed), mock.patch.object(plt, "show", side_effect=_close):
                exec(code, namespace)
        except Exception as error:
            raise TutorialError(_message(path, fence, error)) from error
        results.append(Result(fence, printed.getvalue(), output_below(path, fence)))
    return namespace, results


def output_below(path: Path, fence: Fence) -> str:
    """What the ```text fence right behind a fence holds; "" if there is none."""
    match = OUTPUT.match("\n".join(path.read_text().splitlines()[fence.after - 1 :]))
    return match[1] if match else ""


def _close(*, block: bool | None = None) -> None:
    """What `plt.show` does while fences run."""
    plt.close("all")


def _message(path: Path, fence: Fence, error: Exception) -> str:
    """File, line, source line and error; the line is the last one of the tutorial's own."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = own[-1].lineno if own else getattr(error, "lineno", fence.line)
    source = linecache.getline(str(path), line or fence.line).strip()
    return f"{path}:{line}: {source}\n{type(error).__name__}: {error}"


def without_outputs(text: str) -> str:
    """The text without what its Python fences printed: a notebook's cells have outputs of their own."""
    return re.sub(rf"(^```python\n.*?^```$){OUTPUT.pattern}", r"\1", text, flags=re.MULTILINE | re.DOTALL)


def can_run(path: Path) -> bool:
    """Whether all that a file's fences import is installed: PyTorch, of which `make test` knows nothing, may not be."""
    return "import torch" not in path.read_text() or importlib.util.find_spec("torch") is not None


def write_outputs(path: Path) -> bool:
    """Run a file's fences and write what each printed below it; return whether the file has changed."""
    old = path.read_text()
    lines = old.splitlines()
    _, results = run_fences(path)
    for result in reversed(results):
        before, behind = lines[: result.fence.after - 1], lines[result.fence.after - 1 :]
        behind = OUTPUT.sub("", "\n".join(behind), count=1).removeprefix("\n").splitlines() if result.stands else behind
        output = ["", "```text", *result.printed.splitlines(), "```"] if result.printed else []
        lines = [*before, *output, *behind]
    new = "\n".join(lines) + "\n"
    if new != old:
        path.write_text(new)
    return new != old


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrite the outputs of the named files, or of all tutorials and derivations; return 1 if a fence failed."""
    parser = argparse.ArgumentParser(prog="python -m docs.outputs", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "files", nargs="*", type=Path, help="Markdown files; all that have Python fences if none is named"
    )
    options = parser.parse_args(arguments)
    texts = [*ROOT.glob("tutorials/[0-9][0-9]_*.md"), *ROOT.glob("docs/derivations/*.md"), ROOT / OWN_DATA]
    failed = 0
    found = sorted(path for path in texts if "```python" in path.read_text() and can_run(path))
    paths = [path.resolve() for path in options.files or found]
    with tempfile.TemporaryDirectory() as folder, chdir(folder):  # a fence may write a file
        for path in paths:
            try:
                print(f"{path}: {'written' if write_outputs(path) else 'as it was'}", flush=True)
            except TutorialError as error:
                print(error, file=sys.stderr)
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

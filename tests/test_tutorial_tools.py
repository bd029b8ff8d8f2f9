"""What the tests of tutorials go by: fences run in one namespace, words are counted, broken links are found."""

from __future__ import annotations

from pathlib import Path

import pytest
from tutorial_text import broken_links, defined_functions, package_functions, word_count

from docs.outputs import TutorialError, run_fences, without_outputs, write_outputs


def tutorial(folder: Path, text: str) -> Path:
    path = folder / "01_made_up.md"
    path.write_text(text)
    return path


def test_runner_shares_one_namespace_and_skips_other_languages(tmp_path: Path) -> None:
    path = tutorial(tmp_path, "```python\nx = 1\n```\n```sh\nexit 1\n```\n```python\ny = x + 1\n```\n")
    assert run_fences(path)[0]["y"] == 2


PRINTS = "# T\n\n```python\nprint('a\\nb')\n```\n{output}\nProse.\n\n```python\nx = 1\n```\n\nMore.\n"


@pytest.mark.parametrize("output", ["", "\n```text\nold\n```\n", "```text\na\nb\n```\n"], ids=["none", "old", "close"])
def test_outputs_are_written_below_their_fences_and_then_stand(tmp_path: Path, output: str) -> None:
    path = tutorial(tmp_path, PRINTS.format(output=output))
    assert write_outputs(path)
    assert path.read_text() == PRINTS.format(output="\n```text\na\nb\n```\n")
    assert not write_outputs(path)
    assert [(result.printed, result.stands) for result in run_fences(path)[1]] == [("a\nb\n", "a\nb\n"), ("", "")]
    assert without_outputs(path.read_text()) == PRINTS.format(output="")


def test_output_of_a_fence_that_prints_no_longer_is_taken_out(tmp_path: Path) -> None:
    path = tutorial(tmp_path, "```python\nx = 1\n```\n\n```text\nold\n```\n\nProse.\n\n```text\nkept\n```\n")
    assert [result.stands for result in run_fences(path)[1]] == ["old\n"]
    assert write_outputs(path)
    assert path.read_text() == "```python\nx = 1\n```\n\nProse.\n\n```text\nkept\n```\n"


def test_a_figure_is_closed_where_a_fence_shows_it(tmp_path: Path) -> None:
    code = "from matplotlib import pyplot as plt\nplt.figure()\nplt.show()\nassert plt.get_fignums() == []"
    assert "plt" in run_fences(tutorial(tmp_path, f"```python\n{code}\n```\n"))[0]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("text\n\n```python\nx = 1\nassert x == 2\n```\n", 5, "assert x == 2\nAssertionError"),
        ("```python\nx = 1\n```\n\n```python\nx = 2\n\ny = undefined\n```\n", 8, "y = undefined\nNameError"),
        ("```python\ndef f():\n    return 1 / 0\n```\n```python\nf()\n```\n", 3, "return 1 / 0\nZeroDivisionError"),
        ("# title\n```python\nx = (1\n```\n", 3, "SyntaxError"),
        ("\n```python\nimport math\nmath.sqrt(-1.0)\n```\n", 4, "math.sqrt(-1.0)\nValueError"),
    ],
    ids=["assertion", "second fence", "inside a function", "syntax", "inside the library"],
)
def test_runner_reports_file_and_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = tutorial(tmp_path, text)
    with pytest.raises(TutorialError) as caught:
        run_fences(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert says in str(caught.value)


def test_runner_reports_a_fence_that_is_not_closed(tmp_path: Path) -> None:
    path = tutorial(tmp_path, "one\n\n```python\nx = 1\n")
    with pytest.raises(TutorialError, match=r"01_made_up\.md:3: this fence is not closed"):
        run_fences(path)


def test_word_count_leaves_out_code_maths_pictures_and_tags(tmp_path: Path) -> None:
    text = (
        "# Two words\n\n```python\nnot = counted\n```\nA $x + y$ and\n$$a + b$$\n"
        "![not this](x.png) [a link](y.md)\n<details><summary>Solution</summary>\n"
    )
    assert word_count(tutorial(tmp_path, text)) == 2 + 3 + 2 + 1


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# The `u` of t_m: a title!\n")
    good = "[a](other.md) [b](other.md#the-u-of-t_m-a-title) [c](#here) [d](https://example.org/none)"
    path = tutorial(tmp_path, f"# Here\n{good} ![e](none.png) [f](other.md#none) [g](#there)\n")
    assert broken_links(path) == ["none.png", "other.md#none", "#there"]


def test_redefinitions_are_found(tmp_path: Path) -> None:
    path = tutorial(tmp_path, "```python\ndef psc_filter(s):\n    return s\nleak = lambda lag: lag\n```\n")
    assert defined_functions(path) & package_functions() == {"psc_filter", "leak"}

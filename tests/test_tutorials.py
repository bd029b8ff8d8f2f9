"""Tutorials and derivations: every fence runs, every picture and link exists, and every tutorial keeps one shape.

The fences of one file run from top to bottom in one namespace (`docs.outputs`), in an empty folder, on one thread, and
what each prints stands below it.
"""

from __future__ import annotations

import configparser
import fnmatch
import re
import time
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from tutorial_text import broken_links, defined_functions, links, package_functions, prose, word_count

import tsslbp_ref as tr
from docs.outputs import Fence, fences, output_below, run_fences

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tutorials"
INDEX = FOLDER / "README.md"
TUTORIALS = sorted(FOLDER.glob("[0-9][0-9]_*.md"))
DERIVATIONS = sorted((ROOT / "docs" / "derivations").glob("*.md"))
CHAIN_RULE = ROOT / "docs" / "derivations" / "chain-rule.md"
TEXTS = [*TUTORIALS, *([INDEX] if INDEX.exists() else []), *DERIVATIONS]
OF_TORCH = [path for path in TUTORIALS if "import torch" in path.read_text()]  # `make test-torch` runs them
WITH_FENCES = [path for path in (*TUTORIALS, *DERIVATIONS) if "```python" in path.read_text() and path not in OF_TORCH]
LANGUAGES = {"python", "sh", "text"}  # of fences; "python" runs
SECONDS_A_FILE = 10.0
WORDS = range(600, 1501)
N_SOLUTIONS = 2
N_SENTENCES = 3  # at the top
N_OUTPUTS = 3  # at least
HEADINGS = ("You will", "Check it yourself", "Try", "In the paper")


# ---------------------------------------------------------------------------------------------------------------------
# Every tutorial
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def compiled_loops() -> None:
    """Compile the loops beforehand, so that a file's time is its own and not that of the first one to run."""
    for dtype in ("float32", "float64"):
        network = tr.Network.from_spec("2C2-P2-3", (1, 4, 4), 2, 3, dtype=dtype, n_threads=1)
        events = np.zeros((3, 1, 1, 4, 4), dtype=np.uint8)
        for x in (np.ones((1, 1, 4, 4)), events):
            _, gradients = network.loss_and_gradients(x, [0])
        tr.optim.AdamW(network.weights).step(gradients)
    for spec in ("3", "3-3"):  # a chain of dense layers is compiled by its length
        fully_connected = tr.Network.from_spec(spec, (2,), 2, 3, dtype="float64", n_threads=1)
        fully_connected.loss_and_gradients(np.ones((1, 2)), [0])
    tr.exact.simulate([np.ones((1, 1))], [np.array([1.0])], 5.0, 3.0, 1.0, 10.0, [np.array([2.0])])


@pytest.mark.usefixtures("compiled_loops")
@pytest.mark.parametrize("path", WITH_FENCES, ids=lambda path: path.stem)
def test_fences_run_from_any_folder_and_print_what_stands_below_them(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = time.process_time()
    with threadpoolctl.threadpool_limits(limits=1):
        namespace, results = run_fences(path)
    assert len(namespace) > 2, "no fence ran"
    assert time.process_time() - before < SECONDS_A_FILE
    for result in results:
        where = f"{path}:{result.fence.line}: `python -m docs.outputs` writes below a fence what it printed"
        assert result.printed == result.stands, where


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_shape(path: Path) -> None:
    text = path.read_text()
    headings = [line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")]
    missing = [heading for heading in HEADINGS if not any(heading.lower() in found for found in headings)]
    missing = [heading for heading in missing if f"**{heading.lower()}" not in text.lower()]
    assert missing == []
    assert "released code" in headings[-1]
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>") >= N_SOLUTIONS
    solutions = re.findall(r"<details>(.*?)</details>", text, flags=re.DOTALL)
    assert [solution for solution in solutions if "```python" not in solution] == []
    assert {fence.language for fence in fences(path)} <= LANGUAGES
    assert all("assert" in fence.code for fence in _in_solutions(path) if fence.language == "python")


def _in_solutions(path: Path) -> list[Fence]:
    """The fences inside <details>: what a solution claims is asserted too."""
    inside = [match.span() for match in re.finditer(r"<details>.*?</details>", path.read_text(), flags=re.DOTALL)]
    starts = np.cumsum([0, *(len(line) + 1 for line in path.read_text().splitlines())])
    return [fence for fence in fences(path) if any(a < starts[fence.line - 1] < b for a, b in inside)]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_says_first_what_one_will_be_able_to_do(path: Path) -> None:
    goal = path.read_text().split("\n\n")[1]
    assert goal.startswith("**You will** be able to ")
    assert len(re.findall(r"[.?!](?=\s|$)", goal)) in range(1, N_SENTENCES + 1)


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_shows_what_it_finds(path: Path) -> None:
    """Output stands below fences; behind a fence that shows a figure stands a picture for those who only read."""
    python = [fence for fence in fences(path) if fence.language == "python"]
    assert sum(output_below(path, fence) != "" for fence in python) >= N_OUTPUTS
    lines = path.read_text().splitlines()
    shows = [fence for fence in python if "plt.show()" in fence.code]
    assert [fence.line for fence in shows if not lines[fence.after].startswith("![")] == []


def test_tables_that_the_tutorials_read_are_installed_with_the_package() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    patterns = config["options.data_files"]["share/tsslbp_ref"].split()
    installed = {path.name for pattern in patterns for path in ROOT.glob(pattern)}
    texts = [path.read_text() for path in WITH_FENCES]
    read = {name for text in texts for name in re.findall(r'"([\w.{}-]+\.(?:csv|json))"', text)}
    assert len(read) >= 12
    assert [name for name in read if not fnmatch.filter(installed, name.replace("{name}", "*"))] == []


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_length(path: Path) -> None:
    assert word_count(path) in WORDS


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_pictures_and_links_exist(path: Path) -> None:
    assert broken_links(path) == []


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_has_a_picture_and_every_picture_says_what_one_sees(path: Path) -> None:
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", path.read_text())
    assert pictures
    assert [target for text, target in pictures if len(text.split()) < 3] == []


PAGES = [*TEXTS, *(ROOT / folder / "README.md" for folder in (".", "figures", "studies", "results"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: "-".join(path.relative_to(ROOT).with_suffix("").parts))
def test_released_code_is_named_by_its_commit_where_it_is_first_said(path: Path) -> None:
    """The authors' code changed in what this project is about, so that "the released code" alone says too little."""
    text = re.sub(r"^#.*$", "", prose(path), flags=re.MULTILINE)
    first = re.search(r"released\s+code", text)
    assert first is None or "ffaac71" in text[max(0, first.start() - 150) : first.end() + 150]


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_defines_nothing_that_the_package_has(path: Path) -> None:
    assert defined_functions(path) & package_functions() == set()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_inline_maths_stays_on_one_line(path: Path) -> None:
    text = re.sub(r"^```.*?^```", " ", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"`[^`\n]+`", " ", text)
    odd = [line for line in text.splitlines() if line.replace(r"\$", "").count("$") % 2]
    assert odd == []


# ---------------------------------------------------------------------------------------------------------------------
# The derivation
# ---------------------------------------------------------------------------------------------------------------------


def test_derivation_runs_and_names_rows_of_the_check_table() -> None:
    assert CHAIN_RULE in WITH_FENCES
    known = {check.name for check in tr.gradcheck.registry()}
    named = set(re.findall(r"`((?:adjoint|loss|srm|tangent|term)-[a-z0-9-]+)`", CHAIN_RULE.read_text()))
    assert len(named) > 10
    assert named - known == set()


# ---------------------------------------------------------------------------------------------------------------------
# The index
# ---------------------------------------------------------------------------------------------------------------------


def test_there_are_tutorials() -> None:
    assert TUTORIALS
    assert [path.name[:2] for path in TUTORIALS] == sorted({path.name[:2] for path in TUTORIALS})


def test_index_links_every_tutorial() -> None:
    linked = {target.partition("#")[0] for target in links(INDEX)}
    assert {path.name for path in TUTORIALS} <= linked


def test_index_names_functions_that_exist() -> None:
    names = re.findall(r"`((?:[a-z_]+\.)+[A-Za-z0-9_]+)`", INDEX.read_text())
    assert len(names) > 20
    for name in names:
        target: object = tr
        for attribute in name.split("."):
            assert hasattr(target, attribute), name
            target = getattr(target, attribute)


EXPONENTS = {"1": 0, "membrane": 1, "1/membrane": -1}  # of the only unit that the notation's table has


def in_units_of(membrane: float) -> dict[str, np.ndarray]:
    """The notation's quantities of one layer whose V, weights, clip and surrogate width are given in a unit."""
    neuron = tr.NeuronParameters(tau_m=5.0, tau_s=3.0, threshold=membrane)
    rule = tr.GradientRule(inverse_rise_clip=8.0 / membrane, surrogate_width=0.2 * membrane)
    rng = np.random.default_rng(2)
    W = membrane * rng.normal(0.4, 0.5, (3, 6))
    I = tr.psc_filter((rng.random((12, 2, 6)) < 0.5) * 1.0, neuron) @ W.T
    trace = tr.lif_forward(I, neuron)
    d = tr.psc_filter((rng.random((12, 2, 3)) < 0.3) * 1.0, neuron)
    loss, g = tr.losses.van_rossum(trace.a, d)
    phi1, phi2 = tr.reference.dependency_parts(trace, neuron, rule)
    v = trace.u * (1.0 - trace.s)
    du = trace.u - np.concatenate([np.zeros_like(v[:1]), v[:-1]])
    psi = [tr.terms.firing_time_by_membrane(rise, rule.inverse_rise_clip) for rise in du[trace.s == 1.0]]
    return {
        "\\theta_m": neuron.theta_m,
        "\\theta_s": neuron.theta_s,
        "V": neuron.threshold,
        "s": trace.s,
        "a": trace.a,
        "\\epsilon": tr.terms.psc_kernel(2, neuron.theta_s),
        "W": W,
        "I": I,
        "u": trace.u,
        "v": v,
        "\\nu": tr.srm.eta(trace, neuron),
        "du": du,
        "L": loss,
        "d": d,
        "g": g,
        "G": tr.psc_filter_adjoint(g, neuron),
        "\\delta": tr.tsslbp_backward(g, trace, neuron, rule),
        "\\phi(t_k, t_m)": phi1 + phi2,
        "\\phi_1": phi1,
        "\\phi_2": phi2,
        "\\psi": np.array(psi),
    }


def test_units_of_the_notation_balance() -> None:
    """With a membrane unit 4 times as small every quantity is larger by the power of 4 that the table says, exactly."""
    table = INDEX.read_text().split("## Notation")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines() if row.startswith("| $")]
    unit = {symbol: row[3] for row in rows for symbol in re.findall(r"\$(.+?)\$", row[0])}
    one, four = in_units_of(1.0), in_units_of(4.0)
    assert set(unit) - set(one) == {"t", "T", "\\tau_m", "\\tau_s", "t_m", "t_p", "t_k"}  # times, and given as numbers
    for symbol, value in one.items():
        assert np.any(value), symbol
        assert np.array_equal(four[symbol], value * 4.0 ** EXPONENTS[unit[symbol]]), symbol


def test_index_answers_every_question_with_a_link_to_a_section() -> None:
    section = INDEX.read_text().split("## The reader who asked")[1].split("\n## ")[0]
    answers = [row for row in section.splitlines() if row.startswith("| ")][1:]
    assert len(answers) >= 8
    assert [row for row in answers if "](" not in row.split("|")[2]] == []

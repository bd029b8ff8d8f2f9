"""The command line: help, wrong arguments, the check table; every error is one line and status 2."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from made_cli import NAME, find_nothing, refused
from made_data import blob_network, environment, run_cli

import tsslbp_ref
from tsslbp_ref import cli, gradcheck
from tsslbp_ref.model.losses import LOSSES
from tsslbp_ref.model.parameters import named_rules
from tsslbp_ref.training import progress
from tsslbp_ref.training.experiments import EXPERIMENTS


@pytest.fixture(autouse=True)
def nothing_to_find(tmp_path, monkeypatch):
    find_nothing(tmp_path, monkeypatch)


def test_help_and_version_answer_without_loading_numba_or_matplotlib(tmp_path):
    code = (
        "import sys\nfrom tsslbp_ref import cli\n"
        "try: cli.main([sys.argv[1]])\nexcept SystemExit as end: assert end.code == 0\n"
        "print([name for name in ('numba', 'scipy', 'matplotlib', 'tqdm', 'distributed') if name in sys.modules])"
    )
    for option, expected in (("--help", "COMMAND"), ("--version", f"tsslbp-ref {tsslbp_ref.__version__}")):
        result = subprocess.run(
            [sys.executable, "-c", code, option], env=environment(tmp_path), capture_output=True, text=True, check=True
        )
        assert expected in result.stdout
        assert result.stdout.endswith("[]\n")


def test_python_m_is_the_command(tmp_path):
    status, out, err = run_cli(tmp_path, "--version")
    assert (status, out, err) == (0, f"tsslbp-ref {tsslbp_ref.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["tran"], "unknown command 'tran'; known: 'check', 'conformance', "),
        (["tran"], "(did you mean 'train'?)"),
        (["train"], "the following arguments are required: EXPERIMENT"),
        (["train", NAME, "--epochs", "0"], "argument --epochs: must be a positive integer, got '0'"),
        (["train", NAME, "--epochs", "2.5"], "argument --epochs: must be a positive integer, got '2.5'"),
        (["train", NAME, "--seed", "-1"], "argument --seed: "),
        (["train", NAME, "--seed", "one"], "argument --seed: must be an integer from 0 on, got 'one'"),
        (["train", NAME, "--seed", "1\n2"], "argument --seed: must be an integer from 0 on, got '1\\n2'"),
        (["train", NAME, "--seeds", "0,-1"], "argument --seeds: must be like 0-4 or 0,2,5, got '-1' in '0,-1'"),
        (["train", NAME, "--epochs", "\u0663"], "argument --epochs: must be a positive integer"),
        (["train", NAME, "--runs", ""], "argument --runs: must name a file or folder, got ''"),
        (["train", "list", "--rule", "bogus"], "unknown rule 'bogus'"),
        (["train", "list", "--state", "may-2020"], "unknown state 'may-2020'"),
        (
            ["train", "yin-yang", "--state", "june-2020"],
            "yin-yang is not the paper's: it has no --state, got 'june-2020'",
        ),
        (["train", NAME, "--seeds", "4-0"], "argument --seeds: a range must not fall, got '4-0'"),
        (["train", NAME, "--seeds", "0,2,0-3"], "argument --seeds: a seed is named twice in '0,2,0-3'"),
        (["train", NAME, "--seeds", ""], "argument --seeds: must be like 0-4 or 0,2,5, got '' in ''"),
        (["train", NAME, "--seeds", "0-99999999999"], "argument --seeds: at most 1000 seeds, got '0-99999999999'"),
        (["train", NAME, "--seed", "1", "--seeds", "2"], "argument --seeds: not allowed with argument --seed"),
        (["train", NAME, "--threads", "0"], "argument --threads: must be a positive integer, got '0'"),
        (["train", NAME, "--frob"], "unrecognized arguments: --frob (tsslbp-ref train --help"),
        (["train", NAME, "--epoch-s=3"], "unrecognized arguments: --epoch-s=3 (did you mean '--epochs'?)"),
        (["check", "--enigne"], "unrecognized arguments: --enigne (did you mean '--engine'?)"),
        (["train", NAME, "--threads", "1000000"], "threads must be at most "),
        (["train", NAME, "--epochs", "9" * 5000], "argument --epochs: must have at most 15 digits, got '999"),
        (["train", NAME, "--seed", "1" * 16], "argument --seed: must have at most 15 digits, got '1111111111111111'"),
        (["train", NAME, "--seeds", "0-999,1000"], "argument --seeds: at most 1000 seeds, got '0-999,1000'"),
        (["train", NAME, "--runs", "a\0b"], "argument --runs: no file or folder can have such a name, got 'a\\x00b'"),
        (["results", "x" * 5000], "argument runs: no file or folder can have such a name, got 'xxx"),
        (["demo", "--epochs"], "argument --epochs: expected one argument"),
        (["results", "a", "b"], "unrecognized arguments: b"),
    ],
)
def test_wrong_arguments_are_named_in_one_line(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


LONG = "x" * 10**5


@pytest.mark.parametrize(
    "arguments",
    [
        [LONG],
        ["train", LONG],
        ["train", NAME, f"--{LONG}"],
        ["train", NAME, "--epochs", LONG],
        ["train", NAME, f"--epochs={LONG}"],
        ["train", NAME, "--seed", LONG],
        ["train", NAME, "--seeds", LONG],
        ["train", NAME, "--rule", LONG],
        ["train", NAME, "--loss", LONG],
        ["train", NAME, "--data", LONG],
        ["train", NAME, "--dask", LONG],
        ["results", "--plot", LONG],
        ["results", *("abc" for _ in range(10**4))],
        ["check", LONG],
        ["explore", "--rule", LONG],
    ],
)
def test_a_message_repeats_little_of_a_long_argument(capsys, arguments):
    assert len(refused(capsys, *arguments)) < 1000  # most of it known names
    assert LONG[:61] not in refused(capsys, *arguments)


def test_a_message_cannot_steer_a_terminal(capsys):
    for arguments in (["train", "a\x1b[2Jb"], ["results", "a\x1b[2Jb"], ["a\x1b[2Jb"], ["check", "a\x1b[2Jb"]):
        line = refused(capsys, *arguments)
        assert "a\\x1b[2Jb" in line
        assert line[:-1].isprintable()


def test_seeds_are_read():
    parser = cli._parser()
    assert parser.parse_args(["train", NAME, "--seeds", "0-2,7"]).seeds == [0, 1, 2, 7]


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (["train", "mnist"], EXPERIMENTS),
        (["train", NAME, "--rule", "releasd"], named_rules()),
        (["train", NAME, "--loss", "kernal"], [name for name in LOSSES if name != "spike-train"]),
        (["check", "term-warm"], ["term-psc-kernel", "did you mean 'term-warmup'?"]),
    ],
)
def test_an_unknown_name_lists_the_known_ones(capsys, tmp_path, arguments, known):
    err = refused(capsys, *arguments)
    assert "unknown" in err
    assert all(name in err for name in known)
    assert os.listdir(tmp_path) == []


def test_train_list_names_the_experiments(capsys):
    assert cli.main(["train", "list"]) == 0
    names, table = capsys.readouterr().out.split("\n\n")
    assert names.split() == [*EXPERIMENTS, "yin-yang"]
    lines = [line.split() for line in table.splitlines()]
    assert f"{NAME} september-2020 6e40449 5 2 kernel-01011-once 100 0.0002 100 -".split() in lines
    assert f"{NAME} released ffaac71 5 3 kernel 100 0.0005 100 -".split() in lines
    assert len(lines) == 3 + 4 * len(EXPERIMENTS)


def made_checks(monkeypatch, errors):
    """Let the table have a row an error and no others."""
    checks = [
        dataclasses.replace(check, measure=lambda error=error: error)
        for check, error in zip(gradcheck.registry(), errors, strict=False)
    ]
    monkeypatch.setattr(gradcheck, "registry", lambda: checks)
    return [check.name for check in checks]


def test_check_prints_rows_and_fails_by_status(capsys, monkeypatch):
    names = made_checks(monkeypatch, [0.0, 1.0])
    assert cli.main(["check", names[0]]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("1 of 1 passed\n")
    assert err == "tsslbp-ref: 1 checks; the first time, their loops are compiled for about a minute\n"
    assert cli.main(["check"]) == 1
    assert capsys.readouterr().out.endswith("1 of 2 passed\n")
    assert cli.main(["check", "--json", "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert [(row["name"], row["passed"]) for row in json.loads(out)] == [(names[0], True), (names[1], False)]
    assert err == ""


def test_check_shows_its_progress(capsys, monkeypatch):
    names = made_checks(monkeypatch, [0.0, 0.0])
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    assert cli.main(["check"]) == 0
    assert capsys.readouterr().err.splitlines()[1:] == [f"check: {i} of 2 rows, at {names[i]}" for i in range(2)]


def test_check_lists_rows_and_takes_patterns(capsys):
    for engine in ([], ["--engine"]):
        assert cli.main(["check", "--list", *engine]) == 0
        known = [check.name for check in gradcheck.registry() if engine or check.kind != "engine"]
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == known
    assert cli.main(["check", "--list", "loss-*", "term-war?up"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [name for name in known if name == "term-warmup" or name.startswith("loss-")]
    with pytest.raises(SystemExit):
        cli.main(["check", "--help"])
    patterns = re.findall(r"tsslbp-ref check .*'(.*?)'", capsys.readouterr().out)
    assert len(patterns) == 4
    assert all(gradcheck.selected(pattern) for pattern in patterns)


@pytest.mark.filterwarnings("default")  # as in a user's shell
def test_a_warning_is_one_line_of_the_command(capsys, tmp_path):
    blob_network().save(tmp_path / "net.npz")
    np.save(tmp_path / "x.npy", np.full((2, 1, 6, 6), 200, np.uint8))
    assert cli.main(["predict", "net.npz", "x.npy"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err.startswith("tsslbp-ref: warning: x holds raw pixels")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", [["check"], ["results"]])
@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "tsslbp-ref: interrupted\n"),
        (MemoryError("Unable to allocate\n9 TiB"), 2, "tsslbp-ref: error: Unable to allocate 9 TiB\n"),
        (MemoryError(), 2, "tsslbp-ref: error: MemoryError\n"),
    ],
)
def test_an_interrupt_and_a_lack_of_memory_are_one_line(capsys, monkeypatch, command, error, status, line):
    def fail(_):
        raise error

    monkeypatch.setattr(getattr(cli, command[0]), f"_{command[0]}", fail)
    assert cli.main(command) == status
    assert capsys.readouterr().err == line

"""The command line: every error is one line and status 2, a stop is 128 + the signal, and a stopped run goes on."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from made_data import blob_network, environment, run_cli, start_cli, without_time, write_fashion, write_idx

import tsslbp_ref
from tsslbp_ref import checkpoints, cli, gradcheck
from tsslbp_ref.model.losses import LOSSES
from tsslbp_ref.model.parameters import named_rules
from tsslbp_ref.training import progress
from tsslbp_ref.training.experiments import EXPERIMENTS
from tsslbp_ref.training.runs import BEST, CONFIG, LAST, METRICS, read_metrics

NAME = "fashion-mnist-400-400"
TRAIN = ("train", NAME, "--epochs", "1", "--threads", "1", "--quiet")


@pytest.fixture(autouse=True)
def nothing_to_find(tmp_path, monkeypatch):
    """No data set is found outside the test's folder, and none can be downloaded; runs go below the test's folder."""
    monkeypatch.chdir(tmp_path)
    for key, value in environment(tmp_path).items():
        if key.startswith("TSSLBP_"):
            monkeypatch.setenv(key, value)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_fashion(tmp_path_factory.mktemp("data"))


def refused(capsys, *arguments):
    """The command's one line of error; its status is 2."""
    assert cli.main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("tsslbp-ref: error: ")
    return err


# ---------------------------------------------------------------------------------------------------------------------
# Help and arguments
# ---------------------------------------------------------------------------------------------------------------------


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
    assert len(lines) == 2 + 4 * len(EXPERIMENTS)


# ---------------------------------------------------------------------------------------------------------------------
# Bad data and bad folders
# ---------------------------------------------------------------------------------------------------------------------


def test_data_that_is_not_where_it_is_said_to_be(capsys, tmp_path):
    assert f"in {tmp_path / 'void'}" in refused(capsys, *TRAIN, "--data", tmp_path / "void")
    assert "fashion-mnist" in refused(capsys, *TRAIN, "--no-download")
    assert not (tmp_path / "runs").exists()


def labels_out_of_range(folder):
    write_idx(folder / "train-labels-idx1-ubyte", np.arange(40))


def fewer_labels(folder):
    write_idx(folder / "t10k-labels-idx1-ubyte", np.arange(5))


def truncated(folder):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-7])


def empty(folder):
    (folder / "train-images-idx3-ubyte").write_bytes(b"")


def no_gzip(folder):
    (folder / "train-labels-idx1-ubyte").unlink()
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"no gzip at all")


def missing_split(folder):
    (folder / "t10k-images-idx3-ubyte").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (labels_out_of_range, "train-labels-idx1-ubyte: labels must lie in 0 .. 9, got 10"),
        (fewer_labels, "holds 5 labels"),
        (truncated, "train-images-idx3-ubyte: truncated IDX file"),
        (empty, "train-images-idx3-ubyte: the file is empty"),
        (no_gzip, "train-labels-idx1-ubyte.gz: not a valid gzip file"),
        (missing_split, "the test split is incomplete"),
    ],
)
def test_damaged_data_is_named_and_no_run_folder_is_made(capsys, tmp_path, damage, message):
    folder = write_fashion(tmp_path, n_train=40, n_test=20)
    damage(folder)
    assert message in refused(capsys, *TRAIN, "--data", tmp_path)
    assert not (tmp_path / "runs").exists()


def test_a_run_folder_that_cannot_be_made(capsys, tmp_path, data):
    (tmp_path / "file").write_text("precious")
    err = refused(capsys, *TRAIN, "--data", data, "--runs", tmp_path / "file")
    assert str(tmp_path / "file") in err
    assert (tmp_path / "file").read_text() == "precious"


@pytest.fixture
def run_folder(tmp_path, data, capsys):
    assert cli.main([*TRAIN, "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith(f"{NAME} released seed 0  epoch   1  loss ")
    return tmp_path / "runs" / NAME / "released" / "seed0"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_occupied_run_folder_is_left_alone(capsys, data, run_folder):
    before = content(run_folder)
    assert set(before) == {CONFIG, METRICS, LAST, BEST}
    err = refused(capsys, *TRAIN, "--data", data)
    assert f"{run_folder.relative_to(run_folder.parents[3])} holds a run already" in err
    assert "--resume" in err
    assert content(run_folder) == before


def another_network(path):
    arrays, meta = checkpoints.load(path)
    arrays["weight0"] = arrays["weight0"][:, :-1]
    checkpoints.save(path, arrays, meta)


def pickled(path):
    np.savez(path, weight0=np.array([object], dtype=object))


def tampered(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        (LAST, another_network, "is of another network"),
        (LAST, lambda path: path.write_bytes(path.read_bytes()[:1000]), "is truncated or no checkpoint"),
        (LAST, tampered, "checkpoint-last.npz is truncated or no checkpoint"),
        (LAST, pickled, "'weight0.npy' is no array of numbers or text"),
        (BEST, lambda path: path.write_bytes(path.read_bytes()[:1000]), "checkpoint-best.npz is truncated"),
        (BEST, lambda path: path.unlink(), "checkpoint-best.npz is missing"),
        (CONFIG, lambda path: path.write_text("[" * 200_000), "config.json is no JSON: its brackets are nested"),
        (CONFIG, lambda path: path.write_text(path.read_text()[:100]), "config.json is no JSON"),
        (METRICS, lambda path: path.write_text(""), "does not hold the 1 epochs"),
    ],
)
def test_a_damaged_run_folder_is_not_resumed_and_stays_as_it_is(capsys, data, run_folder, name, damage, message):
    damage(run_folder / name)
    before = content(run_folder)
    assert message in refused(capsys, *TRAIN, "--data", data, "--resume")
    assert content(run_folder) == before


def test_fewer_epochs_than_a_run_has_are_refused_and_as_many_are_told_to_be_done(capsys, data, run_folder):
    longer = ["train", NAME, "--quiet", "--data", str(data), "--resume", "--epochs"]
    assert cli.main([*longer, "3"]) == 0
    capsys.readouterr()
    before = content(run_folder)
    assert "has finished 3 epochs already: --epochs must be at least 3, got 2" in refused(capsys, *longer, "2")
    assert content(run_folder) == before
    assert cli.main([*longer, "3"]) == 0
    assert capsys.readouterr().out == f"{NAME} released seed 0  all 3 epochs are done already\n"
    assert content(run_folder) == before


def test_results_prints_the_table_and_writes_the_csv_and_the_plot(capsys, tmp_path, run_folder):
    assert cli.main(["results", "--csv", "all.csv", "--plot", "curves.png"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("experiment")
    assert "200/60" in out.splitlines()[1]
    assert "89.75 +- 0.03, best 89.92" in out.splitlines()[1]
    assert (tmp_path / "all.csv").read_text().startswith("experiment,rule,run,epoch,train_loss,")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_results_that_cannot_be_read_or_written(capsys, tmp_path, run_folder):
    assert "cannot read the folder" in refused(capsys, "results", tmp_path / "void")
    (tmp_path / "file").write_text("")
    assert "Not a directory" in refused(capsys, "results", tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "no runs below" in refused(capsys, "results", tmp_path / "empty")
    (tmp_path / "empty").rmdir()
    assert cli.main(["results", "--csv", "file/x.csv"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert "must be a file name that ends in .png" in refused(capsys, "results", "--plot", "x.doc")
    assert "cannot write file/x.png" in refused(capsys, "results", "--plot", "file/x.png")
    assert sorted(os.listdir(tmp_path)) == ["file", "runs"]
    (run_folder / METRICS).write_text(
        (run_folder / METRICS).read_text().replace('test_accuracy": 0.', 'test_accuracy": NaN, "x": 0.')
    )
    assert f"{METRICS}, line 1 must hold the finite numbers" in refused(capsys, "results")
    (run_folder / CONFIG).write_text("[" * 200_000)
    assert f"{CONFIG} is no JSON: its brackets are nested too deeply" in refused(capsys, "results")
    (run_folder / CONFIG).write_text("{}")
    assert f"{CONFIG} holds no settings of a run" in refused(capsys, "results")


@pytest.mark.parametrize("option", ["--csv", "--plot"])
def test_results_leave_a_pipe_and_a_link_in_their_place(capsys, tmp_path, run_folder, option):
    os.mkfifo(tmp_path / "pipe.png")
    assert cli.main(["results", option, "pipe.png"]) == 2
    assert capsys.readouterr().err == "tsslbp-ref: error: [Errno 6] cannot write pipe.png: nobody reads it\n"
    assert (tmp_path / "pipe.png").is_fifo()
    (tmp_path / "link.png").symlink_to("real.png")
    assert cli.main(["results", option, "link.png"]) == 0
    assert (tmp_path / "link.png").is_symlink()
    assert (tmp_path / "real.png").stat().st_size > 0


def test_results_name_the_runs_that_they_leave_out(capsys, run_folder):
    (run_folder.parent / "seed1").mkdir()
    (run_folder.parent / "seed1" / CONFIG).write_bytes((run_folder / CONFIG).read_bytes())
    assert cli.main(["results"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert err == f"tsslbp-ref: runs/{NAME}/released/seed1 is left out: it has no finished epoch\n"


def test_the_folder_of_a_row_of_the_table_is_a_network(run_folder):
    row = tsslbp_ref.experiments.experiment(NAME)
    for path in (run_folder, run_folder / LAST, str(run_folder / BEST)):
        net = tsslbp_ref.Network.load(path)
        assert (net.layers, net.neuron, net.n_steps) == (row.network(0).layers, row.neuron, row.n_steps)
        assert net.rule == tsslbp_ref.rule_by_name("released")
        arrays, _ = checkpoints.load(run_folder / (LAST if path == run_folder / LAST else BEST))
        assert all(np.array_equal(W, arrays[f"weight{i}"]) for i, W in enumerate(net.weights))


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


# ---------------------------------------------------------------------------------------------------------------------
# In processes of their own
# ---------------------------------------------------------------------------------------------------------------------


def test_demo_without_data_and_network_says_so_in_one_line_and_learns_made_points(tmp_path):
    status, out, err = run_cli(tmp_path, "demo", "--epochs", "1")
    assert status == 0
    assert "\r" not in err  # a bar
    raster, points = r"raster: \d+ of 3000 updates, loss \d+\.\d{3}", r"epoch 1/1: \d+ of 5000 samples, .*"
    assert all(re.fullmatch(f"{raster}|{points}", line) for line in err.splitlines())
    assert [line for line in out.splitlines() if "Fashion-MNIST" in line] == [out.splitlines()[-3]]
    assert out.splitlines()[-3].startswith("Fashion-MNIST is left out: ")
    assert out.splitlines()[-2] == "5-100-3 learns Yin-Yang (5000 points) in continuous time."
    assert out.splitlines()[-1].startswith("epoch   1  loss ")
    assert len([line for line in out.splitlines() if re.fullmatch(r"[.#]+", line)]) == 7
    fall = re.search(r"down by ([0-9.]+)%; (\d+) of 266 places wrong", out)
    assert float(fall[1]) >= 90.0
    others = dict(re.findall(r"by the rule (.*): loss .*; (\d+) of 266 places wrong", out))
    assert others.keys() == {"no-intra", "surrogate"}
    assert all(int(wrong) < int(fall[2]) for wrong in others.values())


def test_demo_learns_the_pictures_where_they_are(tmp_path, data, capsys, monkeypatch):
    monkeypatch.setattr(cli.demo, "DEMO_UPDATES", 3)
    assert cli.main(["demo", "--quiet", "--epochs", "2", "--data", str(data)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == "400-400-10 learns Fashion-MNIST (200 pictures), 5 steps a picture."
    assert [line[:9] for line in lines[-2:]] == ["epoch   1", "epoch   2"]


def test_demo_with_a_wrong_data_folder_is_an_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli.demo, "DEMO_UPDATES", 1)
    assert cli.main(["demo", "--quiet", "--data", str(tmp_path / "void")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_ctrl_c_in_demo_is_one_line(tmp_path):
    process = start_cli(tmp_path, "demo", "--quiet")
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert err == "tsslbp-ref: interrupted\n"


def test_a_full_disk_under_standard_output_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "tsslbp_ref", "train", "list"],
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert result.returncode == 2
    assert result.stderr == "tsslbp-ref: error: [Errno 28] No space left on device\n"


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    process = start_cli(tmp_path, "train", "list")
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(300) == 128 + signal.SIGPIPE
    process.stderr.close()


def test_a_run_stopped_by_every_signal_ends_as_if_never_stopped(tmp_path, data):
    epochs = 9
    arguments = ("train", NAME, "--epochs", epochs, "--threads", 1, "--quiet", "--data", data)
    for signum, n_lines in ((signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGKILL, 2)):
        process = start_cli(tmp_path, *arguments, "--resume", "--runs", "stopped")
        for _ in range(n_lines):
            assert process.stdout.readline().startswith(NAME)
        process.send_signal(signum)
        _, err = process.communicate(timeout=300)
        folder = tmp_path / "stopped" / NAME / "released" / "seed0"
        if signum == signal.SIGKILL:
            assert process.returncode == -signum
        else:
            assert process.returncode == 128 + signum
            assert err.startswith(f"tsslbp-ref: stopped by {signum.name}; the state is saved in ")
            assert err.count("\n") == 1
        assert len(read_metrics(folder)) < epochs
        checkpoints.load(folder / LAST)
    for runs in ("stopped", "whole"):
        assert cli.main([*map(str, arguments), "--resume", "--runs", runs]) == 0
    whole = tmp_path / "whole" / NAME / "released" / "seed0"
    for name in (LAST, BEST):
        found, wanted = checkpoints.load(folder / name), checkpoints.load(whole / name)
        assert {k: v.tobytes() for k, v in found[0].items()} == {k: v.tobytes() for k, v in wanted[0].items()}
        assert found[1] == wanted[1]
    assert without_time(read_metrics(folder)) == without_time(read_metrics(whole))

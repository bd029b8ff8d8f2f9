"""The table and the CSV of the runs: grouped by what the settings say, beside the paper's numbers."""

import csv
import dataclasses
import json
import os
import signal
from types import SimpleNamespace

import pytest
from made_data import BLOBS, BlobTask, blob_network

from tsslbp_ref import GradientRule, cli, rule_by_name
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.training import results
from tsslbp_ref.training.experiments import EXPERIMENTS
from tsslbp_ref.training.results import FULL_SIZES
from tsslbp_ref.training.runs import CONFIG, METRIC_NAMES, METRICS, Run

NAME = "fashion-mnist-400-400"

FULL = FULL_SIZES["fashion-mnist"]


def made_run(folder, accuracies, *, title=NAME, rule=None, loss="kernel", sizes=FULL):
    """A run folder of real settings with made accuracies."""
    network = blob_network(rule=rule)
    Run(folder, network, BlobTask(*sizes), dataclasses.replace(BLOBS, loss=loss), title=title)
    rows = [dict.fromkeys(METRIC_NAMES, 0.5) | {"epoch": k + 1, "test_accuracy": a} for k, a in enumerate(accuracies)]
    (folder / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def made_runs(tmp_path):
    made_run(tmp_path / NAME / "released" / "seed0", [0.5, 0.9, 0.8])
    made_run(tmp_path / NAME / "released" / "seed1", [0.7, 0.6])
    made_run(tmp_path / NAME / "literal" / "seed0", [0.1], rule=rule_by_name("literal"))
    return tmp_path


def test_the_table_has_mean_and_std_of_best_and_final_epochs_beside_the_papers(made_runs):
    literal, released = results.collect(made_runs)
    assert (literal.variant, released.variant) == ("literal", "released")
    assert released.best == pytest.approx([90.0, 70.0])
    assert released.final == pytest.approx([80.0, 60.0])
    assert released.epochs == [3, 2]
    assert released.curves == [pytest.approx([50.0, 90.0, 80.0]), pytest.approx([70.0, 60.0])]
    assert released.paper == EXPERIMENTS[NAME].paper
    head, first, second = results.as_text([literal, released]).splitlines()
    assert " ".join(head.split()) == "experiment rule seeds epochs best epoch best run last epoch held-out choice paper"
    assert first.split() == f"{NAME} literal 1 1 10.00 10.00 10.00 - 89.75 +- 0.03, best 89.92".split()
    # std of two values a and b is |a - b| / sqrt(2)
    accuracies = "80.00 +- 14.14 90.00 70.00 +- 14.14 - 89.75 +- 0.03, best 89.92"
    assert second.split() == f"{NAME} released 2 2-3 {accuracies}".split()
    assert head.index("paper") == first.index("89.75") == second.index("89.75")
    assert all(line == line.rstrip() for line in (head, first, second))


def test_the_papers_number_without_mean_and_an_experiment_that_is_not_the_papers():
    best_only = next(name for name, row in EXPERIMENTS.items() if row.paper.mean is None)
    table = [results.Summary(t, "released", [1.0], [1.0], [1], p) for t, p in
             ((best_only, EXPERIMENTS[best_only].paper), ("mine", None))]  # fmt: skip
    _, one, other = results.as_text(table).splitlines()
    assert one.endswith("best 91.41")
    assert other.endswith(" -")


def test_the_rule_is_read_from_the_settings_not_from_the_folders_name(tmp_path):
    made_run(tmp_path / "a" / "x", [0.5], rule=rule_by_name("surrogate"))
    made_run(tmp_path / "b" / "y", [0.6], rule=rule_by_name("surrogate"))
    made_run(tmp_path / "b" / "z", [0.7], loss="count")
    made_run(tmp_path / "mine" / "z", [0.7], rule=GradientRule(warmup_gate=0.3), title="own")
    table = {(s.experiment, s.variant): s.best for s in results.collect(tmp_path)}
    assert set(table) == {(NAME, "surrogate"), (NAME, "released-count"), ("own", "mine-kernel")}
    assert len(table[NAME, "surrogate"]) == 2


@pytest.mark.parametrize("name", ["released", "no-warmup", "surrogate", "consistent"])
def test_a_run_of_an_earlier_version_lacks_fields_of_the_rule_and_has_its_name(tmp_path, name):
    made_run(tmp_path / "run", [0.5], rule=rule_by_name(name))
    config = json.loads((tmp_path / "run" / CONFIG).read_text())
    del config["rule"]["warmup_rate"], config["rule"]["silent"]
    (tmp_path / "run" / CONFIG).write_text(json.dumps(config))
    assert [summary.variant for summary in results.collect(tmp_path)] == [name]


def test_a_run_without_a_finished_epoch_is_left_out(made_runs):
    made_run(made_runs / NAME / "no-intra" / "seed0", [], rule=rule_by_name("no-intra"))
    assert [summary.variant for summary in results.collect(made_runs)] == ["literal", "released"]


def test_runs_on_a_part_of_the_data_are_marked_and_kept_apart_from_those_on_all(made_runs):
    made_run(made_runs / "part" / "a" / "seed0", [0.4, 0.3], sizes=(2000, 500))
    made_run(made_runs / "part" / "a" / "seed1", [0.2], sizes=(2000, 500))
    made_run(made_runs / "part" / "b" / "seed0", [0.6], sizes=(2000, FULL[1]))
    table = results.collect(made_runs)
    assert [(summary.variant, summary.part, summary.best) for summary in table] == [
        ("literal", None, [10.0]),
        ("released", None, [90.0, 70.0]),
        ("released", (2000, 500), [40.0, 20.0]),
        ("released", (2000, 10000), [60.0]),
    ]
    head, *lines = results.as_text(table).splitlines()
    assert " ".join(head.split()).startswith("experiment rule train/test samples seeds epochs")
    assert [line.split()[2] for line in lines] == ["all", "all", "2000/500", "2000/10000"]
    assert all(line.index(line.split()[2]) == head.index("train/test samples") for line in lines)


def test_every_experiment_has_the_size_of_its_data_set():
    assert {row.dataset for row in EXPERIMENTS.values()} == set(FULL_SIZES)


def test_a_run_of_the_first_format_which_does_not_note_its_size_has_no_mark(made_runs):
    path = made_runs / NAME / "literal" / "seed0" / CONFIG
    config = json.loads(path.read_text())
    del config["task"]
    path.write_text(json.dumps(config))
    assert "samples" not in results.as_text(results.collect(made_runs))


def test_csv_has_every_epoch_of_every_run(made_runs):
    path = made_runs / "all.csv"
    results.write_csv(made_runs, path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert list(rows[0]) == ["experiment", "rule", "run", *METRIC_NAMES]
    released = [row for row in rows if (row["rule"], row["run"]) == ("released", "seed0")]
    assert [(row["epoch"], float(row["test_accuracy"])) for row in released] == [("1", 0.5), ("2", 0.9), ("3", 0.8)]


def test_the_csv_is_there_even_if_the_reader_of_the_table_has_gone(made_runs, monkeypatch):
    def gone(table):
        raise BrokenPipeError

    monkeypatch.setattr(results, "as_text", gone)
    assert cli.main(["results", str(made_runs), "--csv", str(made_runs / "all.csv")]) == 128 + signal.SIGPIPE
    assert (made_runs / "all.csv").exists()


def test_a_csv_that_cannot_be_written_keeps_the_old_one(made_runs, monkeypatch):
    path = made_runs / "all.csv"
    path.write_text("old")
    (made_runs / NAME / "released" / "seed0" / METRICS).write_text("oops\n{}\n")
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 1 is no JSON"):
        results.write_csv(made_runs, path)
    assert path.read_text() == "old"


def test_no_runs_and_no_finished_epochs_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no runs below"):
        results.collect(tmp_path)
    made_run(tmp_path / "a" / "b", [])
    with pytest.raises(ValueError, match="no finished epoch below"):
        results.collect(tmp_path)
    with pytest.raises(ValueError, match="no finished epoch below"):
        results.write_csv(tmp_path, tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def rewritten(path, **changes):
    """The last line of a file of metrics with other values, given as JSON."""
    *before, last = path.read_text().splitlines()
    row = json.loads(last) | dict.fromkeys(changes, "?")
    text = json.dumps(row)
    for name, value in changes.items():
        text = text.replace(f'"{name}": "?"', f'"{name}": {value}')
    path.write_text("\n".join([*before, text, ""]))


@pytest.mark.parametrize("name", ["test_accuracy", "train_loss"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "1" + "0" * 400])
def test_a_metric_that_is_no_finite_number_is_named_by_its_line(made_runs, name, number):
    rewritten(made_runs / NAME / "released" / "seed1" / METRICS, **{name: number})
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl, line 2 must hold the finite numbers epoch") as error:
        results.collect(made_runs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("test_accuracy", "5.0", "must have its test_accuracy from 0 to 1, got 5.0"),
        ("test_accuracy", "-0.25", "must have its test_accuracy from 0 to 1, got -0.25"),
        ("test_accuracy", "1e307", r"must have its test_accuracy from 0 to 1, got 1e\+307"),
        ("train_accuracy", "1.0000001", "must have its train_accuracy from 0 to 1, got 1.0000001"),
        ("seconds", "-1", "must have its seconds from 0 on, got -1"),
        ("samples_per_second", "-0.5", "must have its samples_per_second from 0 on, got -0.5"),
        ("epoch", "1", "must be of epoch 2, got 1"),
        ("epoch", "3", "must be of epoch 2, got 3"),
        ("epoch", "2.5", "must be of epoch 2, got 2.5"),
        ("epoch", '2, "test_accuracy": 0.99', "is no JSON: it has the key 'test_accuracy' twice"),
    ],
)
def test_a_metric_that_cannot_be_is_named_by_its_line(made_runs, name, number, message):
    rewritten(made_runs / NAME / "released" / "seed1" / METRICS, **{name: number})
    for use in (results.collect, lambda runs: results.write_csv(runs, runs / "x.csv")):
        with pytest.raises(CheckpointError, match=rf"seed1/metrics\.jsonl, line 2 {message}"):
            use(made_runs)


def test_accuracies_of_nothing_and_of_everything_can_be(made_runs):
    path = made_runs / NAME / "literal" / "seed0" / METRICS
    for number, wanted in (("0", 0.0), ("1", 100.0), ("1.0", 100.0)):
        rewritten(path, test_accuracy=number)
        assert results.collect(made_runs)[0].best == [wanted]


def test_a_line_that_is_there_twice_is_no_epoch_more(made_runs):
    path = made_runs / NAME / "literal" / "seed0" / METRICS
    path.write_text(path.read_text() * 2)
    with pytest.raises(CheckpointError, match=r"literal/seed0/metrics\.jsonl, line 2 must be of epoch 2, got 1"):
        results.collect(made_runs)


# ---------------------------------------------------------------------------------------------------------------------
# What is left out, and what is no file of a run
# ---------------------------------------------------------------------------------------------------------------------


def test_each_run_that_is_left_out_is_named(made_runs):
    made_run(made_runs / "a" / "no-epoch" / "seed0", [])
    made_run(made_runs / "b" / "no-config" / "seed0", [0.5])
    (made_runs / "b" / "no-config" / "seed0" / CONFIG).unlink()
    told = []
    assert [summary.variant for summary in results.collect(made_runs, told.append)] == ["literal", "released"]
    assert told == [
        f"{made_runs}/a/no-epoch/seed0 is left out: it has no finished epoch",
        f"{made_runs}/b/no-config/seed0 is left out: it has no config.json",
    ]


NO_FILES = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "loop": lambda path: path.symlink_to(path),
    "nothing": lambda path: path.symlink_to("void"),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: (path.touch(), os.truncate(path, 10**12)),
}


@pytest.mark.parametrize("name", [CONFIG, METRICS])
@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_of_a_run_is_named_at_once(made_runs, name, kind):
    path = made_runs / NAME / "released" / "seed1" / name
    path.unlink()
    NO_FILES[kind](path)
    with pytest.raises((CheckpointError, OSError), match=rf"{path} must (be a regular file|have)|cannot read {path}: "):
        results.collect(made_runs)


def test_a_link_to_a_runs_folder_is_followed_once(made_runs, tmp_path_factory):
    elsewhere = made_run(tmp_path_factory.mktemp("elsewhere") / "seed2", [0.4])
    (made_runs / NAME / "released" / "seed2").symlink_to(elsewhere)
    (made_runs / NAME / "released" / "seed3").symlink_to(made_runs / NAME / "released" / "seed0")
    (made_runs / "loop").symlink_to(made_runs)
    assert results.collect(made_runs)[1].best == pytest.approx([90.0, 70.0, 40.0])


def test_names_cannot_steer_a_terminal(made_runs):
    title = "a\x1b[2J\nb\ud800\u202eü"
    made_run(made_runs / "x" / "\x1b[31m" / "seed0", [0.5], title=title, rule=GradientRule(warmup_gate=0.3))
    results.write_csv(made_runs, made_runs / "all.csv")
    for text in (results.as_text(results.collect(made_runs)), (made_runs / "all.csv").read_text()):
        assert "a\\x1b[2J b\\ud800\\u202eü" in text
        assert "\\x1b[31m-kernel" in text
        assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000])
@pytest.mark.parametrize("name", [CONFIG, METRICS])
def test_a_file_of_brackets_alone_is_named(made_runs, name, text):
    path = made_runs / NAME / "released" / "seed1" / name
    path.write_text(text + "\n")
    with pytest.raises(CheckpointError, match="is no JSON: its brackets are nested too deeply") as error:
        results.collect(made_runs)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


NO_SETTINGS = (
    "{",
    "[]",
    "{}",
    '{"title": "x", "rule": 3}',
    '{"title": "x", "rule": {}}',
    '{"title": "x", "rule": {}, "settings": {"loss": "kernel"}}',
    '{"title": ["x"], "rule": {"intra": "True"}, "settings": {"loss": "kernel"}}',
    '{"title": "x", "rule": {"intra": "True"}, "settings": {"loss": 3}}',
    '{"title": "x", "rule": {"intra": "True"}, "settings": {"loss": "kernel"}, "task": 3}',
    '{"title": "x", "rule": {"intra": "True"}, "settings": {"loss": "kernel"}, "task": {"n_train": "2", "n_test": 1}}',
    '{"title": "x", "rule": {"intra": "True"}, "settings": {"loss": "kernel"}, "task": {"n_train": 0, "n_test": 1}}',
)


@pytest.mark.parametrize("text", NO_SETTINGS)
def test_a_config_that_is_none_is_named(made_runs, text):
    path = made_runs / NAME / "released" / "seed1" / CONFIG
    path.write_text(text)
    with pytest.raises(CheckpointError) as error:
        results.collect(made_runs)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_rule_of_a_later_version_without_a_field_keeps_its_name():
    config = {"title": NAME, "rule": {"inter": "literal", "intra": "True"}, "settings": {"loss": "kernel"}}
    assert results.variant_of(config, SimpleNamespace(parent=SimpleNamespace(name="x"))) == "literal"

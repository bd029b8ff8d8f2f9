"""A run from a file: the paper's rows go to a file and back, own arrays are trained, and a typo is named by its key."""

import io
import json
import tomllib
import tracemalloc
import zipfile

import numpy as np
import pytest
from made_data import write_fashion

from tsslbp_ref import GradientRule, cli, datasets, named_rules, rule_by_name
from tsslbp_ref.training import descriptions, results
from tsslbp_ref.training.descriptions import describe, read, read_file, rule_label, rule_table, to_toml
from tsslbp_ref.training.experiments import EXPERIMENTS, STATES, experiment
from tsslbp_ref.training.plan import Plan
from tsslbp_ref.training.runs import CONFIG, read_metrics
from tsslbp_ref.training.tasks import task_of

NAME = "fashion-mnist-400-400"
TOML = """
[data]
file = "arrays.npz"
held_out = 10

[network]
spec = "12"
weight_scale = 2

[neuron]
tau_s = 2.0

[rule]
name = "released"
warmup_gate = 0.5

[training]
epochs = 3
batch_size = 10
learning_rate = 0.02
seed = 7
"""


def arrays(n=60, n_test=30):
    """Noise, and a bright input that is the class's."""
    y = np.arange(n + n_test) % 3
    X = np.random.default_rng(0).uniform(0.0, 0.4, (n + n_test, 6))
    X[np.arange(n + n_test), 2 * y] += 2.0
    return {"X": X[:n], "y": y[:n], "X_test": X[n:], "y_test": y[n:]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file of arrays and a description, in which the commands run."""
    np.savez(tmp_path / "arrays.npz", **arrays())
    (tmp_path / "mine.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*options):
    return cli.main(["train", *map(str, options), "--threads", "1", "--quiet"])


# ---------------------------------------------------------------------------------------------------------------------
# There and back
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "cifar" not in name])
@pytest.mark.parametrize("state", STATES)
def test_a_row_of_the_papers_table_is_the_same_from_its_file(name, state, tmp_path):
    plan = Plan(name, state, state=state, held_out=7)
    path = tmp_path / "row.toml"
    path.write_text(to_toml(plan.tables(5)))
    described = read_file(path)
    assert described.row == experiment(name, state)
    assert (described.rule, described.seed) == (rule_by_name(state), 5)
    assert Plan.of(described) == plan


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "cifar" in name])
def test_a_large_row_is_the_same_too(name, monkeypatch):
    monkeypatch.setattr(descriptions.Experiment, "network", lambda *_, **__: None)
    plan = Plan(name, "literal", loss="count", epochs=3)
    assert Plan.of(read(tomllib.loads(to_toml(plan.tables(0))), None)) == plan


@pytest.mark.parametrize("name", named_rules())
def test_a_rule_that_has_a_name_goes_by_it(name):
    assert rule_table(rule_by_name(name)) == {"name": name}


def test_another_rule_is_the_nearest_one_and_what_differs():
    rule = GradientRule(intra=False, silent="none", warmup_gate=0.125)
    table = rule_table(rule)
    assert table == {"name": "no-intra", "warmup_gate": 0.125, "silent": "none"}
    assert rule_label(table) == "no-intra-warmup_gate-0.125-silent-none"
    tables = describe(experiment(NAME), rule)
    assert read(tomllib.loads(to_toml(tables)), None).rule == rule


def test_infinity_has_a_name_in_toml():
    rule = GradientRule(intra=False, inverse_rise_clip=float("inf"))
    assert read(tomllib.loads(to_toml(describe(experiment(NAME), rule))), None).rule == rule


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


def test_a_file_trains_own_arrays_and_its_config_trains_them_again(folder, monkeypatch):
    assert train("mine.toml") == 0
    run = folder / "runs" / "mine" / "released-warmup_gate-0.5-held-out-10" / "seed7"
    config = json.loads((run / CONFIG).read_text())
    assert (config["title"], config["neuron"]["tau_s"], config["settings"]["seed"]) == ("mine", 2.0, 7)
    assert config["rule"]["warmup_gate"] == "0.5"
    assert (config["task"]["n_train"], config["task"]["n_validation"]) == (50, 10)
    rows = read_metrics(run)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    monkeypatch.chdir("/")
    assert train(run / CONFIG, "--runs", folder / "again") == 0
    again = folder / "again" / run.relative_to(folder / "runs")
    assert json.loads((again / CONFIG).read_text()) == config
    assert [row["train_loss"] for row in read_metrics(again)] == [row["train_loss"] for row in rows]


def test_options_say_what_they_say_instead_of_the_file(folder):
    options = ("--epochs", 1, "--seeds", "0", "--rule", "literal", "--loss", "count", "--held-out", "5")
    assert train("mine.toml", *options) == 0
    config = json.loads((folder / "runs" / "mine" / "literal-count-held-out-5" / "seed0" / CONFIG).read_text())
    assert config["settings"] | {"epochs": 1, "loss": "count", "seed": 0} == config["settings"]
    assert (config["rule"]["inter"], config["rule"]["warmup_gate"]) == ("literal", "0.25")
    assert config["run"]["training"]["loss"] == "count"


def test_a_file_goes_on_where_it_was_stopped(folder):
    assert train("mine.toml", "--epochs", 1) == 0
    assert train("mine.toml") == 2
    assert train("mine.toml", "--resume") == 0
    assert train("mine.toml", "--runs", "whole") == 0
    folders = [folder / name / "mine" / "released-warmup_gate-0.5-held-out-10" / "seed7" for name in ("runs", "whole")]
    one, other = ([row["train_loss"] for row in read_metrics(run)] for run in folders)
    assert one == other


def test_what_few_networks_have_is_read_and_written_where_it_is_not_the_default(folder):
    rare = {"dropout_form": "'row'", "pool_gain": 1.0, "input_tau_s": 2.5}
    lines = "".join(f"\n{key} = {value}" for key, value in rare.items())
    spec = 'spec = "3C3-P2-12"\ndropout = 0.5\ninput_shape = [1, 6, 6]'
    (folder / "mine.toml").write_text(TOML.replace('spec = "12"', spec + lines))
    described = read_file(folder / "mine.toml")
    net = described.row.network(0)
    assert (net.layers[1].gain, net.input_tau_s) == (1.0, 2.5)
    assert net.layers[2].form == "row"
    tables = describe(described.row, described.rule)
    (folder / "again.toml").write_text(to_toml(tables | {"name": "mine"}))
    assert read_file(folder / "again.toml").row == described.row
    plain = describe(experiment(NAME), rule_by_name("released"))
    assert not set(rare) & set(plain["network"])


def test_four_files_of_one_array_are_the_same_data(folder):
    for name, array in arrays().items():
        np.save(folder / f"{name}.npy", array)
    files = "\n".join(f'{name} = "{name}.npy"' for name in ("X", "y", "X_test", "y_test"))
    (folder / "other.toml").write_text(TOML.replace('file = "arrays.npz"', files))
    rows = [read_file(folder / name).row for name in ("mine.toml", "other.toml")]
    assert [(row.input_shape, row.n_classes) for row in rows] == [((6,), 3)] * 2
    one, other = (task_of(row) for row in rows)
    assert one.data_sha256 == other.data_sha256


def test_spike_trains_have_a_shape_that_the_file_says(folder):
    trains = {k: np.stack([v] * 4).astype(np.uint8) if k.startswith("X") else v for k, v in arrays().items()}
    np.savez(folder / "arrays.npz", **trains)
    (folder / "none.toml").write_text(TOML.replace('spec = "12"', 'spec = "12"\nn_steps = 4'))
    says = r"\[network\]: input_shape is missing: X \(4, 60, 6\) holds spike trains, .* at one step is \[6\]"
    with pytest.raises(ValueError, match=says):
        read_file(folder / "none.toml")
    (folder / "trains.toml").write_text(TOML.replace('spec = "12"', 'spec = "12"\nn_steps = 4\ninput_shape = [6]'))
    row = read_file(folder / "trains.toml").row
    assert (row.input_shape, row.n_steps) == ((6,), 4)
    assert task_of(row).train_samples(np.array([0, 2]))[0].shape == (4, 2, 6)


def test_the_config_of_a_papers_run_and_of_one_of_the_first_runs_feed_back(folder):
    data = write_fashion(folder, n_train=30, n_test=10)
    common = ("--epochs", 1, "--data", data)
    assert train(NAME, "--state", "september-2020", "--loss", "count", "--seed", 3, *common) == 0
    path = folder / "runs" / NAME / "september-2020-count-at-september-2020" / "seed3" / CONFIG
    wanted = Plan(NAME, "september-2020", "count", 1, state="september-2020")
    described = read_file(path)
    assert (Plan.of(described), described.seed) == (wanted, 3)
    config = json.loads(path.read_text())
    del config["run"]
    path.write_text(json.dumps(config))
    described = read_file(path)
    assert (Plan.of(described), described.seed) == (wanted, 3)
    path.write_text(json.dumps(config | {"title": "yin-yang"}))
    with pytest.raises(ValueError, match="yin-yang is trained by its name"):
        read_file(path)
    path.write_text(json.dumps(config | {"rule": config["rule"] | {"warmup_gate": "0.3"}}))
    with pytest.raises(ValueError, match=r"config\.json: it was written before version 0\.2\.0, and is of no row"):
        read_file(path)


# ---------------------------------------------------------------------------------------------------------------------
# The table of results
# ---------------------------------------------------------------------------------------------------------------------


def test_the_table_names_own_runs_and_shows_the_constants_in_which_they_differ(folder):
    assert train("mine.toml", "--epochs", 1) == 0
    (folder / "other.toml").write_text('name = "mine"\n' + TOML.replace("tau_s = 2.0", "tau_s = 3.0"))
    assert train("other.toml", "--epochs", 1, "--runs", "runs/other") == 0
    table = results.collect(folder / "runs")
    assert [(s.experiment, s.variant, s.constants) for s in table] == [
        ("mine", "released-warmup_gate-0.5", "tau_s=2.0"),
        ("mine", "released-warmup_gate-0.5", "tau_s=3.0"),
    ]
    head, first, second = results.as_text(table).splitlines()
    at = head.index("constants")
    assert (first[at:].split()[0], second[at:].split()[0]) == ("tau_s=2.0", "tau_s=3.0")
    results.write_csv(folder / "runs", folder / "all.csv")
    header, *lines = (folder / "all.csv").read_text().splitlines()
    assert header.endswith(",constants")
    assert [line.rsplit(",", 1)[1] for line in lines] == ["tau_s=2.0", "tau_s=3.0"]


# ---------------------------------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------------------------------

WRONG = [
    ("[data]", "[data", "mine.toml: Expected ']' at the end of a table declaration (at line 2, column 6)"),
    ("[neuron]", "[nueron]", "unknown key of the file 'nueron'; known: 'name', .*(did you mean 'neuron'?)"),
    ("tau_s", "tau", "unknown key of [neuron] 'tau'; known: 'tau_m', 'tau_s', 'threshold' (did you mean 'tau_s'?)"),
    ("tau_s = 2.0", "tau_s = 'two'", "[neuron]: tau_s must be a real number, got 'two'"),
    ("tau_s = 2.0", "tau_s = nan", "[neuron]: tau_s must be finite, got nan"),
    ("epochs", "epoch", "unknown key of [training] 'epoch'; known: .*(did you mean 'epochs'?)"),
    ("epochs = 3", "epochs = 3.0", "[training]: epochs must be an integer, got 3.0"),
    ("epochs = 3", "epochs = true", "[training]: epochs must be an integer, got True"),
    ("epochs = 3", "epochs = 3\nloss = 'kernl'", "[training]: unknown loss 'kernl'; known: .*(did you mean 'kernel'?)"),
    ("epochs = 3", "epochs = 3\nepochs = 4", "mine.toml: Cannot overwrite a value"),
    ("seed = 7", "seed = -1", "[training]: seed must be at least 0, got -1"),
    ('name = "released"', 'name = "relased"', "[rule]: unknown rule 'relased'; known: .*(did you mean 'released'?)"),
    ("warmup_gate = 0.5", "intra = 'all'", "[rule]: "),
    ("warmup_gate", "warm_gate", "unknown key of [rule] 'warm_gate'; known: .*(did you mean 'warmup_gate'?)"),
    ('spec = "12"', "", '[network]: spec is missing, such as spec = "400-400"'),
    ('spec = "12"', "spec = 12", "[network]: spec must be a str, got int"),
    ('spec = "12"', 'spec = "12x"', "[network]: "),
    ('spec = "12"', 'spec = "12"\ndropout = 2', "[network]: dropout must be below 1, got 2"),
    ('spec = "12"', 'spec = "12"\nn_classes = 0', "[network]: n_classes must be at least 1, got 0"),
    ('spec = "12"', 'spec = "12"\nn_classes = 2', "y must lie in 0 .. 1, got 2"),
    ('spec = "12"', 'spec = "12"\ninput_shape = 6.5', "[network]: input_shape must be a sequence, got 6.5"),
    ("weight_scale = 2", "weight_scale = [1, 2, 3]", "[network]: weight_scale must be a number or a pair"),
    ('file = "arrays.npz"', 'file = "no.npz"', "there is no file .*no.npz"),
    ('file = "arrays.npz"', 'file = "mine.toml"', "mine.toml is no array file of NumPy's, or is damaged: "),
    ('file = "arrays.npz"', "file = 3", "[data]: file must be a str, got int"),
    ('file = "arrays.npz"', 'file = "arrays.npz"\nX = "X.npy"', "unknown key of [data] with arrays 'X'; known: 'file'"),
    ('file = "arrays.npz"', 'X = "X.npy"', "[data]: it must have set, or file, or all of X, y, X_test, y_test; y is"),
    ('file = "arrays.npz"', 'set = "minst"', "[data]: unknown set 'minst'; known: .*(did you mean 'mnist'?)"),
    ('file = "arrays.npz"', 'set = "mnist"\naugment = 1', "[data]: augment must be a bool, got int"),
    ('file = "arrays.npz"', 'set = "mnist"\nfile = "x"', "unknown key of [data] with set = 'mnist' 'file'; known: "),
    ("held_out = 10", "held_out = 60", "held-out must be less than the 60 training samples, got 60"),
    ("held_out = 10", "held_out = 0.1", "[data]: held_out must be an integer, got 0.1"),
    ("\n[training]", "\n[[training]]", "[training] must be a dict, got list"),
    ("\n[data]", "name = '../x'\n[data]", "name: it must be a letter or digit"),
    ("\n[data]", f"name = '{NAME}'\n[data]", f"dataset is not that of the paper's '{NAME}' at released: give"),
    ("\n[data]", "state = 'released'\n[data]", "state is of the paper's experiments, and 'mine' is none of them"),
    ("\n[data]", "x = " + 5000 * "[" + "\n[data]", "its brackets are nested too deeply"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), WRONG)
def test_what_is_wrong_in_a_file_is_one_line_and_status_2(folder, capsys, old, new, message):
    (folder / "mine.toml").write_text(TOML.replace(old, new, 1))
    assert train("mine.toml") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    before, _, after = message.partition(".*")
    assert err.startswith("tsslbp-ref: error: ")
    assert before in err
    assert after in err
    assert not (folder / "runs").exists()


def changed(**changes):
    return arrays() | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({k: v for k, v in arrays().items() if k != "y_test"}, "must hold the arrays X, y, X_test, y_test; y_test is"),
        (changed(y=np.eye(3)[arrays()["y"]]), "scores or one-hot rows become labels by y.argmax(axis=1)"),
        (changed(y=arrays()["y"] / 1.0), "y must hold integer class labels, got dtype float64"),
        (changed(X=arrays()["X"][1:]), "y must have shape (59,) to match the batch, got (60,)"),
        (changed(X=arrays()["X"] * np.nan), "X must be finite, got nan at index [0, 0]"),
        (changed(X=arrays()["X"].astype(str)), "X must hold real numbers, got dtype <U"),
        (changed(X=np.array([1, [2]], dtype=object)), "Object arrays cannot be loaded when allow_pickle=False"),
    ],
)  # fmt: skip
def test_wrong_arrays_are_one_line_and_status_2(folder, capsys, content, message):
    np.savez(folder / "arrays.npz", **content)
    assert train("mine.toml") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("name", [{}, {"name": None}, {"name": 3}])
def test_a_config_without_a_name_is_named(tmp_path, name):
    tables = name | {"data": {"set": "mnist"}, "network": {"spec": "12"}}
    (tmp_path / CONFIG).write_text(json.dumps({descriptions.TABLES: tables}))
    with pytest.raises(TypeError, match=r"config\.json: name: it must be a str"):
        read_file(tmp_path / CONFIG)


@pytest.mark.parametrize("packed", [None, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_that_promises_more_than_it_has_takes_no_memory(tmp_path, packed):
    content = io.BytesIO()
    np.save(content, np.zeros((3, 2)))
    lying = content.getvalue().replace(b"(3, 2), }         ", b"(3000000000, 2), }")
    assert lying != content.getvalue()
    path = tmp_path / "x"
    if packed is None:
        path.write_bytes(lying)
    else:
        with zipfile.ZipFile(path, "w", packed) as archive:
            archive.writestr("X.npy", lying)
    with pytest.raises(datasets.DataError, match="damaged: its header promises 48000000000 bytes, of which there are"):
        datasets.load_arrays({"file": path})


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ({}, "paths must name file, or all of X, y, X_test, y_test; X is missing"),
        ({"X": "x.npy", "y": "y.npy"}, "X_test is missing"),
        ({"file": 3}, "file must be a path, got 3"),
        ("x.npz", "paths must be a Mapping, got str"),
    ],
)
def test_paths_that_name_no_arrays(paths, message):
    with pytest.raises((datasets.DataError, TypeError), match=message):
        datasets.load_arrays(paths)


def test_an_array_that_promises_a_long_header_takes_no_memory(tmp_path):
    (tmp_path / "x").write_bytes(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{'descr': '<f8'}")
    tracemalloc.start()
    with pytest.raises(datasets.DataError, match="EOF: reading array header, expected 4294967295 bytes got"):
        datasets.load_arrays({"file": tmp_path / "x"})
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_sound_arrays_are_read_whatever_wrote_them(tmp_path, save, version):
    """Also zeros, which are packed a thousandfold, and arrays of other orders and types."""
    found = changed(X=np.asfortranarray(np.zeros((1000, 900))), y=np.arange(6, dtype=">i2"))
    save(tmp_path / "x.npz", **found)
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        content = io.BytesIO()
        np.lib.format.write_array(content, np.ones(3), version)
        archive.writestr("more.npy", content.getvalue())
    read_again = datasets.load_arrays({"file": tmp_path / "x.npz"})
    for name, array in found.items():
        np.testing.assert_array_equal(read_again[name], array)


def test_damaged_archives_are_one_line(folder, capsys):
    whole = (folder / "arrays.npz").read_bytes()
    for content in (b"", whole[:100], whole[:-30], whole.replace(b"NUMPY", b"NUMPI")):
        (folder / "arrays.npz").write_bytes(content)
        assert train("mine.toml") == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "arrays.npz is no array file of NumPy's, or is damaged: " in err
    (folder / "arrays.npz").unlink()
    np.save(folder / "arrays.npy", arrays()["X"])
    (folder / "arrays.npy").rename(folder / "arrays.npz")
    assert train("mine.toml") == 2
    assert "it holds one array alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mine.toml", "--state", "released"), "--state is of the paper's experiments"),
        (("mine.toml", "--data", "."), "--data is the folder of the named data sets; mine.toml names files of its own"),
        (("mine.toml", "--rule", "relased"), "did you mean 'released'?"),
        (("none.toml",), "cannot read none.toml: No such file or directory"),
        ((NAME, "--toml", NAME), "--toml goes with list"),
        (("list", "--toml", "yin-yang"), "unknown experiment 'yin-yang'"),
        (("list", "--toml", "fashion-mnist-400"), f"did you mean '{NAME}'?"),
        (("mine.toml", "--runs", "mine.toml"), "a run needs a folder, but mine.toml is a file"),
        (("mine.toml", "--runs", "/proc/none"), "/proc/none"),
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(folder, capsys, arguments, message):
    assert train(*arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_list_prints_a_row_as_a_file(capsys):
    assert train("list", "--toml", NAME, "--state", "september-2020", "--seed", "2", "--held-out", "5000") == 0
    tables = tomllib.loads(capsys.readouterr().out)
    assert tables == Plan(NAME, "september-2020", state="september-2020", held_out=5000).tables(2)

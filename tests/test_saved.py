"""A network is a value: a table, a file, the file's damage in one line, and a run's checkpoint as such a file."""

import copy
import dataclasses
import json
import math
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from made_data import BlobTask, blob_network, blob_run

import tsslbp_ref as tr
from tsslbp_ref import checkpoints
from tsslbp_ref.files import CheckpointError
from tsslbp_ref.model import saved, spec, summary
from tsslbp_ref.model.layers import Dense
from tsslbp_ref.training.exact_training import ExactNetwork, ExactSettings, YinYangTask
from tsslbp_ref.training.experiments import EXPERIMENTS, STATES, experiment
from tsslbp_ref.training.runs import BEST, LAST, Run

NEURONS = [tr.NeuronParameters(4.0, 2.0, 0.5), tr.NeuronParameters(), tr.NeuronParameters(6.0, 2.5)]


def odd_network(**options):
    """Every kind of layer, constants by layer, a rule of no name with an infinite constant."""
    rule = tr.GradientRule(intra=False, warmup="layer", inverse_rise_clip=math.inf)
    settings = {"neuron": NEURONS, "rule": rule, "input_tau_s": 1.5, "dropout_form": "row", "pool_gain": 1.3}
    return blob_network(**settings | options)


def same(one, other):
    """Whether two networks are the same in all that is saved, to the bit and in the order in memory."""

    def facts(net):
        constants = (net.layers, net.n_steps, net.neuron, net.input_tau_s, net.rule, net.dtype)
        return constants, [(W.tobytes("A"), W.dtype, W.shape, W.flags.f_contiguous) for W in net.weights]

    return facts(one) == facts(other)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.npz"
    odd_network().save(path)
    return path


# ---------------------------------------------------------------------------------------------------------------------
# In words
# ---------------------------------------------------------------------------------------------------------------------


def test_a_network_prints_as_a_table_and_its_repr_is_a_line():
    net = odd_network()
    assert repr(net) == "<Network 3C3-P2-10-4, input (1, 6, 6), T = 5, float32>"
    assert str(net).splitlines() == [
        "layer              output shape  weights       neuron",
        "input              (1, 6, 6)                   tau_s 1.5",
        "3C3, padding 1     (3, 6, 6)     (3, 1, 3, 3)  tau_m 4, tau_s 2, threshold 0.5",
        "P2, gain 1.3       (3, 3, 3)",
        "dropout 0.2 a row  (3, 3, 3)",
        "10                 (10,)         (10, 27)      tau_m 5, tau_s 3, threshold 1",
        "dropout 0.2 a row  (10,)",
        "4                  (4,)          (4, 10)       tau_m 6, tau_s 2.5, threshold 1",
        "T = 5 steps, rule released but intra False, warmup layer, inverse_rise_clip inf, float32, 337 weights",
    ]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_spec_is_found_again_in_the_layers(name):
    row = experiment(name)
    layers = spec.layers_from_spec(row.spec, row.input_shape, 10, padding=row.padding, dropout=row.dropout)
    parts = [summary.part_of_spec(layer) for layer in layers if not isinstance(layer, tr.layers.Dropout)]
    assert "-".join(parts) == f"{row.spec}-10"


def test_a_table_has_the_name_of_a_named_rule():
    for name, rule in tr.named_rules().items():
        assert f"rule {name}, " in str(blob_network(rule=rule))


# ---------------------------------------------------------------------------------------------------------------------
# A file
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_saved_network_comes_back_to_the_bit(tmp_path, dtype):
    net = odd_network(dtype=dtype)
    net.save(str(tmp_path / "net"))
    assert os.listdir(tmp_path) == ["net"]
    found = tr.Network.load(tmp_path / "net", n_threads=1, engine=tr.network.PlainEngine())
    assert same(net, found)
    assert (found.n_threads, type(found.engine).__name__) == (1, "PlainEngine")
    assert all(W.flags.owndata and W.flags.writeable and W.flags.aligned for W in found.weights)
    x = np.random.default_rng(0).random((3, 1, 6, 6))
    np.testing.assert_array_equal(found.forward(x), odd_network(dtype=dtype, engine=found.engine).forward(x))


def test_what_was_not_given_is_not_given_in_the_copy(tmp_path):
    blob_network().save(tmp_path / "net.npz")
    found = tr.Network.load(tmp_path / "net.npz")
    found.neuron = tr.NeuronParameters(tau_s=7.0)
    assert found.input_tau_s == 7.0


@pytest.mark.parametrize("state", STATES)
def test_networks_of_every_state_come_back(tmp_path, state):
    net = experiment("fashion-mnist-400-400", state).network(0)
    net.save(tmp_path / "net.npz")
    assert same(net, tr.Network.load(tmp_path / "net.npz"))


@pytest.mark.parametrize("path", [3, None, b"net.npz"])
def test_a_path_that_is_none(path):
    net = tr.Network.from_spec("5", (4,), n_classes=3, n_steps=5)
    for call in (net.save, tr.Network.load):
        with pytest.raises(TypeError, match="path must be a path, got"):
            call(path)


def test_a_save_that_fails_leaves_the_file_that_was_there(path, monkeypatch):
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*net\.npz: No space left on device"):
        blob_network().save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_what_cannot_be_loaded_again_is_not_saved(tmp_path):
    class Own(Dense):
        pass

    net = blob_network()
    net.weights[1][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"weights\[1\] must be finite, got nan"):
        net.save(tmp_path / "net.npz")
    own = tr.Network([Own((4,), 3)], [np.ones((3, 4))], n_steps=5, neuron=NEURONS[0], rule=tr.GradientRule())
    with pytest.raises(TypeError, match=r"layers\[0\] must be one of Dense, .* to be saved, got Own"):
        own.save(tmp_path / "net.npz")
    with pytest.raises(OSError, match="cannot write"):
        blob_network().save(tmp_path / "no folder" / "net.npz")
    assert os.listdir(tmp_path) == []


# ---------------------------------------------------------------------------------------------------------------------
# A run's checkpoint
# ---------------------------------------------------------------------------------------------------------------------


def test_a_runs_folder_and_its_checkpoints_are_networks(tmp_path):
    run = blob_run(tmp_path / "run", epochs=2)
    list(run.run())
    assert same(run.trainer.network, tr.Network.load(tmp_path / "run" / LAST))
    best = tr.Network.load(tmp_path / "run")
    assert same(best, tr.Network.load(str(tmp_path / "run" / BEST)))
    labels = np.arange(20) % 4
    accuracy = (best.predict(BlobTask().pictures(labels)) == labels).mean()
    assert accuracy == max(row["test_accuracy"] for row in run.metrics())
    (tmp_path / "run" / BEST).unlink()
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at .*{BEST}"):
        tr.Network.load(tmp_path / "run")


def test_a_run_in_continuous_time_is_told_from_a_network(tmp_path):
    settings = ExactSettings(epochs=1, n_hidden=2)
    run = Run(tmp_path / "run", ExactNetwork(settings), YinYangTask(), settings)
    run._save(LAST)
    with pytest.raises(CheckpointError, match=f"{LAST} describes no network: .* continuous time"):
        tr.Network.load(tmp_path / "run" / LAST)


# ---------------------------------------------------------------------------------------------------------------------
# Damage
# ---------------------------------------------------------------------------------------------------------------------


def refused(path):
    """The line with which a file is refused."""
    with pytest.raises(CheckpointError) as error:
        tr.Network.load(path)
    line = str(error.value)
    assert str(path) in line
    assert "\n" not in line
    assert len(line) < 400
    return line


def test_a_truncated_file_is_refused(path):
    data = path.read_bytes()
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        assert "is truncated or no checkpoint" in refused(path)


def test_any_changed_byte_is_noticed_or_harmless(path):
    data, net, step = path.read_bytes(), odd_network(), 13
    lines = []
    for position in range(0, len(data), step):
        changed = bytearray(data)
        changed[position] ^= 0x09
        path.write_bytes(changed)
        try:
            assert same(net, tr.Network.load(path))  # such as a time stamp in the archive
        except CheckpointError as error:
            lines.append(str(error))
    assert len(lines) > len(data) / step / 2
    assert all(str(path) in line and "\n" not in line for line in lines)


def rewritten(path, change):
    """The file with another description, and a sha256 that is right."""
    arrays, meta = checkpoints.load(path)
    change(arrays, meta)
    checkpoints.save(path, arrays, meta)
    return refused(path)


WRONG = {
    "newer": (lambda n: n.update(format=2), "a newer version wrote it, in format 2; this one reads formats up to 1"),
    "newer, other keys": (lambda n: (n.clear(), n.update(format=9)), "a newer version wrote it, in format 9"),
    "no format": (lambda n: n.pop("format"), "format must be an integer, got None"),
    "format 0": (lambda n: n.update(format=0), "format must be at least 1, got 0"),
    "a key more": (lambda n: n.update(a=1), "network must have the keys dtype, format, "),
    "a key less": (lambda n: n.pop("rule"), "network must have the keys dtype, format, "),
    "layers": (lambda n: n.update(layers=3), "layers must be a list, got int"),
    "no layers": (lambda n: n.update(layers=[]), "layers must hold at least one layer"),
    "a layer": (lambda n: n["layers"].append("x"), "layers[6] must be a dict, got str"),
    "a kind": (lambda n: n["layers"][0].update(kind="Conv3d"), "(did you mean 'Conv2d'?)"),
    "no kind": (lambda n: n["layers"][0].pop("kind"), "unknown kind of layers[0] None"),
    "a field": (lambda n: n["layers"][0].update(stride=2), "layers[0] must have the keys input_shape, kernel_size, "),
    "a size": (lambda n: n["layers"][0].update(n_filters=-3), "n_filters must be at least 1, got -3"),
    "a shape": (lambda n: n["layers"][0].update(input_shape="abc"), "input_shape must be a sequence, got 'abc'"),
    "misfit": (lambda n: n["layers"].pop(1), "layers[1] must take the output of layers[0]"),
    "steps": (lambda n: n.update(n_steps=0), "n_steps must be at least 1, got 0"),
    "text for a number": (lambda n: n["neuron"][1].update(tau_m="5"), "tau_m must be a real number, got '5'"),
    "neurons": (lambda n: n["neuron"].pop(), "neuron must have one entry a layer of neurons, 3, got 2"),
    "neuron": (lambda n: n.update(neuron=None), "neuron must be a list, got NoneType"),
    "rule": (lambda n: n["rule"].update(inter="mine"), "unknown inter 'mine'"),
    "dtype": (lambda n: n.update(dtype="object"), "dtype must be one of float32, float64, got object"),
    "other dtype": (lambda n: n.update(dtype="float64"), "weight0 must be float64, got float32"),
    "input_tau_s": (lambda n: n.update(input_tau_s=0.5), "input_tau_s must be at least 1, got 0.5"),
    "larger": (lambda n: n["layers"][-1].update(n_out=5), "weight2 must have shape (5, 10) to match its layer"),
    "huge": (lambda n: n["layers"][-1].update(n_out=10**30), "n_out must be at most 2147483647, got 1000000"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_description_is_named(path, name):
    change, message = WRONG[name]
    assert message in rewritten(path, lambda arrays, meta: change(meta["network"]))


def places(value, path=()):
    """The path to every value within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def test_whatever_a_description_holds_it_is_a_network_or_a_line(path):
    arrays, meta = checkpoints.load(path)
    values = [None, True, -1, 2.5, 10**400, math.inf, math.nan, "", "x" * 1000, [], [1], {}, {"kind": "Dense"}]
    rng = np.random.default_rng(0)
    outcomes = []
    for place in places(meta)[1:]:
        changed = copy.deepcopy(meta)
        value = changed
        for key in place[:-1]:
            value = value[key]
        value[place[-1]] = values[rng.integers(len(values))]
        checkpoints.save(path, arrays, changed)
        try:
            outcomes.append(repr(tr.Network.load(path)))
        except CheckpointError as error:
            outcomes.append(str(error))
    assert all("\n" not in outcome for outcome in outcomes)
    assert sum(str(path) in outcome for outcome in outcomes) > 0.8 * len(outcomes) > 40


def test_wrong_weights_and_foreign_files_are_named(path, tmp_path):
    data = path.read_bytes()
    assert "it lacks weight1" in rewritten(path, lambda arrays, meta: arrays.pop("weight1"))
    path.write_bytes(data)
    change = {"weight1": np.full((10, 27), np.inf, np.float32)}
    assert "weights[1] must be finite, got inf" in rewritten(path, lambda arrays, meta: arrays.update(change))
    path.write_bytes(data)
    assert "describes no network" in rewritten(path, lambda arrays, meta: meta.pop("network"))
    np.savez(tmp_path / "foreign.npz", x=np.ones(3))
    assert "is no checkpoint of this project: it has no meta text" in refused(tmp_path / "foreign.npz")
    (tmp_path / "text.npz").write_text("weights")
    assert "is truncated or no checkpoint: File is not a zip file" in refused(tmp_path / "text.npz")
    np.savez(tmp_path / "pickled.npz", meta=np.array([{}], dtype=object))
    assert "is truncated or no checkpoint: 'meta.npy' is no array of numbers or text" in refused(
        tmp_path / "pickled.npz"
    )
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*nothing\.npz"):
        tr.Network.load(tmp_path / "nothing.npz")
    if os.path.exists("/dev/zero"):
        assert "must be a regular file, but it is a device" in refused(Path("/dev/zero"))


def test_nothing_larger_than_the_description_promises_is_read(path):
    arrays, meta = checkpoints.load(path)
    checkpoints.save(path, arrays | {"more": np.zeros(10**8, np.uint8)}, meta)
    tracemalloc.start()
    try:
        assert "bytes at most, but it has 1000" in refused(path)
        checkpoints.save(path, arrays, meta | {"more": "x" * 2**22})
        assert "it has no meta text" in refused(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10**8


def test_the_description_is_json_of_plain_values():
    text = json.dumps(saved.description(odd_network()))
    assert {kind.__name__ for kind in saved.KINDS.values()} == {one["kind"] for one in json.loads(text)["layers"]}
    assert {field.name for field in dataclasses.fields(tr.GradientRule)} == set(json.loads(text)["rule"])

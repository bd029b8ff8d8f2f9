"""Each trick of the engine can be switched off, alone and for a time, and changes no result; the table that follows."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import ablation, paired, tricks
from benchmarks.ablation import Gain
from benchmarks.contenders import CONTENDERS, OURS, ours
from benchmarks.race import ROOT
from benchmarks.tricks import TRICKS
from benchmarks.workloads import WORKLOADS, Workload, events
from tsslbp_ref import Network, NeuronParameters, engine
from tsslbp_ref.engine import batch, convolution, dense, inputs, spike_patterns, threads, winograd
from tsslbp_ref.engine import events as engine_events
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.layers import Conv2d

CONVOLUTIONAL = WORKLOADS["smoke"]
CHAIN = Workload("chain", "400", (1, 5, 5), 5, 4, None, 5.0, 3.0)
WITH_3_X_3 = Workload("3 x 3", "32C3-32C3-8", (1, 6, 6), 3, 4, None, 5.0, 3.0, padding=(1, 1))
SPARSE = events(5, batch=2, width=6)


def network_of(workload):
    neuron = NeuronParameters(workload.tau_m, workload.tau_s)
    return Network.from_spec(
        workload.spec, workload.input_shape, 10, workload.n_steps, neuron, padding=workload.paddings, n_threads=1
    )


def input_of(net, x):
    return batch.LayerByLayer(net)._input(x)


def memory_is_kept():
    buffers = threads.Buffers()
    return np.shares_memory(buffers.take("u", (3,), "f4"), buffers.take("u", (3,), "f4"))


SILENT = np.zeros((3, 1, 2, 2), np.float32)
ADD_ROWS, POOL_PAIRS = engine_events.add_rows, convolution._pool_pairs
SECOND_OF_W2 = Conv2d((15, 12, 12), 40, 5, 0)
# By trick: a workload that it works on, and what tells that it is on.
PROBES = {
    "dense-chain": (CHAIN, lambda net, x: type(engine._pass(net, x)) is dense.DenseChain),
    "spike-patterns": (CHAIN, lambda net, x: dense.DenseChain(net).follow.any()),
    "sparse-events": (SPARSE, lambda net, x: type(input_of(net, x)) is inputs.EventInput),
    "joint-pooling": (CONVOLUTIONAL, lambda net, x: batch.LayerByLayer(net)._goes_with_pool(0, input_of(net, x))),
    "static-image": (CONVOLUTIONAL, lambda net, x: type(input_of(net, x)) is inputs.StaticInput),
    "silent-images": (CONVOLUTIONAL, lambda net, x: len(convolution.active_images(SILENT)) < len(SILENT)),
    "silent-steps": (CONVOLUTIONAL, lambda net, x: inputs.PSCInput(SILENT).first > 0),
    "buffer-pool": (CONVOLUTIONAL, lambda net, x: memory_is_kept()),
    "blas-adds": (CONVOLUTIONAL, lambda net, x: convolution.gemm is dense.gemm is tricks.jit.gemm),
    "small-products": (
        CONVOLUTIONAL,
        lambda net, x: convolution._tile(SECOND_OF_W2) < convolution._tile_in_cache(SECOND_OF_W2),
    ),
    "rows-by-four": (SPARSE, lambda net, x: spike_patterns.add_rows is engine_events.add_rows is ADD_ROWS),
    "pooled-pairs": (CONVOLUTIONAL, lambda net, x: convolution._pool_pairs is POOL_PAIRS),
    "exp-by-series": (SPARSE, lambda net, x: sweeps.exponential is tricks.jit.exponential),
    "cache-lines": (CONVOLUTIONAL, lambda net, x: threads.aligned is not np.empty),
    "winograd": (WITH_3_X_3, lambda net, x: winograd.serves(net.layers[1])),
}


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_off_inside_and_on_again_outside_and_changes_no_loss(name):
    workload, is_on = PROBES[name]
    net, x = network_of(workload), workload.inputs()[0]
    assert is_on(net, x)
    with_it = losses(workload)
    with TRICKS[name].off():
        assert not is_on(net, x)
        assert losses(workload) == pytest.approx(with_it, rel=1e-4)
    assert is_on(net, x)


def losses(workload):
    step = ours.training_step(workload, CONTENDERS[f"{OURS}, 1 thread"])
    return [step() for _ in range(3)]


def test_lines_are_those_of_what_is_named(tmp_path):
    """A decorator and a docstring count; a method is named by its class."""
    path = tmp_path / "module.py"
    path.write_text('@cached\ndef f():\n    """F."""\n    return 1\n\n\nclass A:\n    def g(self):\n        return 2\n')
    module = type("module", (), {"__file__": str(path), "__name__": "module"})
    assert tricks.lines_of(module, ("f",)) == 4
    assert tricks.lines_of(module, ("A",)) == 3
    assert tricks.lines_of(module, ("f", "A.g")) == 6
    assert tricks.lines_of(module, ()) == 9
    with pytest.raises(ValueError, match="has no 'h'"):
        tricks.lines_of(module, ("h",))


def test_a_trick_stays_where_one_workload_pays_for_its_lines():
    pays, does_not = (Gain("a", w, gain, 0.0, 9.0, 2, 1.0, 1.0, 100) for w, gain in (("W1", 5.0), ("W2", 4.9)))
    assert pays.asked == 5.0
    assert ablation.kept([pays, does_not]) == {"a": True}
    assert ablation.kept([does_not]) == {"a": False}
    assert ablation.as_markdown([does_not])[-1] == "| a | W2 | 4.9 | 0.0 to 9.0 | 100 | 5.0 | no |"


def test_the_ablation_measures_a_trick_by_processes_without_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paired, "PROCESSES", 1)
    path = tmp_path / "gains.json"
    options = ["joint-pooling", "--workloads", "smoke", "--seconds", "0.1", "--json", str(path)]
    assert ablation.main(options) == 0
    (row,) = json.loads(path.read_text())["gains"]
    assert (row["trick"], row["workload"], row["n_rounds"]) == ("joint-pooling", "smoke", 2)
    assert row["n_lines"] == TRICKS["joint-pooling"].n_lines > 50
    assert "| joint-pooling | smoke |" in capsys.readouterr().out


def test_an_unknown_trick_is_one_line(capsys):
    assert ablation.main(["magic"]) == 2
    assert "unknown trick 'magic'" in capsys.readouterr().err.splitlines()[-1]


def test_the_readme_shows_the_gains_that_were_measured():
    gains = [Gain(**gain) for gain in json.loads((ROOT / "results" / "engine-ablation.json").read_text())["gains"]]
    lines = (ROOT / "benchmarks" / "README.md").read_text().splitlines()
    assert [line for line in ablation.as_markdown(gains) if line not in lines] == []


def test_docstrings_say_where_a_trick_brings_most():
    gains = json.loads((ROOT / "results" / "engine-ablation.json").read_text())["gains"]
    for name in dict.fromkeys(gain["trick"] for gain in gains):
        gain = max((gain for gain in gains if gain["trick"] == name), key=lambda gain: gain["gain"])
        sources = (Path(str(module.__file__)).read_text() for module in TRICKS[name].lines)
        text = " ".join(" ".join(sources).split())
        assert f"a step of {gain['workload']} takes {gain['gain']:.1f} % longer" in text, name

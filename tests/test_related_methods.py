"""The studies of related methods: windows of one synapse, rates, and an ANN that becomes spikes."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from figures import fig26_surrogate_bptt as fig26
from studies import ann_conversion, plasticity_windows
from studies.ann_conversion import Conversion, ReluNetwork
from tsslbp_ref.model import reference, terms
from tsslbp_ref.model.network import Network
from tsslbp_ref.model.parameters import NeuronParameters
from tsslbp_ref.training import Trainer, TrainingSettings

RESULTS = Path(plasticity_windows.__file__).parents[1] / "results"
DIFFERENCES = np.arange(-20, 21)
PAIRINGS = plasticity_windows.PAIRINGS
ANOTHER_MACHINE = 1e-6


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------------------------------------------------------------
# Spike timing
# ---------------------------------------------------------------------------------------------------------------------


def test_stdp_is_two_exponentials_of_opposite_sign() -> None:
    assert plasticity_windows.stdp(4.0, potentiation=2.0, tau_plus=8.0) == pytest.approx(2.0 * np.exp(-0.5))
    assert plasticity_windows.stdp(-3.0, depression=0.5, tau_minus=6.0) == pytest.approx(-0.5 * np.exp(-0.5))
    assert plasticity_windows.stdp(0.0) == 0.0
    with pytest.raises(ValueError, match="tau_plus must be greater than 0"):
        plasticity_windows.stdp(1.0, tau_plus=0.0)


@pytest.mark.parametrize("name", PAIRINGS)
def test_window_is_the_double_sum_of_the_literal_loops(name: str) -> None:
    """One synapse: -sum_m sum_k phi(t_k, t_m) g[t_k] a_pre[t_m], with everything but the drive from `reference`."""
    pairing, neuron, t_post = PAIRINGS[name], plasticity_windows.NEURON, plasticity_windows.T_POST
    I, desired = np.zeros((2, plasticity_windows.N_STEPS, 1, 1))
    I[:] = plasticity_windows.REST / neuron.tau_m
    I[0] = plasticity_windows.REST
    I[t_post] += pairing.fires * plasticity_windows.PULSE
    desired[list(pairing.desired)] = 1.0
    trace = reference.lif_forward(I, neuron)
    g = trace.a - reference.psc_filter(desired, neuron)
    delta = reference.tsslbp_backward(g, trace, neuron, pairing.rule)[:, 0, 0]
    expected = []
    for difference in DIFFERENCES:
        pre = np.zeros(plasticity_windows.N_STEPS)
        pre[t_post - difference] = 1.0
        expected.append(-delta @ reference.psc_filter(pre, neuron))
    found = plasticity_windows.tsslbp_window(DIFFERENCES, pairing)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-15)


def test_window_outside_the_run() -> None:
    with pytest.raises(ValueError, match=r"differences must lie in -39 \.\. 40"):
        plasticity_windows.tsslbp_window([41], PAIRINGS["the spike is right"])


# ---------------------------------------------------------------------------------------------------------------------
# Rates
# ---------------------------------------------------------------------------------------------------------------------


def test_bcm_changes_sign_at_its_threshold_only() -> None:
    changes = [plasticity_windows.bcm(0.5, y, 0.2) for y in (0.0, 0.1, 0.2, 0.3)]
    assert changes == pytest.approx([0.0, -0.005, 0.0, 0.015])
    with pytest.raises(ValueError, match="post_rate must be at least 0"):
        plasticity_windows.bcm(0.5, -0.1, 0.2)


def test_tsslbp_grows_a_synapse_at_low_rates_and_shrinks_it_at_high_ones() -> None:
    post, change, error = zip(
        *(plasticity_windows.tsslbp_rates(0.2, drive, np.random.default_rng(5), 60) for drive in (0.05, 0.4)),
        strict=True,
    )
    assert post[0] < 0.05
    assert post[1] > 0.2
    assert change[0] > 3 * error[0] > 0.0
    assert change[1] < -3 * error[1] < 0.0


def test_the_command_writes_the_committed_tables(tmp_path: Path) -> None:
    assert plasticity_windows.main(["--out", str(tmp_path)]) == 0
    for name in (plasticity_windows.STDP_TABLE, plasticity_windows.SRDP_TABLE):
        found, committed = read(tmp_path / name), read(RESULTS / name)
        assert [list(row)[:-2] for row in found] == [list(row)[:-2] for row in committed]
        np.testing.assert_allclose(
            [float(row["change"]) for row in found], [float(row["change"]) for row in committed], atol=ANOTHER_MACHINE
        )


def test_unwritable_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    assert plasticity_windows.main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# ---------------------------------------------------------------------------------------------------------------------
# Conversion
# ---------------------------------------------------------------------------------------------------------------------


class SmallTask:
    """Two kinds of 3x3 pictures: bright above, or bright below."""

    def __init__(self, n: int = 200) -> None:
        rng = np.random.default_rng(0)
        self.y = np.arange(n) % 2
        self.x = rng.normal(0.0, 0.3, (n, 1, 3, 3)).astype(np.float32)
        self.x[np.arange(n), 0, 2 * self.y] += 1.0

    @property
    def n_train(self) -> int:
        return len(self.y)

    n_test = n_train

    def train_batch(self, indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return self.x[indices], self.y[indices]

    def test_batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield self.x[:120], self.y[:120]
        yield self.x[120:], self.y[120:]


def network(dtype: str = "float32") -> Network:
    return Network.from_spec("12-8", (1, 3, 3), 2, 5, NeuronParameters(), seed=1, dtype=dtype, n_threads=1)


@pytest.fixture(scope="module")
def trained() -> ReluNetwork:
    ann = ReluNetwork(network())
    trainer = Trainer(ann, SmallTask(), TrainingSettings(4, 20, 1e-2, "softmax"))  # type: ignore[arg-type]
    assert trainer.run_epoch() is not None
    assert trainer.run_epoch() is not None
    assert trainer.test_accuracy() > 0.98
    return ann


def test_gradient_of_the_ann_is_that_of_its_loss() -> None:
    ann = ReluNetwork(network("float64"))
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(6, 1, 3, 3)), rng.integers(0, 2, 6)
    _, gradients, _ = ann.training_step(x, y, "softmax")
    start, h = [W.copy() for W in ann.weights], 1e-6
    for index, gradient in enumerate(gradients):
        direction = rng.normal(size=gradient.shape)
        values = []
        for sign in (1.0, -1.0):
            ann.weights[index] = start[index] + sign * h * direction
            values.append(ann.training_step(x, y, "softmax")[0])
        ann.weights[index] = start[index]
        assert (values[0] - values[1]) / (2 * h) == pytest.approx(np.vdot(gradient, direction), rel=1e-6)


def test_ann_refuses_convolutions() -> None:
    with pytest.raises(ValueError, match="network must be fully connected"):
        ReluNetwork(Network.from_spec("4C3-8", (1, 6, 6), 2, 5, NeuronParameters(), n_threads=1))


def test_scaled_weights_keep_the_output_and_bring_the_largest_activation_to_1(trained: ReluNetwork) -> None:
    x = SmallTask().x
    before = trained.activations(x)
    found = ann_conversion.scaled_weights(trained.weights, ann_conversion.scales(trained, x, 100.0))
    scaled = ReluNetwork(network())
    scaled.weights = found
    after = scaled.activations(x)
    np.testing.assert_allclose(after[-1], before[-1], rtol=1e-4, atol=1e-5)
    assert [float(a.max()) for a in after[:-1]] == pytest.approx([1.0, 1.0], rel=1e-5)


def test_a_silent_layer_cannot_be_scaled(trained: ReluNetwork) -> None:
    dead = ReluNetwork(network())
    dead.weights = [np.zeros_like(W) for W in trained.weights]
    with pytest.raises(ValueError, match="scale of layer 1 must be greater than 0"):
        ann_conversion.scales(dead, SmallTask().x, 100.0)


def test_subtraction_counts_the_input_and_reset_to_zero_loses_some() -> None:
    I = np.linspace(0.0, 1.0, 41)
    counts = {}
    for reset in ("subtract", "zero"):
        v, counts[reset] = np.zeros_like(I), np.zeros_like(I)
        for _ in range(40):
            u = np.asarray(terms.membrane(v, I, 0.0))  # type: ignore[arg-type]
            s = np.asarray(terms.spike(u, 1.0))  # type: ignore[arg-type]
            v = ann_conversion.membrane_after(u, s, reset)
            counts[reset] += s
    assert np.abs(counts["subtract"] / 40 - I).max() <= 1 / 40 + 1e-12
    assert (counts["zero"] <= counts["subtract"]).all()
    assert counts["zero"].sum() < 0.9 * counts["subtract"].sum()


def test_long_runs_come_to_the_anns_output(trained: ReluNetwork) -> None:
    x = SmallTask().x[:30]
    weights = ann_conversion.scaled_weights(trained.weights, ann_conversion.scales(trained, x, 100.0))
    errors = []
    passes = ann_conversion.run_converted(trained, weights, x, Conversion(100.0, "subtract", 0.0), 1000)
    for step, (sums, _) in enumerate(passes, start=1):
        errors.append(np.abs(sums / step - trained.activations(x)[-1]).max())
    assert errors[-1] < 0.02 < 0.2 < errors[4]


def test_measure_counts_all_test_pictures_and_spikes_grow_with_steps(trained: ReluNetwork) -> None:
    rows = ann_conversion.measure(trained, SmallTask(), Conversion(99.9, "subtract", 0.5), (1, 5, 50))
    assert [row["steps"] for row in rows] == [1, 5, 50]
    spikes = [row["spikes_a_picture"] for row in rows]
    assert 0 < spikes[0] < spikes[1] < spikes[2]
    assert 0.98 < rows[-1]["accuracy"] <= 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((0.0, "zero", 0.0), "scale"),
        ((101.0, "zero", 0.0), "scale"),
        ((99.0, "one", 0.0), "reset"),
        ((99.0, "zero", -1.0), "start"),
    ],
)
def test_conversion_checks_its_arguments(arguments: tuple[Any, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Conversion(*arguments)


def test_the_weights_of_the_best_the_last_and_the_chosen_epoch_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    accuracies = iter([(0.5, 0.8), (0.9, 0.7), (0.7, 0.6)])
    seen: list[np.ndarray] = []

    def run_epoch(trainer: Trainer) -> dict[str, Any]:
        trainer.network.weights[0] += 1.0
        seen.append(trainer.network.weights[0].copy())
        test, held_out = next(accuracies)
        return {"epoch": len(seen), "test_accuracy": test, "validation_accuracy": held_out}

    monkeypatch.setattr(Trainer, "run_epoch", run_epoch)
    row = SimpleNamespace(network=lambda seed, n_threads: network(), batch_size=20, learning_rate=1e-3)
    _, kept = ann_conversion.train_ann(row, SmallTask(), 3, 0, show_progress=False)  # type: ignore[arg-type]
    assert {name: epoch.accuracy for name, epoch in kept.items()} == {"best": 0.9, "last": 0.7, "chosen": 0.5}
    for name, number in (("best", 1), ("last", 2), ("chosen", 0)):
        assert np.array_equal(kept[name].weights[0], seen[number])


def test_command_without_runs_or_data_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table.csv"
    assert ann_conversion.main(["--tsslbp", str(tmp_path), "--out", str(out), "--quiet"]) == 2
    assert ann_conversion.main(["--data", str(tmp_path / "none"), "--out", str(out), "--quiet"]) == 2
    assert ann_conversion.main(["--epochs", "0", "--out", str(out)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 3
    assert str(tmp_path) in errors[0]
    assert "epochs" in errors[2]
    assert not out.exists()


@pytest.mark.parametrize(
    ("table", "measure"),
    [("ann-conversion", "best"), *(("ann-conversion-held-out", measure) for measure in ann_conversion.JUDGES)],
)
def test_committed_table_is_whole(table: str, measure: str) -> None:
    every = read(RESULTS / f"{table}.csv")
    assert tuple(every[0]) == ann_conversion.HEADER
    rows = [row for row in every if row["measure"] == measure or row["method"] == "tsslbp-released"]
    for conversion in ann_conversion.CONVERSIONS:
        key = (f"{conversion.scale:g}", conversion.reset, f"{conversion.start:g}")
        mine = [row for row in rows if (row["scale"], row["reset"], row["start"]) == key]
        assert [int(row["steps"]) for row in mine] == list(ann_conversion.STEPS)
        spikes = [float(row["spikes_a_picture"]) for row in mine]
        assert spikes == sorted(spikes)
    assert sum(row["method"] == "ann" for row in rows) == 1
    assert sum(row["method"] == "tsslbp-released" for row in rows) >= 1


# ---------------------------------------------------------------------------------------------------------------------
# The figure of the ablation, on made-up numbers
# ---------------------------------------------------------------------------------------------------------------------


def ablation(path: Path, epochs: dict[tuple[str, str], int]) -> Path:
    lines = ["experiment,rule,run,epoch,train_loss,train_accuracy,test_accuracy,seconds,samples_per_second"]
    for (rule, run), n in epochs.items():
        lines += [f"{fig26.EXPERIMENT},{rule},{run},{epoch},1,0.5,{0.8 + epoch / 100},1,1" for epoch in range(1, n + 1)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_fig26_takes_only_seeds_that_both_rules_have_finished(tmp_path: Path) -> None:
    epochs = {("released", "seed0"): 3, ("surrogate", "seed0"): 3, ("released", "seed1"): 3, ("surrogate", "seed1"): 2}
    epochs[("literal", "seed0")] = 5
    table = ablation(tmp_path / "ablation.csv", epochs)
    found = fig26.measure(table)
    assert {rule: list(runs) for rule, runs in found.items()} == {"released": ["seed0"], "surrogate": ["seed0"]}
    assert found["released"]["seed0"] == pytest.approx([81.0, 82.0, 83.0])
    assert fig26.plot(tmp_path, table).exists()
    assert len(read(tmp_path / "fig26_surrogate_bptt.csv")) == 6


def test_fig26_without_a_pair_of_runs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold a finished run"):
        fig26.measure(ablation(tmp_path / "ablation.csv", {("released", "seed0"): 3}))

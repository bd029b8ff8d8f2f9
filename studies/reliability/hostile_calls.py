"""Hostile arguments: specs, command lines, arrays. Makers as in `hostile_files`."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from studies.reliability.damage import broken_text, hostile_array, hostile_value
from studies.reliability.hostile_files import Attempt, Maker
from tsslbp_ref.cli import main
from tsslbp_ref.model import reference
from tsslbp_ref.model.losses import LOSSES
from tsslbp_ref.model.spec import layers_from_spec

SPECS = ("15C5-P2-40C5-P2-300", "400-400", "12C5-P2", "", "P2", "3C3-P2-10", "4C1", "1")
SPEC_ALPHABET = "0123456789CP- cp.x,\n٣"
LINES = (
    "train nothing", "train list --toml mnist-15c5-40c5-300",
    "train fashion-mnist-400-400 --data none --no-download", "train my.toml --epochs 1 --resume",
    "train list --state june-2020 --seed 3", "train n-mnist-12c5-64c5-t30 --data none", "check --list term-*",
    "check number-rise term-psc-kernel", "check --list --engine engine-*", "results none",
    "results . --csv out.csv", "predict net.npz x.npy", "predict net.npz x.npy --output y.npy",
    "conformance compare mine.npz", "conformance compare mine.npz --layout BNT --json",
    "demo --data none --no-download --epochs", "explore --save", "--version", "train --help",
    "train mnist-15c5-40c5-300 --seeds 0-4 --data none --no-download --threads 1",
)  # fmt: skip
WORDS = (
    "", "-", "--", "-1", "0", "1e9", "99999999999999999999", "nan", "--seed", "--seeds", "0-", "4-0", "0,0",
    "--runs", "\0", "--data", "--threads", "--rule", "literal", "--loss", "softmax", "--state", "../..",
    "/dev/null", "a\nb", "\ud800", "é" * 300, "--held-out", "--epochs", "--resume", "--toml", "-h", "--no-such",
    "=", "--epochs=1", "x" * 5000, "\x1b[31m", "my.toml",
)  # fmt: skip
TRAIN_FOR_LONG = ("yin-yang", "demo")  # what a broken line could ask for by chance and be right
OK_STATUSES = (0, 1, 2)


def spec(rng: np.random.Generator, folder: Path) -> Attempt:
    """A spec, a shape and numbers, for a network that is run once if it is small."""
    text: object = SPECS[rng.integers(len(SPECS))]
    if rng.random() < 0.8:
        text = broken_text(str(text), rng, SPEC_ALPHABET)
    if rng.random() < 0.05:
        text = hostile_value(rng)
    shape: object = [(1, 8, 8), (2, 34, 34), (7,), (1, 1, 1)][rng.integers(4)]
    classes, steps = (hostile_value(rng) if rng.random() < 0.15 else int(rng.integers(1, 6)) for _ in range(2))
    shape = hostile_value(rng) if rng.random() < 0.1 else shape
    options = {
        name: hostile_value(rng) for name in ("padding", "dropout", "weight_scale", "seed") if rng.random() < 0.1
    }

    def attempt() -> None:
        layers = layers_from_spec(
            text, shape, classes, **{k: options[k] for k in options if k in ("padding", "dropout")}
        )
        if sum(int(np.prod(layer.weight_shape)) for layer in layers if layer.weight_shape) < 10**6:
            net = tr.Network.from_spec(text, shape, classes, steps, n_threads=1, **options)
            if steps < 10:
                assert net.predict(np.zeros((1, *net.input_shape))).shape == (1,)

    return attempt


def command_line(rng: np.random.Generator, folder: Path) -> Attempt:
    """A line for `tsslbp-ref`, whose words are others, missing or more."""
    words = LINES[rng.integers(len(LINES))].split()
    for _ in range(int(rng.integers(1, 4))):
        where = int(rng.integers(len(words) + 1))
        match int(rng.integers(4)):
            case 0:
                del words[where : where + 1]
            case 1:
                words[where : where + 1] = [WORDS[rng.integers(len(WORDS))]]
            case 2:
                words.insert(where, WORDS[rng.integers(len(WORDS))])
            case _ if where < len(words):
                words[where] = broken_text(words[where], rng, "abz-= 019.\n")
    if words[:1] == ["check"] and "--list" not in words:
        words.append("--list")  # a check of all takes its time
    if any(word in TRAIN_FOR_LONG for word in words):
        words.append("--no-such-option")
    (folder / "my.toml").write_text('[network]\nspec = "12"\n')

    def attempt() -> None:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main(words)
            except SystemExit as stop:  # --help and --version
                status = int(stop.code or 0)
        assert status in OK_STATUSES, f"status {status}"
        lines = err.getvalue().splitlines()
        assert all(line.startswith("tsslbp-ref: ") for line in lines), err.getvalue()
        assert status == 0 or lines or out.getvalue()
        if status:
            raise ValueError(lines[-1] if lines else "failed")

    return attempt


def arrays(rng: np.random.Generator, folder: Path) -> Attempt:
    """Arrays for the neuron, its backward pass, the losses and a network."""
    T, B, N = (int(rng.integers(1, 5)) for _ in range(3))
    neuron, rule = tr.NeuronParameters(), tr.GradientRule()
    twin = tr if rng.random() < 0.6 else reference
    first, second = hostile_array(rng, (T, B, N)), hostile_array(rng, (T, B, N))
    X, y = hostile_array(rng, (6, 5)), hostile_array(rng, (6,)) if rng.random() < 0.5 else np.arange(6) % 3
    loss = str(rng.choice(list(LOSSES)))
    which = int(rng.integers(4))

    def attempt() -> None:
        net = tr.Network.from_spec("4", (5,), 3, 3, n_threads=1, dtype="float64")
        if which == 0:
            _finite(twin.lif_forward(first, neuron).u)
        elif which == 1:
            trace = twin.lif_forward(np.abs(np.random.default_rng(0).normal(size=(T, B, N))), neuron)
            _finite(twin.tsslbp_backward(second, trace, neuron, rule))
        elif which == 2:
            value, gradients = net.loss_and_gradients(X, y, loss)
            _finite(value, *gradients)
        else:
            tr.fit(net, X, y, epochs=1, batch_size=4, progress=False)
            _finite(*net.weights)

    return attempt


def load_loops() -> None:
    """Call with sound arrays what `arrays` calls with hostile ones, so that no compilation counts as theirs."""
    neuron, rule = tr.NeuronParameters(), tr.GradientRule()
    for dtype in ("float32", "float64"):
        x = np.ones((2, 2, 2), dtype)
        for one in (x, x[::-1], np.asfortranarray(x)):
            tr.tsslbp_backward(one, tr.lif_forward(one, neuron), neuron, rule)
    net = tr.Network.from_spec("4", (5,), 3, 3, n_threads=1, dtype="float64")
    for loss in set(LOSSES) - {"spike-train"}:
        net.loss_and_gradients(np.ones((6, 5)), np.arange(6) % 3, loss)
    for spec, shape in (("3C3-P2-10", (1, 8, 8)), ("4", (7,)), ("P2", (2, 34, 34))):
        tr.Network.from_spec(spec, shape, 3, 3, n_threads=1).predict(np.zeros((1, *shape)))
    for X in (np.ones((6, 5)), np.ones((3, 6, 5)), np.ones((3, 6, 5), int)):
        tr.fit(net, X, np.arange(6) % 3, epochs=1, batch_size=4, progress=False)


def _finite(*values: object) -> None:
    for value in values:
        assert np.isfinite(np.asarray(value, float)).all(), "a number that is not finite"


CALLS: dict[str, Maker] = {"spec": spec, "command line": command_line, "arrays": arrays}

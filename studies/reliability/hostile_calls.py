"""Hostile arguments: specs and command lines, by makers as in `hostile_files`; arrays, which Hypothesis draws."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np

import tsslbp_ref as tr
from studies.reliability import second_readings
from studies.reliability.damage import VALUES, broken_text, hostile_value
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
TWINS = (tr, reference)
USUAL = ("f8", "f8", "f4", "f4", "f2", "i8", "u1", "?")  # dtypes that the package takes


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
        shapes = [layer.weight_shape for layer in layers if layer.weight_shape]
        second_readings.spec(str(text), shape, classes, options.get("padding", 0), shapes)
        if sum(int(np.prod(shape)) for shape in shapes) < 10**6:
            net = tr.Network.from_spec(text, shape, classes, steps, n_threads=1, **options)
            assert [W.shape for W in net.weights] == shapes
            if steps < 10:  # no input, no spike: of equal sums the lowest
                assert net.predict(np.zeros((1, *net.input_shape))).tolist() == [0]

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


# ---------------------------------------------------------------------------------------------------------------------
# Arrays
# ---------------------------------------------------------------------------------------------------------------------


def drawn(strategy: st.SearchStrategy[Attempt], seed: int, n: int) -> list[Attempt]:
    """So many attempts as Hypothesis draws them: with one version of it and of this code, a function of the seed."""
    found: list[Attempt] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=n,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def draw(attempt: Attempt) -> None:
        found.append(attempt)

    draw()
    assert len(found) == n
    return found


@st.composite
def hostile_arrays(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """An array, or something in its place, of about a shape: other axes, types, layouts and numbers."""
    odd = draw(st.integers(0, 19))
    if odd == 0:
        return copy.deepcopy(draw(st.sampled_from(VALUES)))
    axes = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7)) if odd == 1 else shape
    dtype = draw(hnp.scalar_dtypes() if odd < 5 else st.sampled_from([np.dtype(name) for name in USUAL]))
    array = draw(hnp.arrays(dtype, axes, elements=draw(_elements(dtype))))
    return draw(st.sampled_from(LAYOUTS))(array)


def _elements(dtype: np.dtype[Any]) -> st.SearchStrategy[st.SearchStrategy[Any]]:
    """How the numbers of an array are drawn: as they mostly are, or all that the dtype has."""
    everything = hnp.from_dtype(dtype)
    if dtype.kind in "iu":
        return st.sampled_from([st.integers(0, 2), st.integers(0, 2), everything])
    if dtype.kind != "f":
        return st.just(everything)
    usual = hnp.from_dtype(dtype, min_value=-2.0, max_value=4.0)
    finite = hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
    return st.sampled_from([usual, usual, usual, finite, everything])


LAYOUTS: tuple[Callable[[np.ndarray], Any], ...] = (
    lambda array: array,
    lambda array: array[::-1] if array.ndim else array,
    lambda array: np.repeat(array, 2, axis=-1)[..., ::2] if array.ndim else array,
    np.asfortranarray,
    lambda array: np.broadcast_to(array[:1], array.shape) if len(array.shape) and len(array) else array,
    lambda array: array.astype(array.dtype.newbyteorder("S")),
    lambda array: array.astype(object),
    lambda array: array.tolist(),
    lambda array: [array.tolist(), [1.0]],
    lambda array: np.ma.masked_where(array == array.flat[0], array) if array.size else array,
)


def _network() -> tr.Network:
    return tr.Network.from_spec("4", (5,), 3, 3, n_threads=1, dtype="float64", weight_scale=3.0)


@st.composite
def forward(draw: st.DrawFn) -> Attempt:
    """A weighted input for the neurons, by the loops or the sweeps."""
    twin, I = draw(st.sampled_from(TWINS)), draw(SIZES.flatmap(hostile_arrays))
    neuron = tr.NeuronParameters()
    return lambda: second_readings.forward(I, neuron, twin.lif_forward(I, neuron))


@st.composite
def backward(draw: st.DrawFn) -> Attempt:
    """A gradient of the PSC for a sound trace."""
    twin, shape, seed = draw(st.sampled_from(TWINS)), draw(SIZES), draw(st.integers(0, 99))
    g, neuron, rule = draw(hostile_arrays(shape)), tr.NeuronParameters(), tr.GradientRule()
    trace = tr.lif_forward(np.abs(np.random.default_rng(seed).normal(size=shape)), neuron)
    return lambda: second_readings.backward(g, trace, neuron, rule, twin.tsslbp_backward(g, trace, neuron, rule))


@st.composite
def gradients(draw: st.DrawFn) -> Attempt:
    """Samples and labels, or trains, for a loss and its gradients."""
    loss, X = draw(st.sampled_from(list(LOSSES))), draw(SAMPLES)
    y = draw(hostile_arrays((3, 6, 3)) if loss == "spike-train" else TARGETS)

    def attempt() -> None:
        net = _network()
        second_readings.gradients(net, X, y, loss, *net.loss_and_gradients(X, y, loss))

    return attempt


@st.composite
def fit(draw: st.DrawFn) -> Attempt:
    """Samples and labels to train on."""
    X, y = draw(SAMPLES), draw(TARGETS)
    settings = {"epochs": 1, "batch_size": 4, "progress": False}

    def attempt() -> None:
        net = _network()
        history = tr.fit(net, X, y, **settings)
        second_readings.fitted(_network(), X, y, settings, net, history)

    return attempt


SIZES = st.tuples(*(st.integers(1, 4) for _ in range(3)))
SAMPLES = hostile_arrays((6, 5)) | hostile_arrays((3, 6, 5))
TARGETS = st.one_of(*(st.just(np.arange(6) % 3) for _ in range(3)), hostile_arrays((6,)))


def load_loops() -> None:
    """Call with sound arrays what is called with hostile ones, so that no compilation counts as theirs."""
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


CALLS: dict[str, Maker] = {"spec": spec, "command line": command_line}
DRAWN: dict[str, st.SearchStrategy[Attempt]] = {"arrays": st.one_of(forward(), backward(), gradients(), fit())}

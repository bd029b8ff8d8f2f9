"""The random inputs of each golden file, and what the authors' code makes of them.

The order of the draws decides the numbers, so it stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from tools.golden.authors import Array, Authors

LONG_TRAIN = 10  # steps from which on the code's desired train is 0, 1 repeated
TRAIN_01011, TRAIN_01111 = [0, 1, 0, 1, 1], [0, 1, 1, 1, 1]
WEIGHT_MEAN, WEIGHT_STD = 0.9, 2.2  # times 1 / sqrt(fan_in)
COUNTS = {"desired_count": 4, "undesired_count": 1}


class LayerCase(NamedTuple):
    """A layer of B samples, N neurons, T steps: its constants, mean and standard deviation of its weighted input."""

    B: int
    N: int
    T: int
    tau_m: float
    tau_s: float
    threshold: float
    mean: float
    std: float


class Recorder:
    """Draws inputs from a seed, runs the authors' code on them and keeps all arrays, named as in the golden files."""

    def __init__(self, authors: Authors, seed: int, train: list[int]) -> None:
        self.authors = authors
        self.rng = np.random.default_rng(seed)
        self.train = train
        self.arrays: dict[str, Any] = {}

    def layer(self, name: str, I: Array, tau_m: float, tau_s: float, threshold: float) -> None:
        """Forward, and backward from a normal dL/da; I is (B, N, 1, 1, T)."""
        a, x = self.authors.layer(I, tau_m, tau_s, threshold)
        g = self.rng.normal(0, 1, I.shape)
        a.backward(self.authors.torch.tensor(g))
        for key, value in {"I": I, "a": a.detach().numpy(), "g": g, "dI": x.grad.numpy()}.items():
            self.arrays[f"{name}_{key}"] = _steps_first(value)
        self.arrays[f"{name}_par"] = np.array([tau_m, tau_s, threshold])

    def layers(self, cases: Iterable[LayerCase]) -> None:
        """Layers `layer0` on, of normal weighted input."""
        for number, case in enumerate(cases):
            I = self.rng.normal(case.mean, case.std, (case.B, case.N, 1, 1, case.T))
            self.layer(f"layer{number}", I, case.tau_m, case.tau_s, case.threshold)

    def losses(self, B: int = 4, n: int = 10, T: int = 5, tau_s: float = 3.0) -> None:
        """The three losses on one uniform output PSC."""
        self.authors.start(T, tau_s)
        output, y = self.rng.uniform(0, 0.8, (B, n, 1, 1, T)), self.rng.integers(0, n, B)
        self.arrays |= {"loss_a": _steps_first(output), "loss_y": y}
        config = {"n_steps": T, "tau_s": tau_s, "tau_m": 5.0} | COUNTS
        for name in ("kernel", "count", "softmax"):
            a = self.authors.torch.tensor(output, requires_grad=True)
            loss = self.authors.loss(name, a, y, config, self.train)
            loss.backward()
            self.arrays |= {f"loss_{name}": np.array(loss.item()), f"loss_{name}_da": _steps_first(a.grad.numpy())}

    def network(
        self, name: str, layers: dict[str, Any], input_shape: list[int], B: int, T: int, tau_m: float, tau_s: float,
        *, loss: str = "kernel", x: Array | None = None, gain: float = 1.0, mean: float = WEIGHT_MEAN,
    ) -> None:  # fmt: skip
        """A whole network; x is (B, C, H, W), or spike trains with time as the last axis, or drawn here."""
        torch, rng = self.authors.torch, self.rng
        config = {"n_steps": T, "tau_m": tau_m, "tau_s": tau_s, "model": "LIF", "rule": "TSSLBP"} | COUNTS
        network = self.authors.network(config, layers, input_shape)
        weights = [W for W in network.get_parameters() if W.requires_grad]
        for i, W in enumerate(weights):
            W.data = torch.tensor(rng.normal(mean * gain, WEIGHT_STD * gain, W.shape) / math.sqrt(np.prod(W.shape[1:])))
            self.arrays[f"{name}_W{i}"] = _without_time(W.data.numpy().copy())
        x = rng.normal(0.6, 1, (B, *input_shape)) if x is None else x
        y = rng.integers(0, layers["output"]["n_outputs"], B)
        static = x.ndim == 4
        shown = torch.tensor(x).unsqueeze(-1).repeat(1, 1, 1, 1, T) if static else torch.tensor(x)
        a = network.forward(shown, 0, True)
        train = [0, 1] * (T // 2) if T >= LONG_TRAIN else self.train
        value = self.authors.loss(loss, a, y, config, train)
        value.backward()
        self.arrays |= {
            f"{name}_x": x if static else x.transpose(4, 0, 1, 2, 3),
            f"{name}_y": y,
            f"{name}_loss": np.array(value.item()),
            f"{name}_a": _steps_first(a.detach().numpy()),
            f"{name}_par": np.array([T, tau_m, tau_s]),
        }
        self.arrays |= {f"{name}_dW{i}": _without_time(W.grad.numpy()) for i, W in enumerate(weights)}


def _steps_first(x: Array) -> Array:
    """(B, N, 1, 1, T) as (T, B, N)."""
    return x.reshape(*x.shape[:2], x.shape[-1]).transpose(2, 0, 1)


def _without_time(W: Array) -> Array:
    """A convolution's weights (F, C, k, k, 1) as (F, C, k, k)."""
    return W.squeeze(-1) if W.ndim == 5 else W


def _dense(n_in: int, n_out: int) -> dict[str, Any]:
    return {"type": "linear", "n_inputs": n_in, "n_outputs": n_out, "threshold": 1}


def _conv(n_in: int, n_out: int, size: int, padding: int) -> dict[str, Any]:
    sizes = {"in_channels": n_in, "out_channels": n_out, "kernel_size": size, "padding": padding}
    return {"type": "conv", **sizes, "threshold": 1}


POOL = {"type": "pooling", "kernel_size": 2}
DENSE = {"h1": _dense(12, 9), "h2": _dense(9, 8), "output": _dense(8, 4)}
DENSE_TWO = {"h1": _dense(12, 9), "output": _dense(9, 4)}
CNN = {"c1": _conv(2, 3, 3, 1), "p1": POOL, "c2": _conv(3, 4, 3, 0), "fc": _dense(16, 6), "output": _dense(6, 3)}
EVENT_CNN = {"c1": _conv(2, 3, 3, 1), "p1": POOL, "c2": _conv(3, 4, 2, 0), "output": _dense(36, 3)}
FLAT, IMAGE = [1, 3, 4], [2, 8, 8]


def released_code_vectors(r: Recorder) -> None:
    """Layers, losses and networks with the kernel loss."""
    r.layers([
        LayerCase(3, 7, 5, 5.0, 3.0, 1.0, 0.25, 1.0),
        LayerCase(2, 5, 30, 8.0, 4.0, 1.0, 0.15, 0.6),
        LayerCase(2, 4, 100, 5.0, 3.0, 0.5, 0.1, 0.4),
        LayerCase(1, 6, 12, 20.0, 10.0, 1.0, 0.125, 0.5),
    ])  # fmt: skip
    r.losses()
    r.network("dense", DENSE, FLAT, 3, 5, 5.0, 3.0)
    r.network("dense20", DENSE_TWO, FLAT, 2, 20, 8.0, 4.0)
    r.network("cnn", CNN, IMAGE, 2, 5, 5.0, 3.0)


def released_code_more(r: Recorder) -> None:
    """Ties at the threshold and the gate, clipped spikes; networks on events, with count and softmax, and slow ones."""
    rng = r.rng
    r.layer("ties", rng.integers(-2, 8, (4, 9, 12)).reshape(4, 9, 1, 1, 12) / 8.0, 2.0, 2.0, 1.0)
    r.layer("clipped", rng.normal(0.08, 0.03, (3, 8, 60)).reshape(3, 8, 1, 1, 60), 20.0, 4.0, 1.0)
    events = (rng.random((3, *IMAGE, 12)) < 0.25).astype(float)
    r.network("events_count", EVENT_CNN, IMAGE, 3, 12, 8.0, 4.0, loss="count", x=events, gain=1.6)
    x = rng.normal(0.6, 1, (3, *FLAT))
    r.network("softmax7", DENSE_TWO, FLAT, 3, 7, 5.0, 3.0, loss="softmax", x=x)
    x = rng.normal(0.3, 0.3, (2, *FLAT))
    r.network("slow_kernel", DENSE, FLAT, 2, 40, 20.0, 6.0, x=x, gain=0.35, mean=1.2)


def code_of_2020(r: Recorder) -> None:
    """Layers and networks on both sides of the warm-up's switch."""
    r.arrays["train"] = np.array(r.train)
    r.layers([
        LayerCase(5, 7, 5, 5.0, 2.0, 1.0, 0.45, 1.0),
        LayerCase(5, 5, 30, 8.0, 4.0, 1.0, 0.2, 0.6),
        LayerCase(5, 4, 40, 5.0, 3.0, 0.5, 0.2, 0.4),
        LayerCase(5, 6, 12, 20.0, 10.0, 1.0, 0.02, 0.22),
    ])  # fmt: skip
    r.network("dense", DENSE, FLAT, 5, 5, 5.0, 2.0)
    r.network("dense20", DENSE_TWO, FLAT, 5, 20, 8.0, 4.0, gain=0.8)
    r.network("quiet", DENSE, FLAT, 5, 5, 5.0, 2.0, gain=0.55)
    r.network("cnn", CNN, IMAGE, 5, 5, 5.0, 2.0)


class GoldenFile(NamedTuple):
    """What makes one file: the authors' commit, the seed of the inputs, the short desired train of that day."""

    commit: str
    seed: int
    train: list[int]
    recipe: Callable[[Recorder], None]


FILES = {
    "released_code_vectors": GoldenFile("ffaac71", 20, TRAIN_01111, released_code_vectors),
    "released_code_more": GoldenFile("ffaac71", 311, TRAIN_01111, released_code_more),
    "code_of_june_2020": GoldenFile("d0a06b7", 301, TRAIN_01011, code_of_2020),
    "code_of_september_2020": GoldenFile("6e40449", 302, TRAIN_01011, code_of_2020),
    "code_of_november_2020": GoldenFile("f9ab4b4", 303, TRAIN_01111, code_of_2020),
}

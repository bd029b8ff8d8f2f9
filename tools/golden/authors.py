"""The authors' code, imported from a checkout that the caller names, on the CPU and in float64."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NEEDED = ("global_v.py", "cnns.py", "functions/loss_f.py")
RELEASED_MODULE, FIRST_MODULE = "tsslbp", "TSSLBP"  # of the rule, since and before 2021


def checked_checkout(checkout: Path, commit: str) -> Path:
    """Return the checkout's path if the commit's files are there.

    Raises
    ------
    FileNotFoundError
        If a file of the authors' code is missing.
    ValueError
        If the folder is a git work tree of another commit; a folder without git is believed.
    """
    for name in NEEDED:
        if not (checkout / name).is_file():
            raise FileNotFoundError(f"CHECKOUT must hold the authors' code: there is no {checkout / name}")
    if (checkout / ".git").exists():
        command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        if not found.startswith(commit):
            raise ValueError(f"CHECKOUT must be at commit {commit}, got {found[:7]}: git checkout {commit}")
    return checkout.resolve()


def stay_on_the_cpu(torch: Any) -> None:
    """Let the code's calls of cuda() and its casts to float32 change nothing."""
    cast = torch.Tensor.type
    torch.set_default_dtype(torch.float64)
    torch.Tensor.cuda = torch.nn.Module.cuda = lambda self, *args, **kwargs: self

    def double(tensor: Any, dtype: Any = None, **kwargs: Any) -> Any:
        if dtype is None:
            return cast(tensor)
        return cast(tensor, torch.float64 if dtype is torch.float32 else dtype, **kwargs)

    torch.Tensor.type = double


class Authors:
    """What the golden numbers need of the authors' code: a layer of neurons, the losses, whole networks.

    Parameters
    ----------
    checkout : Path
        From `checked_checkout`. One process can import one checkout.

    Raises
    ------
    ImportError
        If PyTorch, or a package that the checkout imports, is missing.
    """

    def __init__(self, checkout: Path) -> None:
        sys.path.insert(0, str(checkout))
        self.torch: Any = importlib.import_module("torch")
        stay_on_the_cpu(self.torch)
        self._globals: Any = importlib.import_module("global_v")
        self._losses: Any = importlib.import_module("functions.loss_f")
        self._networks: Any = importlib.import_module("cnns")
        self.released = (checkout / "functions" / f"{RELEASED_MODULE}.py").is_file()
        module: Any = importlib.import_module(f"functions.{RELEASED_MODULE if self.released else FIRST_MODULE}")
        self._rule = module.TSSLBP if self.released else module.PSP_spike_large_batch

    def start(self, n_steps: int, tau_s: float) -> None:
        """Set the code's global constants."""
        if self.released:
            self._globals.init(n_steps, tau_s)
        else:
            self._globals.init(self.torch.float64, self.torch.device("cpu"), n_steps, tau_s)

    def layer(self, I: Array, tau_m: float, tau_s: float, threshold: float) -> tuple[Any, Any]:
        """PSC tensor and weighted input tensor of a layer; both are (B, N, 1, 1, T)."""
        T = I.shape[-1]
        self.start(T, tau_s)
        x = self.torch.tensor(I, requires_grad=True)
        a = self._rule.apply(x, {"tau_m": tau_m, "tau_s": tau_s, "n_steps": T}, {"threshold": threshold})
        return a, x

    def network(self, config: Mapping[str, Any], layers: Mapping[str, Any], input_shape: list[int]) -> Any:
        """A network, built without its prints."""
        self.start(config["n_steps"], config["tau_s"])
        with contextlib.redirect_stdout(io.StringIO()):
            return self._networks.Network(config, layers, input_shape)

    def loss(self, name: str, a: Any, y: Array, config: Mapping[str, Any], train: list[int]) -> Any:
        """The loss tensor of an output PSC (B, n, 1, 1, T)."""
        torch, loss = self.torch, self._losses.SpikeLoss(config)
        B, n, T = a.shape[0], a.shape[1], a.shape[-1]
        if name == "softmax":
            return loss.spike_soft_max(a, torch.tensor(y))
        if name == "count":
            counts = torch.full((B, n, 1, 1), float(config["undesired_count"]))
            counts[np.arange(B), y] = config["desired_count"]
            return loss.spike_count(a, counts, config, {})
        spikes = torch.tensor(train, dtype=torch.float64).view(1, 1, 1, 1, T)
        target = torch.zeros(B, n, 1, 1, T)
        target[np.arange(B), y] = self._losses.psp(spikes, config).view(1, 1, 1, T)
        return loss.spike_kernel(a, target, config)

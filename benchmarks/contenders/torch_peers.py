"""snntorch, spikingjelly and norse, each in its documented way of training, plain and under torch.compile.

All get what a careful user would give them: one product over all time steps where the library takes sequences, and a
static image through its first layer once. Dropout draws a mask for all time steps, as ours does. The loss is the
cross-entropy of the summed output spikes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.contenders import Contender, Step
from benchmarks.workloads import N_CLASSES, Workload
from tsslbp_ref.model.layers import Conv2d, Dropout, SumPool2d
from tsslbp_ref.model.spec import layers_from_spec

LEARNING_RATE = 5e-4


def training_step(workload: Workload, contender: Contender) -> Step:
    """Make the step of the library that the contender's name opens with."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(contender.threads)
    torch.manual_seed(0)
    x, y = (torch.from_numpy(array) for array in workload.inputs())
    x = x.float()
    library, *mode = contender.name.split()
    network: Any = LIBRARIES[library](workload)
    run = torch.compile(network) if mode else network
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)

    def step() -> float:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(run(x), y)
        loss.backward()
        optimiser.step()
        return float(loss)

    return step


def linear_maps(workload: Workload) -> list[tuple[nn.Module, bool]]:
    """The workload's layers for (M, ...) tensors, and whether neurons follow."""
    maps: list[tuple[nn.Module, bool]] = []
    layers = layers_from_spec(
        workload.spec, workload.input_shape, N_CLASSES, padding=workload.paddings, dropout=workload.dropout
    )
    for layer in layers:
        if isinstance(layer, Conv2d):
            channels, sizes = layer.input_shape[0], (layer.n_filters, layer.kernel_size)
            maps.append((nn.Conv2d(channels, *sizes, padding=layer.padding, bias=False), True))
        elif isinstance(layer, Dropout):
            maps.append((_SameMask(layer.rate, (workload.batch, *layer.input_shape)), False))
        elif isinstance(layer, SumPool2d):
            maps.append((nn.AvgPool2d(layer.size), False))
        else:
            flat = nn.Sequential(nn.Flatten(), nn.Linear(layer.fan_in, layer.output_shape[0], bias=False))
            maps.append((flat, True))
    return maps


class _SameMask(nn.Module):
    """Dropout with one mask (B, ...) for all time steps."""

    def __init__(self, rate: float, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.rate, self.shape = rate, shape

    def draw(self) -> torch.Tensor:
        """0 or 1 / (1 - rate), (B, ...)."""
        return nn.functional.dropout(torch.ones(self.shape), self.rate)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A whole sequence (T * B, ...) under a new mask."""
        return (x.unflatten(0, (-1, self.shape[0])) * self.draw()).flatten(0, 1)


class Sequences(nn.Module):
    """Maps over all time steps at once, neurons over the sequence: `neurons` makes a module (T, B, ...) -> same."""

    def __init__(self, workload: Workload, neurons: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.n_steps, self.static = workload.n_steps, workload.density is None
        maps = linear_maps(workload)
        self.maps = nn.ModuleList(module for module, _ in maps)
        self.neurons = nn.ModuleList(neurons() if spiking else nn.Identity() for _, spiking in maps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Summed output spikes (B, classes)."""
        for index, (linear, neurons) in enumerate(zip(self.maps, self.neurons, strict=True)):
            if index == 0 and self.static:
                I = linear(x)
                x = I.unsqueeze(0).expand(self.n_steps, *I.shape)
            else:
                flat = linear(x.flatten(0, 1))
                x = flat.reshape(self.n_steps, -1, *flat.shape[1:])
            x = neurons(x)
        return x.sum(0)


class _SpikingjellyNeurons(nn.Module):
    """A multi-step LIF layer that starts every sequence anew."""

    def __init__(self, tau: float) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron, surrogate

        self.lif = neuron.LIFNode(tau, surrogate_function=surrogate.ATan(), detach_reset=True, step_mode="m")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Spikes of the sequence."""
        self.lif.reset()
        return self.lif(x)


class _NorseNeurons(nn.Module):
    """A LIF layer over a sequence: current, membrane and reset."""

    def __init__(self, tau_m: float, tau_s: float) -> None:
        super().__init__()
        from norse.torch import LIF, LIFParameters

        step = 0.001  # norse's own, in seconds
        inverse = [torch.tensor(1.0 / (tau * step)) for tau in (tau_m, tau_s)]
        self.lif = LIF(LIFParameters(tau_mem_inv=inverse[0], tau_syn_inv=inverse[1]), dt=step)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Spikes of the sequence."""
        return self.lif(x)[0]


class _Snntorch(nn.Module):
    """The library's loop over time: every layer's step, then the next time step."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        import snntorch

        self.n_steps, self.static = workload.n_steps, workload.density is None
        maps = linear_maps(workload)
        beta = 1.0 - 1.0 / workload.tau_m
        self.maps = nn.ModuleList(module for module, _ in maps)
        self.spiking = [spiking for _, spiking in maps]
        self.neurons = nn.ModuleList(
            snntorch.Leaky(beta=beta, reset_mechanism="zero") if spiking else nn.Identity() for _, spiking in maps
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Summed output spikes (B, classes)."""
        membranes = [neurons.reset_mem() if spiking else None for neurons, spiking in self._layers()]
        masks = [module.draw() if isinstance(module, _SameMask) else None for module in self.maps]
        shown = self.maps[0](x) if self.static else None
        total: Any = 0.0
        for t in range(self.n_steps):
            signal = x if self.static else x[t]
            for index, (neurons, spiking) in enumerate(self._layers()):
                if index == 0 and shown is not None:
                    signal = shown
                else:
                    mask = masks[index]
                    signal = self.maps[index](signal) if mask is None else mask * signal
                if spiking:
                    signal, membranes[index] = neurons(signal, membranes[index])
            total = total + signal
        return total

    def _layers(self) -> list[tuple[Any, bool]]:
        return list(zip(self.neurons, self.spiking, strict=True))


LIBRARIES: dict[str, Callable[[Workload], nn.Module]] = {
    "snntorch": _Snntorch,
    "spikingjelly": lambda workload: Sequences(workload, lambda: _SpikingjellyNeurons(workload.tau_m)),
    "norse": lambda workload: Sequences(workload, lambda: _NorseNeurons(workload.tau_m, workload.tau_s)),
}

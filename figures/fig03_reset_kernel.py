"""The reset as a kernel: a spike takes its own height away from the membrane; what is missing fades with the leak."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tsslbp_ref as tr
from figures import style
from tsslbp_ref import plots
from tsslbp_ref.model import reference, terms

TITLE = "A reset is a kernel: membrane without reset + one negative,\nleaking kernel a spike = membrane with reset"
NEURON = tr.NeuronParameters(tau_m=8.0, tau_s=4.0, threshold=1.0)
NEVER_FIRES = tr.NeuronParameters(tau_m=8.0, tau_s=4.0, threshold=1e9)
N_STEPS = 40
INPUT_STEPS = (2, 4, 5, 7, 10, 13, 14, 16, 19)
WEIGHT = 0.8


def measure() -> tuple[dict[str, np.ndarray], dict[int, np.ndarray], tr.Trace]:
    """Return the membranes over time, the reset kernel of each spike by its step, and the record."""
    s_in = np.zeros(N_STEPS)
    s_in[list(INPUT_STEPS)] = 1.0
    I = WEIGHT * reference.psc_filter(s_in, NEURON)[:, None, None]
    trace = reference.lif_forward(I, NEURON)
    u, s = trace.u[:, 0, 0], trace.s[:, 0, 0]
    kernels = {
        int(t_m): np.array([terms.reset_kernel(t - int(t_m), u[t_m], NEURON.theta_m) for t in range(N_STEPS)])
        for t_m in np.flatnonzero(s)
    }
    columns = {
        "t": np.arange(N_STEPS),
        "u_without_reset": reference.lif_forward(I, NEVER_FIRES).u[:, 0, 0],
        "u": u,
        "v": np.array([terms.membrane_after_reset(*pair) for pair in zip(u, s, strict=True)]),
        "sum_of_kernels": np.sum(list(kernels.values()), axis=0),
    }
    return columns, kernels, trace


def plot(out_dir: Path) -> Path:
    """Draw the figure and write its numbers; returns the PNG's path."""
    data, kernels, trace = measure()
    t = data["t"]
    error = np.abs(data["u_without_reset"] + data["sum_of_kernels"] - data["v"]).max()
    with style.page(__file__, out_dir, TITLE, height=5.4) as page:
        columns = data | {f"kernel_of_spike_at_{t_m}": kernel for t_m, kernel in kernels.items()}
        page.table(list(columns), zip(*columns.values(), strict=True))
        top, bottom = page.figure.subplots(2, 1, sharex=True, height_ratios=(1.4, 1.0))
        top.plot(t, data["u_without_reset"], color=style.GREY, linestyle="--", label="without reset")
        plots.membrane(trace, top, label="with reset")
        together = data["u_without_reset"] + data["sum_of_kernels"]
        top.plot(t, together, "o", color=style.ORANGE, markersize=4, label="without reset + sum of kernels")
        top.set_xlabel("")
        top.set_ylim(-0.1, 3.9)
        top.legend(loc="upper left", ncols=2)
        remark = f"largest difference of dots and line: {error:.0e}"
        top.text(N_STEPS - 1, 2.75, remark, fontsize=style.SMALL, ha="right", va="center")
        label = r"$\nu = -u[t_m]\,(1-\theta_m)^{t - t_m}$ of each spike"
        plots.reset_kernels(trace, NEURON, bottom, label=label)
        bottom.plot(t, data["sum_of_kernels"], color=style.BLACK, label="their sum")
        bottom.set_ylim(-3.3, 0.15)
        bottom.legend(loc="lower right")
        bottom.set_xlabel(r"time (steps), $\tau_m = 8$ steps")
        bottom.set_xlim(-0.5, N_STEPS - 0.5)
    return page.path

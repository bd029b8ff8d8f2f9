"""The figures of this project: one script a figure, one idea a figure, the plotted numbers beside it.

``python -m figures`` draws them all into ``figures/out``. The scripts import `tsslbp_ref`, which never imports them,
and this is the only folder that uses matplotlib.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

from tsslbp_ref import checks

OUT = Path(__file__).parent / "out"

FIGURES = (
    "fig01_lif_neuron",
    "fig02_psc_kernel",
    "fig03_reset_kernel",
    "fig04_dependency_matrices",
    "fig05_gradient_flow",
    "fig06_firing_time_derivative",
    "fig07_finite_difference_v_curve",
    "fig08_rules_of_phi1",
    "fig09_warmup",
    "fig10_gradient_alignment",
    "fig11_spike_count_agreement",
    "fig12_loss_along_weight",
    "fig13_isolated_pair",
    "fig14_spike_raster",
    "fig15_learning_curves",
    "fig16_nmnist_events",
    "fig17_first_layer_filters",
    "fig18_confusion_matrix",
    "fig19_firing_sparsity",
    "fig20_needed_pairs",
    "fig21_benchmark",
    "fig22_scaling",
    "fig23_stdp_window",
    "fig24_srdp",
    "fig25_ann_conversion",
    "fig26_surrogate_bptt",
    "fig27_ablation",
    "fig28_network_forward",
    "fig29_loss_geometry",
    "fig30_target_trains",
    "fig31_spike_patterns",
    "fig32_yin_yang",
    "fig33_rule_history",
    "fig34_states",
    "fig35_operations",
    "fig36_pruning",
    "fig37_depth",
    "fig38_finite_steps",
    "fig39_learned_constants",
    "fig40_races",
    "fig41_time_steps",
    "fig42_intra_by_steps",
)


def full_name(name: str) -> str:
    """The name of a figure that is called by its name, or by its number as 8, 08 or fig08.

    Raises
    ------
    ValueError
        If there is none; the error has the nearest name.
    """
    number = re.fullmatch(r"(?:fig)?([0-9]{1,4})", name)
    if number:
        name = next((known for known in FIGURES if known.startswith(f"fig{int(number[1]):02d}_")), name)
    return checks.one_of("figure", name, FIGURES)


def script(name: str) -> ModuleType:
    """Import the script of a figure, by its name or number; an unknown one is a ValueError."""
    return importlib.import_module(f"figures.{full_name(name)}")


def render(name: str, out_dir: Path = OUT) -> Path:
    """Draw one figure.

    Parameters
    ----------
    name : str
        One of `FIGURES`, or a number.
    out_dir : Path
        Made if it is not there.

    Returns
    -------
    Path
        The PNG; the CSV lies beside it.

    Raises
    ------
    ValueError
        If the name is unknown.
    OSError
        If the folder cannot be written.
    """
    path: Path = script(name).plot(Path(out_dir))
    return path

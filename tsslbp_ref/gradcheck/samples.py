"""What the rows of the single terms share: the neurons that they are tried on, and their tolerances."""

from __future__ import annotations

from collections.abc import Callable

from tsslbp_ref.gradcheck.finite_differences import largest
from tsslbp_ref.model.parameters import NeuronParameters

NEURONS = (NeuronParameters(5.0, 3.0, 1.0), NeuronParameters(12.5, 4.2, 0.7), NeuronParameters(2.0, 6.0, 1.3))
RISE = 0.9  # rise of the membrane in the step of a spike, in units of the threshold
SMOOTH = 1e-9  # smooth rows reach 1e-10 or better; the bound leaves room for scipy's step control
IDENTITY = 1e-13  # rows with nothing but sums in double precision


def over_neurons(measure: Callable[[NeuronParameters], float]) -> Callable[[], float]:
    """The largest error over NEURONS."""
    return lambda: largest(measure(neuron) for neuron in NEURONS)

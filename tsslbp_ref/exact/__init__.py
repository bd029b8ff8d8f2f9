"""Continuous time: event-driven simulation with exact spike times, and the exact gradient by every constant."""

from tsslbp_ref.exact.batch import BatchResult, loss_and_gradients, predict
from tsslbp_ref.exact.discrete import DiscreteEquivalent, discrete_equivalent, emitted_tau_s
from tsslbp_ref.exact.losses import FirstSpike, Peak, VanRossum
from tsslbp_ref.exact.simulation import ExactResult, simulate, van_rossum_loss, van_rossum_time_derivatives

__all__ = [
    "BatchResult",
    "DiscreteEquivalent",
    "ExactResult",
    "FirstSpike",
    "Peak",
    "VanRossum",
    "discrete_equivalent",
    "emitted_tau_s",
    "loss_and_gradients",
    "predict",
    "simulate",
    "van_rossum_loss",
    "van_rossum_time_derivatives",
]

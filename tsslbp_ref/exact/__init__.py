"""Continuous time: event-driven simulation with exact spike times, and the exact gradient."""

from tsslbp_ref.exact.simulation import (
    DiscreteEquivalent,
    ExactResult,
    discrete_equivalent,
    simulate,
    van_rossum_loss,
    van_rossum_time_derivatives,
)

__all__ = [
    "DiscreteEquivalent",
    "ExactResult",
    "discrete_equivalent",
    "simulate",
    "van_rossum_loss",
    "van_rossum_time_derivatives",
]

"""What a layer of weights is fed, and the shortest way to its weighted input and to dL/dW for each kind.

All give the numbers of the plain product I[t] = W a[t]; the algebra that saves work is in each docstring.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tsslbp_ref.engine import events, maps
from tsslbp_ref.engine.events import Events
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.layers import Dense, Layer, WeightedLayer
from tsslbp_ref.model.losses import filtered_train
from tsslbp_ref.model.parameters import NeuronParameters

Array = npt.NDArray[Any]

SPARSE_DENSITY = 0.08  # up to this share of events their list wins; benchmarks/scaling.py measures the crossing


class LayerInput(Protocol):
    """A PSC over time on its way into a layer."""

    def weighted_input(self, layer: WeightedLayer, W: Array, I: Array) -> None:
        """Write I[t] = W a[t]    (F1), (T, B, ...)."""

    def weight_gradient(self, layer: WeightedLayer, delta: Array) -> Array:
        """Return dL/dW = sum_t delta[t] a[t]^T    (B1)."""


@dataclass(frozen=True)
class PSCInput:
    """A PSC (T, B, ...), contiguous: the plain product, from the first step at which anything fired.

    Up to then a[t] = 0, so that W a[t] = 0 and delta[t] a[t]^T = 0. A layer deep in the network is fed nothing for the
    first steps: each layer below needs a step or more to reach its threshold. Without it a step of W2 takes 5.3 %
    longer.
    """

    a: Array

    @cached_property
    def first(self) -> int:
        """The first step whose product is needed."""
        return int(events.first_needed_step(self.a.reshape(*self.a.shape[:2], -1)))

    def apply(self, layer: Layer, parameter: Array | None, out: Array) -> PSCInput:
        """Pass through a map without neurons, at every step; written to `out` (T, B, ...)."""
        maps.forward(layer, self.a, parameter, out)
        return PSCInput(out)

    def weighted_input(self, layer: WeightedLayer, W: Array, I: Array) -> None:
        """I[t] = W a[t]."""
        I[: self.first] = 0.0
        maps.forward(layer, self.a[self.first :], W, I[self.first :])

    def weight_gradient(self, layer: WeightedLayer, delta: Array) -> Array:
        """dL/dW = sum_t delta[t] a[t]^T."""
        return maps.weight_gradient(layer, delta[self.first :], self.a[self.first :])


@dataclass(frozen=True)
class StaticInput:
    """An image x (B, ...) shown at every step: a[t] = c[t] x with c = eps * (1, 1, ...).

    W a[t] = c[t] (W x), and sum_t delta[t] a[t]^T = (sum_t c[t] delta[t]) x^T: one product instead of T. Without it a
    step of W2 takes 19.9 % longer.
    """

    x: Array
    gain: Array  # c, (T,)

    def apply(self, layer: Layer, parameter: Array | None, out: Array) -> StaticInput:
        """Pass through a map without neurons, once for all steps."""
        once = np.empty((len(self.x), *layer.output_shape), self.x.dtype)
        maps.forward(layer, self.x, parameter, once)
        return StaticInput(once, self.gain)

    def weighted_input(self, layer: WeightedLayer, W: Array, I: Array) -> None:
        """I[t] = c[t] (W x)."""
        np.multiply.outer(self.gain, self.weighted_image(layer, W), out=I)

    def weighted_image(self, layer: WeightedLayer, W: Array) -> Array:
        """W x, (B, ...)."""
        Wx = np.empty((len(self.x), *layer.output_shape), self.x.dtype)
        maps.forward(layer, self.x, W, Wx)
        return Wx

    def weight_gradient(self, layer: WeightedLayer, delta: Array) -> Array:
        """dL/dW = (sum_t c[t] delta[t]) x^T."""
        return maps.weight_gradient(layer, np.tensordot(self.gain, delta, axes=1), self.x)


@dataclass(frozen=True)
class EventInput:
    """Spike trains s with few events, a = eps * s, as the list of them, into a fully connected layer.

    The filter in time and the product over neurons commute: W (eps * s) = eps * (W s). And with D the adjoint filter of
    delta, D[t] = sum_{k >= t} eps[k-t] delta[k], sum_t delta[t] a[t]^T = sum_t D[t] s[t]^T. Both products cost a row of
    N numbers an event, and no PSC of the inputs is made.
    """

    events: Events
    synapse: NeuronParameters  # its tau_s filters

    def weighted_input(self, layer: WeightedLayer, W: Array, I: Array) -> None:
        """I = eps * (W s)."""
        events.weighted_input(self.events, W, self.synapse, I)

    def weight_gradient(self, layer: WeightedLayer, delta: Array) -> Array:
        """dL/dW = sum_t D[t] s[t]^T."""
        return events.weight_gradient(self.events, delta, self.synapse)


@lru_cache
def static_gain(n_steps: int, synapse: NeuronParameters, dtype: np.dtype[Any]) -> Array:
    """c[t] = 1 - (1 - theta_s)^(t+1): the PSC of an input of 1 at every step; too few numbers to compile a loop for."""
    return filtered_train(np.ones(n_steps), synapse).astype(dtype)


def spike_input(s: Array, synapse: NeuronParameters, dtype: npt.DTypeLike, first: Layer) -> LayerInput:
    """Choose between events and the plain product for the spike trains s (T, B, ...), by their density."""
    if type(first) is Dense:
        at_most = int(SPARSE_DENSITY * s.size)
        found = events.find_events(s.reshape(*s.shape[:2], -1), dtype, at_most=at_most)
        if found is not None:
            return EventInput(found, synapse)
    return PSCInput(np.ascontiguousarray(sweeps.psc_filter(s.astype(dtype, copy=False), synapse)))

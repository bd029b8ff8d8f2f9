"""What a layer of weights is fed, and the cheapest way to its weighted input and to dL/dW for each kind of feed.

All give the numbers of the plain product I[t] = W a[t]; the algebra that saves work is in each docstring.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine import fast_events, fast_static, fast_words
from tsslbp_ref.engine.fast_events import Events
from tsslbp_ref.engine.fast_words import Words
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.layers import Conv2d, Dense, Dropout, Layer, WeightedLayer
from tsslbp_ref.model.parameters import NeuronParameters, RuleCoefficients
from tsslbp_ref.model.trace import Trace

Array = npt.NDArray[Any]

SPARSE_DENSITY = 0.08  # up to this share of events their list wins; benchmarks/scaling.py measures the crossing


@dataclass(frozen=True)
class FromAbove:
    """What the chain rule brings to a layer of neurons from above, and where it is to leave what goes on below.

    Parameters
    ----------
    g : (T, B, N) array
        dL/da of the layer's neurons; overwritten.
    trace : Trace
        Theirs.
    c : RuleCoefficients
        In g's dtype.
    below : array or None
        Takes dL/da of what feeds the layer, if that is asked for.
    """

    g: Array
    trace: Trace
    c: RuleCoefficients
    below: Array | None


class Signal(Protocol):
    """A PSC over time on its way into a layer."""

    def through(self, layer: Layer, parameter: Array | None, out: Array | None = None) -> Signal:
        """Pass through a map without neurons; a PSC over all steps is written to `out` if given."""

    def weighted_input(self, layer: WeightedLayer, W: Array, out: Array | None = None) -> Array:
        """I[t] = W a[t]    (F1), shape (T, B, ...), written to `out` if given."""

    def neurons(self, layer: WeightedLayer, W: Array, neuron: NeuronParameters, u: Array, a: Array) -> Trace:
        """Feed the layer's neurons; u and a, (T, B, N), are written."""

    def weight_gradient(self, layer: WeightedLayer, delta: Array) -> Array:
        """dL/dW = sum_t delta[t] a[t]^T    (B1)."""

    def backward(self, layer: WeightedLayer, W: Array, above: FromAbove) -> Array:
        """Return dL/dW, and write dL/da of what feeds the layer to `above.below`; what becomes of g differs."""


def may_follow_words(layer: Layer) -> bool:
    """Whether neurons that feed a layer may be followed by their words: it is fully connected and has some neurons.

    A class derived from `Dense` may have another map.
    """
    return type(layer) is Dense and layer.n_out >= fast_words.FEWEST_NEURONS


def neurons_in_parts(
    signal: Signal, layer: WeightedLayer, W: Array, neuron: NeuronParameters, u: Array, a: Array
) -> Trace:
    """`Signal.neurons` part by part: the weighted input is written where the membrane takes its place."""
    I = signal.weighted_input(layer, W, u)
    return sweeps.lif_forward_in_place(I.reshape(u.shape), neuron, a)


def backward_in_parts(signal: Signal, layer: WeightedLayer, W: Array, above: FromAbove) -> Array:
    """`Signal.backward` part by part: the chain rule in time, dL/dW, and dL/da below; g holds delta afterwards."""
    sweeps.tsslbp_backward_in_place(above.g, above.trace, above.c)
    delta = above.g.reshape(*above.g.shape[:2], *layer.output_shape)
    dW = signal.weight_gradient(layer, delta)
    if above.below is not None:
        layer.adjoint(delta, W, above.below)
    return dW


@dataclass(frozen=True)
class PSCSignal:
    """A PSC (T, B, ...) as a layer of neurons makes it: the plain product, from the first step at which anything fired.

    Up to then a[t] = 0, so that W a[t] = 0 and delta[t] a[t]^T = 0. A layer deep in the network hears nothing for the
    first steps: each layer below needs a step or more to reach its threshold.
    """

    a: Array

    @cached_property
    def first(self) -> int:
        """The first step whose product is needed."""
        T, B = self.a.shape[:2]
        return int(fast_events.first_needed_step(np.ascontiguousarray(self.a).reshape(T, B, -1)))

    def through(self, layer: Layer, parameter: Array | None, out: Array | None = None) -> PSCSignal:
        """The map at every step."""
        return PSCSignal(layer.forward(self.a, parameter, out))

    def weighted_input(self, layer: WeightedLayer, W: Array, out: Array | None = None) -> Array:
        """I[t] = W a[t]."""
        shape = (*self.a.shape[:2], *layer.output_shape)
        I = np.empty(shape, W.dtype) if out is None else out.reshape(shape)
        I[: self.first] = 0.0
        layer.forward(self.a[self.first :], W, I[self.first :])
        return I

    def neurons(self, layer: WeightedLayer, W: Array, neuron: NeuronParameters, u: Array, a: Array) -> Trace:
        """Part by part."""
        return neurons_in_parts(self, layer, W, neuron, u, a)

    def weight_gradient(self, layer: WeightedLayer, delta: Array) -> Array:
        """dL/dW = sum_t delta[t] a[t]^T."""
        return layer.weight_gradient(delta[self.first :], self.a[self.first :])

    def backward(self, layer: WeightedLayer, W: Array, above: FromAbove) -> Array:
        """Part by part; a convolution takes dL/dW and dL/da below at once."""
        if above.below is None or type(layer) is not Conv2d:
            return backward_in_parts(self, layer, W, above)
        sweeps.tsslbp_backward_in_place(above.g, above.trace, above.c)
        delta = above.g.reshape(*above.g.shape[:2], *layer.output_shape)
        return layer.backward(delta, self.a, W, above.below)


@dataclass(frozen=True)
class NeuronSignal(PSCSignal):
    """The PSC of a layer of neurons whose spike trains are at hand: a fully connected layer follows their words.

    In a few steps a neuron can spell few words, and most neurons are silent: `fast_words`. A network passes such layers
    together (`layer_runs.DenseRun`), and asks here only for what a single layer lets through.
    """

    trace: Trace
    neuron: NeuronParameters

    def through(self, layer: Layer, parameter: Array | None, out: Array | None = None) -> PSCSignal:
        """The map at every step; a test pass through dropout changes nothing, and the spike trains stay at hand."""
        if type(layer) is Dropout and parameter is None:
            return self
        return super().through(layer, parameter, out)

    @cached_property
    def words(self) -> Words:
        """Who spells which word."""
        return fast_words.find_words(self.trace)

    def weighted_input(self, layer: WeightedLayer, W: Array, out: Array | None = None) -> Array:
        """I = eps * (W s)."""
        if not self._follows_words(layer) or not checks.all_finite(W):  # which has to show in I
            return super().weighted_input(layer, W, out)
        return fast_words.weighted_input(self.words, W, self.neuron, out)

    def weight_gradient(self, layer: WeightedLayer, delta: Array) -> Array:
        """dL/dW = sum_t D[t] s[t]^T."""
        if not self._follows_words(layer):
            return super().weight_gradient(layer, delta)
        return fast_words.weight_gradient(self.words, delta, self.neuron)

    def _follows_words(self, layer: WeightedLayer) -> bool:
        words = self.words if may_follow_words(layer) else None
        return words is not None and fast_words.few_spell(words.inputs, self.trace.u, words.length)


@dataclass(frozen=True)
class StaticSignal:
    """A picture x (B, ...) shown at every step: a[t] = c[t] x with c = eps * (1, 1, ...).

    W a[t] = c[t] (W x), and sum_t delta[t] a[t]^T = (sum_t c[t] delta[t]) x^T: one product in the place of T.
    """

    x: Array
    gain: Array  # c, (T,)

    def through(self, layer: Layer, parameter: Array | None, out: Array | None = None) -> StaticSignal:
        """The map, once."""
        return StaticSignal(layer.forward(self.x, parameter), self.gain)

    def weighted_input(self, layer: WeightedLayer, W: Array, out: Array | None = None) -> Array:
        """I[t] = c[t] (W x)."""
        drive = layer.forward(self.x, W)
        return np.multiply.outer(self.gain, drive, out=None if out is None else out.reshape(-1, *drive.shape))

    def neurons(self, layer: WeightedLayer, W: Array, neuron: NeuronParameters, u: Array, a: Array) -> Trace:
        """The weighted input is made where it is needed, and never written out."""
        return fast_static.lif_forward_static(layer.forward(self.x, W), self.gain, neuron, u, a)

    def weight_gradient(self, layer: WeightedLayer, delta: Array) -> Array:
        """dL/dW = (sum_t c[t] delta[t]) x^T."""
        return layer.weight_gradient(np.tensordot(self.gain, delta, axes=1), self.x)

    def backward(self, layer: WeightedLayer, W: Array, above: FromAbove) -> Array:
        """The chain rule in time sums up c[t] delta[t] as it goes, unless a layer below has to be told each delta."""
        if above.below is not None:
            return backward_in_parts(self, layer, W, above)
        total = fast_static.tsslbp_backward_static(above.g, self.gain, above.trace, above.c)
        return layer.weight_gradient(total.reshape(-1, *layer.output_shape), self.x)


@dataclass(frozen=True)
class SparseSpikeSignal:
    """Spike trains s with few events, a = eps * s, as the list of them.

    The filter in time and the product over neurons commute: W (eps * s) = eps * (W s). And with D the adjoint filter of
    delta, D[t] = sum_{k >= t} eps[k-t] delta[k], sum_t delta[t] a[t]^T = sum_t D[t] s[t]^T. Both products cost a row of
    N numbers an event, and no PSC of the inputs is made.
    """

    events: Events
    neuron: NeuronParameters

    def weighted_input(self, layer: WeightedLayer, W: Array, out: Array | None = None) -> Array:
        """I = eps * (W s)."""
        return fast_events.weighted_input(self.events, W, self.neuron, out)

    def neurons(self, layer: WeightedLayer, W: Array, neuron: NeuronParameters, u: Array, a: Array) -> Trace:
        """Part by part."""
        return neurons_in_parts(self, layer, W, neuron, u, a)

    def weight_gradient(self, layer: WeightedLayer, delta: Array) -> Array:
        """dL/dW = sum_t D[t] s[t]^T."""
        return fast_events.weight_gradient(self.events, delta, self.neuron)

    def backward(self, layer: WeightedLayer, W: Array, above: FromAbove) -> Array:
        """Part by part."""
        return backward_in_parts(self, layer, W, above)

    def through(self, layer: Layer, parameter: Array | None, out: Array | None = None) -> PSCSignal:
        """Pooled or masked spikes are a PSC like any other."""
        s = self.events.dense().reshape(*self.events.shape[:2], *layer.input_shape)
        return PSCSignal(layer.forward(sweeps.psc_filter(s, self.neuron), parameter, out))


def static_gain(n_steps: int, neuron: NeuronParameters, dtype: npt.DTypeLike) -> Array:
    """c[t] = 1 - (1 - theta_s)^(t+1): the PSC of an input of 1 at every step."""
    return sweeps.psc_filter(np.ones(n_steps), neuron).astype(dtype)


def spike_signal(s: Array, neuron: NeuronParameters, dtype: npt.DTypeLike, first: Layer) -> Signal:
    """Choose between events and the plain product for the spike trains s (T, B, ...), by their density."""
    feeds_dense = first.weight_shape is not None and len(first.weight_shape) == 2
    if feeds_dense:
        at_most = int(SPARSE_DENSITY * s.size)
        events = fast_events.find_events(s.reshape(*s.shape[:2], -1), dtype, at_most=at_most)
        if events is not None:
            return SparseSpikeSignal(events, neuron)
    return PSCSignal(sweeps.psc_filter(s.astype(dtype, copy=False), neuron))

"""One shard of a mini-batch through the layers of any network, one by one: forward, and the chain rule back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from tsslbp_ref import checks
from tsslbp_ref.engine import maps
from tsslbp_ref.engine.inputs import EventInput, LayerInput, PSCInput, StaticInput, spike_input, static_gain
from tsslbp_ref.engine.pooled import PooledNeurons
from tsslbp_ref.engine.threads import Buffers
from tsslbp_ref.model import sweeps
from tsslbp_ref.model.backpropagation import Masks, MembraneError
from tsslbp_ref.model.layers import Dropout, Layer, SumPool2d, WeightedLayer
from tsslbp_ref.model.parameters import RuleCoefficients
from tsslbp_ref.model.trace import Trace

if TYPE_CHECKING:
    from tsslbp_ref.model.network import Network

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerRecord:
    """What one layer was fed and what it did.

    Parameters
    ----------
    number : int
        Of the layer in the network.
    fed : LayerInput
    trace : Trace or None
        Of its neurons, if it has any.
    pooled : PooledNeurons or None
        Where the layer's neurons and the pooling behind them were passed together.
    """

    number: int
    fed: LayerInput
    trace: Trace | None = None
    pooled: PooledNeurons | None = None


@dataclass(frozen=True)
class PassRecord:
    """What a shard's forward pass leaves behind: a record a layer, the dropout masks, and the output PSC."""

    layers: list[LayerRecord]
    masks: Masks
    output: Array


class LayerByLayer:
    """The pass of a network, layer by layer.

    Parameters
    ----------
    net : Network
    """

    def __init__(self, net: Network) -> None:
        self.net, self.neurons, self.dtype = net, net.neurons, net.dtype
        self.gain = static_gain(net.n_steps, net.input_synapse, net.dtype)
        has_weights = [layer.weight_shape is not None for layer in net.layers]
        self.weighted = np.cumsum(has_weights) - 1  # number among the layers of neurons of the last one up to here
        self.first = has_weights.index(True)  # below this layer nothing asks for a gradient

    def forward(self, x: Array, masks: Masks, buffers: Buffers) -> PassRecord:
        """Take a shard through all layers    (F1, F3 - F6).

        Parameters
        ----------
        x : (B, ...) or (T, B, ...) array
        masks : sequence of array or None
            One a layer.
        buffers : Buffers
            Where membranes and PSCs are written.

        Raises
        ------
        MembraneError
            If a membrane is not finite: weights or input are too large, or a weight is not finite.
        """
        fed = self._input(x)
        records: list[LayerRecord] = []
        leading = (self.net.n_steps, self.net.batch_size(x))
        for i, (layer, mask) in enumerate(zip(self.net.layers, masks, strict=True)):
            out = (*leading, *layer.output_shape)
            if layer.weight_shape is not None:
                if self._goes_with_pool(i, fed):
                    fed = self._pooled(i, cast(StaticInput, fed), leading, records, buffers)
                else:
                    fed = self._neurons(i, fed, out, records, buffers)
            elif not (records and records[-1].pooled is not None and records[-1].number == i - 1):
                records.append(LayerRecord(i, fed))
                if not (isinstance(layer, Dropout) and mask is None):
                    a = buffers.take((i, "a"), out, self.dtype)
                    fed = cast("PSCInput | StaticInput", fed).apply(layer, mask, a)
        return PassRecord(records, masks, cast(PSCInput, fed).a.reshape(*leading, -1))  # feature maps flat

    def backward(self, record: PassRecord, g: Array, cs: Sequence[RuleCoefficients], buffers: Buffers) -> list[Array]:
        """Take dL/da of the output back: the chain rule in time (B2) in each layer, and in space (B1, B3) between them.

        Parameters
        ----------
        record : PassRecord
            From `forward`.
        g : (T, B, n_classes) array
            dL/da of the output.
        cs : sequence of RuleCoefficients
            One a layer of neurons, in g's dtype.
        buffers : Buffers
            Where g and delta are written.

        Returns
        -------
        list of array
            dL/dW, from the first layer to the last.
        """
        T, B, _ = g.shape
        gradients: list[Array] = []
        g = np.array(g, order="C")  # a copy: the sweeps write to it
        for one in reversed(record.layers):
            if one.number < self.first:
                break
            layer, c = self.net.layers[one.number], cs[self.weighted[one.number]]
            if one.pooled is not None:
                gradients.insert(0, one.pooled.backward(g, c))
                break
            parameter = record.masks[one.number]
            if one.trace is not None:
                parameter = self.net.weights[self.weighted[one.number]]
                sweeps.tsslbp_backward_in_place(g.reshape(one.trace.u.shape), one.trace, c)  # B2: g holds delta now
                g = g.reshape(T, B, *layer.output_shape)
                gradients.insert(0, one.fed.weight_gradient(cast(WeightedLayer, layer), g))  # B1
            elif isinstance(layer, Dropout) and parameter is None:
                continue
            if one.number > self.first:
                below = buffers.take((one.number, "g"), (T, B, *layer.input_shape), g.dtype)
                maps.adjoint(layer, g, parameter, below)  # B3
                g = below
        return gradients

    def spike_counts(self, record: PassRecord) -> list[int]:
        """Number of spikes of each layer of neurons."""
        traces = [one.trace for one in record.layers if one.trace is not None]
        return [int(np.count_nonzero(trace.u > trace.threshold)) for trace in traces]

    def _input(self, x: Array) -> LayerInput:
        if self.net.is_static(x):
            return StaticInput(np.ascontiguousarray(x), self.gain)
        return spike_input(x, self.net.input_synapse, self.dtype, self.net.layers[0])

    def _goes_with_pool(self, i: int, fed: LayerInput) -> bool:
        """Whether neurons under a static image and the pooling behind them are passed together.

        A rule that asks for firing rates counts spikes, which are not kept there.
        """
        followed = i + 1 < len(self.net.layers) and type(self.net.layers[i + 1]) is SumPool2d
        return followed and isinstance(fed, StaticInput) and not self.net.rule.needs_firing_rate

    def _neurons(
        self, i: int, fed: LayerInput, out: tuple[int, ...], records: list[LayerRecord], buffers: Buffers
    ) -> PSCInput:
        """Weighted input, membrane, spikes and PSC of a layer of neurons."""
        layer, W, neuron = self._weighted_layer(i)
        if isinstance(fed, EventInput) and not checks.all_finite(W):  # which no event may touch
            raise MembraneError(f"the weights of layer {i} are not finite")
        u, a = (buffers.take((i, name), out, self.dtype) for name in ("u", "a"))
        fed.weighted_input(layer, W, u)
        flat = (*out[:2], -1)
        trace = sweeps.lif_forward_in_place(u.reshape(flat), neuron, a.reshape(flat))
        if not checks.all_finite(trace.u[-1]):  # a membrane that was not finite once never is again
            raise MembraneError(f"the membranes of layer {i} are not finite")
        records.append(LayerRecord(i, fed, trace))
        return PSCInput(a)

    def _pooled(
        self, i: int, fed: StaticInput, leading: tuple[int, int], records: list[LayerRecord], buffers: Buffers
    ) -> PSCInput:
        """A layer of neurons under a static image, and the pooling behind it."""
        layer, W, neuron = self._weighted_layer(i)
        pool = cast(SumPool2d, self.net.layers[i + 1])
        neurons = PooledNeurons(layer, pool, fed, fed.weighted_image(layer, W))
        a = buffers.take((i + 1, "a"), (*leading, *pool.output_shape), self.dtype)
        if not neurons.forward(neuron, a):
            raise MembraneError(f"the membranes of layer {i} are not finite")
        records.append(LayerRecord(i, fed, pooled=neurons))
        return PSCInput(a)

    def _weighted_layer(self, i: int) -> tuple[WeightedLayer, Array, Any]:
        """Layer, weights and constants of a layer of neurons."""
        layer: Layer = self.net.layers[i]
        number = self.weighted[i]
        return cast(WeightedLayer, layer), self.net.weights[number], self.neurons[number]

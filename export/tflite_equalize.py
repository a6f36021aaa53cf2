"""Channels of unlike ranges are brought to one before they share a scale, without changing what the network computes.

A tensor's integers have one scale. Where one channel reaches 300 and the others 3, as behind the first convolution of
MobileNetV3, the others keep two of their eight bits. Dividing each channel by a factor, in the weights that give it,
and multiplying by the same in the weights that read it costs nothing (Nagel et al. 2019, "Data-free quantization
through weight equalization and bias correction", section 4.1; there the factor balances weights, here activations).

That is exact behind no activation function and behind ReLU. hard_swish(x) = x relu6(x + 3) / 6 needs x itself in its
gate: there the layer is written twice, once divided and once with the RELU6 of the gate fused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_integer_plan import WEIGHTED

Channels = npt.NDArray[np.float32]

_KEEPING_CHANNELS = ("PAD", "MEAN", "MAX_POOL_2D")  # a factor of a channel before them is the same factor after them
_EVEN = 0.5  # geometric mean of the channels' shares of the whole range from which nothing is to be gained
_LEAST_SHARE = 2.0**-10  # a channel that hardly moves is not blown up further
_INPUT_AXIS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 1}


def shares(low: Channels, high: Channels) -> Channels:
    """Each channel's part of the range of all."""
    whole = max(float(high.max()), 0.0) - min(float(low.min()), 0.0)
    each = np.maximum(high, 0) - np.minimum(low, 0)
    found: Channels = np.maximum(each / max(whole, 1e-30), _LEAST_SHARE).astype(np.float32)
    return found


def unevenness(share: Channels) -> float:
    """1 where all channels need the whole range, near 0 where few do."""
    return float(np.exp(np.log(share).mean()))


def candidates(graph: Graph) -> dict[int, Any]:
    """Outputs of layers, to the layer, where every reader can take over a factor for each channel."""
    fitting = (schema.ActivationFunctionType.NONE, schema.ActivationFunctionType.RELU)
    found = {}
    for layer in graph.operators(*WEIGHTED):
        output = int(layer.outputs[0])
        fused = layer.builtinOptions.fusedActivationFunction in fitting
        if fused and _own_weights(graph, layer) and layers_behind(graph, output):
            found[output] = layer
    return found


def equalize(graph: Graph, ranges: Mapping[int, tuple[Channels, Channels]]) -> None:
    """Even out the channels of the candidates.

    Args:
        ranges: least and greatest value of each channel of `candidates`.
    """
    for tensor, layer in candidates(graph).items():
        share = shares(*ranges[tensor])
        if unevenness(share) < _EVEN:
            scale_output(graph, layer, np.float32(1) / share)
            for reader in layers_behind(graph, tensor) or ():
                scale_input(graph, reader, share)


def layers_behind(graph: Graph, tensor: int) -> list[Any] | None:
    """The layers that can take over a factor for each channel of this tensor; None where something else reads it."""
    if tensor in graph.main.outputs:
        return None
    found: list[Any] = []
    for reader in graph.consumers(tensor):
        name, inputs = graph.operator_name(reader), [int(one) for one in reader.inputs]
        if name in WEIGHTED and inputs.index(tensor) == 0 and _own_weights(graph, reader):
            found.append(reader)
        elif name in _KEEPING_CHANNELS or (name == "MUL" and inputs.count(tensor) == 1 and _plain(reader)):
            further = layers_behind(graph, int(reader.outputs[0]))
            if further is None:
                return None
            found += further
        else:
            return None
    return found


def scale_output(graph: Graph, layer: Any, factors: Channels) -> None:
    """Multiply a layer's weights and bias, so that its output is this many times what it was."""
    name = graph.operator_name(layer)
    inputs = [int(tensor) for tensor in layer.inputs]
    inputs[1] = _scaled(graph, inputs[1], factors, WEIGHTED[name])
    if len(inputs) > 2 and inputs[2] >= 0:
        inputs[2] = _scaled(graph, inputs[2], factors, 0)
    layer.inputs = np.asarray(inputs, np.int32)


def scale_input(graph: Graph, layer: Any, factors: Channels) -> None:
    """Multiply a layer's weights by a factor for each channel of its input."""
    weights = _scaled(graph, int(layer.inputs[1]), factors, _INPUT_AXIS[graph.operator_name(layer)])
    layer.inputs = np.asarray([layer.inputs[0], weights, *layer.inputs[2:]], np.int32)


def _scaled(graph: Graph, tensor: int, factors: Channels, axis: int) -> int:
    value: Any = graph.constant(tensor)
    along = factors.reshape([-1 if place == axis else 1 for place in range(value.ndim)])
    return graph.add_constant(graph.name(tensor), value * along, "float32")


def _own_weights(graph: Graph, layer: Any) -> bool:
    """Whether no other operator has this layer's weights: levels that share a head keep sharing it."""
    weights = int(layer.inputs[1])
    buffer = graph.main.tensors[weights].buffer
    sharing = [op for op in graph.operators(*WEIGHTED) if graph.main.tensors[int(op.inputs[1])].buffer == buffer]
    depth = getattr(layer.builtinOptions, "depthMultiplier", 1)
    return len(sharing) == 1 and depth == 1 and graph.constant(weights) is not None


def _plain(operator: Any) -> bool:
    fused: int = operator.builtinOptions.fusedActivationFunction
    return fused == schema.ActivationFunctionType.NONE

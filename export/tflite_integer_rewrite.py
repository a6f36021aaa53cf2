"""HARD_SWISH in operators that XNNPACK takes as integers, before a graph is quantized.

    hard_swish(x) = x relu6(x + 3) / 6 (MobileNetV3 paper, section 5.2)

becomes ADD of 3 with a fused RELU6, and MUL. The division by 6 goes into the weights of the layers that read the
result, so it costs nothing. Values below -3 give 0 whatever they are, so the integers of x need not reach further.
Where the channels of x have very unlike ranges, the layer before is written twice instead of the ADD: see
tflite_equalize.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedet.export.tflite_equalize import (
    Channels,
    layers_behind,
    scale_input,
    scale_output,
    shares,
    unevenness,
)
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_integer_plan import WEIGHTED

_SIX = 6.0
_LEAST = -3.0
_UNEVEN = 0.1  # below, the second layer is worth its time
_RELU6 = schema.ActivationFunctionType.RELU6


@dataclass
class Rewritten:
    """What became of tensors.

    Attributes:
        factors: tensors that now hold this many times what they held, the same for all channels.
        floors: tensors whose values below this make no difference.
    """

    factors: dict[int, float] = field(default_factory=dict)
    floors: dict[int, float] = field(default_factory=dict)


def swish_inputs(graph: Graph) -> list[int]:
    """Tensors whose channels `split_hard_swish` wants to know the ranges of."""
    return [int(operator.inputs[0]) for operator in graph.operators("HARD_SWISH")]


def split_hard_swish(
    graph: Graph, channels: Mapping[int, tuple[Channels, Channels]], floats: Collection[int] = ()
) -> Rewritten:
    """Replace every HARD_SWISH of the graph that will read integers.

    Args:
        channels: ranges of the channels of `swish_inputs`; where one is missing, its channels stay as they are.
        floats: `id` of layers that stay float, and with them the HARD_SWISH behind them.
    """
    done = Rewritten()
    for operator in graph.operators("HARD_SWISH"):
        if id(graph.producer(int(operator.inputs[0]))) not in floats:
            _split(graph, operator, channels.get(int(operator.inputs[0])), done)
    return done


def _split(graph: Graph, operator: Any, channels: tuple[Channels, Channels] | None, done: Rewritten) -> None:
    source, target = int(operator.inputs[0]), int(operator.outputs[0])
    layer, alone = graph.producer(source), len(graph.consumers(source)) == 1
    readers = layers_behind(graph, target)
    share = shares(np.maximum(channels[0], _LEAST), channels[1]) if channels is not None else None
    place = graph.main.operators.index(operator)
    old = len(graph.main.operators)
    gate = graph.add_tensor(f"{graph.name(target)}_gate", graph.shape(source))
    even = share is None or unevenness(share) >= _UNEVEN
    if even or not alone or not readers or layer is None or graph.operator_name(layer) not in WEIGHTED:
        options = schema.AddOptionsT()
        options.fusedActivationFunction = _RELU6
        three = graph.add_constant(f"{graph.name(target)}_three", -_LEAST, "float32")
        graph.add_operator("ADD", (source, three), (gate,), options)
    else:
        assert share is not None
        _add_gate_layer(graph, layer, gate)
        scale_output(graph, layer, np.float32(1) / share)
        for reader in readers:
            scale_input(graph, reader, share)
        done.floors[source] = float((_LEAST / share).min())
    if alone and even:
        done.floors[source] = _LEAST
    _multiply(graph, source, gate, target, readers, done)
    made = graph.main.operators[old:]
    graph.main.operators[old:] = []
    graph.main.operators[place : place + 1] = made


def _add_gate_layer(graph: Graph, layer: Any, gate: int) -> None:
    """The layer once more, with 3 added to its bias and a RELU6."""
    twin = copy.copy(layer)
    twin.builtinOptions = copy.copy(layer.builtinOptions)
    twin.builtinOptions.fusedActivationFunction = _RELU6
    bias: Any = graph.constant(int(layer.inputs[2]))
    raised = graph.add_constant(f"{graph.name(gate)}_bias", bias - np.float32(_LEAST), "float32")
    twin.inputs = np.asarray([*layer.inputs[:2], raised], np.int32)
    twin.outputs = np.asarray([gate], np.int32)
    graph.main.operators.append(twin)


def _multiply(graph: Graph, source: int, gate: int, target: int, readers: list[Any] | None, done: Rewritten) -> None:
    """The product, and the division by 6 inside the layers that read it; by itself where something else does."""
    if readers is not None:
        graph.add_operator("MUL", (source, gate), (target,), schema.MulOptionsT())
        for reader in readers:
            scale_input(graph, reader, np.full(1, 1 / _SIX, np.float32))
        done.factors[target] = _SIX
        return
    sixfold = graph.add_tensor(f"{graph.name(target)}_sixfold", graph.shape(target))
    graph.add_operator("MUL", (source, gate), (sixfold,), schema.MulOptionsT())
    sixth = graph.add_constant(f"{graph.name(target)}_sixth", 1 / _SIX, "float32")
    graph.add_operator("MUL", (sixfold, sixth), (target,), schema.MulOptionsT())

"""8-bit weights in a graph that computes with floats: stored only, or with activations made 8-bit while it runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_int8 import set_scales
from edgedet.export.tflite_integer_plan import WEIGHTED
from edgedet.export.tflite_scales import weight_scales
from edgedet.quantization.rounding import round_keeping_sums

_PER_CHANNEL_DEQUANTIZE = 5  # op_version.cc: the first version with a scale for each channel
# A layer with float values and 8-bit weights of one scale a channel rounds its input, row by row, while it runs.
_DYNAMIC_VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 9}


def store_weights_as_int8(graph: Graph, floats: Collection[int], dynamic: bool) -> None:
    """Replace the float weights of layers by 8-bit ones with a scale for each output channel; biases stay float.

    Args:
        graph: it is changed.
        floats: `id` of layers that keep their weights.
        dynamic: let convolutions and fully connected layers compute with integers. Depthwise convolutions never do:
            XNNPACK has none with 8-bit weights and float values, and without it they are three times slower.
    """
    operators = graph.main.operators
    graph.main.operators = []
    made: dict[tuple[int, bool], int] = {}
    for operator in operators:
        name = graph.operator_name(operator)
        if name in WEIGHTED and id(operator) not in floats:
            _change(graph, operator, dynamic and name in _DYNAMIC_VERSIONS, made)
        graph.main.operators.append(operator)


def _change(graph: Graph, operator: Any, dynamic: bool, made: dict[tuple[int, bool], int]) -> None:
    name, weights = graph.operator_name(operator), int(operator.inputs[1])
    if graph.constant(weights) is None:
        return
    if (weights, dynamic) not in made:
        stored = _add_int8(graph, weights, WEIGHTED[name])
        made[weights, dynamic] = stored if dynamic else _add_dequantize(graph, stored, weights)
    operator.inputs = np.asarray([operator.inputs[0], made[weights, dynamic], *operator.inputs[2:]], np.int32)
    if dynamic:
        graph.set_version(operator, _DYNAMIC_VERSIONS[name])
        if name == "FULLY_CONNECTED":
            operator.builtinOptions.asymmetricQuantizeInputs = True


def _add_int8(graph: Graph, weights: int, axis: int) -> int:
    value: Any = graph.constant(weights)
    scales = weight_scales(value, axis)
    along = scales.reshape([-1 if place == axis else 1 for place in range(value.ndim)])
    rounded = round_keeping_sums(value / along, axis)
    stored = graph.add_constant(f"{graph.name(weights)}_int8", rounded, "int8")
    set_scales(graph, stored, scales, 0, axis)
    return stored


def _add_dequantize(graph: Graph, stored: int, weights: int) -> int:
    """The float weights as the file computes with them; runtimes make them once, when loading."""
    restored = graph.add_tensor(f"{graph.name(weights)}_restored", graph.shape(weights))
    operator = graph.add_operator("DEQUANTIZE", (stored,), (restored,), schema.DequantizeOptionsT())
    graph.set_version(operator, _PER_CHANNEL_DEQUANTIZE)
    return restored

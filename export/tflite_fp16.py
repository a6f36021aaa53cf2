"""float16 weights: half the file; computed in float32 on a CPU, in float16 where the runtime can."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedet.errors import ExportError
from edgedet.export.tflite_graph import Graph

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def store_weights_as_float16(graph: Graph) -> None:
    """Replace each float32 weight and bias by a float16 constant and a DEQUANTIZE, which runtimes fold when loading.

    Everything else stays float32, above all anchors and other constants of the decoder.

    Raises:
        ExportError: a weight does not fit float16.
    """
    weights, network = _weights(graph), graph.main.operators
    graph.main.operators = []
    for tensor in weights:
        half = _add_half(graph, tensor)
        graph.main.tensors[tensor].buffer = 0
        graph.add_operator("DEQUANTIZE", (half,), (tensor,), schema.DequantizeOptionsT())
    graph.main.operators += network


def _weights(graph: Graph) -> list[int]:
    """Constant float32 filters and biases, in the order in which operators use them."""
    inputs = (int(tensor) for operator in graph.operators(*_WEIGHTED) for tensor in operator.inputs)
    return list(dict.fromkeys(tensor for tensor in inputs if tensor >= 0 and _is_float32_constant(graph, tensor)))


def _is_float32_constant(graph: Graph, tensor: int) -> bool:
    value = graph.constant(tensor)
    return value is not None and value.dtype == np.float32


def _add_half(graph: Graph, tensor: int) -> int:
    value: Any = graph.constant(tensor)
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    name = graph.main.tensors[tensor].name.decode()
    if not np.isfinite(half).all():
        raise ExportError(f"the weights of {name} do not fit float16", "Export with --precision fp32.")
    return graph.add_constant(f"{name}_float16", half, "float16")

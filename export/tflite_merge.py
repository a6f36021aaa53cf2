"""Two 1x1 convolutions with nothing between them become one, before a graph is quantized.

The first block of MobileNetV2 ends with a linear layer of 16 channels, and the next one begins by widening these to
96, at half the image's size (MobileNetV2 paper, table 2). B (A x + a) + b is one layer with the weights B A. It has
half as many products again, but an int8 kernel with so few channels does not wait for products: it waits for rounding
and writing the results. At 320 px the two took 1.42 ms and the one 0.93 ms (XNNPACK, Xeon with AMX). In float the
products count, so float files keep both.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedet.export.tflite_graph import Graph

_FEW_CHANNELS = 64  # of the first layer's input
_MOST_PRODUCTS = 2  # of the one layer, as a multiple of those of the two
_NO_ACTIVATION = schema.ActivationFunctionType.NONE


def merge_pairs(graph: Graph, floats: Collection[int] = ()) -> None:
    """Merge every pair that qualifies; the second layer then has new weights and reads what the first one read.

    Args:
        graph: float; it is changed.
        floats: `id` of layers that stay as they are.
    """
    for second in graph.operators("CONV_2D"):
        first = graph.producer(int(second.inputs[0]))
        if first is not None and not {id(first), id(second)} & set(floats) and _mergeable(graph, first, second):
            _merge(graph, first, second)
    graph.prune()


def _mergeable(graph: Graph, first: Any, second: Any) -> bool:
    if not (_is_pointwise(graph, first) and _is_pointwise(graph, second)):
        return False
    middle = int(first.outputs[0])
    before, between, after = (graph.shape(int(one))[-1] for one in (first.inputs[0], middle, second.outputs[0]))
    cheap = before <= _FEW_CHANNELS and before * after <= _MOST_PRODUCTS * between * (before + after)
    alone = len(graph.consumers(middle)) == 1 and middle not in graph.main.outputs
    return cheap and alone and first.builtinOptions.fusedActivationFunction == _NO_ACTIVATION


def _is_pointwise(graph: Graph, operator: Any) -> bool:
    """A 1x1 convolution of every place, with constant weights and a bias, in one group."""
    if graph.operator_name(operator) != "CONV_2D" or len(operator.inputs) < 3:
        return False
    source, weights, bias = (int(tensor) for tensor in operator.inputs)
    if graph.constant(weights) is None or bias < 0 or graph.constant(bias) is None:
        return False
    options, channels = operator.builtinOptions, graph.shape(source)[-1]
    return graph.shape(weights)[1:] == (1, 1, channels) and (options.strideH, options.strideW) == (1, 1)


def _merge(graph: Graph, first: Any, second: Any) -> None:
    """Sums in float64, rounded to float32 once."""
    (a, a_bias), (b, b_bias) = (
        [np.asarray(graph.constant(int(tensor)), np.float64) for tensor in layer.inputs[1:]]
        for layer in (first, second)
    )
    a, b = a[:, 0, 0], b[:, 0, 0]
    weights, bias = (b @ a)[:, None, None], b @ a_bias + b_bias
    name = graph.name(int(second.inputs[1]))
    made = [
        graph.add_constant(f"{name}_{part}", value.astype(np.float32), "float32")
        for part, value in (("merged", weights), ("merged_bias", bias))
    ]
    second.inputs = np.asarray([first.inputs[0], *made], np.int32)

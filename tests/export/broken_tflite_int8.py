"""A good 8-bit .tflite with exactly one hazard each."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgedet.export import int8_hazards as hazards
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_int8 import set_scales
from tests.export.broken import Broken
from tests.export.broken_tflite import TfliteParts


def _is_int8(graph: Graph, tensor: int) -> bool:
    return graph.main.tensors[tensor].type == schema.TensorType.INT8


def _first(graph: Graph, name: str) -> Any:
    """The first operator of that kind that gives 8 bits."""
    return next(op for op in graph.operators(name) if _is_int8(graph, int(op.outputs[0])))


def _scales(graph: Graph, tensor: int) -> Any:
    return graph.main.tensors[tensor].quantization.scale


def _behind(graph: Graph, operator: Any, name: str, *more: int, options: Any = None, scale: float | None = None) -> int:
    """Put an 8-bit operator of one shape behind another one; returns the tensor that it gives."""
    source = int(operator.outputs[0])
    made = graph.add_tensor(f"extra_{name}", graph.shape(source), "int8")
    set_scales(graph, made, np.asarray([scale or _scales(graph, source)[0]]), -128 if scale else 0)
    for reader in graph.consumers(source):
        reader.inputs = np.asarray([made if tensor == source else tensor for tensor in reader.inputs], np.int32)
    place = graph.main.operators.index(operator)
    graph.main.operators.insert(place + 1, graph.add_operator(name, [source, *more], [made], options))
    graph.main.operators.pop()
    return made


def _unlike(parts: TfliteParts) -> None:
    """One of two joined tensors was a sixteenth as wide before it was brought to the common scale."""
    graph = parts.graph
    join = _first(graph, "CONCATENATION")
    common = int(join.inputs[0])
    narrow = graph.add_tensor("narrow", graph.shape(common), "int8")
    set_scales(graph, narrow, _scales(graph, common) / 16, 0)
    maker = graph.producer(common)
    maker.outputs = np.asarray([narrow], np.int32)
    place = graph.main.operators.index(maker)
    rescale = graph.add_operator("QUANTIZE", [narrow], [common], schema.QuantizeOptionsT())
    graph.main.operators.pop()
    graph.main.operators.insert(place + 1, rescale)


def _scores_and_boxes(parts: TfliteParts) -> None:
    """A sigmoid and a layer's output joined under the sigmoid's scale."""
    graph = parts.graph
    layer = _first(graph, "CONV_2D")
    source = int(layer.outputs[0])
    shape = graph.shape(source)
    tensors = []
    for name, kind, options in (("boxes", "QUANTIZE", schema.QuantizeOptionsT()), ("scores", "LOGISTIC", None)):
        tensors.append(graph.add_tensor(name, shape, "int8"))
        graph.add_operator(kind, [source], [tensors[-1]], options)
    joined = graph.add_tensor("joined", (*shape[:3], 2 * shape[3]), "int8")
    for tensor in (*tensors, joined):
        set_scales(graph, tensor, np.asarray([1 / 256]), -128)
    options = schema.ConcatenationOptionsT()
    options.axis = 3
    graph.add_operator("CONCATENATION", tensors, [joined], options)


def _outlier(parts: TfliteParts) -> None:
    """One channel of a layer a thousand times as large, and the range that this needs."""
    graph = parts.graph
    layer = _first(graph, "CONV_2D")
    scales = np.full(len(_scales(graph, int(layer.inputs[1]))), 0.01)
    scales[0] = 10
    set_scales(graph, int(layer.inputs[1]), scales, 0)
    set_scales(graph, int(layer.outputs[0]), np.asarray([0.1]), 0)
    set_scales(graph, int(layer.inputs[0]), np.asarray([0.1]), 0)


def _softmax(parts: TfliteParts) -> None:
    layer = _first(parts.graph, "CONV_2D")
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    _behind(parts.graph, layer, "SOFTMAX", options=options, scale=1 / 256)


def _batch_norm(parts: TfliteParts) -> None:
    graph = parts.graph
    layer = _first(graph, "CONV_2D")
    channels = graph.shape(int(layer.outputs[0]))[-1]
    for name in ("ADD", "MUL"):  # the last one comes first
        constant = graph.add_constant(f"norm_{name}", np.ones(channels), "int8")
        set_scales(graph, constant, _scales(graph, int(layer.outputs[0])), 0)
        _behind(graph, layer, name, constant, options=getattr(schema, f"{name.title()}OptionsT")())


def _one_scale(parts: TfliteParts) -> None:
    layer = _first(parts.graph, "CONV_2D")
    set_scales(parts.graph, int(layer.inputs[1]), np.asarray([0.01]), 0)


def _hard_swish(parts: TfliteParts) -> None:
    _behind(parts.graph, _first(parts.graph, "CONV_2D"), "HARD_SWISH", options=schema.HardSwishOptionsT())


def _coarse_output(parts: TfliteParts) -> None:
    """The input of a layer so coarse, and its output so fine, that one step is more than 256 steps."""
    graph = parts.graph
    layer = _first(graph, "CONV_2D")
    source = float(_scales(graph, int(layer.inputs[0]))[0])
    largest = float(_scales(graph, int(layer.inputs[1])).max())
    set_scales(graph, int(layer.outputs[0]), np.asarray([source * largest / 300]), 0)


BROKEN = tuple(
    Broken(rule, ("tflite-int8",), "tflite-int8", change, name)
    for rule, change, name in (
        (hazards.JOINED_RANGES, _unlike, "rescaled"),
        (hazards.JOINED_RANGES, _scores_and_boxes, "scores and boxes"),
        (hazards.OUTLIERS, _outlier, ""),
        (hazards.SOFTMAX, _softmax, ""),
        (hazards.BATCH_NORM, _batch_norm, ""),
        (hazards.PER_CHANNEL, _one_scale, ""),
        (hazards.UNFUSED, _hard_swish, "hard swish"),
        (hazards.UNFUSED, _coarse_output, "scales"),
    )
)

"""What is done with the layers of an integer graph that stay in float, so that ONNX Runtime is fast there."""

from __future__ import annotations

from onnx import NodeProto

from edgedet.export.onnx_graph import OnnxGraph

_NARROW = 16  # output channels
_MONOTONE = ("LeakyRelu", "Relu", "Clip")


def narrow_behind(graph: OnnxGraph, layer: NodeProto) -> NodeProto | None:
    """The 1x1 layer of few output channels that alone reads a depthwise float layer: float is faster there too.

    MobileNet's first block ends with one.
    """
    if not _is_depthwise(graph, layer):
        return None
    reader = graph.only_reader(layer.output[0])
    if reader is not None and reader.op_type in _MONOTONE:
        reader = graph.only_reader(reader.output[0])
    return reader if reader is not None and reader.op_type == "Conv" and _is_narrow(graph, reader) else None


def _is_depthwise(graph: OnnxGraph, node: NodeProto) -> bool:
    out, inner = graph.constants[node.input[1]].shape[:2]
    return bool(inner == 1 and out > 1 and any(a.name == "group" and a.i == out for a in node.attribute))


def _is_narrow(graph: OnnxGraph, node: NodeProto) -> bool:
    weights = graph.constants[node.input[1]]
    return bool(weights.shape[0] <= _NARROW and weights[0, 0].size == 1)


def pool_first(graph: OnnxGraph, layer: NodeProto) -> None:
    """Let a pool behind a float layer come before its activation, in place.

    The largest of rising values is the rising function of the largest, so nothing changes, and there are four times
    fewer to compute. It also keeps the pool in float: ONNX Runtime moves a rounding that follows a pool to before it,
    where 8-bit pooling of channels-first maps has no fast kernel (25 ms at 416 px).
    """
    activation = graph.only_reader(layer.output[0])
    if activation is None or activation.op_type not in _MONOTONE:
        return
    pool = graph.only_reader(activation.output[0])
    if pool is None or pool.op_type != "MaxPool":
        return
    after = pool.output[0]
    between = f"{activation.output[0]}_pooled"
    pool.input[0], pool.output[0] = layer.output[0], between
    activation.input[0], activation.output[0] = between, after
    place = graph.nodes.index(activation)
    graph.nodes.remove(pool)
    graph.nodes.insert(place, pool)
    graph.refresh()

"""The beginning of a network that is faster in float than in 8 bits, with ONNX Runtime.

Its integer kernels treat the three channels of an image as badly as those of XNNPACK do (tflite_integer_plan.stem): the
first layer of Tiny-YOLOv3 at 416 px took 10.4 ms in 8 bits and 2.8 ms in float, half of the whole integer network.
"""

from __future__ import annotations

from onnx import NodeProto

from edgedet.export.onnx_graph import OnnxGraph

_FEW_CHANNELS = 4
_NARROW = 16  # output channels
_MONOTONE = ("LeakyRelu", "Relu", "Clip")


def stem(graph: OnnxGraph, layers: list[NodeProto]) -> list[NodeProto]:
    """The first layer where it reads an image, a depthwise one behind it, and a narrow 1x1 one behind that.

    Args:
        layers: nodes with weights, in order of execution.
    """
    first, *others = layers
    if graph.constants[first.input[1]].shape[1] > _FEW_CHANNELS:
        return []
    found = [first]
    if others and _is_depthwise(graph, others[0]):
        found.append(others[0])
        if len(others) > 1 and _is_narrow(graph, others[1]) and _maker_before_clip(graph, others[1]) is others[0]:
            found.append(others[1])
    return found


def _is_depthwise(graph: OnnxGraph, node: NodeProto) -> bool:
    out, inner = graph.constants[node.input[1]].shape[:2]
    return bool(inner == 1 and out > 1 and any(a.name == "group" and a.i == out for a in node.attribute))


def _is_narrow(graph: OnnxGraph, node: NodeProto) -> bool:
    weights = graph.constants[node.input[1]]
    return bool(weights.shape[0] <= _NARROW and weights[0, 0].size == 1)


def _maker_before_clip(graph: OnnxGraph, node: NodeProto) -> NodeProto | None:
    maker = graph.maker(node.input[0])
    return graph.maker(maker.input[0]) if maker is not None and maker.op_type in _MONOTONE else maker


def pool_first(graph: OnnxGraph, layer: NodeProto) -> None:
    """Let a pool behind a float layer come before its activation, in place.

    The largest of rising values is the rising function of the largest, so nothing changes, and there are four times
    fewer to compute. It also keeps the pool in float: ONNX Runtime moves a rounding that follows a pool to before it,
    where 8-bit pooling of channels-first maps has no fast kernel (25 ms at 416 px).
    """
    (activation,) = graph.readers(layer.output[0]) or (None,)
    if activation is None or activation.op_type not in _MONOTONE:
        return
    readers = graph.readers(activation.output[0])
    if len(readers) != 1 or readers[0].op_type != "MaxPool":
        return
    pool, after = readers[0], readers[0].output[0]
    between = f"{activation.output[0]}_pooled"
    pool.input[0], pool.output[0] = layer.output[0], between
    activation.input[0], activation.output[0] = between, after
    place = graph.nodes.index(activation)
    graph.nodes.remove(pool)
    graph.nodes.insert(place, pool)
    graph.refresh()

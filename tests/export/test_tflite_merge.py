"""Two linear layers become one: the same function, and only where it saves time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_merge import merge_pairs
from tests.exported_files import Export

_RELU = schema.ActivationFunctionType.RELU
_NONE = schema.ActivationFunctionType.NONE


def convolution(graph: Graph, source: int, weights: Any, bias: Any, activation: int = _NONE, stride: int = 1) -> int:
    """A 1x1 convolution with (out, in) weights; gives its output."""
    value = np.asarray(weights, np.float32)
    batch, height, width, _ = graph.shape(source)
    number = len(graph.main.tensors)
    target = graph.add_tensor(f"y{number}", (batch, height // stride, width // stride, len(value)))
    filters = graph.add_constant(f"w{number}", value[:, None, None], "float32")
    offset = graph.add_constant(f"b{number}", bias, "float32")
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = stride
    options.dilationHFactor = options.dilationWFactor = 1
    options.fusedActivationFunction = activation
    graph.add_operator("CONV_2D", (source, filters, offset), (target,), options)
    return target


def pair(
    first: int = _NONE, stride: int = 1, extra_output: bool = False, channels: tuple[int, int, int] = (2, 2, 1)
) -> Graph:
    """(1, 2, 2, .) -> 1x1 -> 1x1 with a ReLU; weights [[1, 2], [3, 4]] and [[1, -2]] where channels are few."""
    before, between, after = channels
    rng = np.random.default_rng(0)
    small = channels == (2, 2, 1)
    a = [[1, 2], [3, 4]] if small else rng.normal(size=(between, before))
    b = [[1, -2]] if small else rng.normal(size=(after, between))
    graph = Graph.empty()
    x = graph.add_tensor("x", (1, 2, 2, before))
    middle = convolution(graph, x, a, [10, 1] if small else np.ones(between), first)
    y = convolution(graph, middle, b, [0.5] if small else np.ones(after), _RELU, stride)
    graph.set_signature({"x": x}, {"y": y, "middle": middle} if extra_output else {"y": y})
    return graph


def run(graph: Graph, x: Any) -> Any:
    interpreter = Interpreter(model_content=graph.to_bytes())
    return interpreter.get_signature_runner("serving_default")(x=x)["y"]


def test_hand_computed() -> None:
    """[1, -2] [[1, 2], [3, 4]] = [-5, -6]; [1, -2] . [10, 1] + 0.5 = 8.5; at x = (1, 0.25) that is 2."""
    graph = pair()
    merge_pairs(graph)
    (layer,) = graph.operators()
    weights, bias = (graph.constant(int(tensor)) for tensor in layer.inputs[1:])
    assert weights is not None
    assert bias is not None
    assert weights.shape == (1, 1, 1, 2)
    assert weights.reshape(-1).tolist() == [-5, -6]
    assert bias.tolist() == [8.5]
    assert layer.builtinOptions.fusedActivationFunction == _RELU
    x = np.tile(np.array([1, 0.25], np.float32), (1, 2, 2, 1))
    assert run(graph, x).reshape(-1).tolist() == [2, 2, 2, 2]
    assert run(graph, 10 * x).max() == 0  # the second layer's ReLU


def test_the_same_function() -> None:
    x = np.random.default_rng(1).normal(size=(1, 2, 2, 32)).astype(np.float32)
    graph = pair(channels=(32, 16, 96))
    before = run(graph, x)
    merge_pairs(graph)
    assert len(graph.operators()) == 1
    np.testing.assert_allclose(run(graph, x), before, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "graph",
    [
        pair(first=_RELU),
        pair(stride=2),
        pair(extra_output=True),
        pair(channels=(96, 16, 32)),  # products count
        pair(channels=(32, 2, 96)),  # 3072 products instead of 256
    ],
    ids=["activation between", "stride", "read elsewhere", "many channels", "narrow middle"],
)
def test_what_stays_two(graph: Graph) -> None:
    merge_pairs(graph)
    assert len(graph.operators()) == 2


@pytest.mark.parametrize("place", [0, 1])
def test_a_layer_that_shall_stay_float_stays(place: int) -> None:
    graph = pair()
    merge_pairs(graph, {id(graph.operators()[place])})
    assert len(graph.operators()) == 2


def test_int8_files_have_one_layer_less_than_float_ones(exported: Export) -> None:
    """The first projection of MobileNetV2 and the expansion behind it; nothing else qualifies."""
    counts = {}
    for precision in ("fp32", "int8"):
        path = exported("ssdlite_mobilenet_v2", "tflite", precision).artifact.path
        counts[precision] = len(Graph.parse(path.read_bytes()).operators("CONV_2D"))
    assert counts["int8"] == counts["fp32"] - 1

"""Editing flatbuffers: what is written is what LiteRT reads."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgedet.errors import ExportError
from edgedet.export.tflite_compact import compact
from edgedet.export.tflite_fp16 import store_weights_as_float16
from edgedet.export.tflite_graph import Graph


def pointwise(weight: float = 0.1) -> Graph:
    """y = clamp(conv(x, weight) + bias): a 1x1 convolution of two channels, then MINIMUM with a constant."""
    graph = Graph.empty()
    x, y = graph.add_tensor("x", (1, 1, 1, 2)), graph.add_tensor("y", (1, 1, 1, 2))
    limited = graph.add_tensor("limited", (1, 1, 1, 2))
    filters = graph.add_constant("filters", np.array([[weight, 0.2], [0.3, 0.4]]).reshape(2, 1, 1, 2), "float32")
    bias = graph.add_constant("bias", [1.0, 2.0], "float32")
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    graph.add_operator("CONV_2D", (x, filters, bias), (y,), options)
    limit = graph.add_constant("limit", 2.55, "float32")
    graph.add_operator("MINIMUM", (y, limit), (limited,), schema.MaximumMinimumOptionsT())
    graph.set_signature({"x": x}, {"limited": limited})
    return graph


def run(graph: Graph) -> list[float]:
    interpreter = Interpreter(model_content=graph.to_bytes())
    runner = interpreter.get_signature_runner("serving_default")
    return [float(v) for v in runner(x=np.ones((1, 1, 1, 2), np.float32))["limited"].reshape(-1)]


def test_built_graph_runs() -> None:
    assert run(pointwise()) == pytest.approx([1.3, 2.55])


def test_written_graph_is_read_back() -> None:
    graph = Graph.parse(pointwise().to_bytes())
    assert [graph.operator_name(op) for op in graph.operators()] == ["CONV_2D", "MINIMUM"]
    assert graph.shape(graph.tensor("filters")) == (2, 1, 1, 2)
    assert graph.dtype(graph.tensor("filters")) == "float32"
    bias = graph.constant(graph.tensor("bias"))
    assert bias is not None
    assert bias.tolist() == [1, 2]
    assert graph.constant(graph.tensor("x")) is None
    graph.rename(graph.tensor("x"), "image")
    assert graph.tensor("image") == int(graph.main.inputs[0])
    with pytest.raises(KeyError, match="missing"):
        graph.tensor("missing")


def test_constants_are_aligned_to_16_bytes() -> None:
    data = pointwise().to_bytes()
    model = schema.Model.GetRootAs(data, 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    starts = [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]
    assert len(starts) == 3
    assert all(start % 16 == 0 for start in starts)


def test_an_operator_of_one_kind_has_one_code() -> None:
    graph = pointwise()
    a = graph.add_tensor("a", (2,))
    before = len(graph.model.operatorCodes)
    graph.add_operator("MINIMUM", (a, a), (a,), schema.MaximumMinimumOptionsT())
    assert len(graph.model.operatorCodes) == before
    graph.add_custom_operator("Mine", (a,), (a,), b"")
    graph.add_custom_operator("Mine", (a,), (a,), b"")
    assert len(graph.model.operatorCodes) == before + 1
    assert [graph.operator_name(op) for op in graph.operators("Mine")] == ["Mine", "Mine"]


def test_pruned_graph_ends_at_its_outputs() -> None:
    graph = pointwise()
    graph.set_signature({"x": graph.tensor("x")}, {"limited": graph.tensor("y")})
    graph.prune()
    assert [graph.operator_name(op) for op in graph.operators()] == ["CONV_2D"]
    assert run(graph) == pytest.approx([1.3, 2.7])


@pytest.mark.parametrize("data", [b"", b"text, not a model", b"\x1c\0\0\0TFL3", b"\xff\xff\xff\x7fTFL3" + b"\xff" * 40])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"identifier|damaged|subgraphs"):
        Graph.parse(data)


def test_float16_weights_are_rounded_and_nothing_else() -> None:
    graph = pointwise()
    store_weights_as_float16(graph)
    names = [graph.operator_name(op) for op in graph.operators()]
    assert names == ["DEQUANTIZE", "DEQUANTIZE", "CONV_2D", "MINIMUM"]
    assert graph.dtype(graph.tensor("filters_float16")) == "float16"
    assert graph.constant(graph.tensor("filters")) is None
    assert graph.constant(graph.tensor("limit")) == np.float32(2.55)
    half = np.array([0.1, 0.2, 0.3, 0.4], np.float16).astype(np.float32)
    assert run(graph) == pytest.approx([half[0] + half[1] + 1, 2.55], abs=1e-6)
    compact(graph)
    assert run(graph) == pytest.approx([half[0] + half[1] + 1, 2.55], abs=1e-6)
    kept = [buffer for buffer in graph.model.buffers if buffer.data is not None]
    assert sorted(len(buffer.data) for buffer in kept) == [4, 4, 8]  # two biases and four weights of 2 bytes, one float


def test_float16_overflow_is_refused() -> None:
    with pytest.raises(ExportError, match=r"filters.*float16"):
        store_weights_as_float16(pointwise(weight=1e5))

"""Times by operators: which part a node belongs to, and what a trace adds up to."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgedet.benchmarks.latency import Latency, read_results
from edgedet.benchmarks.operators import Attribution, OperatorCost, attribute
from edgedet.benchmarks.operators_onnx import _costs, _fastest, name_by_part, parts_of
from edgedet.benchmarks.operators_profiler import chain, profiler_us_per_call
from edgedet.benchmarks.operators_table import lines
from edgedet.benchmarks.operators_tflite import outside_with_hints
from edgedet.cli import main
from edgedet.errors import NotRunError
from tests.exported_files import Export


def _graph(backbone: str) -> onnx.GraphProto:
    """image -> Sub -> Conv (a) -> Relu -> Conv (b) -> Reshape -> box_codes, logits -> boxes, scores -> out."""
    nodes = [
        helper.make_node("Sub", ["image", "mean"], ["centred"]),
        helper.make_node("Conv", ["centred", backbone], ["features"]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("Conv", ["active", "head.weight"], ["raw"]),
        helper.make_node("Reshape", ["raw", "shape"], ["box_codes"]),
        helper.make_node("Identity", ["raw"], ["logits"]),
        helper.make_node("Exp", ["box_codes"], ["boxes"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Mul", ["boxes", "scores"], ["out"]),
    ]
    weights = [
        helper.make_tensor(name, TensorProto.FLOAT, [1, 1, 1, 1], [1.0]) for name in (backbone, "head.weight")
    ] + [helper.make_tensor("mean", TensorProto.FLOAT, [], [0.0])]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 1, 1])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, 1, 1])
    return helper.make_graph(nodes, "g", [image], [out], weights)


@pytest.mark.parametrize("weight", ["deployable.network.backbone.0.weight", "deployable.network.body.0.weight"])
def test_each_node_has_a_part(weight: str) -> None:
    graph = _graph(weight)
    parts = ["normalise", "backbone", "backbone", "head", "head", "head", "decode", "decode", "nms"]
    assert parts_of(graph) == parts
    name_by_part(graph)
    assert [node.name.partition("|")[0] for node in graph.node] == parts
    assert list(graph.node[8].output) == ["out"]
    assert list(graph.node[3].input) == ["backbone|active", "head.weight"]


@pytest.mark.parametrize("precision", ["int8", "int8-weights"])
@pytest.mark.parametrize("name", ["ssdlite_mobilenet_v2", "ssdlite_mobilenet_v3_small", "yolov3_tiny"])
def test_weights_stored_as_integers_belong_where_they_did(exported: Export, name: str, precision: str) -> None:
    floats, integers = (onnx.load(exported(name, "onnx", one).artifact.path).graph for one in ("fp32", precision))

    def layers(graph: onnx.GraphProto) -> Counter[str]:
        pairs = zip(graph.node, parts_of(graph), strict=True)
        return Counter(part for node, part in pairs if node.op_type in ("Conv", "Gemm"))

    assert layers(integers) == layers(floats)
    assert set(layers(floats)) == {"backbone", "head"}


def test_a_trace_adds_up() -> None:
    def event(name: str, kind: str, us: float) -> dict[str, object]:
        return {"name": name, "dur": us, "args": {"op_name": kind}}

    run = [event("backbone|0_kernel_time", "Conv", 500.0), event("ReorderOutput_3_kernel_time", "ReorderOutput", 20.0)]
    run += [event("backbone|1_kernel_time", "Conv", 300.0), event("nms|7_kernel_time", "TopK", 100.0)]
    assert _costs([run, run]) == (
        OperatorCost("backbone", "Conv", 2, 0.8),
        OperatorCost("nms", "TopK", 1, 0.1),
        OperatorCost("backbone", "ReorderOutput", 1, 0.02),
    )
    assert _costs([run], 50.0)[-1].ms == 0.0
    assert [cost.ms for cost in _costs([run], 10.0)] == pytest.approx([0.78, 0.09, 0.01])
    assert _fastest([9.0, 1.0, 5.0, 4.0, 0.5, 7.0, 8.0, 6.0]) == [4, 1]
    found = Attribution("m.onnx", "onnxruntime", "trace", 1, 2, 0.95, _costs([run]))
    assert list(found.parts_ms) == ["backbone", "nms"]
    assert found.sum_ms == pytest.approx(0.92)
    assert found.agrees is True
    assert Attribution("m.onnx", "", "trace", 1, 2, 0.8, _costs([run])).agrees is False
    assert "within 5 %" in lines(found)[0]


def test_operators_outside_the_delegate_come_with_a_hint() -> None:
    cast, post = outside_with_hints(["CAST", "CAST", "TFLite_Detection_PostProcess"])
    assert cast.startswith("2 x CAST: it changes the type")
    assert "--tflite-layout mediapipe-gpu" in post
    assert "XNNPACK's list" in outside_with_hints(["SOMETHING"])[0]


def test_files_taken_apart(
    exported: Export, model_pt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [exported("yolov3_tiny", name, "fp32").artifact.path for name in ("onnx", "tflite")]
    out = tmp_path / "operators.json"
    assert (
        main(["bench", *map(str, files), "--operators", "--threads", "1", "--seconds", "0.1", "--json", str(out)]) == 0
    )
    assert "outside the delegate" in capsys.readouterr().out
    traced, cut = json.loads(out.read_text())["operators"]
    assert list(traced["parts_ms"]) == ["normalise", "backbone", "head", "decode", "nms"]
    assert all(value > 0 for value in traced["parts_ms"].values())
    assert traced["traced_ms"] > traced["sum_ms"]
    assert traced["profiler_us_per_call"] > 0
    assert cut["sum_ms"] == pytest.approx(cut["total_ms"])
    assert cut["agrees_within_5_percent"] is None
    onnx_result, tflite_result = (one for one in read_results(out) if isinstance(one, Latency))
    assert onnx_result.inside is not None
    assert tflite_result.inside is not None
    assert onnx_result.inside.parts_ms == pytest.approx(traced["parts_ms"])
    assert tflite_result.inside.agrees
    assert list(tflite_result.inside.parts_ms) == ["backbone", "head", "decode", "nms"]
    with pytest.raises(NotRunError, match="operators are timed in"):
        attribute(model_pt)


def test_a_tflite_is_cut_where_its_heads_begin(exported: Export) -> None:
    path = exported("ssdlite_mobilenet_v3_small", "tflite", "fp32").artifact.path
    found = attribute(path, threads=1, runs=10)
    assert list(found.parts_ms) == ["backbone", "head", "decode", "nms"]
    assert sum(found.parts_ms.values()) == pytest.approx(found.total_ms)


def test_the_profilers_time_is_that_of_small_operators() -> None:
    assert len(chain(3).graph.node) == 3
    assert 0 < profiler_us_per_call() < 1000

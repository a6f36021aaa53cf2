"""The hazards of 8-bit .tflite files: none in ours, those that the runtime shows in others, all operators tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgedet.export import int8_hazards as hazards
from edgedet.export.findings import Finding
from edgedet.export.inspect import inspect_file
from edgedet.export.tflite_delegate import INT8_OPERATORS, MOST_JOINED, RATIOS, operators_outside
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_int8 import set_scales
from edgedet.export.tflite_runner import _interpreter
from tests.exported_files import Export
from tests.small_models import SPECS

CONTRACT = "tflite-int8"
# Darknet's reorg layer takes every second row and column, and XNNPACK does not: test_tflite_integers.
ALARMS = {("darknet", "int8"): [hazards.UNFUSED]}
SCALE, CHANNELS = 0.05, 8
SHAPE = (1, 4, 4, CHANNELS)


def findings(path: Path) -> dict[str, Finding]:
    return {finding.rule: finding for finding in inspect_file(path, [CONTRACT]).findings[CONTRACT]}


def failing(path: Path) -> list[str]:
    return [rule for rule, finding in findings(path).items() if finding.status == "fail"]


def outside(content: bytes) -> Counter[str]:
    """Operators that the delegate really leaves to the interpreter."""
    interpreter = _interpreter(1, model_content=content)
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    return Counter(operators_outside(interpreter._get_ops_details(), outputs))


# Our files


@pytest.mark.parametrize("precision", ["int8", "int8-weights", "int8-dynamic", "int16x8"])
@pytest.mark.parametrize("name", SPECS)
def test_our_files_have_no_hazard(exported: Export, name: str, precision: str) -> None:
    path = exported(name, "tflite", precision).artifact.path
    assert failing(path) == ALARMS.get((name, precision), [])
    assert findings(path)[hazards.PER_CHANNEL].status == "pass"


@pytest.mark.parametrize("options", [{}, {"tflite_input": "uint8"}], ids=["float", "uint8 image"])
def test_no_rule_is_about_a_file_of_floats(exported: Export, options: dict[str, Any]) -> None:
    path = exported("yolov3_tiny", "tflite", "fp32", **options).artifact.path
    assert {finding.status for finding in findings(path).values()} == {"not applicable"}


# Third-party files, and what the runtime does with them


def test_googles_uint8_detector(shared_data: Path) -> None:
    folder = shared_data / "data/third_party/tflite_coco_ssd_mobilenet_v1"
    path = folder / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    assert failing(path) == [hazards.PER_CHANNEL, hazards.UNFUSED]
    assert "47 of 47 convolutions" in findings(path)[hazards.PER_CHANNEL].reason
    assert "2 operators" in findings(path)[hazards.UNFUSED].reason
    assert "CONCATENATION of 6 tensors" in findings(path)[hazards.UNFUSED].reason
    assert outside(path.read_bytes()) == {"CONCATENATION": 2, "TFLite_Detection_PostProcess": 1}


def test_a_converted_network_of_integer_heads_joins_boxes_and_scores(shared_data: Path) -> None:
    """Its box codes have the scale of a sigmoid: what lies outside of 0..1 is lost."""
    path = shared_data / "data/third_party/yolox_nano/model/yolox_nano_int8_quantize.tflite"
    assert failing(path) == [hazards.JOINED_RANGES]
    assert "Sigmoid" in findings(path)[hazards.JOINED_RANGES].reason


def test_depthwise_layers_of_dynamic_ranges_run_outside(shared_data: Path) -> None:
    path = shared_data / "data/third_party/yolox_nano/model/yolox_nano_dynamic_range_quantize.tflite"
    assert failing(path) == [hazards.UNFUSED]
    assert "4 operators" in findings(path)[hazards.UNFUSED].reason
    assert outside(path.read_bytes())["DEPTHWISE_CONV_2D"] == 4


# Each operator, as the rule says and as the delegate does


@dataclass(frozen=True)
class Case:
    """A graph of one operator on 8-bit tensors.

    Attributes:
        shape: of each output.
        options: name of the schema's class, and its fields.
        inputs: how many 8-bit ones.
        constants: int32 ones behind them (before them for SPLIT).
        scale: of the outputs; zero: their zero point.
    """

    name: str
    shape: Sequence[int] = SHAPE
    options: tuple[str, dict[str, Any]] | None = None
    inputs: int = 1
    constants: tuple[Any, ...] = ()
    outputs: int = 1
    scale: float = SCALE
    zero: int = 0
    version: int = 2
    dtype: str = "int8"

    def graph(self) -> Graph:
        graph, middle = Graph.empty(), 128 if self.dtype == "uint8" else 0
        inputs = {f"x{place}": graph.add_tensor(f"x{place}", SHAPE, self.dtype) for place in range(self.inputs)}
        outputs = {f"y{place}": graph.add_tensor(f"y{place}", self.shape, self.dtype) for place in range(self.outputs)}
        for tensors, scale, zero in ((inputs, SCALE, middle), (outputs, self.scale, self.zero or middle)):
            for tensor in tensors.values():
                set_scales(graph, tensor, np.asarray([scale]), zero)
        constants = [graph.add_constant(f"c{i}", value, "int32") for i, value in enumerate(self.constants)]
        reads = [*constants, *inputs.values()] if self.name == "SPLIT" else [*inputs.values(), *constants]
        made = graph.add_operator(self.name, reads, list(outputs.values()), _options(self.options))
        graph.set_version(made, self.version)
        graph.set_signature(inputs, outputs)
        return graph


def _options(wanted: tuple[str, dict[str, Any]] | None) -> Any:
    if wanted is None:
        return None
    made = getattr(schema, f"{wanted[0]}OptionsT")()
    for field, value in wanted[1].items():
        assert hasattr(made, field)
        setattr(made, field, value)
    return made


def _join(count: int, **more: Any) -> Case:
    shape, options = (1, 4, 4, CHANNELS * count), ("Concatenation", {"axis": 3})
    return Case("CONCATENATION", shape, options, inputs=count, **more)


_POOL = ("Pool2D", {"strideW": 2, "strideH": 2, "filterWidth": 2, "filterHeight": 2})
_REDUCE = {"options": ("Reducer", {"keepDims": True}), "constants": ([1, 2],), "shape": (1, 1, 1, CHANNELS)}
_BEGIN, _END = [0, 0, 0, 0], [1, 4, 4, CHANNELS]
TAKEN = (
    Case("ADD", options=("Add", {}), inputs=2),
    Case("SUB", options=("Sub", {}), inputs=2),
    Case("MUL", options=("Mul", {}), inputs=2),
    Case("ADD", options=("Add", {}), inputs=2, dtype="uint8"),
    Case("BATCH_MATMUL", (1, 4, 4, 4), ("BatchMatMul", {"adjY": True}), inputs=2),
    Case("MAX_POOL_2D", (1, 2, 2, CHANNELS), _POOL),
    _join(2),
    _join(MOST_JOINED),
    Case("DEPTH_TO_SPACE", (1, 8, 8, 2), ("DepthToSpace", {"blockSize": 2})),
    Case("SPACE_TO_DEPTH", (1, 2, 2, 32), ("SpaceToDepth", {"blockSize": 2})),
    Case("ELU", version=1),
    Case("LEAKY_RELU", options=("LeakyRelu", {"alpha": 0.1})),
    Case("LOGISTIC", scale=1 / 256, zero=-128),
    Case("TANH", scale=1 / 128),
    *(Case(name, **_REDUCE) for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN")),
    Case("PAD", (1, 6, 6, CHANNELS), ("Pad", {}), constants=([[0, 0], [1, 1], [1, 1], [0, 0]],)),
    Case("RESHAPE", (1, 128), ("Reshape", {"newShape": [1, 128]}), constants=([1, 128],), version=1),
    Case("RESIZE_BILINEAR", (1, 8, 8, CHANNELS), ("ResizeBilinear", {}), constants=([8, 8],)),
    Case("SLICE", (1, 2, 4, CHANNELS), ("Slice", {}), constants=(_BEGIN, [1, 2, 4, CHANNELS])),
    Case("STRIDED_SLICE", (1, 4, 4, CHANNELS), ("StridedSlice", {}), constants=(_BEGIN, _END, [1, 1, 1, 1])),
    Case("SPLIT", (1, 4, 4, 4), ("Split", {"numSplits": 2}), constants=(3,), outputs=2),
    Case("TRANSPOSE", (1, CHANNELS, 4, 4), ("Transpose", {}), constants=([0, 3, 1, 2],)),
    Case("QUANTIZE", options=("Quantize", {}), scale=0.1),
)
LEFT = (
    Case("HARD_SWISH", options=("HardSwish", {}), version=1),
    Case("AVERAGE_POOL_2D", (1, 2, 2, CHANNELS), _POOL),
    Case("RELU"),
    Case("RELU6"),
    Case("MAXIMUM", options=("MaximumMinimum", {}), inputs=2),
    Case("SQUARED_DIFFERENCE", options=("SquaredDifference", {}), inputs=2),
    Case("RESIZE_NEAREST_NEIGHBOR", (1, 8, 8, CHANNELS), ("ResizeNearestNeighbor", {}), constants=([8, 8],)),
    Case("GATHER", (1, 4, 4, 2), ("Gather", {"axis": 3}), constants=([0, 1],)),
    Case("SQUEEZE", (4, 4, CHANNELS), ("Squeeze", {"squeezeDims": [0]})),
    Case("MIRROR_PAD", (1, 6, 6, CHANNELS), ("MirrorPad", {}), constants=([[0, 0], [1, 1], [1, 1], [0, 0]],)),
    Case("STRIDED_SLICE", (1, 2, 2, CHANNELS), ("StridedSlice", {}), constants=(_BEGIN, _END, [1, 2, 2, 1])),
    _join(MOST_JOINED + 1),
    _join(2, scale=2 * SCALE, dtype="uint8"),
)
LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}  # whole files of them above


@pytest.mark.parametrize("case", TAKEN, ids=lambda case: f"{case.name}-{case.inputs}-{case.dtype}")
def test_what_the_delegate_takes_passes(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "one.tflite"
    path.write_bytes(case.graph().to_bytes())
    assert outside(path.read_bytes()) == {}
    assert failing(path) == []


@pytest.mark.parametrize("case", LEFT, ids=lambda case: f"{case.name}-{case.inputs}-{case.dtype}")
def test_what_the_delegate_leaves_fails(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "one.tflite"
    path.write_bytes(case.graph().to_bytes())
    assert outside(path.read_bytes()) == {case.name: 1}
    assert failing(path) == [hazards.UNFUSED]
    assert case.name in findings(path)[hazards.UNFUSED].reason


def test_every_operator_of_the_table_was_tried() -> None:
    assert {case.name for case in TAKEN} | LAYERS | {"TRANSPOSE_CONV"} == INT8_OPERATORS


@pytest.mark.parametrize("scales", [16, 1])
def test_transposed_convolutions_are_layers_too(scales: int, tmp_path: Path) -> None:
    graph, path = Graph.empty(), tmp_path / "one.tflite"
    source, target = graph.add_tensor("x", SHAPE, "int8"), graph.add_tensor("y", (1, 8, 8, 16), "int8")
    weights = graph.add_constant("w", np.ones((16, 2, 2, CHANNELS)), "int8")
    for tensor, count in ((source, 1), (target, 1), (weights, scales)):
        set_scales(graph, tensor, np.full(count, SCALE), 0)
    reads = [graph.add_constant("shape", (1, 8, 8, 16), "int32"), weights, source]
    made = graph.add_operator(
        "TRANSPOSE_CONV", reads, [target], _options(("TransposeConv", {"strideW": 2, "strideH": 2}))
    )
    graph.set_version(made, 2)
    graph.set_signature({"x": source}, {"y": target})
    path.write_bytes(graph.to_bytes())
    assert outside(path.read_bytes()) == {}
    assert failing(path) == ([] if scales > 1 else [hazards.PER_CHANNEL])


def _ratio(name: str, inputs: int) -> Callable[[float], Case]:
    """Ratio of the scales to the operator."""
    options = ("LeakyRelu", {"alpha": 1.0}) if name == "LEAKY_RELU" else (name.title(), {})
    product = SCALE**2 if name == "MUL" else SCALE
    return lambda ratio: Case(name, options=options, inputs=inputs, scale=product / ratio)


@pytest.mark.parametrize(("name", "inputs"), [("ADD", 2), ("SUB", 2), ("MUL", 2), ("LEAKY_RELU", 1)])
@pytest.mark.parametrize("side", [0, 1], ids=["finest", "coarsest"])
def test_scales_beyond_the_limits_are_left_out(name: str, inputs: int, side: int, tmp_path: Path) -> None:
    limit, path = RATIOS[name][side], tmp_path / "one.tflite"
    for factor in (0.99, 1.01):
        path.write_bytes(_ratio(name, inputs)(limit * factor).graph().to_bytes())
        taken = factor > 1 if side == 0 else factor < 1
        assert outside(path.read_bytes()) == ({} if taken else {name: 1})
        assert failing(path) == ([] if taken else [hazards.UNFUSED])

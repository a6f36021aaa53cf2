"""TFLite files in integers: one part of the graph for the delegate, scales, single layers in float, learned ranges."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgedet.errors import ExportError
from edgedet.export import to_tflite
from edgedet.export.card import FileCard
from edgedet.export.deployable import Deployable
from edgedet.export.layers import layers_of
from edgedet.export.options import ExportOptions
from edgedet.export.parity import compare
from edgedet.export.pictures import generated_pictures
from edgedet.export.tflite_delegate import operators_outside
from edgedet.export.tflite_graph import Graph
from edgedet.export.tflite_layers import operators_of_layers
from edgedet.export.tflite_quantize import Job, to_precision
from edgedet.export.tflite_runner import BOX_CODES, DELTAS, LOGITS, SCORES, TfliteRunner
from edgedet.preprocess import normalise
from edgedet.quantization import simulate
from edgedet.torch_runner import TorchRunner
from tests.exported_files import Export, calibration_pictures
from tests.small_models import SPECS, small_model

# What XNNPACK leaves out in 8 bits, and so splits the graph: Darknet's reorg layer takes every second row and column.
_OUTSIDE = {"darknet": {"STRIDED_SLICE": 6}}
_NAME = "ssdlite_mobilenet_v3_small"


def parts(runner: TfliteRunner) -> tuple[int, dict[str, int]]:
    """Parts that the delegate takes of everything before suppression, and the operators outside by name."""
    from edgedet.export.tflite_runner import _interpreter

    interpreter = _interpreter(1, model_content=runner.cut((DELTAS, SCORES)).to_bytes())
    nodes = interpreter._get_ops_details()
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    delegated = sum(node["op_name"] == "DELEGATE" for node in nodes)
    return delegated, dict(Counter(operators_outside(nodes, outputs)))


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8-weights", "int8-dynamic"])
@pytest.mark.parametrize("name", SPECS)
def test_the_delegate_takes_all_in_one(exported: Export, name: str, precision: str) -> None:
    runner = exported(name, "tflite", precision).runner()
    assert isinstance(runner, TfliteRunner)
    count, outside = parts(runner)
    assert outside == _OUTSIDE.get(name, {})
    assert count == (2 if outside else 1)


@pytest.mark.parametrize("name", SPECS)
def test_almost_all_layers_compute_with_integers(exported: Export, name: str) -> None:
    graph = Graph.parse(exported(name, "tflite", "int8").artifact.path.read_bytes())
    layers = graph.operators("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    floats = [op for op in layers if graph.dtype(int(op.outputs[0])) == "float32"]
    assert floats == layers[: len(floats)]  # the first ones: see edgedet.quantization.stem
    assert len(floats) <= (3 if "v3_large" in name else 2)
    assert (
        not graph.operators("HARD_SWISH") or graph.dtype(int(graph.operators("HARD_SWISH")[0].inputs[0])) == "float32"
    )


def test_a_narrow_layer_behind_the_first_ones_stays_float(exported: Export) -> None:
    """MobileNetV3-Large: the first block's projection to 16 channels (8 here), and the sum of block and input."""
    graph = Graph.parse(exported("ssdlite_mobilenet_v3_large_tree", "tflite", "int8").artifact.path.read_bytes())
    third = graph.operators("CONV_2D", "DEPTHWISE_CONV_2D")[2]
    assert graph.shape(int(third.outputs[0]))[3] == 8
    (reader,) = graph.consumers(int(third.outputs[0]))
    assert graph.operator_name(reader) == "ADD"
    (quantize,) = graph.consumers(int(reader.outputs[0]))
    assert graph.operator_name(quantize) == "QUANTIZE"
    first = graph.main.operators.index(quantize)
    assert not [op for op in graph.main.operators[:first] if graph.operator_name(op) == "QUANTIZE"]


def test_boxes_and_logits_share_no_scale(exported: Export) -> None:
    """Each level of either has a tensor of its own; they are joined as floats."""
    graph = Graph.parse(exported("ssdlite_mobilenet_v2", "tflite", "int8").artifact.path.read_bytes())
    for name in (BOX_CODES, LOGITS, DELTAS, SCORES):
        assert graph.dtype(graph.tensor(name)) == "float32"
    ends = [int(op.inputs[0]) for op in graph.operators("DEQUANTIZE")]
    assert len(ends) >= 4
    scales = {float(graph.main.tensors[tensor].quantization.scale[0]) for tensor in ends}
    assert len(scales) == len(ends)


def test_weights_have_a_scale_for_each_channel(exported: Export) -> None:
    graph = Graph.parse(exported("ssdlite_mobilenet_v2", "tflite", "int8").artifact.path.read_bytes())
    seen = 0
    for op in graph.operators("CONV_2D", "DEPTHWISE_CONV_2D"):
        weights, bias = (graph.main.tensors[int(tensor)] for tensor in op.inputs[1:])
        if graph.dtype(int(op.inputs[1])) != "int8":
            continue
        seen += 1
        channels = graph.shape(int(op.outputs[0]))[3]
        assert len(weights.quantization.scale) == len(bias.quantization.scale) == channels
        source = graph.main.tensors[int(op.inputs[0])].quantization.scale[0]
        np.testing.assert_allclose(bias.quantization.scale, source * weights.quantization.scale, rtol=1e-6)
        value = graph.constant(int(op.inputs[1]))
        assert value is not None
        assert np.abs(value.astype(int)).max() == 127
    assert seen > 20


def case(options: ExportOptions, path: Path, ranges: dict[str, tuple[float, float]] | None = None) -> Graph:
    """The small MobileNetV3 as a file."""
    spec = SPECS[_NAME]
    deployable = Deployable(small_model(spec), spec)
    deployable.activation_ranges = ranges or {}
    calibration = calibration_pictures(spec.input)
    card = FileCard(spec, options.precision, deployable.weights_sha256, "0.0", calibration.record)
    to_tflite.export(deployable, options, card, path, calibration)
    return Graph.parse(path.read_bytes())


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    for place in ("a", "b"):
        case(ExportOptions("int8"), tmp_path / f"{place}.tflite")
    assert (tmp_path / "a.tflite").read_bytes() == (tmp_path / "b.tflite").read_bytes()


def test_single_layers_stay_float(tmp_path: Path) -> None:
    spec = SPECS[_NAME]
    names = [layer.name for layer in layers_of(Deployable(small_model(spec), spec))]
    chosen = (names[10], names[11])
    graph = case(ExportOptions("int8", float_layers=chosen), tmp_path / "mixed.tflite")
    layers = graph.operators("CONV_2D", "DEPTHWISE_CONV_2D")
    floats = [op for op in layers if graph.dtype(int(op.outputs[0])) == "float32"]
    assert len(floats) == 4  # those two and the first two
    report = compare(
        TorchRunner(small_model(spec), spec, Path("model.pt")),
        to_tflite.open_runner(tmp_path / "mixed.tflite"),
        generated_pictures(),
    )
    assert report.passed, report.reasons()
    with pytest.raises(ExportError, match="no layer"):
        case(ExportOptions("int8", float_layers=("backbone.nothing",)), tmp_path / "wrong.tflite")


def test_ranges_of_training_are_used(tmp_path: Path) -> None:
    """A layer with a fused ReLU: its integers reach exactly as far as training said."""
    spec = SPECS[_NAME]
    deployable = Deployable(small_model(spec), spec)
    graph = Graph.parse(to_tflite._lower(deployable))
    found = operators_of_layers(graph, layers_of(deployable))
    relu = [name for name, ops in found.items() if ops[0].builtinOptions.fusedActivationFunction == 1][2]
    made = case(ExportOptions("int8"), tmp_path / "learned.tflite", {relu: (0.0, 2.55)})
    scales = [float(t.quantization.scale[0]) for t in made.main.tensors if t.quantization and t.type == 9]
    assert any(abs(scale - 0.01) < 1e-6 for scale in scales)


def test_ranges_of_training_reach_hard_sigmoids_behind_their_factor(tmp_path: Path) -> None:
    """As training gives them. Squeeze and excitation ends in a hard sigmoid, of which a layer here gives six times."""
    spec = SPECS[_NAME]
    model, pictures = small_model(spec), list(calibration_pictures(spec.input).network_pixels)
    simulated = simulate(model, spec)
    pixels = torch.stack([torch.from_numpy(picture.copy()).permute(2, 0, 1).float() for picture in pictures])
    simulated.observe([normalise(pixels, spec.input)])
    simulated.choose()
    ranges = simulated.ranges()
    graph = case(ExportOptions("int8"), tmp_path / "learned.tflite", ranges)
    by_scalars = [op for op in graph.operators("MUL") if graph.shape(int(op.inputs[1])) == ()]
    gates = [op for op in by_scalars if graph.dtype(int(op.outputs[0])) == "int8"]  # not those of decoding
    assert len(gates) > 2
    for gate in gates:
        six, one = (graph.main.tensors[int(t)].quantization.scale[0] for t in (gate.inputs[0], gate.outputs[0]))
        assert six > 3 * one


@pytest.mark.parametrize("factor", [1.5, 0.6])
def test_one_wrong_scale_fails_the_comparison(exported: Export, tmp_path: Path, factor: float) -> None:
    """The scales of one inner layer's weights; the heads' own are nearer to the end and matter more.

    The scale of an activation that is too large by half is no such fault: writer and reader share it.
    """
    made = exported("yolov3_tiny", "tflite", "int8")
    runner = made.runner()
    graph = Graph.parse(made.artifact.path.read_bytes())
    middle = graph.operators("CONV_2D")[4]
    for index in middle.inputs[1:]:  # weights and bias, whose scale contains that of the weights
        quantization = graph.main.tensors[int(index)].quantization
        quantization.scale = quantization.scale * np.float32(factor)
    path = tmp_path / "wrong.tflite"
    path.write_bytes(to_tflite.append_files(graph.to_bytes(), runner.spec.class_names))
    report = compare(made.reference(), to_tflite.open_runner(path), generated_pictures())
    assert report.status == "failed"


def test_uint8_pixels_into_an_int8_file(exported: Export) -> None:
    made = exported("ssdlite_mobilenet_v2", "tflite", "int8", tflite_input="uint8")
    assert made.artifact.parity.passed, made.artifact.parity.reasons()
    (image,) = made.runner()._interpreter.get_input_details()  # type: ignore[attr-defined]
    assert image["dtype"] == np.uint8


def test_weights_that_are_no_numbers_are_refused() -> None:
    spec = SPECS["yolov3_tiny"]
    model = small_model(spec)
    next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d)).weight.data[0] = float("nan")
    graph: Any = Graph.empty()
    with pytest.raises(ExportError, match="NaN"):
        to_precision(Job(graph, Deployable(model, spec), ExportOptions("int8-weights"), None))

"""Integer ONNX files: what is computed in 8 bits, with which scales, and that a wrong one shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from edgedet.export import to_onnx
from edgedet.export.card import FileCard
from edgedet.export.deployable import Deployable
from edgedet.export.layers import layers_of
from edgedet.export.onnx_qdq import Scale, integer_weights, scales_for_bias
from edgedet.export.options import ExportOptions
from edgedet.export.parity import compare
from edgedet.preprocess import UInt8Image
from edgedet.quantization import BEFORE_ACTIVATION
from tests.exported_files import Export, calibration_pictures
from tests.small_models import SPECS, small_model

SSD, V3, YOLO = "ssdlite_mobilenet_v2", "ssdlite_mobilenet_v3_large_tree", "yolov3_tiny"


def _export(
    path: Path, name: str, options: ExportOptions, ranges: dict[str, tuple[float, float]] | None = None
) -> Path:
    deployable = Deployable(small_model(SPECS[name]), SPECS[name])
    deployable.activation_ranges = ranges or {}
    method = options.calibration_method
    calibration = calibration_pictures(deployable.spec.input, method) if options.precision == "int8" else None
    card = FileCard(deployable.spec, options.precision, deployable.weights_sha256, "0")
    to_onnx.export(deployable, options, card, path, calibration)
    return path


def _constants(path: Path) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {value.name: numpy_helper.to_array(value) for value in onnx.load(path).graph.initializer}


def _fused(path: Path, tmp_path: Path) -> Counter[str]:
    """How often ONNX Runtime runs each operator of the file before suppression."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(options.optimized_model_filepath).graph.node
    return Counter(node.op_type for node in nodes if not any("nms" in name for name in node.output))


@pytest.mark.parametrize(
    ("name", "others", "stem"),
    [
        (SSD, {"QLinearAdd"}, 3),
        (YOLO, {"QLinearLeakyRelu", "QLinearConcat"}, 1),
        (V3, {"QLinearAdd", "QLinearMul", "QLinearGlobalAveragePool"}, 3),
    ],
)
def test_every_layer_but_the_stem_becomes_an_integer_operator(
    exported: Export, tmp_path: Path, name: str, others: set[str], stem: int
) -> None:
    path = exported(name, "onnx", "int8").artifact.path
    kinds = _fused(path, tmp_path)
    floats = Counter(node.op_type for node in onnx.load(exported(name, "onnx", "fp32").artifact.path).graph.node)

    assert kinds["QLinearConv"] == floats["Conv"] - stem
    assert kinds["Conv"] + kinds["FusedConv"] == stem
    assert others <= set(kinds)
    assert not {"ReduceMean", "GlobalAveragePool"} & set(kinds)
    assert kinds["QuantizeLinear"] == 1, "behind the stem; whatever else is rounded is so inside an integer operator"
    assert kinds["Max"] <= floats["Max"], "no runtime rounds the weights of a layer that reads floats"


def test_boxes_and_logits_are_joined_as_floats_with_scales_of_their_own(exported: Export) -> None:
    graph = onnx.load(exported(SSD, "onnx", "int8").artifact.path).graph
    makers = {name: node for node in graph.node for name in node.output}
    scales = set()
    for tap in ("box_codes", "logits"):
        assert makers[tap].op_type == "Concat"
        for tensor in makers[tap].input:
            node = makers[tensor]
            while node.op_type in ("Reshape", "Transpose"):
                node = makers[node.input[0]]
            assert node.op_type == "DequantizeLinear"
            scales.add(node.input[1])
    assert len(scales) == 12, "six levels, two kinds of head"


def test_a_pool_behind_the_float_layer_comes_before_its_activation(exported: Export, tmp_path: Path) -> None:
    """Else ONNX Runtime pools in 8 bits, for which channels-first maps have no fast kernel."""
    graph = onnx.load(exported(YOLO, "onnx", "int8").artifact.path).graph
    rounding = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    makers = {name: node for node in graph.node for name in node.output}
    activation = makers[rounding.input[0]]
    pool = makers[activation.input[0]]

    assert [activation.op_type, pool.op_type, makers[pool.input[0]].op_type] == ["LeakyRelu", "MaxPool", "Conv"]
    assert _fused(exported(YOLO, "onnx", "int8").artifact.path, tmp_path)["MaxPool"] >= 1


def _broken(path: Path, out: Path, factor: float) -> Path:
    """The scale by which one tensor in the middle is read, times a factor."""
    model = onnx.load(path)
    readings = [node for node in model.graph.node if node.op_type == "DequantizeLinear" and "uint8" in node.input[0]]
    scale = readings[len(readings) // 2].input[1]
    for value in model.graph.initializer:
        if value.name == scale:
            value.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(value) * np.float32(factor), scale))
    onnx.save(model, out)
    return out


@pytest.mark.parametrize("name", [SSD, YOLO])
def test_one_wrong_scale_fails(exported: Export, tmp_path: Path, name: str) -> None:
    made = exported(name, "onnx", "int8")
    pictures: list[UInt8Image] = list(calibration_pictures(SPECS[name].input).network_pixels[:2])
    report = compare(
        made.reference(), to_onnx.open_runner(_broken(made.artifact.path, tmp_path / "x.onnx", 1.0)), pictures
    )
    assert report.passed, report.reasons()
    for factor in (0.5, 2.0):
        broken = to_onnx.open_runner(_broken(made.artifact.path, tmp_path / f"{factor}.onnx", factor))
        assert compare(made.reference(), broken, pictures).status == "failed"


def test_a_layer_that_stays_in_float_keeps_its_weights(tmp_path: Path) -> None:
    name = "backbone.features.4.conv.0.0"
    path = _export(tmp_path / "mixed.onnx", SSD, ExportOptions("int8", float_layers=(name,)))
    (weight,) = (
        layer.weight.numpy()
        for layer in layers_of(Deployable(small_model(SPECS[SSD]), SPECS[SSD]))
        if layer.name == name
    )
    kept = [value for value in _constants(path).values() if value.shape == weight.shape and value.dtype == np.float32]
    assert any(np.array_equal(value, weight) for value in kept)
    kinds = _fused(path, tmp_path)
    assert kinds["Conv"] + kinds["FusedConv"] == 4, "ONNX Runtime must not round the weights by itself while loading"


@pytest.mark.parametrize("precision", ["int8", "int8-weights"])
def test_the_same_inputs_give_the_same_bytes(lowered: None, tmp_path: Path, precision: str) -> None:
    one, two = (_export(tmp_path / f"{n}.onnx", V3, ExportOptions(precision)).read_bytes() for n in "ab")
    assert one == two


@pytest.mark.parametrize("number", [0, 1])  # the first stays in float, and what it hands on is rounded
def test_ranges_that_training_learned_are_taken(lowered: None, tmp_path: Path, number: int) -> None:
    layer = layers_of(Deployable(small_model(SPECS[YOLO]), SPECS[YOLO]))[number].name  # with a LeakyReLU behind it
    path = _export(tmp_path / "learned.onnx", YOLO, ExportOptions("int8"), {layer: (-0.25, 2.3)})
    graph, values = onnx.load(path).graph, _constants(path)
    activation = [node for node in graph.node if node.op_type == "LeakyRelu"][number]
    (rounding,) = (n for n in graph.node if n.op_type == "QuantizeLinear" and n.input[0] == activation.output[0])
    assert values[rounding.input[1]] == np.float32(2.55 / 255)
    assert values[rounding.input[2]] == 25


def test_a_range_behind_an_activation_is_not_taken_for_the_one_before_it(tmp_path: Path) -> None:
    """Swish is written as two operators, which are not recognised: its own output is measured, not cut at -0.28."""
    spec = SPECS["darknet"]
    spec = replace(spec, network=replace(spec.network, layers=spec.network.layers.replace("20x1", "20x1:swish")))
    deployable = Deployable(small_model(spec), spec)
    (layer,) = (one.name for one in layers_of(deployable) if one.weight.shape[0] == 20)
    deployable.activation_ranges = {layer: (-0.28, 2.0), layer + BEFORE_ACTIVATION: (-8.2, 2.0)}
    path = tmp_path / "swish.onnx"
    card = FileCard(spec, "int8", deployable.weights_sha256, "0")
    to_onnx.export(deployable, ExportOptions("int8"), card, path, calibration_pictures(spec.input))
    scales = {float(value) for name, value in _constants(path).items() if name.endswith("scale") and value.size == 1}
    assert np.float32(10.2 / 255) in scales
    assert np.float32(2.28 / 255) not in scales


@pytest.mark.parametrize("method", ["percentile", "entropy"])
def test_methods_give_other_scales_and_still_pass(lowered: None, tmp_path: Path, exported: Export, method: str) -> None:
    made = exported(SSD, "onnx", "int8")
    path = _export(tmp_path / "x.onnx", SSD, ExportOptions("int8", calibration_method=method))
    pictures: list[UInt8Image] = list(calibration_pictures(SPECS[SSD].input).network_pixels[:2])
    report = compare(made.reference(), to_onnx.open_runner(path), pictures)
    assert report.depth("heads").status == "passed", report.reasons()
    plain, other = _constants(made.artifact.path), _constants(path)
    assert any(plain[name] != other[name] for name in plain if plain[name].shape == () and name.endswith("scale"))


def test_stored_weights_take_a_quarter_and_compute_in_float(exported: Export, tmp_path: Path) -> None:
    small, full = (exported(YOLO, "onnx", precision).artifact for precision in ("int8-weights", "fp32"))
    constants = [(kind, sum(v.nbytes for v in _constants(a.path).values())) for kind, a in (("s", small), ("f", full))]
    assert constants[0][1] < 0.45 * constants[1][1], "of this network much is priors and biases"
    kinds = _fused(small.path, tmp_path)
    assert kinds["Conv"] + kinds["FusedConv"] == _fused(full.path, tmp_path)["Conv"]
    assert "Cast" not in kinds, "folded while loading"


def test_weights_by_hand() -> None:
    found = integer_weights(np.float32([[1.27, -0.5], [0.0, 0.0], [-2.54, 0.01]]))
    np.testing.assert_array_equal(found.values, [[127, -50], [0, 0], [-127, 0]])
    np.testing.assert_allclose(found.scales, [0.01, 1e-10, 0.02], rtol=1e-6)
    assert found.values.dtype == np.int8


def test_a_bias_always_fits() -> None:
    """A channel without weights still adds its bias, in steps that int32 can count."""
    bias, weights = np.float32([3.0, -5.0]), np.float32([[0.0], [1.0]])
    scales = integer_weights(weights, scales_for_bias(bias, 0.5)).scales
    steps = np.abs(bias) / (0.5 * scales)
    assert (steps <= 2.0**30 * 1.001).all()
    assert scales[1] == np.float32(1 / 127)


def test_scales_by_hand() -> None:
    assert Scale.of_range(-1.0, 1.55) == Scale(np.float32(0.01), np.uint8(100))
    assert Scale.of_range(0.0, 6.0) == Scale(np.float32(6 / 255), np.uint8(0))
    assert Scale.of_range(-2.55, 0.0).zero_point == 255
    assert Scale.of_range(0.0, 0.0).scale > 0


def test_a_batch_of_any_size(lowered: None, tmp_path: Path) -> None:
    path = _export(tmp_path / "batch.onnx", YOLO, ExportOptions("int8", dynamic_batch=True))
    runner = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    size = SPECS[YOLO].input
    images = np.random.default_rng(0).integers(0, 256, (3, 3, size.height, size.width)).astype(np.float32)
    together = runner.run(["detection_scores"], {"image": images})[0]
    alone = [runner.run(["detection_scores"], {"image": image[None]})[0][0] for image in images]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-6)


def test_images_of_any_size(exported: Export) -> None:
    artifact = exported(YOLO, "onnx", "int8", onnx_input="uint8-hwc").artifact
    assert artifact.parity.passed, artifact.parity.reasons()

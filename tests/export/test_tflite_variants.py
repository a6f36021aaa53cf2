"""The layout for MediaPipe on a GPU, and uint8 input: every pair of the two, as whole files and by their parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedet.errors import ExportError, NotRunError
from edgedet.export import to_tflite
from edgedet.export.artifact import Artifact
from edgedet.export.inspect import inspect_file
from edgedet.export.options import ExportOptions
from edgedet.export.pipeline import export_model
from edgedet.export.tflite_encodings import (
    DECODING,
    GPU_OPERATORS,
    IOU_MAX,
    add_encodings,
    decoding_entry,
    file_priors,
    mediapipe_nms,
    not_for_gpu,
)
from edgedet.export.tflite_graph import Graph, metadata_entry
from edgedet.export.tflite_input import take_uint8
from edgedet.export.tflite_metadata import METADATA
from edgedet.export.tflite_metadata_schema import read_decoding, read_metadata
from edgedet.model_file import save_model
from edgedet.nms import non_maximum_suppression
from edgedet.preprocess import UInt8Image, normalise, to_network_pixels
from edgedet.priors import priors_cxcywh_unit
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NmsSpec
from tests.small_models import small_model, small_spec

Variant = Callable[[str, str, str, str], Artifact]
MEDIAPIPE = ExportOptions(tflite_layout="mediapipe-gpu")
SPECS: dict[str, DetectorSpec] = {
    "softmax": small_spec("ssdlite_mobilenet_v3_small"),
    "sigmoid": small_spec("ssdlite_mobilenet_v3_small", coding=CodingSpec("ssd", score="sigmoid")),
    "obj_times_cls": small_spec("yolov3_tiny"),
}
LAYOUTS = {"postprocess": 4, "mediapipe-gpu": 2}
CELLS = [
    cell
    for cell in itertools.product(SPECS, LAYOUTS, ("float32", "uint8"), ("fp32", "fp16"))
    if cell[1:3] != ("postprocess", "float32")  # that is what the matrix of all formats covers
]


@pytest.fixture(scope="module")
def variant(tmp_path_factory: pytest.TempPathFactory) -> Variant:
    """(scores, layout, input, precision) to the exported file."""
    folder, made = tmp_path_factory.mktemp("variants"), {}
    for name, spec in SPECS.items():
        save_model(folder / f"{name}.pt", small_model(spec), spec)

    def export(name: str, layout: str, dtype: str, precision: str) -> Artifact:
        key = (name, layout, dtype, precision)
        if key not in made:
            options = ExportOptions(tflite_layout=layout, tflite_input=dtype)
            (made[key],) = export_model(folder / f"{name}.pt", ["tflite"], folder, precision=precision, options=options)
        return made[key]

    return export


@pytest.mark.parametrize(("name", "layout", "dtype", "precision"), CELLS)
def test_every_variant_equals_the_model(variant: Variant, name: str, layout: str, dtype: str, precision: str) -> None:
    artifact = variant(name, layout, dtype, precision)
    for depth in ("heads", "decoded", "detections"):
        assert artifact.parity.depth(depth).status == "passed", artifact.parity.reasons()
    assert artifact.parity.depth("detections").counts["reference"] >= 20
    runner = to_tflite.open_runner(artifact.path)
    expected = mediapipe_nms(SPECS[name]) if layout == "mediapipe-gpu" else SPECS[name].nms
    assert runner.spec == replace(SPECS[name], nms=expected)
    graph = Graph.parse(artifact.path.read_bytes())
    assert len(graph.main.outputs) == LAYOUTS[layout]
    assert graph.dtype(int(graph.main.inputs[0])) == dtype
    assert not inspect_file(artifact.path, ["mediapipe"]).failed("mediapipe")
    if layout == "postprocess":
        assert not inspect_file(artifact.path, ["task-library"]).failed("task-library")


@pytest.mark.parametrize(("name", "layout", "dtype", "precision"), [c for c in CELLS if c[1] == "mediapipe-gpu"])
def test_the_gpu_delegate_takes_every_operator(
    variant: Variant, name: str, layout: str, dtype: str, precision: str
) -> None:
    """Beyond names, what gpu_compatibility.cc asks: no custom operator, no 64-bit number, slices of 3 or 4 axes."""
    graph = Graph.parse(variant(name, layout, dtype, precision).path.read_bytes())
    assert not_for_gpu(graph) == []
    used = {int(t) for op in graph.operators() for t in (*op.inputs, *op.outputs) if t >= 0}
    assert {graph.dtype(tensor) for tensor in used} <= {"float32", "float16", "int32", "uint8"}
    for operator in graph.operators("SLICE", "STRIDED_SLICE"):
        assert len(graph.shape(int(operator.inputs[0]))) in (3, 4)
    for operator in graph.operators():
        runtime = [t for t in operator.inputs if t >= 0 and graph.constant(int(t)) is None]
        assert all(len(graph.shape(int(tensor))) <= 4 for tensor in runtime)


def test_normalisation_inside_the_file_is_the_one_outside(variant: Variant, photos: list[UInt8Image]) -> None:
    """To the last bit: SUB and MUL in float32 are what edgedet.preprocess computes."""
    inside, outside = (
        to_tflite.open_runner(variant("softmax", "mediapipe-gpu", dtype, "fp32").path) for dtype in ("uint8", "float32")
    )
    for photo in photos:
        pixels = to_network_pixels(photo, inside.spec.input)
        found, expected = inside.infer(pixels), outside.infer(pixels)
        np.testing.assert_array_equal(found.boxes_xyxy_unit, expected.boxes_xyxy_unit)
        np.testing.assert_array_equal(found.scores, expected.scores)


def test_take_uint8_alone() -> None:
    """All 256 values through a file that only normalises."""
    from ai_edge_litert.interpreter import Interpreter

    spec = InputSpec(height=16, width=16, mean=123.7, std=58.4)
    graph = Graph.empty()
    image, doubled = graph.add_tensor("image", (1, 16, 16, 3)), graph.add_tensor("doubled", (1, 16, 16, 3))
    graph.add_operator("ADD", (image, image), (doubled,))
    pixels = take_uint8(graph, image, spec)
    graph.set_signature({"image": pixels}, {"doubled": doubled})
    interpreter = Interpreter(model_content=graph.to_bytes())
    interpreter.allocate_tensors()
    (detail,) = interpreter.get_input_details()
    assert (detail["name"], detail["dtype"], detail["quantization"]) == ("image", np.uint8, (1.0, 0))
    values = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3, axis=3)
    interpreter.set_tensor(detail["index"], values)
    interpreter.invoke()
    expected = 2 * normalise(torch.from_numpy(values), spec).numpy()
    np.testing.assert_array_equal(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), expected)


def test_encodings_are_swapped_deltas() -> None:
    from ai_edge_litert.interpreter import Interpreter

    graph = Graph.empty()
    deltas = graph.add_tensor("deltas", (1, 2, 4))
    graph.set_signature({"deltas": deltas}, {"location": add_encodings(graph, deltas)})
    interpreter = Interpreter(model_content=graph.to_bytes())
    interpreter.allocate_tensors()
    values = np.array([[[1, 2, 3, 4], [5, 6, 7, 8]]], np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    (location,) = (interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details())
    np.testing.assert_array_equal(location, [[[2, 1, 4, 3], [6, 5, 8, 7]]])


def test_detector_metadata_say_how_to_decode(variant: Variant) -> None:
    data = variant("obj_times_cls", "mediapipe-gpu", "float32", "fp32").path.read_bytes()
    metadata = read_metadata(metadata_entry(data, METADATA) or b"")
    assert metadata["min_parser_version"] == "1.5.0"
    (subgraph,) = metadata["subgraph_metadata"]
    location, score = subgraph["output_tensor_metadata"]
    assert (location["name"], score["name"]) == ("location", "score")
    assert score["associated_files"][0]["type"] == "TENSOR_AXIS_LABELS"
    (entry,) = subgraph["custom_metadata"]
    assert entry["name"] == DECODING
    spec = SPECS["obj_times_cls"]
    assert read_decoding(entry["data"])["tensors_decoding_options"] == {
        "num_classes": 3, "num_boxes": spec.num_priors, "num_coords": 4, "num_values_per_keypoint": 2,
        "x_scale": 1.0, "y_scale": 1.0, "w_scale": 1.0, "h_scale": 1.0, "apply_exponential_on_box_size": True,
    }  # fmt: skip
    np.testing.assert_array_equal(file_priors(data), priors_cxcywh_unit(spec).numpy())


def test_decoding_options_lie_aligned_where_mediapipe_reads_them_in_place(variant: Variant) -> None:
    data = variant("softmax", "mediapipe-gpu", "uint8", "fp32").path.read_bytes()
    assert data.count(b"V001") == 1
    assert (data.index(b"V001") - 4) % 16 == 0


def test_file_without_anchors_for_mediapipe_is_named(variant: Variant) -> None:
    with pytest.raises(ValueError, match="DETECTOR_METADATA"):
        file_priors(variant("softmax", "postprocess", "uint8", "fp32").path.read_bytes())


def test_input_metadata_follow_the_dtype(variant: Variant) -> None:
    for dtype, units, most in (("float32", 1, 1.0), ("uint8", 0, 255.0)):
        data = variant("softmax", "mediapipe-gpu", dtype, "fp32").path.read_bytes()
        (subgraph,) = read_metadata(metadata_entry(data, METADATA) or b"")["subgraph_metadata"]
        (image,) = subgraph["input_tensor_metadata"]
        assert len(image.get("process_units", ())) == units
        assert image["stats"]["max"] == [most]


def test_suppression_is_mediapipes() -> None:
    """Across classes; IoU 3/10 is not above float32(0.3), although it is above 0.3 when computed in float32."""
    boxes = torch.tensor([[0, 0, 6.5, 1], [3.5, 0, 10, 1], [0, 0, 6.5, 0.9]])  # IoU of the first two: 3 / 10
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.1], [0.1, 0.7]])
    nms = mediapipe_nms(SPECS["softmax"])
    assert non_maximum_suppression(boxes, scores, nms).prior_indices.tolist() == [0, 1]
    exact = replace(nms, iou_max=0.3)
    assert non_maximum_suppression(boxes, scores, exact).prior_indices.tolist() == [0]
    assert nms == NmsSpec(iou_max=IOU_MAX, class_agnostic=True, pre_topk=SPECS["softmax"].num_priors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"iou_max": 0.5}, "iou_max 0.5 cannot be had in this file: the library that runs it takes 0.3"),
        ({"pre_topk": 100, "max_detections": 10}, "pre_topk 100"),
    ],
)
def test_thresholds_that_mediapipe_overrules_are_refused(
    variant: Variant, tmp_path: Path, change: dict[str, float], message: str
) -> None:
    model = variant("softmax", "mediapipe-gpu", "uint8", "fp32").path.parent / "softmax.pt"
    with pytest.raises(ExportError, match=message):
        export_model(model, ["tflite"], tmp_path, nms_changes=change, options=MEDIAPIPE)
    assert list(tmp_path.iterdir()) == []


def test_thresholds_that_the_app_sets_are_kept(variant: Variant, tmp_path: Path) -> None:
    model = variant("softmax", "mediapipe-gpu", "uint8", "fp32").path.parent / "softmax.pt"
    changes = {"score_min": 0.4, "max_detections": 7, "iou_max": 0.3}
    (artifact,) = export_model(model, ["tflite"], tmp_path, nms_changes=changes, options=MEDIAPIPE)
    nms = to_tflite.open_runner(artifact.path).spec.nms
    assert (nms.score_min, nms.max_detections, nms.iou_max) == (0.4, 7, IOU_MAX)
    assert any("scoreThreshold 0.4 and maxResults 7" in note for note in artifact.notes)


def test_what_mediapipe_cannot_do_is_named() -> None:
    spec = SPECS["softmax"]
    assert to_tflite.problems(spec, MEDIAPIPE) == []
    letterbox = replace(spec, input=replace(spec.input, resize="letterbox"))
    (found,) = to_tflite.problems(letterbox, MEDIAPIPE)
    assert "stretches" in found
    (found,) = to_tflite.problems(replace(spec, nms=NmsSpec(labels_per_box="all")), MEDIAPIPE)
    assert "labels_per_box" in found
    (found,) = to_tflite.problems(spec, replace(MEDIAPIPE, dynamic_batch=True))
    assert "MediaPipe takes one image" in found
    (found,) = to_tflite.problems(spec, replace(MEDIAPIPE, precision="int8"))
    assert "written as fp32 or fp16, not as int8" in found


def test_notes_tell_what_the_app_must_do() -> None:
    spec = SPECS["softmax"]
    floats, bytes_ = (to_tflite.notes(spec, replace(MEDIAPIPE, tflite_input=i)) for i in ("float32", "uint8"))
    assert "float32" in floats[0]
    assert "pixels 0..255" in bytes_[0]
    assert "on the CPU" in bytes_[0]
    text = " ".join(floats)
    for fact in ("IoU above 0.3", "0.5, within classes", "scoreThreshold 0.05", "no certain order"):
        assert fact in text


def test_operator_that_the_gpu_lacks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedet.export.tflite_encodings.GPU_OPERATORS", GPU_OPERATORS - {"SOFTMAX"})
    spec = SPECS["softmax"]
    save_model(tmp_path / "model.pt", small_model(spec), spec)
    with pytest.raises(ExportError, match="GPU delegate does not take SOFTMAX"):
        export_model(tmp_path / "model.pt", ["tflite"], tmp_path, options=MEDIAPIPE)


def test_threads_are_not_limited_where_nothing_suppresses(variant: Variant) -> None:
    assert to_tflite.open_runner(variant("softmax", "mediapipe-gpu", "uint8", "fp32").path, 17).threads == 17
    with pytest.raises(NotRunError, match="16 threads"):
        to_tflite.open_runner(variant("softmax", "postprocess", "uint8", "fp32").path, 17)


def test_anchor_at_the_origin_survives() -> None:
    """Zero is the default of a float field, which flatbuffers leave out."""
    entry = decoding_entry(np.array([[0, 0, 0.5, 0.25]], np.float32), 1)
    anchors = read_decoding(entry["data"])["ssd_anchors_options"]["fixed_anchors_schema"]["anchors"]
    assert anchors == [{"width": 0.5, "height": 0.25}]

"""The runner of model.pt and what every runner shares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edgedet
from edgedet.errors import ModelFileError
from edgedet.formats import all_formats, format_by_name, format_of
from edgedet.model_file import save_model
from edgedet.preprocess import UInt8Image
from edgedet.runner import UnitDetections, to_detections
from edgedet.spec import NmsSpec
from edgedet.torch_runner import TorchRunner
from tests.small_models import SPECS, small_model, small_spec


def unit(boxes: list[list[float]], scores: list[float]) -> UnitDetections:
    ids = np.arange(len(scores), dtype=np.int64)
    return UnitDetections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), ids)


def test_boxes_go_back_to_the_original_image() -> None:
    found = to_detections(unit([[0.25, 0.5, 0.75, 1.0]], [0.9]), 640, 480, SPECS["yolov3_tiny"])
    assert found.boxes_xyxy_px.tolist() == [[160.0, 240.0, 480.0, 480.0]]


def test_clipped_sorted_and_never_empty() -> None:
    boxes = [[-0.5, -0.5, 0.5, 0.5], [1.1, 0.2, 1.5, 0.9], [0.5, 0.5, 2.0, 2.0]]
    found = to_detections(unit(boxes, [0.3, 0.9, 0.6]), 100, 100, SPECS["yolov3_tiny"])
    assert found.boxes_xyxy_px.tolist() == [[50.0, 50.0, 100.0, 100.0], [0.0, 0.0, 50.0, 50.0]]
    assert found.class_ids.tolist() == [2, 0]


def test_no_detections() -> None:
    assert len(to_detections(unit([], []), 10, 10, SPECS["yolov3_tiny"])) == 0


@pytest.mark.parametrize("name", SPECS)
def test_loaded_file_equals_the_network_in_memory(name: str, tmp_path: Path, photos: list[UInt8Image]) -> None:
    spec, model = SPECS[name], small_model(SPECS[name])
    save_model(tmp_path / "model.pt", model, spec)
    loaded, memory = edgedet.load(tmp_path / "model.pt"), TorchRunner(model, spec, Path("memory"))
    for photo in photos:
        a, b = loaded(photo), memory(photo)
        assert len(a) > 0
        np.testing.assert_allclose(a.boxes_xyxy_px, b.boxes_xyxy_px, atol=1e-3)
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
        assert (np.diff(a.scores) <= 0).all()


def test_letterbox_and_stretch_agree_where_they_are_the_same(photos: list[UInt8Image]) -> None:
    spec = SPECS["yolov3_tiny"]
    model = small_model(spec)
    boxed = TorchRunner(model, replace(spec, input=replace(spec.input, resize="letterbox")), Path("x"))
    plain = TorchRunner(model, spec, Path("x"))
    photo = photos[0]  # 4:3 like the input: letterbox adds no bars
    np.testing.assert_allclose(boxed(photo).boxes_xyxy_px, plain(photo).boxes_xyxy_px, atol=1e-3)


def test_stage_times_are_of_this_call(photos: list[UInt8Image]) -> None:
    spec = small_spec("yolov3_tiny")
    detections, times = TorchRunner(small_model(spec), spec, Path("x")).timed(photos[0])
    assert len(detections) > 0
    assert times.inference_ms > 0
    assert times.total_ms == times.preprocess_ms + times.inference_ms + times.postprocess_ms


def test_with_nms_changes_only_the_thresholds(photos: list[UInt8Image]) -> None:
    spec = SPECS["yolov3_tiny"]
    runner = TorchRunner(small_model(spec), spec, Path("x"))
    strict = runner.with_nms(NmsSpec(score_min=0.5, max_detections=3))
    assert len(strict(photos[0])) <= 3
    assert strict(photos[0]).scores.min() >= 0.5
    assert runner.spec == spec


def test_unknown_kinds_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"model\.xyz.*ends in none of"):
        edgedet.load(tmp_path / "model.xyz")
    with pytest.raises(ModelFileError, match=r"gone\.pt: there is no such file"):
        edgedet.load(tmp_path / "gone.pt")
    with pytest.raises(ModelFileError, match="no format called"):
        format_by_name("caffe")


def test_table_of_formats() -> None:
    rows = all_formats()
    assert {row.name for row in rows} == {"torch", "onnx", "tflite", "coreml"}
    assert len({row.suffix for row in rows}) == len(rows)
    assert format_of(Path("a/b.fp16.mlpackage")).name == "coreml"

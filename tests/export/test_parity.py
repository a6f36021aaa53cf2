"""Parity must fail on faults, excuse nothing but ties, and never pass what was not compared."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from edgedet.errors import EdgedetError, ExportError, ModelFileError
from edgedet.export.card import CardRunner, FileCard
from edgedet.export.parity import accuracy_depth, compare
from edgedet.export.parity_report import Check, Depth, ErrorStats, ParityReport
from edgedet.export.tolerances import TOLERANCES, tolerance_of
from edgedet.formats import export_formats
from edgedet.model_file import weights_sha256
from edgedet.preprocess import UInt8Image
from edgedet.runner import HeadOutputs, Runner, UnitDetections
from edgedet.spec import NmsSpec
from edgedet.torch_runner import TorchRunner
from tests.small_models import SPECS, small_model

SPEC = SPECS["yolov3_tiny"]
FP32 = tolerance_of("onnx", "fp32")


@pytest.fixture(scope="module")
def reference() -> TorchRunner:
    return TorchRunner(small_model(SPEC), SPEC, Path("model.pt"))


class Faulty(Runner):
    """The reference under another name, with a fault put into what it answers."""

    def __init__(self, reference: TorchRunner, fault: str = "", **spec_changes: object) -> None:
        spec = replace(reference.spec, **spec_changes)  # type: ignore[arg-type]
        super().__init__(Path("file.onnx"), spec, "onnx", "fp32", "test runtime")
        self.reference, self.fault = reference.with_nms(spec.nms), fault

    def infer(self, network_pixels: Tensor) -> UnitDetections:
        found = self.reference.infer(network_pixels)
        boxes, scores, classes = found.boxes_xyxy_unit.copy(), found.scores.copy(), found.class_ids.copy()
        if self.fault == "box":
            boxes[:, 0] += 3 / 128
        if self.fault == "swapped":
            boxes = boxes[:, [1, 0, 3, 2]]
        if self.fault == "score":
            scores *= 0.97
        if self.fault == "label":
            classes[0] = (classes[0] + 1) % 3
        if self.fault == "missed":
            boxes, scores, classes = boxes[1:], scores[1:], classes[1:]
        if self.fault == "nan":
            scores[0] = np.nan
        if self.fault == "extra":
            boxes = np.concatenate((boxes, [[0.9, 0.9, 0.95, 0.95]])).astype(np.float32)
            scores, classes = np.append(scores, np.float32(0.7)), np.append(classes, 0)
        return UnitDetections(boxes, scores, classes)

    def heads(self, network_pixels: Tensor) -> HeadOutputs:
        heads = self.reference.heads(network_pixels)
        if self.fault == "codes":
            return dataclasses.replace(heads, box_codes=heads.box_codes * 1.01)  # type: ignore[operator]
        if self.fault == "logits":
            return dataclasses.replace(heads, logits=np.roll(heads.logits, 1, axis=0))  # type: ignore[arg-type]
        if self.fault == "unreadable":
            return HeadOutputs(None, None, None, None)
        if self.fault == "no codes":
            return dataclasses.replace(heads, box_codes=None)
        if self.fault == "shape":
            return dataclasses.replace(heads, logits=heads.logits[1:])  # type: ignore[index]
        return heads


def test_the_model_equals_itself(reference: TorchRunner, photos: list[UInt8Image]) -> None:
    report = compare(reference, Faulty(reference), photos)
    assert report.passed
    assert report.images == 3
    counts = report.depth("detections").counts
    assert counts["matched"] == counts["reference"] > 20
    assert report.depth("heads").errors["logits_std"].max == 0


@pytest.mark.parametrize("fault", ["box", "swapped", "score", "label", "missed", "nan", "extra"])
def test_a_fault_in_the_detections_fails(reference: TorchRunner, photos: list[UInt8Image], fault: str) -> None:
    report = compare(reference, Faulty(reference, fault), photos)
    assert report.status == "failed"
    assert report.depth("heads").status == "passed"
    assert report.depth("detections").status == "failed"
    assert any(line.startswith("detections: ") for line in report.reasons())


@pytest.mark.parametrize("fault", ["codes", "logits"])
def test_a_fault_in_the_heads_fails(reference: TorchRunner, photos: list[UInt8Image], fault: str) -> None:
    report = compare(reference, Faulty(reference, fault), photos)
    assert report.status == "failed"
    assert report.depth("heads").status == "failed"


def test_what_cannot_be_read_is_not_run_with_the_reason(reference: TorchRunner, photos: list[UInt8Image]) -> None:
    report = compare(reference, Faulty(reference, "unreadable"), photos)
    assert [d.status for d in report.depths] == ["not run", "not run", "passed", "not run"]
    assert "does not let" in report.depth("heads").reason
    assert "no data set" in report.depth("accuracy").reason
    partly = compare(reference, Faulty(reference, "no codes"), photos).depth("heads")
    assert (partly.status, list(partly.errors)) == ("passed", ["logits_std"])
    assert "box_codes" in partly.reason


def test_nothing_found_is_not_passed(reference: TorchRunner, photos: list[UInt8Image]) -> None:
    blind = Faulty(reference, nms=replace(SPEC.nms, score_min=0.9999))
    report = compare(reference, blind, photos)
    assert report.status == "not run"
    assert "nothing was found" in report.depth("detections").reason


def test_no_images_is_not_passed(reference: TorchRunner) -> None:
    report = compare(reference, Faulty(reference), [])
    assert report.status == "not run"
    assert report.depth("heads").reason == "no images were given"


def test_tensors_of_another_shape_are_an_error(reference: TorchRunner, photos: list[UInt8Image]) -> None:
    with pytest.raises(EdgedetError, match="logits have shape"):
        compare(reference, Faulty(reference, "shape"), photos)


def test_another_spec_is_an_error_but_other_thresholds_are_not(
    reference: TorchRunner, photos: list[UInt8Image]
) -> None:
    assert compare(reference, Faulty(reference, nms=NmsSpec(score_min=0.3, iou_max=0.4)), photos).passed
    with pytest.raises(EdgedetError, match="class_names differ"):
        compare(reference, Faulty(reference, class_names=("a", "b", "c")), photos)
    with pytest.raises(EdgedetError, match="class_parents differ"):
        compare(reference, Faulty(reference, class_parents=(-1, -1, -1)), photos)


def test_other_weights_are_an_error(reference: TorchRunner, photos: list[UInt8Image]) -> None:
    class WithCard(CardRunner):
        def infer(self, network_pixels: Tensor) -> UnitDetections:
            return reference.infer(network_pixels)

    def runner(sha256: str) -> WithCard:
        return WithCard(Path("file.onnx"), FileCard(SPEC, "fp32", sha256, "0"), "onnx", "test")

    assert compare(reference, runner(weights_sha256(reference.model.state_dict())), photos).passed
    with pytest.raises(EdgedetError, match=r"file\.onnx: was exported from other weights than model\.pt"):
        compare(reference, runner("0" * 64), photos)


def test_report_goes_through_json(reference: TorchRunner, photos: list[UInt8Image]) -> None:
    for fault in ("", "nan", "unreadable"):
        report = compare(reference, Faulty(reference, fault), photos)
        text = json.dumps(report.to_json(), allow_nan=False)
        again = ParityReport.from_json(json.loads(text))
        assert (again.status, again.reasons() == []) == (report.status, report.reasons() == [])
        if fault != "nan":
            assert again == report
    with pytest.raises(ModelFileError, match="parity result"):
        ParityReport.from_json({"format": "onnx"})


# --- parts of the report --------------------------------------------------------------------------------------------


def test_statistics_by_hand() -> None:
    stats = ErrorStats.of(np.arange(101.0))
    assert (stats.count, stats.median, stats.p99, stats.max) == (101, 50.0, 99.0, 100.0)
    assert ErrorStats.of(np.array([0.0, np.nan])).max == float("inf")
    assert ErrorStats.of(np.empty(0)).count == 0


def test_a_check_of_nan_fails() -> None:
    assert Check("x", 0.5, 0.5).passed
    assert not Check("x", float("nan"), 0.5).passed
    assert Depth("x", (Check("x", float("nan"), 0.5),)).status == "failed"


def test_too_many_ties_fail() -> None:
    depth = Depth("detections", (Check("share of borderline detections", 0.2, 0.1),))
    assert depth.failures() == ["share of borderline detections is 0.2, the limit is 0.1"]


def test_every_exported_kind_of_file_has_tolerances_and_fp32_is_strict() -> None:
    coarse = {"palette4": 0.3, "pruned": 0.3}  # accuracy is given up knowingly, and measured
    for row in export_formats():
        for precision in row.precisions:
            limits = tolerance_of(row.name, precision)
            assert limits.coco_ap <= {"fp32": 0.002, "fp16": 0.005, **coarse}.get(precision, 0.02)
            assert limits.box_px <= (1 if precision in ("fp32", "fp16") else 40 if precision in coarse else 16)
    assert all(limits.box_px <= 0.05 for (_, precision), limits in TOLERANCES.items() if precision == "fp32")
    with pytest.raises(ExportError, match="no tolerances"):
        tolerance_of("onnx", "int3")


class _Metrics:
    """What accuracy_depth reads of an EvalResult."""

    def __init__(self, **metrics: float) -> None:
        self.metrics = metrics


@pytest.mark.parametrize(
    ("after", "status"), [(0.5, "passed"), (0.5015, "passed"), (0.4975, "failed"), (0.51, "failed")]
)
def test_change_of_accuracy_counts_both_ways(after: float, status: str) -> None:
    before, found = _Metrics(coco_ap=0.5, voc07_map=0.7), _Metrics(coco_ap=after, voc07_map=float("nan"))
    depth = accuracy_depth(before, found, FP32)  # type: ignore[arg-type]
    assert depth.status == status
    assert depth.values["coco_ap_change"] == pytest.approx(after - 0.5)
    assert "voc07_map_change" not in depth.values


def test_accuracy_without_objects_is_not_run() -> None:
    nothing = _Metrics(coco_ap=float("nan"))
    assert accuracy_depth(nothing, nothing, FP32).status == "not run"  # type: ignore[arg-type]

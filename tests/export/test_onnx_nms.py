"""The suppression graph alone, in ONNX Runtime, against edgedet.nms: exactly the same rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from edgedet.boxes import cxcywh_to_xyxy
from edgedet.export.nms_thresholds import float32_not_above
from edgedet.export.onnx_nms import OUTPUTS, score_below, suppression_graph
from edgedet.nms import non_maximum_suppression
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, LevelSpec, NetworkSpec, NmsSpec
from tests.nms.onnx_vectors import VECTORS

Arrays = list[Any]


def _spec(nms: NmsSpec, priors: int, classes: int) -> DetectorSpec:
    level = LevelSpec((32.0, 32.0), 1, priors, ((32.0, 32.0),))
    names = tuple(f"c{i}" for i in range(classes))
    return DetectorSpec("t", NetworkSpec("ssdlite"), InputSpec(32, 32), (level,), CodingSpec("ssd"), nms, names)


def _model(spec: DetectorSpec) -> onnx.ModelProto:
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(suppression_graph(spec), ir_version=9, opset_imports=opsets)
    onnx.checker.check_model(model, full_check=True)
    return model


def _run(spec: DetectorSpec, boxes: torch.Tensor, scores: torch.Tensor) -> Arrays:
    """(B, N, 4) and (B, N, C) through ONNX Runtime."""
    session = onnxruntime.InferenceSession(_model(spec).SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(OUTPUTS, {"boxes": boxes.numpy(), "scores": scores.numpy()}))


def _expected(nms: NmsSpec, boxes: torch.Tensor, scores: torch.Tensor) -> Arrays:
    """The reference, padded with zeros."""
    images, rows = len(boxes), nms.max_detections
    counts, out_boxes = np.zeros((images, 1), np.int32), np.zeros((images, rows, 4), np.float32)
    out_scores, out_classes = np.zeros((images, rows), np.float32), np.zeros((images, rows), np.int32)
    for i in range(images):
        kept = non_maximum_suppression(boxes[i], scores[i], nms)
        n = counts[i, 0] = len(kept.scores)
        out_boxes[i, :n] = boxes[i, kept.prior_indices].numpy()
        out_scores[i, :n], out_classes[i, :n] = kept.scores.numpy(), kept.class_ids.numpy()
    return [counts, out_boxes, out_scores, out_classes]


def _random(seed: int, images: int, priors: int, classes: int, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping boxes, and scores of few distinct values, so that there are ties."""
    generator = torch.Generator().manual_seed(seed)
    centre = torch.rand(images, priors, 2, generator=generator)
    size = torch.rand(images, priors, 2, generator=generator) * 0.5 + 0.02
    scores = torch.randint(0, levels, (images, priors, classes), generator=generator) / levels
    return cxcywh_to_xyxy(torch.cat((centre, size), dim=-1)), scores


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 3),
    priors=st.integers(1, 60),
    classes=st.integers(1, 4),
    levels=st.integers(2, 30),
    nms=st.builds(
        NmsSpec,
        score_min=st.sampled_from((0.05, 0.3, 0.5, 0.9)),
        iou_max=st.sampled_from((0.13, 0.45, 0.77, 1.0)),
        pre_topk=st.sampled_from((7, 20, 1000)),
        max_detections=st.integers(1, 7),
        class_agnostic=st.booleans(),
        labels_per_box=st.sampled_from(("best", "all")),
    ),
)
def test_same_rows_as_the_reference(
    seed: int, images: int, priors: int, classes: int, levels: int, nms: NmsSpec
) -> None:
    boxes, scores = _random(seed, images, priors, classes, levels)

    actual = _run(_spec(nms, priors, classes), boxes, scores)

    for got, want in zip(actual, _expected(nms, boxes, scores), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("nms", [NmsSpec(), NmsSpec(labels_per_box="all"), NmsSpec(class_agnostic=True)])
def test_same_rows_in_onnx_own_evaluator(nms: NmsSpec) -> None:
    boxes, scores = _random(3, 2, 20, 3, 1000)
    spec = _spec(replace(nms, max_detections=6), 20, 3)

    actual = ReferenceEvaluator(_model(spec)).run(list(OUTPUTS), {"boxes": boxes.numpy(), "scores": scores.numpy()})

    for got, want in zip(actual, _expected(spec.nms, boxes, scores), strict=True):
        np.testing.assert_array_equal(np.asarray(got), want)


@pytest.mark.parametrize(("score", "count"), [(0.3, 1), (float(np.nextafter(np.float32(0.3), np.float32(0))), 0)])
def test_score_min_itself_is_kept(score: float, count: int) -> None:
    spec = _spec(NmsSpec(score_min=0.3), 1, 1)
    found = _run(spec, torch.tensor([[[0.0, 0.0, 1.0, 1.0]]]), torch.tensor([[[score]]]))
    assert found[0].item() == count


@pytest.mark.parametrize(("iou_max", "count"), [(0.5, 2), (float(np.nextafter(np.float32(0.5), np.float32(0))), 1)])
def test_overlap_of_exactly_iou_max_is_kept(iou_max: float, count: int) -> None:
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.5, 0.5]]])  # IoU 1/2
    found = _run(_spec(NmsSpec(iou_max=iou_max), 2, 1), boxes, torch.tensor([[[0.9], [0.8]]]))
    assert found[0].item() == count


def test_padding_is_zero_and_nothing_found_is_no_error() -> None:
    found = _run(_spec(NmsSpec(max_detections=5), 3, 2), torch.rand(1, 3, 4), torch.zeros(1, 3, 2))
    assert [array.shape for array in found] == [(1, 1), (1, 5, 4), (1, 5), (1, 5)]
    assert not any(array.any() for array in found)


def test_fewer_priors_than_rows() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 0.1, 0.1], [0.5, 0.5, 0.6, 0.6]]])
    count, _, scores, classes = _run(_spec(NmsSpec(), 2, 2), boxes, torch.tensor([[[0.2, 0.4], [0.6, 0.1]]]))
    assert (count.item(), scores.shape) == (2, (1, 100))
    np.testing.assert_array_equal(classes[0, :2], (0, 1))


@pytest.mark.parametrize(("score_min", "iou_max"), [(0.1, 1 / 3), (1e-6, 1.0), (0.999999, 1e-5)])
def test_thresholds_survive_the_text_form(score_min: float, iou_max: float) -> None:
    nms = NmsSpec(score_min=score_min, iou_max=iou_max)
    values = {i.name: onnx.numpy_helper.to_array(i) for i in suppression_graph(_spec(nms, 4, 2)).initializer}
    assert values["nms_iou_max"] == float32_not_above(iou_max)
    assert values["nms_score_below"] == score_below(nms) == np.nextafter(np.float32(score_min), np.float32(0))


@pytest.mark.parametrize("name", VECTORS)
def test_reference_keeps_what_onnx_says(name: str) -> None:
    """Class by class, with a limit per class, as the operator does. Its `score > t` is our `score >= next above t`."""
    node, (boxes, scores, limit, iou_max, score_min), selected = VECTORS[name]
    centre = any(a.name == "center_point_box" and a.i for a in node.attribute)
    above = float(np.nextafter(np.float32(score_min[0]), np.float32(1)))
    nms = NmsSpec(above, float(iou_max[0]), 10**6, int(limit[0]), labels_per_box="all")
    kept = []
    for image, image_boxes in enumerate(torch.from_numpy(boxes)):
        corners = cxcywh_to_xyxy(image_boxes) if centre else image_boxes
        ordered = torch.cat((corners[:, :2].minimum(corners[:, 2:]), corners[:, :2].maximum(corners[:, 2:])), dim=1)
        for class_id, class_scores in enumerate(torch.from_numpy(scores[image])):
            rows = non_maximum_suppression(ordered, class_scores[:, None], nms).prior_indices
            kept += [[image, class_id, int(row)] for row in rows]
    assert kept == selected.tolist()

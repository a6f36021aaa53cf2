"""YOLOv1's and YOLOv2's losses on a grid of 2 x 2 cells, counted by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from edgedet.config import TRAINED_CODINGS, LossConfig
from edgedet.decode import RawHeads
from edgedet.levels import make_levels
from edgedet.spec import CodingSpec, DetectorSpec, InputSpec, NetworkSpec, NmsSpec
from edgedet.training.assignment_yolo_v1 import YoloV1Matcher
from edgedet.training.loss_yolo_squared import YoloV1Loss, YoloV2Loss
from edgedet.training.losses import LOSSES
from tests.training.helpers import objects, targets

_V2 = CodingSpec("yolo", (1, 1, 1, 1), score="obj_times_softmax")
# One anchor of 50 x 50 px in each cell of 50 px.
V2 = DetectorSpec(
    "v2", NetworkSpec("yolov2"), InputSpec(100, 100), make_levels([(2, 2)], [[(50, 50)]], 100, 100), _V2, NmsSpec(),
    ("a", "b"),
)  # fmt: skip
# Two boxes a cell, relative to the whole picture.
V1 = replace(
    V2, levels=make_levels([(2, 2)], [[(100, 100)] * 2], 100, 100),
    coding=CodingSpec("yolo_v1", (1, 1, 1, 1), score="linear_obj_times_cls"),
)  # fmt: skip


def test_there_is_a_loss_for_each_coding_that_configurations_allow() -> None:
    assert set(LOSSES) == set(TRAINED_CODINGS)


def test_v2_perfect_box() -> None:
    """Codes 0 decode to the anchor in its cell: objectness 1/2 is taught IoU 1 there and 0 elsewhere."""
    raw = RawHeads(torch.zeros(1, 4, 4), torch.zeros(1, 4, 3))
    loss = YoloV2Loss(V2, LossConfig(object_weight=5, no_object_weight=1))
    found = loss(raw, targets(objects([[0.0, 0.0, 0.5, 0.5]])))
    assert float(found["box"]) == pytest.approx(0, abs=1e-10)
    assert float(found["objectness"]) == pytest.approx(0.5 * (5 * 0.5**2 + 3 * 0.5**2), rel=1e-5)
    assert float(found["class"]) == pytest.approx(math.log(2), rel=1e-5)


def test_v2_box_and_overlap() -> None:
    """A box of half the anchor's width and height in the middle of cell 0."""
    raw = RawHeads(torch.zeros(1, 4, 4), torch.zeros(1, 4, 3))
    loss = YoloV2Loss(V2, LossConfig())
    found = loss(raw, targets(objects([[0.125, 0.125, 0.375, 0.375]])))
    weight = 2 - 0.25 * 0.25
    assert float(found["box"]) == pytest.approx(0.5 * weight * 2 * math.log(2) ** 2, rel=1e-5)
    assert float(found["objectness"]) == pytest.approx(0.5 * ((0.5 - 0.25) ** 2 + 3 * 0.5**2), rel=1e-5)


def test_v2_good_boxes_are_not_called_background() -> None:
    """Cell 1's prediction reaches into the object of cell 0 with an IoU of 1/5."""
    codes = torch.zeros(1, 4, 4)
    codes[0, 1, 2] = math.log(2)  # cell 1: twice as wide, from 25 to 125 px
    raw = RawHeads(codes, torch.zeros(1, 4, 3))
    image = targets(objects([[0.0, 0.0, 0.5, 0.5]]))
    # Its overlap with 0..50 px: 25 * 50 of 50 * 50 + 100 * 50 - 25 * 50 = 1/5.
    strict = YoloV2Loss(V2, LossConfig(iou_ignore=0.1))(raw, image)["objectness"]
    loose = YoloV2Loss(V2, LossConfig(iou_ignore=0.6))(raw, image)["objectness"]
    assert float(loose - strict) == pytest.approx(0.5 * 0.5**2, rel=1e-4)


def test_v1_equation_3() -> None:
    """One object in cell 3, 60 x 40 px at (70, 80); lambda_coord 5, lambda_noobj 0.5."""
    codes, outputs = torch.zeros(1, 8, 4), torch.zeros(1, 8, 3)
    codes[0, 6] = torch.tensor([0.5, 0.5, 0.1, 0.1])  # a tiny box
    codes[0, 7] = torch.tensor([0.4, 0.6, math.sqrt(0.6), math.sqrt(0.3)])  # 60 x 30 px at (70, 80): responsible
    outputs[0, :, 0] = 0.2
    outputs[0, 6:, 1:] = torch.tensor([0.3, 0.6])
    box = [0.4, 0.6, 1.0, 1.0]
    loss = YoloV1Loss(V1, LossConfig(box_weight=5, no_object_weight=0.5))
    found = loss(RawHeads(codes, outputs), targets(objects([box], [1])))
    assert float(found["box"]) == pytest.approx(5 * (math.sqrt(0.4) - math.sqrt(0.3)) ** 2, rel=1e-4)
    iou = 30 / 40
    assert float(found["objectness"]) == pytest.approx((0.2 - iou) ** 2 + 0.5 * 7 * 0.2**2, rel=1e-4)
    assert float(found["class"]) == pytest.approx(0.3**2 + 0.4**2, rel=1e-4)


def test_v1_a_cell_has_one_object() -> None:
    image = targets(objects([[0.0, 0.0, 0.4, 0.4], [0.1, 0.1, 0.3, 0.3], [0.6, 0.0, 1.0, 0.4]]))
    found = YoloV1Matcher(V1, LossConfig())(image, torch.zeros(1, 8, 4))
    assert found.object.tolist() == [0, 2]
    assert (found.prior // 2).tolist() == [0, 1]


@pytest.mark.parametrize(("kind", "spec"), [(YoloV1Loss, V1), (YoloV2Loss, V2)])
def test_images_without_objects_teach_background(kind: type, spec: DetectorSpec) -> None:
    raw = RawHeads(torch.zeros(1, spec.num_priors, 4), torch.full((1, spec.num_priors, 3), 0.5, requires_grad=True))
    found = kind(spec, LossConfig())(raw, targets(objects([])))
    assert found["box"].item() == found["class"].item() == 0
    sum(found.values()).backward()
    assert raw.logits.grad is not None
    assert (raw.logits.grad[..., 0] > 0).all()


@pytest.mark.parametrize(("kind", "spec"), [(YoloV1Loss, V1), (YoloV2Loss, V2)])
def test_ignored_objects_are_neither_taught_nor_background(kind: type, spec: DetectorSpec) -> None:
    raw = RawHeads(torch.full((1, spec.num_priors, 4), 0.3), torch.full((1, spec.num_priors, 3), 0.5))
    found = kind(spec, LossConfig())(raw, targets(objects([[-1.0, -1.0, 2.0, 2.0]], ignored=[True])))
    assert all(float(value) == 0 for value in found.values())

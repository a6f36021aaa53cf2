"""Assignment and loss of YOLO, on a grid small enough to count by hand."""

from __future__ import annotations

import math

import pytest
import torch

from edgedet.config import LossConfig
from edgedet.decode import Decoder, RawHeads
from edgedet.training.assignment_yolo import YoloAssigner, shape_iou
from edgedet.training.loss_box import box_targets
from edgedet.training.loss_yolo import YoloLoss
from tests.small_models import small_spec
from tests.training.helpers import objects, targets

# 128 x 96 px. Level 0: 4 x 3 cells of 32 px, anchors 40x41, 68x84, 110x90. Level 1: 8 x 6 cells of 16 px, anchors
# 10x14, 23x27, 37x29. 3 * 12 = 36 priors, then 3 * 48 = 144.
SPEC = small_spec("yolov3_tiny")


def box_px(cx: float, cy: float, w: float, h: float) -> list[float]:
    return [(cx - w / 2) / 128, (cy - h / 2) / 96, (cx + w / 2) / 128, (cy + h / 2) / 96]


def test_best_shape_over_all_levels_in_the_cell_of_the_centre() -> None:
    image = targets(objects([box_px(70, 40, 24, 26), box_px(100, 20, 100, 90)]))
    found = YoloAssigner(SPEC)(image)
    # 24x26 fits 23x27 best: level 1, anchor 1, column 4, row 2: 36 + (2 * 8 + 4) * 3 + 1.
    # 100x90 fits 110x90 best: level 0, anchor 2, column 3, row 0: (0 * 4 + 3) * 3 + 2.
    assert found.prior.tolist() == [97, 11]
    assert found.object.tolist() == [0, 1]


def test_the_better_shape_wins_a_contested_prior() -> None:
    worse, better = box_px(70, 40, 26, 27), box_px(71, 41, 23, 27)
    found = YoloAssigner(SPEC)(targets(objects([worse, better])))
    assert found.prior.tolist() == [97]
    assert found.object.tolist() == [1]


def test_a_centre_on_the_far_border_stays_in_the_last_cell() -> None:
    found = YoloAssigner(SPEC)(targets(objects([box_px(128, 96, 10, 14)])))
    assert found.prior.tolist() == [36 + (5 * 8 + 7) * 3]


def test_ignored_and_padded_objects_get_no_prior() -> None:
    image = targets(objects([box_px(70, 40, 24, 26)], ignored=[True]), objects([box_px(70, 40, 24, 26)] * 2))
    assert YoloAssigner(SPEC)(image).image.tolist() == [1]


def test_shape_iou() -> None:
    found = shape_iou(torch.tensor([[2.0, 4.0]]), torch.tensor([[4.0, 2.0], [2.0, 4.0]]))
    assert found[0].tolist() == pytest.approx([4 / 12, 1.0])


def test_targets_decode_to_the_box() -> None:
    box = torch.tensor([box_px(70, 40, 24, 26)])
    decoder = Decoder(SPEC)
    centre, size = box_targets(box, decoder, torch.tensor([97]))
    assert centre[0].tolist() == pytest.approx([70 / 16 - 4, 40 / 16 - 2])
    assert size[0].tolist() == pytest.approx([math.log(24 / 23), math.log(26 / 27)], abs=1e-5)
    codes = torch.zeros(1, SPEC.num_priors, 4)
    codes[0, 97] = torch.cat((torch.logit(centre), size), dim=1)
    assert torch.allclose(decoder.boxes(decoder.deltas(codes))[0, 97], box[0], atol=1e-6)


def zeros() -> RawHeads:
    return RawHeads(
        torch.zeros(1, SPEC.num_priors, 4, requires_grad=True), torch.zeros(1, SPEC.num_priors, 4, requires_grad=True)
    )


def test_loss_of_zeros_by_hand() -> None:
    # The object is prior 97 as zeros predict it: centre of cell (4, 2), the anchor's size 23x27.
    parts = YoloLoss(SPEC, LossConfig())(zeros(), targets(objects([box_px(72, 40, 23, 27)], [1])))
    weight = 2 - 23 * 27 / (128 * 96)
    assert float(parts["box"]) == pytest.approx(
        weight * 2 * math.log(2), rel=1e-5
    )  # two coordinates at 0.5, size exact
    assert float(parts["class"]) == pytest.approx(3 * math.log(2), rel=1e-5)
    # Of 180 predictions, other anchors in the same cell that overlap by more than 0.5 are not counted as background:
    # 37x29 over 23x27 has IoU 621/1073 = 0.579; 10x14 has 0.225. 40x41 is centred elsewhere.
    assert float(parts["objectness"]) == pytest.approx(179 * math.log(2), rel=1e-5)


def test_size_error_is_half_the_square() -> None:
    raw = zeros()
    raw.box_codes.data[0, 97, 2] = 0.3
    image = targets(objects([box_px(72, 40, 23, 27)], [1]))
    loss = YoloLoss(SPEC, LossConfig())
    weight = 2 - 23 * 27 / (128 * 96)
    assert float(loss(raw, image)["box"] - loss(zeros(), image)["box"]) == pytest.approx(weight * 0.5 * 0.09, rel=1e-4)


def test_predictions_inside_a_crowd_are_left_alone() -> None:
    loss = YoloLoss(SPEC, LossConfig())
    everything = objects([[-2.0, -2.0, 3.0, 3.0]], ignored=[True])
    assert float(loss(zeros(), targets(everything))["objectness"]) == 0
    assert float(loss(zeros(), targets(objects([])))["objectness"]) == pytest.approx(180 * math.log(2), rel=1e-5)


def test_gradient_flows_to_the_assigned_prior_only() -> None:
    raw = zeros()
    parts = YoloLoss(SPEC, LossConfig())(raw, targets(objects([box_px(70, 40, 24, 26)], [2])))
    sum(parts.values()).backward()
    assert raw.box_codes.grad.abs().sum(dim=2)[0].nonzero().flatten().tolist() == [97]
    assert raw.logits.grad[0, :, 1:].abs().sum(dim=1).nonzero().flatten().tolist() == [97]
    assert raw.logits.grad[0, 97, 0] < 0 < raw.logits.grad[0, 0, 0]

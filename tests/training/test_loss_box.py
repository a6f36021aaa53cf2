"""GIoU, DIoU and CIoU counted by hand, their gradients, and their place in every coding's loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.config import LossConfig
from edgedet.decode import RawHeads
from edgedet.levels import make_levels
from edgedet.spec import DetectorSpec
from edgedet.training.assignment_yolo import YoloAssigner
from edgedet.training.loss_box import IOU_LOSSES, box_targets, ciou, diou, giou, own_iou, smooth_l1
from edgedet.training.losses import LOSSES, make_loss
from tests.small_models import SPECS
from tests.training.helpers import objects, targets

CODINGS = {(spec.coding.kind, spec.coding.score): spec for spec in SPECS.values()}
LEVELS = make_levels([(3, 3)], [[(30, 50), (60, 40)]], 96, 128)


def row(*corners: float) -> torch.Tensor:
    return torch.tensor([corners], dtype=torch.float32)


def test_boxes_that_overlap() -> None:
    """Squares of 20 px, moved by 10 px: intersection 200, union 600, hull 30 x 20 = 600."""
    a, b = row(0, 0, 20, 20), row(10, 0, 30, 20)
    assert float(own_iou(a, b)) == pytest.approx(1 / 3)
    assert float(giou(a, b)) == pytest.approx(1 - 1 / 3 + 0, abs=1e-6)  # the hull is the union
    assert float(diou(a, b)) == pytest.approx(1 - 1 / 3 + 10**2 / (30**2 + 20**2), abs=1e-6)
    assert float(ciou(a, b)) == pytest.approx(float(diou(a, b)), abs=1e-6)  # equal aspect ratios


def test_boxes_that_do_not_meet() -> None:
    """Squares of 10 px in two corners of 40 x 40: union 200, hull 1600, centres 30 * sqrt(2) apart."""
    a, b = row(0, 0, 10, 10), row(30, 30, 40, 40)
    assert float(giou(a, b)) == pytest.approx(1 + 1400 / 1600, abs=1e-6)
    assert float(diou(a, b)) == pytest.approx(1 + 1800 / 3200, abs=1e-6)


def test_aspect_ratio() -> None:
    """One centre; 20 x 20 in 40 x 20: IoU 1/2, v = 4/pi^2 (atan 2 - atan 1)^2, alpha = v / (1/2 + v)."""
    predicted, wanted = row(10, 0, 30, 20), row(0, 0, 40, 20)
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    assert float(diou(predicted, wanted)) == pytest.approx(0.5, abs=1e-6)
    assert float(ciou(predicted, wanted)) == pytest.approx(0.5 + v * v / (0.5 + v), abs=1e-6)


def test_alpha_is_not_differentiated() -> None:
    """By equation 12 of Zheng et al.: dv/dw = -8/pi^2 (atan(wg/hg) - atan(w/h)) h / (w^2 + h^2), weighted by alpha."""
    predicted = row(10, 0, 30, 20).requires_grad_()
    wanted = row(0, 0, 40, 20)
    parts = []
    for loss in (ciou, diou):
        parts.append(torch.autograd.grad(loss(predicted, wanted).sum(), predicted)[0])
    v = 4 / math.pi**2 * (math.atan(2) - math.atan(1)) ** 2
    slope = -8 / math.pi**2 * (math.atan(2) - math.atan(1)) * 20 / (20**2 + 20**2)
    assert float((parts[0] - parts[1])[0, 2]) == pytest.approx(v / (0.5 + v) * slope, rel=1e-4)


@pytest.mark.parametrize("loss", IOU_LOSSES.values())
def test_equal_boxes_cost_nothing_and_empty_ones_are_finite(loss: Callable[..., torch.Tensor]) -> None:
    box = row(3, 4, 50, 9)
    assert float(loss(box, box)) == pytest.approx(0, abs=1e-6)
    point = row(5, 5, 5, 5).requires_grad_()
    value = loss(point, box)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(point.grad).all()  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=4, max_size=4), st.lists(st.integers(0, 300), min_size=4, max_size=4))
def test_ranges_and_order(first: list[int], second: list[int]) -> None:
    """GIoU loss lies in 0..2, and no penalised loss is below 1 - IoU."""
    a, b = (row(c[0], c[1], c[0] + c[2] + 1, c[1] + c[3] + 1) for c in (first, second))
    plain = 1 - float(own_iou(a, b))
    assert 0 <= float(giou(a, b)) <= 2 + 1e-5
    assert all(float(loss(a, b)) >= plain - 1e-4 for loss in IOU_LOSSES.values())
    assert float(giou(a, b)) == pytest.approx(float(giou(b, a)), abs=1e-5)


@pytest.mark.parametrize(
    ("coding", "box"),
    [*((coding, "giou") for coding in LOSSES), *((("ssd", "softmax_bg0"), b) for b in ("diou", "ciou"))],
)
def test_training_codes_with_an_iou_loss_finds_the_box(coding: tuple[str, str], box: str) -> None:
    """Gradient descent on free codes, through the one decoder, ends where the decoded box is the object."""
    spec = replace(CODINGS[coding], levels=LEVELS)
    loss = make_loss(spec, LossConfig.model_validate({"box": box}))
    start = 0.4 if spec.coding.kind == "yolo_v1" else 0.0
    codes = torch.full((1, spec.num_priors, 4), start, requires_grad=True)
    logits = torch.zeros(1, spec.num_priors, spec.num_logits)
    wanted = targets(objects([[0.3, 0.25, 0.62, 0.8]]))
    optimiser = torch.optim.Adam([codes], lr=0.06 / spec.coding.variances[2])
    for _ in range(80):
        optimiser.zero_grad()
        value = loss(RawHeads(codes, logits), wanted)["box"]
        value.backward()
        optimiser.step()
    assert float(value.detach()) < 0.1
    predicted = loss.decoder.boxes(loss.decoder.deltas(codes.detach()))
    found = loss.matcher(wanted, predicted)
    assert (own_iou(predicted[0, found.prior], wanted.boxes_xyxy_unit[0, found.object]) > 0.9).all()


def test_iou_losses_are_of_pixels() -> None:
    """Of an input that is not square: a prediction twice as wide as the object has IoU 1/2 whatever the unit."""
    spec = SPECS["yolov3_tiny"]  # 128 x 96 px; prior 97 is the anchor 23 x 27 in the cell around (72, 40)
    raw = RawHeads(torch.zeros(1, spec.num_priors, 4), torch.zeros(1, spec.num_priors, spec.num_logits))
    raw.box_codes[0, 97, 2] = math.log(2)
    image = targets(objects([[60.5 / 128, 26.5 / 96, 83.5 / 128, 53.5 / 96]]))
    v = 4 / math.pi**2 * (math.atan(46 / 27) - math.atan(23 / 27)) ** 2
    for box, value in {"giou": 0.5, "diou": 0.5, "ciou": 0.5 + v * v / (0.5 + v)}.items():
        loss = make_loss(spec, LossConfig.model_validate({"box": box, "box_weight": 3}))
        assert float(loss(raw, image)["box"]) == pytest.approx(3 * value, rel=1e-4)


def test_smooth_l1_wants_the_inverse_of_the_decoder() -> None:
    spec = SPECS["ssdlite_mobilenet_v2"]
    loss = make_loss(spec, LossConfig())
    boxes, prior = torch.tensor([[0.1, 0.2, 0.4, 0.9], [0.5, 0.5, 0.9, 0.6]]), torch.tensor([10, 200])
    zero = torch.zeros(2, 4)
    # Beta tiny: the loss is |code - wanted|, so with codes 0 and the sign known it tells the wanted codes.
    sizes = smooth_l1(zero, boxes, prior, loss.decoder, 1e-6)
    signs = torch.sign(smooth_l1(zero - 1e-3, boxes, prior, loss.decoder, 1e-6) - sizes)
    codes = torch.zeros(1, spec.num_priors, 4)
    codes[0, prior] = sizes * signs
    assert torch.allclose(loss.decoder.boxes(loss.decoder.deltas(codes))[0, prior], boxes, atol=1e-5)


def one_cell_object(spec: DetectorSpec) -> tuple[RawHeads, int]:
    return RawHeads(
        torch.zeros(1, spec.num_priors, 4), torch.zeros(1, spec.num_priors, spec.num_logits, requires_grad=True)
    ), 97


@pytest.mark.parametrize(("share", "target"), [(None, 1.0), (0.0, 1.0), (1.0, 0.5), (0.5, 0.75)])
def test_iou_aware_objectness(share: float | None, target: float) -> None:
    """The prediction of prior 97 is twice as wide as the object: IoU 1/2. Its gradient is sigmoid(0) - target."""
    spec = SPECS["yolov3_tiny"]
    raw, prior = one_cell_object(spec)
    raw.box_codes[0, prior, 2] = math.log(2)
    image = targets(objects([[60.5 / 128, 26.5 / 96, 83.5 / 128, 53.5 / 96]]))
    assert YoloAssigner(spec)(image).prior.tolist() == [prior]
    make_loss(spec, LossConfig(iou_objectness=share))(raw, image)["objectness"].backward()
    assert float(raw.logits.grad[0, prior, 0]) == pytest.approx(0.5 - target, abs=1e-5)  # type: ignore[index]


def test_objectness_teaches_no_box() -> None:
    spec = SPECS["yolov3_tiny"]
    codes = torch.zeros(1, spec.num_priors, 4, requires_grad=True)
    raw = RawHeads(codes, torch.zeros(1, spec.num_priors, spec.num_logits, requires_grad=True))
    image = targets(objects([[0.4, 0.3, 0.7, 0.6]]))
    make_loss(spec, LossConfig(iou_objectness=1))(raw, image)["objectness"].backward()
    assert codes.grad is None or float(codes.grad.abs().sum()) == 0


def test_yolo_v2_objectness_can_be_taught_1() -> None:
    """Darknet without rescore: 1 in place of the IoU of 1/2."""
    spec = CODINGS["yolo", "obj_times_softmax"]
    anchor = spec.levels[0].anchors_wh_px[0]
    raw = RawHeads(torch.zeros(1, spec.num_priors, 4), torch.zeros(1, spec.num_priors, spec.num_logits))
    stride_x, stride_y = spec.levels[0].stride_xy_px
    cx, cy, w, h = 1.5 * stride_x, 1.5 * stride_y, anchor[0], anchor[1] / 1.05
    sides = (spec.input.width, spec.input.height) * 2
    corners = (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2)
    image = targets(objects([[c / s for c, s in zip(corners, sides, strict=True)]]))
    value = {s: float(make_loss(spec, LossConfig(iou_objectness=s))(raw, image)["objectness"]) for s in (0.0, 1.0)}
    iou = 1 / 1.05
    assert value[0.0] - value[1.0] == pytest.approx(0.5 * (0.5**2 - (iou - 0.5) ** 2), rel=1e-3)


def test_box_targets_of_a_wide_cell() -> None:
    """scale_xy widens the range of the centre: sigmoid(t) * s - (s - 1) / 2 is the place in the cell."""
    spec = CODINGS["yolo", "obj_times_softmax"]
    loss = make_loss(spec, LossConfig())
    scale, stride = spec.levels[0].scale_xy, spec.levels[0].stride_xy_px[0]
    left = 0.25 * stride / spec.input.width  # a quarter into the first cell
    centre, _ = box_targets(torch.tensor([[left - 0.1, 0.1, left + 0.1, 0.3]]), loss.decoder, torch.tensor([0]))
    assert float(centre[0, 0]) * scale - (scale - 1) / 2 == pytest.approx(0.25, abs=1e-5)

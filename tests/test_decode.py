"""The decoder against arithmetic done by hand, against torchvision's box coder, and against its own inverse."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from edgedet.boxes import cxcywh_to_xyxy
from edgedet.decode import Decoder, RawHeads, encode_deltas
from edgedet.priors import priors_cxcywh_px
from edgedet.spec import CodingSpec, InputSpec, LevelSpec
from tests.small_models import SPECS, small_spec

ONE_PRIOR = LevelSpec((100.0, 100.0), 1, 1, ((20.0, 40.0),))
SPEC = small_spec("ssdlite_mobilenet_v2", input=InputSpec(100, 100), levels=(ONE_PRIOR,))
YOLO = replace(SPEC, coding=CodingSpec("yolo", (1.0, 1.0, 1.0, 1.0), score="obj_times_cls"))


def test_ssd_by_hand() -> None:
    """Prior at (50, 50), 20 x 40 px: dx = 1 moves by 0.1 * 20 px, dw = 5 * ln 2 doubles the width."""
    codes = torch.tensor([[[1.0, -2.0, 5 * math.log(2), 0.0]]])
    box = Decoder(SPEC).boxes(Decoder(SPEC).deltas(codes))[0, 0] * 100
    torch.testing.assert_close(box, torch.tensor([52 - 20.0, 42 - 20.0, 52 + 20.0, 42 + 20.0]))


def test_yolo_by_hand() -> None:
    """One cell of 100 px: sigmoid(ln 3) = 0.75 puts the centre at 75 px; tw = ln 2 doubles the anchor's width."""
    codes = torch.tensor([[[math.log(3), 0.0, math.log(2), math.log(0.5)]]])
    box = Decoder(YOLO).boxes(Decoder(YOLO).deltas(codes))[0, 0] * 100
    torch.testing.assert_close(box, torch.tensor([75 - 20.0, 50 - 10.0, 75 + 20.0, 50 + 10.0]))


def test_yolo_v1_by_hand() -> None:
    """One cell of 100 px and a prior of 20 x 40 px: the centre in cells, the size as the root of its share."""
    spec = replace(SPEC, coding=CodingSpec("yolo_v1", (1.0, 1.0, 1.0, 1.0), score="linear_obj_times_cls"))
    codes = torch.tensor([[[0.25, 0.75, 0.5, math.sqrt(2)]]])
    box = Decoder(spec).boxes(Decoder(spec).deltas(codes))[0, 0] * 100
    torch.testing.assert_close(box, torch.tensor([25 - 2.5, 75 - 40.0, 25 + 2.5, 75 + 40.0]))


def test_scale_xy_widens_the_reach_of_the_centre() -> None:
    """Darknet's scale_x_y 1.1: sigmoid(t) * 1.1 - 0.05; sigmoid(ln 3) = 0.75 puts the centre at 77.5 px."""
    spec = replace(YOLO, levels=(replace(ONE_PRIOR, scale_xy=1.1),))
    codes = torch.tensor([[[math.log(3), -1e4, 0.0, 0.0]]])
    box = Decoder(spec).boxes(Decoder(spec).deltas(codes))[0, 0] * 100
    torch.testing.assert_close(box, torch.tensor([77.5 - 10, -5.0 - 20, 77.5 + 10, -5.0 + 20]))


def test_yolo_equals_the_papers_formula() -> None:
    spec = SPECS["yolov3_tiny"]
    torch.manual_seed(0)
    codes = torch.randn(2, spec.num_priors, 4)
    decoder = Decoder(spec)
    boxes = decoder.boxes(decoder.deltas(codes)).double()
    start = 0
    for level in spec.levels:
        for row in range(level.num_priors):
            cell, anchor = divmod(row, len(level.anchors_wh_px))
            cy, cx = divmod(cell, level.grid_w)
            tx, ty, tw, th = codes[1, start + row].double().tolist()
            bx = (1 / (1 + math.exp(-tx)) + cx) / level.grid_w
            by = (1 / (1 + math.exp(-ty)) + cy) / level.grid_h
            bw = level.anchors_wh_px[anchor][0] * math.exp(tw) / spec.input.width
            bh = level.anchors_wh_px[anchor][1] * math.exp(th) / spec.input.height
            expected = torch.tensor([bx - bw / 2, by - bh / 2, bx + bw / 2, by + bh / 2], dtype=torch.float64)
            torch.testing.assert_close(boxes[1, start + row], expected, atol=1e-5, rtol=1e-5)
        start += level.num_priors


def test_equals_torchvisions_box_coder() -> None:
    spec = SPECS["ssdlite_mobilenet_v2"]
    torch.manual_seed(0)
    codes = torch.randn(1, spec.num_priors, 4) * 3
    codes[0, 0] = 100.0  # beyond the clamp of exp
    priors = cxcywh_to_xyxy(priors_cxcywh_px(spec).float())
    expected = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)).decode_single(codes[0], priors)
    decoder = Decoder(spec)
    size = torch.tensor((spec.input.width, spec.input.height) * 2)
    torch.testing.assert_close(decoder.boxes(decoder.deltas(codes))[0] * size, expected, atol=2e-3, rtol=1e-5)


def test_scores_by_hand() -> None:
    logits = torch.tensor([[[0.0, math.log(2), 0.0, math.log(4)]]])
    torch.testing.assert_close(Decoder(SPEC).scores(logits)[0, 0], torch.tensor([2 / 8, 1 / 8, 4 / 8]))
    torch.testing.assert_close(Decoder(YOLO).scores(logits)[0, 0], torch.tensor([1 / 3, 1 / 4, 2 / 5]))
    region = Decoder(replace(YOLO, coding=replace(YOLO.coding, score="obj_times_softmax")))
    torch.testing.assert_close(region.scores(logits)[0, 0], torch.tensor([2 / 7, 1 / 7, 4 / 7]) / 2)
    linear = Decoder(replace(YOLO, coding=CodingSpec("yolo_v1", score="linear_obj_times_cls")))
    outputs = torch.tensor([[[0.5, 0.4, 1.6, -0.2]]])
    torch.testing.assert_close(linear.scores(outputs)[0, 0], torch.tensor([0.2, 0.5, 0.0]))
    sigmoid = Decoder(replace(SPEC, coding=CodingSpec("ssd", score="sigmoid")))
    torch.testing.assert_close(sigmoid.scores(logits[..., 1:])[0, 0], torch.tensor([2 / 3, 1 / 2, 4 / 5]))


@pytest.mark.parametrize("name", SPECS)
def test_shapes_and_finiteness_for_wild_codes(name: str) -> None:
    spec = SPECS[name]
    raw = RawHeads(torch.full((2, spec.num_priors, 4), 1e4), torch.full((2, spec.num_priors, spec.num_logits), -1e4))
    boxes, scores = Decoder(spec)(raw)
    assert boxes.shape == (2, spec.num_priors, 4)
    assert scores.shape == (2, spec.num_priors, spec.num_classes)
    assert torch.isfinite(boxes).all()
    assert torch.isfinite(scores).all()


@given(st.tuples(*[st.floats(0.0, 0.9)] * 2, *[st.floats(0.01, 0.5)] * 2))
def test_encode_is_the_inverse(values: tuple[float, ...]) -> None:
    x, y, w, h = values
    boxes = torch.tensor([[x, y, x + w, y + h]])
    decoder = Decoder(SPEC)
    torch.testing.assert_close(
        decoder.boxes(encode_deltas(boxes, decoder.priors_cxcywh)[None])[0], boxes, atol=1e-5, rtol=1e-5
    )

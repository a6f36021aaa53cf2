"""Box arithmetic against values worked out by hand, and its properties."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from edgedet.boxes import box_area, clip_xyxy, cxcywh_to_xyxy, iou_matrix, xyxy_to_cxcywh

side = st.floats(-500, 500, allow_nan=False, width=32)
box = st.tuples(side, side, side, side)


def test_conversions_by_hand() -> None:
    assert cxcywh_to_xyxy(torch.tensor([10.0, 20.0, 4.0, 6.0])).tolist() == [8.0, 17.0, 12.0, 23.0]
    assert xyxy_to_cxcywh(torch.tensor([8.0, 17.0, 12.0, 23.0])).tolist() == [10.0, 20.0, 4.0, 6.0]


def test_iou_by_hand() -> None:
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 0, 0]])
    b = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [0, 0, 10, 5], [0, 0, 0, 0]])
    torch.testing.assert_close(iou_matrix(a, b)[0], torch.tensor([1.0, 1 / 3, 0.0, 0.5, 0.0]))
    assert iou_matrix(a, b)[1].tolist() == [0.0] * 5, "an empty box overlaps nothing, not even itself"


def test_inverted_box_has_no_area() -> None:
    assert box_area(torch.tensor([5.0, 5.0, 1.0, 9.0])) == 0


@given(box)
def test_conversions_are_inverse(values: tuple[float, ...]) -> None:
    boxes = torch.tensor(values, dtype=torch.float64)
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(boxes)), boxes)


@given(st.lists(box, min_size=1, max_size=6), st.lists(box, min_size=1, max_size=6))
def test_iou_is_symmetric_and_bounded(first: list[tuple[float, ...]], second: list[tuple[float, ...]]) -> None:
    a, b = torch.tensor(first, dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    ious = iou_matrix(a, b)
    assert ((ious >= 0) & (ious <= 1)).all()
    torch.testing.assert_close(ious, iou_matrix(b, a).T)


@given(box)
def test_clipped_boxes_lie_inside(values: tuple[float, ...]) -> None:
    clipped = clip_xyxy(torch.tensor(values), width=64, height=48)
    assert (clipped >= 0).all()
    assert (clipped <= torch.tensor([64.0, 48, 64, 48])).all()

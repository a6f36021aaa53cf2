"""What NmsSpec means: worked cases for ties, thresholds, classes, caps and strange boxes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgedet.boxes import iou_matrix
from edgedet.nms import candidates, non_maximum_suppression
from edgedet.spec import NmsSpec

NMS = NmsSpec(score_min=0.25, iou_max=0.5, pre_topk=100, max_detections=100)
# IoU of neighbours: 0-1 exactly 0.5, 2 apart (the golden case of TFLite's NonMaxSuppressionV4 test).
BOXES = torch.tensor([[0.0, 0, 1, 2], [0, 0, 1, 1], [10, 10, 11, 11]])


def kept(boxes: Tensor, scores: list[list[float]], nms: NmsSpec = NMS) -> list[tuple[int, int]]:
    found = non_maximum_suppression(boxes, torch.tensor(scores), nms)
    return list(zip(found.prior_indices.tolist(), found.class_ids.tolist(), strict=True))


def test_exactly_on_both_thresholds_stays() -> None:
    assert kept(BOXES, [[0.9], [0.5], [0.25]]) == [(0, 0), (1, 0), (2, 0)]


def test_just_beyond_either_threshold_goes() -> None:
    assert kept(BOXES, [[0.9], [0.5], [0.2499]]) == [(0, 0), (1, 0)]
    assert kept(BOXES, [[0.9], [0.5], [0.25]], replace(NMS, iou_max=0.4999)) == [(0, 0), (2, 0)]


def test_threshold_is_compared_in_float32() -> None:
    """0.1 in float32 is slightly above 0.1 in float64; a file that stores float32 keeps it, so the reference does."""
    score = torch.tensor([[0.1], [0.0], [0.0]])
    assert len(non_maximum_suppression(BOXES, score, replace(NMS, score_min=0.1)).scores) == 1


def test_ties_keep_the_lower_prior() -> None:
    same = torch.tensor([[0.0, 0, 1, 1]] * 3)
    assert kept(same, [[0.5], [0.5], [0.5]]) == [(0, 0)]


def test_tied_classes_take_the_lower_class() -> None:
    assert kept(BOXES[:1], [[0.4, 0.4]]) == [(0, 0)]


def test_two_classes_on_one_object() -> None:
    same = torch.tensor([[0.0, 0, 1, 1]] * 2)
    scores = [[0.9, 0.3], [0.2, 0.8]]
    assert kept(same, scores) == [(0, 0), (1, 1)], "suppression is within a class"
    assert kept(same, scores, replace(NMS, class_agnostic=True)) == [(0, 0)]


def test_labels_per_box() -> None:
    scores = [[0.9, 0.3]]
    assert kept(BOXES[:1], scores) == [(0, 0)]
    assert kept(BOXES[:1], scores, replace(NMS, labels_per_box="all")) == [(0, 0), (0, 1)]


def test_caps() -> None:
    apart = torch.tensor([[i * 10.0, 0, i * 10.0 + 5, 5] for i in range(6)])
    scores = [[0.3], [0.8], [0.5], [0.9], [0.4], [0.6]]
    assert kept(apart, scores, replace(NMS, max_detections=3)) == [(3, 0), (1, 0), (5, 0)]
    two = replace(NMS, pre_topk=2, max_detections=2)
    assert len(candidates(torch.tensor(scores), two).scores) == 2


def test_candidates_cut_before_suppression() -> None:
    """The second-best box is suppressed, and the third does not move up: it never was a candidate."""
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [5, 5, 6, 6]])
    assert kept(boxes, [[0.9], [0.8], [0.7]], replace(NMS, pre_topk=2, max_detections=2)) == [(0, 0)]


def test_none_at_all() -> None:
    assert kept(BOXES, [[0.1], [0.0], [0.2]]) == []
    empty = non_maximum_suppression(torch.zeros(0, 4), torch.zeros(0, 3), NMS)
    assert len(empty.scores) == 0


def test_degenerate_boxes_are_kept_and_suppress_nothing() -> None:
    flat = torch.tensor([[1.0, 1, 1, 5], [1, 1, 1, 5], [0, 0, 2, 6]])
    assert kept(flat, [[0.9], [0.8], [0.7]]) == [(0, 0), (1, 0), (2, 0)]


def test_best_first_over_classes() -> None:
    found = non_maximum_suppression(BOXES, torch.tensor([[0.3, 0.0], [0.0, 0.9], [0.5, 0.0]]), NMS)
    assert found.scores.tolist() == pytest.approx([0.9, 0.5, 0.3])


@settings(deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([True, False]), st.sampled_from(["best", "all"]))
def test_survivors_do_not_overlap_and_every_loser_has_a_reason(seed: int, agnostic: bool, labels: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(40, 2, generator=generator)
    boxes = torch.cat((corners, corners + torch.rand(40, 2, generator=generator) * 0.5 + 0.01), dim=1)
    scores = torch.rand(40, 3, generator=generator)
    nms = replace(NMS, class_agnostic=agnostic, labels_per_box=labels)
    found, entered = non_maximum_suppression(boxes, scores, nms), candidates(scores, nms)
    ious = iou_matrix(boxes[found.prior_indices], boxes[found.prior_indices])
    same = torch.ones_like(ious, dtype=torch.bool) if agnostic else found.class_ids[:, None] == found.class_ids[None]
    assert not ((ious > nms.iou_max) & same & ~torch.eye(len(ious), dtype=torch.bool)).any()
    survivors = set(zip(found.prior_indices.tolist(), found.class_ids.tolist(), strict=True))
    for prior, label, score in zip(*(c.tolist() for c in entered), strict=True):
        if (prior, label) in survivors:
            continue
        better = (found.scores >= score) & (agnostic | (found.class_ids == label))
        assert (iou_matrix(boxes[prior][None], boxes[found.prior_indices[better]]) > nms.iou_max).any()

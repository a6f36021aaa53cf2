"""Matching by hand: boxes in pixels, one class unless said otherwise."""

from __future__ import annotations

import numpy as np
import pytest

from edgedet.export.parity_match import Candidates, Found, Outcome, box_errors_px, match
from edgedet.export.tolerances import Tolerance
from edgedet.spec import NmsSpec

LIMITS = Tolerance(head_p99=0.1, head_max=0.2, box_px=1.0, score=0.01, iou=0.02, borderline_share=0.5, coco_ap=0.002)


def _found(*rows: tuple[float, float, float, float, float, int]) -> Found:
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Found(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def _candidates(*founds: Found, classes: int = 2) -> Candidates:
    """What the reference decoded: the given boxes, each once and with one label."""
    rows = np.concatenate([np.column_stack((f.boxes_xyxy_px, f.scores, f.class_ids)) for f in founds])
    rows = np.unique(rows, axis=0)
    scores = np.zeros((len(rows), classes), np.float32)
    scores[np.arange(len(rows)), rows[:, 5].astype(int)] = rows[:, 4]
    return Candidates(rows[:, :4].astype(np.float32), scores)


def _match(reference: Found, found: Found, known: Found | None = None, nms: NmsSpec | None = None) -> Outcome:
    outcome = Outcome()
    candidates = _candidates(reference, known) if known else _candidates(reference)
    match(reference, found, candidates, nms or NmsSpec(iou_max=0.5), LIMITS, outcome)
    return outcome


A = (0.0, 0.0, 40.0, 40.0, 0.9, 0)
A_SHIFTED = (8.0, 0.0, 48.0, 40.0, 0.9, 0)  # IoU with A: 32 / 48 = 2/3
FAR = (100.0, 100.0, 140.0, 140.0, 0.8, 0)


def _counts(outcome: Outcome) -> tuple[int, int, int, int, int]:
    return outcome.matched, outcome.missed, outcome.extra, outcome.label_flips, outcome.borderline


def test_small_differences_are_pairs_with_their_errors() -> None:
    outcome = _match(_found(A, FAR), _found((0.5, 0, 40, 40.25, 0.905, 0), FAR))
    assert _counts(outcome) == (2, 0, 0, 0, 0)
    assert outcome.box_errors_px == [0.0, 0.5]  # the best overlap is paired first
    np.testing.assert_allclose(outcome.score_errors, [0, 0.005], atol=1e-6)


def test_error_of_large_boxes_is_in_proportion() -> None:
    small, large = np.array([0, 0, 64, 30], np.float32), np.array([0, 0, 256, 30], np.float32)
    assert box_errors_px(small, small + 2) == 2
    assert box_errors_px(large, large + 2) == 0.5


def test_missed_and_extra_are_counted() -> None:
    assert _counts(_match(_found(A, FAR), _found(A))) == (1, 1, 0, 0, 0)
    assert _counts(_match(_found(A), _found(A, FAR))) == (1, 0, 1, 0, 0)
    assert _counts(_match(_found(A), _found())) == (0, 1, 0, 0, 0)
    assert _counts(_match(_found(), _found(), known=_found(A))) == (0, 0, 0, 0, 0)


def test_another_label_on_the_same_box_is_a_flip() -> None:
    assert _counts(_match(_found(A), _found((*A[:5], 1)))) == (0, 0, 0, 1, 0)


@pytest.mark.parametrize(("rival_score", "counts"), [(0.895, (0, 0, 0, 0, 2)), (0.7, (0, 0, 0, 1, 0))])
def test_another_label_is_borderline_only_when_the_candidate_s_two_scores_tie(
    rival_score: float, counts: tuple[int, int, int, int, int]
) -> None:
    candidates = Candidates(np.array([A[:4]], np.float32), np.array([[0.9, rival_score]], np.float32))
    outcome = Outcome()
    match(_found(A), _found((*A[:4], rival_score, 1)), candidates, NmsSpec(iou_max=0.5), LIMITS, outcome)
    assert _counts(outcome) == counts


def test_at_score_min_is_borderline() -> None:
    faint = (100.0, 0.0, 140.0, 40.0, 0.055, 0)
    assert _counts(_match(_found(A, faint), _found(A))) == (1, 0, 0, 0, 1)
    assert _counts(_match(_found(A), _found(A, faint), known=_found(faint))) == (1, 0, 0, 0, 1)
    # The same box without a candidate of the reference behind it is a fault, however faint.
    assert _counts(_match(_found(A), _found(A, faint))) == (1, 0, 1, 0, 0)


def test_swapped_winner_is_borderline_only_when_scores_tie_and_the_reference_has_the_box() -> None:
    rival = (*A_SHIFTED[:4], 0.895, 0)
    assert _counts(_match(_found(A), _found(rival), known=_found(rival))) == (0, 0, 0, 0, 2)
    clear = (*A_SHIFTED[:4], 0.8, 0)
    moved = _match(_found(A), _found(clear), known=_found(clear))
    assert _counts(moved) == (1, 0, 0, 0, 0)
    assert max(moved.score_errors) > LIMITS.score
    unknown = _match(_found(A), _found(A_SHIFTED))
    assert _counts(unknown) == (1, 0, 0, 0, 0)
    assert max(unknown.box_errors_px) > LIMITS.box_px


def test_overlap_at_iou_max_is_borderline() -> None:
    weak = (*A_SHIFTED[:4], 0.7, 0)
    for iou_max, borderline in ((0.66, 1), (0.6, 0)):
        nms = NmsSpec(iou_max=iou_max)
        outcome = _match(_found(A), _found(A, weak), known=_found(weak), nms=nms)
        assert _counts(outcome) == (1, 0, 1 - borderline, 0, borderline)


def test_suppression_is_judged_by_boxes_before_they_were_cut() -> None:
    """Whole, the two overlap by 40 / 80, exactly the limit; inside the input by 30 / 40, which looks like no tie."""
    inside = np.array([[0, 0, 40, 40], [0, 0, 40, 30]], np.float32)
    whole = np.array([[0, 0, 40, 40], [0, -40, 40, 40]], np.float32)
    scores, classes = np.array([0.9, 0.6], np.float32), np.zeros(2, np.int64)
    reference = Found(inside, scores, classes, whole)
    candidates = Candidates(inside, np.column_stack((scores, np.zeros(2))).astype(np.float32), whole)
    outcome = Outcome()
    match(reference, Found(inside[:1], scores[:1], classes[:1]), candidates, NmsSpec(iou_max=0.5), LIMITS, outcome)
    assert _counts(outcome) == (1, 0, 0, 0, 1)


def test_what_follows_from_a_tie_is_borderline_too() -> None:
    """The file keeps a rival at iou_max, which suppresses a third box that the reference kept."""
    rival = (*A_SHIFTED[:4], 0.7, 0)
    third = (14.0, 0.0, 54.0, 40.0, 0.6, 0)  # IoU with A 26/54 = .48, with the rival 34/46 = .74
    tie = _match(_found(A, third), _found(A, rival), known=_found(rival), nms=NmsSpec(iou_max=0.66))
    assert _counts(tie) == (1, 0, 0, 0, 2)
    fault = _match(_found(A, third), _found(A, rival), known=_found(rival), nms=NmsSpec(iou_max=0.6))
    assert fault.borderline == 0
    assert max(fault.box_errors_px) > LIMITS.box_px  # seen as a pair that is 6 px apart


def test_last_place_of_a_full_list_is_borderline() -> None:
    nms = NmsSpec(max_detections=2, iou_max=0.5)
    last, other = (*FAR[:4], 0.5, 0), (200.0, 0.0, 240.0, 40.0, 0.495, 0)
    assert _counts(_match(_found(A, last), _found(A, other), known=_found(other), nms=nms)) == (1, 0, 0, 0, 2)
    low = (*other[:4], 0.3, 0)
    assert _counts(_match(_found(A, last), _found(A, low), known=_found(low), nms=nms))[:2] == (1, 1)


def test_candidates_beyond_pre_topk_are_borderline_at_the_cut_only() -> None:
    many = _found(*[(300.0 + 50 * i, 0.0, 340.0 + 50 * i, 40.0, 0.5 - 0.05 * i, 0) for i in range(4)])
    nms = NmsSpec(pre_topk=3, max_detections=3)
    kept = Found(many.boxes_xyxy_px[:3], many.scores[:3], many.class_ids[:3])
    third = Found(many.boxes_xyxy_px[:2], many.scores[:2], many.class_ids[:2])
    second = Found(many.boxes_xyxy_px[[0, 2]], many.scores[[0, 2]], many.class_ids[[0, 2]])
    assert _counts(_match(kept, third, known=many, nms=nms)) == (2, 0, 0, 0, 1)
    assert _counts(_match(kept, second, known=many, nms=nms)) == (2, 1, 0, 0, 0)

"""Why one file does not show a box that another one shows.

Where the file's boxes before suppression can be read, they answer it. Elsewhere its answers below the threshold are all
there is, and what left no trace in them reads "unknown", never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgedet.benchmarks.lab.damage_pairs import PAIR_IOU, Found, iou
from edgedet.benchmarks.lab.damage_view import View
from edgedet.evaluation.tables import BoolArray, FloatArray

CauseKind = Literal["score", "class", "box", "suppression", "limit", "unknown"]
CAUSES: dict[CauseKind, str] = {
    "score": "score shift: at this place the class scores below the threshold",
    "class": "class shift: at this place another class scores higher",
    "box": "box shift: the box moved until it overlaps by less than 0.5",
    "suppression": "NMS flip: the box is there, and another box suppressed it",
    "limit": "NMS limit: the box is there, but pre_topk or max_detections cut it off",
    "unknown": "unknown: left no trace in the file's answers, or no reason can be seen",
}
_TOUCHES = 0.1  # a box that overlaps by less than this is another object's
_IOU_ROUNDING = 0.01  # suppression compared in the network's pixels and maybe in half precision


@dataclass(frozen=True)
class Cause:
    """Why a box is not shown.

    Attributes:
        kind: a key of CAUSES.
        score: that the file gives to the class at this place; None where it cannot be known.
        box_xyxy_px: the box that moved, or the one that suppressed it; None otherwise.
    """

    kind: CauseKind
    score: float | None = None
    box_xyxy_px: tuple[float, ...] | None = None


def cause_of(shown_by: View, row: int, missing_in: View, score_min: float) -> Cause:
    """Why detection `row` of one file is not among those that the other shows from `score_min` on."""
    box, class_id = shown_by.found.boxes_xyxy_px[row][None], int(shown_by.found.class_ids[row])
    if missing_in.candidates is None:
        return _from_answers(box, class_id, missing_in, score_min)
    prior = _prior_of(shown_by, row) if shown_by.priors == missing_in.priors else None
    return _from_candidates(box, class_id, prior, missing_in, score_min)


def _from_candidates(box: FloatArray, class_id: int, prior: int | None, view: View, score_min: float) -> Cause:
    assert view.candidates is not None
    boxes, scores = view.candidates.boxes_xyxy_px, view.candidates.scores[:, class_id]
    entering = np.where(view.candidates.allowed[:, class_id], scores, 0.0)
    overlaps = iou(boxes, box)[:, 0]
    near = overlaps >= PAIR_IOU
    if prior is not None and entering[prior] >= score_min and not near[prior]:
        return Cause("box", float(entering[prior]), _corners(boxes[prior]))
    own = prior is not None and entering[prior] >= score_min
    hidden = near & ~_is_shown(view, class_id)  # a box that is shown is there for another one of the first file
    best = prior if own and prior is not None else int(np.argmax(np.where(hidden, entering, -1.0)))
    if own or (hidden[best] and entering[best] >= score_min):
        return _suppressed(best, class_id, float(entering[best]), view)
    if prior is None and (moved := _moved(box, class_id, view.found, score_min)) is not None:
        return Cause("box", float(view.found.scores[moved]), _corners(view.found.boxes_xyxy_px[moved]))
    score = float(scores[prior]) if prior is not None else float(np.max(scores[hidden], initial=0.0))
    return Cause("class" if score >= score_min else "score", score)


def _is_shown(view: View, class_id: int) -> BoolArray:
    """(N,) which candidates are among the file's answers for this class."""
    assert view.candidates is not None
    shown = np.zeros(len(view.candidates.scores), np.bool_)
    rows = view.candidates.rows_of_found[view.found.class_ids == class_id]
    shown[rows[rows >= 0]] = True
    return shown


def _suppressed(candidate: int, class_id: int, score: float, view: View) -> Cause:
    """A box that is good enough and not shown: by which one was it suppressed?"""
    assert view.candidates is not None
    found, whole = view.found, view.candidates.whole_xyxy_px
    rivals = [k for k in range(len(found)) if view.nms.class_agnostic or found.class_ids[k] == class_id]
    if rivals:
        priors = [_prior_of(view, k) for k in rivals]
        boxes = np.stack(
            [found.boxes_xyxy_px[k] if p is None else whole[p] for k, p in zip(rivals, priors, strict=True)]
        )
        overlaps = iou(boxes, whole[candidate][None])[:, 0]
        best = int(overlaps.argmax())
        if overlaps[best] > view.nms.iou_max - _IOU_ROUNDING:
            return Cause("suppression", score, _corners(found.boxes_xyxy_px[rivals[best]]))
    entering = view.candidates.scores[view.candidates.allowed] >= view.nms.score_min
    if len(found) >= view.nms.max_detections or int(entering.sum()) > view.nms.pre_topk:
        return Cause("limit", score)
    return Cause("unknown", score)


def _from_answers(box: FloatArray, class_id: int, view: View, score_min: float) -> Cause:
    found = view.found
    overlaps, same = iou(found.boxes_xyxy_px, box)[:, 0], found.class_ids == class_id
    near, shown = overlaps >= PAIR_IOU, found.scores >= score_min
    if (near & same & shown).any():  # it is paired with another box of the first file: one is left of two
        suppressor = int(np.argmax(np.where(near & same & shown, overlaps, -1.0)))
        return Cause("suppression", None, _corners(found.boxes_xyxy_px[suppressor]))
    if (near & same).any():
        return Cause("score", float(found.scores[near & same].max()))
    if (near & shown).any():
        return Cause("class")
    if (moved := _moved(box, class_id, found, score_min)) is not None:
        return Cause("box", float(found.scores[moved]), _corners(found.boxes_xyxy_px[moved]))
    return Cause("unknown")


def _moved(box: FloatArray, class_id: int, found: Found, score_min: float) -> int | None:
    """The shown box of the same class that overlaps most, from 0.1 on and below what makes a pair."""
    overlaps = np.where(
        (found.class_ids == class_id) & (found.scores >= score_min), iou(found.boxes_xyxy_px, box)[:, 0], 0.0
    )
    if not len(found) or not _TOUCHES <= overlaps.max() < PAIR_IOU:
        return None
    return int(overlaps.argmax())


def _prior_of(view: View, row: int) -> int | None:
    """The candidate that an answer was; None where that cannot be seen."""
    prior = -1 if view.candidates is None else int(view.candidates.rows_of_found[row])
    return prior if prior >= 0 else None


def _corners(box: FloatArray) -> tuple[float, ...]:
    return tuple(round(float(side), 2) for side in box)

"""Pascal VOC average precision: VOC 2007 (11 points) and VOC 2010 (area under the curve).

Source: the VOC development kit's VOCevaldet.m (2007 and 2010 editions) and Everingham et al., "The PASCAL Visual Object
Classes (VOC) Challenge", IJCV 2010, section 4.2. COCO's crowd regions, which VOC does not know, swallow what would be
a false alarm: the rule of the COCO metric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedet.evaluation.tables import BoolArray, DetectionTable, FloatArray, IntArray, ObjectTable, Pairs, pairs

RECALL_LEVELS = np.arange(11) * 0.1  # 0.1 * 3 > 0.3 in floating point: a recall of 3/10 does not reach the fourth level


@dataclass(frozen=True)
class PrecisionRecall:
    """One class's curve at one IoU threshold: a point after each counted detection, best score first.

    Attributes:
        recall, precision, scores: (P,) float64.
        num_objects: objects that had to be found; where it is 0, recall and average precision are undefined (NaN).
    """

    recall: FloatArray
    precision: FloatArray
    scores: FloatArray
    num_objects: int

    def ap_11point(self) -> float:
        """VOC 2007: the mean over recall 0, 0.1 .. 1 of the best precision at that recall or above."""
        if not self.num_objects:
            return float("nan")
        reached = self.recall[None, :] >= RECALL_LEVELS[:, None]
        return float(np.where(reached, self.precision[None, :], 0.0).max(axis=1, initial=0.0).mean())

    def ap_area(self) -> float:
        """VOC 2010: the area under precision made monotonically decreasing."""
        if not self.num_objects:
            return float("nan")
        envelope = np.maximum.accumulate(self.precision[::-1])[::-1]
        return float(np.sum(np.diff(self.recall, prepend=0.0) * envelope))


@dataclass(frozen=True)
class Matching:
    """What became of each detection at one IoU threshold: (D,) flags; neither flag means false positive."""

    true_positive: BoolArray
    ignored: BoolArray


def match(
    detections: DetectionTable, objects: ObjectTable, iou_min: float = 0.5, *, plus_one: bool = False
) -> Matching:
    """Match as the development kit does: a detection is compared with the object it overlaps best, and no other.

    It is a true positive when that IoU is >= iou_min and no better-scored detection took the object, ignored when the
    object is difficult, else a false positive. What would be a false positive but lies inside a crowd region of its
    class (intersection over its own area >= iou_min) is ignored.

    Args:
        iou_min: the threshold.
        plus_one: the kit's widths x_max - x_min + 1, for boxes that name their first and last whole pixel. Leave it
            off for edgedet's continuous coordinates, in which a box's width already is the number of its pixels.
    """
    best_iou = np.zeros(len(detections))
    best_object = np.full(len(detections), -1, dtype=np.int64)
    in_crowd = np.zeros(len(detections), dtype=np.bool_)
    for portion in pairs(detections, objects, same_class=True, plus_one=plus_one):
        crowd = objects.crowd[portion.objects]
        in_crowd[portion.detections[crowd & (portion.coverage >= iou_min)]] = True
        rows, pair_numbers = _best_pairs(portion, ~crowd)
        best_iou[rows], best_object[rows] = portion.iou[pair_numbers], portion.objects[pair_numbers]
    hit = (best_object >= 0) & (best_iou >= iou_min)
    difficult = np.zeros_like(hit)
    difficult[hit] = objects.difficult[best_object[hit]]
    true_positive = _first_claims(detections, best_object, hit & ~difficult)
    return Matching(true_positive, difficult | (in_crowd & ~true_positive))


def _best_pairs(portion: Pairs, allowed: BoolArray) -> tuple[IntArray, IntArray]:
    """Detection rows, and for each the number of its allowed pair with the largest IoU (the first one on ties)."""
    numbers = np.flatnonzero(allowed)
    order = numbers[np.lexsort((-portion.iou[numbers], portion.detections[numbers]))]
    rows, first = np.unique(portion.detections[order], return_index=True)
    return rows, order[first]


def _first_claims(detections: DetectionTable, claimed: IntArray, valid: BoolArray) -> BoolArray:
    """(D,) which valid detections are the best-scored ones on the object they claim."""
    order = detections.best_first()
    order = order[valid[order]]
    _, first = np.unique(claimed[order], return_index=True)
    winners = np.zeros(len(detections), dtype=np.bool_)
    winners[order[first]] = True
    return winners


def precision_recall(scores: FloatArray, true_positive: BoolArray, num_objects: int) -> PrecisionRecall:
    """The curve of counted detections.

    Args:
        scores, true_positive: (P,), best score first.
        num_objects: objects that had to be found.
    """
    found = np.cumsum(true_positive)
    precision = found / np.arange(1, len(found) + 1)
    recall = found / num_objects if num_objects else np.full(len(found), np.nan)
    return PrecisionRecall(recall, precision, scores, num_objects)


def curves(
    detections: DetectionTable, objects: ObjectTable, num_classes: int, iou_min: float = 0.5, *, plus_one: bool = False
) -> list[PrecisionRecall]:
    """The curves of all classes, by class index; ignored detections leave no point. Arguments as for `match`."""
    matching = match(detections, objects, iou_min, plus_one=plus_one)
    order = detections.best_first()
    order = order[~matching.ignored[order]]
    counts = np.bincount(objects.class_ids[objects.required], minlength=num_classes)
    found = []
    for class_id in range(num_classes):
        rows = order[detections.class_ids[order] == class_id]
        found.append(precision_recall(detections.scores[rows], matching.true_positive[rows], int(counts[class_id])))
    return found

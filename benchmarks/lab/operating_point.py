"""Score thresholds: what one file has at a threshold, and where another file has the same recall or precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedet.evaluation import voc
from edgedet.evaluation.tables import DetectionTable, FloatArray, IntArray, ObjectTable
from edgedet.evaluation.voc import PrecisionRecall, precision_recall

_SAME = 1e-9


@dataclass(frozen=True)
class Point:
    """One threshold: detections from `score` on count. Precision is 1 where there are none (nothing false is shown)."""

    score: float
    precision: float
    recall: float

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True)
class OperatingPoints:
    """Two files for one class.

    Attributes:
        class_name: "" for all classes with one threshold.
        objects: that have to be found; without any, nothing else is known.
        a, b: both at the threshold that was asked for.
        same_recall: the highest threshold of b that finds what a finds; None where b never does.
        same_precision: b's threshold of most recall with at least a's precision; None where b never has it.
        best_a, best_b: where F1 is largest.
    """

    class_name: str
    objects: int
    a: Point
    b: Point
    same_recall: Point | None
    same_precision: Point | None
    best_a: Point | None
    best_b: Point | None


def operating_points(
    class_names: tuple[str, ...], objects: ObjectTable, a: DetectionTable, b: DetectionTable, score_min: float
) -> tuple[OperatingPoints, ...]:
    """All classes together, then each one that has objects."""
    curves = [(_together(a, objects), _together(b, objects))]
    curves += list(zip(*(voc.curves(table, objects, len(class_names)) for table in (a, b)), strict=True))
    rows = zip(("", *class_names), curves, strict=True)
    return tuple(_points(name, before, after, score_min) for name, (before, after) in rows if before.num_objects)


def point_at(curve: PrecisionRecall, score_min: float) -> Point:
    """Precision and recall of the detections from a score on."""
    count = int(np.sum(curve.scores >= score_min))
    if not count:
        return Point(score_min, 1.0, 0.0)
    return Point(score_min, float(curve.precision[count - 1]), float(curve.recall[count - 1]))


def _points(name: str, before: PrecisionRecall, after: PrecisionRecall, score_min: float) -> OperatingPoints:
    a = point_at(before, score_min)
    ends = _ends(after.scores)
    enough = np.flatnonzero(after.recall[ends] >= a.recall - _SAME)
    precise = np.flatnonzero(after.precision[ends] >= a.precision - _SAME)
    return OperatingPoints(
        name,
        before.num_objects,
        a,
        point_at(after, score_min),
        _point(after, ends, int(enough[0])) if len(enough) else None,
        _point(after, ends, int(precise[-1])) if len(precise) else None,
        _best(before),
        _best(after),
    )


def _best(curve: PrecisionRecall) -> Point | None:
    ends = _ends(curve.scores)
    points = [_point(curve, ends, k) for k in range(len(ends))]
    return max(points, key=lambda point: point.f1, default=None)


def _ends(scores: FloatArray) -> IntArray:
    """Where a threshold can cut: the last detection of each group of equal scores."""
    return np.flatnonzero(np.append(scores[1:] < scores[:-1], True)) if len(scores) else np.empty(0, np.int64)


def _point(curve: PrecisionRecall, ends: IntArray, k: int) -> Point:
    """The threshold halfway to the next lower score, so that rounding it changes nothing."""
    row = int(ends[k])
    score = float(curve.scores[row])
    lower = float(curve.scores[row + 1]) if row + 1 < len(curve.scores) else score
    return Point((score + lower) / 2, float(curve.precision[row]), float(curve.recall[row]))


def _together(detections: DetectionTable, objects: ObjectTable) -> PrecisionRecall:
    """The curve of all classes with one threshold."""
    matching = voc.match(detections, objects)
    order = detections.best_first()
    order = order[~matching.ignored[order]]
    required = int(objects.required.sum())
    return precision_recall(detections.scores[order], matching.true_positive[order], required)

"""What is mistaken for what at a score an app would use: confusion matrix and the worst images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgedet.evaluation.tables import BoolArray, DetectionTable, FloatArray, IntArray, ObjectTable, pairs

DEPLOYMENT_SCORE_MIN = 0.3  # accuracy is reported at the file's own low threshold; an app shows only confident boxes

MistakeKind = Literal["confusion", "false_alarm", "miss"]


@dataclass(frozen=True)
class Assignment:
    """Detections above a score threshold and objects, paired one to one whatever their classes.

    Attributes:
        object_rows: (D,) row of the object a detection is on, -1 for none.
        shown: (D,) detections that count: above the threshold and not on a difficult object or a crowd region.
        found: (G,) objects that a detection, of any class, is on.
    """

    object_rows: IntArray
    shown: BoolArray
    found: BoolArray


@dataclass(frozen=True)
class Confusion:
    """Counts of what became what.

    Attributes:
        counts: (C + 1, C + 1) int64, row = labelled class, column = detected class. The last row is the background
            (false alarms), the last column "not found"; the corner of both is 0.
        class_names: labels of the first C rows and columns.
        iou_min, score_min: a pair needs this IoU, a detection this score.
    """

    counts: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    iou_min: float
    score_min: float


@dataclass(frozen=True)
class Mistake:
    """One wrong box.

    Attributes:
        kind: "confusion": an object found with another label; "false_alarm": a box where no object is, or a second one
            on the same object; "miss": an object without a box.
        true_name: label of the object, None for a false alarm; predicted_name: label of the box, None for a miss.
        score: of the box, 0 for a miss.
        box_xyxy_px: the detector's box, for a miss the object's.
    """

    kind: MistakeKind
    true_name: str | None
    predicted_name: str | None
    score: float
    box_xyxy_px: tuple[float, float, float, float]


@dataclass(frozen=True)
class Example:
    """One image with its mistakes, the gravest first. `sample_index` counts in the data set that was evaluated."""

    sample_index: int
    mistakes: tuple[Mistake, ...]


def assign(detections: DetectionTable, objects: ObjectTable, score_min: float, iou_min: float) -> Assignment:
    """Pair greedily, as a viewer would: the best-scored box takes the free object it overlaps best (IoU >= iou_min).

    Of two objects overlapped equally the one of the box's own class is taken. A box without a free object that lies on
    a difficult object or inside a crowd region (coverage >= iou_min) does not count.
    """
    object_rows = np.full(len(detections), -1, dtype=np.int64)
    shown = detections.scores >= score_min
    ignorable = np.zeros(len(detections), dtype=np.bool_)
    candidates: list[npt.NDArray[np.float64]] = []
    for portion in pairs(detections, objects, same_class=False):
        crowd = objects.crowd[portion.objects]
        near = np.where(crowd, portion.coverage, portion.iou) >= iou_min
        required = objects.required[portion.objects]
        ignorable[portion.detections[near & ~required]] = True
        chosen = near & required & shown[portion.detections]
        candidates.append(np.stack([portion.detections, portion.objects, portion.iou], axis=1)[chosen])
    table = np.concatenate([np.empty((0, 3)), *candidates])
    rows, columns = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    other_class = detections.class_ids[rows] != objects.class_ids[columns]
    order = np.lexsort((other_class, -table[:, 2], rows, -detections.scores[rows]))
    found = np.zeros(len(objects), dtype=np.bool_)
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if object_rows[row] < 0 and not found[column]:
            object_rows[row], found[column] = column, True
    return Assignment(object_rows, shown & ~(ignorable & (object_rows < 0)), found)


def confusion(
    detections: DetectionTable, objects: ObjectTable, assignment: Assignment, class_names: tuple[str, ...],
    score_min: float, iou_min: float,
) -> Confusion:  # fmt: skip
    """Count the pairs, the false alarms and the misses of an assignment."""
    size = len(class_names) + 1
    true_ids = np.append(objects.class_ids, size - 1)[assignment.object_rows[assignment.shown]]  # row -1: background
    missed = objects.class_ids[objects.required & ~assignment.found]
    cells = np.concatenate([true_ids * size + detections.class_ids[assignment.shown], missed * size + size - 1])
    counts = np.bincount(cells, minlength=size * size).reshape(size, size)
    return Confusion(counts, class_names, iou_min, score_min)


def worst_examples(
    detections: DetectionTable, objects: ObjectTable, assignment: Assignment, class_names: Sequence[str], most: int = 12
) -> tuple[Example, ...]:
    """The images with the gravest mistakes, at most `most`.

    A confusion or false alarm weighs its score, a miss 0.5; an image weighs the sum of its mistakes.
    """
    true_ids = np.append(objects.class_ids, -1)[assignment.object_rows]
    wrong = np.flatnonzero(assignment.shown & (true_ids != detections.class_ids))
    missed = np.flatnonzero(objects.required & ~assignment.found)
    image_ids = np.concatenate([detections.image_ids[wrong], objects.image_ids[missed]])
    weights = np.concatenate([detections.scores[wrong], np.full(len(missed), 0.5)])
    totals = np.bincount(image_ids, weights)
    worst = [int(i) for i in np.argsort(-totals, kind="stable")[:most] if totals[i] > 0]

    def mistakes_of(image: int) -> tuple[Mistake, ...]:
        boxes = [
            _wrong_box(detections, row, int(true_ids[row]), class_names)
            for row in wrong[detections.image_ids[wrong] == image]
        ]
        misses = [
            Mistake("miss", class_names[objects.class_ids[row]], None, 0.0, _box(objects.boxes_xyxy_px[row]))
            for row in missed[objects.image_ids[missed] == image]
        ]
        return tuple(sorted([*boxes, *misses], key=lambda m: -(m.score or 0.5)))

    return tuple(Example(image, mistakes_of(image)) for image in worst)


def _wrong_box(detections: DetectionTable, row: int, true_id: int, class_names: Sequence[str]) -> Mistake:
    predicted, score = class_names[detections.class_ids[row]], float(detections.scores[row])
    box = _box(detections.boxes_xyxy_px[row])
    if true_id < 0:
        return Mistake("false_alarm", None, predicted, score, box)
    return Mistake("confusion", class_names[true_id], predicted, score, box)


def _box(box: FloatArray) -> tuple[float, float, float, float]:
    x_min, y_min, x_max, y_max = (float(side) for side in box)
    return x_min, y_min, x_max, y_max

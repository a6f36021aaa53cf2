"""COCO's metric once more, slowly and literally, to compare with: one image, one class, one threshold at a time.

Written from the rules of the COCO detection evaluation (cocodataset.org/#detection-eval).
"""

from __future__ import annotations

import numpy as np

from edgedet.data.types import Dataset
from edgedet.runner import Detections

THRESHOLDS = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
SIZES = {"all": (0.0, 1e10), "small": (0.0, 1024.0), "medium": (1024.0, 9216.0), "large": (9216.0, 1e10)}


def average_precision(
    data: Dataset, found: list[Detections], class_id: int, iou_min: float, size: str = "all"
) -> float:
    """AP of one class, NaN without objects."""
    scored: list[tuple[float, bool]] = []
    required = 0
    for sample, detected in zip(data.samples, found, strict=True):
        results, count = _image(sample.objects, detected, class_id, iou_min, SIZES[size])
        scored += results
        required += count
    if required == 0:
        return float("nan")
    scored.sort(key=lambda item: -item[0])
    precisions, recalls, true_positives = [], [], 0
    for rank, (_, is_true) in enumerate(scored, start=1):
        true_positives += is_true
        precisions.append(true_positives / rank)
        recalls.append(true_positives / required)
    at_levels = [
        max((p for p, r in zip(precisions, recalls, strict=True) if r >= level), default=0.0)
        for level in np.linspace(0, 1, 101)
    ]
    return sum(at_levels) / 101


def _image(objects, detected, class_id, iou_min, size_range):  # type: ignore[no-untyped-def]
    """((score, is true positive) of the detections that count, number of required objects)."""
    things = []
    for i in range(len(objects)):
        if objects.class_ids[i] == class_id:
            outside = not size_range[0] <= objects.area_px2[i] <= size_range[1]
            free = bool(objects.crowd[i] or objects.difficult[i])
            things.append({"i": i, "ignore": free or outside, "shared": free, "taken": False})
    things.sort(key=lambda thing: thing["ignore"])
    rows = [i for i in range(len(detected)) if detected.class_ids[i] == class_id]
    rows = sorted(rows, key=lambda i: -detected.scores[i])[:100]
    results = []
    for row in rows:
        best, best_overlap = None, iou_min
        for thing in things:
            if thing["taken"] and not thing["shared"]:
                continue
            if best is not None and not best["ignore"] and thing["ignore"]:
                break
            crowd = bool(objects.crowd[thing["i"]])
            overlap = _overlap(detected.boxes_xyxy_px[row], objects.boxes_xyxy_px[thing["i"]], crowd)
            if overlap >= best_overlap:
                best, best_overlap = thing, overlap
        if best is not None:
            best["taken"] = True
            if not best["ignore"]:
                results.append((float(detected.scores[row]), True))
        elif size_range[0] <= _area(detected.boxes_xyxy_px[row]) <= size_range[1]:
            results.append((float(detected.scores[row]), False))
    return results, sum(not thing["ignore"] for thing in things)


def _area(box):  # type: ignore[no-untyped-def]
    return (float(box[2]) - float(box[0])) * (float(box[3]) - float(box[1]))


def _overlap(box, other, crowd):  # type: ignore[no-untyped-def]
    width = min(float(box[2]), float(other[2])) - max(float(box[0]), float(other[0]))
    height = min(float(box[3]), float(other[3])) - max(float(box[1]), float(other[1]))
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(box) if crowd else _area(box) + _area(other) - shared)

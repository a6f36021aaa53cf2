"""COCO average precision and recall, computed by faster-coco-eval (the same numbers as pycocotools).

How objects that need not be found enter: a crowd region ignores every detection that lies inside it (its overlap is
intersection over the detection's own area). A VOC `difficult` object, which COCO does not know, ignores every detection
that overlaps it by the IoU threshold and no better object. Neither counts as missed. faster-coco-eval derives both the
overlap and "ignore" from `iscrowd`, so a difficult object is given an area outside every size range (ignored, ordinary
IoU) and `is_crowd`, which its matcher reads to let several detections share it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedet.data.types import Dataset
from edgedet.evaluation.tables import DetectionTable, FloatArray, ObjectTable

CLASSES_AT_ONCE = 10  # bounds memory: the evaluator holds an entry for each pair of an image and a class
_SIZES = ("small", "medium", "large")  # up to 32 x 32 px, up to 96 x 96 px, above; limits inclusive


@dataclass(frozen=True)
class CocoResult:
    """Numbers in 0..1; NaN where there is no object to find.

    Attributes:
        metrics: "coco_ap" (mean over IoU .50:.95), "coco_ap50", "coco_ap75", "coco_ap_small/_medium/_large", and
            "coco_ar1/10/100" (recall with that many detections an image), "coco_ar_small/_medium/_large".
        ap, ap50, ap75: (C,) by class index.
    """

    metrics: dict[str, float]
    ap: FloatArray
    ap50: FloatArray
    ap75: FloatArray


def evaluate_coco(dataset: Dataset, detections: DetectionTable, objects: ObjectTable) -> CocoResult:
    """All COCO detection metrics: 10 IoU thresholds, 101 recall points, at most 100 detections per image and class.

    Args:
        dataset: for the images and class names.
        detections, objects: of these images; class ids are those of the data set.
    """
    images = [{"id": i + 1, "width": s.width_px, "height": s.height_px} for i, s in enumerate(dataset.samples)]
    groups = [
        _evaluate_classes(images, detections.of_classes(first, last), objects.of_classes(first, last), last - first)
        for first in range(0, len(dataset.class_names), CLASSES_AT_ONCE)
        for last in [min(first + CLASSES_AT_ONCE, len(dataset.class_names))]
    ]
    precision, recall = zip(*groups, strict=True)
    return _summary(np.concatenate(precision, axis=2), np.concatenate(recall, axis=1))


def _evaluate_classes(
    images: list[dict[str, int]], detections: DetectionTable, objects: ObjectTable, num_classes: int
) -> tuple[FloatArray, FloatArray]:
    """Precision and recall of a few classes, as `_summary` takes them: no class's numbers depend on another class."""
    from faster_coco_eval import COCO, COCOeval_faster

    frame = {"images": images, "categories": [{"id": i + 1, "name": str(i)} for i in range(num_classes)]}
    truth = COCO({**frame, "annotations": _object_annotations(objects)})
    found = COCO({**frame, "annotations": _detection_annotations(detections)})
    evaluator = COCOeval_faster(truth, found, iouType="bbox", print_function=lambda *_: None)
    evaluator.evaluate()
    evaluator.accumulate()
    return np.asarray(evaluator.eval["precision"]), np.asarray(evaluator.eval["recall"])


def _object_annotations(objects: ObjectTable) -> list[dict[str, Any]]:
    areas = np.where(objects.difficult & ~objects.crowd, math.inf, objects.area_px2)
    columns = (
        objects.image_ids + 1, objects.class_ids + 1, _xywh(objects.boxes_xyxy_px), areas,
        objects.crowd.astype(int), (objects.crowd | objects.difficult).astype(int),
    )  # fmt: skip
    names = ("image_id", "category_id", "bbox", "area", "iscrowd", "is_crowd")
    return _rows(names, columns)


def _detection_annotations(detections: DetectionTable) -> list[dict[str, Any]]:
    boxes = _xywh(detections.boxes_xyxy_px)
    columns = (detections.image_ids + 1, detections.class_ids + 1, boxes, boxes[:, 2] * boxes[:, 3], detections.scores)
    return _rows(("image_id", "category_id", "bbox", "area", "score"), columns)


def _rows(names: tuple[str, ...], columns: tuple[np.ndarray, ...]) -> list[dict[str, Any]]:
    """Annotations with ids from 1: the evaluator takes id 0 for "unmatched"."""
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [{"id": i, **dict(zip(names, row, strict=True))} for i, row in enumerate(rows, start=1)]


def _xywh(boxes_xyxy: FloatArray) -> FloatArray:
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)


def _summary(precision: FloatArray, recall: FloatArray) -> CocoResult:
    """The evaluator's arrays, -1 where undefined, to means.

    Args:
        precision: (IoU thresholds, recall points, classes, sizes all/small/medium/large, detections 1/10/100).
        recall: (IoU thresholds, classes, sizes, detections 1/10/100).
    """
    precision, recall = (np.where(np.asarray(a) > -1, a, np.nan) for a in (precision, recall))
    metrics = {
        "coco_ap": _mean(precision[:, :, :, 0, 2]),
        "coco_ap50": _mean(precision[0, :, :, 0, 2]),
        "coco_ap75": _mean(precision[5, :, :, 0, 2]),
    }
    metrics |= {f"coco_ap_{size}": _mean(precision[:, :, :, i, 2]) for i, size in enumerate(_SIZES, start=1)}
    metrics |= {f"coco_ar{count}": _mean(recall[:, :, 0, i]) for i, count in enumerate((1, 10, 100))}
    metrics |= {f"coco_ar_{size}": _mean(recall[:, :, i, 2]) for i, size in enumerate(_SIZES, start=1)}
    by_class = precision[:, :, :, 0, 2]
    return CocoResult(metrics, by_class.mean(axis=(0, 1)), by_class[0].mean(axis=0), by_class[5].mean(axis=0))


def _mean(values: FloatArray) -> float:
    """The mean over what is defined; NaN, without a warning, where nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")

"""Average precision of two files by class and object size, and the change between them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from edgedet.data import Dataset
from edgedet.evaluation.coco import evaluate_coco
from edgedet.evaluation.tables import DetectionTable, ObjectTable

SIZES = ("all", "small", "medium", "large")  # COCO's: up to 32 x 32 px of the original picture, up to 96 x 96, above
_METRICS = ("coco_ap", "coco_ap_small", "coco_ap_medium", "coco_ap_large")
ALL_CLASSES = ""


@dataclass(frozen=True)
class ApChange:
    """COCO AP of both files for one class (ALL_CLASSES: the mean over classes) and one size; NaN without an object.

    Attributes:
        objects: that have to be found.
    """

    class_name: str
    size: str
    objects: int
    ap_a: float
    ap_b: float

    @property
    def change(self) -> float:
        return self.ap_b - self.ap_a


def ap_changes(dataset: Dataset, objects: ObjectTable, a: DetectionTable, b: DetectionTable) -> tuple[ApChange, ...]:
    """All classes together, then each one; for each, all sizes together and then each one."""
    found = _changes(dataset, ALL_CLASSES, objects, a, b)
    for k, name in enumerate(dataset.class_names):
        one = replace(dataset, class_names=(name,))
        found += _changes(one, name, *(table.of_classes(k, k + 1) for table in (objects, a, b)))  # type: ignore[arg-type]
    return tuple(found)


def _changes(dataset: Dataset, name: str, objects: ObjectTable, a: DetectionTable, b: DetectionTable) -> list[ApChange]:
    before, after = (evaluate_coco(dataset, table, objects).metrics for table in (a, b))
    counts = _counts(objects)
    return [
        ApChange(name, size, counts[size], before[metric], after[metric])
        for size, metric in zip(SIZES, _METRICS, strict=True)
    ]


def _counts(objects: ObjectTable) -> dict[str, int]:
    """Objects to find by size; an area on a limit belongs to both sizes, as COCO has it."""
    area = objects.area_px2[objects.required]
    limits = {"all": (0, math.inf), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, math.inf)}
    return {size: int(np.sum((area >= low) & (area <= high))) for size, (low, high) in limits.items()}

"""Objects and detections of a whole data set as flat columns, and the pairs of them that may match.

Metrics are computed on columns, not image by image, so that thousands of images take seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgedet.data.types import Dataset
from edgedet.runner import Detections

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

PAIRS_AT_ONCE = 1_000_000  # bounds memory: a pair needs about 100 bytes while its IoU is computed


@dataclass(frozen=True)
class ObjectTable:
    """All labelled objects, in the order of the data set.

    Attributes:
        image_ids: (G,) index of the image in the data set; class_ids: (G,) indices into the data set's class_names.
        boxes_xyxy_px: (G, 4).
        difficult, crowd: (G,) flags, see edgedet.data.types.GroundTruth; area_px2: (G,).
    """

    image_ids: IntArray
    class_ids: IntArray
    boxes_xyxy_px: FloatArray
    difficult: BoolArray
    crowd: BoolArray
    area_px2: FloatArray

    @property
    def required(self) -> BoolArray:
        """(G,) the objects a detector has to find."""
        return ~(self.difficult | self.crowd)

    def of_classes(self, first: int, last: int) -> ObjectTable:
        """The objects of classes first .. last - 1, which become 0, 1, .."""
        rows = (self.class_ids >= first) & (self.class_ids < last)
        return ObjectTable(
            self.image_ids[rows], self.class_ids[rows] - first, self.boxes_xyxy_px[rows], self.difficult[rows],
            self.crowd[rows], self.area_px2[rows],
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.class_ids)


@dataclass(frozen=True)
class DetectionTable:
    """All detections, image by image, inside an image in the detector's order.

    Attributes:
        image_ids: (D,); class_ids: (D,) indices into the DATA SET's class_names; boxes_xyxy_px: (D, 4); scores: (D,).
    """

    image_ids: IntArray
    class_ids: IntArray
    boxes_xyxy_px: FloatArray
    scores: FloatArray

    def best_first(self) -> IntArray:
        """(D,) row numbers by falling score; ties keep their order."""
        return np.argsort(-self.scores, kind="stable")

    def of_classes(self, first: int, last: int) -> DetectionTable:
        """The detections of classes first .. last - 1, which become 0, 1, .."""
        rows = (self.class_ids >= first) & (self.class_ids < last)
        return DetectionTable(
            self.image_ids[rows], self.class_ids[rows] - first, self.boxes_xyxy_px[rows], self.scores[rows]
        )

    def __len__(self) -> int:
        return len(self.scores)


def object_table(dataset: Dataset) -> ObjectTable:
    """The labelled objects of every sample."""
    objects = [sample.objects for sample in dataset.samples]
    return ObjectTable(
        np.repeat(np.arange(len(objects)), [len(o) for o in objects]),
        _column([o.class_ids for o in objects], np.int64),
        _column([o.boxes_xyxy_px.reshape(-1, 4) for o in objects], np.float64, 4),
        _column([o.difficult for o in objects], np.bool_),
        _column([o.crowd for o in objects], np.bool_),
        _column([o.area_px2 for o in objects], np.float64),
    )


def detection_table(detections: Sequence[Detections], dataset_class_ids: IntArray) -> DetectionTable:
    """The detections of every image.

    Args:
        detections: one entry per image, in the data set's order.
        dataset_class_ids: (C,) for each class of the detector its index in the data set's class_names.
    """
    class_ids = _column([d.class_ids for d in detections], np.int64)
    return DetectionTable(
        np.repeat(np.arange(len(detections)), [len(d) for d in detections]),
        dataset_class_ids[class_ids],
        _column([d.boxes_xyxy_px.reshape(-1, 4) for d in detections], np.float64, 4),
        _column([d.scores for d in detections], np.float64),
    )


def _column(parts: Sequence[npt.NDArray[np.generic]], dtype: type, *row_shape: int) -> npt.NDArray[Any]:
    """Concatenate; an empty list gives an empty column instead of an error."""
    return np.concatenate([np.empty((0, *row_shape), dtype), *parts]).astype(dtype, copy=False)


class Pairs(NamedTuple):
    """Detections and objects that share an image (and a class): row numbers (P,), detections ascending, and overlaps.

    `iou` (P,) is intersection over union; `coverage` (P,) is intersection over the detection's own area, which is what
    counts for crowd regions (COCO).
    """

    detections: IntArray
    objects: IntArray
    iou: FloatArray
    coverage: FloatArray


def pairs(
    detections: DetectionTable, objects: ObjectTable, *, same_class: bool, plus_one: bool = False
) -> Iterator[Pairs]:
    """Every pair in the same image, in portions that hold all pairs of each detection they contain.

    Args:
        same_class: only pairs of the same class.
        plus_one: the VOC development kit's widths, x_max - x_min + 1 (for boxes given as indices of whole pixels).
    """
    num_classes = 1 + max(detections.class_ids.max(initial=0), objects.class_ids.max(initial=0))

    def keys(table: DetectionTable | ObjectTable) -> IntArray:
        return table.image_ids * num_classes + table.class_ids if same_class else table.image_ids

    by_key = np.argsort(keys(objects), kind="stable")
    sorted_keys, detection_keys = keys(objects)[by_key], keys(detections)
    first = np.searchsorted(sorted_keys, detection_keys, side="left")
    counts = np.searchsorted(sorted_keys, detection_keys, side="right") - first
    ends = np.cumsum(counts)
    for rows in np.split(np.arange(len(detections)), _cuts(ends)):
        n = counts[rows]
        detection_rows = np.repeat(rows, n)
        within = np.arange(len(detection_rows)) - np.repeat(np.cumsum(n) - n, n)
        object_rows = by_key[np.repeat(first[rows], n) + within]
        boxes = detections.boxes_xyxy_px[detection_rows], objects.boxes_xyxy_px[object_rows]
        yield Pairs(detection_rows, object_rows, *_overlaps(*boxes, 1.0 if plus_one else 0.0))


def _cuts(ends: IntArray) -> IntArray:
    """Where to split the detections so that a portion has about PAIRS_AT_ONCE pairs."""
    total = int(ends[-1]) if len(ends) else 0
    return np.unique(np.searchsorted(ends, np.arange(PAIRS_AT_ONCE, total, PAIRS_AT_ONCE), side="right"))


def _overlaps(a_xyxy: FloatArray, b_xyxy: FloatArray, extra: float) -> tuple[FloatArray, FloatArray]:
    """Row by row (P, 4) x (P, 4): IoU, and intersection over a's area; `extra` is added to every width and height."""
    sides = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - np.maximum(a_xyxy[:, :2], b_xyxy[:, :2]) + extra
    intersection = np.where((sides > 0).all(axis=1), sides.prod(axis=1), 0.0)
    area_a, area_b = ((box[:, 2:] - box[:, :2] + extra).prod(axis=1) for box in (a_xyxy, b_xyxy))
    return _ratio(intersection, area_a + area_b - intersection), _ratio(intersection, area_a)


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """numerator / denominator, 0 where the denominator is 0 (empty boxes)."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)

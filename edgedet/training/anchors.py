"""Anchors fitted to a training set: k-means over box shapes with the distance 1 - IoU (YOLOv2 paper, section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgedet.data.types import Dataset
from edgedet.errors import DataError
from edgedet.preprocess import placement
from edgedet.progress import track
from edgedet.spec import InputSpec

_MAX_ROUNDS = 300
_RESTARTS = 8
_COVERED_IOU = 0.5


def boxes_wh_px(dataset: Dataset, image: InputSpec) -> npt.NDArray[np.float32]:
    """(M, 2) widths and heights of the objects that are trained on, in pixels of the network input."""
    rows = [np.zeros((0, 2), np.float32)]
    for sample in dataset.samples:
        objects = sample.objects
        used = objects.boxes_xyxy_px[~(objects.difficult | objects.crowd)]
        place = placement(sample.width_px, sample.height_px, image)
        scale = np.array([place.width / sample.width_px, place.height / sample.height_px], np.float32)
        rows.append((used[:, 2:] - used[:, :2]) * scale)
    return np.concatenate(rows)


def shape_iou(a_wh: npt.NDArray[np.floating], b_wh: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """(M, 2) and (K, 2) to (M, K): IoU of boxes that share their centre."""
    a, b = np.asarray(a_wh, np.float64), np.asarray(b_wh, np.float64)
    intersection = np.minimum(a[:, None], b[None]).prod(axis=2)
    iou: npt.NDArray[np.float64] = intersection / (a.prod(axis=1)[:, None] + b.prod(axis=1)[None] - intersection)
    return iou


def fit_anchors(boxes_wh: npt.NDArray[np.floating], count: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """The `count` shapes that cover the boxes best, in order of area.

    Args:
        boxes_wh: (M, 2), any unit.
        count: number of anchors.
        seed: of the random starts; the same seed gives the same anchors.

    Returns:
        (count, 2) float64 in the same unit; the best of several k-means runs by mean IoU of each box with its anchor.

    Raises:
        DataError: fewer boxes of different shape than anchors.
    """
    boxes = np.asarray(boxes_wh, np.float64)
    if len(np.unique(boxes, axis=0)) < count:
        raise DataError(
            f"the training split has too few different boxes ({len(boxes)}) to fit {count} anchors",
            "Lower priors.anchors_per_level or use priors.kind ssd or anchors.",
        )
    random = np.random.default_rng(seed)
    runs = [_k_means(boxes, _spread_start(boxes, count, random)) for _ in range(_RESTARTS)]
    best = max(runs, key=lambda anchors: shape_iou(boxes, anchors).max(axis=1).mean())
    return best[np.argsort(best.prod(axis=1), kind="stable")]


def _spread_start(boxes: npt.NDArray[np.float64], count: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """k-means++: each further start is drawn in proportion to its squared distance from those chosen."""
    chosen: npt.NDArray[np.float64] = boxes[random.integers(len(boxes))][None]
    while len(chosen) < count:
        distance = (1 - shape_iou(boxes, chosen).max(axis=1)).clip(min=0) ** 2
        chosen = np.concatenate([chosen, boxes[random.choice(len(boxes), p=distance / distance.sum())][None]])
    return chosen


def _k_means(boxes: npt.NDArray[np.float64], anchors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    owner = np.full(len(boxes), -1)
    for _ in range(_MAX_ROUNDS):
        nearest = shape_iou(boxes, anchors).argmax(axis=1)
        if (nearest == owner).all():
            break
        owner = nearest
        anchors = np.stack(
            [boxes[owner == k].mean(axis=0) if (owner == k).any() else anchors[k] for k in range(len(anchors))]
        )
    return anchors


@dataclass(frozen=True)
class AnchorFit:
    """Anchors of one k-means and how well they cover the boxes.

    Attributes:
        anchors_wh: (count, 2), in order of area.
        mean_iou: mean over the boxes of the IoU with the nearest anchor.
        covered: share of the boxes with an IoU of at least 0.5.
    """

    anchors_wh: npt.NDArray[np.float64]
    mean_iou: float
    covered: float

    @property
    def count(self) -> int:
        return len(self.anchors_wh)


def anchor_curve(boxes_wh: npt.NDArray[np.floating], counts: Sequence[int], seed: int = 0) -> list[AnchorFit]:
    """One fit for each number of anchors: the curve of the YOLOv2 paper, figure 2. Arguments as for `fit_anchors`."""
    return [rate_anchors(boxes_wh, fit_anchors(boxes_wh, count, seed)) for count in track(counts, "Fitting anchors")]


def rate_anchors(boxes_wh: npt.NDArray[np.floating], anchors_wh: npt.NDArray[np.floating]) -> AnchorFit:
    """How well given anchors cover the boxes."""
    best = shape_iou(boxes_wh, anchors_wh).max(axis=1)
    return AnchorFit(np.asarray(anchors_wh, np.float64), float(best.mean()), float((best >= _COVERED_IOU).mean()))


def elbow(counts: Sequence[int], values: Sequence[float]) -> int:
    """The count after which a rising curve flattens: the point farthest above the chord between the curve's ends.

    Both axes are scaled to 0..1 first (Satopaa et al., "Finding a 'Kneedle' in a Haystack", 2011, without smoothing,
    since k-means' mean IoU rises nearly smoothly). The result depends on the range of counts, as every elbow does.

    Args:
        counts: rising, at least one.
        values: of the same length.

    Returns:
        One of `counts`; the first where no point lies above the chord.
    """
    x, y = np.asarray(counts, np.float64), np.asarray(values, np.float64)
    if len(x) < 3 or y[-1] == y[0]:
        return int(counts[0])
    above = (y - y[0]) / (y[-1] - y[0]) - (x - x[0]) / (x[-1] - x[0])
    return int(counts[int(above.round(12).argmax())])

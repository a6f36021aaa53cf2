"""How well priors cover the labelled boxes, before training: an object that no prior overlaps is hard to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgedet.boxes import cxcywh_to_xyxy, iou_matrix
from edgedet.data.types import Dataset, Sample
from edgedet.preprocess import placement
from edgedet.priors import priors_cxcywh_px
from edgedet.progress import track
from edgedet.spec import DetectorSpec, InputSpec
from edgedet.training.anchors import shape_iou

_BINS = 20


@dataclass(frozen=True)
class LevelCoverage:
    """One level: its grid and anchors, and how many objects find their best prior here or are reached by one."""

    grid_wh: tuple[int, int]
    anchors_wh_px: tuple[tuple[float, float], ...]
    best: int
    reached: int


@dataclass(frozen=True)
class Coverage:
    """The best prior of each object that is trained on.

    Attributes:
        measure: "iou": of boxes where they are, as SSD and RetinaNet match. "shape_iou": of boxes with one centre, as
            YOLO chooses the anchor in the cell of the object's centre.
        iou_match: from which IoU a prior is positive besides the best one.
        best_iou: (M,) of each object; best_level: (M,) where that prior is.
        levels: in the network's order.
    """

    measure: str
    iou_match: float
    best_iou: npt.NDArray[np.float64]
    best_level: npt.NDArray[np.int64]
    levels: tuple[LevelCoverage, ...]

    @property
    def unreached(self) -> float:
        """Share of the objects that no prior overlaps by `iou_match`; 0 where there are no objects."""
        return float((self.best_iou < self.iou_match).mean()) if len(self.best_iou) else 0.0

    def to_json(self) -> dict[str, Any]:
        counts, edges = np.histogram(self.best_iou, bins=_BINS, range=(0, 1))
        return {
            "measure": self.measure,
            "iou_match": self.iou_match,
            "objects": len(self.best_iou),
            "share_no_prior_reaches": self.unreached,
            "mean_best_iou": float(self.best_iou.mean()) if len(self.best_iou) else None,
            "histogram": {"edges": [round(float(edge), 6) for edge in edges], "objects": counts.tolist()},
            "levels": [
                {
                    "grid_wh": list(level.grid_wh),
                    "anchors_wh_px": [list(anchor) for anchor in level.anchors_wh_px],
                    "objects_best_here": level.best,
                    "objects_reached": level.reached,
                }
                for level in self.levels
            ],
        }


def coverage(dataset: Dataset, spec: DetectorSpec, iou_match: float) -> Coverage:
    """Compare every object that is trained on with every prior.

    Args:
        dataset: a split; difficult and crowd objects are passed over, as in training.
        spec: for the priors and for how images are brought to the network's size.
        iou_match: threshold of the loss.
    """
    by_shape = spec.coding.kind != "ssd"
    rows = [torch.zeros(0, len(spec.levels), dtype=torch.float64)]
    ends = np.cumsum([level.num_priors for level in spec.levels])[:-1].tolist()
    priors_xyxy = cxcywh_to_xyxy(priors_cxcywh_px(spec))
    for sample in track(dataset.samples, f"Priors against {dataset.split}"):
        boxes = _network_boxes_px(sample, spec.input)
        if by_shape:
            rows.append(_by_shape(boxes, spec))
        elif len(boxes):
            parts = iou_matrix(boxes, priors_xyxy).tensor_split(ends, dim=1)
            rows.append(torch.stack([part.amax(dim=1) for part in parts], dim=1))
    iou = torch.cat(rows).numpy()
    best_level = iou.argmax(axis=1)
    levels = tuple(
        LevelCoverage(
            (level.grid_w, level.grid_h), level.anchors_wh_px, int((best_level == k).sum()),
            int((iou[:, k] >= iou_match).sum()),
        )
        for k, level in enumerate(spec.levels)
    )  # fmt: skip
    return Coverage("shape_iou" if by_shape else "iou", iou_match, iou.max(axis=1), best_level, levels)


def _network_boxes_px(sample: Sample, image: InputSpec) -> Tensor:
    """(M, 4) float64 corners of the objects that are trained on, in pixels of the network input."""
    objects, place = sample.objects, placement(sample.width_px, sample.height_px, image)
    boxes = torch.from_numpy(objects.boxes_xyxy_px[~(objects.difficult | objects.crowd)]).double()
    scale = torch.tensor([place.width / sample.width_px, place.height / sample.height_px] * 2, dtype=torch.float64)
    return boxes * scale + torch.tensor([place.x0, place.y0] * 2, dtype=torch.float64)


def _by_shape(boxes: Tensor, spec: DetectorSpec) -> Tensor:
    """(M, levels) best IoU of shapes."""
    sides = (boxes[:, 2:] - boxes[:, :2]).numpy()
    best = [shape_iou(sides, np.array(level.anchors_wh_px)).max(axis=1) for level in spec.levels]
    return torch.from_numpy(np.stack(best, axis=1))

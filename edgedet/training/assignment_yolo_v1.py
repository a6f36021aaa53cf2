"""Which predictors shall find which objects: YOLOv1's rule (paper, section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedet.boxes import iou_matrix
from edgedet.config import LossConfig
from edgedet.spec import DetectorSpec
from edgedet.training.assignment import Matches, good_predictions
from edgedet.training.targets import Targets


class YoloV1Matcher(nn.Module):
    """In the cell of an object's centre the predictor whose box overlaps the object best is responsible for it.

    Where several objects share a cell, the first one gets it, because a cell has one set of classes.
    """

    def __init__(self, spec: DetectorSpec, config: LossConfig) -> None:
        super().__init__()
        (level,) = spec.levels
        self.grid_wh = (level.grid_w, level.grid_h)
        self.per_cell = len(level.anchors_wh_px)

    def forward(self, targets: Targets, predicted_xyxy: Tensor) -> Matches:
        image, object_ = torch.nonzero(targets.trained_on, as_tuple=True)
        boxes = targets.boxes_xyxy_unit[image, object_]
        grid = torch.tensor(self.grid_wh, device=boxes.device)
        cell = torch.minimum(((boxes[:, :2] + boxes[:, 2:]) / 2 * grid).floor().long(), grid - 1)
        first = (cell[:, 1] * self.grid_wh[0] + cell[:, 0]) * self.per_cell
        taken: set[tuple[int, int]] = set()
        rows, priors = [], []
        for row, place in enumerate(zip(image.tolist(), first.tolist(), strict=True)):
            if place in taken:
                continue
            taken.add(place)
            picture, start = place
            overlap = iou_matrix(boxes[row : row + 1], predicted_xyxy[picture, start : start + self.per_cell])[0]
            rows.append(row)
            priors.append(start + int(overlap.argmax()))
        kept = torch.tensor(rows, dtype=torch.int64, device=boxes.device)
        prior = torch.tensor(priors, dtype=torch.int64, device=boxes.device)
        left_alone = good_predictions(predicted_xyxy, targets, iou_ignore=1.0)
        left_alone[image[kept], prior] = False
        return Matches(image[kept], object_[kept], prior, left_alone)

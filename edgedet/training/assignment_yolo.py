"""Which priors shall find which objects: YOLOv3's rule (paper, section 2.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgedet.config import LossConfig
from edgedet.spec import DetectorSpec
from edgedet.training.assignment import Matches, good_predictions
from edgedet.training.targets import Targets


class YoloAssignment(NamedTuple):
    """One row for each object that has a prior: image, object, prior (P,) indices; no prior twice in an image."""

    image: Tensor
    object: Tensor
    prior: Tensor


class YoloMatcher(nn.Module):
    """YoloAssigner's priors; all others whose prediction has IoU > iou_ignore with any object are left alone."""

    def __init__(self, spec: DetectorSpec, config: LossConfig) -> None:
        super().__init__()
        self.assigner = YoloAssigner(spec)
        self.iou_ignore = config.iou_ignore

    def forward(self, targets: Targets, predicted_xyxy: Tensor) -> Matches:
        found: YoloAssignment = self.assigner(targets)
        left_alone = good_predictions(predicted_xyxy, targets, self.iou_ignore)
        left_alone[found.image, found.prior] = False
        return Matches(*found, left_alone)


class YoloAssigner(nn.Module):
    """Gives each object one prior: the anchor of any level whose shape fits best, in the cell of the object's centre.

    Where two objects want the same prior, the one whose shape fits better gets it.
    """

    anchors_wh: Tensor
    grid_wh: Tensor
    first_prior: Tensor
    anchors_in_cell: Tensor

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        anchors, grids, first, count = [], [], [], []
        start = 0
        for level in spec.levels:
            for index, (width, height) in enumerate(level.anchors_wh_px):
                anchors.append((width / spec.input.width, height / spec.input.height))
                grids.append((level.grid_w, level.grid_h))
                first.append(start + index)
                count.append(len(level.anchors_wh_px))
            start += level.num_priors
        self.register_buffer("anchors_wh", torch.tensor(anchors), persistent=False)  # (A, 2) in 0..1, all levels
        self.register_buffer("grid_wh", torch.tensor(grids), persistent=False)  # (A, 2) cells of the anchor's level
        self.register_buffer("first_prior", torch.tensor(first), persistent=False)  # (A,) prior of the anchor in cell 0
        self.register_buffer("anchors_in_cell", torch.tensor(count), persistent=False)  # (A,)

    def forward(self, targets: Targets) -> YoloAssignment:
        image, row = torch.nonzero(targets.trained_on, as_tuple=True)
        boxes = targets.boxes_xyxy_unit[image, row]
        sides, centres = boxes[:, 2:] - boxes[:, :2], (boxes[:, 2:] + boxes[:, :2]) / 2
        fit, anchor = shape_iou(sides, self.anchors_wh).max(dim=1)
        grid = self.grid_wh[anchor]
        cell = torch.minimum((centres * grid).floor().long(), grid - 1)
        prior = (cell[:, 1] * grid[:, 0] + cell[:, 0]) * self.anchors_in_cell[anchor] + self.first_prior[anchor]
        kept = _best_claims(image, prior, fit)
        return YoloAssignment(image[kept], row[kept], prior[kept])


def shape_iou(a_wh: Tensor, b_wh: Tensor) -> Tensor:
    """(M, 2) and (A, 2) to (M, A): IoU of boxes that share their centre."""
    intersection = torch.minimum(a_wh[:, None], b_wh[None]).prod(dim=2)
    return intersection / (a_wh.prod(dim=1)[:, None] + b_wh.prod(dim=1)[None] - intersection)


def _best_claims(image: Tensor, prior: Tensor, fit: Tensor) -> Tensor:
    """Rows that keep their prior, in order: for each (image, prior) the best fit, the first among equals."""
    by_fit = torch.argsort(fit, descending=True, stable=True)
    slot = torch.stack((image, prior), dim=1)[by_fit]
    _, group = torch.unique(slot, dim=0, return_inverse=True)
    order = torch.argsort(group, stable=True)
    ranked = group[order]
    first = torch.ones_like(ranked, dtype=torch.bool)
    first[1:] = ranked[1:] != ranked[:-1]
    return by_fit[order[first]].sort().values

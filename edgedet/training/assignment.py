"""What every rule of matching gives: which priors shall find which objects, and which are left alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from edgedet.boxes import box_area, iou_matrix
from edgedet.training.targets import Targets

COVERED = 0.5  # share of a box that must lie in an ignored object for the box to be left alone


class Matches(NamedTuple):
    """One row for each positive prior: image, object, prior (P,) int64 indices, no prior twice in an image;
    left_alone (B, N) bool, priors that are neither positive nor background.
    """

    image: Tensor
    object: Tensor
    prior: Tensor
    left_alone: Tensor


def good_predictions(predicted_xyxy: Tensor, targets: Targets, iou_ignore: float) -> Tensor:
    """(B, N) bool: predictions that overlap an object too well to be called background (YOLOv3 paper, section 2.1),
    or that lie in an ignored object.

    Args:
        predicted_xyxy: (B, N, 4) decoded boxes in 0..1, detached.
        iou_ignore: predictions with a larger IoU with an object that is trained on are left alone.
    """
    result = torch.zeros(predicted_xyxy.shape[:2], dtype=torch.bool, device=predicted_xyxy.device)
    for image, boxes in enumerate(predicted_xyxy):
        objects = targets.boxes_xyxy_unit[image][targets.trained_on[image]]
        ignored = targets.boxes_xyxy_unit[image][targets.left_alone[image]]
        if len(objects):
            result[image] = iou_matrix(objects, boxes).amax(dim=0) > iou_ignore
        if len(ignored):
            result[image] |= covered_share(boxes, ignored).amax(dim=1) >= COVERED
    return result


def covered_share(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """(M, 4) and (N, 4) to (M, N): intersection over the area of a, as COCO measures overlap with a crowd."""
    low = torch.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = torch.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    sides = (high - low).clamp(min=0)
    return sides[..., 0] * sides[..., 1] / box_area(a_xyxy)[:, None].clamp(min=torch.finfo(a_xyxy.dtype).tiny)

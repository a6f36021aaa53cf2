"""Box conversions and IoU. Names carry order and space: xyxy or cxcywh; px (pixels) or unit (0..1 of the image)."""

from __future__ import annotations

import torch
from torch import Tensor


def cxcywh_to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """(..., 4) centre-size to corners; any unit."""
    return corners_xyxy(boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:])


def corners_xyxy(centre_xy: Tensor, size_wh: Tensor) -> Tensor:
    """Centres (..., 2) and sizes (..., 2) to boxes (..., 4); any unit."""
    half = size_wh * 0.5
    return torch.cat((centre_xy - half, centre_xy + half), dim=-1)


def xyxy_to_cxcywh(boxes_xyxy: Tensor) -> Tensor:
    """(..., 4) corners to centre-size; any unit."""
    low, high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return torch.cat(((low + high) * 0.5, high - low), dim=-1)


def box_area(boxes_xyxy: Tensor) -> Tensor:
    """(..., 4) -> (...,) area; an inverted box has area 0."""
    sides = (boxes_xyxy[..., 2:] - boxes_xyxy[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def iou_matrix(a_xyxy: Tensor, b_xyxy: Tensor) -> Tensor:
    """Intersection over union of every pair.

    Args:
        a_xyxy: (M, 4), any unit.
        b_xyxy: (N, 4), the same unit.

    Returns:
        (M, N) in 0..1; a pair of empty boxes has IoU 0.
    """
    low = torch.maximum(a_xyxy[:, None, :2], b_xyxy[None, :, :2])
    high = torch.minimum(a_xyxy[:, None, 2:], b_xyxy[None, :, 2:])
    sides = (high - low).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    union = box_area(a_xyxy)[:, None] + box_area(b_xyxy)[None, :] - intersection
    return torch.where(union > 0, intersection / union.clamp(min=torch.finfo(union.dtype).tiny), 0.0)


def clip_xyxy(boxes_xyxy: Tensor, width: float, height: float) -> Tensor:
    """(..., 4) with every corner moved inside 0..width, 0..height."""
    limits = boxes_xyxy.new_tensor((width, height, width, height))
    return torch.minimum(boxes_xyxy.clamp(min=0), limits)

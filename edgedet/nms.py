"""Reference non-maximum suppression: what NmsSpec means. Every format must keep the same boxes as this."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torchvision
from torch import Tensor

from edgedet.spec import NmsSpec


class Kept(NamedTuple):
    """Suppression's outcome, best score first: prior_indices (M,), class_ids (M,), scores (M,); M <= max_detections."""

    prior_indices: Tensor
    class_ids: Tensor
    scores: Tensor


def candidates(scores: Tensor, nms: NmsSpec) -> Kept:
    """The boxes that enter suppression: score >= score_min, at most pre_topk, best first, ties in (prior, class) order.

    Args:
        scores: (N, C) class scores.
    """
    if nms.labels_per_box == "best":
        best_scores, best_classes = scores.max(dim=1)
        prior_indices = torch.nonzero(best_scores >= _float32(nms.score_min)).flatten()
        class_ids, kept_scores = best_classes[prior_indices], best_scores[prior_indices]
    else:
        prior_indices, class_ids = torch.nonzero(scores >= _float32(nms.score_min), as_tuple=True)
        kept_scores = scores[prior_indices, class_ids]
    order = torch.sort(kept_scores, descending=True, stable=True).indices[: nms.pre_topk]
    return Kept(prior_indices[order], class_ids[order], kept_scores[order])


def non_maximum_suppression(boxes_xyxy: Tensor, scores: Tensor, nms: NmsSpec) -> Kept:
    """Greedy suppression of one image's boxes: a box goes when a better one of its class overlaps it by IoU > iou_max.

    Args:
        boxes_xyxy: (N, 4), any unit.
        scores: (N, C) class scores.
        nms: thresholds; see NmsSpec.
    """
    found = candidates(scores, nms)
    boxes = boxes_xyxy[found.prior_indices]
    groups = torch.zeros_like(found.class_ids) if nms.class_agnostic else found.class_ids
    survivors = torch.zeros(len(boxes), dtype=torch.bool)
    for group in set(groups.tolist()):
        members = torch.nonzero(groups == group).flatten()
        # Class by class instead of torchvision's batched_nms: its trick of shifting boxes by class rounds coordinates.
        kept = torchvision.ops.nms(boxes[members], found.scores[members], nms.iou_max)
        survivors[members[kept]] = True
    rows = torch.nonzero(survivors).flatten()[: nms.max_detections]
    return Kept(*(column[rows] for column in found))


def _float32(value: float) -> float:
    """The number a runtime that stores float32 thresholds compares with."""
    return float(torch.tensor(value, dtype=torch.float32))

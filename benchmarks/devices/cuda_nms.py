"""Suppression on the device that holds the boxes, for a batch, with tensors of fixed shapes: a CUDA graph can hold it.

It keeps the boxes that `edgedet.nms` keeps. Greedy suppression says: a box stays unless a better one that stays
overlaps it. Applying that rule to all boxes at once, again and again, settles the best box first, then the next ones;
after as many rounds as the longest chain of overlapping boxes nothing changes any more (the observation behind Cluster
NMS, Zheng et al. 2020, "Enhancing Geometric Factors in Model Learning and Inference", section III-D).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou

from edgedet.spec import NmsSpec

ROUNDS = 8  # chains in photographs are shorter


class Suppressed(NamedTuple):
    """Best score first: boxes (B, D, 4), scores (B, D), class_ids (B, D); rows without a box have score -1.

    `settled` is (B,) bool: whether the rounds were enough.
    """

    boxes_xyxy: Tensor
    scores: Tensor
    class_ids: Tensor
    settled: Tensor


def suppress(boxes_xyxy: Tensor, scores: Tensor, nms: NmsSpec, rounds: int = ROUNDS) -> Suppressed:
    """Greedy suppression of a batch, without a word to the CPU.

    Args:
        boxes_xyxy: (B, N, 4), any unit.
        scores: (B, N, C) class scores.
        nms: thresholds; see NmsSpec.
        rounds: how often the rule is applied.
    """
    best, rows, class_ids = _candidates(scores, nms)
    found = best >= 0
    boxes = torch.gather(boxes_xyxy, 1, rows[..., None].expand(-1, -1, 4))
    harms = _harms(boxes, class_ids, nms) & found[:, :, None]
    kept, before = found, found
    for _ in range(rounds):
        before = kept
        kept = found & ~(harms & kept[:, :, None]).any(dim=1)
    settled = (kept == before).all(dim=1)
    return _first(boxes, torch.where(kept, best, -torch.ones_like(best)), class_ids, nms.max_detections, settled)


def _candidates(scores: Tensor, nms: NmsSpec) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (-1 below the threshold), box numbers and classes of the best (B, K), ties in the reference's order."""
    batch, count, classes = scores.shape
    if nms.labels_per_box == "best":
        values, class_ids = scores.max(dim=2)
        rows = torch.arange(count, device=scores.device).expand(batch, -1)
    else:
        values = scores.reshape(batch, -1)
        each = torch.arange(count * classes, device=scores.device).expand(batch, -1)
        rows, class_ids = each // classes, each % classes
    values = torch.where(values >= torch.full_like(values, nms.score_min), values, -torch.ones_like(values))
    ordered = torch.sort(values, dim=1, descending=True, stable=True)
    best = ordered.indices[:, : nms.pre_topk]
    return ordered.values[:, : nms.pre_topk], rows.gather(1, best), class_ids.gather(1, best)


def _harms(boxes: Tensor, class_ids: Tensor, nms: NmsSpec) -> Tensor:
    """(B, K, K): whether the first, better box overlaps the second one enough."""
    overlap = torch.stack([box_iou(one, one) for one in boxes]) > nms.iou_max
    if not nms.class_agnostic:
        overlap = overlap & (class_ids[:, :, None] == class_ids[:, None, :])
    return overlap.triu(diagonal=1)


def _first(boxes: Tensor, scores: Tensor, class_ids: Tensor, most: int, settled: Tensor) -> Suppressed:
    """The best rows that stay."""
    ordered = torch.sort(scores, dim=1, descending=True, stable=True)
    rows = ordered.indices[:, :most]
    kept = torch.gather(boxes, 1, rows[..., None].expand(-1, -1, 4))
    return Suppressed(kept, ordered.values[:, :most], class_ids.gather(1, rows), settled)

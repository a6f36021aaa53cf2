"""The loss of the SSD paper, section 2.2: softmax cross-entropy with hard negative mining, smooth L1 on box codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedet.training.assignment import Matches
from edgedet.training.loss_box import smooth_l1
from edgedet.training.loss_prior import PriorLoss
from edgedet.training.targets import Targets

_BACKGROUND = 0


class SsdLoss(PriorLoss):
    """Parts "box" and "class"."""

    def code_losses(self, codes: Tensor, boxes_xyxy: Tensor, prior: Tensor) -> Tensor:
        return smooth_l1(codes, boxes_xyxy, prior, self.decoder, self.config.smooth_l1_beta)

    def score_losses(self, logits: Tensor, targets: Targets, found: Matches, iou: Tensor) -> dict[str, Tensor]:
        labels = class_labels(targets, found)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels)
        positive = labels != _BACKGROUND
        mined = hard_negatives(losses.detach(), positive, found.left_alone, self.config.negatives_per_positive)
        return {"class": self.config.class_weight * torch.where(positive | mined, losses, 0.0).sum()}


def class_labels(targets: Targets, found: Matches) -> Tensor:
    """(B, N) column of the logits that is right: 0 for background, class_id + 1 for an object."""
    labels = torch.full_like(found.left_alone, _BACKGROUND, dtype=torch.int64)
    labels[found.image, found.prior] = targets.class_ids[found.image, found.object] + 1
    return labels


def hard_negatives(losses: Tensor, positive: Tensor, left_alone: Tensor, ratio: float) -> Tensor:
    """The background priors with the largest loss, `ratio` times as many as the image has positives.

    An image without objects counts as if it had one positive, so that it teaches something too.

    Args:
        losses: (B, N) cross-entropy of each prior.
        positive: (B, N) bool.
        left_alone: (B, N) bool, never chosen.

    Returns:
        (B, N) bool.
    """
    allowed = ~(positive | left_alone)
    wanted = (positive.sum(dim=1).clamp(min=1) * ratio).long()
    order = torch.where(allowed, losses, -torch.inf).argsort(dim=1, descending=True, stable=True)
    first = torch.arange(losses.shape[1], device=losses.device)[None] < wanted[:, None]
    return torch.zeros_like(positive).scatter(1, order, first) & allowed

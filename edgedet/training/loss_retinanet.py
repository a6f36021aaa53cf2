"""The loss of the RetinaNet paper: focal loss on all priors but those that are left alone, smooth L1 on box codes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from edgedet.training.assignment import Matches
from edgedet.training.loss_box import smooth_l1
from edgedet.training.loss_prior import PriorLoss
from edgedet.training.targets import Targets


class RetinaNetLoss(PriorLoss):
    """Parts "box" and "class"."""

    def code_losses(self, codes: Tensor, boxes_xyxy: Tensor, prior: Tensor) -> Tensor:
        return smooth_l1(codes, boxes_xyxy, prior, self.decoder, self.config.smooth_l1_beta)

    def score_losses(self, logits: Tensor, targets: Targets, found: Matches, iou: Tensor) -> dict[str, Tensor]:
        wanted = torch.zeros_like(logits)
        wanted[found.image, found.prior, targets.class_ids[found.image, found.object]] = 1
        losses = sigmoid_focal_loss(logits, wanted, alpha=self.config.focal_alpha, gamma=self.config.focal_gamma)
        return {"class": self.config.class_weight * (losses.sum(dim=2) * ~found.left_alone).sum()}

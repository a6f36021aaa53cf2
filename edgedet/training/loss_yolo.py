"""YOLOv3's loss (paper, section 2; Darknet): cross-entropy on centres, objectness, classes; squared error on sizes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedet.config.loss import iou_objectness_of
from edgedet.training.assignment import Matches
from edgedet.training.loss_box import yolo_v3
from edgedet.training.loss_prior import PriorLoss
from edgedet.training.targets import Targets


class YoloLoss(PriorLoss):
    """Parts "box", "objectness" and "class"."""

    def code_losses(self, codes: Tensor, boxes_xyxy: Tensor, prior: Tensor) -> Tensor:
        return yolo_v3(codes, boxes_xyxy, prior, self.decoder)

    def score_losses(self, logits: Tensor, targets: Targets, found: Matches, iou: Tensor) -> dict[str, Tensor]:
        wanted = torch.zeros_like(logits[..., 0])
        wanted[found.image, found.prior] = objectness_target(iou, iou_objectness_of(self.coding, self.config))
        objectness = F.binary_cross_entropy_with_logits(logits[..., 0], wanted, reduction="none")
        class_ids = targets.class_ids[found.image, found.object]
        one_hot = F.one_hot(class_ids, logits.shape[2] - 1).float()
        class_loss = F.binary_cross_entropy_with_logits(logits[found.image, found.prior, 1:], one_hot, reduction="sum")
        return {
            "objectness": self.config.objectness_weight * (objectness * ~found.left_alone).sum(),
            "class": self.config.class_weight * class_loss,
        }


def objectness_target(iou: Tensor, share: float) -> Tensor:
    """(P,) what matched priors are to say: 1, or the IoU of their predicted box, or a mixture."""
    return 1 - share + share * iou

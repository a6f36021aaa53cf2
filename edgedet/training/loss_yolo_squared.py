"""The sum-squared losses of YOLOv1 (paper, equation 3) and YOLOv2 (Darknet's region layer).

Darknet states them as gradients ("delta"); here each part is the function with that gradient.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedet.config.loss import iou_objectness_of
from edgedet.training.assignment import Matches
from edgedet.training.loss_box import yolo_v1, yolo_v2
from edgedet.training.loss_prior import PriorLoss
from edgedet.training.loss_yolo import objectness_target
from edgedet.training.targets import Targets


class _SquaredLoss(PriorLoss):
    """What YOLOv1 and YOLOv2 share: squared errors of objectness, weighted apart with and without an object."""

    def squared_objectness(self, objectness: Tensor, found: Matches, iou: Tensor) -> Tensor:
        """Weighted sum over (B, N) values in 0..1; where there is an object they learn its IoU (Darknet's rescore)."""
        wanted = objectness_target(iou, iou_objectness_of(self.coding, self.config))
        background = ~found.left_alone
        background[found.image, found.prior] = False
        with_object = (objectness[found.image, found.prior] - wanted).square().sum()
        without = (objectness.square() * background).sum()
        weighted = self.config.object_weight * with_object + self.config.no_object_weight * without
        return self.config.objectness_weight * weighted


class YoloV2Loss(_SquaredLoss):
    """Parts "box", "objectness" and "class"."""

    def code_losses(self, codes: Tensor, boxes_xyxy: Tensor, prior: Tensor) -> Tensor:
        return yolo_v2(codes, boxes_xyxy, prior, self.decoder)

    def score_losses(self, logits: Tensor, targets: Targets, found: Matches, iou: Tensor) -> dict[str, Tensor]:
        class_ids = targets.class_ids[found.image, found.object]
        class_loss = F.cross_entropy(logits[found.image, found.prior, 1:], class_ids, reduction="sum")
        return {
            "objectness": 0.5 * self.squared_objectness(torch.sigmoid(logits[..., 0]), found, iou),
            "class": self.config.class_weight * class_loss,
        }


class YoloV1Loss(_SquaredLoss):
    """Parts "box", "objectness" and "class"; outputs have no activation."""

    def code_losses(self, codes: Tensor, boxes_xyxy: Tensor, prior: Tensor) -> Tensor:
        return yolo_v1(codes, boxes_xyxy, prior, self.decoder)

    def score_losses(self, logits: Tensor, targets: Targets, found: Matches, iou: Tensor) -> dict[str, Tensor]:
        class_ids = targets.class_ids[found.image, found.object]
        wanted = F.one_hot(class_ids, logits.shape[2] - 1).float()
        class_loss = (logits[found.image, found.prior, 1:] - wanted).square().sum()
        return {
            "objectness": self.squared_objectness(logits[..., 0], found, iou),
            "class": self.config.class_weight * class_loss,
        }

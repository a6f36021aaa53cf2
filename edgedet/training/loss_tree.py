"""Learning a tree of classes, also from images of which only the class is known (YOLO9000 paper, section 4).

An object's class costs cross-entropy in the groups of siblings on its path only: "we only backpropagate loss at or
above the corresponding level of the label". An image that has labels but no boxes teaches nothing about background and
boxes: "we simply find the bounding box that predicts the highest probability for that class and we compute the loss on
just its predicted tree. We also assume that the predicted box overlaps what would be the ground truth label by at least
.3 IOU".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgedet.class_tree import ClassTree
from edgedet.config import LossConfig
from edgedet.decode import RawHeads, path_probabilities
from edgedet.spec import DetectorSpec
from edgedet.training.assignment import Matches
from edgedet.training.loss_parts import LossParts
from edgedet.training.loss_prior import PriorLoss
from edgedet.training.loss_ssd import SsdLoss, hard_negatives
from edgedet.training.loss_yolo_squared import YoloV2Loss
from edgedet.training.targets import PADDING, Targets


class PathEntropy(nn.Module):
    """(P, C) logits and (P,) class ids to (P,) cross-entropies, summed over the groups on each class's path."""

    on_path: Tensor

    def __init__(self, tree: ClassTree) -> None:
        super().__init__()
        self.groups = tree.groups
        on_path = torch.zeros(len(tree.names), len(tree.names), dtype=torch.bool)
        for class_id in range(len(tree.names)):
            on_path[class_id, list(tree.path(class_id))] = True
        self.register_buffer("on_path", on_path, persistent=False)

    def forward(self, class_logits: Tensor, class_ids: Tensor) -> Tensor:
        among_siblings = torch.cat(
            [class_logits[:, start:stop].log_softmax(dim=1) for _, start, stop in self.groups], dim=1
        )
        return -torch.where(self.on_path[class_ids], among_siblings, 0.0).sum(dim=1)


class BestPrior(NamedTuple):
    """One row for each label of an image: its class, and the image and prior that say it most surely; (L,) each."""

    class_id: Tensor
    image: Tensor
    prior: Tensor


def best_priors(objectness: Tensor, class_logits: Tensor, labels: Tensor, tree: ClassTree) -> BestPrior:
    """The prior of each label with the highest probability of an object of its class.

    Args:
        objectness: (B, N) probabilities.
        class_logits: (B, N, C).
        labels: (B, M) class ids, PADDING where there is none.
    """
    image, entry = torch.nonzero(labels != PADDING, as_tuple=True)
    class_id = labels[image, entry]
    with torch.no_grad():
        paths = path_probabilities(class_logits, tree)
        prior = (objectness[image] * paths[image, :, class_id]).argmax(dim=1)
    return BestPrior(class_id, image, prior)


class _TreeLoss(PriorLoss):
    """What both kinds of detectors share. Part "image_label" is there in batches that have images with labels only."""

    def __init__(self, spec: DetectorSpec, config: LossConfig) -> None:
        super().__init__(spec, config)
        self.tree = spec.tree
        self.path_entropy = PathEntropy(spec.tree)

    def forward(self, raw: RawHeads, targets: Targets) -> LossParts:
        """Each label of an image counts as one positive prior."""
        labels = targets.image_labels
        unboxed = (labels != PADDING).any(dim=1)
        if not unboxed.any():
            return super().forward(raw, targets)
        boxed = LossParts({}, 0)
        if not unboxed.all():
            boxed = super().forward(RawHeads(*(tensor[~unboxed] for tensor in raw)), targets.of_images(~unboxed))
        found = best_priors(*self.split(raw.logits[unboxed].float()), labels[unboxed], self.tree)
        sums = {name: value * max(1, boxed.positives) for name, value in boxed.items()}
        sums["image_label"] = self._image_loss(raw.logits[unboxed].float(), found)
        positives = boxed.positives + len(found.class_id)
        return LossParts({name: value / positives for name, value in sums.items()}, positives)

    def split(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(..., K) logits to (...,) probabilities of an object and (..., C) logits of the classes."""
        raise NotImplementedError

    def _image_loss(self, logits: Tensor, found: BestPrior) -> Tensor:
        """Class loss of the best priors, and half the square of what their objectness lacks to the assumed IoU."""
        objectness, class_logits = self.split(logits[found.image, found.prior])
        lacking = (self.config.image_label_iou - objectness).clamp(min=0).square().sum()
        classes = self.path_entropy(class_logits, found.class_id).sum()
        own = self.config.objectness_weight * self.config.object_weight * 0.5 * lacking
        weighted: Tensor = self.config.image_label_weight * (self.config.class_weight * classes + own)
        return weighted


class YoloTreeLoss(_TreeLoss, YoloV2Loss):
    """YOLOv2's loss; parts "box", "objectness", "class" and "image_label"."""

    def score_losses(self, logits: Tensor, targets: Targets, found: Matches, iou: Tensor) -> dict[str, Tensor]:
        objectness, class_logits = self.split(logits)
        class_ids = targets.class_ids[found.image, found.object]
        classes = self.path_entropy(class_logits[found.image, found.prior], class_ids).sum()
        return {
            "objectness": 0.5 * self.squared_objectness(objectness, found, iou),
            "class": self.config.class_weight * classes,
        }

    def split(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(logits[..., 0]), logits[..., 1:]


class SsdTreeLoss(_TreeLoss, SsdLoss):
    """SSD's loss; parts "box", "class" and "image_label". Background is one of the uppermost classes' group."""

    def score_losses(self, logits: Tensor, targets: Targets, found: Matches, iou: Tensor) -> dict[str, Tensor]:
        with_background = logits[..., : self.tree.groups[0].stop + 1]
        background = -with_background.log_softmax(dim=-1)[..., 0]
        positive = torch.zeros_like(found.left_alone)
        positive[found.image, found.prior] = True
        mined = hard_negatives(background.detach(), positive, found.left_alone, self.config.negatives_per_positive)
        class_ids = targets.class_ids[found.image, found.object]
        own = logits[found.image, found.prior]
        objects = self._log_object(own).neg() + self.path_entropy(own[:, 1:], class_ids)
        return {"class": self.config.class_weight * (torch.where(mined, background, 0.0).sum() + objects.sum())}

    def split(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return self._log_object(logits).exp(), logits[..., 1:]

    def _log_object(self, logits: Tensor) -> Tensor:
        """log(1 - background), where background is one of a softmax with the uppermost classes."""
        uppermost = logits[..., 1 : self.tree.groups[0].stop + 1].logsumexp(dim=-1)
        return nn.functional.logsigmoid(uppermost - logits[..., 0])

"""What the losses over priors share: matching, the decoder, and the part that boxes pay."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgedet.config import LossConfig
from edgedet.decode import Decoder, RawHeads
from edgedet.spec import DetectorSpec
from edgedet.training.assignment import Matches
from edgedet.training.assignment_kinds import make_matcher
from edgedet.training.loss_box import IOU_LOSSES, own_iou
from edgedet.training.loss_parts import LossParts
from edgedet.training.targets import Targets


class PriorLoss(nn.Module):
    """RawHeads and Targets to LossParts: weighted sums over the batch, per positive prior.

    A class that derives from this says what a box costs in codes, and what classes and objectness cost.
    """

    input_wh_px: Tensor

    def __init__(self, spec: DetectorSpec, config: LossConfig) -> None:
        super().__init__()
        self.config = config
        self.coding = spec.coding
        self.decoder = Decoder(spec)
        self.matcher: Callable[[Targets, Tensor], Matches] = make_matcher(spec, config)
        input_wh = torch.tensor((spec.input.width, spec.input.height) * 2, dtype=torch.float32)
        self.register_buffer("input_wh_px", input_wh, persistent=False)

    def forward(self, raw: RawHeads, targets: Targets) -> LossParts:
        codes, logits = raw.box_codes.float(), raw.logits.float()
        predicted = self.decoder.boxes(self.decoder.deltas(codes))
        found = self.matcher(targets, predicted.detach())
        boxes = targets.boxes_xyxy_unit[found.image, found.object]
        own = predicted[found.image, found.prior]
        parts = {
            "box": self.config.box_weight * self._box_loss(codes, own, boxes, found),
            **self.score_losses(logits, targets, found, own_iou(own.detach(), boxes)),
        }
        normaliser = max(1, len(found.prior))
        return LossParts({name: value / normaliser for name, value in parts.items()}, len(found.prior))

    def code_losses(self, codes: Tensor, boxes_xyxy: Tensor, prior: Tensor) -> Tensor:
        """(P, 4) costs of the codes (P, 4) that the priors (P,) give to boxes in 0..1."""
        raise NotImplementedError

    def score_losses(self, logits: Tensor, targets: Targets, found: Matches, iou: Tensor) -> dict[str, Tensor]:
        """Weighted sums over the batch: "class", and "objectness" where the coding has one.

        Args:
            logits: (B, N, K) float32.
            iou: (P,) of each matched prior's predicted box with its object, detached.
        """
        raise NotImplementedError

    def _box_loss(self, codes: Tensor, predicted_xyxy: Tensor, boxes_xyxy: Tensor, found: Matches) -> Tensor:
        if self.config.box == "own":
            return self.code_losses(codes[found.image, found.prior], boxes_xyxy, found.prior).sum()
        scale = self.input_wh_px
        return IOU_LOSSES[self.config.box](predicted_xyxy * scale, boxes_xyxy * scale).sum()

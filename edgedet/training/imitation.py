"""Learning from the float network while computing in integers: knowledge distillation to low precision.

A network that is tuned on labels drifts: it has seen them all before, and what it learns beyond them is chance. What an
int8 file should do is known better than any label says, it is what the float network does (Mishra and Marr 2018,
"Apprentice", arXiv 1711.05852, scheme C; Polino et al. 2018, arXiv 1802.05668). So scores and boxes are compared where
they are detections, decoded, and any coding of boxes and scores will do.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgedet.decode import Decoder, RawHeads
from edgedet.training.loss_parts import LossParts
from edgedet.training.step import TrainStep
from edgedet.training.targets import Targets

_SCORE_MIN = 1e-6  # scores are taken for this at least, and for one minus this at most: logarithms stay finite


def imitation_losses(decoder: Decoder, raw: RawHeads, teacher: RawHeads) -> dict[str, Tensor]:
    """How far a network is from its teacher, as sums over a batch; both are 0 where they agree.

    "like_class" is the Kullback-Leibler divergence of each class's score, taken for a probability. "like_box" is the
    L1 distance of the deltas (centres in sizes of the prior, logarithms of sizes), each prior weighted by the score
    that the teacher gives to its best class, so that boxes count where there is something in them.

    Args:
        decoder: of the input's size.
        raw, teacher: (B, N, 4) codes and (B, N, K) logits each.
    """
    wanted = decoder.scores(teacher.logits.float()).clamp(_SCORE_MIN, 1 - _SCORE_MIN)
    scores = decoder.scores(raw.logits.float()).clamp(_SCORE_MIN, 1 - _SCORE_MIN)
    divergence = wanted * (wanted / scores).log() + (1 - wanted) * ((1 - wanted) / (1 - scores)).log()
    distance = (decoder.deltas(raw.box_codes.float()) - decoder.deltas(teacher.box_codes.float())).abs().sum(dim=-1)
    return {"like_class": divergence.sum(), "like_box": (wanted.amax(dim=-1) * distance).sum()}


class ImitatingStep(TrainStep):
    """A training step whose loss is partly that of the labels and partly the distance from a teacher.

    Args:
        teacher: the network in float, of the same priors; it is evaluated and never changed.
        share: of the imitation in the loss, 0 to 1.
    """

    def __init__(self, *rest: Any, teacher: nn.Module, share: float) -> None:
        super().__init__(*rest)
        self.teacher = teacher.eval().to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.share = share
        self._taught: RawHeads

    def heads(self, image: Tensor) -> RawHeads:
        with torch.no_grad(), self.fabric.autocast():
            self._taught = self.teacher(image)
        return super().heads(image)

    def losses(self, raw: RawHeads, targets: Targets) -> LossParts:
        labels = super().losses(raw, targets)
        imitation = imitation_losses(self.loss.of(raw).decoder, raw, self._taught)
        parts = {name: (1 - self.share) * value for name, value in labels.items()}
        parts |= {name: self.share * value / max(1, labels.positives) for name, value in imitation.items()}
        return LossParts(parts, labels.positives)

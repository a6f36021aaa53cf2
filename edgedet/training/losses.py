"""The loss of each kind of box coding: a table, so that the loop knows none of them."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from edgedet.config import LossConfig
from edgedet.spec import DetectorSpec
from edgedet.training.loss_ssd import SsdLoss
from edgedet.training.loss_yolo import YoloLoss

# CodingSpec.kind -> module: (RawHeads, Targets) -> {part: scalar}, whose sum is minimised.
LOSSES: dict[str, Callable[[DetectorSpec, LossConfig], nn.Module]] = {"ssd": SsdLoss, "yolo": YoloLoss}

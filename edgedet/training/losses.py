"""The loss of each kind of box coding and score: a table, so that the loop knows none of them."""

from __future__ import annotations

from edgedet.config import LossConfig
from edgedet.spec import DetectorSpec
from edgedet.training.loss_prior import PriorLoss
from edgedet.training.loss_retinanet import RetinaNetLoss
from edgedet.training.loss_ssd import SsdLoss
from edgedet.training.loss_tree import SsdTreeLoss, YoloTreeLoss
from edgedet.training.loss_yolo import YoloLoss
from edgedet.training.loss_yolo_squared import YoloV1Loss, YoloV2Loss

# (CodingSpec.kind, CodingSpec.score) -> the loss: (RawHeads, Targets) -> {part: scalar}, whose sum is minimised.
LOSSES: dict[tuple[str, str], type[PriorLoss]] = {
    ("ssd", "softmax_bg0"): SsdLoss,
    ("ssd", "sigmoid"): RetinaNetLoss,
    ("ssd", "softmax_tree"): SsdTreeLoss,
    ("yolo", "obj_times_cls"): YoloLoss,
    ("yolo", "obj_times_softmax"): YoloV2Loss,
    ("yolo", "obj_times_tree"): YoloTreeLoss,
    ("yolo_v1", "linear_obj_times_cls"): YoloV1Loss,
}


def make_loss(spec: DetectorSpec, config: LossConfig) -> PriorLoss:
    """The loss of a detector's coding."""
    return LOSSES[spec.coding.kind, spec.coding.score](spec, config)

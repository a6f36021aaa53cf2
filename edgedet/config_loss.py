"""Which parts of the loss go with which box coding: what the fields of LossConfig alone cannot tell."""

from __future__ import annotations

from edgedet.config_schema import LossConfig
from edgedet.errors import ConfigError
from edgedet.spec import CodingSpec

# The rules of matching that each kind of box code can learn from; see LossConfig.matching.
_MATCHING: dict[str, tuple[str, ...]] = {
    "ssd": ("ssd", "retinanet", "yolo"),
    "yolo": ("yolo",),
    "yolo_v1": ("yolo_v1",),
}
# How far the papers' objectness learns the IoU: YOLOv3's target is 1, that of YOLOv1 and YOLOv2 is the IoU.
_IOU_OBJECTNESS: dict[str, float] = {
    "obj_times_cls": 0.0,
    "obj_times_softmax": 1.0,
    "obj_times_tree": 1.0,
    "linear_obj_times_cls": 1.0,
}


def matching_of(coding: CodingSpec, loss: LossConfig) -> str:
    """The rule of matching of a run: the one that `loss.matching` names, or the one of the coding's paper."""
    if loss.matching != "own":
        return loss.matching
    return "retinanet" if coding.score == "sigmoid" else _MATCHING[coding.kind][0]


def iou_objectness_of(coding: CodingSpec, loss: LossConfig) -> float:
    """How far the target of objectness is the IoU of the predicted box, 0 to 1."""
    return _IOU_OBJECTNESS[coding.score] if loss.iou_objectness is None else loss.iou_objectness


def check_loss(coding: CodingSpec, loss: LossConfig, source: str) -> None:
    """Raise ConfigError where a part of the loss cannot work with the coding."""
    if loss.matching not in ("own", *_MATCHING[coding.kind]):
        raise ConfigError(
            f"{source}: loss.matching is {loss.matching!r}, but coding.kind {coding.kind!r} keeps each box in its cell",
            f"Use own, which is {_MATCHING[coding.kind][0]}'s rule: it takes the cell of the object's centre.",
        )
    if loss.iou_objectness is not None and coding.score not in _IOU_OBJECTNESS:
        raise ConfigError(
            f"{source}: loss.iou_objectness is set, but coding.score {coding.score!r} has no objectness",
            "Leave it out, or use coding.kind yolo, whose heads have an objectness of their own.",
        )

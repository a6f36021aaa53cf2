"""Assignment and loss: the fields of a configuration, and which of them go with which box coding."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from edgedet.config.part import Part, Share
from edgedet.errors import ConfigError
from edgedet.spec import CodingSpec


class LossConfig(Part):
    """Assignment and loss. The coding says which loss it is, and each loss reads the fields that concern it.

    Attributes:
        matching: which priors shall find which objects. "own": the rule of the coding's paper. "ssd": each object's
            best prior, and every prior with IoU >= iou_match (SSD paper, section 2.2). "retinanet": the same, with a
            band from iou_background to iou_match that is left alone (RetinaNet paper, section 4). "yolo": one prior,
            the anchor of the best shape in the cell of the object's centre; other predictions with IoU > iou_ignore
            are left alone (YOLOv3 paper, section 2.1). YOLO's codings know their own rule only.
        box: what the error of a box is. "own": of its codes, as the coding's paper has it (smooth L1 for SSD and
            RetinaNet, YOLO's squares and cross-entropies). Of the decoded box: "giou" (Rezatofighi et al. 2019,
            algorithm 1), "diou" and "ciou" (Zheng et al. 2020, equations 7 and 10).
        iou_objectness: how far the objectness of a matched prior learns the IoU of its predicted box with its object
            in place of 1: 0 not at all, 1 entirely; null for the paper's own, which is 0 for YOLOv3 and 1 for YOLOv1
            (paper, section 2) and YOLOv2 (Darknet's rescore).
        iou_match: a prior is positive for the object it overlaps best when IoU >= this (SSD paper, section 2.2).
        iou_background: RetinaNet's priors from this IoU up to `iou_match` are neither (RetinaNet paper, section 4).
        focal_alpha, focal_gamma: of the focal loss (same paper, section 3.2).
        smooth_l1_beta: where SSD's and RetinaNet's box loss turns from a square to a line.
        negatives_per_positive: hard negatives kept per positive prior (same section).
        box_weight: weight of the box loss; the class loss has weight 1.
        iou_ignore: predictions with a larger IoU with any object are not taught "nothing here" (YOLOv3 paper, 2.1).
        objectness_weight, class_weight: weights of YOLO's other two losses.
        object_weight, no_object_weight: of the squared errors of objectness with and without an object in YOLOv1 and
            YOLOv2 (YOLOv1 paper, equation 3; Darknet's object_scale and noobject_scale).
        image_label_weight: of what images teach that have labels but no boxes (edgedet.training.loss_tree).
        image_label_iou: IoU with its object that the surest prior of such an image is assumed to have.
    """

    matching: Literal["own", "ssd", "retinanet", "yolo"] = "own"
    box: Literal["own", "giou", "diou", "ciou"] = "own"
    iou_objectness: Share | None = None
    iou_match: Share = 0.5
    iou_background: Share = 0.4
    focal_alpha: Share = 0.25
    focal_gamma: NonNegativeFloat = 2.0
    smooth_l1_beta: PositiveFloat = 1.0
    negatives_per_positive: PositiveFloat = 3.0
    box_weight: PositiveFloat = 1.0
    iou_ignore: Share = 0.5
    objectness_weight: PositiveFloat = 1.0
    class_weight: PositiveFloat = 1.0
    object_weight: PositiveFloat = 1.0
    no_object_weight: PositiveFloat = 1.0
    image_label_weight: NonNegativeFloat = 1.0
    image_label_iou: Share = 0.3


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

"""What a box costs: in codes, as each coding's paper has it, or decoded, by its overlap with the object."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import complete_box_iou_loss, distance_box_iou_loss, generalized_box_iou_loss

from edgedet.boxes import xyxy_to_cxcywh
from edgedet.decode import Decoder, encode_deltas

_MIN_SIDE_PX = 1e-3  # of a predicted box; at width and height 0 the aspect ratio of CIoU has no value


def smooth_l1(codes: Tensor, boxes_xyxy: Tensor, prior: Tensor, decoder: Decoder, beta: float) -> Tensor:
    """Of the offsets over the variances (SSD paper, equation 2)."""
    wanted = encode_deltas(boxes_xyxy, decoder.priors_cxcywh[prior]) / decoder.variances
    return F.smooth_l1_loss(codes, wanted, reduction="none", beta=beta)


def yolo_v3(codes: Tensor, boxes_xyxy: Tensor, prior: Tensor, decoder: Decoder) -> Tensor:
    """Cross-entropy of centres, half the square of the logarithm of sizes (Darknet's yolo layer)."""
    centre, size = box_targets(boxes_xyxy, decoder, prior)
    centre_losses = F.binary_cross_entropy_with_logits(codes[:, :2], centre, reduction="none")
    return _small_counts_more(boxes_xyxy) * (centre_losses + 0.5 * (codes[:, 2:] - size).square())


def yolo_v2(codes: Tensor, boxes_xyxy: Tensor, prior: Tensor, decoder: Decoder) -> Tensor:
    """Half the squares of centres in the cell and of the logarithm of sizes (Darknet's region layer)."""
    centre, size = box_targets(boxes_xyxy, decoder, prior)
    errors = (torch.sigmoid(codes[:, :2]) - centre).square() + (codes[:, 2:] - size).square()
    return 0.5 * _small_counts_more(boxes_xyxy) * errors


def yolo_v1(codes: Tensor, boxes_xyxy: Tensor, prior: Tensor, decoder: Decoder) -> Tensor:
    """Squares of centres in the cell and of the roots of sizes (YOLOv1 paper, equation 3)."""
    centre, _ = box_targets(boxes_xyxy, decoder, prior)
    roots = (xyxy_to_cxcywh(boxes_xyxy)[:, 2:] / decoder.priors_cxcywh[prior, 2:]).sqrt()
    return (codes[:, :2] - centre).square() + (codes[:, 2:] - roots).square()


def box_targets(boxes_xyxy_unit: Tensor, decoder: Decoder, prior: Tensor) -> tuple[Tensor, Tensor]:
    """What codes of the given priors must decode to.

    Returns:
        centre (P, 2): position inside the cell in 0..1, the target of sigmoid(t); size (P, 2): log(box / anchor).
    """
    boxes, priors = xyxy_to_cxcywh(boxes_xyxy_unit), decoder.priors_cxcywh[prior]
    cell = decoder.cell_per_prior[prior] * priors[:, 2:]
    centre = ((boxes[:, :2] - priors[:, :2]) / cell + 0.5).clamp(0, 1)
    return centre, torch.log(boxes[:, 2:] / priors[:, 2:])


def _small_counts_more(boxes_xyxy: Tensor) -> Tensor:
    """(P, 1) factor 2 - w * h of boxes in 0..1 (Darknet)."""
    return (2 - (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(dim=1))[:, None]


def giou(predicted_xyxy_px: Tensor, boxes_xyxy_px: Tensor) -> Tensor:
    """(P,) 1 - IoU + (hull - union) / hull (Rezatofighi et al. 2019, algorithm 1)."""
    losses: Tensor = generalized_box_iou_loss(_with_sides(predicted_xyxy_px), boxes_xyxy_px)
    return losses


def diou(predicted_xyxy_px: Tensor, boxes_xyxy_px: Tensor) -> Tensor:
    """(P,) 1 - IoU + (distance of the centres / diagonal of the hull)^2 (Zheng et al. 2020, equation 7)."""
    losses: Tensor = distance_box_iou_loss(_with_sides(predicted_xyxy_px), boxes_xyxy_px)
    return losses


def ciou(predicted_xyxy_px: Tensor, boxes_xyxy_px: Tensor) -> Tensor:
    """(P,) DIoU plus alpha * v, the difference of the aspect ratios (Zheng et al. 2020, equations 8 to 11).

    alpha, the weight of v, is not differentiated, as in the authors' code.
    """
    losses: Tensor = complete_box_iou_loss(_with_sides(predicted_xyxy_px), boxes_xyxy_px)
    return losses


# Of boxes in pixels: torchvision adds 1e-7 to denominators, which is much to an area in 0..1 and nothing to one in px.
IOU_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"giou": giou, "diou": diou, "ciou": ciou}


def own_iou(predicted_xyxy: Tensor, boxes_xyxy: Tensor) -> Tensor:
    """(P,) IoU of each predicted box with its own object."""
    low = torch.maximum(predicted_xyxy[:, :2], boxes_xyxy[:, :2])
    high = torch.minimum(predicted_xyxy[:, 2:], boxes_xyxy[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    predicted_sides, sides = predicted_xyxy[:, 2:] - predicted_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    union = predicted_sides.prod(dim=1) + sides.prod(dim=1) - shared
    return shared / union.clamp(min=torch.finfo(shared.dtype).tiny)


def _with_sides(boxes_xyxy_px: Tensor) -> Tensor:
    low, high = boxes_xyxy_px[:, :2], boxes_xyxy_px[:, 2:]
    return torch.cat((low, torch.maximum(high, low + _MIN_SIDE_PX)), dim=1)

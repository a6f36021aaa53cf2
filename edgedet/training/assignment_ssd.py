"""Which priors shall find which objects: the matching of the SSD paper, section 2.2, and of RetinaNet, section 4."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgedet.boxes import cxcywh_to_xyxy, iou_matrix
from edgedet.config import LossConfig
from edgedet.priors import priors_cxcywh_unit
from edgedet.spec import DetectorSpec
from edgedet.training.assignment import COVERED, Matches, covered_share
from edgedet.training.targets import Targets


class SsdAssignment(NamedTuple):
    """For each prior of each image: object (B, N) int64, the index of its object, -1 for background;
    left_alone (B, N) bool, priors that are neither positive nor may be negative.
    """

    object: Tensor
    left_alone: Tensor


class SsdMatcher(nn.Module):
    """Best prior first, then IoU >= iou_match; what a network predicts plays no part (SSD paper, section 2.2)."""

    priors_cxcywh: Tensor
    iou_background: float | None = None

    def __init__(self, spec: DetectorSpec, config: LossConfig) -> None:
        super().__init__()
        self.iou_match = config.iou_match
        self.register_buffer("priors_cxcywh", priors_cxcywh_unit(spec), persistent=False)

    def forward(self, targets: Targets, predicted_xyxy: Tensor) -> Matches:
        found = assign(targets, self.priors_cxcywh, self.iou_match, self.iou_background)
        image, prior = torch.nonzero(found.object >= 0, as_tuple=True)
        return Matches(image, found.object[image, prior], prior, found.left_alone)


class RetinaNetMatcher(SsdMatcher):
    """SSD's rule with a band from iou_background to iou_match that is left alone (RetinaNet paper, section 4).

    As in SSD, and as in "low-quality matches" of the reference code, each object keeps its best prior.
    """

    def __init__(self, spec: DetectorSpec, config: LossConfig) -> None:
        super().__init__(spec, config)
        self.iou_background = config.iou_background


def assign(
    targets: Targets, priors_cxcywh: Tensor, iou_match: float, iou_background: float | None = None
) -> SsdAssignment:
    """First each object gets its best prior, then each other prior the object it overlaps best, if IoU >= iou_match.

    In the first step no two objects share a prior: the pair with the largest IoU is made first, as in SSD's own code.
    Crowd and difficult objects are not matched, and priors that they cover are left alone.

    Args:
        targets: objects of B images in 0..1.
        priors_cxcywh: (N, 4) in 0..1.
        iou_match: threshold of the second step.
        iou_background: priors that are not matched but have at least this IoU with an object are left alone: the
            ignore band of the RetinaNet paper, section 4. None for no band, as in SSD.
    """
    batch, most = targets.class_ids.shape
    priors_xyxy = cxcywh_to_xyxy(priors_cxcywh)
    if most == 0:
        nothing = torch.full((batch, len(priors_xyxy)), -1, device=priors_xyxy.device)
        return SsdAssignment(nothing, torch.zeros_like(nothing, dtype=torch.bool))
    iou = iou_matrix(targets.boxes_xyxy_unit.flatten(0, 1), priors_xyxy).view(batch, most, -1)
    iou = torch.where(targets.trained_on[..., None], iou, 0.0)
    best_iou, best_object = iou.max(dim=1)
    matched = torch.where(best_iou >= iou_match, best_object, -1)
    image, row, prior = _best_priors(iou)
    matched[image, prior] = row
    apart = _covered(targets, priors_xyxy)
    if iou_background is not None:
        apart |= best_iou >= iou_background
    return SsdAssignment(matched, apart & (matched < 0))


def _best_priors(iou: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(image, object, prior) triples, one for each object that overlaps a prior; no prior twice in an image.

    Args:
        iou: (B, M, N), rows of objects that are not matched all 0.
    """
    best_iou, best_prior = iou.max(dim=2)
    image, row = torch.nonzero(best_iou > 0, as_tuple=True)
    prior = best_prior[image, row]
    slots, counts = torch.unique(image * iou.shape[2] + prior, return_counts=True)
    for crowded in torch.unique(slots[counts > 1] // iou.shape[2]).tolist():
        rows, priors = _greedy_pairs(iou[crowded])
        keep = image != crowded
        image = torch.cat((image[keep], torch.full_like(rows, crowded)))
        row, prior = torch.cat((row[keep], rows)), torch.cat((prior[keep], priors))
    return image, row, prior


def _greedy_pairs(iou: Tensor) -> tuple[Tensor, Tensor]:
    """(M, N) to rows and columns of pairs: the largest entry, then the largest in the other rows and columns, ..."""
    left = iou.clone()
    pairs = []
    for _ in range(len(left)):
        value, flat = left.flatten().max(dim=0)
        if value <= 0:
            break
        row, column = divmod(int(flat), left.shape[1])
        pairs.append((row, column))
        left[row], left[:, column] = 0, 0
    rows, columns = torch.tensor(pairs, device=iou.device).unbind(1)
    return rows, columns


def _covered(targets: Targets, priors_xyxy: Tensor) -> Tensor:
    """(B, N) bool: an ignored object covers at least half of the prior."""
    batch = len(targets.class_ids)
    result = torch.zeros(batch, len(priors_xyxy), dtype=torch.bool, device=priors_xyxy.device)
    for image in torch.nonzero(targets.left_alone.any(dim=1)).flatten().tolist():
        boxes = targets.boxes_xyxy_unit[image][targets.left_alone[image]]
        result[image] = (covered_share(priors_xyxy, boxes) >= COVERED).any(dim=1)
    return result

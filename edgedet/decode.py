"""The only decoder: raw heads to boxes and scores. Exporters trace it; nothing else repeats it.

It has two steps. `deltas` brings every family of box codes to one form, centre-size offsets relative to the prior
(dx, dy, dw, dh) with

    cx = dx * prior_w + prior_cx        w = exp(dw) * prior_w

and `boxes` applies them. TFLite's own detection operator does exactly the second step, so its exporter stops after the
first and hands over deltas and priors.

Where classes are a tree (YOLO9000 paper, section 4, "Hierarchical classification"), each group of siblings has a
softmax of its own: the probability of each class if the object is of their parent. The product down a path is p, the
probability of the class at its end if there is an object. The paper goes down the tree, "taking the highest confidence
path at every split until we reach some threshold" (`tree_min`, here t; Darknet's program takes 0.5). Here that walk is
a comparison:

    tree score of a leaf = p        of an inner class = min(p, 2 t - largest p of its children), 0 at least

The best tree score stands at the end of the walk: a parent whose best child has more than t has itself less than t, and
one whose children all have less has more than any of them. An object whose uppermost classes all stay below t gets the
best of these. (From t = 0.5 on only one class of a level can have more than t, so the walk has one end; below, it can
have several, and the most probable one wins.) So a detection's score is the path's probability times that of an object,
less for an inner class of which one child comes near t. The walk with a cut instead would let the last digit of a
number change a score by half: neither half precision nor another processor could repeat what was measured.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from edgedet.boxes import corners_xyxy, xyxy_to_cxcywh
from edgedet.class_tree import ROOT, ClassTree
from edgedet.priors import cell_wh_unit, priors_cxcywh_unit
from edgedet.spec import DetectorSpec

# A root of a size below this is taken for this: 1e-6 of the prior's side, so that its logarithm stays finite.
_ROOT_MIN = 1e-3


class RawHeads(NamedTuple):
    """What a network says before decoding: box_codes (B, N, 4) and logits (B, N, K), both float."""

    box_codes: Tensor
    logits: Tensor


class Decoder(nn.Module):
    """Decoding for one spec, with its priors as buffers so that a trace carries them as constants."""

    priors_cxcywh: Tensor
    variances: Tensor
    cell_per_prior: Tensor

    def __init__(self, spec: DetectorSpec) -> None:
        super().__init__()
        self.coding = spec.coding
        self.tree = spec.tree
        priors = priors_cxcywh_unit(spec)
        self.register_buffer("priors_cxcywh", priors, persistent=False)
        self.register_buffer("variances", torch.tensor(spec.coding.variances), persistent=False)
        self.register_buffer("cell_per_prior", cell_wh_unit(spec) / priors[:, 2:], persistent=False)

    def deltas(self, box_codes: Tensor) -> Tensor:
        """(B, N, 4) box codes to (B, N, 4) offsets (dx, dy, dw, dh) relative to the priors.

        "ssd": codes times variances (SSD paper, section 2.2). "yolo": the centre lies at sigmoid(t) of its cell
        (YOLOv3 paper, section 2.1), which is (sigmoid(t) - 0.5) cells away from the prior's centre. "yolo_v1": the
        centre is given in cells and the size as the root of its share of the prior (YOLOv1 paper, section 2.2).
        """
        return torch.cat(self._offsets_and_log_sizes(box_codes), dim=-1)

    def _offsets_and_log_sizes(self, box_codes: Tensor) -> tuple[Tensor, Tensor]:
        """The two halves of `deltas`, (B, N, 2) each."""
        if self.coding.kind == "yolo":
            offset = (torch.sigmoid(box_codes[..., :2]) - 0.5) * self.cell_per_prior
            size = box_codes[..., 2:]
        elif self.coding.kind == "yolo_v1":
            offset = (box_codes[..., :2] - 0.5) * self.cell_per_prior
            size = 2 * torch.log(box_codes[..., 2:].clamp(min=_ROOT_MIN))
        else:
            offset = box_codes[..., :2] * self._factors(0, 2)
            size = box_codes[..., 2:] * self._factors(2, 4)
        return offset, size.clamp(max=self.coding.log_wh_max)

    def _factors(self, start: int, stop: int) -> float | Tensor:
        """Variances of x and y, or of width and height: one number where both are equal, which runtimes do faster."""
        first, *others = self.coding.variances[start:stop]
        return first if others == [first] else self.variances[start:stop]

    def boxes(self, deltas: Tensor) -> Tensor:
        """(B, N, 4) deltas to (B, N, 4) boxes xyxy in 0..1 of the network input, not clipped."""
        return self._boxes_of(deltas[..., :2], deltas[..., 2:])

    def _boxes_of(self, offset: Tensor, log_size: Tensor) -> Tensor:
        prior_centre, prior_size = self.priors_cxcywh[:, :2], self.priors_cxcywh[:, 2:]
        return corners_xyxy(offset * prior_size + prior_centre, torch.exp(log_size) * prior_size)

    def scores(self, logits: Tensor) -> Tensor:
        """(B, N, K) logits to (B, N, C) class scores in 0..1, background removed."""
        if self.coding.score == "softmax_bg0":
            return torch.softmax(logits, dim=-1)[..., 1:]
        if self.coding.score == "obj_times_cls":
            probabilities = torch.sigmoid(logits)
            return probabilities[..., :1] * probabilities[..., 1:]
        if self.coding.score == "obj_times_softmax":
            return torch.sigmoid(logits[..., :1]) * torch.softmax(logits[..., 1:], dim=-1)
        if self.coding.score == "obj_times_tree":
            return torch.sigmoid(logits[..., :1]) * tree_scores(logits[..., 1:], self.tree, self.coding.tree_min)
        if self.coding.score == "softmax_tree":
            uppermost = torch.softmax(logits[..., : self.tree.groups[0].stop + 1], dim=-1)
            objectness = uppermost[..., 1:].sum(dim=-1, keepdim=True)
            return objectness * tree_scores(logits[..., 1:], self.tree, self.coding.tree_min)
        if self.coding.score == "linear_obj_times_cls":
            cut = logits.clamp(min=0.0, max=1.0)
            return cut[..., :1] * cut[..., 1:]
        return torch.sigmoid(logits)

    def forward(self, raw: RawHeads) -> tuple[Tensor, Tensor]:
        """Raw heads to (boxes_xyxy_unit (B, N, 4), scores (B, N, C))."""
        # The halves are not joined in between: slicing them apart again took 0.1 ms of an 8 ms file.
        return self._boxes_of(*self._offsets_and_log_sizes(raw.box_codes)), self.scores(raw.logits)


def tree_scores(class_logits: Tensor, tree: ClassTree, tree_min: float) -> Tensor:
    """(..., C) logits to (..., C) scores in 0..1 of the classes of a tree, as this module's text defines them.

    Slices and joins only, no gathering: every format, and the GPU delegates of phones, have these operators.
    """
    paths = path_probabilities(class_logits, tree)
    best_child = {
        parent: _largest(paths[..., start:stop], stop - start) for parent, start, stop in tree.groups if parent != ROOT
    }
    columns, done = [], 0
    for inner, best in sorted(best_child.items()):
        if inner > done:
            columns.append(paths[..., done:inner])
        ceiling = (2 * tree_min - best).clamp(min=0.0)
        columns.append(torch.minimum(paths[..., inner : inner + 1], ceiling))
        done = inner + 1
    if done < len(tree.names):
        columns.append(paths[..., done:])
    return torch.cat(columns, dim=-1)


def path_probabilities(class_logits: Tensor, tree: ClassTree) -> Tensor:
    """(..., C) logits to (..., C): the product of the siblings' softmaxes down each class's path."""
    groups: list[Tensor] = []
    columns: dict[int, Tensor] = {}  # of classes that have children
    parents = {group.parent for group in tree.groups}
    for parent, start, stop in tree.groups:
        group = torch.softmax(class_logits[..., start:stop], dim=-1)
        if parent != ROOT:
            group = columns[parent] * group
        columns |= {k: group[..., k - start : k - start + 1] for k in range(start, stop) if k in parents}
        groups.append(group)
    return torch.cat(groups, dim=-1)


def _largest(columns: Tensor, count: int) -> Tensor:
    """(..., count) to (..., 1), by halves: the GPU delegates know the larger of two tensors, but no reduction to it."""
    while count > 1:  # not the shape: the tracer would see operators in arithmetic on it
        half = count // 2
        folded = torch.maximum(columns[..., :half], columns[..., half : 2 * half])
        columns = torch.cat((folded, columns[..., 2 * half :]), dim=-1) if count % 2 else folded
        count -= half
    return columns


def encode_deltas(boxes_xyxy_unit: Tensor, priors_cxcywh: Tensor) -> Tensor:
    """The inverse of `Decoder.boxes`: deltas that decode to the given boxes.

    Args:
        boxes_xyxy_unit: (..., 4), of positive width and height.
        priors_cxcywh: (..., 4) in the same unit.

    Returns:
        (..., 4) offsets (dx, dy, dw, dh).
    """
    boxes = xyxy_to_cxcywh(boxes_xyxy_unit)
    offset = (boxes[..., :2] - priors_cxcywh[..., :2]) / priors_cxcywh[..., 2:]
    return torch.cat((offset, torch.log(boxes[..., 2:] / priors_cxcywh[..., 2:])), dim=-1)

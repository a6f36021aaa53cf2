"""Do a client's detections match the .pt runner's?

A detection with a score above 0.3, of either side, matches when the other side has one of the same class, whatever its
score, with an IoU of at least 0.95; pairs are one-to-one, the highest IoU first. Counting both sides, so that an extra
box is a fault as a missing one is, 99 % must match, with scores within 0.01. A client that answers in whole pixels is
believed to have rounded: its corners may move by that much towards the reference.

Half precision computes other codes and scores, whoever runs it. As many detections must match, by the same IoU, but one
box of each side may lack a partner however few are counted: where the scores of two overlapping boxes tie, suppression
keeps either. 99 % of the scores must be within 0.06, the limit of every export's comparison. The others may be further
apart: after such a tie a third box may stay that had been suppressed: nearly the same box with another score.

Integer files are compared with themselves as edgedet runs them, because that is what was measured; how far they are
from the model is for the export's comparison to say. A library that computes with the same integers finds the same to
the last digit of the score, and the rule of half precision holds with room. Where one integer may be rounded to its
neighbour, at most OTHER_ROUNDING is between the two: a step of an integer is several per cent of a box's side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edgedet.boxes import clip_xyxy
from edgedet.export.precisions import PRECISIONS
from edgedet.runner import Detections
from edgedet.spec import DetectorSpec

FloatArray = npt.NDArray[np.float32]

SCORE_ABOVE = 0.3
IOU_MIN = 0.95
_EDGE_PX = 2.0  # of the image; a client may round its corners by as much


@dataclass(frozen=True)
class Limits:
    """What a file must reach.

    Attributes:
        score: largest difference of partners' scores; `scores_within` of all pairs must stay within it.
        scores_within: share of pairs.
        share: of detections that must have a partner.
        alone: so many may be without in any case.
        iou_min: of a detection and its partner.
    """

    score: float
    scores_within: float = 1.0
    share: float = 0.99
    alone: int = 0
    iou_min: float = IOU_MIN


_ROUNDED = Limits(score=0.06, scores_within=0.99, alone=2)
LIMITS = {"fp32": Limits(score=0.01), **{name: _ROUNDED for name in PRECISIONS if name != "fp32"}}
# The worst that was seen of small random networks, which magnify a step: 93.4 % of 564, a score 0.288 apart; of trained
# ones 98.2 %. One of these misses the rule, because more than one in a hundred of its scores is further apart.
OTHER_ROUNDING = Limits(score=0.3, scores_within=0.99, share=0.9, iou_min=0.8)
# Every runtime, and every version, makes integers of activations in its own way while it runs.
LIMITS["int8-dynamic"] = OTHER_ROUNDING


@dataclass(frozen=True)
class Named:
    """Detections of one image with class names: boxes_xyxy_px (M, 4) float32, scores (M,), labels."""

    boxes_xyxy_px: FloatArray
    scores: FloatArray
    labels: list[str]
    edges_count: bool = True  # whether boxes that reach the left or top edge of the image are counted

    @staticmethod
    def of_runner(found: Detections, spec: DetectorSpec) -> Named:
        return Named(found.boxes_xyxy_px, found.scores, [spec.class_names[index] for index in found.class_ids])

    @staticmethod
    def of_client(entry: dict[str, Any], width: int, height: int) -> Named:
        """What a client printed, cut to the image as the runner does; clients differ in whether they do."""
        boxes = torch.tensor(entry["boxes_xyxy_px"], dtype=torch.float32).reshape(-1, 4)
        return Named(
            clip_xyxy(boxes, width, height).numpy(), np.asarray(entry["scores"], np.float32), list(entry["labels"])
        )

    def above(self) -> npt.NDArray[np.bool_]:
        """Which are counted."""
        inside = (self.boxes_xyxy_px[:, :2] > _EDGE_PX).all(axis=1)
        return (self.scores > SCORE_ABOVE) & (inside | self.edges_count)


@dataclass(frozen=True)
class Agreement:
    """Over the images of one file.

    Attributes:
        counted: detections above the score, of both sides.
        matched: those that have a partner.
        score_errors: of all pairs, ascending.
        corner_error_px: largest of all pairs, in pixels of the network input, rounding of the client included.
    """

    counted: int
    matched: int
    score_errors: tuple[float, ...]
    corner_error_px: float

    @property
    def share(self) -> float:
        return self.matched / self.counted if self.counted else 0.0

    @property
    def score_error(self) -> float:
        """The largest."""
        return max(self.score_errors, default=0.0)

    def holds(self, limits: Limits) -> bool:
        """Whether enough detections match and enough of their scores are near; never when nothing matched."""
        near = sum(error <= limits.score for error in self.score_errors)
        enough = self.share >= limits.share or self.counted - self.matched <= limits.alone
        return self.matched > 0 and enough and near >= limits.scores_within * len(self.score_errors)


@dataclass(frozen=True)
class Pair:
    """One image: two lists of detections in its pixels; how many of these make one of the network input, in x and y."""

    reference: Named
    client: Named
    scale_xy: tuple[float, float]

    def with_edges(self, count: bool) -> Pair:
        """The same, with boxes at the left and top edge counted or not."""
        return Pair(replace(self.reference, edges_count=count), replace(self.client, edges_count=count), self.scale_xy)


def agree(images: Iterable[Pair], rounding_px: float = 0.0, iou_min: float = IOU_MIN) -> Agreement:
    """Compare the images of one file.

    Args:
        images: of one file.
        rounding_px: of the client's corners, in pixels of the image.
        iou_min: of a pair.
    """
    counted = matched = 0
    score_errors, corner_errors = [], [0.0]
    for image in images:
        reference, client = image.reference, image.client
        corners = _corner_errors_px(image)
        counted += int(reference.above().sum() + client.above().sum())
        for row, column in _pairs(image, rounding_px, iou_min):
            sides = int(reference.above()[row]) + int(client.above()[column])
            if sides:
                matched += sides
                score_errors.append(abs(float(reference.scores[row] - client.scores[column])))
                corner_errors.append(float(corners[row, column]))
    return Agreement(counted, matched, tuple(sorted(score_errors)), max(corner_errors))


def _corner_errors_px(image: Pair) -> FloatArray:
    """(M, N) largest corner difference in pixels of the network input."""
    scale = np.array(image.scale_xy * 2, np.float32)
    a, b = image.reference.boxes_xyxy_px / scale, image.client.boxes_xyxy_px / scale
    errors: FloatArray = np.abs(a[:, None] - b[None]).max(axis=-1)
    return errors


def _pairs(image: Pair, rounding_px: float, iou_min: float) -> list[tuple[int, int]]:
    """One-to-one pairs of one class, the highest IoU first."""
    a, b = image.reference, image.client
    overlaps = _overlaps(a.boxes_xyxy_px, b.boxes_xyxy_px, rounding_px)
    same = np.array([[x == y for y in b.labels] for x in a.labels], np.bool_).reshape(overlaps.shape)
    rows, columns = np.nonzero(same & (overlaps >= iou_min))
    order = np.argsort(-overlaps[rows, columns], kind="stable")
    free_rows, free_columns, pairs = set(rows.tolist()), set(columns.tolist()), []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row in free_rows and column in free_columns:
            free_rows.discard(row)
            free_columns.discard(column)
            pairs.append((row, column))
    return pairs


def _overlaps(a_xyxy: FloatArray, b_xyxy: FloatArray, rounding_px: float) -> FloatArray:
    """(M, N) IoU of each pair, after b's corners moved by at most `rounding_px` towards a's."""
    moved = b_xyxy[None] + np.clip(a_xyxy[:, None] - b_xyxy[None], -rounding_px, rounding_px)
    a = np.broadcast_to(a_xyxy[:, None], moved.shape)
    inner = np.minimum(a[..., 2:], moved[..., 2:]) - np.maximum(a[..., :2], moved[..., :2])
    shared = np.clip(inner, 0, None).prod(axis=-1)
    whole = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (moved[..., 2:] - moved[..., :2]).prod(axis=-1) - shared
    overlaps: FloatArray = np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)
    return overlaps

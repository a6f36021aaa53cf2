"""Which detections of two files are the same, in one image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edgedet.boxes import iou_matrix
from edgedet.evaluation.tables import BoolArray, FloatArray, IntArray

PAIR_IOU = 0.5


@dataclass(frozen=True)
class Found:
    """Detections of one image.

    Attributes:
        boxes_xyxy_px: (M, 4) in pixels of the original image; scores: (M,); class_ids: (M,) of the DATA SET's classes.
    """

    boxes_xyxy_px: FloatArray
    scores: FloatArray
    class_ids: IntArray

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Pairing:
    """Rows of the two files' detections: pairs of the same class, pairs of different classes, and what is left.

    `kept_iou` are the overlaps of the `kept` pairs.
    """

    kept: tuple[tuple[int, int], ...]
    kept_iou: tuple[float, ...]
    flipped: tuple[tuple[int, int], ...]
    lost: tuple[int, ...]
    new: tuple[int, ...]


def pair(a: Found, b: Found, score_min: float) -> Pairing:
    """Pair what both show from `score_min` on: the same class first, then any, the largest overlap (from 0.5) first."""
    overlaps = iou(a.boxes_xyxy_px, b.boxes_xyxy_px)
    shown = (a.scores >= score_min)[:, None] & (b.scores >= score_min)[None, :]
    same_class = a.class_ids[:, None] == b.class_ids[None, :]
    kept = _greedy(np.where(shown & same_class, overlaps, 0.0))
    rows, columns = np.zeros(len(a), np.bool_), np.zeros(len(b), np.bool_)
    rows[[row for row, _ in kept]] = columns[[column for _, column in kept]] = True
    free = ~rows[:, None] & ~columns[None, :]
    flipped = _greedy(np.where(shown & ~same_class & free, overlaps, 0.0))
    rows[[row for row, _ in flipped]] = columns[[column for _, column in flipped]] = True
    lost, new = _left(a, rows, score_min), _left(b, columns, score_min)
    return Pairing(tuple(kept), tuple(float(overlaps[pair]) for pair in kept), tuple(flipped), lost, new)


def iou(a_xyxy: FloatArray, b_xyxy: FloatArray) -> FloatArray:
    """(M, 4), (N, 4) to (M, N) in 0..1."""
    found: FloatArray = iou_matrix(torch.from_numpy(a_xyxy), torch.from_numpy(b_xyxy)).numpy()
    return found


def _greedy(overlaps: FloatArray) -> list[tuple[int, int]]:
    """One-to-one pairs, the largest overlap first; of equal overlaps the better-scored detections (lower rows)."""
    rows, columns = np.nonzero(overlaps >= PAIR_IOU)
    pairs: list[tuple[int, int]] = []
    used_rows, used_columns = set[int](), set[int]()
    for k in np.argsort(-overlaps[rows, columns], kind="stable"):
        row, column = int(rows[k]), int(columns[k])
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column))
    return pairs


def _left(found: Found, paired: BoolArray, score_min: float) -> tuple[int, ...]:
    return tuple(np.flatnonzero((found.scores >= score_min) & ~paired).tolist())

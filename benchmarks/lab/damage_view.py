"""What one file says about one image: its answers, and where the file can be read, all boxes before suppression."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edgedet.benchmarks.lab.damage_pairs import Found, iou
from edgedet.boxes import clip_xyxy
from edgedet.evaluation.tables import BoolArray, FloatArray, IntArray
from edgedet.preprocess import UInt8Image, to_image_px, to_network_pixels
from edgedet.runner import Detections, Runner
from edgedet.spec import NmsSpec

_SAME_BOX = 0.9  # an answer is one of the candidates if it overlaps it this much...
_SAME_SCORE = 0.02  # ... with a score this near: files may answer in another precision than they let read


@dataclass(frozen=True)
class Candidates:
    """All decoded boxes of one image.

    Attributes:
        boxes_xyxy_px: (N, 4) in pixels of the original image, cut to it as detections are; whole_xyxy_px: (N, 4) as
            suppression compared them.
        scores: (N, C) by the data set's classes.
        allowed: (N, C) the classes for which a box is a candidate at all (`NmsSpec.labels_per_box`).
        rows_of_found: (M,) which candidate each of the file's answers was; -1 where none fits.
    """

    boxes_xyxy_px: FloatArray
    whole_xyxy_px: FloatArray
    scores: FloatArray
    allowed: BoolArray
    rows_of_found: IntArray


@dataclass(frozen=True)
class View:
    """One file on one image.

    Attributes:
        found: everything it answers, also below the threshold of an app.
        nms: of the file.
        candidates: None where the file does not let its boxes and scores be read.
        priors: digest of what its rows mean; rows of two files with the same one can be compared.
    """

    found: Found
    nms: NmsSpec
    candidates: Candidates | None
    priors: str


def found_of(detections: Detections, dataset_class_ids: IntArray) -> Found:
    """A runner's answer with the data set's class ids.

    Args:
        dataset_class_ids: (C,) for each class of the detector its index in the data set.
    """
    boxes = detections.boxes_xyxy_px.reshape(-1, 4).astype(np.float64)
    return Found(boxes, detections.scores.astype(np.float64), dataset_class_ids[detections.class_ids])


def view_of(runner: Runner, image: UInt8Image, found: Found, dataset_class_ids: IntArray) -> View:
    """Read the boxes before suppression as well; slow, so only for images in which something changed."""
    spec = runner.spec
    heads = runner.heads(to_network_pixels(image, spec.input))
    priors = f"{spec.input.height}x{spec.input.width} {spec.levels} {spec.coding.kind}"
    if heads.boxes_xyxy_unit is None or heads.scores is None:
        return View(found, spec.nms, None, priors)
    height, width = image.shape[:2]
    boxes = to_image_px(torch.from_numpy(heads.boxes_xyxy_unit).double(), width, height, spec.input)
    inside = clip_xyxy(boxes, width, height)
    scores = np.zeros((len(heads.scores), int(dataset_class_ids.max()) + 1))
    scores[:, dataset_class_ids] = heads.scores
    allowed = np.ones_like(scores, dtype=np.bool_)
    if spec.nms.labels_per_box == "best":
        allowed = scores == scores.max(axis=1, keepdims=True)
    rows = _rows_of_found(found, inside.numpy(), scores)
    return View(found, spec.nms, Candidates(inside.numpy(), boxes.numpy(), scores, allowed, rows), priors)


def _rows_of_found(found: Found, boxes_xyxy_px: FloatArray, scores: FloatArray) -> IntArray:
    """The candidate of a near score that overlaps each answer most."""
    overlaps = iou(boxes_xyxy_px, found.boxes_xyxy_px)
    near_score = np.abs(scores[:, found.class_ids] - found.scores[None]) <= _SAME_SCORE
    overlaps = np.where(near_score, overlaps, -1.0)
    rows = overlaps.argmax(axis=0)
    return np.where(overlaps.max(axis=0, initial=-1.0) >= _SAME_BOX, rows, -1)

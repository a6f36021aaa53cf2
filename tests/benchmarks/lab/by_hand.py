"""Detectors made by hand: boxes and scores before suppression are chosen, suppression is the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from edgedet.data import Dataset, GroundTruth, Sample
from edgedet.nms import non_maximum_suppression
from edgedet.runner import HeadOutputs, Runner, UnitDetections
from edgedet.spec import DetectorSpec
from tests.small_models import small_spec

SIDE_PX = 200
CLASSES = ("disc", "square", "triangle")
Row = tuple[tuple[float, float, float, float], tuple[float, float, float]]


class HandRunner(Runner):
    """Answers with the same candidates for every picture: rows of a box in pixels and the scores of three classes."""

    def __init__(self, rows: Sequence[Row], spec: DetectorSpec, path: Path, readable: bool = True) -> None:
        super().__init__(path, spec, "onnx", "fp32", "by hand")
        self.boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4) / SIDE_PX
        self.scores = np.array([scores for _, scores in rows], np.float32).reshape(-1, 3)
        self.readable = readable

    def infer(self, network_pixels: Tensor) -> UnitDetections:
        kept = non_maximum_suppression(torch.from_numpy(self.boxes), torch.from_numpy(self.scores), self.spec.nms)
        boxes = self.boxes[kept.prior_indices.numpy()]
        return UnitDetections(boxes, kept.scores.numpy(), kept.class_ids.numpy())

    def heads(self, network_pixels: Tensor) -> HeadOutputs:
        if not self.readable:
            return HeadOutputs(None, None, None, None)
        return HeadOutputs(None, None, self.boxes, self.scores)


def hand_runner(rows: Sequence[Row], readable: bool = True, **nms: float) -> HandRunner:
    spec = small_spec("yolov3_tiny", class_names=CLASSES)
    return HandRunner(rows, replace(spec, nms=replace(spec.nms, **nms)), Path("by_hand.onnx"), readable)


def one_picture(folder: Path, objects: Sequence[tuple[tuple[float, float, float, float], int]]) -> Dataset:
    """A data set of one grey picture with these boxes in pixels and class ids."""
    path = folder / "picture.png"
    Image.new("RGB", (SIDE_PX, SIDE_PX), (90, 90, 90)).save(path)
    boxes = np.array([box for box, _ in objects], np.float32).reshape(-1, 4)
    none = np.zeros(len(objects), np.bool_)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    truth = GroundTruth(boxes, np.array([k for _, k in objects], np.int64), none, none, areas)
    return Dataset(folder, "voc", "test", CLASSES, (Sample(path, SIDE_PX, SIDE_PX, truth),))

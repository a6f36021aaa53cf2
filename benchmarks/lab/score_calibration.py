"""Does a score mean what it says? Score against precision (Guo et al. 2017, On Calibration of Modern Neural Networks).

A detection is right when it is the first on an object of its class, with IoU of at least 0.5; what lies on difficult
objects does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedet.evaluation import voc
from edgedet.evaluation.tables import BoolArray, DetectionTable, FloatArray, ObjectTable

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Detections with scores from `low` to `high`: their number, mean score and precision; NaN where there are none."""

    low: float
    high: float
    count: int
    mean_score: float
    precision: float


@dataclass(frozen=True)
class Calibration:
    """One file's bins; `error` is the expected calibration error: the mean distance of score and precision, weighted
    by the number of detections; NaN where nothing was found.
    """

    bins: tuple[Bin, ...]
    error: float


def calibration(detections: DetectionTable, objects: ObjectTable) -> Calibration:
    """Of all detections a file gives, whatever their class."""
    matching = voc.match(detections, objects)
    counted = ~matching.ignored
    return _of(detections.scores[counted], matching.true_positive[counted])


def _of(scores: FloatArray, right: BoolArray) -> Calibration:
    edges = np.arange(BINS + 1) / BINS
    numbers = np.clip(np.digitize(scores, edges) - 1, 0, BINS - 1)
    bins = []
    for k in range(BINS):
        inside = numbers == k
        count = int(inside.sum())
        means = (float(scores[inside].mean()), float(right[inside].mean())) if count else (float("nan"),) * 2
        bins.append(Bin(float(edges[k]), float(edges[k + 1]), count, *means))
    distances = [b.count * abs(b.mean_score - b.precision) for b in bins if b.count]
    return Calibration(tuple(bins), sum(distances) / len(scores) if len(scores) else float("nan"))

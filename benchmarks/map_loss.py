"""How much accuracy a file loses against the network, and how sure that is.

Both saw the same images, so images are resampled in pairs: a draw of images gives both their average precision, and
their difference. What is hard for both cancels, as it does in a paired test (Efron 1979, percentile interval).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgedet.errors import NotRunError
from edgedet.evaluation import EvalResult
from edgedet.evaluation.coco import evaluate_coco
from edgedet.evaluation.tables import detection_table, object_table
from edgedet.progress import track

RESAMPLES = 200
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class MapLoss:
    """COCO AP of the reference minus that of the file, with its 95 % interval; above 0 the file is worse."""

    value: float
    interval: tuple[float, float]


def map_loss(reference: EvalResult, result: EvalResult, resamples: int = RESAMPLES, seed: int = 0) -> MapLoss:
    """Compare two evaluations of the same images.

    Raises:
        NotRunError: no object is labelled in them.
    """
    rng = np.random.default_rng(seed)
    n = len(reference.dataset)
    drawn = []
    for _ in track(range(resamples), "interval of the mAP loss"):
        images = rng.integers(0, n, n).tolist()
        drawn.append(_ap_of(reference, images) - _ap_of(result, images))
    known = [value for value in drawn if not np.isnan(value)]  # a draw without any object has no AP
    if not known:
        raise NotRunError("no object is labelled in these images", "Give --data with objects.")
    low, high = np.percentile(known, (50 * (1 - _CONFIDENCE), 50 * (1 + _CONFIDENCE)))
    return MapLoss(reference.metrics["coco_ap"] - result.metrics["coco_ap"], (float(low), float(high)))


def _ap_of(result: EvalResult, images: list[int]) -> float:
    """COCO AP of some of the images, some of them several times."""
    dataset = replace(result.dataset, samples=tuple(result.dataset.samples[k] for k in images))
    names = result.source.class_names or dataset.class_names
    class_ids = np.array([dataset.class_names.index(name) for name in names], dtype=np.int64)
    found = detection_table([result.detections[k] for k in images], class_ids)
    return evaluate_coco(dataset, found, object_table(dataset)).metrics["coco_ap"]

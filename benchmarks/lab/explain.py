"""Two files run over the same images, and everything that differs explained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedet.benchmarks.lab.damage import Box, Change, Damage, Kept
from edgedet.benchmarks.lab.damage_accuracy import ap_changes
from edgedet.benchmarks.lab.damage_causes import cause_of
from edgedet.benchmarks.lab.damage_pairs import Pairing, pair
from edgedet.benchmarks.lab.damage_view import View, found_of, view_of
from edgedet.benchmarks.lab.operating_point import operating_points
from edgedet.benchmarks.lab.score_calibration import calibration
from edgedet.data import Dataset, load_image
from edgedet.errors import ConfigError
from edgedet.evaluation import EvalResult, evaluate, voc
from edgedet.evaluation.confusion import DEPLOYMENT_SCORE_MIN
from edgedet.evaluation.tables import BoolArray, DetectionTable, IntArray, ObjectTable, detection_table, object_table
from edgedet.progress import track
from edgedet.runner import Runner


def explain(
    a: Runner, b: Runner, dataset: Dataset, score_min: float | None = None, max_images: int | None = None
) -> Damage:
    """Run two files over a split and compare what they find.

    Args:
        a: the file to measure by, mostly the float one.
        b: the other one; any format, also of another network with the same classes.
        score_min: from which a detection is shown; None takes 0.3, or what the files have baked in where that is more.
        max_images: compare this many, spread evenly.

    Raises:
        ConfigError: a threshold below what a file has baked in.
        DataError: the classes differ, the split is empty, an image cannot be read.
    """
    score_min = _threshold(a, b, score_min)
    before, after = (evaluate(runner, dataset, max_images) for runner in (a, b))
    dataset = before.dataset
    found_a, found_b = _table(before), _table(after)
    objects, names = object_table(dataset), dataset.class_names
    changes, kept = _compare(a, b, before, after, score_min)
    return Damage(
        before,
        after,
        score_min,
        shown_a=int(np.sum(found_a.scores >= score_min)),
        shown_b=int(np.sum(found_b.scores >= score_min)),
        changes=changes,
        kept=kept,
        ap=ap_changes(dataset, objects, found_a, found_b),
        points=operating_points(names, objects, found_a, found_b, score_min),
        calibration_a=calibration(found_a, objects),
        calibration_b=calibration(found_b, objects),
    )


def _threshold(a: Runner, b: Runner, score_min: float | None) -> float:
    baked = max(runner.spec.nms.score_min for runner in (a, b))
    if score_min is None:
        return max(DEPLOYMENT_SCORE_MIN, baked)
    if not baked <= score_min <= 1:
        raise ConfigError(
            f"--score-min {score_min:g}: a file has {baked:g} baked in, so boxes below are not in its output",
            f"Give a number from {baked:g} to 1, or export that file with a lower --score-min.",
        )
    return score_min


def _class_ids(result: EvalResult) -> IntArray:
    """For each class of the detector its index in the data set that was evaluated."""
    names = result.source.class_names or result.dataset.class_names
    return np.array([result.dataset.class_names.index(name) for name in names], dtype=np.int64)


def _table(result: EvalResult) -> DetectionTable:
    return detection_table(result.detections, _class_ids(result))


def _compare(
    a: Runner, b: Runner, before: EvalResult, after: EvalResult, score_min: float
) -> tuple[tuple[Change, ...], Kept]:
    """Image by image; heads are read only where something changed."""
    dataset, objects = before.dataset, object_table(before.dataset)
    sides = [
        _Side(runner, result, _class_ids(result), _right_by_image(result, objects))
        for runner, result in ((a, before), (b, after))
    ]
    changes: list[Change] = []
    kept: list[tuple[float, float, float]] = []
    for image in track(range(len(dataset)), "compare"):
        found = [found_of(side.result.detections[image], side.class_ids) for side in sides]
        pairing = pair(found[0], found[1], score_min)
        for (i, j), overlap in zip(pairing.kept, pairing.kept_iou, strict=True):
            kept.append((float(found[0].scores[i]), float(found[1].scores[j]), overlap))
        if pairing.lost or pairing.new or pairing.flipped:
            pixels = load_image(dataset.samples[image].image_path)
            views = [view_of(side.runner, pixels, f, side.class_ids) for side, f in zip(sides, found, strict=True)]
            right = [side.right[image] for side in sides]
            changes += _changes(image, pairing, views[0], views[1], right[0], right[1], score_min)
    return tuple(changes), Kept(*np.array(kept, dtype=np.float64).reshape(-1, 3).T)


@dataclass(frozen=True)
class _Side:
    runner: Runner
    result: EvalResult
    class_ids: IntArray
    right: list[BoolArray]


def _right_by_image(result: EvalResult, objects: ObjectTable) -> list[BoolArray]:
    """For each image which detections are labelled objects found."""
    flags = voc.match(_table(result), objects).true_positive
    return np.split(flags, np.cumsum([len(found) for found in result.detections])[:-1])


def _changes(
    image: int, pairing: Pairing, a: View, b: View, right_a: BoolArray, right_b: BoolArray, score_min: float
) -> list[Change]:
    lost = [
        Change("lost", image, *_shown(a, i), *_SHOWS_NOTHING, bool(right_a[i]), cause_of(a, i, b, score_min))
        for i in pairing.lost
    ]
    new = [
        Change("new", image, *_SHOWS_NOTHING, *_shown(b, j), bool(right_b[j]), cause_of(b, j, a, score_min))
        for j in pairing.new
    ]
    flipped = [
        Change("flipped", image, *_shown(a, i), *_shown(b, j), bool(right_a[i]), cause_of(a, i, b, score_min))
        for i, j in pairing.flipped
    ]
    return lost + new + flipped


_SHOWS_NOTHING = (None, None, None)


def _shown(view: View, row: int) -> tuple[int, float, Box]:
    found = view.found
    box = tuple(round(float(side), 2) for side in found.boxes_xyxy_px[row])
    return int(found.class_ids[row]), float(found.scores[row]), box

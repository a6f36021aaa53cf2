"""Accuracy of any runner on any data set: the same function for model.pt and for every exported file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgedet.data.classes import with_classes
from edgedet.data.image import load_image
from edgedet.data.types import Dataset
from edgedet.errors import DataError, EdgedetError
from edgedet.evaluation import voc
from edgedet.evaluation.coco import CocoResult, evaluate_coco
from edgedet.evaluation.confusion import (
    DEPLOYMENT_SCORE_MIN,
    Confusion,
    Example,
    assign,
    confusion,
    worst_examples,
)
from edgedet.evaluation.tables import DetectionTable, IntArray, detection_table, object_table
from edgedet.evaluation.voc import PrecisionRecall
from edgedet.files import file_digest
from edgedet.preprocess import UInt8Image
from edgedet.progress import progress_bar, track
from edgedet.runner import Detections
from edgedet.spec import DetectorSpec

SCHEMA = 1
IOU_MIN = 0.5  # of the VOC metrics, the curves and the confusion matrix


class Detector(Protocol):
    """What can be evaluated: every edgedet.Runner, and any callable with a spec."""

    @property
    def spec(self) -> DetectorSpec: ...

    def __call__(self, image_u8_hwc: UInt8Image) -> Detections: ...


@dataclass(frozen=True)
class Source:
    """Where detections come from, as reports print it.

    Attributes:
        artifact: the file that was run; runtime: what ran it, with version; precision: "fp32", "fp16", ...
        score_min: the file's own score threshold; accuracy depends on it. None where it is not known.
        class_names: the detector's labels; None where they are the data set's.
        tree: whether they are a tree, of which a data set need not know every class.
        sha256: of exactly the file (or the folder's files) that was run; "" where there is none.
    """

    artifact: str = ""
    runtime: str = ""
    precision: str = ""
    score_min: float | None = None
    class_names: tuple[str, ...] | None = None
    tree: bool = False
    sha256: str = ""

    @staticmethod
    def of(detector: Detector) -> Source:
        """Read from a runner; what a bare callable lacks is named after its type."""
        kind = type(detector).__name__
        path, runtime = getattr(detector, "path", kind), getattr(detector, "runtime", kind)
        precision = getattr(detector, "precision", "")
        spec, nms = detector.spec, detector.spec.nms
        sha256 = file_digest(path)[0] if isinstance(path, Path) and path.exists() else ""
        return Source(str(path), runtime, precision, nms.score_min, spec.class_names, bool(spec.class_parents), sha256)


@dataclass(frozen=True)
class EvalResult:
    """Accuracy of one detector on one split.

    Attributes:
        source: what was evaluated.
        dataset: the images it was evaluated on (a part of the split after `max_images`).
        detections: one entry per image of `dataset`, class ids as the detector gave them.
        metrics: numbers in 0..1, NaN where the data set has no object to decide them: those of
            edgedet.evaluation.coco.CocoResult, "voc07_map" and "voc10_map" (means over classes that have objects).
        per_class: by class name: "coco_ap", "coco_ap50", "coco_ap75", "voc07_ap", "voc10_ap", and the counts "objects"
            (that had to be found) and "detections".
        curves: precision and recall by class name, at IoU 0.5.
        confusion: at IoU 0.5, for detections an app would show.
        examples: the images with the gravest mistakes of that kind.
        wall_s: seconds for loading images, detecting and computing the metrics.
    """

    source: Source
    dataset: Dataset
    detections: list[Detections]
    metrics: dict[str, float]
    per_class: dict[str, dict[str, float]]
    curves: dict[str, PrecisionRecall]
    confusion: Confusion
    examples: tuple[Example, ...]
    wall_s: float

    def to_json(self) -> dict[str, Any]:
        """The versioned JSON form; undefined numbers are null."""
        return {
            "schema": SCHEMA,
            "artifact": self.source.artifact,
            "sha256": self.source.sha256,
            "runtime": self.source.runtime,
            "precision": self.source.precision,
            "score_min": self.source.score_min,
            "dataset": self.dataset.root.name,
            "split": self.dataset.split,
            "images": len(self.dataset),
            "wall_s": round(self.wall_s, 3),
            "metrics": _nan_to_none(self.metrics),
            "per_class": {name: _nan_to_none(values) for name, values in self.per_class.items()},
        }


def evaluate(detector: Detector, dataset: Dataset, max_images: int | None = None, progress: bool = True) -> EvalResult:
    """Run a detector over a split and measure its accuracy.

    Args:
        detector: a Runner, or any callable image -> Detections with a `spec`.
        dataset: its class names must be the detector's, in any order. Where these are a tree, they must be some of its
            classes, and each detection counts for the class that it names: one of "dog" is right for an object
            labelled "dog", and wrong for one labelled "husky", although a husky is a dog. Classes without any object,
            such as inner ones of a data set that labels leaves, do not enter the means.
        max_images: evaluate this many images, spread evenly over the split; None for all.
        progress: show a bar on stderr.

    Raises:
        DataError: classes differ, the split is empty, an image is unreadable.
    """
    start = time.perf_counter()
    source = Source.of(detector)
    part = _in_tree(subset(dataset, max_images), source)
    _dataset_class_ids(part, source)  # refuse before an hour of inference, not after
    samples = track(part.samples, f"evaluate {source.artifact}") if progress else part.samples
    detections = [detector(load_image(sample.image_path)) for sample in samples]
    result = evaluate_detections(part, detections, source, progress=progress)
    return replace(result, wall_s=time.perf_counter() - start)


def evaluate_detections(
    dataset: Dataset, detections: Sequence[Detections], source: Source | None = None, *, progress: bool = False
) -> EvalResult:
    """Measure detections that were made before.

    Args:
        detections: one entry per image of `dataset`, in its order.
        source: what made them; its class names say what their class ids mean.

    Raises:
        DataError: classes differ, the split is empty.
        EdgedetError: a detection holds NaN.
        ValueError: another number of entries than images.
    """
    if len(detections) != len(dataset):
        raise ValueError(f"{len(detections)} entries of detections for {len(dataset)} images")
    start, source = time.perf_counter(), source or Source()
    dataset = _in_tree(dataset, source)
    class_ids = _dataset_class_ids(dataset, source)
    _refuse_nan(dataset, detections, source)
    objects, found = object_table(dataset), detection_table(detections, class_ids)
    names = dataset.class_names
    with _steps("metrics", 3, progress) as step_done:
        curves = voc.curves(found, objects, len(names), IOU_MIN)
        step_done()
        score_min = max(DEPLOYMENT_SCORE_MIN, source.score_min or 0.0)
        assignment = assign(found, objects, score_min, IOU_MIN)
        matrix = confusion(found, objects, assignment, names, score_min, IOU_MIN)
        examples = worst_examples(found, objects, assignment, names)
        step_done()
        coco = evaluate_coco(dataset, found, objects)
        step_done()
    metrics = {**coco.metrics, **_voc_means(curves)}
    per_class = _per_class(names, coco, curves, found)
    by_name = dict(zip(names, curves, strict=True))
    wall_s = time.perf_counter() - start
    return EvalResult(source, dataset, list(detections), metrics, per_class, by_name, matrix, examples, wall_s)


@contextmanager
def _steps(description: str, total: int, progress: bool) -> Iterator[Callable[[], None]]:
    """A bar of steps, or nothing at all: the caller may have a bar of its own, and two cannot be shown at once."""
    if not progress:
        yield lambda: None
        return
    with progress_bar() as bar:
        task = bar.add_task(description, total=total)
        yield lambda: bar.advance(task)


def subset(dataset: Dataset, max_images: int | None) -> Dataset:
    """This many images, spread evenly over the split; None for all."""
    if max_images is not None and max_images < 1:
        raise EdgedetError(f"max_images is {max_images}", "Give a number of images from 1, or none for all.")
    if max_images is None or max_images >= len(dataset):
        return dataset
    chosen = np.linspace(0, len(dataset) - 1, max_images).round().astype(int)
    return replace(dataset, samples=tuple(dataset.samples[i] for i in chosen))


def _in_tree(dataset: Dataset, source: Source) -> Dataset:
    """The data set with all classes of a detector's tree, of which it may label some only."""
    return with_classes(dataset, source.class_names) if source.tree and source.class_names else dataset


def _dataset_class_ids(dataset: Dataset, source: Source) -> IntArray:
    """For each class of the detector its index in the data set. Classes agree by name, whatever their order."""
    if not dataset.samples:
        raise DataError(f"{dataset.root}: the split {dataset.split!r} holds no images", "Choose another with --split.")
    detected = dataset.class_names if source.class_names is None else source.class_names
    detector = source.artifact or "the detector"
    remedy = "Evaluate on a data set with the detector's classes, or train with this one."
    if unlabelled := [name for name in detected if name not in dataset.class_names]:
        raise DataError(f"{dataset.root}: has no class {_listed(unlabelled)}, which {detector} detects", remedy)
    if undetected := [name for name in dataset.class_names if name not in detected]:
        raise DataError(f"{detector}: cannot detect the class {_listed(undetected)} of {dataset.root}", remedy)
    return np.array([dataset.class_names.index(name) for name in detected], dtype=np.int64)


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _refuse_nan(dataset: Dataset, detections: Sequence[Detections], source: Source) -> None:
    for sample, found in zip(dataset.samples, detections, strict=True):
        if not (np.isfinite(found.boxes_xyxy_px).all() and np.isfinite(found.scores).all()):
            raise EdgedetError(
                f"{source.artifact or 'the detector'}: its detections in {sample.image_path} are not finite numbers",
                "The network or its precision is broken: train it again, or export it in fp32.",
            )


def _voc_means(curves: Sequence[PrecisionRecall]) -> dict[str, float]:
    counted = [curve for curve in curves if curve.num_objects]
    if not counted:
        return {"voc07_map": math.nan, "voc10_map": math.nan}
    return {
        "voc07_map": float(np.mean([curve.ap_11point() for curve in counted])),
        "voc10_map": float(np.mean([curve.ap_area() for curve in counted])),
    }


def _per_class(
    names: Sequence[str], coco: CocoResult, curves: Sequence[PrecisionRecall], found: DetectionTable
) -> dict[str, dict[str, float]]:
    counts = np.bincount(found.class_ids, minlength=len(names))
    return {
        name: {
            "coco_ap": float(coco.ap[i]),
            "coco_ap50": float(coco.ap50[i]),
            "coco_ap75": float(coco.ap75[i]),
            "voc07_ap": curves[i].ap_11point(),
            "voc10_ap": curves[i].ap_area(),
            "objects": curves[i].num_objects,
            "detections": int(counts[i]),
        }
        for i, name in enumerate(names)
    }


def _nan_to_none(values: dict[str, float]) -> dict[str, float | None]:
    return {key: None if math.isnan(value) else value for key, value in values.items()}

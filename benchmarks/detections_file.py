"""Detections of a whole split as a file, so that metrics and pictures can be made again without running the model."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from edgedet.data import Dataset
from edgedet.errors import EdgedetError
from edgedet.evaluation import EvalResult, Source, evaluate_detections
from edgedet.files import write_json
from edgedet.runner import Detections

SCHEMA = 1


def write_detections(path: Path, result: EvalResult) -> None:
    """Write what a detector found, one entry an image, in the order of the data set."""
    images = [
        {
            "image": sample.image_path.name,
            "boxes_xyxy_px": found.boxes_xyxy_px.tolist(),
            "scores": found.scores.tolist(),
            "class_ids": found.class_ids.tolist(),
        }
        for sample, found in zip(result.dataset.samples, result.detections, strict=True)
    ]
    write_json(path, {"schema": SCHEMA, "source": asdict(result.source), "wall_s": result.wall_s, "images": images})


def read_detections(path: Path, dataset: Dataset) -> EvalResult:
    """The evaluation of the detections in a file.

    Args:
        dataset: the one they were made on.

    Raises:
        EdgedetError: the file is missing or damaged, or of other images.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        names = [image["image"] for image in value["images"]]
        found = [_detections(image) for image in value["images"]]
        classes = value["source"]["class_names"]
        source = Source(**{**value["source"], "class_names": None if classes is None else tuple(classes)})
        wall_s = float(value["wall_s"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EdgedetError(f"{path}: detections cannot be read ({error})", "Remove the file and run again.") from error
    if names != [sample.image_path.name for sample in dataset.samples]:
        raise EdgedetError(f"{path}: was made on other images than {dataset.root}", "Remove the file and run again.")
    return replace(evaluate_detections(dataset, found, source), wall_s=wall_s)


def _detections(image: dict[str, list[float]]) -> Detections:
    return Detections(
        np.array(image["boxes_xyxy_px"], np.float32).reshape(-1, 4),
        np.array(image["scores"], np.float32),
        np.array(image["class_ids"], np.int64),
    )

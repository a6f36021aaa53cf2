"""Data sets and detections written down by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedet.data.types import Dataset, GroundTruth, Sample
from edgedet.evaluation.tables import DetectionTable, ObjectTable, detection_table, object_table
from edgedet.runner import Detections

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Thing:
    """A labelled object."""

    box: Box
    class_id: int = 0
    difficult: bool = False
    crowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class Hit:
    """A detection."""

    box: Box
    score: float
    class_id: int = 0


def truth(things: Sequence[Thing]) -> GroundTruth:
    boxes = np.array([t.box for t in things], dtype=np.float32).reshape(-1, 4)
    own_areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return GroundTruth(
        boxes,
        np.array([t.class_id for t in things], dtype=np.int64),
        np.array([t.difficult for t in things], dtype=bool),
        np.array([t.crowd for t in things], dtype=bool),
        np.array([a if t.area is None else t.area for t, a in zip(things, own_areas, strict=True)], dtype=np.float32),
    )


def dataset(images: Sequence[Sequence[Thing]], class_names: Sequence[str] = ("thing",)) -> Dataset:
    samples = [Sample(Path(f"{i}.png"), 1000, 1000, truth(things)) for i, things in enumerate(images)]
    return Dataset(Path("set"), "voc", "test", tuple(class_names), tuple(samples))


def detections(images: Sequence[Sequence[Hit]]) -> list[Detections]:
    return [
        Detections(
            np.array([h.box for h in hits], dtype=np.float32).reshape(-1, 4),
            np.array([h.score for h in hits], dtype=np.float32),
            np.array([h.class_id for h in hits], dtype=np.int64),
        )
        for hits in images
    ]


def tables(data: Dataset, found: list[Detections]) -> tuple[DetectionTable, ObjectTable]:
    return detection_table(found, np.arange(len(data.class_names))), object_table(data)


def spot(index: int) -> Box:
    """Boxes of 10 x 10 px, none overlapping another."""
    return (20.0 * index, 0.0, 20.0 * index + 10, 10.0)


def vector(num_objects: int, outcomes: str) -> tuple[Dataset, list[Detections]]:
    """One image; outcomes such as "TFT", best score first: T is exactly on the next object, F is far from all."""
    hits, next_object = [], 0
    for rank, outcome in enumerate(outcomes):
        box = spot(next_object) if outcome == "T" else (0.0, 500.0 + 20 * rank, 10.0, 510.0 + 20 * rank)
        next_object += outcome == "T"
        hits.append(Hit(box, 0.9 - 0.05 * rank))
    return dataset([[Thing(spot(i)) for i in range(num_objects)]]), detections([hits])

"""What a data set holds, as numbers: objects per class and per picture, sizes and shapes of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedet.data.types import Dataset

FloatArray = npt.NDArray[np.float64]

# COCO's size ranges, by area in square pixels (pycocotools' areaRng): small below 32^2, large from 96^2 on.
SMALL_BELOW_PX2, LARGE_FROM_PX2 = 32.0**2, 96.0**2
_QUANTILES = {"min": 0.0, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True)
class Quantiles:
    """Spread of a quantity; linear interpolation between values. `mean` is the arithmetic mean."""

    mean: float
    min: float
    p5: float
    p25: float
    p50: float
    p75: float
    p95: float
    max: float


@dataclass(frozen=True)
class ClassCount:
    """Objects of one class, their share of all objects, and how many pictures hold at least one."""

    name: str
    objects: int
    images: int
    share: float


@dataclass(frozen=True)
class Statistics:
    """Numbers of one split. Quantiles are None where there is nothing to measure.

    Attributes:
        empty_images: pictures without any object.
        difficult, crowd: objects with that flag; they are among `objects`.
        small, medium, large: objects by COCO's ranges of area (32^2, 96^2 px).
        class_balance: entropy of the classes' shares over that of equal shares: 1 for equally many objects of every
            class, 0 for one class alone. None for fewer than two classes or no objects.
        cooccurrence: (C, C) pictures that hold both classes; on the diagonal those that hold the class.
        image_width_px, image_height_px, image_aspect (width / height), objects_per_image: over pictures.
        box_*: over objects, in pixels of the original picture; aspect is width / height, area_share the box's
            area over its picture's.
    """

    split: str
    images: int
    objects: int
    empty_images: int
    difficult: int
    crowd: int
    small: int
    medium: int
    large: int
    classes: tuple[ClassCount, ...]
    class_balance: float | None
    cooccurrence: tuple[tuple[int, ...], ...]
    image_width_px: Quantiles
    image_height_px: Quantiles
    image_aspect: Quantiles
    objects_per_image: Quantiles
    box_width_px: Quantiles | None
    box_height_px: Quantiles | None
    box_area_px2: Quantiles | None
    box_area_share: Quantiles | None
    box_aspect: Quantiles | None
    left_out: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class BoxTable:
    """All boxes of a split, one row an object.

    Attributes:
        wh_px: (M, 2) width and height.
        image_wh_px: (M, 2) of the picture the box is in.
        class_ids: (M,) and image_ids: (M,), the index of the sample.
        area_px2: (M,) as annotated (COCO's segmentation area where given).
    """

    wh_px: FloatArray
    image_wh_px: FloatArray
    class_ids: npt.NDArray[np.int64]
    image_ids: npt.NDArray[np.int64]
    area_px2: FloatArray


def box_table(dataset: Dataset) -> BoxTable:
    """Boxes of all samples under each other."""
    boxes = np.concatenate([s.objects.boxes_xyxy_px for s in dataset.samples]).astype(np.float64).reshape(-1, 4)
    counts = [len(s.objects) for s in dataset.samples]
    sizes = np.array([(s.width_px, s.height_px) for s in dataset.samples], dtype=np.float64)
    return BoxTable(
        wh_px=boxes[:, 2:] - boxes[:, :2],
        image_wh_px=np.repeat(sizes, counts, axis=0),
        class_ids=np.concatenate([s.objects.class_ids for s in dataset.samples]),
        image_ids=np.repeat(np.arange(len(counts)), counts),
        area_px2=np.concatenate([s.objects.area_px2 for s in dataset.samples]).astype(np.float64),
    )


def statistics(dataset: Dataset) -> Statistics:
    """Numbers of a split that was read."""
    table = box_table(dataset)
    width, height = table.wh_px[:, 0], table.wh_px[:, 1]
    counts = [len(s.objects) for s in dataset.samples]
    return Statistics(
        split=dataset.split,
        images=len(dataset),
        objects=sum(counts),
        empty_images=counts.count(0),
        difficult=sum(int(s.objects.difficult.sum()) for s in dataset.samples),
        crowd=sum(int(s.objects.crowd.sum()) for s in dataset.samples),
        small=int((table.area_px2 < SMALL_BELOW_PX2).sum()),
        medium=int(((table.area_px2 >= SMALL_BELOW_PX2) & (table.area_px2 < LARGE_FROM_PX2)).sum()),
        large=int((table.area_px2 >= LARGE_FROM_PX2).sum()),
        classes=_class_counts(dataset.class_names, table),
        class_balance=_balance(np.bincount(table.class_ids, minlength=len(dataset.class_names))),
        cooccurrence=tuple(map(tuple, cooccurrence(dataset).tolist())),
        image_width_px=_spread([s.width_px for s in dataset.samples]),
        image_height_px=_spread([s.height_px for s in dataset.samples]),
        image_aspect=_spread([s.width_px / s.height_px for s in dataset.samples]),
        objects_per_image=_spread(counts),
        box_width_px=_spread_or_none(width),
        box_height_px=_spread_or_none(height),
        box_area_px2=_spread_or_none(width * height),
        box_area_share=_spread_or_none(width * height / table.image_wh_px.prod(axis=1)),
        box_aspect=_spread_or_none(width / height),
        left_out=dataset.left_out,
    )


def _class_counts(names: Sequence[str], table: BoxTable) -> tuple[ClassCount, ...]:
    found = []
    for class_id, name in enumerate(names):
        mine = table.class_ids == class_id
        share = float(mine.mean()) if len(mine) else 0.0
        found.append(ClassCount(name, int(mine.sum()), len(np.unique(table.image_ids[mine])), share))
    return tuple(found)


def cooccurrence(dataset: Dataset) -> npt.NDArray[np.int64]:
    """(C, C) number of pictures that hold an object of both classes."""
    present = np.zeros((len(dataset), len(dataset.class_names)), dtype=np.int64)
    for row, sample in enumerate(dataset.samples):
        present[row, sample.objects.class_ids] = 1
    together: npt.NDArray[np.int64] = present.T @ present
    return together


def _balance(counts: npt.NDArray[np.int64]) -> float | None:
    """Normalised Shannon entropy (Pielou's evenness)."""
    if len(counts) < 2 or not counts.any():
        return None
    shares = counts[counts > 0] / counts.sum()
    return abs(float((shares * np.log(shares)).sum())) / float(np.log(len(counts)))


def _spread(values: Sequence[float] | FloatArray) -> Quantiles:
    array = np.asarray(values, dtype=np.float64)
    levels = np.quantile(array, list(_QUANTILES.values()))
    return Quantiles(float(array.mean()), **{name: float(v) for name, v in zip(_QUANTILES, levels, strict=True)})


def _spread_or_none(values: FloatArray) -> Quantiles | None:
    return _spread(values) if len(values) else None

"""What a reader finds in annotation files, before pictures are looked at and before anything is judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgedet.data.faults import Fault
from edgedet.data.turn import Corners


@dataclass(frozen=True)
class RawObject:
    """One annotated object.

    Attributes:
        class_name: label; may be one the data set does not have.
        xyxy: 0-based continuous corners, in pixels, or in 0..1 of the picture where RawImage.unit_boxes. NaN where the
            file holds no number.
        where: place in the annotation file, e.g. "object 3" or "line 12".
        given: the box as the file writes it, for messages.
        difficult, crowd: VOC's and COCO's flags.
        area_px2: COCO's segmentation area; None for the box's own.
    """

    class_name: str
    xyxy: Corners
    where: str
    given: str
    difficult: bool = False
    crowd: bool = False
    area_px2: float | None = None


@dataclass(frozen=True)
class RawImage:
    """One picture as the annotations describe it.

    Attributes:
        image_path: where the picture should be; it may be missing.
        annotation_path: the file that describes it.
        declared_wh: width and height the annotation declares; None where it declares none.
        unit_boxes: boxes are in 0..1 of the shown picture instead of pixels.
    """

    image_path: Path
    annotation_path: Path
    declared_wh: tuple[int, int] | None
    objects: tuple[RawObject, ...]
    unit_boxes: bool = False


@dataclass(frozen=True)
class RawSplit:
    """Everything a reader finds for one split, and what it could not parse."""

    images: tuple[RawImage, ...]
    faults: tuple[Fault, ...] = ()


def number(text: object) -> float:
    """A coordinate as the file writes it; NaN where it is no number."""
    try:
        return float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")


def declared_size(width: object, height: object) -> tuple[int, int] | None:
    """A declared size, None where it is missing, not a number or zero (some tools write 0 for "unknown")."""
    sides = number(width), number(height)
    if not all(1 <= side < 1e6 and side == int(side) for side in sides):
        return None
    return int(sides[0]), int(sides[1])

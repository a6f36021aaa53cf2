"""From what a reader found to a Sample: pictures are looked at, boxes are turned, clipped, judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgedet.data.faults import Fault, fault
from edgedet.data.image import ImageHeader, read_header
from edgedet.data.raw import RawImage, RawObject
from edgedet.data.turn import TURNS, Corners
from edgedet.data.types import GroundTruth, Sample
from edgedet.errors import DataError

_UNBOUNDED_WH = (1 << 20, 1 << 20)  # where no size is known, boxes are only judged for being boxes
ROUNDING_PX = 1.0  # a box no further outside is a matter of counting from 0 or 1, not a wrong box
_NORMALISED_ROUNDING_PX = 1e-2  # six decimals of a unit coordinate, on a side of 10,000 px
_SURELY_NOT_EMPTY_PX = 0.1  # far above the spacing of float32 at any coordinate of a picture


@dataclass(frozen=True)
class Resolved:
    """A picture that can be used (or None), and everything that is wrong with it."""

    sample: Sample | None
    faults: tuple[Fault, ...]


def resolve(image: RawImage, class_ids: Mapping[str, int]) -> Resolved:
    """Check a picture's header and objects against each other and put them into their final form.

    The picture is not decoded. Boxes are clipped to it; what is then empty, not a number or of unknown class goes.

    Args:
        image: what the reader found.
        class_ids: class name to class_id.
    """
    header, faults = _usable_header(image)
    usable = not faults
    if usable and _in_stored_frame(image, header):
        faults = [_not_turned(image, header)]
    width, height = header.shown_wh
    kept: list[tuple[RawObject, int, Corners]] = []
    for item in image.objects:
        corners = _to_shown_px(item, image, header)
        found = _judge(item, corners, image, header, class_ids)
        faults += found
        if all(f.effect == "kept" for f in found):
            kept.append((item, class_ids[item.class_name], _clip(corners, width, height)))
    sample = Sample(image.image_path, width, height, _ground_truth(kept)) if usable else None
    return Resolved(sample, tuple(faults))


def _usable_header(image: RawImage) -> tuple[ImageHeader, list[Fault]]:
    """The picture's header; or the declared size, against which objects can still be judged, and what is wrong."""
    declared = ImageHeader(image.declared_wh or _UNBOUNDED_WH)
    try:
        header = read_header(image.image_path)
    except DataError as error:
        kind = "unreadable_image" if image.image_path.exists() else "missing_image"
        return declared, [fault(kind, image.annotation_path, error.what, remedy=error.remedy)]
    return (declared, [_size_fault(image, header)]) if _size_differs(image, header) else (header, [])


def _size_differs(image: RawImage, header: ImageHeader) -> bool:
    return image.declared_wh not in (None, header.shown_wh, header.stored_wh)


def _in_stored_frame(image: RawImage, header: ImageHeader) -> bool:
    """Whether the annotation was made on the picture before EXIF rotation: the declared size gives it away."""
    return image.declared_wh == header.stored_wh and header.stored_wh != header.shown_wh and not image.unit_boxes


def _size_fault(image: RawImage, header: ImageHeader) -> Fault:
    assert image.declared_wh is not None
    declared, real = "x".join(map(str, image.declared_wh)), "x".join(map(str, header.shown_wh))
    message = f"declares {declared} px but {image.image_path.name} has {real} px, so its boxes cannot be placed"
    return fault("size_differs", image.annotation_path, message, where=image.image_path.name)


def _not_turned(image: RawImage, header: ImageHeader) -> Fault:
    message = f"boxes are drawn on {image.image_path.name} before its EXIF rotation (orientation {header.orientation})"
    return fault("not_turned", image.annotation_path, message, where=image.image_path.name)


def _to_shown_px(item: RawObject, image: RawImage, header: ImageHeader) -> Corners:
    if image.unit_boxes:
        width, height = header.shown_wh
        x1, y1, x2, y2 = item.xyxy
        return x1 * width, y1 * height, x2 * width, y2 * height
    if _in_stored_frame(image, header):
        return TURNS[header.orientation].corners(item.xyxy, header.stored_wh)
    return item.xyxy


def _judge(
    item: RawObject, corners: Corners, image: RawImage, header: ImageHeader, class_ids: Mapping[str, int]
) -> list[Fault]:
    """Faults of one object: of its class, and the first of its box."""
    found = []
    if not item.class_name:
        found.append(fault("malformed_object", image.annotation_path, "has no class name", item.where))
    elif item.class_name not in class_ids:
        known = ", ".join(list(class_ids)[:10]) + (", ..." if len(class_ids) > 10 else "")
        message = f"class {item.class_name!r} is not one of the data set's ({known})"
        found.append(fault("unknown_class", image.annotation_path, message, item.where))
    if (verdict := _box_fault(corners, *header.shown_wh)) is not None:
        kind, words = verdict
        found.append(fault(kind, image.annotation_path, f"box ({item.given}) {words}", item.where))
    return found


def _box_fault(corners: Corners, width: int, height: int) -> tuple[str, str] | None:
    """Kind and words of the first thing wrong with a box in pixels of the shown picture."""
    x1, y1, x2, y2 = corners
    if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height and min(x2 - x1, y2 - y1) > _SURELY_NOT_EMPTY_PX:
        return None  # most boxes, quickly; NaN fails every comparison
    if not all(map(math.isfinite, corners)):
        return "not_a_number", "holds something that is not a number"
    if not (x2 > x1 and y2 > y1):
        return "zero_size", "has no positive width and height"
    if _is_empty(_clip(corners, width, height)):
        return "outside", f"lies outside the picture of {width}x{height} px"
    overhang = max(-x1, -y1, x2 - width, y2 - height)
    words = f"reaches {overhang:.4g} px outside the picture of {width}x{height} px"
    if overhang > ROUNDING_PX:
        return "partly_outside", words
    return ("off_by_one", words) if overhang > _NORMALISED_ROUNDING_PX else None


def _clip(corners: Corners, width: int, height: int) -> Corners:
    x1, y1, x2, y2 = corners
    return min(max(x1, 0), width), min(max(y1, 0), height), min(max(x2, 0), width), min(max(y2, 0), height)


def _is_empty(corners: Corners) -> bool:
    """In float32, which is what boxes are kept in."""
    x1, y1, x2, y2 = np.asarray(corners, dtype=np.float32)
    return not (x2 > x1 and y2 > y1)


def _ground_truth(kept: list[tuple[RawObject, int, Corners]]) -> GroundTruth:
    boxes = np.array([corners for _, _, corners in kept], dtype=np.float32).reshape(-1, 4)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for row, (item, _, _) in enumerate(kept):
        if item.area_px2 is not None and math.isfinite(item.area_px2) and item.area_px2 > 0:
            areas[row] = item.area_px2
    return GroundTruth(
        boxes,
        np.array([class_id for _, class_id, _ in kept], dtype=np.int64),
        np.array([item.difficult for item, _, _ in kept], dtype=np.bool_),
        np.array([item.crowd for item, _, _ in kept], dtype=np.bool_),
        areas,
    )

"""Where to look: a window over the image's plane that becomes the network input, with the objects in it.

Every recipe draws windows and applies them once, at the network's size: the pixels come from the same resize as
everywhere else (edgedet.preprocess.resize_bilinear), and no canvas of many times the image's size is ever filled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from edgedet.boxes import box_area, clip_xyxy
from edgedet.preprocess import placement, resize_bilinear
from edgedet.spec import InputSpec
from edgedet.training.targets import Objects

Picture = tuple[Tensor, Objects]  # (3, H, W) uint8 pixels, and the objects
Another = Callable[[], Picture]  # one more picture with its objects in pixels, drawn at random

_MIN_SIDE_PX = 1.0  # of a box in the network input; what a cut leaves smaller than this teaches nothing


class Window(NamedTuple):
    """The part of the plane that becomes the network input, in pixels of the image; it may reach beyond the image."""

    x0: int
    y0: int
    width: int
    height: int


def show_window(
    image_u8_chw: Tensor, objects: Objects, window: Window, spec: InputSpec, visible_min: float = 0.0
) -> Picture:
    """Resize the part of the image inside a window into the network input; what lies outside the image is grey.

    Args:
        image_u8_chw: (3, H, W) uint8.
        objects: boxes in pixels of the image; boxes are cut at the window and dropped where nothing is left.
        visible_min: objects of which a smaller share of the area is left are dropped too.

    Returns:
        (3, spec.height, spec.width) uint8 pixels and objects in 0..1 of them.
    """
    height, width = image_u8_chw.shape[-2:]
    place = placement(window.width, window.height, spec)
    scale_x, scale_y = place.width / window.width, place.height / window.height
    # The visible part of the image, in pixels of the image, and where it comes to lie, in whole pixels of the network.
    x0, y0 = max(0, window.x0), max(0, window.y0)
    x1, y1 = min(width, window.x0 + window.width), min(height, window.y0 + window.height)
    if x1 <= x0 or y1 <= y0:
        return _grey(spec), objects.select(torch.zeros_like(objects.ignored))
    left, right = _span(place.x0, scale_x, x0 - window.x0, x1 - window.x0, spec.width)
    top, bottom = _span(place.y0, scale_y, y0 - window.y0, y1 - window.y0, spec.height)
    visible = resize_bilinear(image_u8_chw[:, y0:y1, x0:x1], bottom - top, right - left)
    if visible.shape[-2:] == (spec.height, spec.width):
        pixels = visible
    else:
        pixels = _grey(spec)
        pixels[:, top:bottom, left:right] = visible
    boxes = clip_xyxy(objects.boxes_xyxy - objects.boxes_xyxy.new_tensor((x0, y0, x0, y0)), x1 - x0, y1 - y0)
    enough = box_area(boxes) >= visible_min * box_area(objects.boxes_xyxy)
    boxes = boxes * boxes.new_tensor(((right - left) / (x1 - x0), (bottom - top) / (y1 - y0)) * 2)
    boxes = boxes + boxes.new_tensor((left, top, left, top))
    enough &= ((boxes[:, 2:] - boxes[:, :2]) >= _MIN_SIDE_PX).all(dim=1)
    boxes = (boxes / boxes.new_tensor((spec.width, spec.height) * 2)).clamp(0, 1)  # rounding may leave 1 + 1e-7
    return pixels, Objects(boxes, objects.class_ids, objects.ignored).select(enough)


def mirror(pixels: Tensor, objects: Objects, left_right: bool, top_bottom: bool) -> Picture:
    """(3, H, W) pixels and objects in 0..1 of them, mirrored or not."""
    x0, y0, x1, y1 = objects.boxes_xyxy.unbind(1)
    if left_right:
        pixels, (x0, x1) = pixels.flip(-1), (1 - x1, 1 - x0)
    if top_bottom:
        pixels, (y0, y1) = pixels.flip(-2), (1 - y1, 1 - y0)
    return pixels, Objects(torch.stack((x0, y0, x1, y1), dim=1), objects.class_ids, objects.ignored)


def chance(probability: float) -> bool:
    """True so often, by torch's global generator."""
    return float(torch.rand(())) < probability


def uniform(low: float, high: float) -> float:
    """By torch's global generator."""
    return low + (high - low) * float(torch.rand(()))


def _grey(spec: InputSpec) -> Tensor:
    return torch.full((3, spec.height, spec.width), spec.pad_value, dtype=torch.uint8)


def _span(origin: float, scale: float, start: float, end: float, size: int) -> tuple[int, int]:
    """Whole pixels that an interval covers in the network input, at least one."""
    low = min(size - 1, max(0, round(origin + start * scale)))
    return low, min(size, max(low + 1, round(origin + end * scale)))

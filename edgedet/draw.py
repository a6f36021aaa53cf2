"""Boxes and labels on pictures, and sheets of pictures. For people to look at; nothing measures on these."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from edgedet.preprocess import UInt8Image

Colour = tuple[int, int, int]

_GOLDEN_TURN = 0.618033988749895  # hue step that keeps neighbouring class_ids far apart on the colour circle
_LINE_PER_SIDE = 1 / 200
_TEXT_PER_SIDE = 1 / 28
_MIN_TEXT_PX, _MAX_TEXT_PX = 10, 40
_SHEET_COLOUR = (245, 245, 245)


def class_colour(class_id: int) -> Colour:
    """RGB colour of a class: bright, and different for neighbouring ids."""
    hue = (0.02 + class_id * _GOLDEN_TURN) % 1.0
    value = (1.0, 0.8, 0.62)[class_id // 8 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_detections(
    image_u8_hwc: UInt8Image,
    boxes_xyxy_px: npt.ArrayLike,
    labels: Sequence[str],
    scores: Sequence[float] | npt.NDArray[np.float32] | None = None,
    class_ids: Sequence[int] | npt.NDArray[np.int64] | None = None,
) -> UInt8Image:
    """A copy of a picture with boxes and labels; the first box lies on top.

    Args:
        image_u8_hwc: (H, W, 3) uint8 RGB.
        boxes_xyxy_px: (M, 4) corners in its pixels.
        labels: M texts.
        scores: M numbers in 0..1 that are added to the labels; None for ground truth.
        class_ids: M numbers that choose the colours; None for the number of each distinct label.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    boxes = np.asarray(boxes_xyxy_px, dtype=np.float64).reshape(-1, 4)
    ids = _ids_of(labels) if class_ids is None else [int(k) for k in class_ids]
    picture = Image.fromarray(np.ascontiguousarray(image_u8_hwc), "RGB")
    draw = ImageDraw.Draw(picture)
    side = max(picture.size)
    line_px = max(1, round(side * _LINE_PER_SIDE))
    font = _font(round(side * _TEXT_PER_SIDE))
    for k in reversed(range(len(boxes))):
        colour = class_colour(ids[k])
        corners = _ordered(boxes[k])
        draw.rectangle(corners, outline=colour, width=line_px)
        text = labels[k] if scores is None else f"{labels[k]} {float(scores[k]):.2f}"
        _label(draw, text, corners, colour, font, picture.size)
    return np.array(picture)


def contact_sheet(images: Sequence[UInt8Image], columns: int, cell_px: int = 320, gap_px: int = 8) -> UInt8Image:
    """Pictures in rows and columns, each shrunk (never enlarged) to fit a square cell.

    Args:
        images: (H, W, 3) uint8 RGB each, of any sizes; at least one.
        columns: cells a row.
        cell_px: side of a cell.
        gap_px: space between and around cells.

    Raises:
        ValueError: no image, or fewer than one column.
    """
    if not images or columns < 1:
        raise ValueError("a contact sheet needs at least one image and one column")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    pitch = cell_px + gap_px
    sheet = Image.new("RGB", (columns * pitch + gap_px, rows * pitch + gap_px), _SHEET_COLOUR)
    for k, image in enumerate(images):
        picture = Image.fromarray(np.ascontiguousarray(image), "RGB")
        picture.thumbnail((cell_px, cell_px))
        row, column = divmod(k, columns)
        x = gap_px + column * pitch + (cell_px - picture.width) // 2
        y = gap_px + row * pitch + (cell_px - picture.height) // 2
        sheet.paste(picture, (x, y))
    return np.array(sheet)


def _ids_of(labels: Sequence[str]) -> list[int]:
    order = {label: k for k, label in enumerate(sorted(set(labels)))}
    return [order[label] for label in labels]


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=min(max(size_px, _MIN_TEXT_PX), _MAX_TEXT_PX))


def _ordered(box: npt.NDArray[np.float64]) -> tuple[float, float, float, float]:
    """Continuous corners to the first and last pixel; a box thinner than a pixel still shows as one."""
    x1, y1, x2, y2 = (float(v) for v in box)
    return x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)


def _label(
    draw: ImageDraw.ImageDraw,
    text: str,
    corners: tuple[float, float, float, float],
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size_wh: tuple[int, int],
) -> None:
    """Above the box, or inside its top edge where there is no room; never outside the picture."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = min(max(corners[0], 0), max(0, size_wh[0] - width))
    y = corners[1] - height if corners[1] >= height else max(corners[1], 0)
    draw.rectangle((x, y, x + width, y + height), fill=colour)
    draw.text((x + 2 - left, y + 2 - top), text, fill=_readable_on(colour), font=font)


def _readable_on(colour: Colour) -> Colour:
    """Black or white, whichever contrasts more (ITU-R BT.601 luma)."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)

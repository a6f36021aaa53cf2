"""The synthetic data set: discs, squares and triangles on varied backgrounds, in Pascal VOC's layout.

Made from a seed, so it needs no download and is the same everywhere: a picture depends on the seed, its split and its
number only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgedet.data.folder import require_unused
from edgedet.data.turn import Corners
from edgedet.errors import DataError
from edgedet.files import atomic_path
from edgedet.preprocess import UInt8Image
from edgedet.progress import track

CLASS_NAMES = ("disc", "square", "triangle")
MIN_SIZE_PX = 64

_SPLITS = ("train", "val", "test")
_EMPTY_SHARE = 0.05
_MAX_OBJECTS = 4
_EXTENT_SHARES = (0.17, 0.45)  # smallest and largest object, as shares of the picture's side
_MAX_COVERED = 0.1  # of the smaller of two boxes
_MIN_CONTRAST = 70  # largest channel difference between an object and what it covers
_JPEG_QUALITY = 90

FloatImage = npt.NDArray[np.float32]
Mask = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """One object: its class, and its box in pixels from 0, not rounded."""

    class_id: int
    xyxy_px: Corners


def write_synthetic(out: Path, train: int, val: int, test: int, size_px: int = 160, seed: int = 0) -> Path:
    """Write a data set of square pictures; about one in twenty has no object.

    Args:
        out: folder to make; it must not exist or be empty.
        train, val, test: pictures of each split.
        size_px: side of the pictures.
        seed: everything follows from it.

    Returns:
        `out`, which `read_dataset` takes.

    Raises:
        DataError: `out` is in use, a count is negative, or pictures are too small for objects.
    """
    counts = dict(zip(_SPLITS, (train, val, test), strict=True))
    if min(counts.values()) < 0 or sum(counts.values()) == 0:
        raise DataError(f"a synthetic data set of {counts}", "Give counts from 0 on, at least one of them positive.")
    if size_px < MIN_SIZE_PX:
        raise DataError(f"--size-px is {size_px}", f"Choose at least {MIN_SIZE_PX}, so that objects can be seen.")
    require_unused(out)
    with atomic_path(out) as root:
        for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / folder).mkdir(parents=True)
        jobs = [(split, index) for split in _SPLITS for index in range(counts[split])]
        for split, index in track(jobs, "Drawing pictures"):
            _write_picture(root, split, index, size_px, seed)
        _write_lists(root, counts)
    return out


def make_picture(size_px: int, seed: tuple[int, ...]) -> tuple[UInt8Image, tuple[Shape, ...]]:
    """One picture and its objects, from the seed alone.

    Returns:
        (size_px, size_px, 3) uint8 RGB, and the shapes in it.
    """
    rng = np.random.default_rng(seed)
    image = _background(rng, size_px)
    shapes: list[Shape] = []
    wanted = 0 if rng.random() < _EMPTY_SHARE else int(rng.integers(1, _MAX_OBJECTS + 1))
    for _ in range(wanted):
        class_id = int(rng.integers(len(CLASS_NAMES)))
        if (corners := _free_place(rng, size_px, shapes)) is not None:
            mask, xyxy = _MASKS[class_id](rng, size_px, corners)
            _paint(rng, image, mask)
            shapes.append(Shape(class_id, xyxy))
    noise = rng.normal(0, rng.uniform(0, 5), image.shape).astype(np.float32)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8), tuple(shapes)


def _grid(size_px: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """x and y of the pixel centres."""
    centres = np.arange(size_px, dtype=np.float32) + 0.5
    return centres[None, :], centres[:, None]


def _background(rng: np.random.Generator, size_px: int) -> FloatImage:
    """(size, size, 3) float32 in 0..255: a gradient, under stripes, checks, clouds or nothing."""
    x, y = _grid(size_px)
    first, second = rng.uniform(20, 235, (2, 3)).astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    along = (x * math.cos(angle) + y * math.sin(angle)) / size_px
    image = first + (second - first) * (0.5 + 0.5 * np.clip(along, -1, 1))[:, :, None]
    texture = _TEXTURES[int(rng.integers(len(_TEXTURES)))](rng, size_px)
    return np.asarray(image + texture[:, :, None] * rng.uniform(5, 25), dtype=np.float32)


def _plain(rng: np.random.Generator, size_px: int) -> Mask:
    return np.zeros((size_px, size_px), np.float32)


def _stripes(rng: np.random.Generator, size_px: int) -> Mask:
    x, y = _grid(size_px)
    angle, period = rng.uniform(0, math.pi), rng.uniform(6, 30)
    return np.sin((x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / period)).astype(np.float32)


def _checks(rng: np.random.Generator, size_px: int) -> Mask:
    x, y = _grid(size_px)
    cell = rng.uniform(5, 12)
    return np.where((np.floor(x / cell) + np.floor(y / cell)) % 2, 0.5, -0.5).astype(np.float32)


def _clouds(rng: np.random.Generator, size_px: int) -> Mask:
    """Smooth noise of two scales."""
    layers = [rng.normal(0, 60, (cells, cells)) + 128 for cells in (5, 17)]
    coarse, fine = (_enlarged(np.clip(layer, 0, 255), size_px) for layer in layers)
    return ((coarse + fine / 2) / 96 - 2).astype(np.float32)


def _enlarged(field: npt.NDArray[np.float64], size_px: int) -> Mask:
    small = Image.fromarray(field.astype(np.uint8))
    return np.asarray(small.resize((size_px, size_px), Image.Resampling.BICUBIC), dtype=np.float32)


_TEXTURES: tuple[Callable[[np.random.Generator, int], Mask], ...] = (_plain, _stripes, _checks, _clouds)


def _free_place(rng: np.random.Generator, size_px: int, taken: list[Shape]) -> Corners | None:
    """A square inside the picture that covers no other object much; None when a few tries find none."""
    for _ in range(20):
        low, high = _EXTENT_SHARES
        side = size_px * low * (high / low) ** rng.random()  # as many small ones as large ones, on a log scale
        x, y = rng.uniform(0, size_px - side, 2)
        place = (x, y, x + side, y + side)
        if all(_covered(place, shape.xyxy_px) <= _MAX_COVERED for shape in taken):
            return place
    return None


def _covered(a: Corners, b: Corners) -> float:
    """Intersection over the area of the smaller box."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(0.0, width) * max(0.0, height) / smaller


def _disc(rng: np.random.Generator, size_px: int, place: Corners) -> tuple[Mask, Corners]:
    x, y = _grid(size_px)
    radius = (place[2] - place[0]) / 2
    distance = np.hypot(x - (place[0] + radius), y - (place[1] + radius))
    return np.clip(radius - distance + 0.5, 0, 1).astype(np.float32), place


def _square(rng: np.random.Generator, size_px: int, place: Corners) -> tuple[Mask, Corners]:
    turn = rng.uniform(-0.35, 0.35)
    angles = turn + math.pi / 4 + np.arange(4) * (math.pi / 2)
    return _polygon(size_px, place, np.stack((np.cos(angles), np.sin(angles)), axis=1))


def _triangle(rng: np.random.Generator, size_px: int, place: Corners) -> tuple[Mask, Corners]:
    angles = rng.uniform(0, 2 * math.pi) + np.arange(3) * (2 * math.pi / 3) + rng.uniform(-0.25, 0.25, 3)
    return _polygon(size_px, place, np.stack((np.cos(angles), np.sin(angles)), axis=1))


_MASKS: tuple[Callable[[np.random.Generator, int, Corners], tuple[Mask, Corners]], ...] = (_disc, _square, _triangle)


def _polygon(size_px: int, place: Corners, points_xy: npt.NDArray[np.float64]) -> tuple[Mask, Corners]:
    """A convex polygon, points in order of growing angle, scaled to the place's width or height, whichever binds."""
    low, extent = points_xy.min(axis=0), np.ptp(points_xy, axis=0)
    scale = (place[2] - place[0]) / extent.max()
    points = (points_xy - low) * scale + np.array(place[:2])
    x, y = _grid(size_px)
    inside = np.full((size_px, size_px), np.inf)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, axis=0), strict=True):
        length = math.hypot(bx - ax, by - ay)
        inside = np.minimum(inside, ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / length)
    corners = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    return np.clip(inside + 0.5, 0, 1).astype(np.float32), corners


def _paint(rng: np.random.Generator, image: FloatImage, mask: Mask) -> None:
    """Blend a lightly shaded colour in that stands out from what it covers."""
    behind = (image * mask[:, :, None]).sum(axis=(0, 1)) / mask.sum()
    colour = rng.uniform(0, 255, 3)
    while np.abs(colour - behind).max() < _MIN_CONTRAST:
        colour = rng.uniform(0, 255, 3)
    x, y = _grid(mask.shape[0])
    angle = rng.uniform(0, 2 * math.pi)
    shade = 12 * np.sin((x * math.cos(angle) + y * math.sin(angle)) * (2 * math.pi / mask.shape[0]))
    alpha = mask[:, :, None]
    image[:] = image * (1 - alpha) + (colour + shade[:, :, None]) * alpha


def _write_picture(root: Path, split: str, index: int, size_px: int, seed: int) -> None:
    image, shapes = make_picture(size_px, (seed, _SPLITS.index(split), index))
    name = f"{split}_{index:05d}"
    Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=_JPEG_QUALITY)
    objects = "".join(_object_xml(shape) for shape in shapes)
    size = f"<size><width>{size_px}</width><height>{size_px}</height><depth>3</depth></size>"
    text = f"<annotation>\n<filename>{escape(name)}.jpg</filename>\n{size}\n{objects}</annotation>\n"
    (root / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")


def _object_xml(shape: Shape) -> str:
    """VOC counts pixels from 1 and includes the last one: the pixels that the shape touches."""
    x1, y1, x2, y2 = shape.xyxy_px
    sides = {"xmin": math.floor(x1) + 1, "ymin": math.floor(y1) + 1, "xmax": math.ceil(x2), "ymax": math.ceil(y2)}
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides.items())
    name = CLASS_NAMES[shape.class_id]
    return f"<object><name>{name}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>\n"


def _write_lists(root: Path, counts: dict[str, int]) -> None:
    lists = {split: [f"{split}_{k:05d}\n" for k in range(count)] for split, count in counts.items()}
    lists["trainval"] = lists["train"] + lists["val"]
    for split, names in lists.items():
        if names:
            (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(names), encoding="utf-8")

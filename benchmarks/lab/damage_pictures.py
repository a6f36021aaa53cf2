"""The images with the most damage, as the two files see them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from edgedet.benchmarks.lab.damage import Box, Change, Damage
from edgedet.data import load_image
from edgedet.draw import draw_detections
from edgedet.evaluation import EvalResult
from edgedet.preprocess import UInt8Image

_WIDTH_PX = 480
_GAP_PX = 8
_COLOUR_IDS = {"lost": 0, "new": 1, "flipped": 3}  # red, blue, magenta: edgedet.draw.class_colour of these
_KEPT_COLOUR = (120, 128, 140)
_MOST_WORDS = 6  # changes told in a caption


@dataclass(frozen=True)
class PicturePair:
    """One image twice: (H, W, 3) uint8 RGB with A at the left and B at the right, and what to look for."""

    name: str
    image_u8_hwc: UInt8Image
    caption: str


def picture_pairs(damage: Damage, most: int) -> list[PicturePair]:
    """The worst images first. Grey boxes are shown by both files; the coloured ones are the changes."""
    return [_pair(damage, image) for image in damage.worst_images(most)]


def _pair(damage: Damage, image: int) -> PicturePair:
    sample = damage.a.dataset.samples[image]
    names = damage.a.dataset.class_names
    changes = [change for change in damage.changes if change.image == image]
    picture = Image.fromarray(load_image(sample.image_path))
    scale = _WIDTH_PX / picture.width
    picture = picture.resize((_WIDTH_PX, max(1, round(picture.height * scale))), Image.Resampling.BICUBIC)
    sides = []
    for result, side in ((damage.a, "a"), (damage.b, "b")):
        boxes = [(change, getattr(change, f"box_{side}_xyxy_px")) for change in changes]
        shown = [(change, box) for change, box in boxes if box is not None]
        grey = _kept(picture, result, image, damage.score_min, [box for _, box in shown], scale)
        sides.append(_changed(grey, shown, side, names, scale))
    gap = np.full((picture.height, _GAP_PX, 3), 255, np.uint8)
    caption = "; ".join(_words(change, names) for change in changes[:_MOST_WORDS])
    if len(changes) > _MOST_WORDS:
        caption += f"; and {len(changes) - _MOST_WORDS} more"
    return PicturePair(sample.image_path.name, np.concatenate([sides[0], gap, sides[1]], axis=1), caption)


def _kept(
    picture: Image.Image, result: EvalResult, image: int, score_min: float, changed: Sequence[Box], scale: float
) -> UInt8Image:
    """Thin grey boxes without labels for what did not change."""
    found = result.detections[image]
    canvas = picture.copy()
    draw = ImageDraw.Draw(canvas)
    gone = {tuple(round(side, 1) for side in box) for box in changed}
    for box, score in zip(found.boxes_xyxy_px.tolist(), found.scores, strict=True):
        if score >= score_min and tuple(round(round(side, 2), 1) for side in box) not in gone:
            x1, y1, x2, y2 = (side * scale for side in box)
            draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=_KEPT_COLOUR)
    return np.array(canvas)


def _changed(
    image: UInt8Image, shown: Sequence[tuple[Change, Box]], side: str, names: Sequence[str], scale: float
) -> UInt8Image:
    labels = [f"{change.kind} {names[getattr(change, f'class_{side}')]}" for change, _ in shown]
    scores = [getattr(change, f"score_{side}") for change, _ in shown]
    boxes = np.array([box for _, box in shown]).reshape(-1, 4) * scale
    return draw_detections(image, boxes, labels, scores, [_COLOUR_IDS[change.kind] for change, _ in shown])


def _words(change: Change, names: Sequence[str]) -> str:
    """What happened to one detection: lost RBC 0.52 (score 0.21)."""
    cause = change.cause
    reason = cause.kind if cause.score is None else f"{cause.kind} {cause.score:.2f}"
    if change.kind == "flipped":
        assert change.class_a is not None
        assert change.class_b is not None
        before = f"{names[change.class_a]} {change.score_a:.2f}"
        return f"{before} now {names[change.class_b]} {change.score_b:.2f} ({reason})"
    class_id = change.class_a if change.kind == "lost" else change.class_b
    score = change.score_a if change.kind == "lost" else change.score_b
    assert class_id is not None
    return f"{change.kind} {names[class_id]} {score:.2f} ({reason})"

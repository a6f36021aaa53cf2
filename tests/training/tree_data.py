"""A small data set for a tree of classes: boxes say "spot" or "ring", only labels of pictures say a spot's colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.data.makers import voc_xml, write

TREE = {"ring": None, "spot": ["red", "blue"]}
_COLOURS = {"red": (220, 60, 60), "blue": (60, 60, 220), "ring": (30, 30, 30)}
_SIZE_PX = 96


def tree_data(folder: Path, train: int, labelled: int, val: int) -> Path:
    """Write a VOC data set, whose training split knows no colours, and pictures of a labelled colour.

    Args:
        train, val: pictures with boxes; those of the validation split name the colours.
        labelled: pictures of each colour.

    Returns:
        The YAML file that names both.
    """
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        names = [f"{split}_{k:03d}" for k in range(count)]
        write(folder / "boxes" / "ImageSets" / "Main" / f"{split}.txt", "\n".join(names))
        for name in names:
            things = rng.choice([*_COLOURS], int(rng.integers(1, 3)))
            image, boxes = _picture(rng, [str(thing) for thing in things])
            if split == "train":
                boxes = [("ring" if label == "ring" else "spot", *corners) for label, *corners in boxes]
            _save(folder / "boxes" / "JPEGImages" / f"{name}.png", image)
            write(folder / "boxes" / "Annotations" / f"{name}.xml", voc_xml(boxes, (_SIZE_PX, _SIZE_PX)))
    for colour in TREE["spot"] or ():
        for k in range(labelled):
            _save(folder / "classified" / colour / f"{k:03d}.png", _picture(rng, [colour])[0])
    return write(folder / "data.yaml", "kind: voc\npath: boxes\nimage_labels: ../classified\n")


def _picture(
    rng: np.random.Generator, things: list[str]
) -> tuple[npt.NDArray[np.uint8], list[tuple[str, float, float, float, float]]]:
    """Things of 24 to 40 px in their own halves of a grey picture, and their boxes as VOC counts."""
    image = rng.normal(128, 12, (_SIZE_PX, _SIZE_PX, 3))
    y, x = np.mgrid[:_SIZE_PX, :_SIZE_PX]
    boxes = []
    for k, thing in enumerate(things):
        side = int(rng.integers(24, 41))
        left = int(rng.integers(0, 48 - side + 1)) + 48 * k
        top = int(rng.integers(0, _SIZE_PX - side + 1))
        away = np.hypot(x - left - side / 2 + 0.5, y - top - side / 2 + 0.5) / (side / 2)
        inside = (away <= 1) & (away > 0.6 if thing == "ring" else True)
        image[inside] = np.array(_COLOURS[thing]) + rng.normal(0, 12, (int(inside.sum()), 3))
        boxes.append((thing, left + 1, top + 1, left + side, top + side))
    return np.clip(image, 0, 255).astype(np.uint8), boxes


def _save(path: Path, image: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)

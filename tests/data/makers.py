"""Small data sets made on the spot, one function a format, so that each test shows what its data holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Box = tuple[str, float, float, float, float]  # class, xmin, ymin, xmax, ymax as the file writes them
DISC: Box = ("disc", 3, 4, 10, 12)


def picture(path: Path, width: int = 40, height: int = 30, orientation: int | None = None) -> Path:
    """A JPEG or PNG of noise that depends on the path's name, so that no two pictures have the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(str(path.name).encode()))
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


def truncate(path: Path) -> None:
    """Cut the second half of a file off."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def voc_xml(boxes: Sequence[Box], size: tuple[int, int] | None = (40, 30), filename: str = "") -> str:
    declared = "" if size is None else f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    objects = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        "</bndbox></object>"
        for name, x1, y1, x2, y2 in boxes
    )
    return f"<annotation><filename>{filename}</filename>{declared}{objects}</annotation>"


def voc(root: Path, splits: Mapping[str, Mapping[str, Sequence[Box]]]) -> Path:
    """Split -> picture name -> boxes."""
    for split, images in splits.items():
        names = "".join(f"{name}\n" for name in images)
        write(root / "ImageSets" / "Main" / f"{split}.txt", names)
        for name, boxes in images.items():
            picture(root / "JPEGImages" / f"{name}.jpg")
            write(root / "Annotations" / f"{name}.xml", voc_xml(boxes))
    return root


def coco_content(boxes_xywh: Sequence[Sequence[float]] = ((2, 3, 8, 9),), **changes: Any) -> dict[str, Any]:
    """One picture of 40x30 px, categories 3 "disc" and 7 "square", annotations of category 3."""
    annotations = [
        {"id": k, "image_id": 5, "category_id": 3, "bbox": list(box), "area": 50.0, "iscrowd": 0}
        for k, box in enumerate(boxes_xywh, start=1)
    ]
    images = [{"id": 5, "file_name": "a.jpg", "width": 40, "height": 30}]
    categories = [{"id": 7, "name": "square"}, {"id": 3, "name": "disc"}]
    return {"images": images, "annotations": annotations, "categories": categories, **changes}


def coco(root: Path, content: Mapping[str, Any] | str | None = None, split: str = "val") -> Path:
    text = content if isinstance(content, str) else json.dumps(coco_content() if content is None else content)
    write(root / "annotations" / f"instances_{split}2017.json", text)
    picture(root / f"{split}2017" / "a.jpg")
    return root


def yolo(root: Path, lines: str = "0 0.5 0.5 0.25 0.5\n", names: str = "[disc, square]", split: str = "val") -> Path:
    write(root / "data.yaml", f"{split}: images/{split}\nnames: {names}\nnc: 2\n")
    picture(root / "images" / split / "a.jpg")
    write(root / "labels" / split / "a.txt", lines)
    return root


CSV_HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def csv(root: Path, rows: str = "a.jpg,40,30,disc,3,4,10,12\n", split: str = "train", header: str = CSV_HEADER) -> Path:
    write(root / f"{split}_labels.csv", header + rows)
    picture(root / split / "a.jpg")
    return root


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path

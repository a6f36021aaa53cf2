"""A synthetic data set for a tree of classes: boxes say "polygon", and only labels of whole pictures say which one."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from PIL import Image

from edgedet.data.synth import CLASS_NAMES, make_picture, write_synthetic

TREE = {"disc": None, "polygon": ["square", "triangle"]}
_POLYGONS = ("square", "triangle")


def tree_data(folder: Path, train: int, labelled: int, val: int, size_px: int = 96) -> Path:
    """Write a VOC data set, whose training split knows no squares and triangles but polygons, and labelled pictures.

    Args:
        train, val: pictures with boxes; those of the validation split name the leaves.
        labelled: pictures for each leaf of "polygon" that show no other polygon.

    Returns:
        The YAML file that names both.
    """
    root = write_synthetic(folder / "boxes", train, val, 0, size_px, seed=1)
    for file in (root / "Annotations").glob("train_*.xml"):
        text = file.read_text(encoding="utf-8")
        for name in _POLYGONS:
            text = text.replace(f"<name>{name}</name>", "<name>polygon</name>")
        file.write_text(text, encoding="utf-8")
    for name in _POLYGONS:
        (folder / "classified" / name).mkdir(parents=True)
        _write_labelled(folder / "classified" / name, CLASS_NAMES.index(name), labelled, size_px)
    form = folder / "data.yaml"
    form.write_text("kind: voc\npath: boxes\nimage_labels: ../classified\n", encoding="utf-8")
    return form


def _write_labelled(folder: Path, class_id: int, wanted: int, size_px: int) -> None:
    written = 0
    for seed in count():
        image, shapes = make_picture(size_px, (2, class_id, seed))
        if {shape.class_id for shape in shapes} - {0} == {class_id}:
            Image.fromarray(image).save(folder / f"{written:05d}.jpg", quality=90)
            written += 1
        if written == wanted:
            return

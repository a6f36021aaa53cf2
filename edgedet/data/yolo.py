"""YOLO txt: data.yaml names pictures and classes; each picture has labels/<name>.txt beside images/.

A line is `class x_center y_center width height`, the class counted from 0, the rest in 0..1 of the picture as it is
shown. A picture without a label file, or with an empty one, has no objects.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from edgedet.data.faults import Fault, fault
from edgedet.data.image import IMAGE_SUFFIXES
from edgedet.data.raw import RawImage, RawObject, RawSplit, number
from edgedet.data.reader import Reader
from edgedet.data.source import Place, Source, read_form, source_of_form
from edgedet.errors import DataError
from edgedet.progress import track

_YAML_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_COLUMNS = 5


class YoloReader(Reader):
    kind = "yolo"
    looks_like = "data.yaml with train, val and names"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return any((folder / name).is_file() for name in _YAML_NAMES)

    @classmethod
    def find_places(cls, root: Path) -> dict[str, Place]:
        """None: only the YAML file says where the splits are."""
        return {}

    @classmethod
    def source_of_folder(cls, folder: Path) -> Source:
        file = next(f for name in _YAML_NAMES if (f := folder / name).is_file())
        return source_of_form(file, read_form(file))

    def class_names(self) -> tuple[str, ...]:
        if self.source.class_names is None:
            raise DataError(f"{self.source.given}: names no classes", "Add `names: [first, second, ...]` to it.")
        return self.source.class_names

    def read(self, split: str) -> RawSplit:
        pictures: list[Path] = []
        faults: list[Fault] = []
        for path in self.places[split].annotations:
            if path.is_dir():
                pictures += sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            elif path.is_file():
                pictures += _listed(path)
            else:
                faults.append(fault("missing_annotation", path, "there is no such folder or list"))
        images = [self._read_labels(picture, faults) for picture in track(pictures, f"Reading {split} labels")]
        return RawSplit(tuple(images), tuple(faults))

    def _read_labels(self, picture: Path, faults: list[Fault]) -> RawImage:
        file = label_path(picture)
        objects: list[RawObject] = []
        try:
            lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        except (OSError, UnicodeDecodeError) as error:
            faults.append(fault("malformed", file, f"not readable as text ({error})"))
            lines = []
        for index, line in enumerate(lines, start=1):
            columns = line.split()
            if len(columns) == _COLUMNS:
                objects.append(self._object(columns, index))
            elif columns:
                message = f"has {len(columns)} columns instead of {_COLUMNS}: class, centre x, centre y, width, height"
                faults.append(fault("malformed_object", file, message, f"line {index}"))
        return RawImage(picture, file, None, tuple(objects), unit_boxes=True)

    def _object(self, columns: list[str], line: int) -> RawObject:
        names = self.class_names()
        class_id = number(columns[0])
        known = class_id in range(len(names))
        cx, cy, width, height = (number(text) for text in columns[1:])
        return RawObject(
            class_name=names[int(class_id)] if known else f"id {columns[0]}",
            xyxy=(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2),
            where=f"line {line}",
            given=" ".join(columns[1:]),
        )


def label_path(picture: Path) -> Path:
    """The last folder called images becomes labels; without such a folder the label file lies beside the picture."""
    parts = list(picture.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _listed(file: Path) -> list[Path]:
    """Pictures that a list names, relative to the list's own folder."""
    lines = (line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines())
    return [file.parent / line for line in itertools.filterfalse(lambda line: not line, lines)]

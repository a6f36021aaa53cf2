"""The CSV of TensorFlow's object-detection tutorials: filename,width,height,class,xmin,ymin,xmax,ymax; a row an object.

<split>_labels.csv or <split>.csv, in the folder itself, data/ or annotations/; pictures in <split>/, images/<split>/,
images/ or beside the file. Coordinates are taken as continuous pixels from 0, as the tutorials' generate_tfrecord does
(it divides them by width and height). Pictures without objects cannot be written in this form.

Class order: sorted by name over the objects of all splits, unless a YAML file gives `names`.
"""

from __future__ import annotations

import csv
from functools import cached_property
from pathlib import Path

from edgedet.data.faults import Fault, fault
from edgedet.data.raw import RawImage, RawObject, RawSplit, declared_size, number
from edgedet.data.reader import Reader
from edgedet.data.source import SPLITS, Place
from edgedet.errors import DataError

_COLUMNS = ("filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax")
_Row = tuple[int, dict[str, str]]  # line number, cells


class CsvReader(Reader):
    kind = "csv"
    looks_like = "<split>_labels.csv"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return any(_has_header(file) for place in cls.find_places(folder).values() for file in place.annotations)

    @classmethod
    def find_places(cls, root: Path) -> dict[str, Place]:
        places = {}
        for split in SPLITS:
            folders = (root, root / "data", root / "annotations")
            names = (f"{split}_labels.csv", f"{split}.csv")
            if files := [f for folder in folders for name in names if (f := folder / name).is_file()]:
                places[split] = Place((files[0],))
        return places

    def class_names(self) -> tuple[str, ...]:
        if self.source.class_names is not None:
            return self.source.class_names
        names: set[str] = set()
        for found in self._parsed.values():
            if isinstance(found, Fault):
                raise DataError(found.line(), found.remedy)
            names |= {cells["class"] for _, cells in found if cells["class"]}
        return tuple(sorted(names))

    def read(self, split: str) -> RawSplit:
        images: list[RawImage] = []
        faults: list[Fault] = []
        for file in self.places[split].annotations:
            found = self._parsed[file]
            if isinstance(found, Fault):
                faults.append(found)
            else:
                images += _images(file, found, self.places[split].images, self.source.root, split)
        return RawSplit(tuple(images), tuple(faults))

    @cached_property
    def _parsed(self) -> dict[Path, list[_Row] | Fault]:
        return {file: _parse(file) for place in self.places.values() for file in place.annotations}


def _parse(file: Path) -> list[_Row] | Fault:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.DictReader(stream, restval="")
            missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                return fault("malformed", file, f"lacks the column {', '.join(missing)}", "line 1")
            return [(rows.line_num, {name: row[name].strip() for name in _COLUMNS}) for row in rows]
    except FileNotFoundError:
        return fault("missing_annotation", file, "there is no such file")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return fault("malformed", file, f"not readable as CSV ({error})")


def _has_header(file: Path) -> bool:
    found = _parse(file)
    return not (isinstance(found, Fault) and found.where == "line 1")


def _images(file: Path, rows: list[_Row], folder: Path | None, root: Path, split: str) -> list[RawImage]:
    """Rows of one picture together, pictures in the order of their first row."""
    by_name: dict[str, list[_Row]] = {}
    for line, cells in rows:
        by_name.setdefault(cells["filename"], []).append((line, cells))
    folder = folder or _image_folder(file, root, split, next(iter(by_name), ""))
    return [_image(file, folder / name, group) for name, group in by_name.items()]


def _image(file: Path, picture: Path, rows: list[_Row]) -> RawImage:
    first = rows[0][1]
    return RawImage(picture, file, declared_size(first["width"], first["height"]), tuple(_object(*row) for row in rows))


def _object(line: int, cells: dict[str, str]) -> RawObject:
    texts = [cells[side] for side in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = (number(text) for text in texts)
    return RawObject(cells["class"], (x1, y1, x2, y2), f"line {line}", ", ".join(texts))


def _image_folder(file: Path, root: Path, split: str, example: str) -> Path:
    """The first place that holds the first picture; where none does, the first that exists."""
    places = [root / split, root / "images" / split, root / "images", file.parent]
    existing = [folder for folder in places if folder.is_dir()]
    return next((folder for folder in existing if example and (folder / example).is_file()), existing[0])

"""Pascal VOC: Annotations/*.xml, JPEGImages, ImageSets/Main/<split>.txt; also a devkit folder of several years.

Coordinates are read as VOC defines them: pixels counted from 1, the last one included (VOC 2007 development kit,
section 4). So (xmin, ymin, xmax, ymax) becomes the corners (xmin - 1, ymin - 1, xmax, ymax), and 1..width covers the
whole picture. A tool that counts from 0 is one pixel off on the left and top; `edgedet data check` tells where
it shows.
Equal numbers (xmin = xmax) are a click without a drag, not an object of one pixel: the box has zero size.

Class order: sorted by name over the objects of all splits, unless a YAML file gives `names`.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgedet.data.faults import Fault, fault
from edgedet.data.image import IMAGE_SUFFIXES
from edgedet.data.raw import RawImage, RawObject, RawSplit, declared_size, number
from edgedet.data.reader import Reader
from edgedet.data.source import SPLITS, Place
from edgedet.data.turn import Corners
from edgedet.errors import DataError
from edgedet.progress import track

_SIDES = ("xmin", "ymin", "xmax", "ymax")


class VocReader(Reader):
    kind = "voc"
    looks_like = "Annotations, JPEGImages and ImageSets/Main/<split>.txt"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return bool(_years(folder))

    @classmethod
    def find_places(cls, root: Path) -> dict[str, Place]:
        places = {}
        for split in SPLITS:
            lists = [file for year in _years(root) if (file := year / "ImageSets" / "Main" / f"{split}.txt").is_file()]
            if lists:
                places[split] = Place(tuple(lists))
        return places

    def class_names(self) -> tuple[str, ...]:
        if self.source.class_names is not None:
            return self.source.class_names
        for found in self._parsed.values():
            if isinstance(found, Fault) and found.kind == "malformed":
                raise DataError(found.line(), found.remedy)
        images = [found for found in self._parsed.values() if isinstance(found, RawImage)]
        return tuple(sorted({item.class_name for image in images for item in image.objects if item.class_name}))

    def read(self, split: str) -> RawSplit:
        found = [self._parsed[entry] for entry in self._entries[split]]
        faults = [f for f in found if isinstance(f, Fault)] + self._list_faults(split)
        return RawSplit(tuple(image for image in found if isinstance(image, RawImage)), tuple(faults))

    @cached_property
    def _entries(self) -> dict[str, tuple[_Entry, ...]]:
        found: dict[str, tuple[_Entry, ...]] = {}
        for split, place in self.places.items():
            lists = [self._listed(file, place.images) for file in place.annotations if file.is_file()]
            found[split] = tuple(entry for entries in lists for entry in entries)
        return found

    @cached_property
    def _parsed(self) -> dict[_Entry, RawImage | Fault]:
        """Every annotation of every split, each parsed once."""
        entries = dict.fromkeys(entry for listed in self._entries.values() for entry in listed)
        pictures = {folder: _pictures(folder) for folder in {entry.images for entry in entries}}
        return {entry: _parse(entry, pictures[entry.images]) for entry in track(entries, "Reading annotations")}

    def _listed(self, file: Path, images: Path | None) -> list[_Entry]:
        """The entries of a list; its pictures belong to the nearest folder above it that holds Annotations."""
        year = next((f for f in file.parents if (f / "Annotations").is_dir()), self.source.root)
        names = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()]
        return [_Entry(year / "Annotations" / f"{name}.xml", images or year / "JPEGImages") for name in names if name]

    def _list_faults(self, split: str) -> list[Fault]:
        missing = [file for file in self.places[split].annotations if not file.is_file()]
        return [fault("missing_annotation", f, "there is no such list") for f in missing]


@dataclass(frozen=True)
class _Entry:
    """One line of a list: the annotation file and the folder of its picture."""

    annotation: Path
    images: Path


def _years(root: Path) -> list[Path]:
    """The folders that hold Annotations: the root itself, or those one or two levels below it (a devkit)."""
    for candidates in ([root], sorted(root.glob("VOC*")), sorted(root.glob("VOCdevkit/*"))):
        if found := [f for f in candidates if (f / "Annotations").is_dir() and _has_parts(f)]:
            return found
    return []


def _has_parts(folder: Path) -> bool:
    return (folder / "ImageSets").is_dir() or (folder / "JPEGImages").is_dir()


def _pictures(folder: Path) -> dict[str, list[str]]:
    """Stem to the names of the pictures that have it, in the order of IMAGE_SUFFIXES."""
    found: dict[str, list[str]] = {}
    names = [path.name for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES] if folder.is_dir() else []
    for name in sorted(names, key=lambda n: (IMAGE_SUFFIXES.index(Path(n).suffix.lower()), n)):
        found.setdefault(Path(name).stem, []).append(name)
    return found


def _parse(entry: _Entry, pictures: dict[str, list[str]]) -> RawImage | Fault:
    try:
        root = ET.parse(entry.annotation).getroot()
    except FileNotFoundError:
        return fault("missing_annotation", entry.annotation, "there is no such annotation file")
    except (ET.ParseError, OSError, UnicodeDecodeError, ValueError, LookupError) as error:
        return fault("malformed", entry.annotation, f"not readable as XML ({error})")
    size = root.find("size")
    declared = None if size is None else declared_size(size.findtext("width"), size.findtext("height"))
    objects = tuple(_object(item, k) for k, item in enumerate(root.findall("object"), start=1))
    return RawImage(entry.images / _picture_name(entry, root, pictures), entry.annotation, declared, objects)


def _picture_name(entry: _Entry, root: ET.Element, pictures: dict[str, list[str]]) -> str:
    """The picture named like the annotation; <filename> decides between several, and where there is none."""
    written = Path((root.findtext("filename") or "").strip().replace("\\", "/")).name
    candidates = pictures.get(entry.annotation.stem, [])
    if written in candidates:
        return written
    return candidates[0] if candidates else written or f"{entry.annotation.stem}.jpg"


def _object(item: ET.Element, index: int) -> RawObject:
    name = (item.findtext("name") or "").strip()
    box = item.find("bndbox")
    texts = [((box.findtext(side) if box is not None else None) or "missing").strip() for side in _SIDES]
    return RawObject(
        class_name=name,
        xyxy=_corners(*(number(text) for text in texts)),
        where=f"object {index} ({name or 'without name'})",
        given=", ".join(texts),
        difficult=(item.findtext("difficult") or "0").strip() in ("1", "true"),
    )


def _corners(xmin: float, ymin: float, xmax: float, ymax: float) -> Corners:
    """1-based inclusive pixels to 0-based continuous corners; equal numbers stay of zero size."""
    return xmin - (xmax > xmin), ymin - (ymax > ymin), xmax, ymax

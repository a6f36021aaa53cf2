"""COCO JSON: annotations/instances_<split>*.json, pictures in <split>2017 or <split> or images/.

Format: cocodataset.org, "Data format", section 1 (object detection). `bbox` is (x, y, width, height) in continuous
pixels from the top left corner. `iscrowd` and `area` are kept, and so is `difficult`, which
edgedet.data.convert writes. Class ids are contiguous, in the order of the category ids.
Also read: <split>/_annotations.coco.json with the pictures beside it.
"""

from __future__ import annotations

import json
import mmap
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from edgedet.data.faults import Fault, fault
from edgedet.data.raw import RawImage, RawObject, RawSplit, declared_size, number
from edgedet.data.reader import Reader
from edgedet.data.source import SPLITS, Place
from edgedet.errors import DataError

_BESIDE_PICTURES = "_annotations.coco.json"
_PART_BYTES = 1 << 20  # the list of categories of a very long file is searched in pieces of this size


class CocoReader(Reader):
    kind = "coco"
    looks_like = "annotations/instances_<split>*.json"

    @classmethod
    def recognises(cls, folder: Path) -> bool:
        return bool(cls.find_places(folder))

    @classmethod
    def find_places(cls, root: Path) -> dict[str, Place]:
        """Raises DataError where two files claim one split."""
        places = {}
        for split in SPLITS:
            files = [f for f in sorted((root / "annotations").glob("*.json")) if _split_of(f) == split]
            beside = [f for name in _folder_names(split) if (f := root / name / _BESIDE_PICTURES).is_file()]
            if len(files) > 1:
                names = ", ".join(f.name for f in files)
                raise DataError(f"{root}: several files are split {split!r} ({names})", "Name one in a YAML file.")
            if files:
                places[split] = Place((files[0],), _image_folder(root, split, files[0]))
            elif beside:
                places[split] = Place((beside[0],), beside[0].parent)
        return places

    def class_names(self) -> tuple[str, ...]:
        if self.source.class_names is not None:
            return self.source.class_names
        names = tuple(self._names_by_id[k] for k in sorted(self._names_by_id))
        if len(set(names)) != len(names):
            raise DataError(f"{self.source.given}: two categories have one name", "Give each a name of its own.")
        return names

    def read(self, split: str) -> RawSplit:
        images: list[RawImage] = []
        faults: list[Fault] = []
        for file in self.places[split].annotations:
            found = self._read_file(file, self.places[split].images or _image_folder(self.source.root, split, file))
            images += found.images
            faults += found.faults
        return RawSplit(tuple(images), tuple(faults))

    @cached_property
    def _names_by_id(self) -> dict[int, str]:
        """Categories of all files; they must not contradict each other."""
        names: dict[int, str] = {}
        for file in dict.fromkeys(file for place in self.places.values() for file in place.annotations):
            for number_, name in _categories(file).items():
                if names.setdefault(number_, name) != name:
                    what = f"{file}: category {number_} is {name!r} here and {names[number_]!r} in another file"
                    raise DataError(what, "Number the categories alike in every file.")
        return names

    def _read_file(self, file: Path, folder: Path) -> RawSplit:
        try:
            content = json.loads(file.read_bytes())
            by_id = {entry["id"]: entry for entry in content["images"]}
            names = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
            objects: dict[Any, list[dict[str, Any]]] = {key: [] for key in by_id}
            strays = [entry for entry in content["annotations"] if entry["image_id"] not in objects]
            for entry in content["annotations"]:
                objects.get(entry["image_id"], []).append(entry)
            images = tuple(_image(file, folder, entry, objects[key], names) for key, entry in by_id.items())
        except FileNotFoundError:
            return RawSplit((), (fault("missing_annotation", file, "there is no such file"),))
        except (OSError, ValueError, RecursionError) as error:
            return RawSplit((), (fault("malformed", file, f"not readable as JSON ({error})"),))
        except (KeyError, TypeError, AttributeError) as error:
            return RawSplit((), (fault("malformed", file, f"not in COCO's form ({type(error).__name__}: {error})"),))
        return RawSplit(images, tuple(_stray_fault(file, entry) for entry in strays))


def _image(
    file: Path, folder: Path, entry: dict[str, Any], objects: list[dict[str, Any]], names: dict[int, str]
) -> RawImage:
    declared = declared_size(entry.get("width"), entry.get("height"))
    return RawImage(folder / entry["file_name"], file, declared, tuple(_object(item, names) for item in objects))


def _object(item: dict[str, Any], names: dict[int, str]) -> RawObject:
    box = item.get("bbox")
    numbers = [number(v) for v in box] if isinstance(box, list) and len(box) == 4 else [float("nan")] * 4
    x, y, width, height = numbers
    category = item.get("category_id")
    return RawObject(
        class_name=names.get(category, f"category {category}"),  # type: ignore[arg-type]
        xyxy=(x, y, x + width, y + height),
        where=f"annotation {item.get('id')}",
        given=", ".join(map(str, box)) if isinstance(box, list) else str(box),
        difficult=bool(item.get("difficult", 0)),
        crowd=bool(item.get("iscrowd", 0)),
        area_px2=number(item.get("area")),
    )


def _stray_fault(file: Path, entry: dict[str, Any]) -> Fault:
    message = f"belongs to image {entry['image_id']}, which the file does not list"
    return fault("malformed_object", file, message, f"annotation {entry.get('id')}")


def _categories(file: Path) -> dict[int, str]:
    """Category names by id, read without parsing the rest: the training file of COCO itself has 450 MB."""
    try:
        entries = _find_categories(file)
        if entries is None:
            entries = json.loads(file.read_bytes())["categories"]
        return {int(entry["id"]): str(entry["name"]) for entry in entries}
    except FileNotFoundError as error:
        raise DataError(f"{file}: there is no such file", "Correct the path.") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{file}: its list of categories is not readable ({error})", "Repair the file.") from error


def _find_categories(file: Path) -> list[dict[str, Any]] | None:
    """The first list under a key "categories" whose entries have an id and a name; None where a search finds none."""
    if file.stat().st_size == 0:
        return None
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for match in re.finditer(rb'"categories"\s*:\s*(?=\[)', content):
            text = content[match.end() : match.end() + _PART_BYTES].decode("utf-8", errors="ignore")
            try:
                value, _ = json.JSONDecoder().raw_decode(text)
            except ValueError:
                continue
            if all(isinstance(entry, dict) and {"id", "name"} <= set(entry) for entry in value):
                return list(value)
    return None


def _split_of(file: Path) -> str | None:
    """instances_val2017.json, instances_val.json and val.json are "val"."""
    match = re.fullmatch(r"(?:instances_)?(train|val|valid|trainval|test)\d*", file.stem)
    return match and match[1].replace("valid", "val")


def _folder_names(split: str) -> tuple[str, ...]:
    return ("val", "valid") if split == "val" else (split,)


def _image_folder(root: Path, split: str, file: Path) -> Path:
    """The first folder that exists of: <stem> (val2017), <split>, the same below images/, images/, the root."""
    stem = file.stem.removeprefix("instances_")
    names = dict.fromkeys((stem, *_folder_names(split)))
    candidates = [root / name for name in names] + [root / "images" / name for name in names] + [root / "images"]
    return next((folder for folder in candidates if folder.is_dir()), root)

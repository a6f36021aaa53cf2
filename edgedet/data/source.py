"""Where a data set lies: a folder, or a YAML file that names its parts.

The YAML file (YOLO's data.yaml is one of these):

    kind: coco                 # voc, coco, yolo or csv; yolo where it is not given
    path: ../photographs       # folder the other paths are relative to; the YAML file's own folder where not given
    names: [cat, dog]          # class order, as a list or as {0: cat, 1: dog}; needed for yolo, optional for the others
    train: {annotations: train.json, images: pictures/train}
    val: {annotations: val.json, images: pictures/val}
    image_labels: classified   # pictures of which only the class is known, <label>/<picture>

A split is {annotations, images}, or one path or a list of paths: the split's own place, in its format's sense (voc: the
list of names; yolo: folders of pictures or lists of them; coco and csv: the annotation file). Without any split the
standard places below `path` are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydantic
import yaml

from edgedet.errors import DataError

SPLITS = ("train", "val", "trainval", "test")
YAML_SUFFIXES = (".yaml", ".yml")
_FORM = "See the module edgedet.data.source for the form of a data set's YAML file."


@dataclass(frozen=True)
class Place:
    """Where one split lies.

    Attributes:
        annotations: annotation files, lists or folders, in the format's sense; every one is read.
        images: folder that image names are relative to; None for the format's own rule.
    """

    annotations: tuple[Path, ...]
    images: Path | None = None


@dataclass(frozen=True)
class Source:
    """A data set to be read.

    Attributes:
        given: the path the user named.
        root: folder of the data set.
        places: split to its place; may lack splits.
        class_names: labels in order, where the user or the format's own file gives them.
        image_labels: folder of pictures of which only the class is known.
    """

    given: Path
    root: Path
    places: Mapping[str, Place] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    image_labels: Path | None = None


class _PlaceForm(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    annotations: Path | list[Path]
    images: Path | None = None


_Split = Path | list[Path] | _PlaceForm | None


class DataForm(pydantic.BaseModel):
    """Fields of the YAML file. Others (nc, download, ...) are other tools' and left alone."""

    kind: str = "yolo"
    path: Path = Path()
    names: list[str] | dict[int, str] | None = None
    train: _Split = None
    val: _Split = None
    trainval: _Split = None
    test: _Split = None
    image_labels: Path | None = None


def read_form(file: Path) -> DataForm:
    """Parse and check the YAML file.

    Raises:
        DataError: unreadable, not YAML, or a field that is wrong, named.
    """
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise DataError(f"{file}: holds no fields", _FORM)
        form = DataForm.model_validate(_text_names(value))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{file}: not a readable YAML file ({str(error).splitlines()[0]})", _FORM) from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{file}: field {first['loc'][0]}: {first['msg']}", _FORM) from error
    return form


def source_of_form(file: Path, form: DataForm) -> Source:
    """The places that a form names, relative to its `path`, which is relative to the file.

    Raises:
        DataError: names are not numbered from 0, or one is there twice.
    """
    root = file.parent / form.path
    places = {s: _place(root, getattr(form, s)) for s in SPLITS if getattr(form, s) is not None}
    labelled = None if form.image_labels is None else root / form.image_labels
    return Source(file, root, places, _names(file, form.names), labelled)


def _text_names(value: dict[str, Any]) -> dict[str, Any]:
    """YAML reads a name such as 7 or no as a number or a truth value; a class name is its text."""
    names = value.get("names")
    if isinstance(names, list):
        return value | {"names": [str(name) for name in names]}
    if isinstance(names, dict):
        return value | {"names": {key: str(name) for key, name in names.items()}}
    return value


def _names(file: Path, names: list[str] | dict[int, str] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{file}: names are numbered {sorted(names)}", "Number the classes from 0 without gaps.")
        names = [names[k] for k in range(len(names))]
    if not names or len(set(names)) != len(names):
        raise DataError(f"{file}: names is empty or holds a name twice", "Give each class one name of its own.")
    return tuple(names)


def _place(root: Path, split: Path | list[Path] | _PlaceForm) -> Place:
    given = split.annotations if isinstance(split, _PlaceForm) else split
    paths = tuple(_found(root, p) for p in (given if isinstance(given, list) else [given]))
    images = split.images if isinstance(split, _PlaceForm) else None
    return Place(paths, root / images if images is not None else None)


def _found(root: Path, path: Path) -> Path:
    """Relative to the root. Some tools write `../train/images` for a folder beside the YAML file: it is taken too."""
    inside = root.joinpath(*path.parts[1:])
    if path.parts[:1] == ("..",) and not (root / path).exists() and inside.exists():
        return inside
    return root / path

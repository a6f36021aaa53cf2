"""read_dataset: recognise the format, read one split, leave out what cannot be used."""

from __future__ import annotations

from pathlib import Path

from edgedet.data.coco import CocoReader
from edgedet.data.csv import CsvReader
from edgedet.data.faults import Fault
from edgedet.data.reader import Reader
from edgedet.data.resolve import resolve
from edgedet.data.source import SPLITS, YAML_SUFFIXES, read_form, source_of_form
from edgedet.data.types import Dataset, Sample
from edgedet.data.voc import VocReader
from edgedet.data.yolo import YoloReader
from edgedet.errors import DataError
from edgedet.progress import track

# The table of annotation formats: one row, one module.
READERS: dict[str, type[Reader]] = {reader.kind: reader for reader in (VocReader, CocoReader, YoloReader, CsvReader)}


def read_dataset(path: Path, split: str) -> Dataset:
    """Read one split of a data set; no picture is decoded.

    Boxes are 0-based continuous corners, clipped to the picture as it is shown. Objects that cannot be used (zero size,
    NaN, wholly outside) and pictures of another size than declared are left out and listed in Dataset.left_out.

    Args:
        path: a folder (Pascal VOC, COCO JSON, YOLO txt or CSV, recognised by its layout) or a YAML file (see
            edgedet.data.source).
        split: "train", "val", "trainval" or "test". Where there is no "trainval" of its own, it is train and val.

    Raises:
        DataError: no such data set or split, an annotation file that cannot be parsed, a picture that is missing or no
            image, a class outside a given list, an empty split.
    """
    reader = open_reader(Path(path))
    parts = parts_of(reader, split)
    names = reader.class_names()
    if not names:
        raise DataError(f"{path}: not one object is labelled", "Label objects, or name the classes in a YAML file.")
    class_ids = {name: k for k, name in enumerate(names)}
    samples: list[Sample] = []
    left_out: list[str] = []
    for raw in (reader.read(part) for part in parts):
        left_out += _use(raw.faults)
        for image in track(raw.images, f"Reading {split} pictures"):
            found = resolve(image, class_ids)
            left_out += _use(found.faults)
            samples += [found.sample] if found.sample else []
    if not samples:
        more = f"; {left_out[0]}" if left_out else ""
        raise DataError(f"{path}: split {split!r} is empty{more}", "Put pictures into it or choose another --split.")
    return Dataset(Path(path), reader.kind, split, names, tuple(samples), tuple(left_out))


def available_splits(path: Path) -> tuple[str, ...]:
    """The splits that a data set holds itself, in the order train, val, trainval, test.

    Raises:
        DataError: no such data set, or none that is recognised.
    """
    reader = open_reader(Path(path))
    return tuple(split for split in SPLITS if split in reader.places)


def open_reader(path: Path) -> Reader:
    """The reader of a folder or YAML file.

    Raises:
        DataError: missing, of no known layout, or of several.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such data set", "Check the path of --data.")
    if path.is_file():
        return _reader_of_yaml(path)
    found = [reader for reader in READERS.values() if reader.recognises(path)]
    if len(found) == 1:
        return found[0](found[0].source_of_folder(path))
    if found:
        kinds = " and ".join(reader.kind for reader in found)
        raise DataError(f"{path}: looks like {kinds}", "Write a YAML file with `kind:` and `path:` and give that.")
    layouts = "; ".join(f"{reader.kind}: {reader.looks_like}" for reader in READERS.values())
    raise DataError(f"{path}: no data set is recognised in this folder", f"Known layouts are {layouts}.")


def parts_of(reader: Reader, split: str) -> tuple[str, ...]:
    """The splits to read for a split: itself, or train and val for a trainval that has no list of its own.

    Raises:
        DataError: there is no such split; says which there are.
    """
    if split in reader.places:
        return (split,)
    if split == "trainval" and {"train", "val"} <= set(reader.places):
        return ("train", "val")
    existing = ", ".join(s for s in SPLITS if s in reader.places) or "none"
    what = f"{reader.source.given}: there is no split {split!r} (this {reader.kind} data set has: {existing})"
    raise DataError(what, f"Choose one of these, or add the split as {reader.kind} does: {reader.looks_like}.")


def _reader_of_yaml(file: Path) -> Reader:
    if file.suffix.lower() not in YAML_SUFFIXES:
        raise DataError(f"{file}: neither a folder nor a YAML file", "Give the data set's folder or its YAML file.")
    form = read_form(file)
    if form.kind not in READERS:
        raise DataError(f"{file}: kind is {form.kind!r}", f"Choose from {', '.join(READERS)}.")
    return READERS[form.kind](source_of_form(file, form))


def _use(faults: tuple[Fault, ...]) -> list[str]:
    """Lines for what is left out; the first fault that cannot be left out stops the reading."""
    for found in faults:
        if found.effect == "stops":
            raise DataError(found.line(), found.remedy)
    return [found.line() for found in faults if found.effect == "left out"]

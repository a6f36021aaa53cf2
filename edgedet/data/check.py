"""check: every annotation fault of every split, found in one pass. Every picture is decoded."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgedet.data.faults import Fault, fault
from edgedet.data.image import IMAGE_SUFFIXES, load_image
from edgedet.data.raw import RawImage, RawSplit
from edgedet.data.read import open_reader
from edgedet.data.reader import Reader
from edgedet.data.resolve import resolve
from edgedet.data.source import SPLITS
from edgedet.errors import DataError
from edgedet.progress import track

# Splits that must not share a picture; what shares one with training makes every figure measured on it worthless.
_APART = {
    ("train", "val"): "train_overlap",
    ("train", "test"): "train_overlap",
    ("trainval", "test"): "train_overlap",
    ("val", "test"): "split_overlap",
}
_NAMED = 5  # names in a message about many pictures


@dataclass(frozen=True)
class _Picture:
    """What decoding a file told: the digest of its bytes, "" where it cannot be read, and why not."""

    digest: str
    problem: DataError | None


def check(path: Path) -> list[Fault]:
    """All faults of a data set, over all its splits.

    Args:
        path: a folder or YAML file that `read_dataset` would take.

    Returns:
        Faults in the order of splits and annotations, each once; empty for a clean data set.

    Raises:
        DataError: there is no data set to be checked, or it holds no split.
    """
    reader = open_reader(Path(path))
    splits = {split: reader.read(split) for split in SPLITS if split in reader.places}
    if not splits:
        what = f"{path}: this {reader.kind} data set has no split"
        raise DataError(what, f"Add one as {reader.kind} does: {reader.looks_like}.")
    pictures = _decode_all({image.image_path for raw in splits.values() for image in raw.images})
    class_ids, faults = _class_ids(reader, splits)
    for split, raw in splits.items():
        faults += raw.faults
        for image in raw.images:
            faults += _image_faults(image, class_ids, pictures[image.image_path])
        faults += _split_faults(reader, split, raw)
    faults += _overlaps(reader, splits, pictures)
    faults += _not_listed(reader, splits)
    return list(dict.fromkeys(faults))


def _class_ids(reader: Reader, splits: Mapping[str, RawSplit]) -> tuple[dict[str, int], list[Fault]]:
    """The reader's list; or every name that occurs, and why the reader cannot make a list."""
    try:
        return {name: k for k, name in enumerate(reader.class_names())}, []
    except DataError as error:
        names = sorted({o.class_name for raw in splits.values() for image in raw.images for o in image.objects})
        known = any(f.effect == "stops" for raw in splits.values() for f in raw.faults)  # then that is the reason
        reasons = [] if known else [fault("malformed", reader.source.given, error.what, remedy=error.remedy)]
        return {name: k for k, name in enumerate(names)}, reasons


def _decode_all(paths: Iterable[Path]) -> dict[Path, _Picture]:
    """Every picture, decoded in threads (Pillow's decoders let other threads run)."""
    ordered = sorted(paths)
    pool = ThreadPoolExecutor()
    try:
        return dict(zip(ordered, track(pool.map(_decode, ordered), "Decoding pictures", len(ordered)), strict=True))
    finally:
        pool.shutdown(cancel_futures=True)  # so that Ctrl-C does not wait for the rest


def _decode(path: Path) -> _Picture:
    try:
        load_image(path)
    except DataError as error:
        return _Picture("", error)
    return _Picture(hashlib.sha256(path.read_bytes()).hexdigest(), None)


def _image_faults(image: RawImage, class_ids: Mapping[str, int], picture: _Picture) -> list[Fault]:
    """Of the picture file and of each object."""
    found = list(resolve(image, class_ids).faults)
    broken = {"missing_image", "unreadable_image"}
    if picture.problem is not None and not broken & {f.kind for f in found}:
        problem = picture.problem
        found.append(fault("unreadable_image", image.annotation_path, problem.what, remedy=problem.remedy))
    return found + _duplicates(image)


def _duplicates(image: RawImage) -> list[Fault]:
    seen: dict[tuple[object, ...], str] = {}
    found = []
    for item in image.objects:
        first = seen.setdefault((item.class_name, item.xyxy), item.where)
        if first != item.where:
            message = f"the same box and class as {first}"
            found.append(fault("duplicate_box", image.annotation_path, message, item.where))
    return found


def _split_faults(reader: Reader, split: str, raw: RawSplit) -> list[Fault]:
    """Of a split as a whole."""
    place = reader.places[split].annotations[0]
    if not raw.images:
        return [fault("empty_split", place, f"split {split!r} has no picture that can be used")]
    found = []
    if twice := [path for path, count in Counter(image.image_path for image in raw.images).items() if count > 1]:
        found.append(fault("listed_twice", place, f"split {split!r} lists pictures more than once: {_some(twice)}"))
    if empty := [image.image_path for image in raw.images if not image.objects]:
        message = f"{len(empty)} of the {len(raw.images)} pictures of split {split!r} have no object: {_some(empty)}"
        found.append(fault("no_objects", place, message))
    return found


def _overlaps(reader: Reader, splits: Mapping[str, RawSplit], pictures: Mapping[Path, _Picture]) -> list[Fault]:
    """Pictures with the same bytes in two splits that must be apart, whatever their names."""
    owners = {
        split: {pictures[image.image_path].digest: image for image in raw.images} for split, raw in splits.items()
    }
    found = []
    for (first, second), kind in _APART.items():
        if not {first, second} <= set(owners) or (first == "trainval" and "train" in owners):
            continue
        for digest, image in owners[second].items():
            if digest and digest in owners[first]:
                twin = owners[first][digest].image_path
                same = "" if twin == image.image_path else f" (as {twin.name})"
                message = f"{image.image_path.name} of split {second!r} is in split {first!r} too{same}"
                found.append(fault(kind, image.annotation_path, message, image.image_path.name))
    return found


def _not_listed(reader: Reader, splits: Mapping[str, RawSplit]) -> list[Fault]:
    """Pictures that lie beside listed ones but belong to no split; one fault a folder."""
    listed = {image.image_path for raw in splits.values() for image in raw.images}
    found = []
    for folder in sorted({path.parent for path in listed}):
        files = folder.iterdir() if folder.is_dir() else ()
        rest = sorted(p for p in files if p.suffix.lower() in IMAGE_SUFFIXES and p not in listed)
        if rest:
            message = f"{len(rest)} pictures of this folder are in no split: {_some(rest)}"
            found.append(fault("not_listed", folder, message))
    return found


def _some(paths: list[Path]) -> str:
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return ", ".join(path.name for path in paths[:_NAMED]) + more

"""Writing a data set as COCO JSON or YOLO txt, with copies of its pictures, for other tools and for tests."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from edgedet.data.folder import require_unused
from edgedet.data.types import Dataset, Sample
from edgedet.errors import DataError
from edgedet.files import atomic_path, write_json, write_text
from edgedet.progress import track


def write_coco(datasets: Sequence[Dataset], out: Path) -> Path:
    """Write splits as annotations/instances_<split>.json and pictures in <split>/.

    Category ids are class_ids + 1. COCO has no word for VOC's difficult: such objects are written with
    "difficult": 1 beside the standard fields, which other tools pass over.

    Args:
        datasets: splits of one data set, each once.
        out: folder to make; it must not exist or be empty.

    Returns:
        `out`, which `read_dataset` takes.

    Raises:
        DataError: `out` is in use, the splits do not belong together, or two pictures of a split have one name.
    """
    _check(datasets, out)
    with atomic_path(out) as root:
        for dataset in datasets:
            _copy_pictures(dataset, root / dataset.split)
            write_json(root / "annotations" / f"instances_{dataset.split}.json", coco_json(dataset))
    return out


def coco_json(dataset: Dataset) -> dict[str, Any]:
    """A split in COCO's form. Image ids count from 1 in the order of the samples, annotation ids likewise."""
    images = [
        {"id": k, "file_name": sample.image_path.name, "width": sample.width_px, "height": sample.height_px}
        for k, sample in enumerate(dataset.samples, start=1)
    ]
    objects = [entry for k, sample in enumerate(dataset.samples, start=1) for entry in _coco_objects(sample, k)]
    annotations = [{"id": k, **entry} for k, entry in enumerate(objects, start=1)]
    categories = [{"id": k, "name": name} for k, name in enumerate(dataset.class_names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write_yolo(datasets: Sequence[Dataset], out: Path) -> Path:
    """Write splits as images/<split>, labels/<split> and data.yaml.

    YOLO txt knows neither difficult nor crowd: such objects are not written, since every tool would train on them.

    Args, returns, raises: as `write_coco`.
    """
    _check(datasets, out)
    with atomic_path(out) as root:
        for dataset in datasets:
            _copy_pictures(dataset, root / "images" / dataset.split)
            for sample in dataset.samples:
                file = root / "labels" / dataset.split / f"{sample.image_path.stem}.txt"
                write_text(file, "".join(_yolo_lines(sample)))
        places = {dataset.split: f"images/{dataset.split}" for dataset in datasets}
        names = dict(enumerate(datasets[0].class_names))
        write_text(root / "data.yaml", yaml.safe_dump({**places, "names": names}, sort_keys=False, allow_unicode=True))
    return out


def _coco_objects(sample: Sample, image_id: int) -> list[dict[str, Any]]:
    found = []
    objects = sample.objects
    for k, (x1, y1, x2, y2) in enumerate(objects.boxes_xyxy_px.tolist()):
        entry = {
            "image_id": image_id,
            "category_id": int(objects.class_ids[k]) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": float(objects.area_px2[k]),
            "iscrowd": int(objects.crowd[k]),
        }
        found.append(entry | ({"difficult": 1} if objects.difficult[k] else {}))
    return found


def _yolo_lines(sample: Sample) -> list[str]:
    width, height = sample.width_px, sample.height_px
    lines = []
    for k, (x1, y1, x2, y2) in enumerate(sample.objects.boxes_xyxy_px.tolist()):
        if not (sample.objects.difficult[k] or sample.objects.crowd[k]):
            numbers = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
            lines.append(f"{sample.objects.class_ids[k]} {' '.join(f'{v:.12g}' for v in numbers)}\n")
    return lines


def _check(datasets: Sequence[Dataset], out: Path) -> None:
    if not datasets or len({d.split for d in datasets}) < len(datasets) or len({d.class_names for d in datasets}) > 1:
        raise DataError(f"{out}: not splits of one data set", "Give each split once, all with the same classes.")
    require_unused(out)


def _copy_pictures(dataset: Dataset, folder: Path) -> None:
    folder.mkdir(parents=True)
    stems: set[str] = set()
    for sample in track(dataset.samples, f"Copying {dataset.split} pictures"):
        if sample.image_path.stem in stems:
            what = f"{sample.image_path}: another picture of split {dataset.split!r} has this name"
            raise DataError(what, "Rename one of the two.")
        stems.add(sample.image_path.stem)
        shutil.copyfile(sample.image_path, folder / sample.image_path.name)

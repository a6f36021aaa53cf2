"""Pictures of which only the class is known, not where it is: a folder for each label, as classifiers' data sets have.

    classified/
      husky/0001.jpg
      terrier/any/where/below.png

The YAML file of a data set names the folder: `image_labels: classified`. Training a tree of classes can mix them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgedet.data.image import IMAGE_SUFFIXES, read_header
from edgedet.data.read import open_reader
from edgedet.data.types import Dataset, GroundTruth, Sample
from edgedet.errors import DataError
from edgedet.progress import track

_FORM = "Put pictures into <label>/ below it, one folder for each label."


def read_image_labels(path: Path, class_names: tuple[str, ...]) -> Dataset:
    """The labelled pictures of a data set; no picture is decoded.

    Args:
        path: a data set that names a folder of them.
        class_names: labels that are known; a folder's name must be one of them.

    Returns:
        A data set of kind and split "image_labels". Each picture's one object is the picture as a whole; its class is
        somewhere in it.

    Raises:
        DataError: the data set names no such folder, or it holds an unknown label, no picture or a broken one.
    """
    folder = open_reader(Path(path)).source.image_labels
    if folder is None:
        remedy = "Name their folder in the data set's YAML file, `image_labels: FOLDER`, or set image_label_share to 0."
        raise DataError(f"{path}: has no pictures of which only the class is known", remedy)
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of labelled pictures", _FORM)
    class_ids = {name: k for k, name in enumerate(class_names)}
    found = [(file, _class_id(file, folder, class_ids)) for file in sorted(folder.rglob("*")) if _is_picture(file)]
    if not found:
        raise DataError(f"{folder}: holds no picture", _FORM)
    samples = tuple(_sample(file, class_id) for file, class_id in track(found, "Reading labelled pictures"))
    return Dataset(folder, "image_labels", "image_labels", class_names, samples)


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()


def _class_id(file: Path, folder: Path, class_ids: Mapping[str, int]) -> int:
    label = file.relative_to(folder).parts[0]
    if label not in class_ids:
        what = f"{file}: {label!r} is no class of the detector ({', '.join(class_ids)})"
        raise DataError(what, "Rename the folder, or add the class to the tree.")
    return class_ids[label]


def _sample(file: Path, class_id: int) -> Sample:
    width, height = read_header(file).shown_wh
    whole = GroundTruth(
        boxes_xyxy_px=np.array([[0, 0, width, height]], np.float32),
        class_ids=np.array([class_id], np.int64),
        difficult=np.zeros(1, np.bool_),
        crowd=np.zeros(1, np.bool_),
        area_px2=np.array([width * height], np.float32),
    )
    return Sample(file, width, height, whole)

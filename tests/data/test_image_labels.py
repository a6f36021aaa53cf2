"""Pictures of which only the class is known, and data sets under a longer list of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedet.data import read_dataset
from edgedet.data.classes import with_classes
from edgedet.data.image_labels import read_image_labels
from edgedet.errors import DataError
from tests.data.makers import DISC, picture, voc, write

NAMES = ("shape", "disc", "square")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A VOC data set of one picture, and a YAML file that names a folder of labelled ones."""
    voc(tmp_path / "voc", {"train": {"a": [DISC, ("square", 1, 1, 9, 9)]}})
    return write(tmp_path / "data.yaml", "kind: voc\npath: voc\nimage_labels: ../classified\n")


def test_folders_are_labels_at_any_depth(data: Path) -> None:
    folder = data.parent / "classified"
    picture(folder / "square" / "b.png", 20, 10)
    picture(folder / "disc" / "deep" / "er" / "a.jpg", 30, 40, orientation=6)
    write(folder / "disc" / "notes.txt", "not a picture")
    found = read_image_labels(data, NAMES)
    assert found.class_names == NAMES
    assert [sample.image_path.name for sample in found.samples] == ["a.jpg", "b.png"]
    assert [sample.objects.class_ids.tolist() for sample in found.samples] == [[1], [2]]
    assert found.samples[0].objects.boxes_xyxy_px.tolist() == [[0, 0, 40, 30]], "as it is shown"


def test_the_splits_with_boxes_are_read_as_ever(data: Path) -> None:
    assert read_dataset(data, "train").class_names == ("disc", "square")


def test_faults_name_folder_and_label(data: Path) -> None:
    folder = data.parent / "classified"
    with pytest.raises(DataError, match="there is no such folder"):
        read_image_labels(data, NAMES)
    folder.mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        read_image_labels(data, NAMES)
    file = picture(folder / "hexagon" / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: 'hexagon' is no class of the detector \(shape, disc, square\)"):
        read_image_labels(data, NAMES)
    file.rename(folder / "a.jpg")
    with pytest.raises(DataError, match=r"'a\.jpg' is no class"):
        read_image_labels(data, NAMES)
    with pytest.raises(DataError, match="image_labels: FOLDER"):
        read_image_labels(data.parent / "voc", NAMES)


def test_a_broken_picture_is_named(data: Path) -> None:
    write(data.parent / "classified" / "disc" / "broken.jpg", "no picture")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        read_image_labels(data, NAMES)


def test_with_classes_renumbers_by_name(data: Path) -> None:
    plain = read_dataset(data, "train")
    wide = with_classes(plain, ("square", "shape", "disc"))
    assert plain.samples[0].objects.class_ids.tolist() == [0, 1]
    assert wide.samples[0].objects.class_ids.tolist() == [2, 0]
    assert wide.samples[0].objects.class_ids.dtype == np.int64
    assert with_classes(plain, plain.class_names) is plain
    with pytest.raises(DataError, match=r"its class 'square' is none of the detector's \(shape, disc\)"):
        with_classes(plain, ("shape", "disc"))

"""Pascal VOC: conventions by hand, devkits, odd and broken files, and the real blood cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedet.data import read_dataset
from edgedet.errors import DataError
from tests.data.makers import DISC, picture, voc, voc_xml, write


def test_coordinates_are_one_based_and_inclusive(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [("disc", 1, 1, 40, 30), ("disc", 3, 4, 10, 12)]}})
    objects = read_dataset(tmp_path, "train").samples[0].objects
    assert objects.boxes_xyxy_px.tolist() == [[0, 0, 40, 30], [2, 3, 10, 12]]
    assert objects.area_px2.tolist() == [1200, 72]
    assert objects.boxes_xyxy_px.dtype == objects.area_px2.dtype == np.float32
    assert objects.class_ids.dtype == np.int64


def test_classes_are_sorted_over_all_splits(tmp_path: Path) -> None:
    square = ("square", 3, 4, 10, 12)
    voc(tmp_path, {"train": {"a": [square]}, "test": {"b": [DISC, ("angle", 1, 1, 5, 5)]}})
    train, test = read_dataset(tmp_path, "train"), read_dataset(tmp_path, "test")
    assert train.class_names == test.class_names == ("angle", "disc", "square")
    assert train.samples[0].objects.class_ids.tolist() == [2]
    assert (train.kind, train.split, train.root) == ("voc", "train", tmp_path)


def test_trainval_is_train_and_val_unless_listed(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC]}, "val": {"b": [DISC]}})
    assert [s.image_path.stem for s in read_dataset(tmp_path, "trainval").samples] == ["a", "b"]
    write(tmp_path / "ImageSets" / "Main" / "trainval.txt", "b\n")
    assert [s.image_path.stem for s in read_dataset(tmp_path, "trainval").samples] == ["b"]


def test_missing_split_names_the_existing_ones(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC]}, "val": {"b": [DISC]}})
    with pytest.raises(DataError, match=r"no split 'test'.*train, val"):
        read_dataset(tmp_path, "test")


@pytest.mark.parametrize("given", [".", "VOCdevkit"])
def test_devkit_of_two_years(tmp_path: Path, given: str) -> None:
    voc(tmp_path / "VOCdevkit" / "VOC2007", {"trainval": {"a": [DISC]}, "test": {"t": [DISC]}})
    voc(tmp_path / "VOCdevkit" / "VOC2012", {"trainval": {"b": [DISC]}})
    assert [s.image_path.stem for s in read_dataset(tmp_path / given, "trainval").samples] == ["a", "b"]
    assert len(read_dataset(tmp_path / given, "test")) == 1


def test_difficult_is_kept(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC, DISC]}})
    file = tmp_path / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<bndbox>", "<difficult>1</difficult><bndbox>", 1))
    assert read_dataset(tmp_path, "train").samples[0].objects.difficult.tolist() == [True, False]


def test_parts_of_an_object_are_not_objects(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC]}})
    file = tmp_path / "Annotations" / "a.xml"
    part = "<part><name>rim</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    file.write_text(file.read_text().replace("</object>", part))
    dataset = read_dataset(tmp_path, "train")
    assert dataset.class_names == ("disc",)
    assert dataset.samples[0].objects.boxes_xyxy_px.tolist() == [[2, 3, 10, 12]]


def test_picture_is_found_by_stem_then_by_filename(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC], "b": [DISC]}})
    images = tmp_path / "JPEGImages"
    (images / "a.jpg").unlink()
    (images / "b.jpg").unlink()
    picture(images / "a.PNG")
    picture(images / "other.jpeg")
    write(tmp_path / "Annotations" / "a.xml", voc_xml([DISC], filename="stale.jpg"))
    write(tmp_path / "Annotations" / "b.xml", voc_xml([DISC], filename="C:\\photos\\other.jpeg"))
    assert [s.image_path.name for s in read_dataset(tmp_path, "train").samples] == ["a.PNG", "other.jpeg"]


def test_unusable_objects_are_left_out_and_listed(tmp_path: Path) -> None:
    boxes = [
        ("disc", 5, 5, 5, 5),
        ("disc", 9, 9, 4, 20),
        ("disc", float("nan"), 1, 5, 5),
        ("disc", 50, 1, 60, 9),
        ("", 1, 1, 5, 5),
        ("disc", 35, 20, 50, 60),  # partly outside: clipped
    ]
    voc(tmp_path, {"train": {"a": boxes}})
    dataset = read_dataset(tmp_path, "train")
    assert dataset.samples[0].objects.boxes_xyxy_px.tolist() == [[34, 19, 40, 30]]
    assert len(dataset.left_out) == 5
    assert all("a.xml: object " in line for line in dataset.left_out)
    assert "(5, 5, 5, 5) has no positive width and height" in dataset.left_out[0]
    assert dataset.class_names == ("disc",)


def test_object_without_a_readable_box_is_left_out(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC, DISC]}})
    file = tmp_path / "Annotations" / "a.xml"
    file.write_text(file.read_text().replace("<xmin>3</xmin>", "<xmin>three</xmin>", 1))
    dataset = read_dataset(tmp_path, "train")
    assert len(dataset.samples[0].objects) == 1
    assert "three" in dataset.left_out[0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("Annotations/a.xml", "<annotation><object>", r"a\.xml: not readable as XML"),
        ("Annotations/a.xml", None, r"a\.xml: there is no such annotation file"),
        ("JPEGImages/a.jpg", None, r"a\.jpg: there is no such image"),
        ("JPEGImages/a.jpg", "text", r"a\.jpg: not an image"),
        ("ImageSets/Main/train.txt", "\n", r"split 'train' is empty"),
    ],
)
def test_broken_data_sets(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    voc(tmp_path, {"train": {"a": [DISC]}, "val": {"b": [DISC]}})
    (tmp_path / name).unlink()
    if content is not None:
        write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as caught:
        read_dataset(tmp_path, "train")
    assert caught.value.remedy


def test_broken_file_of_another_split_stops_too_for_the_class_list_would_differ(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC]}, "val": {"b": [DISC]}})
    write(tmp_path / "Annotations" / "b.xml", "<annotation>")
    with pytest.raises(DataError, match=r"b\.xml"):
        read_dataset(tmp_path, "train")


def test_names_in_yaml_give_the_order_and_forbid_others(tmp_path: Path) -> None:
    voc(tmp_path / "set", {"train": {"a": [DISC]}})
    file = write(tmp_path / "mine.yaml", "kind: voc\npath: set\nnames: [square, disc]\n")
    assert read_dataset(file, "train").samples[0].objects.class_ids.tolist() == [1]
    write(file, "kind: voc\npath: set\nnames: [square]\n")
    with pytest.raises(DataError, match=r"a\.xml: object 1 \(disc\): class 'disc' is not one of .*square"):
        read_dataset(file, "train")


def test_yaml_may_name_the_lists(tmp_path: Path) -> None:
    voc(tmp_path / "set", {"train": {"a": [DISC], "b": [DISC]}})
    write(tmp_path / "lists" / "few.txt", "b\n")
    file = write(tmp_path / "mine.yaml", "kind: voc\npath: set\ntest: ../lists/few.txt\n")
    assert [s.image_path.name for s in read_dataset(file, "test").samples] == ["b.jpg"]


def test_without_any_label_there_are_no_classes(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": []}})
    with pytest.raises(DataError, match="not one object is labelled"):
        read_dataset(tmp_path, "train")


def test_pictures_without_objects_are_samples(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC], "b": []}})
    sample = read_dataset(tmp_path, "train").samples[1]
    assert len(sample.objects) == 0
    assert sample.objects.boxes_xyxy_px.shape == (0, 4)


def test_blood_cells(shared_data: Path) -> None:
    root = shared_data / "data" / "bccd"
    splits = {split: read_dataset(root, split) for split in ("train", "val", "test", "trainval")}
    assert {split: len(d) for split, d in splits.items()} == {"train": 205, "val": 87, "test": 72, "trainval": 292}
    parts = [splits[s] for s in ("train", "val", "test")]
    left_out = [line for d in parts for line in d.left_out]
    assert sum(len(s.objects) for d in parts for s in d.samples) + len(left_out) == 4888
    assert sorted(line.split("BloodImage_")[1][:5] for line in left_out) == ["00338", "00343"]
    assert {d.class_names for d in splits.values()} == {("Platelets", "RBC", "WBC")}
    for sample in splits["test"].samples:
        assert (sample.width_px, sample.height_px) == (640, 480)
        assert (sample.objects.boxes_xyxy_px >= 0).all()
        assert (sample.objects.boxes_xyxy_px <= [640, 480, 640, 480]).all()

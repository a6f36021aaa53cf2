"""YOLO txt: conventions by hand, layouts, broken files."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedet.data import read_dataset
from edgedet.data.yolo import label_path
from edgedet.errors import DataError
from tests.data.makers import picture, write, yolo


def test_normalised_centre_and_size(tmp_path: Path) -> None:
    dataset = read_dataset(yolo(tmp_path, "1 0.5 0.5 0.25 0.5\n\n0 0.1 0.1 0.2 0.2\n"), "val")
    objects = dataset.samples[0].objects
    assert objects.boxes_xyxy_px[0].tolist() == [15, 7.5, 25, 22.5]
    assert objects.boxes_xyxy_px[1].tolist() == pytest.approx([0, 0, 8, 6], abs=1e-5)
    assert objects.class_ids.tolist() == [1, 0]
    assert dataset.class_names == ("disc", "square")
    assert not objects.difficult.any()
    assert not objects.crowd.any()


def test_the_yaml_file_itself_and_names_as_numbers(tmp_path: Path) -> None:
    yolo(tmp_path, names="{1: square, 0: disc}")
    assert read_dataset(tmp_path / "data.yaml", "val").class_names == ("disc", "square")


def test_names_that_yaml_takes_for_something_else(tmp_path: Path) -> None:
    assert read_dataset(yolo(tmp_path, names="[7, off]"), "val").class_names == ("7", "False")
    assert read_dataset(yolo(tmp_path, names="['7', 'off']"), "val").class_names == ("7", "off")


def test_no_label_file_means_no_objects(tmp_path: Path) -> None:
    yolo(tmp_path)
    picture(tmp_path / "images" / "val" / "b.jpg")
    assert [len(s.objects) for s in read_dataset(tmp_path, "val").samples] == [1, 0]


def test_boxes_are_of_the_picture_as_shown(tmp_path: Path) -> None:
    yolo(tmp_path, "0 0.5 0.25 1 0.5\n")
    picture(tmp_path / "images" / "val" / "a.jpg", 40, 30, orientation=6)
    sample = read_dataset(tmp_path, "val").samples[0]
    assert (sample.width_px, sample.height_px) == (30, 40)
    assert sample.objects.boxes_xyxy_px.tolist() == [[0, 0, 30, 20]]


@pytest.mark.parametrize(
    ("split_value", "folder"),
    [
        ("images/val", "images/val"),
        ("[images/val]", "images/val"),
        ("valid/images", "valid/images"),
        ("../valid/images", "valid/images"),
        ("list.txt", "images/val"),
        ("photos", "photos"),
    ],
)
def test_places_of_pictures(tmp_path: Path, split_value: str, folder: str) -> None:
    root = tmp_path / "set"
    path = picture(root / folder / "a.jpg")
    write(label_path(path), "0 0.5 0.5 0.5 0.5")
    write(root / "list.txt", "./images/val/a.jpg\n")
    write(root / "data.yaml", f"val: {split_value}\nnames: [disc]\n")
    dataset = read_dataset(root, "val")
    assert dataset.samples[0].image_path.samefile(path)
    assert len(dataset.samples[0].objects) == 1


def test_label_path() -> None:
    assert label_path(Path("/images/set/images/val/a.b.jpg")) == Path("/images/set/labels/val/a.b.txt")
    assert label_path(Path("photos/a.jpg")) == Path("photos/a.txt")
    assert label_path(Path("photos/images")) == Path("photos/images.txt")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.25", "line 2: has 4 columns"),
        ("0 0.5 0.5 0.25 0.5 0.9", "line 2: has 6 columns"),
        ("0 nan 0.5 0.25 0.5", "line 2: box (nan 0.5 0.25 0.5) holds something that is not a number"),
        ("0 x 0.5 0.25 0.5", "line 2: box (x 0.5 0.25 0.5) holds something"),
        ("0 0.5 0.5 0 0.5", "line 2: box (0.5 0.5 0 0.5) has no positive width and height"),
        ("0 0.5 0.5 -0.1 0.5", "no positive width and height"),
        ("0 1.5 0.5 0.2 0.5", "lies outside the picture of 40x30 px"),
    ],
)
def test_unusable_lines_are_left_out(tmp_path: Path, line: str, message: str) -> None:
    dataset = read_dataset(yolo(tmp_path, f"0 0.5 0.5 0.25 0.5\n{line}\n"), "val")
    assert len(dataset.samples[0].objects) == 1
    assert len(dataset.left_out) == 1
    assert message in dataset.left_out[0]
    assert "a.txt" in dataset.left_out[0]


@pytest.mark.parametrize("class_id", ["2", "-1", "0.5", "disc", "nan"])
def test_unknown_class(tmp_path: Path, class_id: str) -> None:
    with pytest.raises(DataError, match=rf"a\.txt: line 1: class 'id {class_id}' is not one of .*disc, square"):
        read_dataset(yolo(tmp_path, f"{class_id} 0.5 0.5 0.25 0.5"), "val")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("val: images/val\n", "names no classes"),
        ("val: images/none\nnames: [a, b]\n", "no such folder or list"),
        ("names: [a, a]\nval: images/val\n", "holds a name twice"),
        ("names: {0: a, 2: b}\nval: images/val\n", r"numbered \[0, 2\]"),
        ("names: 3\nval: images/val\n", "field names"),
        ("val: {images: a}\nnames: [a]\n", "field val"),
        ("- a\n", "holds no fields"),
        ("a: [\n", "not a readable YAML file"),
        ("train: images/val\nnames: [a, b]\n", r"no split 'val'.*has: train"),
        ("kind: pascal\nval: images/val\nnames: [a, b]\n", r"kind is 'pascal'.*voc, coco, yolo, csv"),
    ],
)
def test_broken_yaml(tmp_path: Path, text: str, message: str) -> None:
    yolo(tmp_path)
    write(tmp_path / "data.yaml", text)
    with pytest.raises(DataError, match=message):
        read_dataset(tmp_path / "data.yaml", "val")


def test_binary_label_file(tmp_path: Path) -> None:
    yolo(tmp_path)
    (tmp_path / "labels" / "val" / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"a\.txt: not readable as text"):
        read_dataset(tmp_path, "val")

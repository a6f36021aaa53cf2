"""COCO JSON: conventions by hand, layouts, broken files, and the real subset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgedet.data import read_dataset
from edgedet.errors import DataError
from tests.data.makers import coco, coco_content, picture, write


def test_boxes_classes_area_and_crowd(tmp_path: Path) -> None:
    content = coco_content([(2, 3, 8, 9), (0, 0, 40, 30)])
    content["annotations"][1] |= {"iscrowd": 1, "category_id": 7, "area": 321.5}
    dataset = read_dataset(coco(tmp_path, content), "val")
    objects = dataset.samples[0].objects
    assert dataset.class_names == ("disc", "square")  # by category id: 3, 7
    assert objects.boxes_xyxy_px.tolist() == [[2, 3, 10, 12], [0, 0, 40, 30]]
    assert objects.class_ids.tolist() == [0, 1]
    assert objects.crowd.tolist() == [False, True]
    assert objects.area_px2.tolist() == [50, 321.5]
    assert dataset.kind == "coco"


@pytest.mark.parametrize("area", [None, 0, -3, "many"])
def test_unusable_area_becomes_the_box_area(tmp_path: Path, area: object) -> None:
    content = coco_content()
    content["annotations"][0]["area"] = area
    assert read_dataset(coco(tmp_path, content), "val").samples[0].objects.area_px2.tolist() == [72]


@pytest.mark.parametrize("folder", ["val2017", "val", "images/val2017", "images/val", "images"])
def test_pictures_are_found_in_the_usual_places(tmp_path: Path, folder: str) -> None:
    write(tmp_path / "annotations" / "instances_val2017.json", json.dumps(coco_content()))
    path = picture(tmp_path / folder / "a.jpg")
    assert read_dataset(tmp_path, "val").samples[0].image_path == path


def test_annotations_beside_the_pictures(tmp_path: Path) -> None:
    write(tmp_path / "valid" / "_annotations.coco.json", json.dumps(coco_content()))
    picture(tmp_path / "valid" / "a.jpg")
    assert len(read_dataset(tmp_path, "val")) == 1


def test_yaml_names_files_and_order(tmp_path: Path) -> None:
    write(tmp_path / "marks.json", json.dumps(coco_content()))
    picture(tmp_path / "photos" / "a.jpg")
    text = "kind: coco\nnames: [square, disc]\ntest: {annotations: marks.json, images: photos}\n"
    dataset = read_dataset(write(tmp_path / "mine.yaml", text), "test")
    assert dataset.samples[0].objects.class_ids.tolist() == [1]


def test_classes_of_all_files_together(tmp_path: Path) -> None:
    coco(tmp_path, split="val")
    coco(tmp_path, coco_content(categories=[{"id": 3, "name": "disc"}, {"id": 1, "name": "angle"}]), split="train")
    assert read_dataset(tmp_path, "val").class_names == ("angle", "disc", "square")
    coco(tmp_path, coco_content(categories=[{"id": 3, "name": "ring"}]), split="train")
    with pytest.raises(DataError, match=r"category 3 is 'disc' here and 'ring'"):
        read_dataset(tmp_path, "val")


def test_categories_are_read_wherever_they_stand(tmp_path: Path) -> None:
    """The quick search must not be misled by the same word elsewhere."""
    content = {"info": {"categories": ["a", "b"], "note": '"categories": [{'}, **coco_content()}
    assert read_dataset(coco(tmp_path, content), "val").class_names == ("disc", "square")


def test_two_files_for_one_split(tmp_path: Path) -> None:
    coco(tmp_path)
    write(tmp_path / "annotations" / "instances_val2014.json", "{}")
    with pytest.raises(DataError, match=r"instances_val2014.json, instances_val2017.json.*YAML"):
        read_dataset(tmp_path, "val")


def _without(key: str) -> dict[str, Any]:
    content = coco_content()
    del content[key]
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"val2017\.json.*not readable"),
        ("", r"val2017\.json.*not readable"),
        ("[]", r"val2017\.json.*not readable"),
        (_without("categories"), r"val2017\.json.*not readable"),
        (_without("images"), r"val2017\.json.*not in COCO's form.*images"),
        (_without("annotations"), r"val2017\.json.*not in COCO's form.*annotations"),
        (coco_content(images=[{"id": 5}]), r"not in COCO's form.*file_name"),
        (coco_content(images=[]), r"split 'val' is empty"),
        (coco_content(categories=[{"id": 4, "name": "disc"}]), r"annotation 1: class 'category 3' is not one of"),
        (coco_content(categories=[{"id": 3, "name": "a"}, {"id": 4, "name": "a"}]), r"two categories have one name"),
    ],
)
def test_broken_files(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_dataset(coco(tmp_path, content), "val")


def test_unusable_annotations_are_left_out(tmp_path: Path) -> None:
    content = coco_content([(2, 3, 8, 9), (2, 3, 0, 9), (2, 3, -4, 9), (50, 3, 4, 4)])
    content["annotations"] += [
        {"id": 10, "image_id": 5, "category_id": 3, "bbox": [1, 2, 3]},
        {"id": 11, "image_id": 5, "category_id": 3},
        {"id": 12, "image_id": 5, "category_id": 3, "bbox": [1, None, 3, 4]},
        {"id": 13, "image_id": 99, "category_id": 3, "bbox": [1, 2, 3, 4]},
    ]
    dataset = read_dataset(coco(tmp_path, content), "val")
    assert len(dataset.samples[0].objects) == 1
    named = sorted(int(line.split("annotation ")[1].split(":")[0]) for line in dataset.left_out)
    assert named == [2, 3, 4, 10, 11, 12, 13]


def test_coco_mini(shared_data: Path) -> None:
    root = shared_data / "data" / "coco_mini"
    dataset = read_dataset(root, "val")
    content = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    assert len(dataset) == 79
    assert len(dataset.class_names) == 80
    assert dataset.class_names[:2] == ("person", "bicycle")
    assert sum(len(s.objects) for s in dataset.samples) == len(content["annotations"]) == 624
    assert sum(int(s.objects.crowd.sum()) for s in dataset.samples) == 5
    assert dataset.left_out == ()

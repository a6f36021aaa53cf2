"""check finds every planted fault, in every format, and nothing in clean data."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from edgedet.data import read_dataset
from edgedet.data.check import check
from edgedet.data.faults import KINDS, Fault
from edgedet.errors import DataError
from tests.data.makers import CSV_HEADER, DISC, coco, coco_content, csv, picture, truncate, voc, voc_xml, write, yolo


def _kinds(path: Path) -> list[str]:
    return sorted(found.kind for found in check(path))


def _named(faults: list[Fault], kind: str) -> list[str]:
    return [found.line() for found in faults if found.kind == kind]


def test_clean_sets_have_no_faults(tmp_path: Path) -> None:
    assert check(voc(tmp_path / "v", {"train": {"a": [DISC]}, "test": {"b": [DISC]}})) == []
    assert check(coco(tmp_path / "c")) == []
    assert check(yolo(tmp_path / "y")) == []
    assert check(csv(tmp_path / "t")) == []


def test_all_faults_of_a_voc_set_in_one_pass(tmp_path: Path) -> None:
    nan = float("nan")
    boxes = {
        "clean": [DISC],
        "bad_boxes": [("disc", 5, 5, 5, 9), ("disc", nan, 1, 2, 2), ("disc", 90, 1, 95, 9), ("", 1, 1, 5, 5)],
        "outside": [("disc", 30, 20, 60, 25), ("disc", 0, 3, 5, 7), DISC, DISC],
        "empty": [],
        "cut": [DISC],
        "gone": [DISC],
        "text": [DISC],
        "resized": [DISC, ("disc", 7, 7, 7, 7)],
        "malformed": [],
        "unmarked": [],
        "turned": [DISC],
    }
    root = voc(tmp_path, {"train": boxes, "val": {"v": [DISC], "w": [DISC]}, "test": {"t": [DISC], "clean": [DISC]}})
    images, annotations = root / "JPEGImages", root / "Annotations"
    picture(images / "cut.jpg", 40, 30)
    truncate(images / "cut.jpg")
    (images / "gone.jpg").unlink()
    write(images / "text.jpg", "no picture")
    write(annotations / "resized.xml", voc_xml(boxes["resized"], (80, 60)))
    write(annotations / "malformed.xml", "<annotation>")
    (annotations / "unmarked.xml").unlink()
    picture(images / "turned.jpg", 40, 30, orientation=8)
    shutil.copyfile(images / "v.jpg", images / "t.jpg")  # the same picture under another name
    picture(images / "stray.png")
    faults = check(root)
    assert Counter(found.kind for found in faults) == {
        "zero_size": 2,
        "not_a_number": 1,
        "outside": 1,
        "malformed_object": 1,
        "partly_outside": 1,
        "off_by_one": 1,
        "duplicate_box": 1,
        "no_objects": 1,
        "unreadable_image": 2,
        "missing_image": 1,
        "size_differs": 1,
        "malformed": 1,
        "missing_annotation": 1,
        "not_turned": 1,
        "train_overlap": 1,
        "split_overlap": 1,
        "not_listed": 1,
    }
    assert "clean.jpg of split 'test' is in split 'train' too" in _named(faults, "train_overlap")[0]
    assert "t.jpg of split 'test' is in split 'val' too (as v.jpg)" in _named(faults, "split_overlap")[0]
    assert "box (5, 5, 5, 9)" in _named(faults, "zero_size")[0]
    assert "reaches 20 px outside the picture of 40x30 px" in _named(faults, "partly_outside")[0]
    assert "reaches 1 px outside" in _named(faults, "off_by_one")[0]
    assert "1 of the 9 pictures of split 'train' have no object: empty.jpg" in _named(faults, "no_objects")[0]
    # malformed.jpg and unmarked.jpg have no annotation that could be read, so no split has them
    assert "3 pictures of this folder are in no split: malformed.jpg, stray.png" in _named(faults, "not_listed")[0]
    assert all(found.remedy for found in faults)


def test_lists(tmp_path: Path) -> None:
    root = voc(tmp_path, {"train": {"a": [DISC]}, "val": {}})
    write(root / "ImageSets" / "Main" / "train.txt", "a\na\n")
    assert _kinds(root) == ["empty_split", "listed_twice"]


def test_trainval_of_its_own_is_not_an_overlap(tmp_path: Path) -> None:
    root = voc(tmp_path, {"train": {"a": [DISC]}, "val": {"b": [DISC]}, "trainval": {"a": [DISC], "b": [DISC]}})
    assert check(root) == []


def test_trainval_and_test_must_be_apart(tmp_path: Path) -> None:
    assert _kinds(voc(tmp_path, {"trainval": {"a": [DISC]}, "test": {"a": [DISC]}})) == ["train_overlap"]


def test_each_fault_is_reported_once_though_trainval_repeats_it(tmp_path: Path) -> None:
    bad = {"a": [("disc", 5, 5, 5, 9)]}
    assert _kinds(voc(tmp_path, {"train": bad, "trainval": bad})) == ["zero_size"]


def test_unknown_class(tmp_path: Path) -> None:
    voc(tmp_path / "set", {"train": {"a": [DISC, ("ring", 1, 1, 5, 5)]}})
    config = write(tmp_path / "mine.yaml", "kind: voc\npath: set\nnames: [disc]\n")
    assert _kinds(config) == ["unknown_class"]
    assert _kinds(yolo(tmp_path / "y", "2 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1\n")) == ["malformed_object", "unknown_class"]


def test_broken_files_of_the_other_formats(tmp_path: Path) -> None:
    assert _kinds(coco(tmp_path / "c", "{")) == ["empty_split", "malformed"]
    stray = coco_content()
    stray["annotations"][0]["image_id"] = 6
    assert _kinds(coco(tmp_path / "d", stray)) == ["malformed_object", "no_objects"]
    broken = csv(tmp_path / "t")
    (broken / "train_labels.csv").write_bytes(CSV_HEADER.encode() + b"\xff")
    assert _kinds(broken) == ["empty_split", "malformed"]
    missing = yolo(tmp_path / "y")
    write(missing / "data.yaml", "val: images/none\nnames: [disc]\n")
    assert _kinds(missing) == ["empty_split", "missing_annotation"]


def test_contradicting_categories_are_a_fault(tmp_path: Path) -> None:
    coco(tmp_path, split="val")
    content = coco_content(categories=[{"id": 3, "name": "ring"}])
    content["images"][0]["file_name"] = "b.jpg"
    coco(tmp_path, content, split="train")
    (tmp_path / "train2017" / "a.jpg").unlink()
    picture(tmp_path / "train2017" / "b.jpg")
    faults = check(tmp_path)
    assert [found.kind for found in faults] == ["malformed"]
    assert "category 3" in faults[0].message


def test_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data set"):
        check(tmp_path / "none")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="this voc data set has no split"):
        check(tmp_path)


def test_reading_and_checking_agree_on_what_stops(tmp_path: Path) -> None:
    """What check calls an error that stops, read_dataset raises; else it reads."""
    for index, box in enumerate([DISC, ("disc", 5, 5, 5, 9), ("disc", 30, 20, 60, 25)]):
        root = voc(tmp_path / str(index), {"train": {"a": [box, DISC]}})
        assert not any(found.effect == "stops" for found in check(root))
        assert len(read_dataset(root, "train")) == 1
    (root / "JPEGImages" / "a.jpg").unlink()
    assert any(found.effect == "stops" for found in check(root))
    with pytest.raises(DataError):
        read_dataset(root, "train")


def test_kinds_that_stop_are_errors() -> None:
    assert all(kind.severity == "error" for kind in KINDS.values() if kind.effect != "kept")


def test_real_sets(shared_data: Path) -> None:
    faults = check(shared_data / "data" / "bccd")
    assert sorted((f.kind, f.file.name) for f in faults) == [
        ("zero_size", "BloodImage_00338.xml"),
        ("zero_size", "BloodImage_00343.xml"),
    ]
    assert check(shared_data / "data" / "coco_mini") == []

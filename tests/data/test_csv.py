"""The tutorial CSV: conventions by hand, broken files, and the real microcontrollers."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedet.data import read_dataset
from edgedet.errors import DataError
from tests.data.makers import CSV_HEADER, csv, picture, write


def test_coordinates_are_continuous_from_zero_and_rows_are_grouped(tmp_path: Path) -> None:
    rows = "b.jpg,40,30,disc,0,0,40,30\na.jpg,40,30,square,3,4,10,12\nb.jpg,40,30,disc,1.5,2,3,4\n"
    csv(tmp_path, rows)
    picture(tmp_path / "train" / "b.jpg")
    dataset = read_dataset(tmp_path, "train")
    assert [s.image_path.name for s in dataset.samples] == ["b.jpg", "a.jpg"]
    assert dataset.samples[0].objects.boxes_xyxy_px.tolist() == [[0, 0, 40, 30], [1.5, 2, 3, 4]]
    assert dataset.samples[1].objects.boxes_xyxy_px.tolist() == [[3, 4, 10, 12]]
    assert dataset.class_names == ("disc", "square")


def test_columns_may_come_in_any_order_with_others_and_a_byte_order_mark(tmp_path: Path) -> None:
    header = "\ufeffclass,xmin,ymin,xmax,ymax,note,filename,width,height\n"
    csv(tmp_path, "disc,3,4,10,12,blurred,a.jpg,40,30\n", header=header)
    assert read_dataset(tmp_path, "train").samples[0].objects.boxes_xyxy_px.tolist() == [[3, 4, 10, 12]]


@pytest.mark.parametrize("folder", ["train", "images/train", "images", "."])
def test_pictures_are_found_in_the_usual_places(tmp_path: Path, folder: str) -> None:
    (tmp_path / "train").mkdir()
    write(tmp_path / "train_labels.csv", CSV_HEADER + "p.jpg,40,30,disc,3,4,10,12\n")
    path = picture(tmp_path / folder / "p.jpg")
    assert read_dataset(tmp_path, "train").samples[0].image_path == path


def test_classes_of_all_splits(tmp_path: Path) -> None:
    csv(tmp_path)
    csv(tmp_path, "a.jpg,40,30,angle,3,4,10,12\n", split="test")
    assert read_dataset(tmp_path, "train").class_names == ("angle", "disc")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.jpg,40,30,disc,3,4,,12\n", "line 3: box (3, 4, , 12) holds something that is not a number"),
        ("a.jpg,40,30,disc,3,4\n", "line 3: box (3, 4, , ) holds something that is not a number"),
        ("a.jpg,40,30,disc,3,4,3,12\n", "no positive width and height"),
        ("a.jpg,40,30,,3,4,10,12\n", "line 3: has no class name"),
        ("a.jpg,40,30,disc,-9,-9,-1,-1\n", "lies outside the picture"),
    ],
)
def test_unusable_rows_are_left_out(tmp_path: Path, rows: str, message: str) -> None:
    csv(tmp_path, "a.jpg,40,30,disc,3,4,10,12\n" + rows)
    dataset = read_dataset(tmp_path, "train")
    assert len(dataset.samples[0].objects) == 1
    assert len(dataset.left_out) == 1
    assert message in dataset.left_out[0]


def test_broken_files(tmp_path: Path) -> None:
    csv(tmp_path)
    file = tmp_path / "train_labels.csv"
    file.write_text(CSV_HEADER)
    with pytest.raises(DataError, match=r"not one object is labelled"):
        read_dataset(tmp_path, "train")
    file.write_bytes(CSV_HEADER.encode() + b"a.jpg,40,30,\xff\xfe,1,2,3,4\n")
    with pytest.raises(DataError, match=r"train_labels\.csv: not readable as CSV"):
        read_dataset(tmp_path, "train")
    file.write_text("filename,class\na.jpg,disc\n")
    config = write(tmp_path / "mine.yaml", "kind: csv\ntrain: train_labels.csv\n")
    with pytest.raises(DataError, match=r"lacks the column width, height, xmin"):
        read_dataset(config, "train")
    file.unlink()
    with pytest.raises(DataError, match=r"train_labels\.csv: there is no such file"):
        read_dataset(config, "train")


def test_microcontrollers(shared_data: Path) -> None:
    root = shared_data / "data" / "microcontrollers"
    train, test = read_dataset(root, "train"), read_dataset(root, "test")
    assert (len(train), len(test)) == (142, 7)
    assert sum(len(s.objects) for d in (train, test) for s in d.samples) == 177
    assert train.class_names == ("Arduino_Nano", "ESP8266", "Heltec_ESP32_Lora", "Raspberry_Pi_3")
    assert train.left_out == test.left_out == ()
    assert train.samples[0].objects.boxes_xyxy_px.tolist() == [[317, 265, 556, 342]]
    with pytest.raises(DataError, match=r"no split 'val'.*train, test"):
        read_dataset(root, "val")

"""Recognising formats, and how pictures and boxes are brought together whatever the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.data import available_splits, load_image, read_dataset
from edgedet.data.image import ImageHeader
from edgedet.data.raw import RawImage, RawObject, declared_size
from edgedet.data.read import READERS
from edgedet.data.resolve import resolve
from edgedet.errors import DataError
from tests.data.makers import DISC, coco, csv, picture, truncate, voc, voc_xml, write, yolo


def test_every_reader_recognises_its_own_layout_only(tmp_path: Path) -> None:
    made = {
        "voc": voc(tmp_path / "v", {"train": {"a": [DISC]}}),
        "coco": coco(tmp_path / "c", split="train"),
        "yolo": yolo(tmp_path / "y", split="train"),
        "csv": csv(tmp_path / "t"),
    }
    assert set(made) == set(READERS)
    for kind, folder in made.items():
        assert [name for name, reader in READERS.items() if reader.recognises(folder)] == [kind]
        dataset = read_dataset(folder, "train")
        assert (dataset.kind, len(dataset), len(dataset.samples[0].objects)) == (kind, 1, 1)
        assert available_splits(folder) == ("train",)


def test_paths_that_are_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: there is no such data set"):
        read_dataset(tmp_path / "none", "train")
    with pytest.raises(DataError, match=r"no data set is recognised.*Annotations.*instances_.*data\.yaml.*_labels"):
        read_dataset(tmp_path, "train")
    with pytest.raises(DataError, match=r"a\.json: neither a folder nor a YAML file"):
        read_dataset(write(tmp_path / "a.json", "{}"), "train")


def test_a_folder_of_two_kinds_is_not_guessed(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC]}})
    coco(tmp_path)
    with pytest.raises(DataError, match=r"looks like voc and coco.*kind"):
        read_dataset(tmp_path, "train")


def test_reading_does_not_decode(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC]}})
    picture(tmp_path / "JPEGImages" / "a.jpg", 400, 300)
    write(tmp_path / "Annotations" / "a.xml", voc_xml([DISC], (400, 300)))
    truncate(tmp_path / "JPEGImages" / "a.jpg")
    sample = read_dataset(tmp_path, "train").samples[0]
    with pytest.raises(DataError):
        load_image(sample.image_path)


def test_boxes_drawn_before_exif_rotation_are_turned(tmp_path: Path) -> None:
    """The declared size tells on which of the two pictures they were drawn."""
    voc(tmp_path, {"train": {"a": [], "b": []}})
    for name, declared in (("a", (40, 30)), ("b", (30, 40))):
        picture(tmp_path / "JPEGImages" / f"{name}.jpg", 40, 30, orientation=6)
        write(tmp_path / "Annotations" / f"{name}.xml", voc_xml([("disc", 2, 3, 11, 7)], declared))
    stored, shown = read_dataset(tmp_path, "train").samples
    assert (stored.width_px, stored.height_px) == (shown.width_px, shown.height_px) == (30, 40)
    assert stored.objects.boxes_xyxy_px.tolist() == [[23, 1, 28, 11]]
    assert shown.objects.boxes_xyxy_px.tolist() == [[1, 2, 11, 7]]


def test_a_picture_of_another_size_than_declared_is_left_out(tmp_path: Path) -> None:
    voc(tmp_path, {"train": {"a": [DISC], "b": [DISC]}})
    write(tmp_path / "Annotations" / "a.xml", voc_xml([DISC], (80, 60)))
    dataset = read_dataset(tmp_path, "train")
    assert [s.image_path.stem for s in dataset.samples] == ["b"]
    assert "declares 80x60 px but a.jpg has 40x30 px" in dataset.left_out[0]


@pytest.mark.parametrize("size", [None, (0, 0)])
def test_without_a_declared_size_the_picture_counts(tmp_path: Path, size: tuple[int, int] | None) -> None:
    voc(tmp_path, {"train": {"a": [DISC]}})
    write(tmp_path / "Annotations" / "a.xml", voc_xml([DISC], size))
    assert read_dataset(tmp_path, "train").samples[0].width_px == 40


@pytest.mark.parametrize("text", [None, "", "x", "0", "-3", "nan", "inf", "2.5"])
def test_declared_size_must_be_a_number(text: str | None) -> None:
    assert declared_size(text, "30") is None
    assert declared_size("40.0", 30) == (40, 30)


@pytest.fixture(scope="module")
def some_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture(tmp_path_factory.mktemp("pictures") / "a.png", 40, 30)


_NUMBER = st.one_of(st.floats(-60, 100), st.floats(width=64), st.integers(-60, 100).map(float))


@settings(deadline=None)
@given(corners=st.lists(st.tuples(_NUMBER, _NUMBER, _NUMBER, _NUMBER), max_size=6), unit=st.booleans())
def test_what_is_kept_is_always_usable(
    some_picture: Path, corners: list[tuple[float, float, float, float]], unit: bool
) -> None:
    objects = tuple(RawObject("disc", box, f"object {k}", "") for k, box in enumerate(corners))
    found = resolve(RawImage(some_picture, Path("a.xml"), None, objects, unit), {"disc": 0})
    assert found.sample is not None
    truth = found.sample.objects
    boxes = truth.boxes_xyxy_px
    assert np.isfinite(boxes).all()
    assert (boxes >= 0).all()
    assert (boxes <= [40, 30, 40, 30]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(truth) + sum(f.effect == "left out" for f in found.faults) == len(corners)


@settings(deadline=None)
@given(st.tuples(*[st.floats(0, 1)] * 4))
def test_boxes_inside_are_kept_as_they_are(some_picture: Path, numbers: tuple[float, float, float, float]) -> None:
    x1, x2 = sorted((numbers[0] * 40, numbers[1] * 40))
    y1, y2 = sorted((numbers[2] * 30, numbers[3] * 30))
    item = RawObject("disc", (x1, y1, x2, y2), "object 1", "")
    found = resolve(RawImage(some_picture, Path("a.xml"), (40, 30), (item,)), {"disc": 0})
    assert found.sample is not None
    kept = found.sample.objects.boxes_xyxy_px
    expected = np.array([[x1, y1, x2, y2]], np.float32)
    if expected[0, 2] > expected[0, 0] and expected[0, 3] > expected[0, 1]:
        np.testing.assert_array_equal(kept, expected)
        assert found.faults == ()
    else:
        assert len(kept) == 0


def test_header_sizes() -> None:
    assert ImageHeader((40, 30), 1).shown_wh == (40, 30)
    assert ImageHeader((40, 30), 8).shown_wh == (30, 40)

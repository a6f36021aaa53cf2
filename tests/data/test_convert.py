"""One set in every format: what is read back is what was written."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedet.data import Dataset, GroundTruth, Sample, read_dataset
from edgedet.data.convert import write_coco, write_yolo
from edgedet.data.synth import write_synthetic
from edgedet.errors import DataError
from edgedet.evaluation import evaluate_detections
from edgedet.runner import Detections
from tests.data.makers import DISC, picture, voc, voc_xml, write

_WIDTH, _HEIGHT = 40, 30


@pytest.fixture(scope="module")
def some_picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture(tmp_path_factory.mktemp("pictures") / "a.png", _WIDTH, _HEIGHT)


@st.composite
def _truths(draw: st.DrawFn) -> GroundTruth:
    sides = st.tuples(*[st.floats(0, 1, width=32)] * 4)
    boxes = []
    for x1, x2, y1, y2 in draw(st.lists(sides, max_size=5)):
        (x1, x2), (y1, y2) = sorted((x1, x2)), sorted((y1, y2))
        if x2 - x1 > 1e-3 and y2 - y1 > 1e-3:
            boxes.append((x1 * _WIDTH, y1 * _HEIGHT, x2 * _WIDTH, y2 * _HEIGHT))
    array = np.array(boxes, np.float32).reshape(-1, 4)
    array = np.minimum(array, np.array([_WIDTH, _HEIGHT] * 2, np.float32))
    count = len(array)
    flags = st.lists(st.booleans(), min_size=count, max_size=count)
    return GroundTruth(
        array,
        np.array(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)), np.int64),
        np.array(draw(flags), np.bool_),
        np.array(draw(flags), np.bool_),
        (array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1]),
    )


def _dataset(image: Path, truth: GroundTruth) -> Dataset:
    return Dataset(image.parent, "voc", "test", ("disc", "square"), (Sample(image, _WIDTH, _HEIGHT, truth),))


@settings(max_examples=40, deadline=None)
@given(truth=_truths())
def test_coco_keeps_everything(some_picture: Path, truth: GroundTruth) -> None:
    with tempfile.TemporaryDirectory() as folder:
        back = read_dataset(write_coco([_dataset(some_picture, truth)], Path(folder) / "c"), "test")
    objects = back.samples[0].objects
    assert back.class_names == ("disc", "square")
    for name in ("boxes_xyxy_px", "class_ids", "difficult", "crowd", "area_px2"):
        np.testing.assert_array_equal(getattr(objects, name), getattr(truth, name), err_msg=name)
    assert back.left_out == ()


@settings(max_examples=40, deadline=None)
@given(truth=_truths())
def test_yolo_keeps_boxes_and_drops_what_it_cannot_mark(some_picture: Path, truth: GroundTruth) -> None:
    with tempfile.TemporaryDirectory() as folder:
        back = read_dataset(write_yolo([_dataset(some_picture, truth)], Path(folder) / "y"), "test")
    plain = ~(truth.difficult | truth.crowd)
    objects = back.samples[0].objects
    np.testing.assert_allclose(objects.boxes_xyxy_px, truth.boxes_xyxy_px[plain], rtol=1e-6, atol=1e-6 * _WIDTH)
    np.testing.assert_array_equal(objects.class_ids, truth.class_ids[plain])


def test_voc_to_coco_to_yolo(tmp_path: Path) -> None:
    boxes = [DISC, ("square", 1, 1, 40, 30)]
    root = voc(tmp_path / "v", {"train": {"a": boxes, "b": []}, "test": {"c": [DISC]}})
    first = [read_dataset(root, s) for s in ("train", "test")]
    coco_folder = write_coco(first, tmp_path / "c")
    second = [read_dataset(coco_folder, s) for s in ("train", "test")]
    yolo_folder = write_yolo(second, tmp_path / "y")
    third = [read_dataset(yolo_folder, s) for s in ("train", "test")]
    for a, b, c in zip(first, second, third, strict=True):
        assert a.class_names == b.class_names == c.class_names
        for x, y, z in zip(a.samples, b.samples, c.samples, strict=True):
            assert x.image_path.read_bytes() == z.image_path.read_bytes()
            np.testing.assert_array_equal(x.objects.boxes_xyxy_px, y.objects.boxes_xyxy_px)
            np.testing.assert_allclose(y.objects.boxes_xyxy_px, z.objects.boxes_xyxy_px, rtol=1e-6, atol=1e-5)


def test_refusals(tmp_path: Path) -> None:
    dataset = read_dataset(voc(tmp_path / "v", {"train": {"a": [DISC]}}), "train")
    with pytest.raises(DataError, match="not splits of one data set"):
        write_coco([dataset, dataset], tmp_path / "c")
    with pytest.raises(DataError, match="not an empty folder"):
        write_yolo([dataset], tmp_path / "v")
    twins = replace(dataset, samples=dataset.samples * 2)
    with pytest.raises(DataError, match=r"a\.jpg: another picture"):
        write_coco([twins], tmp_path / "c")
    assert not (tmp_path / "c").exists()


def _detections(dataset: Dataset) -> list[Detections]:
    """Labelled boxes with noise, some of another class, some missing, and false alarms: the same for every reader."""
    random = np.random.default_rng(0)
    found = []
    for sample in dataset.samples:
        objects = sample.objects
        boxes = np.repeat(objects.boxes_xyxy_px, 2, axis=0) + random.normal(0, 5, (2 * len(objects), 4))
        class_ids = np.repeat(objects.class_ids, 2)
        wrong = random.random(len(class_ids)) < 0.1
        class_ids[wrong] = random.integers(len(dataset.class_names), size=int(wrong.sum()))
        scores = random.random(len(class_ids)).astype(np.float32)
        order = np.argsort(-scores)[: round(0.9 * len(scores))]
        found.append(Detections(boxes[order].astype(np.float32), scores[order], class_ids[order]))
    return found


def _largest_difference(first: Dataset, second: Dataset, detections: list[Detections]) -> float:
    """Between all numbers of two evaluations; where one is undefined the other must be."""
    a, b = (evaluate_detections(dataset, detections) for dataset in (first, second))
    pairs = [(value, b.metrics[name]) for name, value in a.metrics.items()]
    pairs += [(v, b.per_class[name][key]) for name, values in a.per_class.items() for key, v in values.items()]
    array = np.array(pairs, np.float64)
    assert len(array) > 20
    assert (np.isnan(array[:, 0]) == np.isnan(array[:, 1])).all()
    return float(np.nanmax(np.abs(array[:, 0] - array[:, 1])))


def _in_every_format(dataset: Dataset, folder: Path) -> tuple[Dataset, Dataset]:
    coco, yolo = write_coco([dataset], folder / "coco"), write_yolo([dataset], folder / "yolo")
    return read_dataset(coco, dataset.split), read_dataset(yolo, dataset.split)


def test_metrics_do_not_depend_on_the_format(tmp_path: Path) -> None:
    dataset = read_dataset(write_synthetic(tmp_path / "voc", 1, 1, 12, size_px=96), "test")
    detections = _detections(dataset)
    assert 0.05 < evaluate_detections(dataset, detections).metrics["coco_ap"] < 0.95
    for other in _in_every_format(dataset, tmp_path):
        assert other.kind != dataset.kind
        assert _largest_difference(dataset, other, detections) <= 1e-6


def test_metrics_of_a_real_set_do_not_depend_on_the_format(shared_data: Path, tmp_path: Path) -> None:
    dataset = read_dataset(shared_data / "data" / "bccd", "test")
    detections = _detections(dataset)
    for other in _in_every_format(dataset, tmp_path):
        assert [s.image_path.name for s in other.samples] == [s.image_path.name for s in dataset.samples]
        assert _largest_difference(dataset, other, detections) <= 1e-6


def test_coco_written_and_read_keeps_what_voc_marks_difficult(tmp_path: Path) -> None:
    dataset = read_dataset(voc(tmp_path / "v", {"test": {"a": [DISC, ("disc", 20, 5, 38, 25)], "b": [DISC]}}), "test")
    first = dataset.samples[0].objects
    marked = replace(first, difficult=np.array([False, True]))
    dataset = replace(dataset, samples=(replace(dataset.samples[0], objects=marked), dataset.samples[1]))
    detections = [Detections(s.objects.boxes_xyxy_px, np.full(len(s.objects), 0.9, np.float32), s.objects.class_ids)
                  for s in dataset.samples]  # fmt: skip
    coco, yolo = _in_every_format(dataset, tmp_path)
    assert _largest_difference(dataset, coco, detections) <= 1e-6
    # What YOLO txt lost now counts as a false alarm.
    assert _largest_difference(dataset, yolo, detections) > 0.01


@pytest.mark.parametrize("declared", [(30, 40), (40, 30)])
def test_pictures_that_are_stored_turned(tmp_path: Path, declared: tuple[int, int]) -> None:
    """Stored 40x30 and shown 30x40; the VOC file may speak of either, the others must mean the same box."""
    root = voc(tmp_path / "v", {"test": {"a": [DISC]}})
    (root / "JPEGImages" / "a.jpg").unlink()
    picture(root / "JPEGImages" / "a.jpg", 40, 30, orientation=6)
    write(root / "Annotations" / "a.xml", voc_xml([DISC], declared))
    dataset = read_dataset(root, "test")
    first = dataset.samples[0]
    assert (first.width_px, first.height_px) == (30, 40)
    for other in _in_every_format(dataset, tmp_path):
        assert (other.samples[0].width_px, other.samples[0].height_px) == (30, 40)
        np.testing.assert_allclose(other.samples[0].objects.boxes_xyxy_px, first.objects.boxes_xyxy_px, atol=1e-4)

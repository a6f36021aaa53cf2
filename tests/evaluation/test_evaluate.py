"""evaluate() and evaluate_detections(): classes by name, JSON, refusals, subsets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedet.data.types import Dataset, Sample
from edgedet.errors import DataError, EdgedetError
from edgedet.evaluation import Source, evaluate, evaluate_detections
from edgedet.preprocess import UInt8Image
from edgedet.runner import Detections
from edgedet.spec import DetectorSpec
from tests.evaluation.cases import Hit, Thing, dataset, detections, spot, truth
from tests.small_models import CLASS_NAMES, small_spec


class Oracle:
    """A detector that reads what to answer from the colour of the first pixel."""

    def __init__(self, answers: list[Detections], class_names: tuple[str, ...]) -> None:
        self.answers = answers
        self.spec: DetectorSpec = small_spec("ssdlite_mobilenet_v2", class_names=class_names)
        self.seen: list[int] = []

    def __call__(self, image_u8_hwc: UInt8Image) -> Detections:
        self.seen.append(int(image_u8_hwc[0, 0, 0]))
        return self.answers[self.seen[-1]]


@pytest.fixture
def pictures(tmp_path: Path) -> Dataset:
    """Five 40 x 30 pictures, each of its index as grey, with a disc and a triangle on the first."""
    samples = []
    for i in range(5):
        Image.fromarray(np.full((30, 40, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
        things = [Thing((0, 0, 10, 10), 0), Thing((10, 10, 30, 30), 2)] if i == 0 else [Thing((5, 5, 20, 20), 1)]
        samples.append(Sample(tmp_path / f"{i}.png", 40, 30, truth(things)))
    return Dataset(tmp_path, "voc", "val", CLASS_NAMES, tuple(samples))


def perfect(data: Dataset) -> list[Detections]:
    return [
        Detections(s.objects.boxes_xyxy_px, np.full(len(s.objects), 0.9, np.float32), s.objects.class_ids)
        for s in data.samples
    ]


def test_runs_the_detector_on_every_image_in_order(pictures: Dataset) -> None:
    oracle = Oracle(perfect(pictures), CLASS_NAMES)
    result = evaluate(oracle, pictures, progress=False)
    assert oracle.seen == [0, 1, 2, 3, 4]
    assert result.metrics["coco_ap"] == result.metrics["voc07_map"] == pytest.approx(1.0)
    assert result.wall_s > 0
    assert [len(d) for d in result.detections] == [2, 1, 1, 1, 1]


def test_classes_agree_by_name_whatever_their_order(pictures: Dataset) -> None:
    answers = [replace(d, class_ids=2 - d.class_ids) for d in perfect(pictures)]
    turned = tuple(reversed(CLASS_NAMES))
    assert evaluate(Oracle(answers, turned), pictures, progress=False).metrics["coco_ap"] == pytest.approx(1.0)


def test_a_tree_may_have_classes_that_the_data_set_does_not_label(pictures: Dataset) -> None:
    """polygon stands above square and triangle: a detection of it counts for itself only, and enters no mean."""
    names, parents = ("polygon", "disc", "square", "triangle"), (-1, -1, 0, 0)
    ids = np.array([1, 2, 3])
    answers = [replace(d, class_ids=ids[d.class_ids]) for d in perfect(pictures)]
    answers[1] = replace(answers[1], class_ids=np.array([0]))  # one square of four is called a polygon
    oracle = Oracle(answers, names)
    oracle.spec = replace(oracle.spec, class_parents=parents, coding=replace(oracle.spec.coding, score="softmax_tree"))
    result = evaluate(oracle, pictures, progress=False)
    assert result.dataset.class_names == names
    assert result.per_class["square"]["voc10_ap"] == pytest.approx(3 / 4)
    assert result.metrics["voc10_map"] == pytest.approx((1 + 3 / 4 + 1) / 3)
    assert np.isnan(result.per_class["polygon"]["coco_ap"])
    assert result.per_class["polygon"]["detections"] == 1
    again = evaluate_detections(pictures, answers, result.source)
    assert again.metrics == pytest.approx(result.metrics, nan_ok=True)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("disc", "square", "triangle", "star"), r"no class 'star', which Oracle detects"),
        (("disc", "triangle"), r"Oracle: cannot detect the class 'square'"),
    ],
)
def test_a_class_missing_on_either_side_is_named(pictures: Dataset, names: tuple[str, ...], words: str) -> None:
    oracle = Oracle([], names)
    with pytest.raises(DataError, match=words):
        evaluate(oracle, pictures, progress=False)
    assert oracle.seen == []


def test_part_of_a_split_is_spread_evenly(pictures: Dataset) -> None:
    oracle = Oracle(perfect(pictures), CLASS_NAMES)
    result = evaluate(oracle, pictures, max_images=3, progress=False)
    assert oracle.seen == [0, 2, 4]
    assert len(result.dataset) == len(result.detections) == result.to_json()["images"] == 3
    assert len(evaluate(oracle, pictures, max_images=99, progress=False).dataset) == 5
    with pytest.raises(EdgedetError, match="max_images"):
        evaluate(oracle, pictures, max_images=0)


def test_json_form(pictures: Dataset) -> None:
    source = Source("run/model.onnx", "ONNX Runtime 1.0", "fp16", 0.05, CLASS_NAMES)
    form = json.loads(json.dumps(evaluate_detections(pictures, perfect(pictures), source).to_json(), allow_nan=False))
    assert form["schema"] == 1
    assert (form["artifact"], form["runtime"], form["precision"]) == ("run/model.onnx", "ONNX Runtime 1.0", "fp16")
    assert (form["split"], form["images"], form["score_min"]) == ("val", 5, 0.05)
    assert (form["dataset"], form["sha256"]) == (pictures.root.name, "")
    assert form["metrics"]["coco_ap_large"] is None  # no large object: undefined, not 0
    assert {"coco_ap", "coco_ap50", "coco_ap75", "voc07_map", "voc10_map"} <= form["metrics"].keys()
    assert list(form["per_class"]) == list(CLASS_NAMES)
    assert form["per_class"]["square"] == {
        "coco_ap": 1.0, "coco_ap50": 1.0, "coco_ap75": 1.0, "voc07_ap": 1.0, "voc10_ap": 1.0,
        "objects": 4, "detections": 4,
    }  # fmt: skip


def test_means_leave_out_classes_without_objects() -> None:
    data = dataset([[Thing(spot(0), 0)]], ("a", "b"))
    result = evaluate_detections(data, detections([[Hit(spot(0), 0.9, 0), Hit(spot(2), 0.8, 1)]]))
    assert result.metrics["voc10_map"] == result.metrics["coco_ap50"] == 1.0
    assert result.to_json()["per_class"]["b"] == {
        "coco_ap": None, "coco_ap50": None, "coco_ap75": None, "voc07_ap": None, "voc10_ap": None,
        "objects": 0, "detections": 1,
    }  # fmt: skip


def test_a_split_without_any_object_is_undefined() -> None:
    result = evaluate_detections(dataset([[], []]), detections([[], []]))
    assert set(result.to_json()["metrics"].values()) == {None}


def test_curves_are_the_raw_points() -> None:
    data = dataset([[Thing(spot(0)), Thing(spot(1))]])
    curve = evaluate_detections(data, detections([[Hit(spot(0), 0.75), Hit(spot(5), 0.5)]])).curves["thing"]
    assert curve.recall.tolist() == [0.5, 0.5]
    assert curve.precision.tolist() == [1.0, 0.5]
    assert curve.scores.tolist() == [0.75, 0.5]


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataError, match="holds no images"):
        evaluate_detections(dataset([]), [])


def test_entries_must_be_as_many_as_images() -> None:
    with pytest.raises(ValueError, match="1 entries of detections for 2 images"):
        evaluate_detections(dataset([[], []]), detections([[]]))


@pytest.mark.parametrize("hit", [Hit(spot(0), float("nan")), Hit((0, 0, float("inf"), 1), 0.5)])
def test_numbers_that_are_none_are_refused_and_the_image_named(hit: Hit) -> None:
    with pytest.raises(EdgedetError, match=r"model\.tflite: its detections in 1\.png are not finite"):
        evaluate_detections(dataset([[], []]), detections([[], [hit]]), Source("model.tflite"))


def test_confusion_uses_a_deployment_threshold_but_not_below_the_files_own() -> None:
    data, found = dataset([[]]), detections([[]])
    assert evaluate_detections(data, found, Source(score_min=0.05)).confusion.score_min == 0.3
    assert evaluate_detections(data, found, Source(score_min=0.6)).confusion.score_min == 0.6

"""COCO metrics against hand-computed numbers and an independent computation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from edgedet.data.types import Dataset
from edgedet.evaluation import coco as module
from edgedet.evaluation.coco import CocoResult, evaluate_coco
from edgedet.runner import Detections
from tests.evaluation.brute_force_coco import THRESHOLDS, average_precision
from tests.evaluation.cases import Hit, Thing, dataset, detections, spot, tables, vector


def coco(data: Dataset, found: list[Detections]) -> CocoResult:
    return evaluate_coco(data, *tables(data, found))


@pytest.mark.parametrize(
    ("num_objects", "outcomes", "ap"), [(1, "T", 1.0), (1, "", 0.0), (2, "TF", 0.504950), (3, "TFTFT", 0.756436)]
)
def test_hand_vectors(num_objects: int, outcomes: str, ap: float) -> None:
    assert coco(*vector(num_objects, outcomes)).metrics["coco_ap"] == pytest.approx(ap, abs=5e-7)


def test_iou_of_exactly_one_half_counts_at_the_first_threshold_only() -> None:
    result = coco(dataset([[Thing((0, 0, 10, 10))]]), detections([[Hit((0, 0, 10, 5), 0.9)]]))
    assert result.metrics["coco_ap"] == pytest.approx(0.1)
    assert result.metrics["coco_ap50"] == 1.0
    assert result.metrics["coco_ap75"] == 0.0
    assert result.metrics["coco_ar100"] == pytest.approx(0.1)


def test_ties_in_score_keep_the_order_of_the_input() -> None:
    data = dataset([[Thing(spot(0))]])
    assert coco(data, detections([[Hit(spot(5), 0.5), Hit(spot(0), 0.5)]])).metrics["coco_ap"] == pytest.approx(0.5)
    assert coco(data, detections([[Hit(spot(0), 0.5), Hit(spot(5), 0.5)]])).metrics["coco_ap"] == pytest.approx(1.0)


def test_size_ranges_are_inclusive_and_use_the_labelled_area() -> None:
    on_both_sides = coco(dataset([[Thing((0, 0, 32, 32))]]), detections([[Hit((0, 0, 32, 32), 0.9)]])).metrics
    assert on_both_sides["coco_ap_small"] == on_both_sides["coco_ap_medium"] == 1.0
    assert math.isnan(on_both_sides["coco_ap_large"])
    outlined_only = dataset([[Thing((0, 0, 100, 100), area=900.0)]])
    outlined = coco(outlined_only, detections([[Hit((0, 0, 100, 100), 0.9)]])).metrics
    assert outlined["coco_ap_small"] == 1.0
    assert math.isnan(outlined["coco_ap_large"])


def test_recall_with_few_detections_an_image() -> None:
    data = dataset([[Thing(spot(0)), Thing(spot(1))]])
    metrics = coco(data, detections([[Hit(spot(0), 0.9), Hit(spot(1), 0.8)]])).metrics
    assert (metrics["coco_ar1"], metrics["coco_ar10"]) == (0.5, 1.0)


def test_a_crowd_region_ignores_any_number_of_detections_inside() -> None:
    data = dataset([[Thing((0, 0, 100, 100), crowd=True), Thing((200, 0, 210, 10))]])
    inside = [Hit((10, 10, 20, 20), 0.9), Hit((30, 30, 40, 40), 0.8)]
    found = Hit((200, 0, 210, 10), 0.5)
    outside = Hit((300, 0, 310, 10), 0.7)
    assert coco(data, detections([[*inside, found]])).metrics["coco_ap"] == pytest.approx(1.0)
    assert coco(data, detections([[*inside, outside, found]])).metrics["coco_ap"] == pytest.approx(0.5)


def test_a_difficult_object_ignores_what_overlaps_it_and_is_not_missed() -> None:
    data = dataset([[Thing((0, 0, 100, 100), difficult=True), Thing((200, 0, 210, 10))]])
    found = Hit((200, 0, 210, 10), 0.5)
    twice = [Hit((0, 0, 100, 100), 0.9), Hit((0, 0, 100, 98), 0.8)]
    assert coco(data, detections([[found]])).metrics["coco_ap"] == pytest.approx(1.0)
    assert coco(data, detections([[*twice, found]])).metrics["coco_ap"] == pytest.approx(1.0)
    small_inside = Hit((10, 10, 20, 20), 0.9)  # unlike in a crowd region, the IoU decides
    assert coco(data, detections([[small_inside, found]])).metrics["coco_ap"] == pytest.approx(0.5)


def test_only_difficult_objects_leave_the_class_undefined() -> None:
    data = dataset([[Thing(spot(0), difficult=True), Thing(spot(1), class_id=1)]], ("a", "b"))
    result = coco(data, detections([[Hit(spot(1), 0.9, class_id=1)]]))
    assert np.isnan(result.ap[0])
    assert result.ap[1] == pytest.approx(1.0)
    assert result.metrics["coco_ap"] == pytest.approx(1.0)


def test_nothing_labelled_and_nothing_detected() -> None:
    assert all(math.isnan(v) for v in coco(dataset([[], []]), detections([[], []])).metrics.values())
    assert all(math.isnan(v) for v in coco(dataset([[]]), detections([[Hit(spot(0), 0.9)]])).metrics.values())


def random_case(seed: int) -> tuple[Dataset, list[Detections]]:
    """Twelve images, three classes, boxes of all sizes, crowds, difficult objects, ties and duplicates."""
    rng = np.random.default_rng(seed)

    def box() -> tuple[float, float, float, float]:
        x, y = rng.integers(0, 60, 2).tolist()
        w, h = (rng.choice([12, 30, 50, 120, 200], 2) + rng.integers(0, 6, 2)).tolist()
        return (x, y, x + w, y + h)

    def score() -> float:
        return round(float(rng.random()), 1)

    def near(thing: Thing) -> tuple[float, float, float, float]:
        x1, y1, x2, y2 = thing.box
        dx, dy, dw, dh = rng.integers(-4, 5, 4).tolist()
        return (x1 + dx, y1 + dy, x2 + dx + dw, y2 + dy + dh)

    images, found = [], []
    for _ in range(12):
        things = [
            Thing(box(), int(rng.integers(3)), difficult=bool(rng.random() < 0.2), crowd=bool(rng.random() < 0.15))
            for _ in range(rng.integers(0, 7))
        ]
        hits = [Hit(near(t), score(), t.class_id) for t in things for _ in range(rng.integers(0, 3))]
        hits += [Hit(box(), score(), int(rng.integers(3))) for _ in range(3)]
        images.append(things)
        found.append(hits)
    return dataset(images, ("a", "b", "c")), detections(found)


@pytest.mark.parametrize("seed", range(6))
def test_equals_an_independent_computation(seed: int) -> None:
    data, found = random_case(seed)
    result = coco(data, found)
    table = np.array([[average_precision(data, found, c, t) for t in THRESHOLDS] for c in range(3)])
    assert 0.02 < np.nanmean(table) < 0.98
    assert result.ap == pytest.approx(table.mean(axis=1), abs=1e-9, nan_ok=True)
    assert result.ap50 == pytest.approx(table[:, 0], abs=1e-9, nan_ok=True)
    assert result.ap75 == pytest.approx(table[:, 5], abs=1e-9, nan_ok=True)
    for size in ("small", "medium", "large"):
        sized = [[average_precision(data, found, c, t, size) for t in THRESHOLDS] for c in range(3)]
        assert result.metrics[f"coco_ap_{size}"] == pytest.approx(np.nanmean(sized), abs=1e-9)


def test_equals_the_library_on_its_own_file_format(shared_data: Path) -> None:
    """The original COCO annotation file and a results list, against the same through our reader and tables."""
    from faster_coco_eval import COCO, COCOeval_faster

    from edgedet.data import read_dataset

    folder = shared_data / "data" / "coco_mini"
    data = read_dataset(folder, "val")
    original = COCO(str(next((folder / "annotations").glob("instances_val*.json"))))
    by_name = {image["file_name"]: image["id"] for image in original.dataset["images"]}
    category_ids = {category["name"]: category["id"] for category in original.dataset["categories"]}
    rng = np.random.default_rng(0)
    found, results = [], []
    for sample in data.samples:
        boxes = sample.objects.boxes_xyxy_px + rng.normal(0, 6, (len(sample.objects), 4)).astype(np.float32)
        scores = rng.random(len(boxes)).astype(np.float32)
        found.append(Detections(boxes, scores, sample.objects.class_ids))
        for box, score, class_id in zip(boxes.astype(float), scores, sample.objects.class_ids, strict=True):
            results.append({
                "image_id": by_name[sample.image_path.name],
                "category_id": category_ids[data.class_names[class_id]],
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "score": float(score),
            })  # fmt: skip
    evaluator = COCOeval_faster(original, original.loadRes(results), iouType="bbox", print_function=lambda *_: None)
    evaluator.run()
    ours = coco(data, found).metrics
    names = ["coco_ap", "coco_ap50", "coco_ap75", "coco_ap_small", "coco_ap_medium", "coco_ap_large"]
    assert [ours[name] for name in names] == pytest.approx(list(evaluator.stats[:6]), abs=1e-6)


@pytest.mark.parametrize("at_once", [1, 2])
def test_classes_in_groups_give_the_numbers_of_all_at_once(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    data, found = random_case(3)
    assert 1 < len(data.class_names) <= module.CLASSES_AT_ONCE
    whole = coco(data, found)
    monkeypatch.setattr(module, "CLASSES_AT_ONCE", at_once)
    parts = coco(data, found)
    assert parts.metrics == pytest.approx(whole.metrics, abs=1e-15, nan_ok=True)
    for name in ("ap", "ap50", "ap75"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))

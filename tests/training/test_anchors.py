from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedet.data.types import Dataset, GroundTruth, Sample
from edgedet.errors import DataError
from edgedet.spec import InputSpec
from edgedet.training.anchors import anchor_curve, boxes_wh_px, elbow, fit_anchors, rate_anchors, shape_iou


def test_shape_iou_by_hand() -> None:
    found = shape_iou(np.array([[2.0, 4.0]]), np.array([[2.0, 4.0], [4.0, 2.0], [1.0, 1.0]]))
    assert found.tolist() == [[1.0, 4 / 12, 1 / 8]]


def test_known_clusters_are_found_in_order_of_area() -> None:
    random = np.random.default_rng(0)
    centres = np.array([[10.0, 20.0], [60.0, 30.0], [100.0, 120.0]])
    boxes = np.concatenate([c * random.uniform(0.95, 1.05, (n, 2)) for c, n in zip(centres, (5, 400, 40), strict=True)])
    anchors = fit_anchors(boxes, 3)
    assert np.abs(anchors / centres - 1).max() < 0.03


def test_same_seed_same_anchors() -> None:
    boxes = np.random.default_rng(1).uniform(5, 100, (200, 2))
    assert (fit_anchors(boxes, 6, seed=3) == fit_anchors(boxes, 6, seed=3)).all()


def test_more_anchors_cover_better() -> None:
    boxes = np.random.default_rng(2).uniform(5, 100, (300, 2))
    covered = [shape_iou(boxes, fit_anchors(boxes, k)).max(axis=1).mean() for k in (1, 3, 6, 12)]
    assert covered == sorted(covered)


def test_too_few_boxes() -> None:
    with pytest.raises(DataError, match="too few different boxes"):
        fit_anchors(np.array([[3.0, 4.0], [3.0, 4.0], [5.0, 6.0]]), 3)


@pytest.mark.parametrize(("resize", "expected"), [("stretch", [20.0, 20.0]), ("letterbox", [20.0, 10.0])])
def test_boxes_are_measured_in_the_networks_pixels(resize: str, expected: list[float]) -> None:
    truth = GroundTruth(
        boxes_xyxy_px=np.array([[0, 0, 40, 20], [0, 0, 9, 9], [5, 5, 50, 50]], np.float32),
        class_ids=np.zeros(3, np.int64),
        difficult=np.array([False, True, False]),
        crowd=np.array([False, False, True]),
        area_px2=np.ones(3, np.float32),
    )
    dataset = Dataset(Path("x"), "voc", "train", ("a",), (Sample(Path("x.jpg"), 200, 100, truth),))
    found = boxes_wh_px(dataset, InputSpec(100, 100, resize=resize))  # type: ignore[arg-type]
    assert found.tolist() == [expected]  # neither the difficult nor the crowd object


def test_rating_by_hand() -> None:
    rated = rate_anchors(np.array([[2.0, 4.0], [4.0, 4.0], [1.0, 1.0]]), np.array([[2.0, 4.0]]))
    assert rated.mean_iou == pytest.approx((1 + 0.5 + 1 / 8) / 3)
    assert rated.covered == pytest.approx(2 / 3)


def test_the_curve_is_that_of_single_fits() -> None:
    boxes = np.random.default_rng(5).uniform(5, 100, (60, 2))
    curve = anchor_curve(boxes, [1, 2, 4], seed=3)
    assert [fit.count for fit in curve] == [1, 2, 4]
    for fit in curve:
        assert (fit.anchors_wh == fit_anchors(boxes, fit.count, seed=3)).all()
        assert fit.mean_iou == shape_iou(boxes, fit.anchors_wh).max(axis=1).mean()


@pytest.mark.parametrize(
    ("counts", "values", "expected"),
    [
        ([1, 2, 3, 4, 5], [0.0, 0.7, 0.8, 0.9, 1.0], 2),  # above the chord by 0.45, 0.3, 0.15
        ([1, 2, 3, 4, 5], [0.5, 0.6, 0.9, 0.95, 1.0], 3),  # scaled: 0.2 - 0.25, 0.8 - 0.5, 0.9 - 0.75
        ([1, 2, 3], [0.1, 0.2, 0.3], 1),  # a straight line has no elbow
        ([1, 2, 3], [0.4, 0.4, 0.4], 1),
        ([4], [0.7], 4),
    ],
)
def test_elbow_by_hand(counts: list[int], values: list[float], expected: int) -> None:
    assert elbow(counts, values) == expected

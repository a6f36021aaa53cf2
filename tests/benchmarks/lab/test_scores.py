"""Calibration and thresholds against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgedet.benchmarks.lab.operating_point import operating_points
from edgedet.benchmarks.lab.score_calibration import calibration
from edgedet.evaluation.tables import DetectionTable, ObjectTable

BOX = [0.0, 0.0, 10.0, 10.0]


def objects(count: int) -> ObjectTable:
    """One object of class 0 in each of `count` images."""
    none = np.zeros(count, np.bool_)
    zeros = np.zeros(count, np.int64)
    return ObjectTable(np.arange(count), zeros, np.array([BOX] * count), none, none, np.full(count, 100.0))


def found(*scores_and_right: tuple[float, bool]) -> DetectionTable:
    """One detection in each image, on the object or beside it."""
    boxes = [BOX if right else [50.0, 50.0, 60.0, 60.0] for _, right in scores_and_right]
    n = len(boxes)
    scores = np.array([score for score, _ in scores_and_right], np.float64)
    return DetectionTable(np.arange(n), np.zeros(n, np.int64), np.array(boxes, np.float64).reshape(-1, 4), scores)


def test_calibration_error_is_the_weighted_distance() -> None:
    """0.9 and 0.9 with one right: |0.9 - 0.5| twice; 0.2 right: |0.2 - 1| once. (2 x 0.4 + 0.8) / 3."""
    one = calibration(found((0.9, True), (0.9, False), (0.2, True)), objects(3))
    assert one.error == pytest.approx((2 * 0.4 + 0.8) / 3)
    assert [(b.count, b.precision) for b in one.bins if b.count] == [(1, 1.0), (2, 0.5)]
    assert math.isnan(calibration(found(), objects(3)).error)


def test_a_score_of_one_is_in_the_last_bin() -> None:
    assert calibration(found((1.0, True)), objects(1)).bins[-1].count == 1


def test_thresholds_that_restore_recall_and_precision() -> None:
    """B scores everything lower by 0.2, and has one false alarm more."""
    a = found((0.9, True), (0.8, True), (0.6, True), (0.1, False))
    b = found((0.7, True), (0.6, True), (0.4, True), (0.5, False))
    overall, one = operating_points(("thing",), objects(4), a, b, score_min=0.5)
    assert (one.a.precision, one.a.recall) == (1.0, 0.75)
    assert (one.b.precision, one.b.recall) == (pytest.approx(2 / 3), 0.5)
    assert one.same_recall is not None
    assert (one.same_recall.score, one.same_recall.recall) == (pytest.approx(0.4), 0.75)
    assert one.same_recall.f1 == pytest.approx(0.75)
    assert one.same_precision is not None
    assert one.same_precision.score == pytest.approx(0.55)  # halfway between 0.6 and the false alarm at 0.5
    assert (one.same_precision.precision, one.same_precision.recall) == (1.0, 0.5)
    assert one.best_a is not None
    assert one.best_a.f1 == pytest.approx(2 * 0.75 / 1.75)
    assert overall.class_name == ""
    assert overall.same_recall == one.same_recall


def test_a_threshold_cannot_cut_between_equal_scores() -> None:
    a, b = found((0.9, True), (0.8, False)), found((0.5, True), (0.5, False))
    _, one = operating_points(("thing",), objects(2), a, b, score_min=0.85)
    assert one.same_recall is not None
    assert one.same_recall.precision == 0.5
    assert one.same_precision is None


def test_classes_without_objects_are_left_out() -> None:
    rows = operating_points(("thing", "other"), objects(1), found((0.9, True)), found(), score_min=0.3)
    assert [row.class_name for row in rows] == ["", "thing"]
    assert rows[0].b.f1 == 0
    assert rows[0].same_recall is None

"""Confusion matrix and the worst images, by hand."""

from __future__ import annotations

import numpy as np

from edgedet.data.types import Dataset
from edgedet.evaluation.confusion import Confusion, Mistake, assign, confusion, worst_examples
from edgedet.runner import Detections
from tests.evaluation.cases import Hit, Thing, dataset, detections, spot, tables

NAMES = ("cat", "dog")


def matrix(data: Dataset, found: list[Detections], score_min: float = 0.3) -> Confusion:
    columns = tables(data, found)
    return confusion(*columns, assign(*columns, score_min, 0.5), NAMES, score_min, 0.5)


def test_each_cell() -> None:
    data = dataset([[Thing(spot(0), 0), Thing(spot(1), 0), Thing(spot(2), 1)], []], NAMES)
    found = detections([
        [Hit(spot(0), 0.9, 0), Hit(spot(1), 0.8, 1), Hit(spot(0), 0.7, 0), Hit(spot(2), 0.29, 1)],
        [Hit(spot(0), 0.6, 1)],
    ])  # fmt: skip
    # cat found, cat called dog, dog not shown; a second box on the cat and a box on the empty image are false alarms.
    assert matrix(data, found).counts.tolist() == [[1, 1, 0], [0, 0, 1], [1, 1, 0]]


def test_the_best_scored_box_takes_the_object() -> None:
    data = dataset([[Thing((0, 0, 10, 10), 0)]], NAMES)
    found = detections([[Hit((0, 0, 10, 8), 0.9, 1), Hit((0, 0, 10, 10), 0.8, 0)]])
    assert matrix(data, found).counts.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]


def test_the_own_class_is_taken_of_two_equal_boxes() -> None:
    data = dataset([[Thing(spot(0), 0), Thing(spot(0), 1)]], NAMES)
    assert matrix(data, detections([[Hit(spot(0), 0.9, 1)]])).counts.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_boxes_on_difficult_objects_and_in_crowds_do_not_count() -> None:
    crowd = Thing((200, 200, 300, 300), 0, crowd=True)
    data = dataset([[Thing(spot(0), 0, difficult=True), crowd]], NAMES)
    found = detections([[Hit(spot(0), 0.9, 1), Hit((210, 210, 220, 220), 0.8, 0)]])
    assert not matrix(data, found).counts.any()


def test_worst_images_and_their_mistakes() -> None:
    data = dataset([[Thing(spot(0), 0)], [Thing(spot(0), 0)], [Thing(spot(0), 0), Thing(spot(1), 1)]], NAMES)
    found = detections([
        [Hit(spot(0), 0.9, 0)],
        [Hit(spot(0), 0.7, 1)],
        [Hit(spot(3), 0.4, 1), Hit(spot(0), 0.35, 0)],
    ])  # fmt: skip
    columns = tables(data, found)
    examples = worst_examples(*columns, assign(*columns, 0.3, 0.5), NAMES)
    assert [example.sample_index for example in examples] == [2, 1]
    miss, false_alarm = examples[0].mistakes
    assert miss == Mistake("miss", "dog", None, 0.0, spot(1))
    assert false_alarm == Mistake("false_alarm", None, "dog", float(np.float32(0.4)), spot(3))
    assert examples[1].mistakes == (Mistake("confusion", "cat", "dog", float(np.float32(0.7)), spot(0)),)
    assert len(worst_examples(*columns, assign(*columns, 0.3, 0.5), NAMES, most=1)) == 1


def test_no_objects_and_no_detections() -> None:
    data, found = dataset([[], []], NAMES), detections([[], []])
    assert not matrix(data, found).counts.any()
    columns = tables(data, found)
    assert worst_examples(*columns, assign(*columns, 0.3, 0.5), NAMES) == ()
